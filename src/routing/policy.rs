//! Policies: who may write to a handle.

use crate::routing::handles::Peer;
use crate::wire::message::Message;

/// The message acts under this context's own authority or a parent's.
pub fn has_parent_authority(message: &Message, peer: &Peer) -> bool {
    message.auth == peer.me || peer.parent_ids.contains(&message.auth)
}

/// The message was sent by the neighbour it came in by: a direct child, or
/// the parent.
pub fn is_immediate_child(message: &Message, peer: &Peer) -> bool {
    message.src == peer.id
}
