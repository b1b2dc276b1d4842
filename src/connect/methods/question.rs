//! Questions of a launcher that no option answers, and who answers them: a
//! function of this process, or the context that has asked for the connect.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::api::sender::{Sender, to_its_origin};
use crate::engine::log::cut;
use crate::wire::codec::Secret;
use crate::wire::message::{ContextId, printable};

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
    /// Has a question answered, by the I/O thread's runtime. Dropping the
    /// handle ends the wait.
    pub(super) fn ask(self, question: String) -> AbortOnDropHandle<Option<Secret>> {
        AbortOnDropHandle::new(match self {
            Self::Here(answer) => tokio::task::spawn_blocking(move || answer(&question)),
            Self::There(asker) => tokio::task::spawn_local(asker.ask(question)),
        })
    }
}

/// How to reach the context that has asked for a connect.
#[derive(Clone)]
pub(crate) struct Asker {
    router: Router,
    questions: Sender<Question>,
}

impl Asker {
    async fn ask(self, text: String) -> Option<Secret> {
        let Self { router, questions } = self;
        let answers = Receiver::builder(&router).respondent(questions.context()).persist(false).build();
        questions.send(Question { text, answer: Some(answers.sender()) }).await.ok()?;
        answers.recv().await.ok().flatten()
    }
}

/// Where the questions of a connect go: nowhere, or to the context that has
/// asked for it, and to no other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Questions(#[serde(deserialize_with = "to_its_origin")] pub(super) Option<Sender<Question>>);

impl Questions {
    /// Questions to `context`, which answers those of `via` alone.
    pub(super) fn of(router: &Router, via: ContextId, wanted: bool) -> (Self, Option<Receiver<Question>>) {
        let questions = wanted.then(|| Receiver::builder(router).respondent(via).build());
        (Self(questions.as_ref().map(Receiver::sender)), questions)
    }

    pub(super) fn answerer(self, router: &Router) -> Option<Answerer> {
        self.0.map(|questions| Answerer::There(Asker { router: router.clone(), questions }))
    }
}

/// A question on its way to the context that has asked for the connect.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    text: String,
    /// Leads to the context that asks, and to no other.
    #[serde(deserialize_with = "to_its_origin")]
    answer: Option<Sender<Option<Secret>>>,
}

/// Answers the questions of another context, one after the other.
pub(super) async fn answer(questions: Receiver<Question>, answerer: Answerer) {
    for _ in 0..MAX_QUESTIONS {
        let Ok(Question { text, answer: Some(to) }) = questions.recv().await else { return };
        // One that has panicked has no answer.
        let answer = answerer.clone().ask(cut(&printable(&text), MAX_TEXT)).await.ok().flatten();
        if to.send(answer).await.is_err() {
            return;
        }
    }
}
