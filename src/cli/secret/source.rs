//! Where a password comes from if nobody is asked: a file, a command, or a descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{MAX, buffer, secret, too_long};
use crate::Secret;
use crate::cli::args::passwords::PasswordArgs;
use crate::sys::patient::Patient;
use crate::sys::process::{inherited, with_usual_settings};

/// The mode bits of everyone but the owner.
const OTHERS: u32 = 0o077;
/// How long what a command has left behind may still print the line, as for commands of inventories.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is looked whether a command has ended, in milliseconds.
const LOOK: u8 = 20;

/// Whose password it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// That of ssh.
    Login,
    /// That of sudo, su and doas.
    Become,
}

impl Kind {
    /// How the options begin that name its source.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Login => "pass",
            Self::Become => "become-pass",
        }
    }
}

/// A source of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source<'a> {
    File(&'a Path),
    Command(&'a str),
    Descriptor(RawFd),
}

impl<'a> Source<'a> {
    /// The source that the options name, if nobody is to be asked. They name one at most.
    pub(super) fn named(args: &'a PasswordArgs, kind: Kind) -> Option<Self> {
        let (file, command, fd) = match kind {
            Kind::Login => (&args.pass_file, &args.pass_command, args.pass_fd),
            Kind::Become => (&args.become_pass_file, &args.become_pass_command, args.become_pass_fd),
        };
        let file = file.as_deref().map(Self::File);
        fd.map(Self::Descriptor).or(file).or_else(|| command.as_deref().map(Self::Command))
    }

    /// Reads the password.
    ///
    /// # Errors
    ///
    /// What cannot be read, and what to do. It never has a part of a password in it.
    pub(super) fn read(self, kind: Kind) -> Result<Secret, String> {
        match self {
            Self::File(path) => file(path).map_err(|why| format!("--{}-file {}: {why}", kind.option(), path.display())),
            Self::Command(line) => command(line).map_err(|why| format!("--{}-command `{line}`: {why}", kind.option())),
            Self::Descriptor(fd) => descriptor(fd).map_err(|why| format!("--{}-fd {fd}: {why}", kind.option())),
        }
    }
}

fn file(path: &Path) -> Result<Secret, String> {
    let text = |error: io::Error| error.to_string();
    let mut file = File::open(path).map_err(text)?;
    let mode = file.metadata().map_err(text)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(format!(
            "the file is open to others than its owner (mode {:o}); take that away with `chmod 600`",
            mode & 0o777
        ));
    }
    line(&mut file)
}

fn descriptor(fd: RawFd) -> Result<Secret, String> {
    let file = inherited(fd).map_err(|error| format!("{error}; open it as in `offshoot run ... {fd}<FILE`"))?;
    line(&mut Patient(file))
}

fn command(text: &str) -> Result<Secret, String> {
    let mut sh = Command::new("/bin/sh");
    // Stdin belongs to the commands on the hosts. What it has to say, and to ask, it says on the terminal.
    sh.arg("-c").arg(text).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = with_usual_settings(&mut sh).spawn().map_err(|error| format!("cannot start /bin/sh: {error}"))?;
    let read = child.stdout.take().map_or_else(
        || Err("it has no output".into()),
        |output| {
            let mut output = WhileRunning { output, child: &mut child, ended: None, grace: GRACE };
            let read = line(&mut output);
            // A writer of more lines is not to fail because nobody reads them.
            output.grace = Duration::ZERO;
            let _ = io::copy(&mut output, &mut io::sink());
            read
        },
    );
    let status = child.wait().map_err(|error| error.to_string())?;
    match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(0), _) => read,
        (Some(code), _) => Err(format!("it has ended with exit code {code}, so nothing was run")),
        (None, signal) => Err(format!("it was ended by signal {}, so nothing was run", signal.unwrap_or_default())),
    }
}

/// The output of a command, until the command has ended and a moment has passed. What it has left in the background may hold
/// the output open for ever.
struct WhileRunning<'a, O> {
    output: O,
    child: &'a mut Child,
    ended: Option<Instant>,
    grace: Duration,
}

impl<O: Read + AsFd> Read for WhileRunning<'_, O> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.child.try_wait()?.is_some() && self.ended.get_or_insert_with(Instant::now).elapsed() >= self.grace {
                return Ok(0);
            }
            let mut waited = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waited, PollTimeout::from(LOOK)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return self.output.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads the next line, and nothing behind it.
fn line(input: &mut impl Read) -> Result<Secret, String> {
    let mut line = buffer();
    let mut byte = zeroize::Zeroizing::new([0]);
    loop {
        match input.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == MAX => return Err(too_long().to_string()),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    // From an editor of another system.
    line.pop_if(|last| *last == b'\r');
    if line.is_empty() {
        return Err("there is no password: the line is empty".into());
    }
    secret(&line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_no_more() {
        let mut input = &b"first\r\nsecond\nthe rest"[..];
        assert_eq!(line(&mut input).unwrap().expose(), "first");
        assert_eq!(line(&mut input).unwrap().expose(), "second");
        assert_eq!(input, b"the rest");
        assert_eq!(line(&mut input).unwrap().expose(), "the rest");
        assert!(line(&mut input).unwrap_err().contains("the line is empty"));
        assert!(line(&mut &[b'x'; MAX + 1][..]).unwrap_err().contains("more than 1024 bytes"));
        assert!(line(&mut &b"\xff\n"[..]).unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn a_command_prints_a_password_or_fails() {
        assert_eq!(command("printf 'pass word\\nurl: x\\n'").unwrap().expose(), "pass word");
        assert!(command("echo unused; exit 3").unwrap_err().contains("exit code 3"));
        assert!(command("kill -9 $$").unwrap_err().contains("signal 9"));
        assert!(command("true").unwrap_err().contains("the line is empty"));
    }

    #[test]
    fn what_a_command_leaves_in_the_background_is_not_awaited() {
        let begun = Instant::now();
        assert_eq!(command("sleep 20 2>/dev/null & echo word").unwrap().expose(), "word");
        assert_eq!(command("yes & echo word; sleep 0.1").map(|_| ()), Ok(()));
        // It may be what prints the line, a moment later.
        assert_eq!(command("(sleep 0.1; echo late; exec sleep 20) 2>/dev/null &").unwrap().expose(), "late");
        assert!(command("sleep 20 2>/dev/null &").unwrap_err().contains("the line is empty"));
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "word\n").unwrap();
        for (mode, is_taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(file(&path).map(|secret| secret.expose().to_owned()).is_ok(), is_taken, "{mode:o}");
        }
        assert!(file(&path).unwrap_err().contains("(mode 620); take that away with `chmod 600`"));
    }
}
