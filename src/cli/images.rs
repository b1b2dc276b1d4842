//! `offshoot images` and `offshoot bundle`: list the images in a program, and make a program with more images.

#![cfg_attr(not(feature = "cargo"), expect(unreachable_pub, reason = "what is public is for `cargo offshoot`"))]

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::image::bundle::{Bundle, Entry, Packing, loader_of, machine_of};
use crate::image::executable::{Builds, TOOL, build_in, has_debug_information};
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
        Ok((entries, is_known)) => {
            // The list is for information only, so errors of this write are ignored.
            let note = match is_known {
                true => "",
                false => {
                    "note: all images have the same build of the library; whether they are the same program is not \
                     checked, because `cargo offshoot build` has not built them\n"
                }
            };
            let _ = std::io::stderr().write_all((table(&entries) + note).as_bytes());
            Exit::Done(Outcome::default())
        }
        Err(why) => fail(Exit::Usage, &why),
    }
}

/// Returns the images, and whether the program has a build id, by which all of them are known to be it.
fn make(args: &BundleArgs) -> Result<(Vec<Entry>, bool), String> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("cannot find the file of this program: {error}"))?,
    };
    let builds = ours(&program).map_err(|error| name(&program, error))?;
    let mut images: Vec<(String, Vec<u8>)> = Vec::new();
    for word in &args.images {
        let (triple, path) = match word.split_once('=') {
            Some((triple, path)) => (Some(triple.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(word)),
        };
        let image = std::fs::read(&path).map_err(|error| name(&path, error))?;
        let triple = check(triple.or_else(|| triple_in(&path)), &image, &builds)
            .map_err(|why| format!("{}: {why}", path.display()))?;
        if images.iter().any(|(_, other)| machine_of(other) == machine_of(&image)) {
            return Err(format!(
                "{}: another image is for the machines of {triple}, too; name one of the two",
                path.display()
            ));
        }
        for note in remarks(&image) {
            complain(&format!("note: {}: {note}", path.display()));
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
    let entries = write(&program, &images, &args.output, Packing::Smallest, tell)?;
    Ok((entries, builds.program.is_some()))
}

fn name(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Writes a bundle of a program and images, each with its target, next to its destination and renames it, so that a running
/// copy is not changed. `tell` gets each image before it is packed.
///
/// # Errors
///
/// If a file cannot be read or written. The text names it.
pub fn write(
    program: &Path,
    images: &[(String, Vec<u8>)],
    output: &Path,
    packing: Packing,
    tell: impl Fn(&str, &[u8]),
) -> Result<Vec<Entry>, String> {
    let bundle = Bundle::open(program).map_err(|error| name(program, error))?;
    let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let unfinished = directory.join(format!(".offshoot-bundle.{}", std::process::id()));
    let result = (|| {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        let entries = bundle.write_telling(images, &mut out, packing, tell)?;
        let out = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        out.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&unfinished, output)?;
        Ok(entries)
    })();
    result.map_err(|error| {
        let _ = std::fs::remove_file(&unfinished);
        name(output, error)
    })
}

/// The size of an image in MiB, rounded up.
fn mebibytes(image: &[u8]) -> usize {
    image.len().div_ceil(1 << 20)
}

/// What a program was built from.
fn ours(program: &Path) -> std::io::Result<Builds> {
    let bytes = std::fs::read(program)?;
    build_in(&bytes).ok_or_else(|| std::io::Error::other(NOT_OURS))
}

const NOT_OURS: &str = "this program was not built with offshoot, or with a version that is too old to be recognised";

/// Checks that an image is for its target, and of the same program and build as the executable that will carry it.
/// Returns its target.
///
/// # Errors
///
/// What is wrong with the image, and what to do.
#[cfg(feature = "cargo")]
pub fn check_image(triple: &str, image: &[u8], program: &[u8]) -> Result<(), String> {
    let builds = build_in(program).ok_or(NOT_OURS)?;
    check(Some(triple.to_owned()), image, &builds).map(drop)
}

/// Whether an executable was built with the library.
#[cfg(feature = "cargo")]
pub fn has_library(executable: &[u8]) -> bool {
    build_in(executable).is_some()
}

/// Whether an image for such a machine can be built. The machine is the output of its `uname -sm`.
#[cfg(feature = "cargo")]
pub fn has_target(system: &str, machine: &str) -> bool {
    crate::image::executable::has_target(system, machine)
}

/// What is not wrong with an image and still makes it a bad one, each with what to do.
pub fn remarks(image: &[u8]) -> Vec<String> {
    let mut remarks = Vec::new();
    if has_debug_information(image) {
        remarks.push(format!(
            "it has debug information, which makes it {} MiB; strip it (`strip = true` in the profile, or \
             strip --strip-debug), and it is packed sooner and sent faster",
            mebibytes(image)
        ));
    }
    if let Some(loader) = loader_of(image) {
        let loader = String::from_utf8_lossy(loader.split(|byte| *byte == 0).next().unwrap_or_default());
        remarks.push(format!(
            "it is dynamic, and runs only where {} and its libraries are, in the same version or a later one; a target \
             that ends in -musl needs nothing",
            safe(&loader)
        ));
    }
    remarks
}

/// A name in an executable, without what a terminal would act on.
fn safe(text: &str) -> String {
    crate::wire::sanitize::printable(text)
}

/// As [`check_image`], and finds out the target if none is given.
fn check(triple: Option<String>, image: &[u8], ours: &Builds) -> Result<String, String> {
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
    let theirs = build_in(image).ok_or(NOT_OURS)?;
    match difference(ours, &theirs) {
        Some(why) => Err(why),
        None => Ok(triple),
    }
}

/// How an image differs from the program that is to carry it, and what to do.
fn difference(program: &Builds, image: &Builds) -> Option<String> {
    let name = |builds: &Builds| match &builds.program {
        None => "a program without a build id".to_owned(),
        Some(id) if id == TOOL => "the tool `offshoot`".to_owned(),
        Some(id) => id.split_once(':').map_or(id.as_str(), |(name, _)| name).to_owned(),
    };
    if program.program != image.program {
        let (ours, theirs) = (name(program), name(image));
        if [&program.program, &image.program].iter().any(|id| id.as_deref() == Some(TOOL)) {
            return Some(format!(
                "this is an image of {theirs}, and it cannot go into {ours}; name the program that is to carry it: \
                 --program FILE"
            ));
        }
        if ours != theirs {
            return Some(format!("this is an image of {theirs}, and the program is {ours}"));
        }
        return Some(format!(
            "the image and the program are different builds of {ours}; `cargo offshoot build` builds all images at once"
        ));
    }
    (program.library != image.library).then(|| {
        "the image and the program have different builds of offshoot; build both from the same sources".to_owned()
    })
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
        "loongarch64" => "loongarch64",
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
        let builds = |program: Option<&str>| Builds { library: build.into(), program: program.map(str::to_owned) };
        let triple = || Some("aarch64-unknown-linux-musl".to_owned());
        assert_eq!(check(triple(), &elf(183, 2, MARK), &builds(None)).as_deref(), Ok("aarch64-unknown-linux-musl"));
        assert_eq!(check(None, &elf(183, 2, MARK), &builds(None)).as_deref(), Ok("aarch64-Linux"));
        let other = MARK.replace(&build[..8], if build.starts_with("00000000") { "11111111" } else { "00000000" });
        for (triple, image, says) in [
            (triple(), b"#!/bin/sh\n# a script of some length\n".to_vec(), "not an ELF or Mach-O executable"),
            (triple(), elf(62, 2, MARK), "for x86_64 and Linux, not for aarch64-unknown-linux-musl"),
            (Some("aarch64-linux".into()), elf(183, 2, MARK), "is not a known target"),
            (Some("sparc-unknown-linux-gnu".into()), elf(183, 2, MARK), "is not a known target"),
            (triple(), elf(183, 2, ""), "was not built with offshoot"),
            (triple(), elf(183, 2, &other), "different builds"),
        ] {
            let why = check(triple, &image, &builds(None)).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn this_program_is_known_by_its_file_and_others_are_not() {
        assert_eq!(ours(Path::new("/proc/self/exe")).unwrap().library, env!("OFFSHOOT_OWN_BUILD"));
        assert!(ours(Path::new("/bin/sh")).unwrap_err().to_string().contains("was not built with offshoot"));
    }

    #[test]
    fn an_image_of_another_program_or_build_is_refused_by_its_name() {
        let build = env!("OFFSHOOT_OWN_BUILD");
        let of = |program: &str| elf(62, 2, &format!("\x07OFFSHOOT-BUILD:{build}\n{program}\n"));
        let tool = [of(""), b"\x07OFFSHOOT-TOOL\n".to_vec()].concat();
        let says = |image: &[u8], program: &[u8]| check_image("x86_64-unknown-linux-musl", image, program);
        let (disk, other) = (of("disk-0.1.0:11"), of("disk-0.1.0:22"));
        assert_eq!(says(&disk, &disk), Ok(()));
        assert_eq!(says(&of(""), &of("")), Ok(()));
        assert_eq!(says(&tool, &tool), Ok(()));
        for (image, program, text) in [
            (&disk, &other, "different builds of disk-0.1.0; `cargo offshoot build`"),
            (&disk, &of("copy-1.0.0:11"), "an image of disk-0.1.0, and the program is copy-1.0.0"),
            (&disk, &tool, "an image of disk-0.1.0, and it cannot go into the tool `offshoot`; name the program"),
            (&of(""), &tool, "an image of a program without a build id, and it cannot go into the tool"),
            (&tool, &disk, "an image of the tool `offshoot`, and it cannot go into disk-0.1.0"),
            (&of(""), &disk, "an image of a program without a build id, and the program is disk-0.1.0"),
        ] {
            let why = says(image, program).unwrap_err();
            assert!(why.contains(text), "{why}");
        }
        // What is no id is not taken for one.
        for text in ["with a space", "\x1b[2J", &"long".repeat(100)] {
            assert_eq!(build_in(&of(text)).unwrap().program, None, "{text}");
        }
    }

    #[test]
    fn a_dynamic_image_is_told_what_it_needs() {
        for (class, table, size, count, at) in [(2, 32, 54, 56, (8, 32)), (1, 28, 42, 44, (4, 16))] {
            let mut image = vec![0; 400];
            image[..20].copy_from_slice(&elf(62, class, "")[..20]);
            (image[table], image[size], image[count]) = (100, 56, 1);
            image[100] = 3;
            (image[100 + at.0], image[100 + at.1]) = (200, 15);
            image[200..215].copy_from_slice(b"/lib/ld-x.so.1\0");
            let remarks = remarks(&image);
            assert!(remarks.len() == 1 && remarks[0].contains("only where /lib/ld-x.so.1 and its"), "{remarks:?}");
        }
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
