//! Bundles: a program with the images of other targets behind its last byte.
//!
//! ```text
//! program | image, zstd | image, zstd | ... | index | length of index, u32 | magic, 8 bytes
//! ```
//!
//! The index has the place of each image, and the size and digest of its content.

#[cfg(feature = "cli")]
mod pack;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::image::executable::runs_on;
use crate::image::executable::{Image, MAX_IMAGE};
use crate::sys::hex::hex;
use crate::wire::codec;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use pack::Packing;

pub(crate) const MAGIC: [u8; 8] = *b"\x89OFSBDL\n";
const TRAILER: u64 = 12;
/// The most bytes of an index.
const MAX_INDEX: u32 = 64 * 1024;

/// One image in a bundle.
///
/// [`Bundle`] has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The target, as rustc names it.
    pub triple: String,
    /// The operating system, as `uname -s` names it.
    pub system: String,
    /// The processor, as Rust names it: `x86_64`, `aarch64`, `x86`.
    pub processor: String,
    /// Size of the image in bytes.
    pub size: u64,
    /// Size of the packed image in bytes, as it lies in the bundle and travels.
    pub packed: u64,
    /// SHA-256 of the image.
    pub digest: [u8; 32],
    /// Offset of the packed image in the file.
    offset: u64,
}

impl Entry {
    /// The digest in hexadecimal.
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }
}

/// The images that a program carries.
///
/// ```
/// use offshoot::bundle::Bundle;
///
/// for entry in Bundle::own()?.entries() {
///     println!("{}: {} bytes", entry.triple, entry.size);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Bundle {
    file: File,
    entries: Vec<Entry>,
    /// Size of the program itself in bytes.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only for making bundles"))]
    program: u64,
    loaded: Vec<OnceLock<Arc<Image>>>,
}

impl Bundle {
    /// The images that this program carries. There are none if it is not a bundle.
    ///
    /// # Errors
    ///
    /// If the own executable cannot be read, or is damaged.
    pub fn own() -> io::Result<&'static Self> {
        static OWN: OnceLock<Result<Bundle, String>> = OnceLock::new();
        let own = OWN.get_or_init(|| {
            let file = Image::own().and_then(|own| own.descriptor().map_err(|error| error.to_string()))?;
            Self::read(file.into()).map_err(|error| error.to_string())
        });
        own.as_ref().map_err(|why| io::Error::other(why.clone()))
    }

    /// The images that the program at `path` carries.
    ///
    /// # Errors
    ///
    /// If the program cannot be read, or is damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::read(File::open(path)?)
    }

    /// The images, in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn read(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let none = |file| Self { file, entries: Vec::new(), program: size, loaded: Vec::new() };
        let Some(end) = size.checked_sub(TRAILER) else { return Ok(none(file)) };
        let mut trailer = [0; TRAILER as usize];
        file.read_exact_at(&mut trailer, end)?;
        let (length, magic) = trailer.split_at(4);
        if magic != MAGIC {
            return Ok(none(file));
        }
        let length = length.iter().fold(0, |length, byte| length << 8 | u32::from(*byte));
        let start = end.checked_sub(length.into()).filter(|_| length <= MAX_INDEX);
        let start = start.ok_or_else(|| damaged("its index is longer than it may be"))?;
        let mut index = vec![0; length as usize];
        file.read_exact_at(&mut index, start)?;
        let entries: Vec<Entry> = codec::decode(&index, None).map_err(damaged)?;
        let mut program = start;
        for entry in &entries {
            let end = entry.offset.checked_add(entry.packed).filter(|end| *end <= start && entry.size <= MAX_IMAGE);
            end.ok_or_else(|| damaged("an image lies outside of it"))?;
            program = program.min(entry.offset);
        }
        let loaded = entries.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { file, entries, program, loaded })
    }

    /// The image for a machine, by the output of `uname -sm`. The first call reads the image and
    /// checks it, and blocks for some milliseconds.
    pub(crate) fn find(&self, system: &str, machine: &str) -> io::Result<Option<Arc<Image>>> {
        // What is built for armv6 runs on armv7, too, and the headers of both are the same. So it is with i586 and i686.
        let is_for_older = |entry: &Entry| match machine {
            "armv6l" => entry.triple.starts_with("arm-"),
            "i586" => entry.triple.starts_with("i586-"),
            _ => false,
        };
        let fits = |entry: &Entry| runs_on((&entry.system, &entry.processor), system, machine) || is_for_older(entry);
        let Some(at) = self.entries.iter().position(fits) else {
            return Ok(None);
        };
        if let Some(image) = self.loaded[at].get() {
            return Ok(Some(Arc::clone(image)));
        }
        let image = Arc::new(self.load(&self.entries[at])?);
        Ok(Some(Arc::clone(self.loaded[at].get_or_init(|| image))))
    }

    fn load(&self, entry: &Entry) -> io::Result<Image> {
        let mut bytes = vec![0; usize::try_from(entry.packed).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, entry.offset)?;
        let image = Image::from_zstd(bytes.into(), entry.size);
        if image.digest()? != entry.digest {
            return Err(damaged(format!("the image for {} has another digest", entry.triple)));
        }
        Ok(image)
    }
}

fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the bundle is damaged: {why}"))
}

/// The machine that an executable is for, by its header: system as `uname -s`
/// has it, processor as Rust has it.
///
/// ```no_run
/// let own = std::fs::read("/proc/self/exe")?;
/// let (system, processor) = offshoot::bundle::machine_of(&own).expect("an executable");
/// assert_eq!((system, processor), ("Linux", std::env::consts::ARCH));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn machine_of(executable: &[u8]) -> Option<(&'static str, &'static str)> {
    match executable.first_chunk::<20>()? {
        [0x7f, b'E', b'L', b'F', class, endian, _, abi, rest @ ..] => {
            let machine = [rest[10], rest[11]];
            let machine = if *endian == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
            let is_freebsd =
                *abi == 9 || loader_of(executable).is_some_and(|path| path.starts_with(b"/libexec/ld-elf"));
            let system = if is_freebsd { "FreeBSD" } else { "Linux" };
            let processor = match (machine, class) {
                (62, 2) => "x86_64",
                (183, 2) => "aarch64",
                (3, 1) => "x86",
                (40, 1) => "arm",
                (243, 2) => "riscv64",
                (22, 2) => "s390x",
                (258, 2) => "loongarch64",
                (21, 2) if *endian == 2 => "ppc64",
                (21, 2) => "ppc64le",
                _ => return None,
            };
            Some((system, processor))
        }
        [0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1, ..] => Some(("Darwin", "x86_64")),
        [0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1, ..] => Some(("Darwin", "aarch64")),
        _ => None,
    }
}

/// The loader that a little-endian ELF file names. Linkers do not always write into its header that it is for FreeBSD.
pub(crate) fn loader_of(executable: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: usize = 3;
    let number = |at: usize, length: usize| {
        let bytes = executable.get(at..at.checked_add(length)?)?;
        bytes.iter().rev().try_fold(0_usize, |number, byte| Some(number.checked_mul(256)? | usize::from(*byte)))
    };
    // The length of an address. The places of the table, of the size and the number of its entries, and within an entry of
    // the place and the size of the name.
    let (long, table, size, count, place, length) = match executable.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, 1] => (8, 32, 54, 56, 8, 32),
        [0x7f, b'E', b'L', b'F', 1, 1] => (4, 28, 42, 44, 4, 16),
        _ => return None,
    };
    let (table, size, count) = (number(table, long)?, number(size, 2)?, number(count, 2)?);
    for index in 0..count {
        let at = table.checked_add(index * size)?;
        if number(at, 4)? == PT_INTERP {
            let start = number(at.checked_add(place)?, long)?;
            return executable.get(start..start.checked_add(number(at.checked_add(length)?, long)?)?);
        }
    }
    None
}
