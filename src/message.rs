//! Messages, and the numbers that address them.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A process in the tree. The master is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextId(pub u32);

impl ContextId {
    /// The root of the tree.
    pub const MASTER: Self = Self(0);
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port inside a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub u32);

impl Handle {
    /// No handle: as `reply_to`, no reply is wanted.
    pub const NONE: Self = Self(0);
    /// Ask upstream for an image.
    pub const GET_IMAGE: Self = Self(100);
    /// Call a function of the table.
    pub const CALL_FUNCTION: Self = Self(101);
    /// A log record for the master.
    pub const FORWARD_LOG: Self = Self(102);
    /// A context has appeared.
    pub const ADD_ROUTE: Self = Self(103);
    /// A context has gone.
    pub const DEL_ROUTE: Self = Self(104);
    /// Ask for a block of context ids.
    pub const ALLOCATE_ID: Self = Self(105);
    /// End this context and all behind it.
    pub const SHUTDOWN: Self = Self(106);
    /// An image, in answer to [`Handle::GET_IMAGE`].
    pub const LOAD_IMAGE: Self = Self(107);
    /// The sender leaves the tree and lives on.
    pub const DETACHING: Self = Self(109);
    /// Call a method of a service.
    pub const CALL_SERVICE: Self = Self(110);
    /// Room in a window is given back.
    pub const CREDIT: Self = Self(114);
    /// A call is no longer wanted.
    pub const CANCEL: Self = Self(115);
    /// Ask for counters.
    pub const STATS: Self = Self(116);
    /// As `reply_to`: this message is the end of a conversation.
    pub const IS_DEAD: Self = Self(999);
    /// The first handle that is given out dynamically.
    pub const FIRST_DYNAMIC: Self = Self(1000);
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a link's three queues a message takes. Control goes first, logs
/// last; no frame is split for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub(crate) enum Lane {
    Control = 0,
    #[default]
    User = 1,
    Log = 2,
}

/// One message from one context to a handle of another.
///
/// Every field but `data` travels in the header of each of its frames.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Message {
    /// The context it is for.
    pub dst: ContextId,
    /// The context it comes from, and where replies go.
    pub src: ContextId,
    /// The context under whose authority it acts.
    pub auth: ContextId,
    /// The port of `dst` it is for.
    pub handle: Handle,
    /// The port of `src` that awaits a reply; [`Handle::NONE`] if none does,
    /// [`Handle::IS_DEAD`] if this message ends the conversation.
    pub reply_to: Handle,
    /// When whoever sent it stops waiting, by this machine's clock. Each hop
    /// passes on what is left of it, in milliseconds.
    pub deadline: Option<Instant>,
    /// The payload is bytes, not an encoded value.
    pub raw: bool,
    /// `reply_to` takes exactly one message, so the reply needs no window.
    pub(crate) single_reply: bool,
    pub(crate) lane: Lane,
    /// The payload.
    pub data: Bytes,
}

impl Message {
    /// A message with an already encoded or raw payload. The router fills in
    /// the source.
    pub fn new(dst: ContextId, handle: Handle, data: impl Into<Bytes>) -> Self {
        Self { dst, handle, data: data.into(), ..Self::default() }
    }

    /// A message that ends a conversation, with the reason as its payload.
    pub fn dead(reason: &str) -> Self {
        Self {
            reply_to: Handle::IS_DEAD,
            raw: true,
            data: Bytes::copy_from_slice(reason.as_bytes()),
            ..Self::default()
        }
    }

    /// Whether this message ends a conversation.
    pub fn is_dead(&self) -> bool {
        self.reply_to == Handle::IS_DEAD
    }

    /// Whether somebody waits for an answer to this message.
    pub(crate) fn wants_reply(&self) -> bool {
        self.reply_to != Handle::NONE && !self.is_dead()
    }

    /// The reason that a dead message carries, or the general text.
    pub(crate) fn dead_reason(&self, me: ContextId) -> String {
        if !self.data.is_empty() {
            printable(&String::from_utf8_lossy(&self.data))
        } else if self.src == me {
            "Channel closed by local end.".into()
        } else {
            "Channel closed by remote end.".into()
        }
    }
}

/// `text` with control characters shown as escapes: what a child sends must
/// not drive its parent's terminal.
pub(crate) fn printable(text: &str) -> String {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control() && c != '\t';
            let shown: Box<dyn Iterator<Item = char>> =
                if escape { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) };
            shown
        })
        .collect()
}
