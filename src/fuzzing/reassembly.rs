//! What puts messages together from fragments.

use std::collections::HashMap;

use bytes::Bytes;

use crate::wire::error::DeadReason;
use crate::wire::message::{ContextId, Handle, Message};
use crate::wire::reassembly::{MAX_RUNS, Runs};

/// The largest message.
const MAX: u64 = 100;

/// The runs that are under way, as they have to be: the content, or `None` if a run was refused.
type Model = HashMap<ContextId, HashMap<Handle, Option<Vec<u8>>>>;

/// Each pair of bytes is a fragment: who sends it, to which handle, whether more follow and whether it is welcome, and its
/// size. What comes out is what a simple model says, and the memory stays bounded.
pub(super) fn reassembly(bytes: &[u8]) {
    let (mut runs, mut model) = (Runs::new(MAX), Model::new());
    for (nth, pair) in bytes.chunks_exact(2).enumerate() {
        let [kind, size] = [pair[0], pair[1]];
        let (source, handle) = (ContextId(u32::from(kind & 3)), Handle(u32::from(kind >> 4)));
        let (more, welcome) = (size & 0x80 == 0, kind & 4 == 0);
        if kind & 8 != 0 && size & 3 == 0 {
            runs.forget(source);
            model.remove(&source);
            continue;
        }
        let data = vec![nth as u8; usize::from(size & 0x3f)];
        let part = Message { src: source, handle, data: Bytes::from(data.clone()), ..Message::default() };
        let begun = model.entry(source).or_default();
        assert_eq!(runs.continues(&part), begun.contains_key(&handle));
        let most = if handle.0 & 1 == 0 { MAX } else { u64::MAX };
        let refusal = || if welcome { Ok(most) } else { Err(DeadReason::refused("refused by policy")) };
        // Two sources come by one link, and the others by one each.
        let added = runs.add(&part, more, source.0.max(1), refusal);
        for other in &added.displaced {
            let run = model.get_mut(&other.src).and_then(|runs| runs.get_mut(&other.handle));
            assert!(run.is_some_and(|run| run.take().is_some()), "a run that holds nothing is displaced");
            assert_ne!(other.src.0.max(1), source.0.max(1), "a link makes room for itself");
        }
        let begun = model.entry(source).or_default();
        let count = begun.len();
        let before = begun.remove(&handle);
        assert_eq!(added.too_many, before.is_none() && count == MAX_RUNS);
        if added.too_many {
            continue;
        }
        let run = match before {
            None => welcome.then_some(data),
            Some(run) => run.map(|run| [&run[..], &data[..]].concat()),
        };
        // A message that is too long is refused here, and so is one for which all runs together leave no room.
        let run = run.filter(|_| added.refusal.is_none());
        assert!(run.as_ref().is_none_or(|run| run.len() as u64 <= MAX));
        match run {
            run if more => {
                assert_eq!(added.whole, None);
                begun.insert(handle, run);
            }
            Some(run) => assert_eq!(added.whole.as_deref(), Some(&run[..])),
            None => assert_eq!(added.whole, None),
        }
        let held: usize = model.values().flat_map(HashMap::values).flatten().map(Vec::len).sum();
        assert!(held as u64 <= 2 * MAX, "{held} bytes are held");
    }
}
