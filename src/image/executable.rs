//! Images: the executable bytes that make a child.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sys::process;

/// The most bytes of an unpacked image.
pub(crate) const MAX_IMAGE: u64 = 1 << 30;

/// Marks the executable file of a program that uses the library. The build of the library follows the prefix, and then the
/// build id of the program, if its build has set one.
pub(crate) static MARK: &str =
    concat!("\x07OFFSHOOT-BUILD:", env!("OFFSHOOT_OWN_BUILD"), "\n", env!("OFFSHOOT_PROGRAM"), "\n");

/// The builds of the library and of the program in an executable. `None` if the executable does not contain the
/// library.
#[cfg(feature = "cli")]
pub(crate) fn build_in(executable: &[u8]) -> Option<Builds> {
    let (begin, length) = (b"\x07OFFSHOOT-BUILD:", env!("OFFSHOOT_OWN_BUILD").len());
    let mut rest = executable;
    // The tool contains the prefix a second time, in this function, without a build behind it.
    loop {
        rest = &rest[rest.iter().position(|byte| *byte == begin[0])?..];
        let build = rest.strip_prefix(begin).and_then(|rest| rest.split_at_checked(length + 1));
        if let Some(([build @ .., b'\n'], behind)) = build
            && build.iter().all(u8::is_ascii_hexdigit)
        {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let program = line(behind).map(text).or_else(|| is_tool(executable).then(|| TOOL.to_owned()));
            return Some(Builds { library: text(build), program });
        }
        rest = &rest[1..];
    }
}

/// The most bytes of the build id of a program.
#[cfg(feature = "cli")]
const MAX_PROGRAM: usize = 256;

/// What a program was built from, as its executable says.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Builds {
    /// The digest of the sources of the library.
    pub(crate) library: String,
    /// The build id of the program: its name and version, a colon, and a digest. The tool is `offshoot`. `None` if nothing
    /// has set it.
    pub(crate) program: Option<String>,
}

/// The printable text up to the end of a line. `None` if it is empty.
#[cfg(feature = "cli")]
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().take(MAX_PROGRAM + 1).position(|byte| *byte == b'\n')?;
    let line = &bytes[..end];
    (!line.is_empty() && line.iter().all(u8::is_ascii_graphic)).then_some(line)
}

/// The name of the tool, as program.
#[cfg(feature = "cli")]
pub(crate) const TOOL: &str = "offshoot";

/// Whether an executable is the tool or an image of it.
#[cfg(feature = "cli")]
fn is_tool(executable: &[u8]) -> bool {
    // Without the first byte, so that a program with this function is not taken for the tool.
    const REST: &[u8] = b"OFFSHOOT-TOOL\n";
    let mut rest = executable;
    while let Some(at) = rest.iter().position(|byte| *byte == 7) {
        rest = &rest[at + 1..];
        if rest.starts_with(REST) {
            return true;
        }
    }
    false
}

/// Whether an executable contains debug information, by the name of the section that has it.
#[cfg(feature = "cli")]
pub(crate) fn has_debug_information(executable: &[u8]) -> bool {
    const SECTION: &[u8] = b"debug_info";
    // In the table of names, a NUL stands on both sides. In the text of a program that knows the name, none does.
    // Its first character is left out of the constant, so that the tool does not find the constant.
    let is_name = |at: usize| {
        executable[at + 1..].starts_with(SECTION)
            && executable.get(at + 1 + SECTION.len()) == Some(&0)
            && at.checked_sub(1).and_then(|before| executable.get(before)) == Some(&0)
    };
    let mut from = 0;
    while let Some(dot) = executable[from..].iter().position(|byte| *byte == b'.') {
        from += dot;
        if is_name(from) {
            return true;
        }
        from += 1;
    }
    false
}

/// The formats in which an image travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// An image in the format in which it travels.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) compression: Compression,
    pub(crate) bytes: Bytes,
    /// Size of the image itself, in bytes.
    pub(crate) unpacked: u64,
    /// The checksum of the image itself.
    pub(crate) checksum: u64,
}

/// An executable. It is packed at most once in each format.
#[derive(Debug)]
pub(crate) struct Image {
    source: Source,
    packed: Mutex<HashMap<Compression, Packed>>,
    digest: OnceLock<[u8; 32]>,
    checksum: OnceLock<u64>,
}

#[derive(Debug)]
enum Source {
    /// A file that stays open as long as this process lives.
    File(File),
    /// A packed image for another target, as it lies in a bundle and travels.
    Zstd { bytes: Bytes, unpacked: u64 },
}

static OWN: OnceLock<Result<Arc<Image>, String>> = OnceLock::new();

impl Image {
    /// The image of this process.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be read.
    pub(crate) fn own() -> Result<Arc<Self>, String> {
        OWN.get_or_init(|| {
            let path = process::own_executable().map_err(|error| error.to_string())?;
            // The descriptor has a high number, because it is passed on by number.
            let file = File::open(&path).and_then(|file| process::dup_high(file.as_raw_fd()));
            let file = file.map_err(|error| format!("cannot read the own image {}: {error}", path.display()))?;
            Ok(Arc::new(Self::new(Source::File(file.into()))))
        })
        .clone()
    }

    /// Makes an image the own one that the parent process has opened for this process. Does nothing
    /// if [`Image::own`] was called before.
    pub(crate) fn adopt(fd: OwnedFd) {
        let _ = OWN.set(Ok(Arc::new(Self::new(Source::File(fd.into())))));
    }

    /// Creates an image from bytes that zstd has packed.
    pub(crate) fn from_zstd(bytes: Bytes, unpacked: u64) -> Self {
        Self::new(Source::Zstd { bytes, unpacked })
    }

    fn new(source: Source) -> Self {
        Self { source, packed: Mutex::default(), digest: OnceLock::new(), checksum: OnceLock::new() }
    }

    /// The bytes of memory that the image takes, unless it is packed in a further format.
    pub(crate) fn held(&self) -> usize {
        match &self.source {
            Source::File(_) => 0,
            Source::Zstd { bytes, .. } => bytes.len(),
        }
    }

    /// A descriptor that can be executed.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.source {
            Source::File(file) => process::dup_high(file.as_raw_fd()),
            Source::Zstd { .. } => Err(io::Error::other("an image for another machine")),
        }
    }

    /// Packs the image. The first call blocks for some milliseconds.
    pub(crate) fn pack(&self, compression: Compression) -> io::Result<Packed> {
        // Held while packing, so that many concurrent connects pack once.
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = packed.get(&compression) {
            return Ok(packed.clone());
        }
        let result = match (&self.source, compression) {
            (Source::Zstd { bytes, unpacked }, Compression::Zstd) => {
                Packed { compression, bytes: bytes.clone(), unpacked: *unpacked, checksum: self.checksum()? }
            }
            _ => {
                let plain = self.read()?;
                let unpacked = plain.len() as u64;
                let checksum = *self.checksum.get_or_init(|| checksum(0, &plain));
                let bytes = match compression {
                    Compression::Plain => plain,
                    Compression::Gzip => gzip(&plain),
                    Compression::Zstd => zstd(&plain)?,
                };
                Packed { compression, bytes: bytes.into(), unpacked, checksum }
            }
        };
        packed.insert(compression, result.clone());
        Ok(result)
    }

    /// SHA-256 of the image. The first call blocks for some milliseconds.
    pub(crate) fn digest(&self) -> io::Result<[u8; 32]> {
        if let Some(digest) = self.digest.get() {
            return Ok(*digest);
        }
        let digest = match &self.source {
            Source::File(file) => {
                let mut hash = Sha256::new();
                in_pieces(file, |piece| hash.update(piece))?;
                hash.finalize().into()
            }
            Source::Zstd { .. } => {
                let plain = self.read()?;
                self.checksum.get_or_init(|| checksum(0, &plain));
                Sha256::digest(plain).into()
            }
        };
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// A number that shows whether the image was damaged on its way. It takes a fifth of the time of a digest, or less,
    /// and every child computes it before its hello. It does not show what somebody has changed on purpose: the host
    /// that reports it could report any number.
    pub(crate) fn checksum(&self) -> io::Result<u64> {
        if let Some(checksum) = self.checksum.get() {
            return Ok(*checksum);
        }
        let mut sum = 0;
        match &self.source {
            Source::File(file) => in_pieces(file, |piece| sum = checksum(sum, piece))?,
            Source::Zstd { .. } => sum = checksum(0, &self.read()?),
        }
        Ok(*self.checksum.get_or_init(|| sum))
    }

    /// The whole unpacked image.
    fn read(&self) -> io::Result<Vec<u8>> {
        match &self.source {
            Source::File(file) => {
                let size = file.metadata()?.len();
                check_size(size)?;
                let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
                // All processes that have the file open share its offset, so it must not be used.
                file.read_exact_at(&mut bytes, 0)?;
                Ok(bytes)
            }
            Source::Zstd { bytes, unpacked } => unzstd(bytes, *unpacked),
        }
    }
}

fn check_size(size: u64) -> io::Result<()> {
    if size > MAX_IMAGE {
        return Err(io::Error::other(format!("the image has {size} bytes (max {MAX_IMAGE})")));
    }
    Ok(())
}

/// Makes a gzip file. The usual crates for the container have tables of 16 KiB, which every image
/// would carry. So the container is written here.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(plain, 6));
    bytes.extend_from_slice(&crc32(plain).to_le_bytes());
    // The format stores the size modulo 2^32.
    bytes.extend_from_slice(&plain.len().to_le_bytes()[..4]);
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 16] = std::array::from_fn(|index| {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        (0..4).fold(u32::try_from(index).unwrap_or(0), step)
    });
    let nibble = |crc: u32, byte: u32| crc >> 4 ^ table[((crc ^ byte) & 15) as usize];
    !bytes.iter().fold(!0, |crc, byte| nibble(nibble(crc, u32::from(*byte)), u32::from(*byte >> 4)))
}

/// Packs an image in a short time, because a connect waits for it.
#[cfg(feature = "cli")]
pub(crate) fn zstd(plain: &[u8]) -> io::Result<Vec<u8>> {
    zstd_at(3, plain)
}

/// Packs an image as small as possible. This takes 40 times as long.
#[cfg(feature = "cli")]
pub(crate) fn zstd_smallest(plain: &[u8]) -> io::Result<Vec<u8>> {
    zstd_at(19, plain)
}

#[cfg(feature = "cli")]
fn zstd_at(level: i32, plain: &[u8]) -> io::Result<Vec<u8>> {
    let config = zstd_rs::CompressionConfig { level, checksum: true, ..zstd_rs::CompressionConfig::DEFAULT };
    let mut packed = Vec::new();
    let mut compressor = zstd_rs::Compressor::new(config).map_err(io::Error::other)?;
    compressor.compress(plain, None, &mut packed).map_err(io::Error::other)?;
    Ok(packed)
}

/// Images without the tool have no compressor for zstd. They send only copies of themselves to
/// neighbours. For a machine that has `zstd`, such a copy is a zstd frame of uncompressed blocks.
#[cfg(not(feature = "cli"))]
fn zstd(plain: &[u8]) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 128 * 1024;
    // Magic. Then a flag byte: the size has 8 bytes, no checksum. Then a window of 128 KiB.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x38];
    bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    let last = plain.len().saturating_sub(1) / BLOCK;
    for (index, block) in plain.chunks(BLOCK).enumerate() {
        let header = block.len() << 3 | usize::from(index == last);
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.extend_from_slice(block);
    }
    Ok(bytes)
}

/// Unpacks bytes. The result must have `unpacked` bytes.
fn unzstd(bytes: &[u8], unpacked: u64) -> io::Result<Vec<u8>> {
    check_size(unpacked)?;
    let decoder = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(io::Error::other)?;
    let mut plain = Vec::new();
    decoder.take(unpacked + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 != unpacked {
        return Err(io::Error::other(format!("the image unpacks to {} bytes instead of {unpacked}", plain.len())));
    }
    Ok(plain)
}

/// Reads a file in pieces, because every child does this and must stay small. Each piece but the last has the same
/// size, a multiple of 8 bytes.
fn in_pieces(file: &File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let (mut at, mut filled) = (0, 0);
    loop {
        let count = file.read_at(&mut piece[filled..], at)?;
        filled += count;
        at += count as u64;
        if count == 0 || filled == piece.len() {
            take(&piece[..filled]);
            filled = 0;
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// Continues a checksum with a piece of a file. Each piece but the last has a multiple of 8 bytes. Each step is reversible
/// for both the sum and the word, so a change of one word always changes the result.
fn checksum(sum: u64, piece: &[u8]) -> u64 {
    /// An odd number whose bits look random: that of the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |sum: u64, word: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        let product = (sum ^ u64::from_le_bytes(bytes)).wrapping_mul(FACTOR);
        product ^ product >> 32
    };
    let words = piece.chunks_exact(8);
    let rest = words.remainder();
    let sum = words.fold(sum, step);
    if rest.is_empty() { sum } else { step(sum, rest) }
}

/// The target that this program was built for, as far as children are concerned: system and
/// processor as `uname -sm` names them.
pub(crate) fn own_machine() -> (&'static str, &'static str) {
    let system = match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "freebsd" => "FreeBSD",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    };
    (system, processor)
}

/// The system and processor of a machine, from the output of its `uname -sm`. Two machines that
/// take the same image give the same result.
///
/// The kernel decides: a static image needs nothing else of a machine. So a 32-bit userland on a
/// 64-bit kernel is no obstacle. A processor older than the images are built for gives another
/// result: i586 and armv6l have images of their own (`Bundle::find`).
pub(crate) fn machine(system: &str, machine: &str) -> (String, String) {
    let processor = match machine {
        "amd64" | "x86-64" => "x86_64",
        "arm64" => "aarch64",
        "i686" => "x86",
        "i386" if system != "Linux" => "x86",
        // The name that container engines use.
        "386" => "x86",
        // A 64-bit kernel that was told to report a 32-bit processor.
        "armv7l" | "armv7" | "armv8l" => "arm",
        other => other,
    };
    (system.into(), processor.into())
}

/// Whether Rust has a target for such a machine that the library can be built for.
pub(crate) fn has_target(system: &str, machine: &str) -> bool {
    let (system, processor) = self::machine(system, machine);
    match &*system {
        "Linux" => {
            ["x86_64", "aarch64", "x86", "i586", "arm", "armv6l", "riscv64", "ppc64le", "ppc64", "s390x", "loongarch64"]
                .contains(&&*processor)
        }
        "FreeBSD" => processor == "x86_64",
        "Darwin" => processor == "x86_64" || processor == "aarch64",
        _ => false,
    }
}

/// Whether an image for `own` runs on a machine with this system and processor.
pub(crate) fn runs_on(own: (&str, &str), system: &str, processor: &str) -> bool {
    let (system, processor) = machine(system, processor);
    own == (&system, &processor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_recognised_by_all_their_names() {
        assert!(runs_on(("Linux", "x86_64"), "Linux", "x86_64"));
        assert!(runs_on(("FreeBSD", "x86_64"), "FreeBSD", "amd64"));
        assert!(runs_on(("Darwin", "aarch64"), "Darwin", "arm64"));
        assert!(runs_on(("Linux", "x86"), "Linux", "i686"));
        assert!(runs_on(("Linux", "arm"), "Linux", "armv7l"));
        assert!(runs_on(("Linux", "arm"), "Linux", "armv8l"));
        assert!(!runs_on(("Linux", "arm"), "Linux", "armv6l"));
        assert!(!runs_on(("Linux", "x86"), "Linux", "i586"));
        assert!(!runs_on(("Linux", "x86_64"), "Linux", "aarch64"));
        assert!(!runs_on(("Linux", "x86_64"), "Plan9", "x86_64"));
    }

    #[test]
    fn the_own_image_is_packed_once_and_unpacks_to_itself() {
        let own = Image::own().unwrap();
        let plain = own.pack(Compression::Plain).unwrap();
        assert_eq!(plain.unpacked, plain.bytes.len() as u64);
        let gzip = own.pack(Compression::Gzip).unwrap();
        let mut unpacked = Vec::new();
        unpacked.extend(miniz_oxide::inflate::decompress_to_vec(&gzip.bytes[10..gzip.bytes.len() - 8]).unwrap());
        assert_eq!(Sha256::digest(&unpacked).as_slice(), own.digest().unwrap());
        assert_eq!(own.pack(Compression::Gzip).unwrap().bytes.as_ptr(), gzip.bytes.as_ptr());
        let packed = own.pack(Compression::Zstd).unwrap();
        let carried = Image::from_zstd(packed.bytes, packed.unpacked);
        assert_eq!(carried.digest().unwrap(), own.digest().unwrap());
        assert!(carried.pack(Compression::Plain).unwrap().bytes == plain.bytes);
    }

    #[test]
    fn every_change_of_an_image_changes_its_checksum_however_it_is_read() {
        let own = Image::own().unwrap();
        let plain = own.pack(Compression::Plain).unwrap();
        let Source::File(file) = &own.source else { unreachable!("the own image is a file") };
        assert_eq!(Image::new(Source::File(file.try_clone().unwrap())).checksum().unwrap(), plain.checksum);
        let packed = own.pack(Compression::Zstd).unwrap();
        assert_eq!(packed.checksum, plain.checksum);
        assert_eq!(Image::from_zstd(packed.bytes, packed.unpacked).checksum().unwrap(), plain.checksum);
        let mut sums = vec![checksum(0, b"")];
        let mut bytes = *b"twenty-one bytes ....";
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                sums.push(checksum(0, &bytes));
                bytes[at] ^= 1 << bit;
            }
            sums.push(checksum(0, &bytes[..=at]));
        }
        bytes.swap(3, 11);
        sums.push(checksum(0, &bytes));
        assert_eq!(checksum(checksum(0, &bytes[..8]), &bytes[8..]), checksum(0, &bytes));
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_image_that_unpacks_to_another_size_is_refused() {
        let packed = zstd(&[7; 1000]).unwrap();
        assert_eq!(unzstd(&packed, 1000).unwrap(), [7; 1000]);
        assert!(unzstd(&packed, 999).is_err());
        assert!(unzstd(&packed, 1001).is_err());
        assert!(unzstd(b"nonsense", 8).is_err());
    }
}
