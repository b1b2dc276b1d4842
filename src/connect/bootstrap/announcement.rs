//! What the first stage reports about its machine, and the request that answers it.

use std::fmt;

use crate::connect::bootstrap::tool_words::{self, PlaceFault};
use crate::image::executable::{Compression, Packed};
use crate::wire::sanitize::stripped;

/// The announcement of a first stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The output of `uname -s`.
    pub system: String,
    /// The output of `uname -m`.
    pub machine: String,
    /// The best compression that the machine can unpack.
    pub compression: Compression,
    /// Whether the machine may have kept the image and can verify it.
    pub caches: bool,
    /// The tool that counts the bytes of the image.
    pub reader: Reader,
    /// The directory that will hold the image, if there is one.
    pub place: Option<String>,
    /// The interpreter that can execute the image from memory, if there is one.
    pub interpreter: Option<String>,
    /// The places that could not be used, at most [`MAX_REFUSED`].
    pub refused: Vec<Refusal>,
}

/// The program that reads the image from the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// `head -c`
    Head,
    /// `dd`, byte by byte.
    Dd,
    /// The machine has neither.
    Missing,
}

/// A place that cannot hold or execute an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The directory.
    pub place: String,
    /// What the machine's tools printed about it.
    pub reason: String,
}

impl Announcement {
    /// Reads what follows the token. If this returns `None`, the caller makes the error text.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line = stripped(line);
        let mut parts = line.split('|');
        // The output of `uname` may have more than two words. The number of the other words is fixed.
        let words: Vec<&str> = parts.next()?.split_ascii_whitespace().collect();
        let (uname, [decompressor, reader, interpreter]) = words.split_last_chunk()?;
        let (system, machine) = uname.split_first()?;
        // Without `uname`, the line prints a dash for each.
        if machine.is_empty() {
            return None;
        }
        let (decompressor, caches) = match decompressor.strip_suffix('+') {
            Some(decompressor) => (decompressor, true),
            None => (*decompressor, false),
        };
        let place = parts.next()?.trim();
        let rest: Vec<&str> = parts.map(str::trim).collect();
        Some(Self {
            system: (*system).into(),
            machine: machine.join(" "),
            compression: match decompressor {
                "zstd" => Compression::Zstd,
                "gzip" => Compression::Gzip,
                "-" => Compression::Plain,
                _ => return None,
            },
            caches,
            reader: match *reader {
                "head" => Reader::Head,
                "dd" => Reader::Dd,
                "none" => Reader::Missing,
                _ => return None,
            },
            place: (place != "none").then(|| place.into()),
            interpreter: (*interpreter != "none").then(|| (*interpreter).into()),
            refused: rest
                .chunks(2)
                .take(MAX_REFUSED)
                .map(|entry| Refusal {
                    place: entry[0].into(),
                    reason: entry.get(1).copied().unwrap_or_default().into(),
                })
                .collect(),
        })
    }

    /// Whether the machine has identified itself and can receive an image.
    #[cfg(feature = "cli")]
    pub(crate) fn is_usable(&self) -> bool {
        self.machine != "-" && self.reader != Reader::Missing
    }

    /// Whether the image can be executed at all, in a directory or in memory.
    pub(super) fn has_route(&self) -> bool {
        self.place.is_some() || self.system == "Linux" && self.interpreter.is_some()
    }

    /// The line that precedes the image, or that asks for a kept image. A first stage with a cache gets the
    /// digest, too.
    pub(crate) fn request(&self, image: &Packed, kept: bool, digest: Option<&[u8; 32]>, remote_name: &str) -> String {
        let mut hex = String::new();
        for byte in digest.into_iter().flatten() {
            hex += &format!("{byte:02x}");
        }
        if digest.is_some() {
            hex.push(' ');
        }
        format!(
            "{} {} {} {} {hex}offshoot:{remote_name}\n",
            if kept { 0 } else { image.bytes.len() },
            match image.compression {
                Compression::Plain => "-",
                Compression::Gzip => "gzip",
                Compression::Zstd => "zstd",
            },
            memfd_number(&self.machine),
            image.unpacked,
        )
    }

    /// Text of the error if the image cannot be executed anywhere.
    pub(crate) fn no_place(&self) -> String {
        let memory = match (&self.interpreter, self.system.as_str()) {
            (None, "Linux") => ", and neither perl (with /proc mounted) nor python3 is there to run it from memory",
            _ => "",
        };
        // A refusal because the directory exists already: the place is one that was tried before, under another
        // name, and is not cleaned up yet.
        let refused = self.refused.iter().filter(|refusal| !tool_words::is_there_already(&refusal.reason));
        let refused: Vec<String> = refused.map(Refusal::to_string).collect();
        format!("no place on the machine can hold and execute the image{memory}: {}", refused.join("; "))
    }
}

impl fmt::Display for Refusal {
    /// The refusal as text, without the parts of a tool's message that name the shell, a line or a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, cause) = tool_words::refusal(&self.reason);
        let what = match fault {
            PlaceFault::NotWritable => "cannot be written",
            PlaceFault::NoExecution => "does not allow execution",
            PlaceFault::Unusable => "cannot be used",
        };
        write!(f, "{} {what}", self.place)?;
        if cause.is_empty() { Ok(()) } else { write!(f, " ({cause})") }
    }
}

impl fmt::Display for Announcement {
    /// One line for the debug log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first stage on {} {}: ", self.system, self.machine)?;
        match (&self.place, &self.interpreter) {
            (Some(place), _) => write!(f, "image goes to {place}")?,
            (None, Some(interpreter)) => write!(f, "image goes to memory by {interpreter}")?,
            (None, None) => f.write_str("no place for an image")?,
        }
        write!(f, ", best compression {:?}, read by {:?}", self.compression, self.reader)?;
        for refusal in &self.refused {
            write!(f, "; {}: {}", refusal.place, refusal.reason)?;
        }
        Ok(())
    }
}

/// How many places the first stage tries. An announcement with more places is false, and each refusal may cost
/// an upload.
pub(super) const MAX_REFUSED: usize = 6;

/// The number of the system call `memfd_create` on Linux, because perl does not know its name.
///
/// 0 if the number is not known. Perl then reports that the call failed.
fn memfd_number(machine: &str) -> u32 {
    match machine {
        "x86_64" | "amd64" => 319,
        "i386" | "i486" | "i586" | "i686" => 356,
        "aarch64" | "riscv64" | "riscv32" | "loongarch64" => 279,
        "s390x" | "s390" => 350,
        "ppc64le" | "ppc64" | "ppc" => 360,
        "mips" => 4354,
        "mips64" => 5314,
        "sparc64" | "sparc" => 348,
        arm if arm.starts_with("arm") => 385,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_taken_apart() {
        let announcement = Announcement::parse(b" Linux x86_64 zstd head perl |/home/a b/.offshoot-1-2|/dev/shm|sh: 1: /dev/shm/.offshoot-1-2/t: Permission denied|/tmp|").unwrap();
        assert_eq!((announcement.system.as_str(), announcement.machine.as_str()), ("Linux", "x86_64"));
        assert_eq!((announcement.compression, announcement.reader), (Compression::Zstd, Reader::Head));
        assert_eq!(announcement.place.as_deref(), Some("/home/a b/.offshoot-1-2"));
        assert_eq!(announcement.interpreter.as_deref(), Some("perl"));
        assert_eq!(announcement.refused.len(), 2);
        assert_eq!(announcement.refused[0].to_string(), "/dev/shm does not allow execution (Permission denied)");
        assert_eq!(announcement.refused[1], Refusal { place: "/tmp".into(), reason: String::new() });
        assert!(announcement.has_route());
    }

    #[test]
    fn a_machine_name_may_have_several_words() {
        let announcement = Announcement::parse(b" Darwin Power Macintosh - dd none |none").unwrap();
        assert_eq!(announcement.machine, "Power Macintosh");
        assert_eq!((announcement.compression, announcement.reader), (Compression::Plain, Reader::Dd));
        assert_eq!((announcement.place, announcement.interpreter, announcement.refused), (None, None, Vec::new()));
    }

    #[test]
    fn a_machine_that_may_keep_images_says_so() {
        let announcement = Announcement::parse(b" Linux x86_64 -+ head none |/tmp/x").unwrap();
        assert!(announcement.caches && announcement.compression == Compression::Plain);
        assert!(!Announcement::parse(b" Linux x86_64 - head none |/tmp/x").unwrap().caches);
    }

    #[test]
    fn memory_is_a_route_on_linux_only() {
        assert!(Announcement::parse(b" Linux armv7l - dd python3 |none").unwrap().has_route());
        assert!(!Announcement::parse(b" Linux armv7l - dd none |none").unwrap().has_route());
        assert!(!Announcement::parse(b" FreeBSD amd64 gzip head perl |none").unwrap().has_route());
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "",
            " ",
            " Linux",
            " a b c d e",
            " Linux x86_64 lzma head perl |none",
            " Linux x86_64 zstd tail perl |none",
            " zstd head perl |none",
            " Linux zstd head perl |none",
            " Linux x86_64 zstd head perl",
        ] {
            assert_eq!(Announcement::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_request_names_bytes_decompressor_call_number_size_and_name() {
        let announcement = Announcement::parse(b" Linux aarch64 gzip head perl |/tmp/x").unwrap();
        let bytes = bytes::Bytes::from_static(b"12345");
        let image = Packed { compression: Compression::Gzip, bytes, unpacked: 77, checksum: 0 };
        assert_eq!(announcement.request(&image, false, None, "root@web1:1"), "5 gzip 279 77 offshoot:root@web1:1\n");
        let digest = [0x0a; 32];
        let asked = format!("0 gzip 279 77 {} offshoot:n\n", "0a".repeat(32));
        assert_eq!(announcement.request(&image, true, Some(&digest), "n"), asked);
    }

    #[test]
    fn reasons_of_real_shells_become_words() {
        for (reason, text) in [
            ("sh: 1: /tmp/.offshoot-1-2/t: Permission denied", "/p does not allow execution (Permission denied)"),
            ("sh: line 1: /tmp/.offshoot-1-2/t: Permission denied", "/p does not allow execution (Permission denied)"),
            (
                "mkdir: cannot create directory ‘/nowhere/.offshoot-1-2’: No such file or directory",
                "/p cannot be written (No such file or directory)",
            ),
            (
                "mkdir: can't create directory '/ro/.offshoot-1-2': Read-only file system",
                "/p cannot be written (Read-only file system)",
            ),
            ("sh: echo: write error: No space left on device", "/p cannot be used (No space left on device)"),
            ("", "/p cannot be used"),
        ] {
            assert_eq!(Refusal { place: "/p".into(), reason: reason.into() }.to_string(), text);
        }
    }
}
