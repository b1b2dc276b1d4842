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
/// ```
/// use offshoot::{Error, Message, Router, policy};
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let handler = router.add_handler(|message| drop(message.reply(&42)));
///     let handle = handler.policy(policy::is_immediate_child).build()?;
///     // What this context sends itself has come by nobody else.
///     let question = Message::encoded(&())?.to_handle(handle);
///     assert_eq!(router.myself().blocking_send_await::<i32>(question)?, 42);
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
pub fn is_immediate_child(message: &Message, peer: &Peer) -> bool {
    message.src == peer.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::ContextId;

    #[test]
    fn the_authority_of_this_context_and_of_those_above_passes() {
        let passes = |me: u32, parents: &[u32], auth: u32| {
            let parent_ids: Vec<_> = parents.iter().map(|id| ContextId(*id)).collect();
            let peer = Peer { id: ContextId(9), me: ContextId(me), parent_ids: parent_ids.into() };
            has_parent_authority(&Message { auth: ContextId(auth), ..Message::raw("") }, &peer)
        };
        for auth in [3, 2, 1, 0] {
            assert!(passes(3, &[2, 1, 0], auth), "{auth}");
        }
        assert!(!passes(3, &[2, 1, 0], 4));
        // The master is nobody's parent by its number alone.
        assert!(!passes(3, &[2, 1], 0));
    }
}
