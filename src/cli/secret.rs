//! Passwords, once for all hosts: those that the user types on the terminal, and those of a file, a command or a
//! descriptor.
//!
//! - `source`: where a password comes from if nobody is asked

mod source;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::Secret;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

pub(crate) use self::source::Kind;
use self::source::Source;
use crate::cli::args::ReachArgs;
use crate::cli::hosts::path::{HostPath, Method};
use crate::connect::host_path::own_methods::Asks;
use crate::sys::process::{Secrecy, keep_in_memory};
use crate::sys::raw_end::{ignores_stop, stop};

/// Longest secret, in bytes.
const MAX: usize = 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_Z: u8 = 26;

/// The passwords of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    /// For ssh.
    pub(crate) ssh: Option<Secret>,
    /// For sudo, su and doas.
    pub(crate) become_: Option<Secret>,
    /// Protects the memory of the tool from other processes while it holds a password.
    secrecy: Option<Rc<Secrecy>>,
}

/// Why there is no password.
#[derive(Debug)]
pub(crate) enum Unasked {
    /// Ctrl-C, or the end of input.
    Interrupted,
    Failed(String),
}

impl Secrets {
    /// Gets the passwords that the command line and the configuration name a source of. It asks for those that are to be
    /// asked for; those of other sources are taken only if a hop to these hosts may want them.
    ///
    /// It blocks.
    pub(crate) fn gather(reach: &ReachArgs, hosts: &[HostPath]) -> Result<Self, Unasked> {
        let passwords = &reach.passwords;
        let [login, becoming] =
            [Kind::Login, Kind::Become].map(|kind| Source::named(passwords, kind).filter(|_| is_wanted(kind, hosts)));
        let mut secrets = Self::default();
        if login.is_some() || becoming.is_some() || passwords.ask_pass || passwords.ask_become_pass {
            secrets.secrecy = Some(Rc::new(Secrecy::begin()));
        }
        if passwords.ask_pass {
            secrets.ssh = Some(ask("ssh password: ", Kind::Login)?);
        } else if let Some(source) = login {
            secrets.ssh = Some(source.read(Kind::Login).map_err(Unasked::Failed)?);
        }
        if passwords.ask_become_pass {
            let method = reach.becoming.become_method.as_str();
            let given = match &secrets.ssh {
                Some(_) => ask(&format!("{method} password (empty: the one for ssh): "), Kind::Become)?,
                None => ask(&format!("{method} password: "), Kind::Become)?,
            };
            let empty = given.expose().is_empty();
            secrets.become_ = secrets.ssh.clone().filter(|_| empty).or(Some(given));
        } else if let Some(source) = becoming {
            secrets.become_ = Some(source.read(Kind::Become).map_err(Unasked::Failed)?);
        }
        Ok(secrets)
    }
}

/// Whether a hop on the way to these hosts may ask for such a password.
pub(crate) fn is_wanted(kind: Kind, hosts: &[HostPath]) -> bool {
    let asks = match kind {
        Kind::Login => Asks::Login,
        Kind::Become => Asks::Become,
    };
    let mut hops = hosts.iter().flat_map(|host| &host.hops);
    hops.any(|hop| match (hop.method.own(), kind) {
        (Some(own), _) => own.prompts.iter().any(|(_, answer)| *answer == asks),
        (None, Kind::Login) => hop.method == Method::Ssh,
        (None, Kind::Become) => Method::BECOMING.contains(&hop.method),
    })
}

fn ask(question: &str, kind: Kind) -> Result<Secret, Unasked> {
    let failed = |error: io::Error| {
        Unasked::Failed(format!(
            "cannot ask for a password: there is no terminal (/dev/tty: {error}); --{0}-file, --{0}-command or --{0}-fd \
             take it from elsewhere",
            kind.option()
        ))
    };
    let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
    loop {
        let quiet = Quiet::new(&tty).map_err(failed)?;
        (&tty).write_all(question.as_bytes()).map_err(failed)?;
        let typed = read(&tty, !ignores_stop());
        drop(quiet);
        (&tty).write_all(b"\n").map_err(failed)?;
        match typed.map_err(failed)? {
            Typed::Line(secret) => return Ok(secret),
            Typed::GivenUp => return Err(Unasked::Interrupted),
            // The question is asked again when the user comes back.
            Typed::Stop => stop().map_err(failed)?,
        }
    }
}

/// Room for a password, which is wiped in the end. It is never moved, so that no copy stays in memory.
fn buffer() -> zeroize::Zeroizing<Vec<u8>> {
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(MAX));
    // If the system refuses, the password may be written to swap, as with ssh and sudo.
    line.resize(MAX, 0);
    let _ = keep_in_memory(&line);
    line.clear();
    line
}

fn secret(line: &[u8]) -> io::Result<Secret> {
    let text = std::str::from_utf8(line).map_err(|_| io::Error::other("the password is not UTF-8"))?;
    let secret = Secret::from(text);
    let _ = keep_in_memory(secret.expose().as_bytes());
    Ok(secret)
}

fn too_long() -> io::Error {
    io::Error::other(format!("the password has more than {MAX} bytes"))
}

/// What a user has typed.
#[derive(Debug)]
enum Typed {
    Line(Secret),
    /// Ctrl-C, Ctrl-D, or the end of input.
    GivenUp,
    /// Ctrl-Z.
    Stop,
}

/// Reads a line that is typed. The usual keys correct it. `can_stop`: whether Ctrl-Z can stop this process.
fn read(mut input: impl Read, can_stop: bool) -> io::Result<Typed> {
    let mut line = buffer();
    let mut byte = [0];
    while input.read(&mut byte)? > 0 {
        match byte[0] {
            b'\r' | b'\n' => return secret(&line).map(Typed::Line),
            CTRL_C | CTRL_D => return Ok(Typed::GivenUp),
            CTRL_Z if can_stop => return Ok(Typed::Stop),
            CTRL_Z => {}
            // Backspace, and Ctrl-U.
            8 | 127 => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            21 => line.clear(),
            byte if line.len() < MAX => line.push(byte),
            _ => return Err(too_long()),
        }
    }
    Ok(Typed::GivenUp)
}

/// While this exists, the terminal shows no typed characters and sends no signals.
struct Quiet<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut modes = before.clone();
        modes.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN);
        // Text that was typed before the question is not meant for it, so it is discarded.
        tcsetattr(tty, SetArg::TCSAFLUSH, &modes)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A failure means that the terminal is gone.
        let _ = tcsetattr(self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(typed: &[u8]) -> Option<String> {
        match read(typed, false).unwrap() {
            Typed::Line(secret) => Some(secret.expose().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_line_can_be_corrected_and_given_up() {
        assert_eq!(line(b"pass word\nmore").unwrap(), "pass word");
        assert_eq!(line("p\u{e9}\x7f\x7fab\x08c\r".as_bytes()).unwrap(), "ac");
        assert_eq!(line(b"wrong\x15right\n").unwrap(), "right");
        assert_eq!(line(b"\n").unwrap(), "");
        for typed in [&b"abc\x03"[..], b"abc\x04", b"abc"] {
            assert_eq!(line(typed), None);
        }
        assert!(read(&[b'x'; 2000][..], true).is_err());
        // Ctrl-Z is no part of it.
        assert_eq!(line(b"wo\x1ard\n").unwrap(), "word");
        assert!(matches!(read(&b"wo\x1ard\n"[..], true).unwrap(), Typed::Stop));
    }
}
