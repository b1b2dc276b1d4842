//! What a copy of this program does that stands in for ssh: it passes its standard streams and its arguments to the
//! program that leads ssh through a context, and ends with the exit code that it gets.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::connect::child::test_path;
use crate::sys::passing;
use crate::sys::process::exit_now;

/// The first argument of such a copy. The next one is the socket of the program, and then come those of ssh.
const MARK: &str = "offshoot-in-place-of-ssh";
/// Where its stdout is. What the program itself prints must not come into it.
const STDOUT: RawFd = 7;
/// What ssh ends with if no command has ended.
pub(crate) const OWN_FAULT: u8 = 255;

/// The line of shell that runs such a copy. `word` quotes a word.
pub(crate) fn line(socket: &Path, word: &dyn Fn(&OsStr) -> OsString) -> OsString {
    // A program whose file is gone is still there for the system.
    let here = std::env::current_exe().ok().filter(|program| program.exists());
    let program = here.unwrap_or_else(|| format!("/proc/{}/exe", std::process::id()).into());
    let mut line = OsString::from(format!("exec {STDOUT}>&1 >/dev/null\nexec "));
    line.push(word(program.as_os_str()));
    if let Some(path) = test_path() {
        // The harness takes no words behind -- for options.
        line.push(format!(" --exact --nocapture -- {path}"));
    }
    line.push(format!(" {MARK} "));
    line.push(word(socket.as_os_str()));
    line
}

/// Stands in for ssh, and does not return, if these arguments say so.
#[expect(clippy::print_stderr, reason = "stderr is that of ssh")]
pub(super) fn stand_in(args: &mut dyn Iterator<Item = OsString>) {
    if args.next().is_none_or(|mark| mark != MARK) {
        return;
    }
    let socket = args.next().unwrap_or_default();
    let code = pass_on(Path::new(&socket), args).unwrap_or_else(|_| {
        // No other error can be mended by the user.
        eprintln!("offshoot: the program that leads ssh through a context has gone, and so has the command");
        OWN_FAULT
    });
    exit_now(code.into());
}

fn pass_on(socket: &Path, args: &mut dyn Iterator<Item = OsString>) -> io::Result<u8> {
    let mut socket = UnixStream::connect(socket)?;
    let mut words = Vec::new();
    let mut push = |word: &[u8]| {
        words.extend_from_slice(word);
        words.push(0);
    };
    args.for_each(|arg| push(arg.as_bytes()));
    // An argument may be empty, and the name of a variable is not. So a lone = comes before them.
    push(b"=");
    std::env::vars_os().for_each(|(name, value)| push(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    let length = u32::try_from(words.len()).map_err(io::Error::other)?;
    passing::send(&socket, [0, STDOUT, 2], length)?;
    socket.write_all(&words)?;
    let mut code = [0];
    socket.read_exact(&mut code)?;
    Ok(code[0])
}
