//! Questions of a launcher that no option answers, and who answers them: a
//! function of this process, or the context that has asked for the connect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::engine::log::cut;
use crate::sys::blocking::on_other_thread;
use crate::wire::codec::{Secret, wiped};
use crate::wire::message::{Handle, Message};
use crate::wire::sanitize::printable;

/// Questions of one connect that are answered for another context: a launcher
/// asks a few.
const MAX_QUESTIONS: usize = 32;
/// Bytes of a question that are shown: a launcher's have 1 KiB at most.
const MAX_TEXT: usize = 4096;

/// Answers questions of a launcher.
#[derive(Clone)]
pub(crate) enum Answerer {
    /// A function of the user's, which may block.
    Here(Arc<Answer>),
    /// The context that has asked for the connect.
    There(Asker),
}

pub(super) type Answer = dyn Fn(&str) -> Option<Secret> + Send + Sync;

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

impl Answerer {
    /// Has a question answered. One that has panicked has no answer.
    pub(super) fn ask(self, question: String) -> Answering {
        match self {
            Self::Here(answer) => {
                let answer = on_other_thread(move || answer(&question));
                Box::pin(async { answer.await.ok().flatten() })
            }
            Self::There(asker) => Box::pin(asker.ask(question)),
        }
    }
}

/// A question that somebody thinks about. Dropping it ends the wait.
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Secret>>>>;

/// How to reach the context that has asked for a connect.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(super) context: Context,
    pub(super) handle: Handle,
}

impl Asker {
    async fn ask(self, question: String) -> Option<Secret> {
        let question = Message::new(self.context.id(), self.handle, question.into_bytes());
        let answer = self.context.send_async::<()>(question).ok()?.recv_message().await.ok()?;
        String::from_utf8(answer.data.to_vec()).ok().map(Secret::from)
    }
}

/// Answers the questions of another context, one after the other. That there is
/// no answer is a dead message.
pub(super) async fn answer(questions: Receiver<()>, answerer: Answerer) {
    for _ in 0..MAX_QUESTIONS {
        let Ok(question) = questions.recv_message().await else { return };
        let text = printable(&String::from_utf8_lossy(&question.data));
        let answer = match answerer.clone().ask(cut(&text, MAX_TEXT)).await {
            Some(secret) => {
                let data = wiped(secret.expose().as_bytes().to_vec());
                Message { data, secret: true, ..Message::default() }
            }
            None => Message::dead("nobody answers"),
        };
        if question.reply_message(answer).is_err() {
            return;
        }
    }
}
