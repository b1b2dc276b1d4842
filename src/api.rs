//! What a program holds: routers, contexts, calls, functions, senders, receivers, selects.

pub(crate) mod call;
pub(crate) mod chain;
pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod econtext;
pub(crate) mod ended;
#[cfg(feature = "cli")]
pub(crate) mod exported;
pub(crate) mod function;
pub(crate) mod handler;
pub(crate) mod latch;
pub(crate) mod manual_routes;
mod messages;
pub(crate) mod receiver;
pub(crate) mod router;
pub(crate) mod select;
pub(crate) mod sender;
pub(crate) mod shutdown_handle;
pub(crate) mod stream;
pub(crate) mod with_timeout;
