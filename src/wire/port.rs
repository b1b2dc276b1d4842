//! The router that has received a message or a value, as far as this layer knows it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::wire::message::{ContextId, Message};

/// A router that receives messages and sends the answers to them.
pub(crate) trait Port: fmt::Debug + Send + Sync {
    /// The context of the router.
    fn me(&self) -> ContextId;

    /// Queues an answer. One that is not `metered` needs no room in a window. Returns false if the router has ended.
    fn answer(&self, answer: Message, metered: bool) -> bool;

    /// The router itself, for layers that know its type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
