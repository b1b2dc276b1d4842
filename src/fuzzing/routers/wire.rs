//! A link with faults: it holds bytes up, divides them, changes them, and breaks.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What happens to the bytes in one direction.
#[derive(Default)]
pub(super) struct Way {
    /// The most bytes that arrive at once; 0 for any number.
    piece: AtomicUsize,
    /// The time before each piece, in microseconds.
    delay: AtomicU64,
    /// After how many more bytes one is changed, and the bits that change.
    changes: Mutex<Vec<(usize, u8)>>,
}

impl Way {
    pub(super) fn divide(&self, piece: usize) {
        self.piece.store(piece, Ordering::Relaxed);
    }

    pub(super) fn delay(&self, microseconds: u64) {
        self.delay.store(microseconds, Ordering::Relaxed);
    }

    pub(super) fn change(&self, after: usize, bits: u8) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push((after, bits));
    }

    fn apply_changes(&self, bytes: &mut [u8]) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.retain_mut(|(after, bits)| match bytes.get_mut(*after) {
            Some(byte) => {
                *byte ^= *bits;
                false
            }
            None => {
                *after -= bytes.len();
                true
            }
        });
    }

    /// Carries bytes until one of the ends is closed.
    fn carry(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let bytes = &mut buffer[..count];
            self.apply_changes(bytes);
            let piece = match self.piece.load(Ordering::Relaxed) {
                0 => count,
                piece => piece,
            };
            for piece in bytes.chunks(piece) {
                match self.delay.load(Ordering::Relaxed) {
                    0 => {}
                    delay => std::thread::sleep(Duration::from_micros(delay)),
                }
                if to.write_all(piece).is_err() {
                    // Nobody reads it, so it is not read here either.
                    let _ = from.shutdown(Shutdown::Read);
                    return;
                }
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Both directions of a link.
pub(super) struct Wire {
    pub(super) ways: [Arc<Way>; 2],
    ends: [UnixStream; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// A link, and its two ends.
    pub(super) fn new() -> std::io::Result<(Self, [UnixStream; 2])> {
        let ((near, our_near), (our_far, far)) = (UnixStream::pair()?, UnixStream::pair()?);
        let ways: [Arc<Way>; 2] = Default::default();
        let mut threads = Vec::new();
        for (way, from, to) in [(&ways[0], &our_near, &our_far), (&ways[1], &our_far, &our_near)] {
            let (way, from, to) = (Arc::clone(way), from.try_clone()?, to.try_clone()?);
            threads.push(std::thread::Builder::new().spawn(move || way.carry(from, to))?);
        }
        Ok((Self { ways, ends: [our_near, our_far], threads }, [near, far]))
    }

    /// Breaks the link.
    pub(super) fn cut(&self) {
        for end in &self.ends {
            // It may be broken already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
