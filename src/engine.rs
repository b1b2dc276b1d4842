//! The I/O thread: links, dispatch, control handlers, timers, logs, statistics, and the end of the process.

pub(crate) mod broker;
pub(crate) mod callee;
pub(crate) mod credit;
pub(crate) mod descendants;
pub(crate) mod dispatch;
pub(crate) mod image_store;
pub(crate) mod inboxes;
pub(crate) mod io;
pub(crate) mod last_words;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod log;
pub(crate) mod mailbox;
pub(crate) mod ports;
pub(crate) mod profile;
pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod stats;
pub(crate) mod task_set;
pub(crate) mod timers;
