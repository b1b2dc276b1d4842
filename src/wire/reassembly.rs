//! Puts messages together from their fragments. No I/O.
//!
//! A run is the sequence of fragments of one message. A sender that may not write to a handle is
//! refused at the first fragment, so only accepted messages take memory. All runs together hold at
//! most twice the largest message: if one more fragment does not fit, the link with the most bytes loses its
//! largest run. So a neighbour that fills the memory harms no other one that holds less. One sender has few runs at a
//! time, refused ones included.

use bytes::{Bytes, BytesMut};

use crate::sys::hash::HashMap;
use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// The most runs of one sender that are under way at once. A link sends its messages one after the
/// other in each of its three lanes, so an honest sender has far fewer.
pub(crate) const MAX_RUNS: usize = 8;

/// The runs that are under way to one context.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The runs of each sender. A sender without runs has no entry.
    by_source: HashMap<ContextId, Vec<Run>>,
    /// The bytes of all runs together, and of those that came by one link.
    bytes: u64,
    by_link: HashMap<u32, u64>,
    /// The largest message allowed, in bytes.
    max: u64,
}

#[derive(Debug)]
struct Run {
    key: Key,
    /// The authority of its first fragment.
    auth: ContextId,
    /// The link that it comes by.
    link: u32,
    /// The most bytes that its handle takes.
    most: u64,
    content: Content,
}

/// Distinguishes the runs of one sender.
type Key = (Handle, Handle, Lane);

#[derive(Debug)]
enum Content {
    Growing(BytesMut),
    /// The run was refused. Its other fragments are thrown away as they come, and their bytes are counted.
    Refused(u64),
}

impl Content {
    /// The bytes that it has. `None` if it was refused.
    fn size(&self) -> Option<u64> {
        if let Self::Growing(data) = self { Some(data.len() as u64) } else { None }
    }
}

/// The result of taking in a fragment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// The whole payload, if this was the last fragment of a welcome run.
    pub(crate) whole: Option<Bytes>,
    /// The reason why the run is refused. It is set once per run.
    pub(crate) refusal: Option<DeadReason>,
    /// Whether the run was welcome before.
    pub(crate) was_welcome: bool,
    /// The bytes of a run that was refused, at its end.
    pub(crate) lost: Option<u64>,
    /// Whether the fragment was dropped because its sender has too many runs.
    pub(crate) too_many: bool,
    /// Runs of another link that were refused to make room, each as a message without payload.
    pub(crate) displaced: Vec<Message>,
}

impl Runs {
    pub(crate) fn new(max: u64) -> Self {
        Self { by_source: HashMap::default(), bytes: 0, by_link: HashMap::default(), max }
    }

    /// Whether `part` continues a run that has begun.
    pub(crate) fn continues(&self, part: &Message) -> bool {
        !self.by_source.is_empty() && self.by_source.get(&part.src).is_some_and(|runs| find(runs, part).is_some())
    }

    /// Takes in a fragment that came by this link. Calls `check` for the first fragment of a run; it says how many bytes
    /// the handle takes.
    pub(crate) fn add(
        &mut self,
        part: &Message,
        more: bool,
        link: u32,
        check: impl FnOnce() -> Result<u64, DeadReason>,
    ) -> Added {
        let mut added = Added::default();
        let runs = self.by_source.entry(part.src).or_default();
        let mut run = match find(runs, part) {
            Some(at) => runs.swap_remove(at),
            None if runs.len() == MAX_RUNS => return Added { too_many: true, ..added },
            None => {
                let (most, content) = match check() {
                    Ok(most) => (most.min(self.max), Content::Growing(BytesMut::new())),
                    Err(reason) => {
                        added.refusal = Some(reason);
                        (0, Content::Refused(0))
                    }
                };
                Run { key: key(part), auth: part.auth, link, most, content }
            }
        };
        let size = part.data.len() as u64;
        if let Some(held) = run.content.size() {
            let refusal = if held + size > run.most {
                Some(DeadReason::too_large(run.most))
            } else if self.make_room(size, run.link, &mut added.displaced) {
                None
            } else {
                Some(DeadReason::TOO_MUCH_AT_ONCE)
            };
            match (&mut run.content, refusal) {
                (Content::Growing(data), None) => {
                    data.extend_from_slice(&part.data);
                    self.take(run.link, size);
                }
                (content, refusal) => {
                    self.give_back(run.link, content);
                    *content = Content::Refused(held + size);
                    (added.refusal, added.was_welcome) = (refusal, true);
                }
            }
        } else if let Content::Refused(lost) = &mut run.content {
            *lost += size;
        }
        if more {
            self.by_source.entry(part.src).or_default().push(run);
        } else {
            self.give_back(run.link, &run.content);
            match run.content {
                Content::Growing(data) => added.whole = Some(data.freeze()),
                Content::Refused(lost) => added.lost = Some(lost),
            }
        }
        self.tidy(part.src);
        added
    }

    /// Makes room for the bytes of a fragment, at the cost of the link with the most bytes. Returns false if that is the
    /// link of the fragment itself.
    fn make_room(&mut self, size: u64, link: u32, displaced: &mut Vec<Message>) -> bool {
        while self.bytes + size > self.max.saturating_mul(2) {
            let own = self.by_link.get(&link).map_or(0, |bytes| *bytes) + size;
            let heaviest = self.by_link.iter().max_by_key(|(_, bytes)| **bytes).filter(|(_, bytes)| **bytes > own);
            let Some(message) = heaviest.map(|(link, _)| *link).and_then(|link| self.displace(link)) else {
                return false;
            };
            displaced.push(message);
        }
        true
    }

    /// Refuses the largest run of a link.
    fn displace(&mut self, link: u32) -> Option<Message> {
        let all = self.by_source.iter_mut().flat_map(|(source, runs)| runs.iter_mut().map(|run| (*source, run)));
        let (src, run) = all.filter(|(_, run)| run.link == link).max_by_key(|(_, run)| run.content.size())?;
        let (auth, (handle, reply_to, lane)) = (run.auth, run.key);
        let held = run.content.size()?;
        let content = std::mem::replace(&mut run.content, Content::Refused(held));
        self.give_back(link, &content);
        Some(Message { src, auth, handle, reply_to, lane, ..Message::default() })
    }

    fn take(&mut self, link: u32, bytes: u64) {
        self.bytes += bytes;
        *self.by_link.entry(link).or_default() += bytes;
    }

    /// Gives back what a run holds.
    fn give_back(&mut self, link: u32, content: &Content) {
        let Content::Growing(data) = content else { return };
        self.bytes -= data.len() as u64;
        if let Some(bytes) = self.by_link.get_mut(&link) {
            *bytes -= data.len() as u64;
            if *bytes == 0 {
                self.by_link.remove(&link);
            }
        }
    }

    fn tidy(&mut self, source: ContextId) {
        if self.by_source.get(&source).is_some_and(Vec::is_empty) {
            self.by_source.remove(&source);
        }
    }

    /// Drops the unfinished runs of a context that has gone.
    pub(crate) fn forget(&mut self, context: ContextId) {
        for run in self.by_source.remove(&context).unwrap_or_default() {
            self.give_back(run.link, &run.content);
        }
    }
}

fn key(part: &Message) -> Key {
    (part.handle, part.reply_to, part.lane)
}

fn find(runs: &[Run], part: &Message) -> Option<usize> {
    runs.iter().position(|run| run.key == key(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 7;
    const MOST: u64 = u64::MAX;

    fn part(src: u32, data: &'static [u8]) -> Message {
        Message { src: ContextId(src), data: Bytes::from_static(data), ..Message::default() }
    }

    #[test]
    fn fragments_of_different_senders_do_not_mix() {
        let mut runs = Runs::new(100);
        let ok = || Ok(MOST);
        runs.add(&part(1, b"a"), true, LINK, ok);
        runs.add(&part(2, b"x"), true, LINK, ok);
        runs.add(&part(1, b"b"), true, LINK, ok);
        assert_eq!(runs.add(&part(1, b"c"), false, LINK, ok).whole.unwrap(), "abc");
        assert_eq!(runs.add(&part(2, b"y"), false, LINK, ok).whole.unwrap(), "xy");
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }

    #[test]
    fn a_run_that_grows_too_large_is_refused_once_and_forgotten_at_its_end() {
        let mut runs = Runs::new(4);
        let ok = || Ok(MOST);
        assert_eq!(runs.add(&part(1, b"abc"), true, LINK, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"de"), true, LINK, ok).refusal.unwrap(), DeadReason::too_large(4));
        assert_eq!(runs.add(&part(1, b"fg"), true, LINK, ok), Added::default());
        assert_eq!(runs.add(&part(1, b"h"), false, LINK, ok), Added { lost: Some(8), ..Added::default() });
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }

    #[test]
    fn all_runs_together_are_bounded() {
        let mut runs = Runs::new(4);
        let refused = (0..10).filter_map(|src| runs.add(&part(src, b"abcd"), true, LINK, || Ok(MOST)).refusal);
        assert_eq!(refused.collect::<Vec<_>>(), vec![DeadReason::TOO_MUCH_AT_ONCE; 8]);
        assert_eq!(runs.bytes, 8);
    }

    #[test]
    fn the_link_that_holds_most_makes_room_for_the_others() {
        let mut runs = Runs::new(4);
        let ok = || Ok(MOST);
        // One neighbour fills all that there is, by two contexts.
        assert_eq!(runs.add(&Message { handle: Handle(1000), ..part(1, b"abcd") }, true, 1, ok), Added::default());
        assert_eq!(runs.add(&Message { handle: Handle(1001), ..part(2, b"efg") }, true, 1, ok), Added::default());
        assert_eq!(runs.add(&part(3, b"x"), true, 2, ok), Added::default());
        let Added { displaced, refusal, .. } = runs.add(&part(3, b"yz"), true, 2, ok);
        assert_eq!((displaced.len(), refusal), (1, None));
        assert_eq!((displaced[0].src, displaced[0].handle), (ContextId(1), Handle(1000)));
        assert_eq!(runs.bytes, 6);
        // What was displaced goes on without effect, and what was not comes whole.
        let more = runs.add(&Message { handle: Handle(1000), ..part(1, b"e") }, false, 1, ok);
        assert_eq!(more, Added { lost: Some(5), ..Added::default() });
        assert_eq!(runs.add(&part(3, b"!"), false, 2, ok).whole.unwrap(), "xyz!");
        let second = runs.add(&Message { handle: Handle(1001), ..part(2, b"h") }, false, 1, ok);
        assert_eq!(second.whole.unwrap(), "efgh");
        assert_eq!((runs.bytes, runs.by_source.len(), runs.by_link.len()), (0, 0, 0));
    }

    #[test]
    fn a_run_ends_where_its_handle_takes_no_more() {
        let mut runs = Runs::new(100);
        runs.add(&part(1, b"abc"), true, LINK, || Ok(4));
        let refusal = runs.add(&part(1, b"de"), true, LINK, || Ok(4)).refusal;
        assert_eq!((refusal, runs.bytes), (Some(DeadReason::too_large(4)), 0));
    }

    #[test]
    fn who_may_not_write_fills_no_memory() {
        let mut runs = Runs::new(100);
        let no = || Err(DeadReason::refused("refused by policy"));
        assert_eq!(
            runs.add(&part(1, b"abc"), true, LINK, no).refusal.unwrap(),
            DeadReason::refused("refused by policy")
        );
        assert_eq!(runs.bytes, 0);
        assert_eq!(runs.add(&part(1, b"abc"), false, LINK, no), Added { lost: Some(6), ..Added::default() });
    }

    #[test]
    fn a_sender_has_few_runs_at_a_time_whether_they_are_welcome_or_not() {
        let mut runs = Runs::new(100);
        let begin =
            |runs: &mut Runs, handle, welcome: bool| {
                let part = Message { handle: Handle(handle), ..part(1, b"a") };
                runs.add(&part, true, LINK, || {
                    if welcome { Ok(MOST) } else { Err(DeadReason::refused("refused by policy")) }
                })
            };
        for handle in 0..MAX_RUNS {
            assert!(!begin(&mut runs, u32::try_from(handle).unwrap(), handle % 2 == 0).too_many);
        }
        for handle in 1000..2000 {
            assert!(begin(&mut runs, handle, handle % 2 == 0).too_many);
        }
        assert_eq!(runs.by_source[&ContextId(1)].len(), MAX_RUNS);
        // Other senders have runs of their own, and a run that has ended makes room for another.
        assert!(!runs.add(&part(2, b"x"), true, LINK, || Ok(MOST)).too_many);
        assert_eq!(runs.add(&part(1, b"b"), false, LINK, || Ok(MOST)).whole.unwrap(), "ab");
        assert!(!begin(&mut runs, 5000, true).too_many);
    }

    #[test]
    fn a_context_that_goes_takes_its_runs_with_it() {
        let mut runs = Runs::new(100);
        runs.add(&part(1, b"abc"), true, LINK, || Ok(MOST));
        runs.forget(ContextId(1));
        assert_eq!((runs.bytes, runs.by_source.len()), (0, 0));
    }
}
