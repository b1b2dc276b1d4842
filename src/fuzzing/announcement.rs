//! What a first stage says about its machine.

use bytes::Bytes;

use crate::connect::bootstrap::Announcement;
use crate::fuzzing::checks;
use crate::image::executable::{Compression, Packed};

/// The bytes are what follows the token. What is read can be shown, and the answer to it is one line.
pub(super) fn announcement(bytes: &[u8]) {
    let Some(announcement) = Announcement::parse(bytes) else { return };
    let shown = announcement.to_string();
    checks::tells(&shown);
    assert!(!shown.contains(['\n', '\t']), "{shown:?}");
    checks::tells(&announcement.no_place());
    announcement.refused.iter().for_each(|refusal| checks::tells(&refusal.to_string()));
    assert!(announcement.is_usable() || announcement.machine == "-" || shown.contains("Missing"), "{shown}");
    for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
        let image = Packed { compression, bytes: Bytes::from_static(b"image"), unpacked: 77, checksum: 0 };
        for (is_kept, digest) in [(false, None), (true, Some(&[7; 32])), (false, Some(&[0xff; 32]))] {
            let request = announcement.request(&image, is_kept, digest, "op@laptop:1");
            let line = request.strip_suffix('\n');
            let words = line.map(|line| line.split(' ').filter(|word| !word.is_empty()).count());
            assert_eq!(words, Some(if digest.is_some() { 6 } else { 5 }), "{request:?}");
            assert!(line.is_some_and(|line| line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')));
        }
    }
}
