//! Tasks of the I/O thread.
//!
//! All tasks have the same boxed type. Tokio's code for a task is compiled once per type, which would add
//! about 3 KiB each to every image.

use std::pin::Pin;

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A set of tasks whose end can be awaited.
#[derive(Debug, Default)]
pub(crate) struct TaskSet(TaskTracker);

impl TaskSet {
    /// Starts a task on this thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        let task: Task = Box::pin(task);
        self.0.spawn_local(task).abort_handle()
    }

    /// The number of tasks.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits until all tasks have ended. More of them may start meanwhile.
    pub(crate) async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Starts a task on this thread whose end is not awaited.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    tokio::task::spawn_local(task);
}
