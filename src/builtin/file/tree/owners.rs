//! Users and groups, which have other numbers on another machine.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use super::message::{Entry, Owner};
use crate::sys::directory::Stat;

/// The most users and groups that are remembered.
const MAX_OWNERS: usize = 1 << 16;

/// The name of a user or group of this machine.
pub(crate) fn name_of(is_group: bool, id: u32) -> Option<String> {
    if is_group {
        Group::from_gid(Gid::from_raw(id)).ok()?.map(|group| group.name)
    } else {
        User::from_uid(Uid::from_raw(id)).ok()?.map(|user| user.name)
    }
}

fn id_of(is_group: bool, name: &str) -> Option<u32> {
    if is_group {
        Group::from_name(name).ok()?.map(|group| group.gid.as_raw())
    } else {
        User::from_name(name).ok()?.map(|user| user.uid.as_raw())
    }
}

/// Whom copies belong to here.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    here: HashMap<(bool, u32), u32>,
    is_allowed: bool,
}

impl Owners {
    /// Only root may give files away.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { here: HashMap::new(), is_allowed: wanted && geteuid().is_root() }
    }

    /// Learns the name that a number has at the source.
    pub(crate) fn learn(&mut self, owner: &Owner) {
        if self.is_allowed
            && self.here.len() < MAX_OWNERS
            && let Some(id) = id_of(owner.is_group, &owner.name)
        {
            self.here.insert((owner.is_group, owner.id), id);
        }
    }

    /// Whether the user and the group of an entry own the copy.
    pub(crate) fn own(&self, entry: &Entry) -> (bool, bool) {
        let is_known = |is_group, id| self.here.contains_key(&(is_group, id));
        (is_known(false, entry.user), is_known(true, entry.group))
    }

    /// The user and the group to set for an entry. `found` is what it replaces: that keeps its owner if the source's
    /// is not known here, and what is new then belongs to who writes it.
    pub(crate) fn to_set(&self, entry: &Entry, found: Option<&Stat>) -> (Option<u32>, Option<u32>) {
        if !geteuid().is_root() {
            return (None, None);
        }
        let here = |is_group, id| self.here.get(&(is_group, id)).copied();
        (
            here(false, entry.user).or_else(|| found.map(|stat| stat.user)),
            here(true, entry.group).or_else(|| found.map(|stat| stat.group)),
        )
    }
}
