//! A connect step by step, in words: what was tried, what came back, and what to do about it. It is made from a
//! [`ConnectTrace`].

use std::fmt::Write;

use serde::Serialize;

use crate::api::context::Context;
use crate::connect::bootstrap::Announcement;
use crate::connect::bootstrap::advice::DAMAGED;
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{ConnectError, ConnectErrorKind, Error, Phase};
use crate::wire::sanitize::printable;

/// A step of a connect, as `offshoot doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `start`, `login`, `first stage`, `places`, `interpreter`, `image`,
    /// `upload`, `exec` or `handshake`.
    pub(crate) step: &'static str,
    /// How it went.
    pub(crate) status: StepStatus,
    /// What was tried.
    pub(crate) tried: String,
    /// What came back.
    pub(crate) got: String,
    /// What to do about it; empty if there is nothing to do.
    #[serde(rename = "do")]
    pub(crate) advice: String,
}

/// How a [`Step`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StepStatus {
    /// It succeeded.
    Ok,
    /// This is where the connect failed.
    Failed,
    /// It was not needed.
    Skipped,
    /// The connect failed before this step.
    Pending,
}

/// The outcome of a connect, and its steps.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The child, or why there is none.
    pub(crate) context: Result<Context, Error>,
    pub(crate) trace: ConnectTrace,
}

impl Examined {
    /// The steps, in their order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        match &self.context {
            Err(Error::Connect(error)) => error.steps(),
            Err(error) => {
                let error = ConnectError::new(ConnectErrorKind::Eof, Phase::Start, "", error.to_string());
                error.steps()
            }
            Ok(_) => steps(&self.trace, None),
        }
    }
}

impl ConnectError {
    /// How far the connect got, step by step, and what to do.
    pub(crate) fn steps(&self) -> Vec<Step> {
        steps(&self.trace, Some(self))
    }
}

const START: usize = 0;
const LOGIN: usize = 1;
const FIRST_STAGE: usize = 2;
const PLACES: usize = 3;
const INTERPRETER: usize = 4;
const IMAGE: usize = 5;
const UPLOAD: usize = 6;
const EXEC: usize = 7;
const HANDSHAKE: usize = 8;

fn steps(trace: &ConnectTrace, error: Option<&ConnectError>) -> Vec<Step> {
    let offers: Vec<Announcement> =
        trace.announced.iter().filter_map(|line| Announcement::parse(line.as_bytes())).collect();
    let mut steps = described(trace, &offers);
    let failed = error.map_or(steps.len(), |error| failed_step(error, offers.last()));
    for (at, step) in steps.iter_mut().enumerate() {
        match error {
            Some(error) if at == failed => {
                step.status = StepStatus::Failed;
                (step.got, step.advice) = said(error);
            }
            _ if at > failed => {
                step.status = StepStatus::Pending;
                (step.tried, step.got) = (String::new(), String::new());
            }
            _ => {}
        }
    }
    steps
}

/// All steps, described as if they had succeeded.
fn described(trace: &ConnectTrace, offers: &[Announcement]) -> Vec<Step> {
    let first = offers.first();
    let last = offers.last();
    let words: Vec<String> = trace.command.iter().map(|word| printable(word)).collect();
    let since = |phase: Phase| {
        trace
            .reached
            .iter()
            .find(|(reached, _)| *reached == phase)
            .map_or_else(String::new, |(_, at)| format!("after {at} ms"))
    };
    let refused: Vec<String> =
        last.iter().flat_map(|announcement| &announcement.refused).map(ToString::to_string).collect();
    let mut places =
        last.and_then(|announcement| announcement.place.clone()).unwrap_or_else(|| "none, so it goes to memory".into());
    for refusal in refused {
        let _ = write!(places, "; {refusal}");
    }
    let interpreter = match last.map(|announcement| (&announcement.place, &announcement.interpreter)) {
        Some((Some(_), Some(interpreter))) => format!("{interpreter} is there and not needed"),
        Some((None, Some(interpreter))) => format!("{interpreter} runs the image from memory"),
        _ => "none is there, and none is needed".into(),
    };
    let (sent, unpacked) = trace.sent.last().copied().unwrap_or_default();
    let image = last.map_or_else(String::new, |announcement| {
        format!("one for {} {}, {unpacked} bytes", announcement.system, announcement.machine)
    });
    let upload = match trace.sent.len() {
        0 => String::new(),
        _ if sent == 0 => "the machine has kept it from before".into(),
        1 => format!(
            "{sent} bytes, {:?}",
            last.map_or(crate::image::executable::Compression::Plain, |announcement| announcement.compression)
        ),
        times => format!("{sent} bytes, at the attempt number {times}"),
    };
    let step = |step, tried: &str, got: String| Step {
        step,
        status: StepStatus::Ok,
        tried: tried.into(),
        got,
        advice: String::new(),
    };
    let mut steps = vec![
        step("start", &words.join(" "), "it runs".into()),
        step("login", "to run a command there", if first.is_some() { since(Phase::FirstStage) } else { String::new() }),
        step(
            "first stage",
            "a line of shell",
            first.map_or_else(String::new, |announcement| {
                format!(
                    "{} {}, unpacks {:?}, reads by {:?}",
                    announcement.system, announcement.machine, announcement.compression, announcement.reader
                )
            }),
        ),
        step("places", "a place where the image can be written and executed", places),
        step("interpreter", "perl and python3, to run it from memory", interpreter),
        step("image", "an image for the machine", image),
        step("upload", "to send it", upload),
        step("exec", "to execute it", since(Phase::Exec)),
        step("handshake", "to agree with it on build and functions", since(Phase::Handshake)),
    ];
    if first.is_none() {
        // An image that is executed where it is needs no first stage and no upload.
        for step in &mut steps[FIRST_STAGE..=UPLOAD] {
            (step.status, step.got) = (StepStatus::Skipped, "not needed".into());
        }
    }
    steps
}

fn failed_step(error: &ConnectError, announcement: Option<&Announcement>) -> usize {
    match (error.phase, error.kind) {
        (Phase::Start, _) => START,
        (Phase::Login, _) => LOGIN,
        (Phase::FirstStage, ConnectErrorKind::NoPlace) => PLACES,
        (Phase::FirstStage, ConnectErrorKind::Unsupported)
            if announcement.is_some_and(|announcement| !announcement.is_usable()) =>
        {
            FIRST_STAGE
        }
        (Phase::FirstStage, ConnectErrorKind::Unsupported | ConnectErrorKind::Image) => IMAGE,
        (Phase::FirstStage, _) => FIRST_STAGE,
        (Phase::Upload, _) | (Phase::Exec, ConnectErrorKind::Corrupt) => UPLOAD,
        // Without an announced place, the image was executed by the interpreter.
        (Phase::Exec, ConnectErrorKind::NoPlace)
            if announcement.is_none_or(|announcement| announcement.place.is_none()) =>
        {
            INTERPRETER
        }
        (Phase::Exec, _) => EXEC,
        (Phase::Handshake, _) => HANDSHAKE,
    }
}

/// What came back, and what to do.
fn said(error: &ConnectError) -> (String, String) {
    let mut got = error.text.clone();
    // The other lines are in the error.
    let skip = error.tail.len().saturating_sub(LINES);
    for line in &error.tail[skip..] {
        let _ = write!(got, "\n{line}");
    }
    let launcher = error.trace.command.first().map_or("", String::as_str);
    let tool = launcher.rsplit('/').next().unwrap_or_default();
    let by_hand = match tool {
        "" => "see the lines above".to_owned(),
        tool => format!("see the lines above, and what {} does by hand there", printable(tool)),
    };
    let advice = match (error.kind, error.phase) {
        _ if !error.advice.is_empty() => &error.advice,
        (ConnectErrorKind::Corrupt, _) => DAMAGED,
        (ConnectErrorKind::Password, _) => "give the right one",
        _ if tool != "ssh" => &by_hand,
        (ConnectErrorKind::Eof, Phase::Login) => {
            "see that sshd runs there and listens on that port, and what `ssh -v` says"
        }
        _ => "see `ssh -v` to the host, and the lines above",
    };
    (got, advice.to_owned())
}

/// How many of the far side's last lines a step repeats.
const LINES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(announced: &[&str], sent: &[(u64, u64)]) -> ConnectTrace {
        ConnectTrace {
            command: vec!["ssh".into(), "web1".into(), "...".into()],
            announced: announced.iter().map(|line| (*line).to_owned()).collect(),
            sent: sent.to_vec(),
            reached: vec![(Phase::FirstStage, 70), (Phase::Upload, 72), (Phase::Exec, 75), (Phase::Handshake, 90)],
        }
    }

    fn failure(kind: ConnectErrorKind, phase: Phase, text: &str, advice: &str, trace: ConnectTrace) -> ConnectError {
        let mut error = ConnectError::new(kind, phase, "ssh.web1", text).with_advice(advice);
        error.tail = vec!["the last line".into()];
        error.trace = Box::new(trace);
        error
    }

    #[test]
    fn a_connect_that_went_well_is_told_step_by_step() {
        let full =
            " Linux x86_64 zstd head perl |/tmp/.offshoot-1-2|/dev/shm|cat: write error: No space left on device";
        let steps =
            steps(&trace(&[" Linux x86_64 zstd head perl |/dev/shm/.offshoot-1-2", full], &[(9, 20), (9, 20)]), None);
        let names: Vec<&str> = steps.iter().map(|step| step.step).collect();
        let all = ["start", "login", "first stage", "places", "interpreter", "image", "upload", "exec", "handshake"];
        assert_eq!(names, all);
        assert!(steps.iter().all(|step| step.status == StepStatus::Ok && step.advice.is_empty()));
        assert_eq!(steps[START].tried, "ssh web1 ...");
        assert_eq!(steps[PLACES].got, "/tmp/.offshoot-1-2; /dev/shm cannot be used (No space left on device)");
        assert_eq!(steps[UPLOAD].got, "9 bytes, at the attempt number 2");
        assert_eq!((steps[LOGIN].got.as_str(), steps[HANDSHAKE].got.as_str()), ("after 70 ms", "after 90 ms"));
    }

    #[test]
    fn what_was_not_needed_is_skipped_and_what_was_not_come_to_is_pending() {
        let text = "EOF on stream; last 100 lines received: none (phase exec, exited with return code 127)";
        let error = failure(ConnectErrorKind::Eof, Phase::Exec, text, "there is no such program", trace(&[], &[]));
        let steps = error.steps();
        let statuses: Vec<StepStatus> = steps.iter().map(|step| step.status).collect();
        use StepStatus::{Failed, Ok, Pending, Skipped};
        assert_eq!(statuses, [Ok, Ok, Skipped, Skipped, Skipped, Skipped, Skipped, Failed, Pending]);
        assert_eq!(steps[EXEC].got, format!("{text}\nthe last line"));
        assert_eq!(steps[EXEC].advice, "there is no such program");
    }

    #[test]
    fn each_failure_has_its_step_and_its_remedy() {
        use ConnectErrorKind::{Auth, Corrupt, NoPlace, Timeout, Unsupported};
        let by = |words: &[&str]| ConnectTrace {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..trace(&[], &[])
        };
        let announced = trace(&[" Linux x86_64 zstd head none |none|/tmp|x"], &[]);
        for (error, at, advice) in [
            (failure(Auth, Phase::Login, "no login shell", "use another", trace(&[], &[])), LOGIN, "use another"),
            (
                failure(NoPlace, Phase::FirstStage, "no place: /a; /b", "free one", announced.clone()),
                PLACES,
                "free one",
            ),
            (
                failure(Unsupported, Phase::FirstStage, "no image for x", "make a bundle", announced.clone()),
                IMAGE,
                "make a bundle",
            ),
            (
                failure(Corrupt, Phase::Exec, "the image arrived with size 1", "", announced.clone()),
                UPLOAD,
                "try again",
            ),
            (failure(Timeout, Phase::Login, "timed out", "", trace(&[], &[])), LOGIN, "ssh -v"),
            (failure(Auth, Phase::Login, "refused", "", by(&["/usr/bin/sudo", "sh"])), LOGIN, "what sudo does by hand"),
            (failure(Auth, Phase::Login, "refused", "", by(&[])), LOGIN, "see the lines above"),
        ] {
            let steps = error.steps();
            assert_eq!(steps.iter().position(|step| step.status == StepStatus::Failed), Some(at), "{error}");
            assert!(steps[at].advice.contains(advice), "{:?}", steps[at]);
            assert_eq!(steps[at].got, format!("{}\nthe last line", error.text));
        }
    }
}
