//! The route table: decides which way a message goes, and whether it may. No I/O: messages in,
//! decisions out.
//!
//! A hop trusts a frame only as far as the link by which it came: `auth` and `src` must lie behind
//! that link, or the frame is dropped. A message for this context is checked against its handle's
//! respondent and policy. Every other message leaves by the route to its destination, or to the
//! parent.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trees;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::routing::directory::Directory;
use crate::routing::handles::{Peer, Provenance};
use crate::routing::ids::{Block, IdStock, Lent};
use crate::sys::hash::{HashMap, HashSet};
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Message};
use crate::wire::sanitize::printable;
use crate::wire::text::beginning;

/// The number of a link to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u32);

/// The most routes that one link may announce.
pub(crate) const MAX_ROUTES: usize = 65_536;
/// The most bytes of a context's name.
pub(crate) const MAX_NAME: usize = 255;
/// The most contexts that are remembered per link because messages have passed between them and
/// its other end. A link that has more is told of every context that goes.
pub(crate) const MAX_MET: usize = 4_096;
/// The most contexts that are looked at, one above the other. Ids that have come back can be given out so that
/// each of two contexts seems to be above the other.
const MAX_DEPTH: usize = 256;

/// The decision about a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The message is for this context.
    Local,
    /// The message leaves by this link.
    Forward(LinkId),
    /// The message cannot be routed. If its sender expects an answer, it gets this reason.
    Refuse(DeadReason),
    /// The message is forged. It is dropped without an answer, and the reason is logged.
    Forged(String),
}

/// The result of the end of one or more contexts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) contexts: Vec<ContextId>,
    /// The links that must get a `DEL_ROUTE`, each with the context that has gone.
    pub(crate) tell: Vec<(LinkId, ContextId)>,
}

struct Link {
    remote: ContextId,
    /// Every message that comes in acts under this authority instead of its own.
    stamp: Option<ContextId>,
    routes: HashSet<ContextId>,
    /// The contexts that the other end, or one behind it, has written to or was written to by.
    met: HashSet<ContextId>,
    met_overflow: bool,
    /// The blocks of ids that were given out through this link.
    lent: Lent,
}

impl Link {
    /// Notes that messages pass between the other end and a context.
    fn meet(&mut self, context: ContextId) {
        if !self.met_overflow && self.met.insert(context) && self.met.len() > MAX_MET {
            self.met_overflow = true;
            self.met = HashSet::default();
        }
    }
}

/// A context that a route leads to.
struct Known {
    name: String,
    /// When its route was set, in units of [`Routing::clock`].
    since: u64,
    /// Whether a connect made for another context has taken it as its result.
    claimed: bool,
}

/// Routes and ids of one context.
pub(crate) struct Routing {
    me: ContextId,
    parent_ids: Arc<[ContextId]>,
    parent: Option<LinkId>,
    unidirectional: bool,
    links: HashMap<LinkId, Link>,
    routes: HashMap<ContextId, LinkId>,
    known: HashMap<ContextId, Known>,
    /// Counts the contexts that have become known.
    clock: u64,
    /// The ids that this context can give out. Without an end in the master.
    stock: IdStock,
    /// The copy of the routes that other threads read.
    directory: Arc<Directory>,
}

/// The sender of a message and the link that the message came in by, as the routes show them.
pub(crate) struct ByRoutes<'a> {
    routing: &'a Routing,
    src: ContextId,
    from: Option<LinkId>,
}

impl Provenance for ByRoutes<'_> {
    fn is_on_way_to(&self, context: ContextId) -> bool {
        let Self { routing, src, from } = *self;
        match from {
            None => true,
            // It also tells of contexts below, if it had to refuse what was sent before their routes were known.
            from if from == routing.parent => routing.parent_ids.contains(&src),
            from => routing.out(context) == from && routing.is_behind(context, src),
        }
    }

    fn is_from(&self, context: ContextId) -> bool {
        let Self { routing, src, from } = *self;
        // The parent sends none of the values of those below.
        from.is_none() || from != routing.parent && (context == routing.me || routing.is_behind(src, context))
    }
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing").field("me", &self.me).field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Routing {
    pub(crate) fn new(me: ContextId, parent_ids: Arc<[ContextId]>, unidirectional: bool) -> Self {
        Self {
            me,
            parent_ids,
            parent: None,
            unidirectional,
            links: HashMap::default(),
            routes: HashMap::default(),
            known: HashMap::default(),
            clock: 0,
            stock: IdStock::new(me == ContextId::MASTER),
            directory: Arc::default(),
        }
    }

    /// Sets the directory that is updated together with the routes.
    pub(crate) fn listed_in(self, directory: Arc<Directory>) -> Self {
        Self { directory, ..self }
    }

    /// Decides where a message goes. `from` is the link by which it came, or `None` if it was
    /// created here. Writes the stamp of the link, if there is one, into `auth`.
    pub(crate) fn route(&mut self, message: &mut Message, from: Option<LinkId>) -> Verdict {
        if let Some(from) = from {
            // The parent may act for any context, because its own authority is greater.
            if self.out(message.auth) != Some(from) && self.parent != Some(from) {
                return Verdict::Forged(format!("bad auth_id: got {} via {}", message.auth, self.remote(from)));
            }
            if message.src != message.auth && self.out(message.src) != Some(from) {
                return Verdict::Forged(format!("bad src_id: got {} via {}", message.src, self.remote(from)));
            }
            if let Some(link) = self.links.get_mut(&from) {
                if let Some(stamp) = link.stamp {
                    message.auth = stamp;
                }
                link.meet(message.dst);
            }
        }
        if message.dst == self.me {
            return Verdict::Local;
        }
        let out = self.routes.get(&message.dst).copied();
        // A message from the parent never goes back to the parent.
        let out = out.or_else(|| self.parent.filter(|_| from != self.parent || from.is_none()));
        let Some(out) = out else {
            return Verdict::Refuse(DeadReason::no_route(message.dst, self.me));
        };
        if let Some(from) = from
            && self.unidirectional
            && !self.privileged(from)
            && !self.privileged(out)
        {
            return Verdict::Refuse(DeadReason::refused(format!(
                "routing mode prevents forward of message from context {} to context {} via context {}",
                self.remote(from),
                self.remote(out),
                self.me
            )));
        }
        // The parent is told anyway, and the end of this context is that of the link.
        if from.is_some()
            && Some(out) != self.parent
            && let Some(link) = self.links.get_mut(&out)
        {
            link.meet(message.src);
        }
        Verdict::Forward(out)
    }

    /// The neighbour by which a message came in, as a policy sees it.
    pub(crate) fn peer(&self, from: Option<LinkId>) -> Peer {
        Peer {
            id: from.map_or(self.me, |link| self.remote(link)),
            me: self.me,
            parent_ids: Arc::clone(&self.parent_ids),
        }
    }

    /// What is known of the sender `src` of a message that came in by `from`, or was created here.
    pub(crate) fn provenance(&self, src: ContextId, from: Option<LinkId>) -> ByRoutes<'_> {
        ByRoutes { routing: self, src, from }
    }

    /// Whether `below` is `above`, or is behind it. Who has started whom is known of all contexts that a route
    /// leads to: from the blocks that their ids are from.
    fn is_behind(&self, below: ContextId, above: ContextId) -> bool {
        let Some(link) = self.routes.get(&below).and_then(|link| self.links.get(link)) else { return false };
        let starts = |child: &ContextId| link.lent.owner(*child);
        link.remote == above || std::iter::successors(Some(below), starts).take(MAX_DEPTH).any(|id| id == above)
    }

    /// Attaches the parent.
    pub(crate) fn add_parent(&mut self, link: LinkId, remote: ContextId) {
        self.parent = Some(link);
        self.insert_link(link, remote, None);
    }

    /// Attaches a child that this context has started.
    pub(crate) fn add_child(&mut self, link: LinkId, child: ContextId, name: String, stamp: Option<ContextId>) {
        self.insert_link(link, child, stamp);
        self.set_route(link, child, name);
    }

    /// Adds the route to a context that a neighbour announces.
    pub(crate) fn add_route(&mut self, from: LinkId, target: ContextId, name: &str) -> Result<(), String> {
        if Some(from) == self.parent {
            return Err(format!("route to {target} announced by the parent"));
        }
        let Some(link) = self.links.get_mut(&from) else {
            return Err(format!("route to {target} announced by nobody"));
        };
        if name.len() > MAX_NAME {
            return Err(format!("route to {target} with a name of {} bytes (max {MAX_NAME})", name.len()));
        }
        if link.routes.len() >= MAX_ROUTES {
            return Err(format!("route to {target} is one too many (max {MAX_ROUTES}) by context {}", link.remote));
        }
        let remote = link.remote;
        let block = link.lent.block(target);
        if block.is_none() && target != remote {
            return Err(format!("route to {target} was not context {remote}'s to give"));
        }
        if self.routes.contains_key(&target) {
            return Err(format!("cannot add duplicate route to {target} via {remote}"));
        }
        if let Some(block) = block {
            block.announce(target);
        }
        let name = self.name_below(remote, name);
        self.set_route(from, target, name);
        Ok(())
    }

    /// The name of a context behind `neighbour`, which announces it as `name`. If the name does not
    /// begin with the name that the neighbour has here, that name is put in front.
    fn name_below(&self, neighbour: ContextId, name: &str) -> String {
        let (above, mut name) = (self.name(neighbour).unwrap_or_default(), printable(name));
        if !name.strip_prefix(above).is_some_and(|rest| rest.starts_with('.')) {
            name = format!("{above}.{name}");
        }
        name.truncate(beginning(&name, MAX_NAME).len());
        name
    }

    /// Makes `link` the route to `target`, by a decision of this context.
    pub(crate) fn set_out(&mut self, link: LinkId, target: ContextId) -> Result<(), String> {
        if target == self.me || self.routes.contains_key(&target) {
            return Err(format!("cannot add duplicate route to {target} via {}", self.remote(link)));
        }
        if Some(link) != self.parent {
            self.set_route(link, target, format!("context {target}"));
        }
        Ok(())
    }

    /// Sets the authority under which every message from `link` acts. `None` means its own.
    pub(crate) fn stamp(&mut self, link: LinkId, authority: Option<ContextId>) {
        if let Some(link) = self.links.get_mut(&link) {
            link.stamp = authority;
        }
    }

    /// The current time, as [`Routing::claim`] counts it.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// Accepts `child` as the context that `via` has started since it was asked at `since`. Refuses
    /// it if it cannot be that one. Whatever `via` says, it can give away only a new context of its
    /// own that no other connect has taken. Returns the name of the child.
    pub(crate) fn claim(&mut self, child: ContextId, via: ContextId, since: u64) -> Result<String, &'static str> {
        let way =
            self.routes.get(&via).ok_or("which cannot be checked, as no route leads to the context that says so")?;
        let route = self.routes.get(&child).ok_or("to which no route leads")?;
        if route != way {
            return Err("to which another link leads");
        }
        let block = self.links.get_mut(way).and_then(|link| link.lent.block(child));
        if block.is_none_or(|block| block.owner() != via) {
            return Err("which was not its to give");
        }
        let known = self.known.get_mut(&child).filter(|known| known.since > since);
        let known = known.ok_or("which was there before it was asked")?;
        if std::mem::replace(&mut known.claimed, true) {
            return Err("which it has given for another one already");
        }
        Ok(known.name.clone())
    }

    /// The authority for a message to `dst` that acts for the context `of`. It is never greater
    /// than the authority of this context, and never one that the next hop would refuse from here.
    /// The id of a context below may be used towards every context, all other ids only towards
    /// contexts below.
    pub(crate) fn authority(&self, of: ContextId, dst: ContextId) -> ContextId {
        let is_above = of == self.me || self.parent_ids.contains(&of);
        let is_below = |id| self.routes.contains_key(&id);
        if !is_above && (is_below(of) || is_below(dst) || dst == self.me) { of } else { self.me }
    }

    /// The link by which a message to `target` leaves.
    pub(crate) fn out(&self, target: ContextId) -> Option<LinkId> {
        self.routes.get(&target).copied().or(self.parent)
    }

    /// The link whose other end is `neighbour`.
    pub(crate) fn link_of(&self, neighbour: ContextId) -> Option<LinkId> {
        self.links.iter().find(|(_, link)| link.remote == neighbour).map(|(id, _)| *id)
    }

    /// Removes the route to a context that a neighbour reports as gone. `None` if the neighbour is
    /// not the way to it.
    pub(crate) fn del_route(&mut self, from: LinkId, target: ContextId) -> Option<Gone> {
        if self.out(target)? != from {
            return None;
        }
        if let Some(link) = self.links.get_mut(&from)
            && link.routes.remove(&target)
        {
            let mut back = link.lent.release_all(target);
            back.extend(link.lent.release(target));
            self.take_back(back);
        }
        self.routes.remove(&target);
        self.directory.strike(target);
        Some(self.farewell(from, vec![target]))
    }

    /// A link has ended.
    pub(crate) fn del_link(&mut self, link: LinkId) -> Gone {
        let Some(lost) = self.links.remove(&link) else {
            return Gone::default();
        };
        if self.parent == Some(link) {
            self.parent = None;
            return Gone { contexts: self.parent_ids.to_vec(), tell: Vec::new() };
        }
        self.take_back(lost.lent.into_blocks());
        let mut contexts: Vec<ContextId> = lost.routes.into_iter().collect();
        contexts.sort_unstable();
        for context in &contexts {
            self.routes.remove(context);
            self.directory.strike(*context);
        }
        self.farewell(link, contexts)
    }

    /// Takes an id for a new child, if there is one.
    pub(crate) fn take_id(&mut self) -> Option<ContextId> {
        self.stock.take_id()
    }

    /// Whether [`Routing::take_id`] will find an id.
    pub(crate) fn has_id(&self) -> bool {
        self.stock.has_id()
    }

    /// Takes a block for a context, from the master's ids.
    pub(crate) fn take_block(&mut self) -> Range<u32> {
        self.stock.take_block()
    }

    /// Adds a block that the parent has given to this context itself.
    pub(crate) fn give_block(&mut self, ids: Range<u32>) {
        self.stock.fill(ids);
    }

    /// Whether `owner` behind `link` may have another block of ids.
    pub(crate) fn may_have_block(&self, link: LinkId, owner: ContextId) -> bool {
        self.links.get(&link).is_some_and(|link| link.lent.may_have_another(owner))
    }

    /// Whether `owner` behind `link` was ever given a block.
    pub(crate) fn has_block(&self, link: LinkId, owner: ContextId) -> bool {
        self.links.get(&link).is_some_and(|link| link.lent.has_any(owner))
    }

    /// Notes that a block was given out through `link`.
    pub(crate) fn hand_out(&mut self, link: LinkId, owner: ContextId, ids: Range<u32>) {
        let Some(link) = self.links.get_mut(&link) else { return };
        let back = link.lent.add(owner, ids);
        self.take_back(back);
    }

    /// Takes back blocks that no context owns any more. The master may give them out again. All
    /// other contexts forget them.
    fn take_back(&mut self, blocks: impl IntoIterator<Item = Block>) {
        if !self.parent_ids.is_empty() {
            return;
        }
        self.stock.take_back(blocks);
    }

    /// Makes this context independent of a parent. It then gives out ids itself: those above all
    /// that its subtree has or may use.
    pub(crate) fn become_root(&mut self) {
        self.parent_ids = [].into();
        let lent = self.links.values().flat_map(|link| link.lent.ends());
        let known = self.routes.keys().chain([&self.me]).map(|id| id.0.saturating_add(1));
        self.stock.begin_behind(lent.chain(known));
    }

    pub(crate) fn parent(&self) -> Option<LinkId> {
        self.parent
    }

    pub(crate) fn name(&self, context: ContextId) -> Option<&str> {
        self.known.get(&context).map(|known| known.name.as_str())
    }

    /// Whether a message to `context` would find a route.
    pub(crate) fn reaches(&self, context: ContextId) -> bool {
        context == self.me || self.parent.is_some() || self.routes.contains_key(&context)
    }

    /// The neighbour on the way to `context`, if a route leads there.
    pub(crate) fn link_to(&self, context: ContextId) -> Option<LinkId> {
        self.routes.get(&context).copied()
    }

    /// The direct children.
    pub(crate) fn children(&self) -> Vec<(LinkId, ContextId)> {
        self.links.iter().filter(|(id, _)| Some(**id) != self.parent).map(|(id, link)| (*id, link.remote)).collect()
    }

    /// All contexts that a route leads to.
    pub(crate) fn known(&self) -> Vec<ContextId> {
        self.routes.keys().copied().collect()
    }

    /// The neighbour at the other end of `link`.
    pub(crate) fn remote(&self, link: LinkId) -> ContextId {
        self.links.get(&link).map_or(self.me, |link| link.remote)
    }

    fn insert_link(&mut self, id: LinkId, remote: ContextId, stamp: Option<ContextId>) {
        let link = Link {
            remote,
            stamp,
            routes: HashSet::default(),
            met: HashSet::default(),
            met_overflow: false,
            lent: Lent::default(),
        };
        self.links.insert(id, link);
    }

    fn set_route(&mut self, link: LinkId, target: ContextId, name: String) {
        self.routes.insert(target, link);
        self.directory.list(target, &name, self.remote(link) == target);
        self.clock += 1;
        self.known.insert(target, Known { name, since: self.clock, claimed: false });
        if let Some(link) = self.links.get_mut(&link) {
            link.routes.insert(target);
        }
    }

    /// The links that must hear that `contexts`, which were reached by `by`, have gone: the parent,
    /// and every neighbour that ever wrote to one of them or was written to by one.
    fn farewell(&mut self, by: LinkId, contexts: Vec<ContextId>) -> Gone {
        let mut tell = Vec::new();
        for &context in &contexts {
            self.known.remove(&context);
            for (&id, link) in &mut self.links {
                let has_met = link.met.remove(&context) || link.met_overflow;
                if id != by && (Some(id) == self.parent || has_met) {
                    tell.push((id, context));
                }
            }
        }
        tell.sort_unstable();
        Gone { contexts, tell }
    }

    fn privileged(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| {
            self.parent_ids.contains(&link.remote)
                || link.stamp.is_some_and(|stamp| stamp == self.me || self.parent_ids.contains(&stamp))
        })
    }
}
