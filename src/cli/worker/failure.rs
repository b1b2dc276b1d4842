//! What an error means for a host: its status, and the words for the user of the tool.

use crate::Error;
use crate::cli::output::report::{ErrorInfo, HostExit};
use crate::cli::output::summary::Status;
use crate::wire::error::{ChannelError, ChannelErrorKind};

/// The end of a host whose work has failed. `what` is `command` or `call`, `hop` the name of the host's context.
pub(super) fn of_work(error: Error, what: &str, hop: &str) -> HostExit {
    let fail = |status, kind, text| failed(status, kind, what, hop, text);
    match error {
        Error::Call(error) if what == "command" => fail(Status::Failed, "call", error.message),
        Error::Call(error) => fail(Status::Failed, "call", error.to_string()),
        Error::Timeout { after, .. } => {
            let text = format!("the {what} did not end within {after:?} and was stopped");
            failed(Status::Timeout, "timeout", what, "", text)
        }
        Error::Channel(error) => of_channel(&error, what, hop),
        Error::Closed(_) => fail(Status::Unreachable, "disconnect", error.to_string()),
        Error::Io(_) => fail(Status::Failed, "io", error.to_string()),
        Error::Payload(_) | Error::TooLarge { .. } => fail(Status::Failed, "payload", error.to_string()),
        error => fail(Status::Failed, "internal", error.to_string()),
    }
}

/// The end of a host whose context, or a hop before it, has not delivered a message.
fn of_channel(error: &ChannelError, what: &str, hop: &str) -> HostExit {
    use ChannelErrorKind::{Disconnected, InvalidHandle, NoRoute, Refused, RouterEnded, SenderClosed, TooLarge};
    let (kind, text, advice) = match error.kind {
        Disconnected | NoRoute | RouterEnded => {
            let after = match what {
                "copy" => "start the copy again, and it goes on".to_owned(),
                _ => format!("the {what} may have been carried out"),
            };
            let text = format!("the connection was lost while the {what} ran; {after}");
            return failed(Status::Unreachable, "disconnect", what, hop, text);
        }
        Refused => {
            return failed(Status::Failed, "refused", what, "", format!("the {what} was refused: {}", error.reason));
        }
        TooLarge => {
            let advice = "let the function return less, or send it in pieces through a Sender";
            ("too_large", format!("a message of the {what} is too large"), advice)
        }
        InvalidHandle => ("invalid_handle", format!("a message of the {what} has no receiver any more"), ""),
        SenderClosed => ("sender_closed", format!("the {what} has closed a channel too early"), ""),
        // Also kinds that are added later.
        _ => ("window_exceeded", format!("more was sent for the {what} than its receiver allows"), ""),
    };
    let mut exit = failed(Status::Failed, kind, what, hop, format!("{text}: {}", error.reason));
    if let Some(info) = &mut exit.error {
        info.advice = advice.into();
    }
    exit
}

pub(super) fn failed(status: Status, kind: &str, phase: &str, hop: &str, text: String) -> HostExit {
    let error = ErrorInfo { kind: kind.into(), phase: phase.into(), hop: hop.into(), text, ..ErrorInfo::default() };
    HostExit { status, error: Some(error), ..HostExit::cancelled() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContextId;

    #[test]
    fn what_was_refused_or_too_large_is_no_lost_connection() {
        let refused =
            of_channel(&ChannelError::new(ContextId(1), ChannelErrorKind::Refused, "why"), "call", "ssh.web1");
        let error = refused.error.unwrap();
        assert_eq!((&error.kind[..], &error.text[..]), ("refused", "the call was refused: why"));
        for (kind, word, part) in [
            (ChannelErrorKind::TooLarge, "too_large", "is too large: why"),
            (ChannelErrorKind::InvalidHandle, "invalid_handle", "no receiver any more: why"),
            (ChannelErrorKind::SenderClosed, "sender_closed", "too early: why"),
            (ChannelErrorKind::WindowExceeded, "window_exceeded", "than its receiver allows: why"),
        ] {
            let exit = of_work(ChannelError::new(ContextId(1), kind, "why").into(), "call", "ssh.web1");
            let error = exit.error.unwrap();
            assert_eq!((exit.status, &error.kind[..], &error.hop[..]), (Status::Failed, word, "ssh.web1"));
            assert!(error.text.ends_with(part), "{}", error.text);
        }
        for kind in [ChannelErrorKind::Disconnected, ChannelErrorKind::NoRoute, ChannelErrorKind::RouterEnded] {
            let exit = of_work(ChannelError::new(ContextId(1), kind, "why").into(), "command", "ssh.web1");
            let error = exit.error.unwrap();
            assert_eq!((exit.status, &error.kind[..]), (Status::Unreachable, "disconnect"));
            assert!(error.text.starts_with("the connection was lost while the command ran"), "{}", error.text);
        }
    }
}
