//! Why a dialogue has failed: what happened, what the far side printed, and what to do.

use std::fmt::{self, Write as _};
use std::time::Duration;

#[cfg(feature = "cli")]
use super::Closing;
use super::nonce::CHILD_PREFIX;
use super::{Action, Announcement, Diagnosis, Dialogue, Expect, SSH_FAILED, Upload, advice, note, tool_words};
use crate::wire::error::{ConnectCause, ConnectError, ConnectErrorKind, Phase};

/// The exit code of a shell that has not found what it should execute.
const NOT_FOUND: i32 = 127;
/// The exit code by which a shell, or the client of an engine, reports a process that SIGKILL has ended.
const KILLED: i32 = 128 + 9;

impl Dialogue {
    /// The error for a machine whose `uname` has printed nothing.
    pub(super) fn does_not_say(&mut self, actions: &mut Vec<Action>) -> ConnectError {
        self.flush(actions);
        let lines = self.tail.lines();
        if let Some(line) = tool_words::cannot_fork(&lines) {
            return self.diagnosed(Diagnosis::no_processes(line));
        }
        if tool_words::may_not_execute(&lines) {
            let (text, advice) = advice::MAY_NOT_EXECUTE;
            return self.error(ConnectErrorKind::Unsupported, text).with_advice(advice);
        }
        let text = "the machine does not say what it is: `uname -sm` printed nothing";
        self.lacks_tool(text, "put `uname` on its PATH")
    }

    /// The error for `TOKEN failed SIZE [REASON]`. The complaints of the tools came before it, as noise.
    pub(super) fn upload_failed(&mut self, rest: &str, upload: &Upload, actions: &mut Vec<Action>) -> ConnectError {
        note(actions, self.tail.finish());
        let rest = rest.trim();
        let (size, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let complaints: Vec<&str> = self.tail.since(upload.since).collect();
        let reason = if reason.is_empty() { complaints.join("; ") } else { reason.to_owned() };
        let by_tools = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let unpacked = upload.image.unpacked;
        let is_full = tool_words::is_full(&reason);
        let said: Vec<String> = complaints.iter().map(|line| (*line).to_owned()).collect();
        match (&upload.announcement.place, size) {
            (None, size) if size == "-" || is_full => {
                let text = format!(
                    "no place can hold and execute the image, and it cannot be run from memory either{by_tools}; {}",
                    upload.announcement.no_place()
                );
                self.no_place(&upload.announcement, &reason, text)
            }
            (Some(_), _) if tool_words::cannot_fork(&said).is_some() => {
                let text = format!("the machine could not start the programs that take the image{by_tools}");
                self.error(ConnectErrorKind::Start, text).with_advice(advice::FEW_PROCESSES)
            }
            (_, "-") => {
                let text = format!("the machine could not unpack the image{by_tools}");
                self.error(ConnectErrorKind::Corrupt, text).with_advice(advice::DAMAGED)
            }
            _ => {
                let text = format!("the image arrived with size {size} instead of {unpacked}{by_tools}");
                self.error(ConnectErrorKind::Corrupt, text).with_advice(advice::DAMAGED)
            }
        }
    }

    /// The error for `TOKEN failed eof`.
    pub(super) fn no_input(&mut self) -> ConnectError {
        self.buffer = Vec::new();
        self.phase = Phase::FirstStage;
        self.error(ConnectErrorKind::Eof, advice::NOTHING_TO_READ.0).with_advice(advice::NOTHING_TO_READ.1)
    }

    pub(super) fn ended(
        &mut self,
        status: &str,
        code: Option<i32>,
        lingered: bool,
        actions: &mut Vec<Action>,
    ) -> ConnectError {
        self.flush(actions);
        let lines = self.tail.lines();
        let meaning = (self.interpret)(&lines)
            .or_else(|| Diagnosis::by_words(&self.prompts.texts, &lines))
            .filter(|diagnosis| self.is_credible(diagnosis.kind));
        // The first stage has written the image, so it is the image's loader that is not there, or that
        // has found a libc that is too old.
        let lacks_loader = matches!(self.expect, Expect::Child { upload: Some(_) })
            && self.phase == Phase::Exec
            && (code == Some(NOT_FOUND) || lines.iter().any(|line| line.contains("GLIBC_")));
        // Shells say the same of a missing command.
        let meaning = meaning.filter(|diagnosis| !(lacks_loader && diagnosis.kind == ConnectErrorKind::Eof));
        let refused = || match self.expect {
            // A launcher that does not let the user in exits with 1.
            Expect::Announcement { .. } | Expect::Child { upload: None } if code == Some(1) => self.prompts.ended(),
            _ => None,
        };
        let out_of_processes = || tool_words::cannot_fork(&lines).map(Diagnosis::no_processes);
        if let Some(diagnosis) = meaning.or_else(out_of_processes).or_else(refused) {
            if is_login(diagnosis.kind) {
                self.phase = Phase::Login;
            }
            return self.diagnosed(diagnosis);
        }
        if lacks_loader {
            let (text, advice) = advice::NO_LOADER;
            return self.error(ConnectErrorKind::Unsupported, format!("{text} ({status})")).with_advice(advice);
        }
        #[cfg(feature = "cli")]
        if let Some(Closing { limit, .. }) = self.stdin_closed.filter(|_| code != Some(SSH_FAILED)) {
            let what = "nothing has come from our command, and what runs in its place ended when its input was closed";
            return self.late(limit, format_args!("{what} ({status})"), advice::READS_INPUT);
        }
        let none = if lines.is_empty() { " none" } else { "" };
        let text = format!("EOF on stream; last 100 lines received:{none} (phase {}, {status})", self.phase);
        let was_killed = matches!(self.phase, Phase::Exec | Phase::Handshake) && code == Some(KILLED);
        let advice = match lingered && matches!(self.phase, Phase::Start | Phase::Login) {
            _ if self.phase == Phase::Exec && lines.iter().any(|line| line.contains(CHILD_PREFIX)) => {
                advice::READS_ARGUMENTS
            }
            _ if was_killed => advice::WAS_KILLED,
            _ if tool_words::lacks_files(&lines) => advice::FEW_FILES,
            true => advice::NO_OUTPUT,
            false => advice::hint(self.phase, code),
        };
        let is_silent = self.phase == Phase::Login && code == Some(SSH_FAILED) && lines.is_empty();
        let cause = match code {
            _ if is_silent => ConnectCause::Unexplained,
            _ if was_killed => ConnectCause::Killed,
            Some(NOT_FOUND) if matches!(self.expect, Expect::Child { upload: None }) => ConnectCause::NoShell,
            _ => ConnectCause::Plain,
        };
        self.error(ConnectErrorKind::Eof, text).with_advice(advice).with_cause(cause)
    }

    /// Whether a diagnosis can be true at this point. Once the first stage has written something, the login has
    /// succeeded. Lines that look like a failed login then do not come from the launcher.
    pub(super) fn is_credible(&self, kind: ConnectErrorKind) -> bool {
        let announced = self.phase != Phase::Login && !matches!(self.expect, Expect::Child { upload: None });
        !(announced && is_login(kind))
    }

    pub(super) fn timeout(&mut self, after: Duration, actions: &mut Vec<Action>) -> ConnectError {
        self.flush(actions);
        let what = match self.phase {
            Phase::Start | Phase::Login => match self.without_first_stage(after) {
                Some(error) => return error,
                None => advice::NOTHING_RUNS,
            },
            Phase::FirstStage => "no image was chosen in that time",
            Phase::Upload => "the image was not all sent: strip the program, or raise connect_timeout for a slow line",
            Phase::Exec => "the image was sent or started, but no child has spoken",
            Phase::Handshake => "the child did not finish introducing itself",
        };
        let text = self.timed_out(after);
        let lines = self.tail.lines();
        let what = match tool_words::lacks_files(&lines) {
            true => advice::FEW_FILES,
            false if tool_words::cannot_fork(&lines).is_some() => advice::FEW_PROCESSES,
            false => what,
        };
        self.error(ConnectErrorKind::Timeout, text).with_advice(what)
    }

    /// The error if the time is over and something is known about why the first stage has not come.
    fn without_first_stage(&self, after: Duration) -> Option<ConnectError> {
        #[cfg(feature = "cli")]
        let reads = if self.stdin_closed.is_some() { " and does not read its input" } else { "" };
        #[cfg(not(feature = "cli"))]
        let reads = "";
        // The launcher itself writes to stderr or its terminal, so a line on stdout comes from a command on the
        // machine.
        if self.tail.last_of_stdout().is_some() {
            let what = "the login shell, or a start-up file of it, has not come to our command";
            return Some(self.late(after, format_args!("{what}{reads}"), advice::START_UP));
        }
        // Only the tool has ssh say so.
        #[cfg(feature = "cli")]
        if tool_words::has_logged_in(&self.tail.lines()) {
            let what = "ssh has logged in, and what runs there has not come to our command";
            let error = self.late(after, format_args!("{what}{reads}"), advice::START_UP);
            return Some(error.with_cause(ConnectCause::LoggedIn));
        }
        None
    }

    /// The error for a first stage that has come only after its input was closed. Mostly, something before our command has read
    /// the input to its end. A machine that is slow may happen to come at that moment.
    #[cfg(feature = "cli")]
    pub(super) fn came_late(&self, Closing { at, limit }: Closing) -> ConnectError {
        let (at, of) = (readable(at), readable(limit));
        self.late(
            limit,
            format_args!("the first stage came only when its input was closed, after {at:?} of {of:?}"),
            &crate::wire::error::joined(advice::READS_INPUT, advice::SLOW),
        )
    }

    /// The error for a time that is over, with the last line of stdout.
    fn late(&self, after: Duration, what: fmt::Arguments<'_>, advice: &str) -> ConnectError {
        let mut text = format!("{}: {what}", self.timed_out(after));
        if let Some(said) = self.tail.last_of_stdout() {
            // Writing to a string does not fail.
            let _ = write!(text, "; {said:?} was printed last");
        }
        self.error(ConnectErrorKind::Timeout, text).with_advice(advice)
    }

    fn timed_out(&self, after: Duration) -> String {
        format!("connection timed out after {:?} in phase {}", readable(after), self.phase)
    }

    /// The text of a warning if nothing has come for `silent` after a line on stdout: the machine has begun, and has
    /// stopped before our command.
    #[cfg(feature = "cli")]
    pub(crate) fn stalled(&self, silent: Duration) -> Option<String> {
        let said = self.tail.last_of_stdout()?;
        Some(format!(
            "the login shell has printed {said:?} and then nothing for {silent:?}, and has not come to our command; \
             does a start-up file of it wait for input?"
        ))
    }

    /// `reason`: what the tools printed about the last place.
    pub(super) fn no_place(&self, announcement: &Announcement, reason: &str, text: String) -> ConnectError {
        let mut reasons = announcement.refused.iter().map(|refusal| refusal.reason.as_str()).chain([reason]);
        let advice = if reasons.any(tool_words::is_limited) { advice::SMALL_FILES } else { advice::FREE_ONE };
        self.error(ConnectErrorKind::NoPlace, text).with_advice(advice)
    }

    pub(super) fn lacks_tool(&self, text: &str, advice: &str) -> ConnectError {
        self.error(ConnectErrorKind::Unsupported, text).with_advice(advice).with_cause(ConnectCause::NoTool)
    }

    pub(super) fn diagnosed(&self, diagnosis: Diagnosis) -> ConnectError {
        let Diagnosis { kind, cause, text, mut advice } = diagnosis;
        let has_ended = matches!(kind, ConnectErrorKind::Eof | ConnectErrorKind::Timeout);
        if has_ended && tool_words::lacks_files(&self.tail.lines()) {
            advice = advice::FEW_FILES.into();
        }
        self.error(kind, text).with_advice(advice).with_cause(cause)
    }

    pub(super) fn error(&self, kind: ConnectErrorKind, text: impl Into<String>) -> ConnectError {
        let mut error = ConnectError::new(kind, self.phase, &self.hop, text);
        error.tail = self.tail.shown();
        self.prompts.clean(&mut error.tail, kind);
        error
    }
}

/// Cuts off digits that do not help a reader: the time that is left for one attempt has nanoseconds.
fn readable(time: Duration) -> Duration {
    let (millis, step) = (time.as_millis() as u64, if time < Duration::from_secs(1) { 1 } else { 100 });
    if millis == 0 { time } else { Duration::from_millis(millis / step * step) }
}

fn is_login(kind: ConnectErrorKind) -> bool {
    matches!(kind, ConnectErrorKind::Password | ConnectErrorKind::HostKey | ConnectErrorKind::Auth)
}
