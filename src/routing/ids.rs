//! Ids of contexts: the ids that one context can give out, and the blocks that it has passed on. No
//! I/O.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::sys::hash::HashMap;
use crate::wire::message::ContextId;

/// The number of ids in a block.
pub(crate) const BLOCK: u32 = 1_000;
/// The most blocks that one context may hold without having used them up. A context uses its ids in
/// their order, one block after the other.
pub(crate) const MAX_UNUSED_BLOCKS: usize = 2;

/// The most returned blocks of each kind that the master keeps. Further ones are lost. Only
/// contexts that waste ids can cause that.
const MAX_BACK: usize = 65_536;

/// A block of ids that was handed out.
pub(crate) struct Block {
    ids: Range<u32>,
    owner: ContextId,
    /// An id above all ids that were announced.
    next: u32,
    /// How often an id was announced that is above all earlier ones.
    announced: u32,
    /// The number of routes to ids of the block.
    routes: u32,
}

impl Block {
    /// Whether its owner may need another block. Some children end before they are announced, so
    /// half of the ids is enough.
    fn is_used_up(&self) -> bool {
        self.announced >= (self.ids.end - self.ids.start) / 2
    }

    /// The context that the block was given to.
    pub(crate) fn owner(&self) -> ContextId {
        self.owner
    }

    /// Notes a new route to one of its ids.
    pub(crate) fn announce(&mut self, id: ContextId) {
        self.routes += 1;
        if id.0 >= self.next {
            self.next = id.0 + 1;
            self.announced += 1;
        }
    }
}

/// The blocks that were given out through one link.
#[derive(Default)]
pub(crate) struct Lent {
    /// The blocks by their first ids.
    blocks: BTreeMap<u32, Block>,
    /// The blocks of each context, the oldest first. Only the youngest [`MAX_UNUSED_BLOCKS`] of
    /// them may have no routes.
    owners: HashMap<ContextId, Vec<u32>>,
}

impl Lent {
    /// The block that contains an id.
    pub(crate) fn block(&mut self, id: ContextId) -> Option<&mut Block> {
        self.blocks.range_mut(..=id.0).next_back().map(|(_, block)| block).filter(|block| block.ids.contains(&id.0))
    }

    /// The context that the block with an id was given to.
    pub(crate) fn owner(&self, id: ContextId) -> Option<ContextId> {
        let (_, block) = self.blocks.range(..=id.0).next_back()?;
        block.ids.contains(&id.0).then_some(block.owner)
    }

    /// Notes that a route has gone.
    pub(crate) fn release(&mut self, id: ContextId) -> Option<Block> {
        let block = self.block(id)?;
        block.routes = block.routes.saturating_sub(1);
        let (first, owner, is_idle) = (block.ids.start, block.owner, block.routes == 0);
        let starts = self.owners.get_mut(&owner)?;
        let at = starts.iter().position(|start| *start == first)?;
        if !is_idle || at + MAX_UNUSED_BLOCKS >= starts.len() {
            return None;
        }
        starts.remove(at);
        self.blocks.remove(&first)
    }

    /// Notes that a context has gone. It will announce no further ids.
    pub(crate) fn release_all(&mut self, owner: ContextId) -> Vec<Block> {
        let starts = self.owners.remove(&owner).unwrap_or_default();
        starts.into_iter().filter_map(|start| self.blocks.remove(&start)).collect()
    }

    /// Whether `owner` may have another block.
    pub(crate) fn may_have_another(&self, owner: ContextId) -> bool {
        let youngest = self.owners.get(&owner).into_iter().flat_map(|starts| starts.iter().rev());
        let blocks = youngest.take(MAX_UNUSED_BLOCKS).filter_map(|start| self.blocks.get(start));
        blocks.filter(|block| !block.is_used_up()).count() < MAX_UNUSED_BLOCKS
    }

    /// Whether `owner` was ever given a block.
    pub(crate) fn has_any(&self, owner: ContextId) -> bool {
        self.owners.contains_key(&owner)
    }

    /// Notes that `owner` was given a block. Returns the blocks that it has lost by that.
    pub(crate) fn add(&mut self, owner: ContextId, ids: Range<u32>) -> Vec<Block> {
        let starts = self.owners.entry(owner).or_default();
        starts.push(ids.start);
        let old = starts.len().saturating_sub(MAX_UNUSED_BLOCKS);
        let done: Vec<u32> = starts[..old]
            .iter()
            .copied()
            .filter(|start| self.blocks.get(start).is_none_or(|block| block.routes == 0))
            .collect();
        starts.retain(|start| !done.contains(start));
        let back = done.iter().filter_map(|start| self.blocks.remove(start)).collect();
        self.blocks.insert(ids.start, Block { next: ids.start, ids, owner, announced: 0, routes: 0 });
        back
    }

    /// The end (exclusive) of each block.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u32> {
        self.blocks.values().map(|block| block.ids.end)
    }

    /// All blocks. Called when the link has gone.
    pub(crate) fn into_blocks(self) -> impl Iterator<Item = Block> {
        self.blocks.into_values()
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<u32> {
        self.blocks.keys().next().copied()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }
}

/// The ids that a context can give out.
pub(crate) struct IdStock {
    /// Without an end in the master.
    ids: Range<u32>,
    /// Returned ids: those that no context ever had, and those that a context had. The latter are
    /// given out last of all.
    fresh: VecDeque<Range<u32>>,
    worn: VecDeque<Range<u32>>,
}

impl IdStock {
    pub(crate) fn new(of_master: bool) -> Self {
        let ids = if of_master { 1..u32::MAX } else { 0..0 };
        Self { ids, fresh: VecDeque::new(), worn: VecDeque::new() }
    }

    /// Takes an id for a new child, if there is one.
    pub(crate) fn take_id(&mut self) -> Option<ContextId> {
        if self.ids.is_empty()
            && let Some(ids) = self.fresh.pop_front().or_else(|| self.worn.pop_front())
        {
            self.ids = ids;
        }
        self.ids.next().map(ContextId)
    }

    /// Whether [`IdStock::take_id`] will find an id.
    pub(crate) fn has_id(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Takes a block for a context, from the master's ids. They do not run out, because blocks that
    /// no context can use any more come back.
    pub(crate) fn take_block(&mut self) -> Range<u32> {
        if let Some(ids) = self.fresh.pop_front() {
            return ids;
        }
        if self.ids.end - self.ids.start < BLOCK
            && let Some(ids) = self.worn.pop_front()
        {
            return ids;
        }
        let start = self.ids.start;
        self.ids.start = start.saturating_add(BLOCK).min(self.ids.end);
        start..self.ids.start
    }

    /// Adds a block that the parent has given to this context itself.
    pub(crate) fn fill(&mut self, ids: Range<u32>) {
        self.ids = ids;
    }

    /// Takes back blocks that no context owns any more, so that they can be given out again.
    pub(crate) fn take_back(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for Block { ids, next, .. } in blocks {
            // A small rest is not worth a request of its own.
            let next = if ids.end - next < BLOCK / 4 { ids.end } else { next };
            let parts = [(&mut self.worn, ids.start..next), (&mut self.fresh, next..ids.end)];
            for (kept, ids) in parts {
                if !ids.is_empty() && kept.len() < MAX_BACK {
                    kept.push_back(ids);
                }
            }
        }
    }

    /// From now on gives out ids without an end: above its own ids, and above the highest of
    /// `firsts`.
    pub(crate) fn begin_behind(&mut self, firsts: impl Iterator<Item = u32>) {
        self.ids = firsts.chain([self.ids.end]).max().unwrap_or(1)..u32::MAX;
    }

    /// The returned ids: those never used, and those used.
    #[cfg(test)]
    pub(crate) fn returned(&self) -> [&VecDeque<Range<u32>>; 2] {
        [&self.fresh, &self.worn]
    }

    /// Forgets all ids except the used ones.
    #[cfg(test)]
    pub(crate) fn use_up_all_but_worn(&mut self) {
        self.fresh.clear();
        self.ids.start = u32::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_no_ids_until_it_is_given_some() {
        let mut stock = IdStock::new(false);
        assert!(!stock.has_id() && stock.take_id().is_none());
        stock.fill(5..7);
        assert_eq!([stock.take_id(), stock.take_id(), stock.take_id()], [Some(ContextId(5)), Some(ContextId(6)), None]);
    }

    #[test]
    fn a_block_that_comes_back_is_split_where_nobody_was_announced() {
        let (mut stock, mut lent) = (IdStock::new(true), Lent::default());
        let ids = stock.take_block();
        assert!(lent.add(ContextId(9), ids.clone()).is_empty());
        lent.block(ContextId(ids.start + 3)).unwrap().announce(ContextId(ids.start + 3));
        stock.take_back(lent.release_all(ContextId(9)));
        let [fresh, worn] = stock.returned();
        assert_eq!((&fresh[0], &worn[0]), (&(ids.start + 4..ids.end), &(ids.start..ids.start + 4)));
    }

    #[test]
    fn an_owner_holds_so_many_blocks_that_it_has_not_used_up_and_no_more() {
        let mut lent = Lent::default();
        for number in 0..2 {
            assert!(lent.may_have_another(ContextId(9)), "{number}");
            lent.add(ContextId(9), number * BLOCK..(number + 1) * BLOCK);
        }
        assert!(!lent.may_have_another(ContextId(9)) && lent.may_have_another(ContextId(8)));
        for id in 0..BLOCK / 2 {
            lent.block(ContextId(id)).unwrap().announce(ContextId(id));
        }
        assert!(lent.may_have_another(ContextId(9)));
    }
}
