//! The control handles of a router, and the contexts that may send to them.

use std::sync::Arc;

use crate::engine::inboxes::Target;
use crate::routing::handles::{Policy, Registration, Rule};
use crate::routing::policy;
use crate::wire::message::Handle;

/// The contexts that may send to a handle.
#[derive(Clone, Copy)]
enum Writer {
    Anybody,
    Parent,
    Neighbour,
}

/// The control handles that every router has.
const ALL: [(Handle, Writer); 9] = [
    (Handle::GET_IMAGE, Writer::Neighbour),
    (Handle::ADD_ROUTE, Writer::Neighbour),
    (Handle::DEL_ROUTE, Writer::Neighbour),
    (Handle::ALLOCATE_ID, Writer::Neighbour),
    (Handle::DETACHING, Writer::Neighbour),
    (Handle::STATS, Writer::Parent),
    (Handle::CREDIT, Writer::Anybody),
    (Handle::CANCEL, Writer::Anybody),
    (Handle::WAITS, Writer::Anybody),
];
const OF_CHILDREN: [(Handle, Writer); 4] = [
    (Handle::LOAD_IMAGE, Writer::Parent),
    (Handle::CALL_FUNCTION, Writer::Parent),
    // The first call of a parent starts the services. From then on the methods have policies of their own.
    (Handle::CALL_SERVICE, Writer::Parent),
    (Handle::SHUTDOWN, Writer::Parent),
];
const OF_MASTER: [(Handle, Writer); 1] = [(Handle::FORWARD_LOG, Writer::Anybody)];
const OF_CLIENTS: [(Handle, Writer); 1] = [(Handle::SHUTDOWN, Writer::Parent)];

/// What a router is to the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Master,
    /// A master that runs functions for programs that have joined its tree.
    Server,
    Child,
    /// A program that has joined the tree of another process.
    Client,
}

/// Returns the control handles of a router.
pub(super) fn all(kind: Kind) -> impl Iterator<Item = (Handle, Registration<Target>)> {
    let parents: Policy = Arc::new(policy::has_parent_authority);
    let neighbours: Policy = Arc::new(policy::is_immediate_child);
    let (role, more) = match kind {
        Kind::Master => (&OF_MASTER[..], &[][..]),
        Kind::Server => (&OF_MASTER[..], &OF_CHILDREN[..]),
        Kind::Child => (&OF_CHILDREN[..], &[][..]),
        Kind::Client => (&OF_CLIENTS[..], &[][..]),
    };
    ALL.iter().chain(role).chain(more).map(move |(handle, writer)| {
        let policy = match writer {
            Writer::Anybody => None,
            Writer::Parent => Some(Arc::clone(&parents)),
            Writer::Neighbour => Some(Arc::clone(&neighbours)),
        };
        let policy = policy.map(Rule::Policy);
        (*handle, Registration { sink: Target::Control, once: false, respondent: None, policy })
    })
}

/// The registration of [`Handle::CALL_SERVICE`] while services run here.
pub(super) fn services() -> Registration<Target> {
    Registration { sink: Target::Control, once: false, respondent: None, policy: None }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_a_child_can_be_called_and_only_the_master_takes_log_records() {
        let handles = |kind| all(kind).map(|(handle, _)| handle).collect::<HashSet<_>>();
        let (child, master, client) = (handles(Kind::Child), handles(Kind::Master), handles(Kind::Client));
        assert!(client.contains(&Handle::SHUTDOWN) && !client.contains(&Handle::CALL_FUNCTION));
        assert!(child.contains(&Handle::CALL_FUNCTION) && !master.contains(&Handle::CALL_FUNCTION));
        assert!(master.contains(&Handle::FORWARD_LOG) && !child.contains(&Handle::FORWARD_LOG));
    }

    #[test]
    fn what_is_checked_against_a_record_may_come_from_anybody_and_calls_only_from_parents() {
        for (handle, registration) in all(Kind::Child) {
            let is_open = [Handle::CREDIT, Handle::CANCEL, Handle::WAITS].contains(&handle);
            assert_eq!(registration.policy.is_none(), is_open, "{handle}");
        }
    }
}
