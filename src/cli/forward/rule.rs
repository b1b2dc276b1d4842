//! What is forwarded, in the notation of ssh: where to listen, and where the connections go.

use std::fmt;
use std::path::PathBuf;

use crate::net::RemoteStream;
use crate::{Context, Error};

/// How it is written.
const NOTATION: &str =
    "write [BIND:]PORT:HOST:PORT, or a socket, as /run/app.sock, in place of [BIND:]PORT or HOST:PORT";
/// Where a port listens unless something else is written.
const LOOPBACK: &str = "127.0.0.1";
/// What stands for all addresses of this machine.
const ALL: &str = "*";

/// What is behind one `-L`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) listen: Listen,
    pub(crate) target: Target,
}

/// Where to listen on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp { address: String, port: u16 },
    Unix(PathBuf),
}

/// What a host connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp(String),
    Unix(PathBuf),
}

impl Target {
    /// `HOST:PORT`, or a path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields = if is_path(text) { vec![text] } else { fields(text) };
        target(&fields).ok_or_else(|| "write HOST:PORT, or the path of a socket, as /run/app.sock".into())
    }

    /// Connects from the machine of a context.
    pub(crate) async fn connect(&self, from: &Context) -> Result<RemoteStream, Error> {
        match self {
            Self::Tcp(address) => from.connect_tcp(address).await,
            Self::Unix(path) => from.connect_unix(path).await,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Rule {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields = fields(text);
        let found = match fields.as_slice() {
            [path, rest @ ..] if is_path(path) => target(rest).map(|target| (Listen::Unix(path.into()), target)),
            // Two fields that are a target leave one for the port.
            [first, rest @ ..] if rest.len() == 2 && !is_path(rest[1]) => {
                number(first).zip(target(rest)).map(|(port, target)| (on(LOOPBACK, port), target))
            }
            [first, path] if is_path(path) => {
                number(first).zip(target(&[path])).map(|(port, t)| (on(LOOPBACK, port), t))
            }
            [address, second, rest @ ..] => number(second).zip(target(rest)).map(|(port, t)| (on(address, port), t)),
            _ => None,
        };
        found.map(|(listen, target)| Self { listen, target }).ok_or_else(|| NOTATION.into())
    }
}

fn on(address: &str, port: u16) -> Listen {
    let address = match address {
        "" | ALL => "::",
        named => named,
    };
    Listen::Tcp { address: address.to_owned(), port }
}

/// The parts between colons, but for those inside of brackets, which are left out. A path keeps its colons if it is
/// the last part.
fn fields(text: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (field, more) = match text.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, more)) if more.starts_with(':') => (address, Some(&more[1..])),
            _ if is_path(text) && !fields.is_empty() => (text, None),
            _ => text.split_once(':').map_or((text, None), |(field, more)| (field, Some(more))),
        };
        fields.push(field);
        rest = more;
    }
    fields
}

/// Whether a character can be in no name and no address of a host.
fn is_no_name(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// A socket is told from a name by its slash.
fn is_path(field: &str) -> bool {
    field.starts_with(['/', '.'])
}

fn target(fields: &[&str]) -> Option<Target> {
    match fields {
        [path] if path.starts_with('/') => Some(Target::Unix(path.into())),
        [host, port] if !host.is_empty() && !is_path(host) && !host.contains(is_no_name) => {
            let port = number(port).filter(|port| *port > 0)?;
            Some(Target::Tcp(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }))
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_for_ssh() {
        let tcp = |address: &str, port| Listen::Tcp { address: address.into(), port };
        let to = |address: &str| Target::Tcp(address.into());
        let unix = |path: &str| Target::Unix(path.into());
        for (text, listen, target) in [
            ("8080:localhost:80", tcp("127.0.0.1", 8080), to("localhost:80")),
            ("0:db:5432", tcp("127.0.0.1", 0), to("db:5432")),
            ("0.0.0.0:8080:localhost:80", tcp("0.0.0.0", 8080), to("localhost:80")),
            ("*:8080:[fe80::1]:80", tcp("::", 8080), to("[fe80::1]:80")),
            (":8080:web:80", tcp("::", 8080), to("web:80")),
            ("[::1]:8080:web:80", tcp("::1", 8080), to("web:80")),
            ("8080:/run/app:1.sock", tcp("127.0.0.1", 8080), unix("/run/app:1.sock")),
            ("localhost:8080:/run/app.sock", tcp("localhost", 8080), unix("/run/app.sock")),
            ("./here.sock:db:5432", Listen::Unix("./here.sock".into()), to("db:5432")),
            ("/tmp/a:/run/b", Listen::Unix("/tmp/a".into()), unix("/run/b")),
        ] {
            assert_eq!(Rule::parse(text).unwrap(), Rule { listen, target }, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_notation() {
        for text in [
            "",
            ":",
            "8080",
            "8080:80",
            "8080:localhost",
            "8080:localhost:http",
            "8080:localhost:0",
            "8080::80",
            "x:localhost:80",
            "70000:localhost:80",
            "+80:localhost:80",
            "a:1:b:2:c:3",
            "1:2:3:4:5",
            "8080:./relative",
            "/tmp/a",
            "/tmp/a:80",
            "[::1:8080:web:80",
        ] {
            let refused = Rule::parse(text);
            assert!(refused.as_ref().is_err_and(|why| why.contains("[BIND:]PORT:HOST:PORT")), "{text}: {refused:?}");
        }
    }

    #[test]
    fn a_target_is_a_port_of_a_host_or_a_socket() {
        for (text, shown) in [("db:5432", "db:5432"), ("[::1]:80", "[::1]:80"), ("/run/a:b", "/run/a:b")] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown);
        }
        assert!(Target::parse(" :1").is_err() && Target::parse("a\n:1").is_err());
        assert!(Target::parse("db").is_err() && Target::parse("a:b:1").is_err() && Target::parse("here/x").is_err());
    }
}
