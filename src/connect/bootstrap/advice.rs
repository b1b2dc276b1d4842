//! Advice for failures of a bootstrap, where one sentence fits all cases.

use crate::wire::error::Phase;

/// Advice for a launcher that has ended without a known message. `code` is its exit code, if it has one.
pub(super) fn hint(phase: Phase, code: Option<i32>) -> &'static str {
    match phase {
        Phase::Start | Phase::Login if code == Some(127) => "a command was not found there: is there an `sh` on PATH?",
        Phase::Start | Phase::Login if code == Some(255) => {
            "ssh ends like this if it was refused in words that it hides, if it has lost the connection, or if the two \
             sides have no algorithm in common: see what `ssh -v HOST true` prints"
        }
        Phase::Start | Phase::Login => {
            "nothing of ours has run: does the account's shell accept `sh -c`, is the key bound to another command \
             (ForceCommand, command= in authorized_keys), or does a start-up file (.bashrc, .profile) end the shell?"
        }
        Phase::FirstStage | Phase::Upload => "the first stage ended before it had the whole image",
        Phase::Exec if code == Some(127) => "there is no such program",
        Phase::Exec if code == Some(126) => "it may not be executed there, or is for another processor",
        Phase::Exec if code == Some(0) => "it ended well without becoming a child: is it a copy of this program?",
        Phase::Exec => {
            "the image did not become a child: did all of it arrive, is it for this processor, and may it be executed there?"
        }
        Phase::Handshake => "the child ended while it introduced itself",
    }
}

/// The error, and the advice, if an image would have to be sent and must not be.
pub(super) const NO_UPLOAD: (&str, &str) = (
    "it has no image of this program, and none may be sent",
    "install this program there and name it by ⟨--binary|binary()⟩, or let an image be kept by ⟨--cache|cache()⟩ first",
);
/// Advice if the time is over and nothing is known of what happens on the machine.
pub(super) const NOTHING_RUNS: &str = "nothing of ours has run on the machine yet: is it slow, does it wait for an answer, is it told to run no \
     command (SessionType in ssh_config), or does a start-up file of the login shell (.bashrc, .profile, .zshenv, \
     .cshrc) not return? `ssh -v HOST true` shows how far it comes";
/// Advice if the machine is reached and does not come to our command.
pub(super) const START_UP: &str = "does a start-up file of the login shell (.bashrc, .profile, .zshenv, .cshrc) wait for something, execute another \
     program or redirect its output, or is ssh told to run no command (SessionType in ssh_config)?";
/// Advice if something else than the first stage has read the input.
#[cfg(feature = "cli")]
pub(super) const READS_INPUT: &str = "a start-up file of the login shell (.bashrc, .profile, .zshenv, .cshrc) reads input, executes another program \
     (`exec`) or redirects the output: let it do so in interactive shells only";
/// Further advice if the first stage has come shortly before the end of the time.
#[cfg(feature = "cli")]
pub(super) const SLOW: &str = "if the host is only slow, raise ⟨--connect-timeout|connect_timeout()⟩";
/// Advice for a launcher that has closed its output but keeps running.
pub(super) const NO_OUTPUT: &str = "it has closed its output and goes on: is ssh told to run no command (SessionType none in ssh_config, `-N`), \
     or does a wrapper or a start-up file close or redirect the output?";
/// Text and advice for a program that was started as a child but makes a router of its own.
pub(super) const UNCLAIMED: (&str, &str) = (
    "the program was started as a child and makes a router before it becomes one",
    "call offshoot::child(), or offshoot::run, first in its main; a file of tests has offshoot::testing!() for it",
);
/// Advice if the program has printed the argument by which it is a child.
pub(super) const READS_ARGUMENTS: &str = "the program reads its arguments before it becomes a child: call offshoot::child() first in its main, or read \
     them in what offshoot::run runs";
/// Text and advice for a first stage that had no input.
pub(super) const NOTHING_TO_READ: (&str, &str) = (
    "the first stage had no input: what runs the command there, or the launcher here, gives it \
     none",
    "look for `StdinNull yes`, `-n` or `-f` of ssh, and for `</dev/null` in a wrapper or ForceCommand, \
     and let stdin through",
);
/// Text and advice for lines that end in CR LF, as a terminal ends them.
pub(super) const TERMINAL_BETWEEN: (&str, &str) = (
    "a terminal is between this program and the first stage, and would change the image: \
     the first stage's line ends in CR LF",
    "let the session recorder or wrapper of the login (`script`, tlog, \
     a ForceCommand) pass sessions that have no terminal as they are, and have no terminal allocated (ssh `-tt`)",
);
/// Text and advice if the image is on the machine, and the shell does not find what executes it.
pub(super) const NO_LOADER: (&str, &str) = (
    "the machine has the image, and not the loader or the libraries that the image needs",
    "build the program for a target whose programs need none: cargo build --target x86_64-unknown-linux-musl, or that of \
     the machine's processor",
);
/// Advice if no place can hold and execute the image.
pub(super) const FREE_ONE: &str = "free or mount one of them without noexec, or let XDG_RUNTIME_DIR or HOME name a directory that \
     allows execution";
/// Advice if the image that arrived differs from the image that was sent.
pub(crate) const DAMAGED: &str = "try again; if it stays so, something on the way changes or cuts what is sent: a proxy, a filter, \
     a terminal";
/// Advice if the account's limit on file size is too small.
pub(super) const SMALL_FILES: &str = "the account may write small files only: look at `ulimit -f` there";
pub(super) const FEW_FILES: &str = "the account may open too few files: look at `ulimit -n` there";
pub(super) const FEW_PROCESSES: &str = "end some, or raise the limit: `ulimit -u` of the account (nproc in limits.conf, TasksMax of systemd), \
     `ulimit -v`, --pids-limit of a container";
/// Advice if the image was sent, and SIGKILL has ended what should have become a child.
pub(super) const WAS_KILLED: &str = "it was killed (SIGKILL): was the container restarted, is there too little memory, or does a security program \
     kill what it does not know?";
/// Text and advice if the first stage may not execute any program.
pub(super) const MAY_NOT_EXECUTE: (&str, &str) = (
    "the first stage may execute no other program: sudo rules with NOEXEC, or a policy like them",
    "allow it in sudoers: EXEC: for the shell in this rule, or no `Defaults noexec` for it",
);
