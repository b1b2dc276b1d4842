//! The contexts that can be reached from here, for threads other than the one that routes.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::sys::hash::{HashMap, HashSet};
use crate::wire::message::ContextId;

/// The most contexts that are remembered as gone.
const MAX_GONE: usize = 65_536;
/// The most children whose ends are remembered, since they are looked for one by one.
const MAX_ENDED: usize = 1024;

/// The contexts below this one, by id. The route table keeps it.
#[derive(Debug, Default)]
pub(crate) struct Directory(RwLock<Listings>);

#[derive(Debug, Default)]
struct Listings {
    present: HashMap<ContextId, Listing>,
    gone: HashSet<ContextId>,
    /// The ids of contexts that have gone, in their order.
    order: VecDeque<ContextId>,
    /// The statuses with which the processes of children have ended, the last first.
    ended: VecDeque<(ContextId, i32)>,
}

#[derive(Debug)]
struct Listing {
    name: Arc<str>,
    /// Whether it is a direct child of this context.
    is_child: bool,
    /// The context that has started it for this one, if it is not a child.
    via: Option<ContextId>,
}

impl Directory {
    /// Notes that a route leads to a context.
    pub(super) fn list(&self, context: ContextId, name: &str, is_child: bool) {
        let listing = Listing { name: name.into(), is_child, via: None };
        let mut listings = self.write();
        listings.present.insert(context, listing);
        listings.gone.remove(&context);
    }

    /// Notes that no route leads to a context any more.
    pub(super) fn strike(&self, context: ContextId) {
        let mut listings = self.write();
        if listings.present.remove(&context).is_some() && listings.gone.insert(context) {
            listings.order.push_back(context);
            if listings.order.len() > MAX_GONE
                && let Some(oldest) = listings.order.pop_front()
            {
                listings.gone.remove(&oldest);
            }
        }
    }

    /// Whether a route led to a context and does so no more.
    pub(crate) fn has_gone(&self, context: ContextId) -> bool {
        self.read().gone.contains(&context)
    }

    /// Notes with which status the process of a child has ended.
    pub(crate) fn set_status(&self, child: ContextId, status: i32) {
        let mut listings = self.write();
        listings.ended.truncate(MAX_ENDED - 1);
        listings.ended.push_front((child, status));
    }

    /// The status with which the process of a child has ended, as the system call `wait` gives it.
    pub(crate) fn status(&self, child: ContextId) -> Option<i32> {
        self.read().ended.iter().find(|(context, _)| *context == child).map(|(_, status)| *status)
    }

    /// Notes that `via` has started a context for this one.
    pub(crate) fn set_via(&self, context: ContextId, via: ContextId) {
        if let Some(listing) = self.write().present.get_mut(&context) {
            listing.via = Some(via);
        }
    }

    /// The context that has started this one on behalf of this process.
    pub(crate) fn via(&self, context: ContextId) -> Option<ContextId> {
        self.read().present.get(&context)?.via
    }

    pub(crate) fn contains(&self, context: ContextId) -> bool {
        self.read().present.contains_key(&context)
    }

    pub(crate) fn name(&self, context: ContextId) -> Option<Arc<str>> {
        self.read().present.get(&context).map(|listing| Arc::clone(&listing.name))
    }

    /// The direct children and their names, the oldest first.
    pub(crate) fn children(&self) -> Vec<(ContextId, Arc<str>)> {
        let listings = self.read();
        let children = listings.present.iter().filter(|(_, listing)| listing.is_child);
        let mut children: Vec<_> = children.map(|(id, listing)| (*id, Arc::clone(&listing.name))).collect();
        children.sort_unstable_by_key(|(id, _)| *id);
        children
    }

    fn read(&self) -> RwLockReadGuard<'_, Listings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Listings> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_listed_is_known_until_struck() {
        let directory = Directory::default();
        directory.list(ContextId(2), "ssh.b", true);
        directory.list(ContextId(1), "ssh.a", true);
        directory.list(ContextId(3), "ssh.a.local.1", false);
        let children: Vec<_> = directory.children().into_iter().map(|(id, name)| (id.0, name.to_string())).collect();
        assert_eq!(children, [(1, "ssh.a".to_owned()), (2, "ssh.b".to_owned())]);
        assert_eq!(directory.name(ContextId(3)).as_deref(), Some("ssh.a.local.1"));
        directory.strike(ContextId(3));
        assert!(!directory.contains(ContextId(3)) && directory.name(ContextId(3)).is_none());
        assert!(directory.has_gone(ContextId(3)) && !directory.has_gone(ContextId(2)));
    }

    #[test]
    fn who_has_started_a_context_is_known_while_it_is_up() {
        let directory = Directory::default();
        directory.list(ContextId(3), "ssh.a.local.1", false);
        directory.set_via(ContextId(3), ContextId(1));
        assert_eq!(directory.via(ContextId(3)), Some(ContextId(1)));
        directory.strike(ContextId(3));
        assert_eq!(directory.via(ContextId(3)), None);
    }

    #[test]
    fn the_ends_of_the_last_children_are_known() {
        let directory = Directory::default();
        (0..).zip(1..=2 * MAX_ENDED as u32).for_each(|(status, id)| directory.set_status(ContextId(id), status));
        assert_eq!(directory.status(ContextId(2 * MAX_ENDED as u32)), Some(2 * MAX_ENDED as i32 - 1));
        assert_eq!(directory.status(ContextId(MAX_ENDED as u32 + 1)), Some(MAX_ENDED as i32));
        assert_eq!(directory.status(ContextId(MAX_ENDED as u32)), None);
    }
}
