//! Connects that are run by this context on its own I/O thread, or by another context, which starts the child
//! on behalf of this one.
//!
//! The caller may stop waiting at any moment, also when the child is up and the answer is on its way. A child
//! that no caller takes is ended.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::econtext::Econtext;
use crate::api::function::{Builtin, Value};
use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::connect::bootstrap::CANCELLED;
use crate::connect::methods::question::{self, Answerer, Asker};
use crate::connect::methods::voucher::{Question, Voucher};
use crate::connect::methods::{Spec, connect};
use crate::engine::io::Io;
use crate::engine::shared::{Request, Shared};
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{Closed, ConnectError, ConnectErrorKind, Error, Phase};
use crate::wire::message::{ContextId, Handle};

/// The far side applies the deadline. If it does not answer, this much more time passes before the connect
/// fails here.
const HANGS: Duration = Duration::from_secs(1);
/// How long to wait for the answer to a connect that the caller has given up.
const LATE: Duration = Duration::from_secs(5);

/// Longest answer to a connect, in bytes: 32 KiB of output of the far side, some lines of first stages, and a
/// command.
const MAX_ANSWER: usize = 256 * 1024;

/// A child that has been started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connected {
    pub(crate) id: ContextId,
    pub(crate) name: String,
    pub(crate) trace: ConnectTrace,
}

/// A child that no caller has taken yet. It ends if this is dropped.
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

/// Starts a child of this context.
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

/// Lets another context start a child. `answerer` answers here the questions that the other context receives
/// and cannot answer.
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
    let vouched = match Voucher::of(router.shared(), via.id()) {
        None => None,
        Some(voucher) => {
            let (since, _) = voucher.ask(router.shared(), Question::Clock).await.map_err(|why| cannot_ask(via, why))?;
            Some((voucher, since))
        }
    };
    let (done, result) = oneshot::channel();
    let (there, hop) = (via.clone(), format!("{}.{}", via.name(), spec.hop()));
    let follow = Request::Do(Box::new(move |io: &Rc<Io>| {
        // The id is sent before the call.
        io.ids().give_first(io, there.id());
        let asked = Asked { hop, since: io.with_routing(|routing| routing.clock()), vouched };
        let call =
            there.timeout(limit.saturating_add(HANGS)).call(proxy_connect, (spec, questions)).at_most(MAX_ANSWER);
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
    /// The child's name in errors.
    hop: String,
    /// When the request was made, by the clock of the routing.
    since: u64,
    /// Who has to be asked whether the other context has started the child, and when the request was made by its clock.
    vouched: Option<(Voucher, u64)>,
}

/// Waits for the answer of another context. If the caller stops waiting, makes sure that no child is left
/// there, because the answer may be on its way already.
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
        // Until the id is claimed it may belong to any context, so that context must not be ended.
        Ok(Proxied::Connected(connected)) => match claim(&io, &via, &connected, &asked).await {
            Ok(name) => Ok(Unclaimed::new(&io.shared, Connected { name, ..connected })),
            Err(why) => Err(no_child(&via, connected.id, asked.hop, &why)),
        },
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

/// The name of the child that `via` says to have started, or the reason why it cannot be its child.
async fn claim(io: &Rc<Io>, via: &Context, connected: &Connected, asked: &Asked) -> Result<String, String> {
    let (child, via) = (connected.id, via.id());
    if let Some((voucher, since)) = asked.vouched {
        return voucher.ask(&io.shared, Question::Claim { child, via, since }).await.map(|(_, name)| name);
    }
    // What a context above says is true: it could do everything with this one anyway.
    if io.shared.parent_ids().contains(&via) {
        return Ok(connected.name.clone());
    }
    io.with_routing(|routing| routing.claim(child, via, asked.since)).map_err(str::to_owned)
}

/// The error if the program that was joined does not say what time it is.
fn cannot_ask(via: &Context, why: String) -> Error {
    ConnectError::new(ConnectErrorKind::Cancelled, Phase::Start, via.name(), why).into()
}

/// The error if another context answers with an id that cannot be its child.
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

/// Starts a child of this context on behalf of another context.
async fn proxy_connect(econtext: &Econtext, spec: Spec, questions: Option<Handle>) -> Proxied {
    // Only the context that requested the connect is asked.
    let context = econtext.caller();
    let answerer = questions.map(|handle| Answerer::There(Asker { context, handle }));
    let started = start(econtext.router(), spec, answerer).await;
    // An answer that is given after this point arrives, or the caller gave up before.
    let claimed = if econtext.is_cancelled() { Err(cancelled()) } else { started.and_then(Unclaimed::claim) };
    claimed.map_or_else(Proxied::Failed, Proxied::Connected)
}
crate::export!(bound proxy_connect);

/// What starts children, for [`Connect::allow`](crate::connect::Connect::allow), which has an example. With it, contexts
/// can be started through the child, and they run no other functions than the child.
pub const CHILDREN: Builtin = Builtin(|| vec![std::any::type_name_of_val(&proxy_connect)]);

fn cancelled() -> Error {
    ConnectError::new(ConnectErrorKind::Cancelled, Phase::Start, "offshoot", CANCELLED).into()
}
