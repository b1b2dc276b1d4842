//! A document of YAML or JSON, as far as inventories need it.

use std::rc::Rc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Null,
    /// A text, number or truth value, as it was written.
    Scalar(String),
    /// Encrypted by `ansible-vault`.
    Vault,
    List(Vec<Rc<Self>>),
    /// Entries in their order. Of entries with one key, the last counts.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Rc<Node>,
    /// The line of the key, from 1; 0 if it is not known.
    pub(crate) line: u32,
}

impl Node {
    /// The entries, if it is a mapping. Nothing counts as an empty one.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match self {
            Self::Map(entries) => Some(entries),
            Self::Null => Some(&[]),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.entries()?.iter().rev().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// What it is, for an error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a text",
            Self::Vault => "an encrypted text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}
