//! What an I/O thread does when all tasks that were ready have run: it hands replies to their callers and calls to the main
//! thread, and writes frames.
//!
//! A pass of the tasks may bring many messages. To wake another thread for each would take longer than to handle it: where
//! threads share a processor, the system may switch to that thread at once and back after one message. So that thread is
//! woken when all messages are there. What several links have brought leaves by one write, and no task is woken for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;

use tokio::sync::{mpsc, oneshot};

use crate::engine::dispatch::Invocation;
use crate::engine::io::Io;
use crate::wire::message::Message;

/// Something for another thread.
pub(crate) enum Handed {
    /// The reply to a call.
    Reply(oneshot::Sender<Message>, Message),
    /// A call for the main thread.
    Call(mpsc::UnboundedSender<Invocation>, Invocation),
}

impl Handed {
    /// An error means that nobody waits for it any more: the caller has dropped the call, or the main thread has ended.
    fn hand_over(self) {
        match self {
            Self::Reply(caller, message) => drop(caller.send(message)),
            Self::Call(queue, call) => drop(queue.send(call)),
        }
    }
}

/// What is done at the end of the pass.
#[derive(Default)]
pub(crate) struct EndOfPass {
    handed: RefCell<Vec<Handed>>,
    /// The routers that have frames to write.
    writes: RefCell<Vec<Rc<Io>>>,
}

impl EndOfPass {
    pub(super) fn hand(&self, handed: Handed) {
        self.handed.borrow_mut().push(handed);
    }

    pub(super) fn write(&self, io: &Rc<Io>) {
        self.writes.borrow_mut().push(Rc::clone(io));
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
        while !self.handed.borrow().is_empty() {
            let mut handed = self.handed.take();
            handed.drain(..).for_each(Handed::hand_over);
            // Its memory is used again.
            let more = self.handed.replace(handed);
            self.handed.borrow_mut().extend(more);
        }
        loop {
            let next = self.writes.borrow_mut().pop();
            let Some(io) = next else { return };
            io.with_links(|links| links.write_due());
        }
    }
}
