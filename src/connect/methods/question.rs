//! Questions of a launcher that no option answers. A function of this process answers them, or the context that
//! requested the connect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::engine::log::cut;
use crate::wire::codec::{Secret, wiped};
use crate::wire::message::{Handle, Message};
use crate::wire::sanitize::printable;

/// Most questions in one connect that are answered for another context. A launcher asks only a few.
const MAX_QUESTIONS: usize = 32;
/// Most bytes of a question that are shown. A launcher's question has at most 1 KiB.
const MAX_TEXT: usize = 4096;

/// Answers questions of a launcher.
#[derive(Clone)]
pub(crate) enum Answerer {
    /// A function of the user, which may block.
    Here(Arc<Answer>),
    /// The context that requested the connect.
    There(Asker),
}

pub(super) type Answer = dyn Fn(&str) -> Option<Secret> + Send + Sync;

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

impl Answerer {
    /// Starts to answer a question. A function that panics gives no answer.
    pub(super) fn ask(self, question: String) -> Answering {
        match self {
            Self::Here(answer) => {
                let (to, answered) = oneshot::channel();
                // It may wait for a human, so it takes none of the threads that read files.
                let work = move || drop(to.send(answer(&question)));
                if let Err(error) = std::thread::Builder::new().name("offshoot-question".into()).spawn(work) {
                    tracing::error!("no thread for a question can be started: {error}");
                }
                Box::pin(async { answered.await.ok().flatten() })
            }
            Self::There(asker) => Box::pin(asker.ask(question)),
        }
    }
}

/// A question that is being answered. Dropping it ends the wait.
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Secret>>>>;

/// How to reach the context that requested a connect.
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

/// Answers the questions of another context, one after the other. A dead message means that there is no answer.
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
