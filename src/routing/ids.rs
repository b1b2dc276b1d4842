//! Ids of contexts: the stock of one context, and the blocks that it has passed on. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::sys::hash::HashMap;
use crate::wire::message::ContextId;

/// Ids in a block.
pub(crate) const BLOCK: u32 = 1_000;
/// Blocks that one context may hold without having used them up. A context
/// uses its ids in their order, one block after the other.
pub(crate) const MAX_UNUSED_BLOCKS: usize = 2;

/// Blocks of either kind that the master keeps when they come back; what is
/// more is lost, which only somebody who wastes them can bring about.
const MAX_BACK: usize = 65_536;

/// A block of ids that was handed out.
pub(crate) struct Block {
    ids: Range<u32>,
    owner: ContextId,
    /// Above all that were announced.
    next: u32,
    /// How often one was announced above all before.
    announced: u32,
    /// Routes to ids of the block.
    routes: u32,
}

impl Block {
    /// Whether its owner may well need another one. (Some children end before
    /// they can be announced.)
    fn is_used_up(&self) -> bool {
        self.announced >= (self.ids.end - self.ids.start) / 2
    }

    /// The context that it was given to.
    pub(crate) fn owner(&self) -> ContextId {
        self.owner
    }

    /// A route to one of its ids has come.
    pub(crate) fn announce(&mut self, id: ContextId) {
        self.routes += 1;
        if id.0 >= self.next {
            self.next = id.0 + 1;
            self.announced += 1;
        }
    }
}

/// The blocks that were handed out through one link.
#[derive(Default)]
pub(crate) struct Lent {
    /// By the first id of each.
    blocks: BTreeMap<u32, Block>,
    /// The blocks of each context, the oldest first. Only the youngest
    /// [`MAX_UNUSED_BLOCKS`] of them may have no routes.
    owners: HashMap<ContextId, Vec<u32>>,
}

impl Lent {
    /// The block that an id belongs to.
    pub(crate) fn block(&mut self, id: ContextId) -> Option<&mut Block> {
        self.blocks.range_mut(..=id.0).next_back().map(|(_, block)| block).filter(|block| block.ids.contains(&id.0))
    }

    /// A route has gone.
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

    /// A context has gone: it will announce nobody any more.
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

    /// Whether `owner` was ever given one.
    pub(crate) fn has_any(&self, owner: ContextId) -> bool {
        self.owners.contains_key(&owner)
    }

    /// Notes that `owner` was given a block; returns those that it has lost by that.
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

    /// Behind the last id of each block.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u32> {
        self.blocks.values().map(|block| block.ids.end)
    }

    /// All blocks, as the link has gone.
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

/// The ids that are a context's to give.
pub(crate) struct IdStock {
    /// Endless in the master.
    ids: Range<u32>,
    /// Ids that were handed out and have come back: such that nobody ever had,
    /// and such that somebody had, which are given again last of all.
    fresh: VecDeque<Range<u32>>,
    worn: VecDeque<Range<u32>>,
}

impl IdStock {
    pub(crate) fn new(of_master: bool) -> Self {
        let ids = if of_master { 1..u32::MAX } else { 0..0 };
        Self { ids, fresh: VecDeque::new(), worn: VecDeque::new() }
    }

    /// An id for a new child, if one is in stock.
    pub(crate) fn take_id(&mut self) -> Option<ContextId> {
        if self.ids.is_empty()
            && let Some(ids) = self.fresh.pop_front().or_else(|| self.worn.pop_front())
        {
            self.ids = ids;
        }
        self.ids.next().map(ContextId)
    }

    /// Whether [`IdStock::take_id`] will find one.
    pub(crate) fn has_id(&self) -> bool {
        !self.ids.is_empty()
    }

    /// A block for a context, out of the master's stock. That is endless, as
    /// what nobody can have any more comes back.
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

    /// A block that the parent has given to this context itself.
    pub(crate) fn fill(&mut self, ids: Range<u32>) {
        self.ids = ids;
    }

    /// Blocks that were handed out are nobody's any more: they may be given again.
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

    /// Gives out endless ids from now on: above its own, and from the highest of `firsts` on.
    pub(crate) fn begin_behind(&mut self, firsts: impl Iterator<Item = u32>) {
        self.ids = firsts.chain([self.ids.end]).max().unwrap_or(1)..u32::MAX;
    }

    /// What has come back: fresh and worn.
    #[cfg(test)]
    pub(crate) fn returned(&self) -> [&VecDeque<Range<u32>>; 2] {
        [&self.fresh, &self.worn]
    }

    /// Forgets all but worn ids.
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
