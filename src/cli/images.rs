//! `offshoot images` and `offshoot bundle`: list the images in a program, and make a program with more images.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::image::bundle::{Bundle, Entry, machine_of};
use crate::image::executable::{build_in, has_debug_information};
use serde_json::json;

use crate::cli::args::{BundleArgs, ImagesArgs};
use crate::cli::complaint::{complain, fail};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::safe_json;

/// Lists the images of a program.
pub(crate) fn images(args: &ImagesArgs) -> Exit {
    let opened;
    let bundle = match &args.program {
        Some(program) => match ours(program).and_then(|_| Bundle::open(program)) {
            Ok(bundle) => {
                opened = bundle;
                &opened
            }
            Err(error) => return fail(Exit::Usage, &format!("{}: {error}", program.display())),
        },
        None => match Bundle::own() {
            Ok(bundle) => bundle,
            Err(error) => return fail(Exit::Internal, &error),
        },
    };
    let text = if args.json { to_json(bundle.entries()) } else { table(bundle.entries()).into_bytes() };
    crate::cli::print(&text)
}

fn to_json(entries: &[Entry]) -> Vec<u8> {
    let images: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "triple": entry.triple, "system": entry.system, "processor": entry.processor,
                "size": entry.size, "packed": entry.packed, "sha256": entry.digest_hex(),
            })
        })
        .collect();
    safe_json::line(&json!({ "v": 1, "images": images }))
}

fn table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "this program carries no images; it sends itself to machines like this one\n".into();
    }
    let width = entries.iter().map(|entry| entry.triple.len()).max().unwrap_or(0).max(6);
    let mut text = format!("{:width$}  {:>9}  {:>9}  sha256\n", "target", "bytes", "packed");
    for entry in entries {
        text += &format!("{:width$}  {:>9}  {:>9}  {}\n", entry.triple, entry.size, entry.packed, entry.digest_hex());
    }
    text
}

/// Makes a bundle.
pub(crate) fn bundle(args: &BundleArgs) -> Exit {
    match make(args) {
        Ok(entries) => {
            // The list is for information only, so errors of this write are ignored.
            let note = "note: all images have the same build of the library; whether they are the same program is not checked\n";
            let _ = std::io::stderr().write_all((table(&entries) + note).as_bytes());
            Exit::Done(Outcome::default())
        }
        Err(why) => fail(Exit::Usage, &why),
    }
}

fn make(args: &BundleArgs) -> Result<Vec<Entry>, String> {
    let name = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("cannot find the file of this program: {error}"))?,
    };
    let build = ours(&program).map_err(|error| name(&program, error))?;
    let bundle = Bundle::open(&program).map_err(|error| name(&program, error))?;
    let mut images: Vec<(String, Vec<u8>)> = Vec::new();
    for word in &args.images {
        let (triple, path) = match word.split_once('=') {
            Some((triple, path)) => (Some(triple.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(word)),
        };
        let image = std::fs::read(&path).map_err(|error| name(&path, error))?;
        let triple = check(triple.or_else(|| triple_in(&path)), &image, &build)
            .map_err(|why| format!("{}: {why}", path.display()))?;
        if images.iter().any(|(_, other)| machine_of(other) == machine_of(&image)) {
            return Err(format!(
                "{}: another image is for the machines of {triple}, too; name one of the two",
                path.display()
            ));
        }
        if has_debug_information(&image) {
            complain(&format!(
                "note: {} has debug information, which makes it {} MiB; strip it (`strip = true` in the profile, or \
                 strip --strip-debug), and it is packed sooner and sent faster",
                path.display(),
                mebibytes(&image)
            ));
        }
        images.push((triple, image));
    }
    let is_watched = std::io::stderr().is_terminal();
    // Packing as small as possible takes seconds for each MiB or two.
    let tell = |triple: &str, image: &[u8]| {
        if is_watched {
            complain(&format!("offshoot: packing the image for {triple}, {} MiB", mebibytes(image)));
        }
    };
    // The file is written next to its destination and renamed, so that a running copy is not changed.
    let directory =
        args.output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let unfinished = directory.join(format!(".offshoot-bundle.{}", std::process::id()));
    let result = (|| {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        let entries = bundle.write_telling(&images, &mut out, tell)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        out.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&unfinished, &args.output)?;
        Ok(entries)
    })();
    result.map_err(|error| {
        let _ = std::fs::remove_file(&unfinished);
        name(&args.output, error)
    })
}

/// The size of an image in MiB, rounded up.
fn mebibytes(image: &[u8]) -> usize {
    image.len().div_ceil(1 << 20)
}

/// The build of the library in a program.
fn ours(program: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(program)?;
    build_in(&bytes).map(str::to_owned).ok_or_else(|| std::io::Error::other(NOT_OURS))
}

const NOT_OURS: &str = "this program was not built with offshoot, or with a version that is too old to be recognised";

/// Checks that an image is for its target and of the same build as the rest. Returns its target.
fn check(triple: Option<String>, image: &[u8], build: &str) -> Result<String, String> {
    let Some(machine) = machine_of(image) else {
        return Err("this is not an ELF or Mach-O executable for a known processor".into());
    };
    let (system, processor) = machine;
    let triple = triple.unwrap_or_else(|| format!("{processor}-{system}"));
    let is_plain = triple == format!("{processor}-{system}");
    match machine_in(&triple) {
        _ if is_plain => {}
        None => {
            return Err(format!(
                "{triple} is not a known target; write TRIPLE=FILE with the name that rustc uses, such as x86_64-unknown-linux-musl"
            ));
        }
        Some(other) if other != machine => {
            return Err(format!("this is an executable for {processor} and {system}, not for {triple}"));
        }
        Some(_) => {}
    }
    match build_in(image) {
        None => Err(NOT_OURS.into()),
        Some(other) if other != build => {
            Err("the image and the program have different builds of offshoot; build both from the same sources".into())
        }
        Some(_) => Ok(triple),
    }
}

/// The machine of a target, in the terms of its executables.
fn machine_in(triple: &str) -> Option<(&'static str, &'static str)> {
    let words: Vec<&str> = triple.split('-').collect();
    let [processor, _, rest @ ..] = &words[..] else { return None };
    let processor = match *processor {
        "x86_64" => "x86_64",
        "aarch64" | "arm64" => "aarch64",
        "i586" | "i686" => "x86",
        "riscv64gc" | "riscv64a23" => "riscv64",
        "s390x" => "s390x",
        "powerpc64" => "ppc64",
        "powerpc64le" => "ppc64le",
        arm if arm.starts_with("arm") => "arm",
        _ => return None,
    };
    let system = match *rest.first()? {
        "linux" => "Linux",
        "freebsd" => "FreeBSD",
        "darwin" => "Darwin",
        _ => return None,
    };
    Some((system, processor))
}

/// The target in a path of cargo, such as `target/TRIPLE/release/program`.
fn triple_in(path: &Path) -> Option<String> {
    let mut words = path.components().filter_map(|word| word.as_os_str().to_str());
    words.rfind(|word| machine_in(word).is_some()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::executable::MARK;

    /// The header of an executable, and the mark of its build.
    fn elf(machine: u8, class: u8, mark: &str) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0];
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&[machine, 0]);
        bytes.extend_from_slice(b"\x07OFFSHOOT-BUILD:no build\n");
        bytes.extend_from_slice(mark.as_bytes());
        bytes
    }

    #[test]
    fn an_image_is_for_its_target_and_of_the_build_of_the_program() {
        let build = env!("OFFSHOOT_OWN_BUILD");
        let triple = || Some("aarch64-unknown-linux-musl".to_owned());
        assert_eq!(check(triple(), &elf(183, 2, MARK), build).as_deref(), Ok("aarch64-unknown-linux-musl"));
        assert_eq!(check(None, &elf(183, 2, MARK), build).as_deref(), Ok("aarch64-Linux"));
        let other = MARK.replace(&build[..8], if build.starts_with("00000000") { "11111111" } else { "00000000" });
        for (triple, image, says) in [
            (triple(), b"#!/bin/sh\n# a script of some length\n".to_vec(), "not an ELF or Mach-O executable"),
            (triple(), elf(62, 2, MARK), "for x86_64 and Linux, not for aarch64-unknown-linux-musl"),
            (Some("aarch64-linux".into()), elf(183, 2, MARK), "is not a known target"),
            (Some("sparc-unknown-linux-gnu".into()), elf(183, 2, MARK), "is not a known target"),
            (triple(), elf(183, 2, ""), "was not built with offshoot"),
            (triple(), elf(183, 2, &other), "different builds"),
        ] {
            let why = check(triple, &image, build).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn this_program_is_known_by_its_file_and_others_are_not() {
        assert_eq!(ours(Path::new("/proc/self/exe")).unwrap(), env!("OFFSHOOT_OWN_BUILD"));
        assert!(ours(Path::new("/bin/sh")).unwrap_err().to_string().contains("was not built with offshoot"));
    }

    #[test]
    fn debug_information_is_seen_by_the_name_of_its_section() {
        assert!(has_debug_information(b"\x7fELF..text\0.debug_info\0.strtab\0"));
        for other in [&b""[..], b".", b".debug_info", b"\0.debug_info", b"names: .debug_info\0", b"\0.debug_infos\0"] {
            assert!(!has_debug_information(other));
        }
    }

    #[test]
    fn the_target_is_found_in_a_path_of_cargo() {
        let path = Path::new("/a-b-c-d/target/i686-unknown-linux-musl/release/my-own-program");
        assert_eq!(triple_in(path).as_deref(), Some("i686-unknown-linux-musl"));
        assert_eq!(triple_in(Path::new("target/image/offshoot")), None);
    }
}
