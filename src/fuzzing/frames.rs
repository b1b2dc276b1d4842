//! The decoder of frames.

use std::io::IoSlice;
use std::mem::discriminant;
use std::time::Instant;

use bytes::BytesMut;

use crate::fuzzing::checks;
use crate::wire::frame::{Frame, FrameError, HEADER, Pieces, decode, encode};
use crate::wire::write_batch::{SLICES, WriteBatch};

/// The bytes are what comes over a link. All of them are accounted for, the size of the pieces in which they come makes no
/// difference, and every frame survives being passed on.
pub(super) fn frames(bytes: &[u8]) {
    let now = Instant::now();
    let (frames, error, left) = read([bytes], now);
    let size = bytes.last().map_or(1, |last| usize::from(*last) % 67 + 1);
    let (again, same, _) = read(bytes.chunks(size), now);
    assert_eq!(frames, again, "in pieces of {size} bytes");
    assert_eq!(error.as_ref().map(discriminant), same.as_ref().map(discriminant), "in pieces of {size} bytes");
    let taken: usize = frames.iter().map(|frame| HEADER + frame.part.data.len()).sum();
    assert_eq!(taken + left, bytes.len());
    if let Some(error) = error {
        checks::tells(&error.to_string());
    }
    for frame in frames {
        let mut batch = WriteBatch::default();
        encode(&frame.part, frame.part.data.clone(), frame.more, now, &mut batch);
        let (passed_on, error, left) = read([&written(&batch)[..]], now);
        let [passed_on] = &passed_on[..] else { panic!("{frame:?} became {passed_on:?}") };
        assert!(error.is_none() && left == 0, "{frame:?}");
        assert_eq!(without_kind(passed_on), without_kind(&frame));
        if frame.part.is_dead() {
            assert_eq!(passed_on.part.dead_kind, frame.part.dead_kind);
        }
    }
}

/// The frames in pieces of a link, the error if they do not go on, and how many bytes were not read.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, now: Instant) -> (Vec<Frame>, Option<FrameError>, usize) {
    let (mut held, mut memory, mut frames) = (BytesMut::new(), Pieces::default(), Vec::new());
    let mut error = None;
    for piece in pieces {
        held.extend_from_slice(piece);
        while error.is_none() {
            match decode(&mut held, &mut memory, now) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(why) => error = Some(why),
            }
        }
    }
    (frames, error, held.len())
}

/// The frame without what has a meaning in dead messages only.
fn without_kind(frame: &Frame) -> Frame {
    let mut frame = frame.clone();
    frame.part.dead_kind = Default::default();
    frame
}

fn written(batch: &WriteBatch) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < batch.len() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        batch.slices(all.len(), &mut slices).iter().for_each(|slice| all.extend_from_slice(slice));
    }
    all
}
