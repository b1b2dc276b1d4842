//! Decisions without I/O: where a message goes, when it may leave, whose turn it is.

pub(crate) mod chains;
pub(crate) mod directory;
pub(crate) mod fair_queue;
pub(crate) mod handles;
pub(crate) mod ids;
pub(crate) mod outbox;
pub(crate) mod policy;
pub(crate) mod refused_windows;
pub(crate) mod runs_on;
pub(crate) mod slots;
pub(crate) mod table;
pub(crate) mod waiting_line;
pub(crate) mod window;
