//! The note about a program that is large because of its debug information, and is sent to other machines as it is.
//!
//! Only a program with debug assertions has this code: plain cargo makes such programs with debug information, which is most
//! of their size. Images that are shipped have neither.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::log;

/// The size from which on an image is large, in bytes. Without debug information, one has a few MiB.
const LARGE: u64 = 32 << 20;

/// Whether notes go to stderr if there is no log.
static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// Lets notes go to stderr if there is no log, as warnings of children do.
pub(crate) fn note_on_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
}

/// Notes the size of an image that is about to be sent, once for each process.
#[expect(clippy::print_stderr, reason = "it is what this is for")]
pub(crate) fn note(unpacked: u64) {
    static ONCE: Once = Once::new();
    let Some(text) = text(unpacked) else { return };
    ONCE.call_once(|| match TO_STDERR.load(Ordering::Relaxed) && !log::has_subscriber() {
        true => eprintln!("note: {text}"),
        false => tracing::warn!("{text}"),
    });
}

fn text(unpacked: u64) -> Option<String> {
    let mebibytes = unpacked >> 20;
    (unpacked >= LARGE).then(|| {
        format!(
            "this program has {mebibytes} MiB, and each host gets a copy: without debug information it is sent faster \
             (`cargo offshoot run`, or `strip = \"debuginfo\"` in [profile.dev])"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_image_is_noted() {
        assert_eq!(text(LARGE - 1), None);
        let text = text(64 << 20).unwrap();
        assert!(text.starts_with("this program has 64 MiB") && text.contains("strip = \"debuginfo\""), "{text}");
    }
}
