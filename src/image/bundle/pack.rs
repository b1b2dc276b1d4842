//! Makes bundles. Only the tool has this code.

use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::image::bundle::machine_of;
use crate::image::bundle::{Bundle, Entry, MAGIC, MAX_INDEX};
use crate::image::executable::{zstd, zstd_smallest};
use crate::wire::codec;

/// How images are packed.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As small as possible, for a program that is shipped.
    Smallest,
    /// In a short time, for a program that is run at once.
    Fast,
}

impl Bundle {
    /// Writes the program without the images that it carries, and with `images` instead. Each image
    /// is given with its target.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or is not an executable.
    pub fn write(&self, images: &[(String, Vec<u8>)], out: impl io::Write) -> io::Result<Vec<Entry>> {
        self.write_telling(images, out, Packing::Smallest, |_, _| {})
    }

    /// As [`Bundle::write`], and tells of each image, which is given with its target, before it is packed.
    pub(crate) fn write_telling(
        &self,
        images: &[(String, Vec<u8>)],
        mut out: impl io::Write,
        packing: Packing,
        tell: impl Fn(&str, &[u8]),
    ) -> io::Result<Vec<Entry>> {
        let mut program = vec![0; usize::try_from(self.program).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut program, 0)?;
        out.write_all(&program)?;
        let mut offset = self.program;
        let mut entries = Vec::new();
        for (triple, image) in images {
            let (system, processor) = machine_of(image)
                .ok_or_else(|| io::Error::other(format!("the image for {triple} is no executable that we know")))?;
            tell(triple, image);
            let packed = match packing {
                Packing::Smallest => zstd_smallest(image)?,
                Packing::Fast => zstd(image)?,
            };
            out.write_all(&packed)?;
            entries.push(Entry {
                triple: triple.clone(),
                system: system.into(),
                processor: processor.into(),
                size: image.len() as u64,
                packed: packed.len() as u64,
                digest: Sha256::digest(image).into(),
                offset,
            });
            offset += packed.len() as u64;
        }
        let index = codec::encode(&entries).map_err(io::Error::other)?;
        let length = u32::try_from(index.len()).ok().filter(|length| *length <= MAX_INDEX);
        let length = length.ok_or_else(|| io::Error::other("too many images"))?;
        out.write_all(&index)?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(&MAGIC)?;
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn elf(machine: u8, class: u8, filler: usize) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0];
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&[machine, 0]);
        bytes.extend((0..filler).map(|n| n.to_le_bytes()[0]));
        bytes
    }

    fn bundle(directory: &Path, name: &str, bytes: &[u8]) -> Bundle {
        std::fs::write(directory.join(name), bytes).unwrap();
        Bundle::open(&directory.join(name)).unwrap()
    }

    #[test]
    fn what_is_put_into_a_bundle_is_found_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let plain = bundle(directory.path(), "plain", b"#!/bin/sh\necho the program\n");
        assert!(plain.entries().is_empty());
        let images = [("aarch64-x".to_owned(), elf(183, 2, 5000)), ("i686-x".to_owned(), elf(3, 1, 70_000))];
        let mut bytes = Vec::new();
        plain.write(&images, &mut bytes).unwrap();
        assert!(bytes.starts_with(b"#!/bin/sh\necho the program\n"));
        let full = bundle(directory.path(), "full", &bytes);
        assert_eq!(full.entries().iter().map(|entry| &entry.triple[..]).collect::<Vec<_>>(), ["aarch64-x", "i686-x"]);
        let image = full.find("Linux", "arm64").unwrap().unwrap();
        assert!(image.pack(crate::image::executable::Compression::Plain).unwrap().bytes == images[0].1);
        assert!(full.find("Linux", "i686").unwrap().is_some());
        assert!(full.find("Linux", "s390x").unwrap().is_none());
        assert!(full.find("FreeBSD", "arm64").unwrap().is_none());
        // A bundle that is made of a bundle has only the new images. The same images make the same
        // bytes.
        let mut again = Vec::new();
        full.write(&images, &mut again).unwrap();
        assert!(again == bytes);
    }

    #[test]
    fn an_image_for_another_system_is_for_no_linux_host_whatever_its_processor() {
        let mut freebsd = elf(62, 2, 100);
        freebsd[7] = 9;
        let mut macos = vec![0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1];
        macos.extend_from_slice(&[0; 100]);
        let linux = elf(62, 2, 200);
        let images = [
            ("x86_64-unknown-freebsd".to_owned(), freebsd.clone()),
            ("aarch64-apple-darwin".to_owned(), macos.clone()),
            ("x86_64-unknown-linux-musl".to_owned(), linux.clone()),
        ];
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        bundle(directory.path(), "plain", b"program").write(&images, &mut bytes).unwrap();
        let bundle = bundle(directory.path(), "full", &bytes);
        let found = |system, machine| {
            let image = bundle.find(system, machine).unwrap()?;
            Some(image.pack(crate::image::executable::Compression::Plain).unwrap().bytes)
        };
        assert!(found("Linux", "x86_64").is_some_and(|image| image == linux));
        assert!(found("FreeBSD", "amd64").is_some_and(|image| image == freebsd));
        assert!(found("Darwin", "arm64").is_some_and(|image| image == macos));
        assert!(found("Linux", "aarch64").is_none() && found("Darwin", "x86_64").is_none());
    }

    #[test]
    fn an_image_for_an_older_processor_is_for_the_newer_too_and_not_the_other_way_round() {
        let directory = tempfile::tempdir().unwrap();
        let plain = bundle(directory.path(), "plain", b"program");
        let processor = |triple: &str| if triple.starts_with('i') { 3 } else { 40 };
        let (old, new) = ("arm-unknown-linux-musleabihf", "armv7-unknown-linux-musleabihf");
        for (name, triples, machine, found) in [
            ("old", &[old][..], "armv6l", Some(0)),
            ("old", &[old], "armv7l", Some(0)),
            ("new", &[new], "armv6l", None),
            ("both", &[new, old], "armv6l", Some(1)),
            ("both", &[new, old], "armv7l", Some(0)),
            ("i586", &["i586-unknown-linux-musl"], "i586", Some(0)),
            ("i586", &["i586-unknown-linux-musl"], "i686", Some(0)),
            ("i686", &["i686-unknown-linux-musl"], "i586", None),
        ] {
            let images: Vec<_> = triples
                .iter()
                .zip(0..)
                .map(|(triple, number)| ((*triple).to_owned(), elf(processor(triple), 1, number)))
                .collect();
            let mut bytes = Vec::new();
            plain.write(&images, &mut bytes).unwrap();
            let image = bundle(directory.path(), name, &bytes).find("Linux", machine).unwrap();
            let image = image.map(|image| image.pack(crate::image::executable::Compression::Plain).unwrap().bytes);
            assert_eq!(image.as_deref(), found.map(|number: usize| &images[number].1[..]), "{machine} of {triples:?}");
        }
    }

    #[test]
    fn a_damaged_bundle_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let plain = bundle(directory.path(), "plain", b"program");
        let mut bytes = Vec::new();
        plain.write(&[("aarch64-x".to_owned(), elf(183, 2, 5000))], &mut bytes).unwrap();
        let mut flipped = bytes.clone();
        flipped[20] ^= 1;
        let flipped = bundle(directory.path(), "flipped", &flipped);
        assert!(flipped.find("Linux", "aarch64").is_err());
        let length = bytes.len() - 12;
        bytes[length..length + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        std::fs::write(directory.path().join("long"), &bytes).unwrap();
        assert!(Bundle::open(&directory.path().join("long")).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn machines_are_read_from_headers() {
        assert_eq!(machine_of(&elf(62, 2, 0)), Some(("Linux", "x86_64")));
        let mut loongarch = elf(2, 2, 0);
        loongarch[19] = 1;
        assert_eq!(machine_of(&loongarch), Some(("Linux", "loongarch64")));
        let mut big = elf(0, 2, 0);
        big[5] = 2;
        big[18..20].copy_from_slice(&[0, 22]);
        assert_eq!(machine_of(&big), Some(("Linux", "s390x")));
        let mut freebsd = elf(62, 2, 0);
        freebsd[7] = 9;
        assert_eq!(machine_of(&freebsd), Some(("FreeBSD", "x86_64")));
        // Only its loader distinguishes this one from Linux. It has one program header, which says
        // where the name of the loader is.
        let mut linked = elf(62, 2, 200);
        linked[32..40].copy_from_slice(&64_u64.to_le_bytes());
        linked[54..58].copy_from_slice(&[56, 0, 1, 0]);
        linked[64..68].copy_from_slice(&3_u32.to_le_bytes());
        linked[72..80].copy_from_slice(&128_u64.to_le_bytes());
        linked[96..104].copy_from_slice(&22_u64.to_le_bytes());
        linked[128..150].copy_from_slice(b"/libexec/ld-elf.so.1\0\0");
        assert_eq!(machine_of(&linked), Some(("FreeBSD", "x86_64")));
        linked[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(machine_of(&linked), Some(("Linux", "x86_64")));
        assert_eq!(machine_of(b"#!/bin/sh, which is long enough"), None);
        assert_eq!(machine_of(b"short"), None);
    }
}
