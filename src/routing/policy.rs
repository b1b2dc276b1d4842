//! Policies: rules that decide which contexts may write to a handle.

use crate::routing::handles::Peer;
use crate::wire::message::Message;

/// The message acts under this context's own authority or a parent's.
///
/// ```
/// use offshoot::{Error, Message, Router, policy};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let handler = router.add_handler(|message| drop(message.reply(&42)));
///     let handle = handler.policy(policy::has_parent_authority).build()?;
///     let question = Message::encoded(&())?.to_handle(handle);
///     assert_eq!(router.myself().blocking_send_await::<i32>(question)?, 42);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub fn has_parent_authority(message: &Message, peer: &Peer) -> bool {
    message.auth == peer.me || peer.parent_ids.contains(&message.auth)
}

/// The message was sent by the neighbour it came in by: a direct child, or
/// the parent.
///
/// [`has_parent_authority`] has an example.
pub fn is_immediate_child(message: &Message, peer: &Peer) -> bool {
    message.src == peer.id
}
