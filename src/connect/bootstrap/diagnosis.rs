//! What a failure means, as read from the output of another program.

use std::borrow::Cow;

use crate::wire::error::{ConnectCause, ConnectErrorKind};

/// The meaning of another program's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) kind: ConnectErrorKind,
    pub(crate) cause: ConnectCause,
    /// What happened.
    pub(crate) text: Cow<'static, str>,
    /// What to do about it; empty if nothing is known.
    pub(crate) advice: Cow<'static, str>,
}

/// Returns what the last lines of a launcher mean; `None` if they are not known.
pub(crate) type Interpret = fn(&[String]) -> Option<Diagnosis>;

impl Diagnosis {
    pub(crate) fn new(
        kind: ConnectErrorKind,
        text: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, cause: ConnectCause::Plain, text: text.into(), advice: advice.into() }
    }

    /// A shell or a tool has reported that it could not start another process. `said` is its message.
    pub(crate) fn no_processes(said: &str) -> Self {
        let text = format!("no more processes can be started there: {said}");
        Self::new(ConnectErrorKind::Start, text, crate::connect::bootstrap::advice::FEW_PROCESSES)
    }

    /// A diagnosis without advice.
    pub(crate) fn plain(kind: ConnectErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, text, "")
    }

    /// What the last lines of a launcher mean, by words that the user has given. Upper and lower case do not
    /// matter.
    pub(crate) fn by_words(texts: &[(String, ConnectErrorKind, String)], lines: &[String]) -> Option<Self> {
        lines.iter().rev().find_map(|line| {
            let lower = line.to_lowercase();
            let (_, kind, advice) = texts.iter().find(|(words, ..)| lower.contains(&words.to_lowercase()))?;
            Some(Self::new(*kind, line.clone(), advice.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_meaning_that_was_given() {
        let texts = [("Invalid job".to_owned(), ConnectErrorKind::Auth, "see squeue".to_owned())];
        let lines = ["srun: error: invalid job id specified", "srun: exiting"].map(str::to_owned);
        let found = Diagnosis::by_words(&texts, &lines).unwrap();
        assert_eq!(found, Diagnosis::new(ConnectErrorKind::Auth, lines[0].clone(), "see squeue"));
        assert_eq!(Diagnosis::by_words(&texts, &lines[1..]), None);
    }
}
