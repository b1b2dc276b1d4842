//! Connects as they are asked for: by this context of its own I/O thread, or of
//! another context, which starts the child on its behalf.
//!
//! Whoever asks may stop waiting at any moment, also when the child is up and
//! the answer on its way. A child whom nobody takes ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::econtext::Econtext;
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::connect::bootstrap::CANCELLED;
use crate::connect::methods::question::{self, Answerer, Asker};
use crate::connect::methods::{Spec, connect};
use crate::engine::io::Io;
use crate::engine::shared::{Request, Shared};
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{Closed, ConnectError, ConnectErrorKind, Error, Phase};
use crate::wire::message::{ContextId, Handle};

/// The far side keeps the deadline; one that hangs has this much longer.
const HANGS: Duration = Duration::from_secs(1);
/// The answer to a connect that was given up is awaited for this long.
const LATE: Duration = Duration::from_secs(5);

/// Bytes of an answer to a connect: 32 KiB of what the far side has printed,
/// some lines of first stages, and a command.
const MAX_ANSWER: usize = 256 * 1024;

/// A child that has been started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connected {
    pub(crate) id: ContextId,
    pub(crate) name: String,
    pub(crate) trace: ConnectTrace,
}

/// A child that nobody has taken yet. If nobody does, it ends.
#[derive(Debug)]
pub(crate) struct Unclaimed {
    connected: Option<Connected>,
    shared: Arc<Shared>,
}

pub(crate) type Done = oneshot::Sender<Result<Unclaimed, Error>>;

impl Unclaimed {
    pub(crate) fn new(shared: &Arc<Shared>, connected: Connected) -> Self {
        Self { connected: Some(connected), shared: Arc::clone(shared) }
    }

    fn claim(mut self) -> Result<Connected, Error> {
        self.connected.take().ok_or_else(cancelled)
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(connected) = self.connected.take() {
            self.shared.request(Request::End(connected.id));
        }
    }
}

/// Has this context start a child.
pub(super) async fn connect_here(router: &Router, spec: Spec, answerer: Option<Answerer>) -> Result<Connected, Error> {
    start(router, spec, answerer).await?.claim()
}

async fn start(router: &Router, spec: Spec, answerer: Option<Answerer>) -> Result<Unclaimed, Error> {
    let (mut done, result) = oneshot::channel();
    let begin = Request::Do(Box::new(move |io: &Rc<Io>| {
        let here = Rc::clone(io);
        io.tasks.spawn(async move {
            let result = tokio::select! {
                result = connect(&here, spec, answerer) => result,
                () = done.closed() => return,
            };
            let _ = done.send(result);
        });
    }));
    if !router.shared().request(begin) {
        return Err(Error::Closed(Closed::Router));
    }
    result.await.unwrap_or_else(|_| Err(cancelled()))
}

/// Has another context start a child. What that is asked and does not know,
/// `answerer` is asked here.
pub(super) async fn connect_there(
    router: &Router,
    via: &Context,
    spec: Spec,
    answerer: Option<Answerer>,
) -> Result<Connected, Error> {
    let limit = spec.connect_timeout;
    // Only that context may ask.
    let answering = answerer.map(|answerer| (Receiver::from_context(router.shared(), via.id(), true), answerer));
    let questions = answering.as_ref().map(|(questions, _)| questions.handle());
    let name = spec.name.clone().unwrap_or_else(|| format!("a child of {via}"));
    let (done, result) = oneshot::channel();
    let (there, hop) = (via.clone(), format!("{}.{}", via.name(), spec.hop()));
    let follow = Request::Do(Box::new(move |io: &Rc<Io>| {
        // It goes ahead of the call.
        io.ids().give_first(io, there.id());
        let asked = Asked { hop, since: io.with_routing(|routing| routing.clock()) };
        let call = there.timeout(limit + HANGS).call(proxy_connect, (spec, questions)).at_most(MAX_ANSWER);
        let here = Rc::clone(io);
        io.tasks.spawn(async move {
            let answering = async {
                if let Some((questions, answerer)) = answering {
                    question::answer(questions, answerer).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = follow(here, there, asked, call, done) => {}
                () = answering => {}
            }
        });
    }));
    if !via.shared().request(follow) {
        return Err(Error::Closed(Closed::Router));
    }
    match result.await.unwrap_or_else(|_| Err(cancelled())) {
        Err(Error::Timeout { .. }) => {
            let text = format!("Connection timed out: {via} did not answer within {limit:?}");
            Err(ConnectError::new(ConnectErrorKind::Timeout, Phase::Start, name, text).into())
        }
        result => result?.claim(),
    }
}

/// A request to another context.
struct Asked {
    /// What the child is called in errors.
    hop: String,
    /// When it was made.
    since: u64,
}

/// Waits for the answer of another context; or, when nobody does any more, sees
/// to it that no child is left there: the answer may be on its way already.
async fn follow(io: Rc<Io>, via: Context, asked: Asked, mut call: Call<Proxied>, mut done: Done) {
    let answer = tokio::select! {
        answer = &mut call => answer,
        () = io.stop.cancelled() => return,
        () = done.closed() => {
            call.give_up(&io, via.id());
            tokio::select! {
                answer = call => answer,
                () = io.stop.cancelled() => return,
                () = tokio::time::sleep(LATE) => return,
            }
        }
    };
    let _ = done.send(match answer {
        // Until it is claimed it may be anybody, and must not be ended either.
        Ok(Proxied::Connected(connected)) => {
            match io.with_routing(|routing| routing.claim(connected.id, via.id(), asked.since)) {
                Ok(name) => Ok(Unclaimed::new(&io.shared, Connected { name, ..connected })),
                Err(why) => Err(no_child(&via, connected.id, asked.hop, why)),
            }
        }
        Ok(Proxied::Failed(error)) => {
            let mut error = error.escaped();
            if let Error::Connect(error) = &mut error {
                error.hop = format!("{}.{}", via.name(), error.hop);
            }
            Err(error)
        }
        Err(error) => Err(error),
    });
}

/// Another context has answered with what cannot be its child.
fn no_child(via: &Context, id: ContextId, hop: String, why: &str) -> Error {
    let text = format!(
        "{via} says that it has started context {id}, {why}: \
         unless the child has ended at once, do not trust {via}"
    );
    ConnectError::new(ConnectErrorKind::Mismatch, Phase::Handshake, hop, text).into()
}

/// The outcome of a connect in another context.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Proxied {
    Connected(Connected),
    Failed(Error),
}

impl Value for Proxied {}

/// Starts a child of this context on behalf of another.
async fn proxy_connect(econtext: &Econtext, spec: Spec, questions: Option<Handle>) -> Proxied {
    // It is asked who has asked for the connect, and nobody else.
    let context = econtext.caller();
    let answerer = questions.map(|handle| Answerer::There(Asker { context, handle }));
    let started = start(econtext.router(), spec, answerer).await;
    // What is answered from here on arrives, or was given up before.
    let claimed = if econtext.is_cancelled() { Err(cancelled()) } else { started.and_then(Unclaimed::claim) };
    claimed.map_or_else(Proxied::Failed, Proxied::Connected)
}
crate::export!(bound proxy_connect);

fn cancelled() -> Error {
    ConnectError::new(ConnectErrorKind::Cancelled, Phase::Start, "offshoot", CANCELLED).into()
}
