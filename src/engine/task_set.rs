//! Tasks of the I/O thread.
//!
//! All of one type, boxed: tokio's code for a task is made for each type, some
//! 3 KiB, which every image would carry.

use std::pin::Pin;

use tokio_util::task::TaskTracker;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct TaskSet(TaskTracker);

impl TaskSet {
    /// Starts one, on this thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let task: Task = Box::pin(task);
        self.0.spawn_local(task);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits for the end of all; more of them may begin meanwhile.
    pub(crate) async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Starts a task on this thread that nobody waits for.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    tokio::task::spawn_local(task);
}
