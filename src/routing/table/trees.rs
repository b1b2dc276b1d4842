//! Random trees of route tables, with messages, forgeries and cuts. They are compared with a model
//! that knows only which context is above which.
//!
//! The links between the tables are plain queues. The decisions of a table are carried out as `io`
//! does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::routing::handles::{Handles, Policy, Registration, Rule, Sink};
use crate::routing::policy;
use crate::wire::message::Handle;

/// A handle that accepts every allowed message and answers it.
const OPEN: Handle = Handle(2000);
/// A handle that accepts every allowed message and never answers.
const SILENT: Handle = Handle(2001);

#[derive(Debug, Clone)]
enum Step {
    Spawn {
        under: usize,
    },
    /// `from` sends to `to` and waits for the answer.
    Ask {
        from: usize,
        to: usize,
        handle: Handle,
    },
    /// `from` writes a message to a neighbour that it must not write.
    Forge {
        from: usize,
        up: bool,
        src: usize,
        auth: usize,
        to: usize,
        handle: Handle,
    },
    /// `from` announces, or takes back, a context that is not its own.
    Announce {
        from: usize,
        target: usize,
        del: bool,
    },
    /// The link above a context breaks.
    Cut {
        below: usize,
    },
    /// Some frames arrive.
    Deliver {
        queue: usize,
        count: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..40usize;
    let handle = prop_oneof![Just(OPEN), Just(SILENT), Just(Handle::CALL_FUNCTION), Just(Handle(9_999))];
    prop_oneof![
        3 => who.clone().prop_map(|under| Step::Spawn { under }),
        6 => (who.clone(), who.clone(), handle.clone()).prop_map(|(from, to, handle)| Step::Ask { from, to, handle }),
        3 => (who.clone(), any::<bool>(), who.clone(), who.clone(), who.clone(), handle)
            .prop_map(|(from, up, src, auth, to, handle)| Step::Forge { from, up, src, auth, to, handle }),
        1 => (who.clone(), who.clone(), any::<bool>())
            .prop_map(|(from, target, del)| Step::Announce { from, target, del }),
        1 => who.clone().prop_map(|below| Step::Cut { below }),
        6 => (who, 1..20usize).prop_map(|(queue, count)| Step::Deliver { queue, count }),
    ]
}

/// A message on a wire, and the context that has really sent it.
#[derive(Debug, Clone)]
struct Sent {
    message: Message,
    by: ContextId,
}

/// One direction of a link: the context where it ends, and the number of the link there.
type Wire = (ContextId, LinkId);

struct Node {
    routing: Routing,
    handles: Handles<u64>,
    /// All contexts above it, the parent first.
    above: Vec<ContextId>,
    /// The other ends of its links.
    links: BTreeMap<LinkId, Wire>,
}

#[derive(Default)]
struct World {
    nodes: BTreeMap<ContextId, Node>,
    /// The frames under way to a node by one of its links.
    queues: BTreeMap<Wire, VecDeque<Sent>>,
    /// The contexts above each context, also for contexts that have gone.
    ancestors: BTreeMap<ContextId, Vec<ContextId>>,
    unidirectional: bool,
    /// The waiting callers: which context waits for which.
    waiting: BTreeMap<u64, (ContextId, ContextId)>,
    /// Calls that arrived at a handle that never answers.
    held: BTreeSet<u64>,
    /// The contexts that have announced a context which is not behind them, each with that context.
    lies: BTreeSet<(ContextId, ContextId)>,
    /// The blocks of ids that were given out, the oldest first, each with its owner and the contexts above that. (The id
    /// of the owner may belong to another context later.)
    blocks: Vec<(Range<u32>, Vec<ContextId>)>,
    asked: u64,
    links: u32,
    violations: Vec<String>,
}

impl World {
    fn new(unidirectional: bool) -> Self {
        let mut world = Self { unidirectional, ..Self::default() };
        world.add(ContextId::MASTER, Vec::new());
        world
    }

    fn add(&mut self, id: ContextId, above: Vec<ContextId>) {
        let routing = Routing::new(id, Arc::from(&above[..]), self.unidirectional);
        let mut handles = Handles::default();
        let neighbours: Policy = Arc::new(policy::is_immediate_child);
        let parents: Policy = Arc::new(policy::has_parent_authority);
        let guarded = [(Handle::ADD_ROUTE, neighbours.clone()), (Handle::DEL_ROUTE, neighbours)];
        let calls = (id != ContextId::MASTER).then_some((Handle::CALL_FUNCTION, parents));
        for (handle, policy) in guarded.into_iter().chain(calls) {
            let registration =
                Registration { sink: 0, once: false, respondent: None, policy: Some(Rule::Policy(policy)) };
            assert!(handles.add(handle, registration).is_ok());
        }
        for handle in [OPEN, SILENT] {
            let registration = Registration { sink: 0, once: false, respondent: None, policy: None };
            assert!(handles.add(handle, registration).is_ok());
        }
        self.ancestors.insert(id, above.clone());
        self.nodes.insert(id, Node { routing, handles, above, links: BTreeMap::new() });
    }

    /// Picks one of the contexts that exist.
    fn pick(&self, number: usize) -> ContextId {
        *self.nodes.keys().nth(number % self.nodes.len()).unwrap()
    }

    /// Picks one of the contexts that exist or have existed.
    fn pick_any(&self, number: usize) -> ContextId {
        *self.ancestors.keys().nth(number % self.ancestors.len()).unwrap()
    }

    fn is_above(&self, upper: ContextId, lower: ContextId) -> bool {
        upper == lower || self.ancestors.get(&lower).is_some_and(|above| above.contains(&upper))
    }

    fn spawn(&mut self, parent: ContextId) {
        let Some(id) = self.take_id(parent) else { return };
        let mut above = vec![parent];
        above.extend_from_slice(&self.nodes[&parent].above);
        self.add(id, above);
        let (down, up) = (LinkId(self.links + 1), LinkId(self.links + 2));
        self.links += 2;
        let name = format!("c{id}");
        let upper = self.nodes.get_mut(&parent).unwrap();
        upper.links.insert(down, (id, up));
        upper.routing.add_child(down, id, name, None);
        let grandparent = upper.above.first().copied();
        let lower = self.nodes.get_mut(&id).unwrap();
        lower.links.insert(up, (parent, down));
        lower.routing.add_parent(up, parent);
        if let Some(to) = grandparent {
            self.tell(parent, to, Handle::ADD_ROUTE, id);
        }
    }

    /// Takes an id from the parent's block. Blocks are given out at once here. The time that a
    /// request takes is not modelled.
    fn take_id(&mut self, parent: ContextId) -> Option<ContextId> {
        if !self.nodes[&parent].routing.has_id() {
            let above = self.nodes[&parent].above.clone();
            let block = self.nodes.get_mut(&ContextId::MASTER)?.routing.take_block();
            let mut below = parent;
            for &hop in &above {
                let routing = &mut self.nodes.get_mut(&hop)?.routing;
                let link = routing.link_to(below)?;
                routing.hand_out(link, parent, block.clone());
                below = hop;
            }
            self.blocks.push((block.clone(), [&[parent], &above[..]].concat()));
            self.nodes.get_mut(&parent)?.routing.give_block(block);
        }
        self.nodes.get_mut(&parent)?.routing.take_id()
    }

    /// A message about a context's route, to a neighbour.
    fn tell(&mut self, from: ContextId, to: ContextId, handle: Handle, target: ContextId) {
        self.send(from, Message::new(to, handle, target.0.to_be_bytes().to_vec()));
    }

    fn send(&mut self, from: ContextId, message: Message) {
        let message = Message { src: from, auth: from, ..message };
        self.route(from, Sent { message, by: from }, None);
    }

    fn ask(&mut self, from: ContextId, to: ContextId, handle: Handle) {
        self.asked += 1;
        let (call, reply_to) = (self.asked, Handle(10_000 + u32::try_from(self.asked).unwrap()));
        let Node { routing, handles, .. } = self.nodes.get_mut(&from).unwrap();
        let respondent = routing.reaches(to).then_some(to);
        let registration = Registration { sink: call, once: true, respondent, policy: None };
        assert!(handles.add(reply_to, registration).is_ok());
        self.waiting.insert(call, (from, to));
        self.send(from, Message { reply_to, ..Message::new(to, handle, Bytes::copy_from_slice(&call.to_be_bytes())) });
    }

    fn route(&mut self, at: ContextId, mut sent: Sent, from: Option<LinkId>) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        match node.routing.route(&mut sent.message, from) {
            Verdict::Local => match node.handles.check(
                &sent.message,
                || node.routing.peer(from),
                &node.routing.provenance(sent.message.src, from),
            ) {
                Ok(()) => self.deliver(at, &sent, from),
                Err(_) => self.refuse(at, &sent.message),
            },
            Verdict::Forward(out) => {
                let wire = node.links[&out];
                self.queues.entry(wire).or_default().push_back(sent);
            }
            Verdict::Refuse(_) => self.refuse(at, &sent.message),
            Verdict::Forged(_) => {}
        }
    }

    fn refuse(&mut self, at: ContextId, message: &Message) {
        if message.wants_reply() {
            let dead = Message { dst: message.src, handle: message.reply_to, ..Message::dead("refused") };
            self.send(at, dead);
        }
    }

    fn deliver(&mut self, at: ContextId, Sent { message, by }: &Sent, from: Option<LinkId>) {
        self.judge(at, message, *by);
        let target = <[u8; 4]>::try_from(&message.data[..]).map(|id| ContextId(u32::from_be_bytes(id)));
        let node = self.nodes.get_mut(&at).unwrap();
        match (message.handle, target, from) {
            (Handle::ADD_ROUTE, Ok(target), Some(from)) => {
                let parent = node.above.first().copied();
                if node.routing.add_route(from, target, "x").is_ok()
                    && let Some(parent) = parent
                {
                    self.tell(at, parent, Handle::ADD_ROUTE, target);
                }
            }
            (Handle::DEL_ROUTE, Ok(target), Some(from)) => {
                if let Some(gone) = node.routing.del_route(from, target) {
                    self.gone(at, &gone);
                }
            }
            (Handle::ADD_ROUTE | Handle::DEL_ROUTE, ..) => {}
            (SILENT, ..) => {
                if let Ok(call) = <[u8; 8]>::try_from(&message.data[..]) {
                    self.held.insert(u64::from_be_bytes(call));
                }
            }
            (OPEN | Handle::CALL_FUNCTION, ..) => {
                if message.wants_reply() {
                    self.send(at, Message::new(message.src, message.reply_to, Bytes::new()));
                }
            }
            (handle, ..) => match node.handles.sink(handle) {
                Some(Sink::Taken(call)) => drop(self.waiting.remove(&call)),
                _ => self.violations.push(format!("{handle} of {at} took what nobody waits for")),
            },
        }
    }

    /// The model: checks whether a message may have arrived here, by which context is above which.
    fn judge(&mut self, at: ContextId, message: &Message, by: ContextId) {
        let own = |claimed: ContextId| {
            self.ancestors.contains_key(&claimed) && self.is_above(by, claimed) || self.has_lied(by, claimed)
        };
        let honest = own(message.src) && own(message.auth);
        let mut violation = |what: &str| {
            self.violations.push(format!("{what}: by {by} at {at}, claims src {} auth {}", message.src, message.auth));
        };
        if message.handle == Handle::CALL_FUNCTION && !(by == at || self.ancestors[&at].contains(&by)) {
            violation("a call by somebody who is not above");
        }
        let came_from_above = self.ancestors[&at].contains(&by);
        if !(came_from_above || honest) {
            violation("a source that is not the sender's to claim");
        }
        let related = by == at || came_from_above || self.ancestors[&by].contains(&at);
        if self.unidirectional && !related {
            violation("a message across a unidirectional tree");
        }
    }

    fn gone(&mut self, at: ContextId, gone: &Gone) {
        for &(link, context) in &gone.tell {
            let Some(node) = self.nodes.get(&at) else { return };
            let message = Message::new(node.routing.remote(link), Handle::DEL_ROUTE, context.0.to_be_bytes().to_vec());
            let wire = node.links[&link];
            let message = Message { src: at, auth: at, ..message };
            self.queues.entry(wire).or_default().push_back(Sent { message, by: at });
        }
        for &context in &gone.contexts {
            let orphans = self.nodes.get_mut(&at).map(|node| node.handles.orphans(context)).unwrap_or_default();
            for orphan in orphans {
                self.waiting.remove(&orphan.sink);
            }
        }
    }

    /// Breaks the link above `below`. The context and all contexts behind it end.
    fn cut(&mut self, below: ContextId) {
        let Some(parent) = self.nodes.get(&below).and_then(|node| node.above.first().copied()) else { return };
        self.end(below);
        let node = self.nodes.get_mut(&parent).unwrap();
        let link = *node.links.iter().find(|(_, wire)| wire.0 == below).unwrap().0;
        node.links.remove(&link);
        self.queues.remove(&(parent, link));
        let gone = self.nodes.get_mut(&parent).unwrap().routing.del_link(link);
        self.gone(parent, &gone);
    }

    fn end(&mut self, id: ContextId) {
        let node = self.nodes.remove(&id).unwrap();
        for (link, (other, _)) in node.links {
            self.queues.remove(&(id, link));
            if node.above.first() != Some(&other) {
                self.end(other);
            }
        }
        // Every waiter there has been told that the broker has exited.
        self.waiting.retain(|_, (from, _)| *from != id);
        self.lies.retain(|(liar, _)| *liar != id);
    }

    fn deliver_some(&mut self, queue: usize, count: usize) {
        let busy: Vec<Wire> =
            self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(wire, _)| *wire).collect();
        if busy.is_empty() {
            return;
        }
        let wire = busy[queue % busy.len()];
        for _ in 0..count {
            let Some(sent) = self.queues.get_mut(&wire).and_then(VecDeque::pop_front) else { return };
            self.route(wire.0, sent, Some(wire.1));
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Spawn { under } => {
                if self.nodes.len() < 24 {
                    self.spawn(self.pick(under));
                }
            }
            Step::Ask { from, to, handle } => self.ask(self.pick(from), self.pick_any(to), handle),
            Step::Forge { from, up, src, auth, to, handle } => {
                let (by, to) = (self.pick(from), self.pick_any(to));
                let message = Message {
                    src: self.pick_any(src),
                    auth: self.pick_any(auth),
                    reply_to: Handle(10_001),
                    ..Message::new(to, handle, Bytes::new())
                };
                self.write_past(by, up, message);
            }
            Step::Announce { from, target, del } => {
                let (by, target) = (self.pick(from), self.pick_any(target));
                let parent = self.nodes[&by].above.first().copied();
                // A context may lose routes to contexts behind it.
                if let Some(parent) = parent.filter(|_| !self.is_above(by, target)) {
                    let handle = if del { Handle::DEL_ROUTE } else { Handle::ADD_ROUTE };
                    let data = target.0.to_be_bytes().to_vec();
                    let message = Message { src: by, auth: by, ..Message::new(parent, handle, data) };
                    if !del {
                        self.lies.insert((by, target));
                    }
                    self.write_past(by, true, message);
                }
            }
            Step::Cut { below } => self.cut(self.pick(below)),
            Step::Deliver { queue, count } => self.deliver_some(queue, count),
        }
    }

    /// Writes to the link of a neighbour without asking the own table.
    fn write_past(&mut self, by: ContextId, up: bool, message: Message) {
        let node = &self.nodes[&by];
        let parent = node.above.first().copied();
        let wire = node.links.values().find(|(other, _)| up == (Some(*other) == parent)).copied();
        if let Some(wire) = wire {
            self.queues.entry(wire).or_default().push_back(Sent { message, by });
        }
    }

    /// Whether a context has announced another without having it, and was believed: the id is out of a block that was
    /// given to it or to a context behind it. What is sent to such an id is the liar's own to lose. Nobody can tell the
    /// sender before the liar takes the lie back or goes.
    fn has_lied(&self, liar: ContextId, about: ContextId) -> bool {
        let block = self.blocks.iter().rev().find(|(ids, _)| ids.contains(&about.0));
        self.lies.contains(&(liar, about)) && block.is_some_and(|(_, givers)| givers.contains(&liar))
    }

    /// What the liars on the way from a context to another have announced.
    fn lies_on_the_way(&self, from: ContextId, to: ContextId) -> Vec<ContextId> {
        let next = |at: &ContextId| {
            let node = self.nodes.get(at)?;
            node.links.get(&node.routing.out(to)?).map(|(next, _)| *next)
        };
        let way = std::iter::successors(next(&from), next).take(self.nodes.len()).take_while(|at| *at != from);
        let lies = way.flat_map(|at| self.lies.iter().filter(move |(liar, _)| *liar == at));
        lies.filter(|(liar, about)| self.has_lied(*liar, *about)).map(|(_, about)| *about).collect()
    }

    /// Whether the way from a context to another passes a liar that has announced the other.
    fn leads_to_a_liar(&self, from: ContextId, to: ContextId) -> bool {
        self.lies_on_the_way(from, to).contains(&to)
    }

    /// A waiting caller that nothing excuses. A caller may wait for a context that keeps the call, and while a liar
    /// has the other, or has the caller: an id that the liar announces, takes back and then gives out has lost its
    /// block above the liar, and so have the contexts that it starts.
    fn waits_in_vain(&self) -> Option<(ContextId, ContextId)> {
        let may_wait = |call, from, to| {
            let lies = self.lies_on_the_way(from, to);
            self.held.contains(call) && self.nodes.contains_key(&to)
                || lies.iter().any(|lie| *lie == to || self.is_above(*lie, from))
        };
        self.waiting.iter().find(|&(call, &(from, to))| !may_wait(call, from, to)).map(|(_, pair)| *pair)
    }

    /// Delivers all messages.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if self.queues.values().all(VecDeque::is_empty) {
                return;
            }
            self.deliver_some(0, usize::MAX);
        }
        self.violations.push("messages go round in circles".into());
    }
}

proptest! {
    #[test]
    fn no_message_passes_that_policy_forbids_and_everyone_who_waits_is_told(
        steps in prop::collection::vec(step(), 1..200), unidirectional: bool,
    ) {
        let mut world = World::new(unidirectional);
        for step in &steps {
            world.carry_out(step);
        }
        world.settle();
        prop_assert!(world.violations.is_empty(), "{:#?}", world.violations);
        if let Some((from, to)) = world.waits_in_vain() {
            prop_assert!(false, "{from} waits in vain for {to}");
        }
        // After that, the tables are right again about where contexts are.
        for (id, node) in &world.nodes {
            for target in node.routing.known().into_iter().filter(|target| !world.leads_to_a_liar(*id, *target)) {
                prop_assert!(world.nodes.contains_key(&target), "{id} has a route to {target}, which has gone");
            }
        }
    }
}

/// Contexts 1 and 2 below the master. 1 has a child, and has announced an id of its block that it has not given out.
/// Returns the id.
fn world_with_a_lie() -> (World, ContextId) {
    let mut world = World::new(false);
    for under in [0, 0, 1] {
        world.spawn(ContextId(under));
    }
    world.settle();
    let &child = world.nodes.keys().last().unwrap();
    let id = ContextId(child.0 + 1);
    world.ancestors.insert(id, Vec::new());
    let at = world.ancestors.keys().position(|context| *context == id).unwrap();
    world.carry_out(&Step::Announce { from: 1, target: at, del: false });
    world.settle();
    assert!(world.leads_to_a_liar(ContextId(2), id), "the lie is believed");
    (world, id)
}

#[test]
fn a_caller_of_an_id_that_its_owner_only_claims_to_use_is_told_when_the_owner_takes_that_back_or_goes() {
    for take_back in [true, false] {
        let (mut world, id) = world_with_a_lie();
        world.ask(ContextId(2), id, OPEN);
        world.settle();
        // The owner says that it has no route. That is not believed: 2 cannot know who is on the way to the id.
        assert_eq!(world.waiting.values().collect::<Vec<_>>(), [&(ContextId(2), id)]);
        match take_back {
            true => {
                let at = world.ancestors.keys().position(|context| *context == id).unwrap();
                world.carry_out(&Step::Announce { from: 1, target: at, del: true });
            }
            false => world.cut(ContextId(1)),
        }
        world.settle();
        assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    }
}

#[test]
fn no_caller_is_kept_waiting_by_a_lie_about_a_context_that_is_not_the_liar_s_to_give() {
    for (liar, target) in [(1, 2), (2, 1), (2, 3)] {
        let (mut world, _) = world_with_a_lie();
        let &of_the_other = world.nodes.keys().last().unwrap();
        let target = if target == 3 { of_the_other } else { ContextId(target) };
        let at = world.ancestors.keys().position(|context| *context == target).unwrap();
        world.carry_out(&Step::Announce { from: liar, target: at, del: false });
        world.settle();
        world.ask(ContextId::MASTER, target, OPEN);
        world.cut(target);
        world.ask(ContextId::MASTER, target, OPEN);
        world.settle();
        assert!(world.waiting.is_empty() && !world.leads_to_a_liar(ContextId::MASTER, target), "{liar} {target}");
    }
}
