//! The handles of one context: the sink of each, and the contexts that may write to it. No I/O.

use std::fmt;
use std::sync::Arc;

use crate::routing::slots::Slots;
use crate::sys::hash::HashMap;
use crate::wire::error::{ChannelErrorKind, DeadReason};
use crate::wire::message::{ContextId, Handle, Message};

/// The neighbour by which a message came in.
///
/// [`has_parent_authority`](crate::policy::has_parent_authority) has an example of a policy, which gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The neighbour, or this context itself.
    pub id: ContextId,
    /// The context that decides about the message.
    pub me: ContextId,
    /// The parents of that context, the most direct first.
    pub parent_ids: Arc<[ContextId]>,
}

/// A function that decides whether a message may reach a handler. Returns true to accept it.
///
/// Runs on the I/O thread and must not block.
///
/// [`has_parent_authority`](crate::policy::has_parent_authority) has an example.
pub type Policy = Arc<dyn Fn(&Message, &Peer) -> bool + Send + Sync>;

/// Whether a context above this one sends a message for another context, by a sender that it has from there. Contexts that
/// are not above this one cannot act for those beside it.
fn is_led(message: &Message, peer: &Peer) -> bool {
    let is_above = |id| peer.parent_ids.contains(&id);
    is_above(message.src) && message.auth != peer.me && !is_above(message.auth)
}

/// Which messages may reach a handle.
#[derive(Clone)]
pub(crate) enum Rule {
    /// Those that a function agrees to.
    Policy(Policy),
    /// Those of this context and of the contexts below it, and those that began here.
    Below(ContextId),
}

const UNEXPECTED: DeadReason = DeadReason::fixed(ChannelErrorKind::Refused, "reply from unexpected context");

/// What a handle stands for.
pub(crate) struct Registration<S> {
    pub(crate) sink: S,
    /// Whether the handle is removed when its first message is delivered.
    pub(crate) once: bool,
    /// If set, only this context may write to the handle, and its end is reported to the handle. If it is above this one, it
    /// may not write for a context beside this one.
    pub(crate) respondent: Option<ContextId>,
    pub(crate) policy: Option<Rule>,
}

impl<S: fmt::Debug> fmt::Debug for Registration<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("sink", &self.sink).field("once", &self.once).finish_non_exhaustive()
    }
}

/// A sink: a reference to it, or the sink itself if its handle was removed.
#[derive(Debug)]
pub(crate) enum Sink<'a, S> {
    Kept(&'a mut S),
    Taken(S),
}

/// What is known of the sender of a message.
pub(crate) trait Provenance {
    /// Whether it is a router between this context and `context`, or this context itself. Only such a
    /// router can know that `context` has ended.
    fn is_on_way_to(&self, context: ContextId) -> bool;
    /// Whether it is `context` or below it, or this context itself.
    fn is_from(&self, context: ContextId) -> bool;
}

/// A registration, and its neighbours among those of the same respondent. `Handle::NONE` stands for none.
struct Entry<S> {
    registration: Registration<S>,
    older: Handle,
    newer: Handle,
}

/// All handles that are registered.
pub(crate) struct Handles<S> {
    entries: Slots<Entry<S>>,
    /// The newest handle of each respondent that has one.
    newest: HashMap<ContextId, Handle>,
}

impl<S> Default for Handles<S> {
    fn default() -> Self {
        Self { entries: Slots::default(), newest: HashMap::default() }
    }
}

impl<S> Handles<S> {
    /// Checks whether a message for this context may reach its handle. The error is the reason why
    /// not. `provenance` tells of its sender.
    pub(crate) fn check(
        &self,
        message: &Message,
        peer: impl Fn() -> Peer,
        provenance: &impl Provenance,
    ) -> Result<(), DeadReason> {
        let Some(registration) = self.registration(message.handle) else {
            return Err(DeadReason::INVALID_HANDLE);
        };
        if let Some(respondent) = registration.respondent
            && respondent != message.src
        {
            match message.is_dead() {
                false => return Err(UNEXPECTED),
                true if provenance.is_on_way_to(respondent) => {}
                // A router elsewhere may honestly have no route to a context that has gone. So this is no fault.
                true => return Err(DeadReason::INVALID_HANDLE),
            }
        } else if registration.respondent.is_some() && message.auth != message.src && is_led(message, &peer()) {
            return Err(UNEXPECTED);
        }
        let refusal = match &registration.policy {
            None => None,
            Some(Rule::Policy(policy)) => {
                (!agrees(policy, message, &peer())).then(|| DeadReason::refused("refused by policy"))
            }
            Some(Rule::Below(context)) => (!provenance.is_from(*context)).then_some(UNEXPECTED),
        };
        refusal.map_or(Ok(()), Err)
    }

    /// The sink of a handle that [`Handles::check`] has accepted. The handle is removed if it takes
    /// one message only.
    pub(crate) fn sink(&mut self, handle: Handle) -> Option<Sink<'_, S>> {
        if self.registration(handle)?.once {
            return self.remove(handle).map(|registration| Sink::Taken(registration.sink));
        }
        self.entries.get_mut(handle).map(|entry| Sink::Kept(&mut entry.registration.sink))
    }

    /// Registers a handle. Returns the registration as an error if the handle is in use.
    pub(crate) fn add(&mut self, handle: Handle, registration: Registration<S>) -> Result<(), Registration<S>> {
        if self.registration(handle).is_some() {
            return Err(registration);
        }
        let older = registration.respondent.and_then(|respondent| self.newest.insert(respondent, handle));
        if let Some(older) = older
            && let Some(entry) = self.entries.get_mut(older)
        {
            entry.newer = handle;
        }
        self.entries.insert(handle, Entry { registration, older: older.unwrap_or_default(), newer: Handle::NONE });
        Ok(())
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Registration<S>> {
        let Entry { registration, older, newer } = self.entries.remove(handle)?;
        if let Some(entry) = self.entries.get_mut(older) {
            entry.newer = newer;
        }
        match registration.respondent {
            _ if newer != Handle::NONE => {
                if let Some(entry) = self.entries.get_mut(newer) {
                    entry.older = older;
                }
            }
            Some(respondent) if older != Handle::NONE => drop(self.newest.insert(respondent, older)),
            Some(respondent) => drop(self.newest.remove(&respondent)),
            None => {}
        }
        Some(registration)
    }

    /// The sink of a handle.
    pub(crate) fn get(&self, handle: Handle) -> Option<&S> {
        self.registration(handle).map(|registration| &registration.sink)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut S> {
        self.entries.get_mut(handle).map(|entry| &mut entry.registration.sink)
    }

    /// The sink of a handle that awaits a reply of `respondent`.
    pub(crate) fn awaiting(&mut self, handle: Handle, respondent: ContextId) -> Option<&mut S> {
        let registration = &mut self.entries.get_mut(handle)?.registration;
        (registration.respondent == Some(respondent)).then_some(&mut registration.sink)
    }

    /// Removes and returns all handles whose respondent is `gone`, the oldest first.
    pub(crate) fn orphans(&mut self, gone: ContextId) -> Vec<Registration<S>> {
        let mut next = self.newest.remove(&gone).unwrap_or_default();
        let mut orphans = Vec::new();
        while let Some(entry) = self.entries.remove(next) {
            next = entry.older;
            orphans.push(entry.registration);
        }
        orphans.reverse();
        orphans
    }

    /// Removes and returns every handle. Called when the router ends.
    pub(crate) fn drain(&mut self) -> Vec<Registration<S>> {
        self.newest.clear();
        self.entries.drain().map(|entry| entry.registration).collect()
    }

    /// All registered handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &Registration<S>)> {
        self.entries.iter().map(|(handle, entry)| (handle, &entry.registration))
    }

    /// Number of registered handles.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn registration(&self, handle: Handle) -> Option<&Registration<S>> {
        self.entries.get(handle).map(|entry| &entry.registration)
    }
}

/// A policy is user code: one that panics has not agreed.
fn agrees(policy: &Policy, message: &Message, peer: &Peer) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| policy(message, peer))).unwrap_or_else(|_| {
        tracing::error!(handle = message.handle.0, "a policy panicked, which counts as refusal");
        false
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::routing::policy;

    fn from(src: u32) -> Message {
        Message { src: ContextId(src), auth: ContextId(src), handle: Handle(1000), ..Message::default() }
    }

    /// Whether the sender of a message is on the way to context 1, and whether it is that context or below it.
    struct Came(bool, bool);

    impl Provenance for Came {
        fn is_on_way_to(&self, context: ContextId) -> bool {
            self.0 && context == ContextId(1)
        }

        fn is_from(&self, context: ContextId) -> bool {
            self.1 && context == ContextId(1)
        }
    }

    const ELSEWHERE: Came = Came(false, false);

    fn peer(id: u32) -> impl Fn() -> Peer {
        move || Peer { id: ContextId(id), me: ContextId(0), parent_ids: Arc::new([]) }
    }

    #[test]
    fn respondent_and_policy_guard_a_handle() {
        let mut handles = Handles::default();
        let registration = Registration { sink: "s", once: true, respondent: Some(ContextId(1)), policy: None };
        handles.add(Handle(1000), registration).unwrap();
        assert_eq!(
            handles.check(&from(2), peer(2), &Came(true, true)),
            Err(DeadReason::refused("reply from unexpected context"))
        );
        assert_eq!(handles.check(&from(1), peer(1), &ELSEWHERE), Ok(()));
        let dead = Message { reply_to: Handle::IS_DEAD, ..from(2) };
        assert!(handles.check(&dead, peer(2), &ELSEWHERE).is_err(), "from elsewhere");
        assert_eq!(handles.check(&dead, peer(2), &Came(true, false)), Ok(()));
        assert!(matches!(handles.sink(Handle(1000)), Some(Sink::Taken("s"))));
        assert_eq!(handles.check(&from(1), peer(1), &ELSEWHERE), Err(DeadReason::INVALID_HANDLE));

        let policy: Policy = Arc::new(policy::has_parent_authority);
        let guarded = Registration { sink: "p", once: false, respondent: None, policy: Some(Rule::Policy(policy)) };
        handles.add(Handle(1000), guarded).unwrap();
        assert_eq!(handles.check(&from(1), peer(1), &ELSEWHERE), Err(DeadReason::refused("refused by policy")));
        assert_eq!(handles.check(&from(0), peer(0), &ELSEWHERE), Ok(()));
    }

    #[test]
    fn a_respondent_acts_for_itself_or_for_those_who_made_the_handle() {
        let mut handles = Handles::default();
        let registration = Registration { sink: "s", once: false, respondent: Some(ContextId(1)), policy: None };
        handles.add(Handle(1000), registration).unwrap();
        let peer = || Peer { id: ContextId(1), me: ContextId(9), parent_ids: Arc::new([ContextId(1), ContextId(0)]) };
        for (auth, may) in [(1, true), (9, true), (0, true), (2, false), (10, false)] {
            let message = Message { auth: ContextId(auth), ..from(1) };
            assert_eq!(handles.check(&message, peer, &ELSEWHERE).is_ok(), may, "{auth}");
        }
        // One that is not above may have joined another one, under whose authority it acts.
        let registration = Registration { sink: "s", once: false, respondent: Some(ContextId(7)), policy: None };
        handles.add(Handle(1001), registration).unwrap();
        let joined = Message { auth: ContextId(5), handle: Handle(1001), ..from(7) };
        assert_eq!(handles.check(&joined, peer, &ELSEWHERE), Ok(()));
    }

    #[test]
    fn a_context_and_those_above_it_have_the_authority_of_parents() {
        let below = Peer { id: ContextId(3), me: ContextId(9), parent_ids: Arc::new([ContextId(3), ContextId(1)]) };
        for (auth, may) in [(9, true), (3, true), (1, true), (0, false), (2, false), (10, false)] {
            assert_eq!(policy::has_parent_authority(&from(auth), &below), may, "{auth}");
        }
    }

    #[test]
    fn values_of_a_call_come_from_its_context_or_from_below_it() {
        let mut handles = Handles::default();
        let callee = ContextId(1);
        let registration = Registration { sink: "v", once: false, respondent: None, policy: Some(Rule::Below(callee)) };
        handles.add(Handle(1000), registration).unwrap();
        assert_eq!(handles.check(&from(5), peer(1), &Came(false, true)), Ok(()));
        assert_eq!(handles.check(&from(5), peer(1), &Came(true, false)), Err(UNEXPECTED), "a router above it");
    }

    #[test]
    fn a_policy_that_panics_refuses() {
        let mut handles = Handles::default();
        let policy: Policy = Arc::new(|_, _| panic!("on purpose"));
        let registration =
            Registration { sink: "p", once: false, respondent: None, policy: Some(Rule::Policy(policy)) };
        handles.add(Handle(1000), registration).unwrap();
        assert!(handles.check(&from(1), peer(1), &ELSEWHERE).is_err());
    }

    proptest! {
        /// Handles come and go in any order, and so do their respondents.
        #[test]
        fn the_end_of_a_respondent_takes_its_handles_out_in_order(steps in vec((0..3u8, 1000..1020u32, 0..4u32), 0..200)) {
            let mut handles = Handles::default();
            let mut model: Vec<(u32, Option<u32>)> = Vec::new();
            for (step, handle, context) in steps {
                let respondent = (context > 0).then_some(ContextId(context));
                let held = model.iter().position(|(held, _)| *held == handle);
                match step {
                    0 => {
                        let registration = Registration { sink: handle, once: true, respondent, policy: None };
                        prop_assert_eq!(handles.add(Handle(handle), registration).is_err(), held.is_some());
                        if held.is_none() {
                            model.push((handle, respondent.map(|context| context.0)));
                        }
                    }
                    1 => {
                        let removed = handles.remove(Handle(handle)).map(|registration| registration.sink);
                        prop_assert_eq!(removed, held.map(|at| model.remove(at).0));
                    }
                    _ => {
                        let orphans: Vec<_> = handles.orphans(ContextId(context)).iter().map(|one| one.sink).collect();
                        let gone = model.extract_if(.., |(_, respondent)| *respondent == Some(context));
                        prop_assert_eq!(orphans, gone.map(|(handle, _)| handle).collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(handles.len(), model.len());
            }
        }
    }
}
