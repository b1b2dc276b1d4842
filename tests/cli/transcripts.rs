//! What the documentation shows of hosts. What it shows of children on this machine is in `tests/transcripts.rs`.

use anyhow::Result;

use crate::support::transcript::{Block, blocks, check};

pub(crate) fn transcripts_that_need_more_than_this_machine_are_true() -> Result<()> {
    let blocks: Vec<Block> = blocks()?.into_iter().filter(Block::is_on_hosts).collect();
    check(&blocks)
}
