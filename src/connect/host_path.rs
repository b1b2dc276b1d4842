//! Paths: the hops that lead to a host, in the notation of the tool.

pub(crate) mod fault;
pub(crate) mod hop;
mod method_name;
#[cfg(feature = "cli")]
pub(crate) mod own_methods;
pub(crate) mod word;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::api::router::Router;
use crate::connect::host_path::fault::{Fault, Span};
use crate::connect::host_path::hop::{Pattern, Spelled};
use crate::connect::host_path::word::{Piece, Set, Token, cut};
use crate::connect::methods::{AnyMethod, Connect, SetnsKind};
use crate::wire::error::{ConnectError, ConnectErrorKind, Error, Phase};

pub(crate) use method_name::MethodName;
#[cfg(feature = "cli")]
pub(crate) use method_name::distance;

/// Most hops in one path.
pub(crate) const MAX_HOPS: usize = 16;
/// Characters that stand between hosts in the tool's expressions.
const OPERATORS: [char; 4] = [',', '!', '&', '^'];

/// A host and the hops that lead to it, as the tool spells them:
/// `deploy@bastion/web1:2222/sudo/docker:app`.
///
/// A hop is `METHOD:USER@TARGET:PORT` or a part of it. The default method is `ssh`. `sudo`, `su` and `doas`
/// need no target; without one they lead to root. `local` and `fork` need no target. `setns` takes `KIND:NAME`,
/// such as `setns:docker:app`. Braces keep a name together, as in `docker:{registry/app:1}`, and brackets keep
/// an IPv6 address together, as in `[::1]:22`. A path is one host. Only the tool has sets such as `web[1-3]`,
/// groups and inventories.
///
/// Two paths are equal if their hops are equal, even if they are spelled differently.
///
/// ```
/// use offshoot::connect::HostPath;
///
/// let path: HostPath = "deploy@bastion/web1/sudo".parse()?;
/// assert_eq!(path.to_string(), "deploy@bastion/web1/sudo");
/// assert_eq!(path, "ssh:deploy@bastion/web1/sudo:root".parse()?);
/// let error = "web1/dockr:app".parse::<HostPath>().unwrap_err();
/// assert!(error.to_string().contains("did you mean docker?"));
/// # Ok::<(), offshoot::connect::PathError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HostPath {
    /// The path as the user spelled it, with sets and ranges written out. If it is read as an expression, it
    /// gives this host again.
    pub(crate) text: String,
    /// The hops, the first one first. Never empty.
    pub(crate) hops: Vec<Hop>,
}

#[cfg(feature = "cli")]
impl HostPath {
    /// The same host, reached through `via`. The text stays the same.
    pub(crate) fn behind(mut self, via: &Self) -> Self {
        self.hops.splice(..0, via.hops.iter().cloned());
        self
    }

    /// The path with one more hop at its end. The text stays the same.
    pub(crate) fn then(mut self, method: MethodName, target: &str) -> Self {
        self.hops.push(Hop::plain(method, target));
        self
    }
}

#[cfg(feature = "cli")]
impl Hop {
    /// A hop with nothing but a target.
    pub(crate) fn plain(method: MethodName, target: &str) -> Self {
        Self { method, target: target.into(), user: None, port: None, inventory: None }
    }
}

impl PartialEq for HostPath {
    fn eq(&self, other: &Self) -> bool {
        self.hops == other.hops
    }
}

impl Eq for HostPath {}

impl Hash for HostPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hops.hash(state);
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HostPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        read(text).map_err(|fault| PathError { at: fault.span.at, message: fault.message, text: text.to_owned() })
    }
}

fn read(text: &str) -> Result<HostPath, Fault> {
    let whole = Span::new(0, text.len());
    if text.is_empty() {
        return Err(Fault::syntax(whole, "a path is missing; write bastion/web1/sudo, for example"));
    }
    let parts = cut::<OneHost>(text, 0, MAX_HOPS)?;
    if parts.len() > MAX_HOPS {
        return Err(Fault::limit(whole, format!("a path has more than {MAX_HOPS} hops")));
    }
    let mut hops = Vec::new();
    for part in parts {
        check_plain(&part)?;
        let (method, pattern) = Pattern::parse(part)?;
        let mut spelled = Spelled::default();
        pattern.spell(&mut spelled, OneHost::write_first);
        hops.push(pattern.hop(method, &spelled)?);
    }
    Ok(HostPath { text: text.to_owned(), hops })
}

/// Refuses syntax that stands for several hosts in an expression of the tool.
fn check_plain(part: &[Token<OneHost>]) -> Result<(), Fault> {
    for (n, Token { piece, span }) in part.iter().enumerate() {
        let Piece::Plain(text) = piece else { continue };
        if let Some(at) = text.find(OPERATORS) {
            return Err(several(Span::new(span.at + at, 1)));
        }
        if n == 0 && text.starts_with('@') {
            return Err(several(*span));
        }
    }
    Ok(())
}

fn several(span: Span) -> Fault {
    Fault::syntax(span, "a path is one host; sets, groups and lists of hosts are the tool's alone")
}

/// A set of numbers, for paths, which cannot contain one.
#[derive(Debug, Clone)]
enum OneHost {}

impl Set for OneHost {
    fn parse(text: &str, at: usize) -> Result<Self, Fault> {
        Err(several(Span::new(at.saturating_sub(1), text.len() + 2)))
    }

    fn write_first(&self, _: &mut String) {
        match *self {}
    }
}

/// The error for a text that is not a path.
///
/// [`HostPath`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathError {
    message: String,
    at: usize,
    text: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {} of {:?})", self.message, self.at, self.text)
    }
}

impl std::error::Error for PathError {}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        let text = error.to_string();
        ConnectError::new(ConnectErrorKind::Start, Phase::Start, "offshoot", text).into()
    }
}

/// One hop of a path. Hosts whose first hops are equal share the contexts of these hops.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) method: MethodName,
    /// The host, user, container or name of the child; empty for a `local` or `fork` without a name. An IPv6
    /// address has no brackets. For `setns` this is `KIND:NAME`.
    pub(crate) target: String,
    /// The user to become, if the method has both a user and a target.
    pub(crate) user: Option<String>,
    /// Port of sshd at the target.
    pub(crate) port: Option<u16>,
    /// What an inventory of the tool says of the target.
    #[cfg(feature = "cli")]
    pub(crate) inventory: Option<std::sync::Arc<FromInventory>>,
}

/// What an inventory says of a host, besides what a hop has in any case.
#[cfg(feature = "cli")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FromInventory {
    /// The name of the host there. Two hosts of an inventory are two children, even at one address.
    pub(crate) name: String,
    /// Arguments for ssh.
    pub(crate) ssh_args: Vec<String>,
}

impl Hop {
    /// The connect for this hop, with the defaults of its method.
    pub(crate) fn connect(&self, router: &Router) -> Connect<AnyMethod> {
        let target = self.target.as_str();
        // Not every method has a user. The parser has checked this.
        macro_rules! with_user {
            ($connect:expr) => {
                match &self.user {
                    Some(user) => $connect.username(user).boxed(),
                    None => $connect.boxed(),
                }
            };
        }
        match self.method {
            MethodName::Local if target.is_empty() => router.local().boxed(),
            MethodName::Local => router.local().name(format!("local.{target}")).boxed(),
            MethodName::Fork if target.is_empty() => router.fork().boxed(),
            MethodName::Fork => router.fork().name(format!("fork.{target}")).boxed(),
            MethodName::Ssh => match self.port {
                Some(port) => with_user!(router.ssh(target).port(port)),
                None => with_user!(router.ssh(target)),
            },
            MethodName::Sudo => router.sudo().username(target).boxed(),
            MethodName::Su => router.su().username(target).boxed(),
            MethodName::Doas => router.doas().username(target).boxed(),
            MethodName::Container(engine) => engine.connect(router, target, self.user.as_ref()),
            #[cfg(feature = "cli")]
            MethodName::Own(_) => match self.method.own() {
                Some(own) => own.connect(router, target, self.user.as_ref(), |_| None),
                // Only names of methods become methods.
                None => router.local().boxed(),
            },
            MethodName::Setns => {
                let (kind, container) = target.split_once(':').unwrap_or((target, ""));
                // The parser has checked it.
                let kind = SetnsKind::by_name(kind).unwrap_or(SetnsKind::Docker);
                with_user!(router.setns(container, kind))
            }
        }
    }
}

impl Router {
    /// A child at the end of a path, in the notation of the tool. The hops before it are started in their
    /// order. Their contexts stay until this router ends. For several hosts behind one hop, one connect for the
    /// hop and [`Connect::via`] for the hosts are cheaper.
    ///
    /// The settings of the connect are for the child at the end. [`Connect::connect_timeout`] limits the time
    /// of all hops together. [`Connect::on_question`], [`Connect::cache`] and the settings that children
    /// inherit hold for each hop. If a hop fails, the hops before it end.
    ///
    /// ```
    /// use offshoot::connect::HostPath;
    /// use offshoot::{Error, Router};
    ///
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// let child = router.connect("local:one/local:two".parse::<HostPath>()?).await?;
    /// assert_eq!(child.name(), "local.one.local.two");
    /// # Ok(()) }
    /// ```
    pub fn connect(&self, path: HostPath) -> Connect<AnyMethod> {
        Connect::along(self, path.hops.iter().map(|hop| hop.connect(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        text.parse::<HostPath>().unwrap_err().to_string()
    }

    #[test]
    fn a_path_is_read_and_shown_as_it_was_written() {
        for text in ["web1", "deploy@bastion/web1:2222/sudo/docker:{r/app:1}", "[::1]:22", "local/local", "su:bob"] {
            assert_eq!(text.parse::<HostPath>().unwrap().to_string(), text);
        }
        let path: HostPath = "bastion/me@[fe80::1]:22/setns:amy@docker:app".parse().unwrap();
        let hops: Vec<_> = path.hops.iter().map(|hop| (hop.method, hop.target.as_str(), hop.port)).collect();
        let expected = [
            (MethodName::Ssh, "bastion", None),
            (MethodName::Ssh, "fe80::1", Some(22)),
            (MethodName::Setns, "docker:app", None),
        ];
        assert_eq!(hops, expected);
        let users: Vec<_> = path.hops.iter().map(|hop| hop.user.as_deref()).collect();
        assert_eq!(users, [None, Some("me"), Some("amy")]);
    }

    #[test]
    fn what_stands_for_several_hosts_or_none_is_refused_where_it_stands() {
        for (text, at, says) in [
            ("", 0, "a path is missing"),
            ("web[1-3]", 3, "a path is one host"),
            ("a,b", 1, "a path is one host"),
            ("a/b!c", 3, "a path is one host"),
            ("@web", 0, "a path is one host"),
            ("a//b", 2, "missing before"),
            ("dockr:app", 0, "did you mean docker?"),
            ("setns:jail:x", 0, "unsupported container kind: \"jail\""),
            ("web1:0", 5, "is not a port"),
        ] {
            let error = fault(text);
            assert!(error.contains(says) && error.contains(&format!("(at byte {at} of ")), "{text}: {error}");
        }
        assert!(fault(&["a"; 17].join("/")).contains("more than 16 hops"));
    }

    #[test]
    fn advice_that_repeats_a_part_of_a_path_can_be_shown() {
        for (text, says) in [
            ("CORP\\\u{9b}amy@web1\x1b", "braces: {CORP\\\\u{9b}amy}@web1\\u{1b}"),
            ("fe80::1%\x1b", "brackets: [fe80::1%\\u{1b}]"),
        ] {
            let error = fault(text);
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    #[cfg(feature = "cli")]
    fn the_way_there_makes_the_host_not_its_spelling() {
        let hop = |target: &str| Hop::plain(MethodName::Ssh, target);
        let host = |text: &str, target: &str| HostPath { text: text.into(), hops: vec![hop(target)] };
        assert_eq!(host("web1", "web1"), host("ssh:web1", "web1"));
        assert_ne!(host("web1", "web1"), host("web1", "web2"));
        let behind = host("web1", "web1").behind(&host("bastion", "bastion"));
        assert_eq!(behind.text, "web1");
        assert_eq!(behind.hops, [hop("bastion"), hop("web1")]);
    }
}
