//! Policies: rules that decide which contexts may write to a handle.

use crate::routing::handles::Peer;
use crate::wire::message::Message;

/// Accepts a message that acts under the authority of this context or of a parent.
pub fn has_parent_authority(message: &Message, peer: &Peer) -> bool {
    message.auth == peer.me || peer.parent_ids.contains(&message.auth)
}

/// Accepts a message that was sent by the neighbour by which it came in: a direct child, or the
/// parent.
pub fn is_immediate_child(message: &Message, peer: &Peer) -> bool {
    message.src == peer.id
}
