//! What an I/O thread does when all tasks that were ready have run: it hands replies to their callers and calls to the main
//! thread, and writes frames.
//!
//! A pass of the tasks may bring many messages. To wake another thread for each would take longer than to handle it: where
//! threads share a processor, the system may switch to that thread at once and back after one message. So that thread is
//! woken when all messages are there. What several links have brought leaves by one write, and no task is woken for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::engine::io::Io;
use crate::wire::message::Message;

/// What is done at the end of the pass.
#[derive(Default)]
pub(crate) struct EndOfPass {
    replies: RefCell<Vec<(oneshot::Sender<Message>, Message)>>,
    /// The routers that have calls for the main thread.
    calls: RefCell<Vec<Rc<Io>>>,
    /// The routers that have frames to write.
    writes: RefCell<Vec<Rc<Io>>>,
    /// The time, if a task of this pass has asked for it.
    now: Cell<Option<Instant>>,
}

impl EndOfPass {
    pub(super) fn hand(&self, caller: oneshot::Sender<Message>, reply: Message) {
        self.replies.borrow_mut().push((caller, reply));
    }

    pub(super) fn hand_calls(&self, io: &Rc<Io>) {
        self.calls.borrow_mut().push(Rc::clone(io));
    }

    pub(super) fn write(&self, io: &Rc<Io>) {
        self.writes.borrow_mut().push(Rc::clone(io));
    }

    /// The time at which the first task of this pass asked for it. To read the clock once for each message would cost more than
    /// some of what is done with it.
    pub(super) fn now(&self) -> Instant {
        let now = self.now.get().unwrap_or_else(Instant::now);
        self.now.set(Some(now));
        now
    }

    /// Does `tasks`, which polls the tasks that are ready, and then what they have left for the end.
    pub(crate) async fn after<T>(&self, tasks: impl Future<Output = T>) -> T {
        let mut tasks = std::pin::pin!(tasks);
        std::future::poll_fn(|cx: &mut Context<'_>| {
            let polled = tasks.as_mut().poll(cx);
            self.come();
            polled
        })
        .await
    }

    /// Does all of it.
    pub(crate) fn come(&self) {
        while !self.replies.borrow().is_empty() {
            let mut replies = self.replies.take();
            // An error means that the caller has dropped the call.
            replies.drain(..).for_each(|(caller, reply)| drop(caller.send(reply)));
            // Its memory is used again.
            let more = self.replies.replace(replies);
            self.replies.borrow_mut().extend(more);
        }
        while let Some(io) = next(&self.calls) {
            io.hand_calls();
        }
        while let Some(io) = next(&self.writes) {
            io.with_links(|links| links.write_due());
        }
        self.now.set(None);
    }
}

fn next(routers: &RefCell<Vec<Rc<Io>>>) -> Option<Rc<Io>> {
    routers.borrow_mut().pop()
}
