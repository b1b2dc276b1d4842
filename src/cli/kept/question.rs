//! What a keeper is asked, at [`HANDLE`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ContextId, Handle};

/// The handle of a keeper that takes questions. It is the first one that a router gives away, and a keeper claims it
/// before anything else.
pub(super) const HANDLE: Handle = Handle::FIRST_DYNAMIC;

/// Identifies a way to a host: a digest of its hops and of the settings of each.
pub(crate) type Key = [u8; 32];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Which of these ways are connected. They stay for `keep` longer than the program that asks, if that is more than
    /// was said before. With `claim`, the program says that it connects those that nobody does.
    Find { ways: Vec<Key>, keep: Option<Duration>, claim: bool },
    /// Keep a context that was connected.
    Keep { way: Key, context: ContextId, name: String, path: String, keep: Duration },
    /// These do not answer the program that asks. They are not kept for others, and end when those who use them leave.
    Leave(Vec<Key>),
    /// What is kept.
    List,
    /// End these, or everything.
    End(Option<Vec<Key>>),
}

/// What a keeper knows of a way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Found {
    Nothing,
    /// This program is connecting it.
    Claimed(ContextId),
    Kept(Kept),
}

impl Found {
    pub(super) fn kept(self) -> Option<Kept> {
        if let Self::Kept(kept) = self { Some(kept) } else { None }
    }
}

/// A context that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(super) way: Key,
    pub(super) context: ContextId,
    /// The name of the context.
    pub(super) name: String,
    /// The path as the user writes it.
    pub(super) path: String,
    /// How many programs use it now.
    pub(super) users: usize,
    /// Time since the last program has left.
    pub(super) idle: Duration,
    /// Time until it ends, if nobody uses it.
    pub(super) left: Duration,
}
