//! The handles of one context: the sink of each, and the contexts that may write to it. No I/O.

use std::fmt;
use std::sync::Arc;

use crate::sys::hash::{HashMap, HashSet};
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

/// Which messages may reach a handle.
#[derive(Clone)]
pub(crate) enum Rule {
    /// Those that a function agrees to.
    Policy(Policy),
    /// Those of this context and of the contexts below it, and those that began here.
    Below(ContextId),
}

const UNEXPECTED: DeadReason = DeadReason::fixed(ChannelErrorKind::Refused, "reply from unexpected context");

/// The most handles of a set whose memory is kept.
const MAX_SPARE: usize = 64;

/// What a handle stands for.
pub(crate) struct Registration<S> {
    pub(crate) sink: S,
    /// Whether the handle is removed when its first message is delivered.
    pub(crate) once: bool,
    /// If set, only this context may write to the handle, and its end is reported to the handle.
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

/// All handles that are registered.
pub(crate) struct Handles<S> {
    by_handle: HashMap<Handle, Registration<S>>,
    by_respondent: HashMap<ContextId, HashSet<Handle>>,
    /// The memory of a set that was emptied, for the next one.
    spare: HashSet<Handle>,
}

impl<S> Default for Handles<S> {
    fn default() -> Self {
        Self { by_handle: HashMap::default(), by_respondent: HashMap::default(), spare: HashSet::default() }
    }
}

impl<S> Handles<S> {
    /// Checks whether a message for this context may reach its handle. The error is the reason why
    /// not. `provenance` tells of its sender.
    pub(crate) fn check(
        &self,
        message: &Message,
        peer: impl FnOnce() -> Peer,
        provenance: &impl Provenance,
    ) -> Result<(), DeadReason> {
        let Some(registration) = self.by_handle.get(&message.handle) else {
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
        if self.by_handle.get(&handle)?.once {
            return self.remove(handle).map(|registration| Sink::Taken(registration.sink));
        }
        self.by_handle.get_mut(&handle).map(|registration| Sink::Kept(&mut registration.sink))
    }

    /// Registers a handle. Returns the registration as an error if the handle is in use.
    pub(crate) fn add(&mut self, handle: Handle, registration: Registration<S>) -> Result<(), Registration<S>> {
        if self.by_handle.contains_key(&handle) {
            return Err(registration);
        }
        if let Some(respondent) = registration.respondent {
            let spare = &mut self.spare;
            self.by_respondent.entry(respondent).or_insert_with(|| std::mem::take(spare)).insert(handle);
        }
        self.by_handle.insert(handle, registration);
        Ok(())
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Registration<S>> {
        let registration = self.by_handle.remove(&handle)?;
        if let Some(respondent) = registration.respondent
            && let Some(handles) = self.by_respondent.get_mut(&respondent)
        {
            handles.remove(&handle);
            if handles.is_empty() {
                let emptied = self.by_respondent.remove(&respondent);
                self.spare = emptied.filter(|set| set.capacity() <= MAX_SPARE).unwrap_or_default();
            }
        }
        Some(registration)
    }

    /// The sink of a handle.
    pub(crate) fn get(&self, handle: Handle) -> Option<&S> {
        self.by_handle.get(&handle).map(|registration| &registration.sink)
    }

    /// The sink of a handle that awaits a reply of `respondent`.
    #[cfg(feature = "cli")]
    pub(crate) fn awaiting(&mut self, handle: Handle, respondent: ContextId) -> Option<&mut S> {
        let registration = self.by_handle.get_mut(&handle)?;
        (registration.respondent == Some(respondent)).then_some(&mut registration.sink)
    }

    /// Removes and returns all handles whose respondent is `gone`.
    pub(crate) fn orphans(&mut self, gone: ContextId) -> Vec<Registration<S>> {
        let handles = self.by_respondent.remove(&gone).unwrap_or_default();
        handles.into_iter().filter_map(|handle| self.by_handle.remove(&handle)).collect()
    }

    /// Removes and returns every handle. Called when the router ends.
    pub(crate) fn drain(&mut self) -> Vec<Registration<S>> {
        self.by_respondent.clear();
        self.by_handle.drain().map(|(_, registration)| registration).collect()
    }

    /// All registered handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &Registration<S>)> {
        self.by_handle.iter().map(|(handle, registration)| (*handle, registration))
    }

    /// Number of registered handles.
    pub(crate) fn len(&self) -> usize {
        self.by_handle.len()
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

    fn peer(id: u32) -> impl FnOnce() -> Peer {
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

    #[test]
    fn the_end_of_a_respondent_takes_its_handles_out() {
        let mut handles = Handles::default();
        for handle in [1000, 1001] {
            let registration = Registration { sink: "r", once: true, respondent: Some(ContextId(1)), policy: None };
            handles.add(Handle(handle), registration).unwrap();
        }
        assert_eq!(handles.orphans(ContextId(1)).len(), 2);
        assert_eq!(handles.len(), 0);
    }
}
