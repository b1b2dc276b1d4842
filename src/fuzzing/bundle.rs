//! The images behind the last byte of a program, and the headers of executables.

use std::io::Write as _;

use crate::fuzzing::checks;
use crate::image::bundle::{Bundle, MAGIC, loader_of, machine_of};
use crate::sys::unnamed_file::unnamed_file;

/// Largest image that is unpacked.
const UNPACKED: u64 = 1 << 20;

/// The first byte says whether the others are an executable, a whole bundle, or an index that images precede.
pub(super) fn bundle(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => {
            let _ = machine_of(rest);
            assert!(loader_of(rest).is_none_or(|path| path.len() <= rest.len()));
        }
        1 => file(rest),
        _ => {
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            file(&[&[b'#'; 64][..], rest, rest, &length.to_be_bytes(), &MAGIC].concat());
        }
    }
}

/// A program with a bundle.
fn file(content: &[u8]) {
    let made = unnamed_file("fuzzing").and_then(|mut file| file.write_all(content).map(|()| file));
    // A machine without room for a file is not what is tested.
    let Ok(file) = made else { return };
    let bundle = match Bundle::read(file) {
        Ok(bundle) => bundle,
        Err(error) => return checks::tells(&error.to_string()),
    };
    for entry in bundle.entries().iter().filter(|entry| entry.size <= UNPACKED) {
        assert!(entry.packed <= content.len() as u64 && entry.digest_hex().len() == 64);
        match bundle.find(&entry.system, &entry.processor) {
            Ok(Some(image)) => assert!(image.held() as u64 <= content.len() as u64),
            // The name of a processor in the index need not be one that machines say.
            Ok(None) => {}
            Err(error) => checks::tells(&error.to_string()),
        }
    }
}
