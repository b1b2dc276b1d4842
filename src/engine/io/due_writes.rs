//! The routers of an I/O thread that have frames to write.
//!
//! They are written when all tasks that were ready have run: what several links have brought leaves by one write, and no
//! task is woken for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;

use crate::engine::io::Io;

/// The routers whose frames are written next.
#[derive(Default)]
pub(crate) struct DueWrites(RefCell<Vec<Rc<Io>>>);

impl DueWrites {
    pub(super) fn add(&self, io: &Rc<Io>) {
        self.0.borrow_mut().push(Rc::clone(io));
    }

    /// Does `tasks`, which polls the tasks that are ready, and then writes what they have queued.
    pub(crate) async fn write_after<T>(&self, tasks: impl Future<Output = T>) -> T {
        let mut tasks = std::pin::pin!(tasks);
        std::future::poll_fn(|cx: &mut Context<'_>| {
            let polled = tasks.as_mut().poll(cx);
            self.write();
            polled
        })
        .await
    }

    fn write(&self) {
        loop {
            let next = self.0.borrow_mut().pop();
            let Some(io) = next else { return };
            io.with_links(|links| links.write_due());
        }
    }
}
