//! The kinds of things that a hostile context can send. Each needs an attack.

use std::fmt;

use offshoot::Handle;

use crate::frame::word;

pub(crate) const CALL_FUNCTION: u32 = Handle::CALL_FUNCTION.0;
pub(crate) const CREDIT: u32 = Handle::CREDIT.0;
pub(crate) const FORWARD_LOG: u32 = Handle::FORWARD_LOG.0;
pub(crate) const ADD_ROUTE: u32 = Handle::ADD_ROUTE.0;
pub(crate) const DEL_ROUTE: u32 = Handle::DEL_ROUTE.0;
pub(crate) const ALLOCATE_ID: u32 = Handle::ALLOCATE_ID.0;
/// As `reply_to`, it makes a message a dead one.
pub(crate) const IS_DEAD: u32 = Handle::IS_DEAD.0;
/// The position of the kind of a dead message among the flags.
const DEAD_KIND: u8 = 5;

/// A kind of what is sent, by the number that stands for it on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Handle(u32),
    Lane(u8),
    Flag(u8),
    /// A dead message with a reason of this kind.
    Dead(u8),
    /// A reply to a call with this first byte.
    Reply(u8),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(number) => write!(f, "handle {number}"),
            Self::Lane(number) => write!(f, "lane {number}"),
            Self::Flag(number) => write!(f, "flag {number}"),
            Self::Dead(number) => write!(f, "dead message {number}"),
            Self::Reply(number) => write!(f, "reply {number}"),
        }
    }
}

/// The kinds of a frame, by its header.
pub(crate) fn of_frame(header: &[u8]) -> Vec<Kind> {
    let (flags, is_dead) = (header[2], word(header, 20) == IS_DEAD);
    let mut kinds = vec![Kind::Handle(word(header, 16)), Kind::Lane(header[3])];
    kinds.extend((0..DEAD_KIND).map(|bit| 1 << bit).filter(|flag| flags & flag != 0).map(Kind::Flag));
    if is_dead {
        kinds.extend([Kind::Handle(IS_DEAD), Kind::Dead(flags >> DEAD_KIND)]);
    }
    kinds
}
