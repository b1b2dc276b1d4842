//! Targets: their names, what links a program for them, and the flags of rustc that this takes.
//!
//! `xtask` includes this file.

use std::path::Path;

use anyhow::{Result, bail, ensure};

/// The targets of a program that names none.
pub(crate) const USUAL: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// What links a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linker {
    /// The `rust-lld` that comes with rustc, with the libc that comes with the target.
    Rustc,
    /// zig, which brings the libc of the target, by `cargo-zigbuild`.
    Zig,
    /// What rustc takes by itself on this machine.
    Native,
}

/// What links for a target on a machine that is `host`, as rustc names it.
pub(crate) fn linker(target: &str, host: &str) -> Linker {
    if target == host {
        Linker::Native
    } else if is_musl(target) && !WITHOUT_LIBC.contains(&target) {
        Linker::Rustc
    } else {
        Linker::Zig
    }
}

/// Targets with static programs whose libc does not come with rustc. zig has it.
const WITHOUT_LIBC: [&str; 1] = ["powerpc64-unknown-linux-musl"];

/// The flag by which zig links a static program, if the target has such programs.
pub(crate) fn static_by_zig(target: &str) -> Option<&'static str> {
    WITHOUT_LIBC.contains(&target).then_some(STATIC)
}

const STATIC: &str = "-Ctarget-feature=+crt-static";

fn is_musl(target: &str) -> bool {
    target.contains("-linux-musl")
}

/// The target whose programs take the libc of their machine, in place of one with static programs.
pub(crate) fn dynamic(target: &str) -> Option<String> {
    is_musl(target).then(|| target.replace("-linux-musl", "-linux-gnu"))
}

/// The targets that need flags and start files of their own to be position-independent. rustc links them at a fixed
/// address by default.
const FIXED: [&str; 2] = ["aarch64-unknown-linux-musl", "i686-unknown-linux-musl"];

/// The first minor version of rustc whose libc applies packed relocations.
const PACKED_RELOCATIONS: u32 = 93;

/// The targets whose programs are position-independent, and for which packed relocations were tried.
const TRIED: [&str; 3] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "i686-unknown-linux-musl"];

/// The flags that any program takes that `rust-lld` links for a target.
pub(crate) fn flags(target: &str, sysroot: &Path, rustc_minor: u32) -> Vec<String> {
    let mut flags = Vec::new();
    if FIXED.contains(&target) {
        let place = sysroot.join("lib/rustlib").join(target).join("lib/self-contained");
        let place = place.display();
        flags.extend(["-Crelocation-model=pie".to_owned(), "-Clink-self-contained=no".into()]);
        flags.push(format!("-Lnative={place}"));
        for argument in ["-pie", "--no-dynamic-linker", "-ztext", "-zrelro", "-znow"] {
            flags.push(format!("-Clink-arg={argument}"));
        }
        for file in ["rcrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o"] {
            flags.push(format!("-Clink-arg={place}/{file}"));
        }
    } else {
        // Some of these targets are dynamic by default.
        flags.extend(["-Clink-self-contained=yes".to_owned(), STATIC.into()]);
    }
    flags.extend(packed_relocations(target, rustc_minor));
    flags
}

/// Whether the program for a target can be loaded at any address.
pub(crate) fn is_made_position_independent(target: &str) -> bool {
    TRIED.contains(&target)
}

/// The flag for packed relocations, which are a fifteenth as large. A program with an older libc would crash at its start.
pub(crate) fn packed_relocations(target: &str, rustc_minor: u32) -> Option<String> {
    let packs = rustc_minor >= PACKED_RELOCATIONS && TRIED.contains(&target);
    packs.then(|| "-Clink-arg=-zpack-relative-relocs".to_owned())
}

/// The minor version in what `rustc --version` or `rustc -vV` prints.
pub(crate) fn minor_version(text: &str) -> Option<u32> {
    text.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// The target for a word of the user: a target as rustc names it, a processor as `uname -m` names it, which stands for
/// the static target of Linux, or both words of `uname -sm` with a dash between, as errors of the library name a machine.
pub(crate) fn named(word: &str) -> Result<String> {
    let target = match word.strip_prefix("Linux-").unwrap_or(word) {
        "FreeBSD-amd64" => "x86_64-unknown-freebsd",
        "Darwin-arm64" => "aarch64-apple-darwin",
        "Darwin-x86_64" => "x86_64-apple-darwin",
        "x86_64" | "amd64" => "x86_64-unknown-linux-musl",
        "aarch64" | "arm64" => "aarch64-unknown-linux-musl",
        "x86" | "i686" | "i386" => "i686-unknown-linux-musl",
        "i586" => "i586-unknown-linux-musl",
        "armv7" | "armv7l" | "armv8l" | "armhf" => "armv7-unknown-linux-musleabihf",
        "armv6l" | "arm" => "arm-unknown-linux-musleabihf",
        "riscv64" | "riscv64gc" => "riscv64gc-unknown-linux-musl",
        "ppc64le" | "powerpc64le" => "powerpc64le-unknown-linux-musl",
        "ppc64" | "powerpc64" => "powerpc64-unknown-linux-musl",
        // Nobody has a static standard library for it.
        "s390x" => "s390x-unknown-linux-gnu",
        "loongarch64" => "loongarch64-unknown-linux-musl",
        triple if triple.split('-').count() >= 3 && triple.bytes().all(is_part_of_a_name) => {
            ensure!(
                KERNELS.iter().any(|kernel| triple.contains(kernel)),
                "{triple} is of another system than the library runs on: Linux, FreeBSD and macOS"
            );
            triple
        }
        _ if SYSTEMS.iter().any(|system| word.starts_with(system)) => {
            bail!("there is no target for {word}: Rust has no standard library for it, or the library cannot use it")
        }
        _ => bail!(
            "{word} is no target: write a processor as `uname -m` names it, such as aarch64, or a target as rustc names it, \
             such as aarch64-unknown-linux-musl"
        ),
    };
    Ok(target.to_owned())
}

/// How targets name the systems that the library runs on.
const KERNELS: [&str; 3] = ["-linux-", "-freebsd", "-darwin"];
/// What the name of a machine in an error of the library begins with.
const SYSTEMS: [&str; 3] = ["Linux-", "FreeBSD-", "Darwin-"];

fn is_part_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The target of a program that starts on this machine and sends itself to others: the static one on Linux.
pub(crate) fn own(host: &str) -> String {
    let processor = host.split('-').next().unwrap_or(host);
    if !host.contains("-linux-") {
        return host.to_owned();
    }
    named(processor).unwrap_or_else(|_| host.to_owned())
}

/// The oldest version of macOS that Rust supports. zig takes a much later one by itself.
pub(crate) fn oldest_macos(target: &str) -> Option<&'static str> {
    match target {
        "x86_64-apple-darwin" => Some("10.12"),
        "aarch64-apple-darwin" => Some("11.0"),
        _ => None,
    }
}

/// The variable from which rustc and zig take the oldest version of macOS that a program runs on.
pub(crate) const OLDEST_MACOS: &str = "MACOSX_DEPLOYMENT_TARGET";

/// The name of a target in the variables of cargo and of the crate `cc`.
pub(crate) fn in_variables(target: &str) -> String {
    target.replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "x86_64-unknown-linux-gnu";

    #[test]
    fn a_target_is_named_by_its_processor_or_in_full() {
        for (word, target) in [
            ("aarch64", "aarch64-unknown-linux-musl"),
            ("arm64", "aarch64-unknown-linux-musl"),
            ("Linux-aarch64", "aarch64-unknown-linux-musl"),
            ("FreeBSD-amd64", "x86_64-unknown-freebsd"),
            ("armv7l", "armv7-unknown-linux-musleabihf"),
            ("armv6l", "arm-unknown-linux-musleabihf"),
            ("i686", "i686-unknown-linux-musl"),
            ("Linux-i586", "i586-unknown-linux-musl"),
            ("Linux-ppc64", "powerpc64-unknown-linux-musl"),
            ("Linux-s390x", "s390x-unknown-linux-gnu"),
            ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"),
            ("aarch64-apple-darwin", "aarch64-apple-darwin"),
        ] {
            assert_eq!(named(word).unwrap(), target);
        }
        for word in ["vax", "", "a-b", "x86_64-unknown-linux-\"", "../x-y-z"] {
            assert!(named(word).unwrap_err().to_string().contains("is no target"), "{word}");
        }
        for word in ["x86_64-pc-windows-msvc", "wasm32-unknown-unknown"] {
            assert!(named(word).unwrap_err().to_string().contains("of another system"), "{word}");
        }
        for word in ["Linux-mips", "Linux-ppc", "Linux-armv5tel", "FreeBSD-arm64", "Darwin-ppc"] {
            let why = named(word).unwrap_err().to_string();
            assert!(why.starts_with(&format!("there is no target for {word}: ")), "{why}");
        }
    }

    #[test]
    fn static_targets_are_linked_by_rustc_and_others_by_zig_or_by_this_machine() {
        assert_eq!(linker("armv7-unknown-linux-musleabihf", HOST), Linker::Rustc);
        assert_eq!(linker("x86_64-unknown-linux-musl", HOST), Linker::Rustc);
        assert_eq!(linker("aarch64-unknown-linux-gnu", HOST), Linker::Zig);
        assert_eq!(static_by_zig("aarch64-unknown-linux-gnu"), None);
        assert_eq!(linker("powerpc64-unknown-linux-musl", HOST), Linker::Zig);
        assert_eq!(static_by_zig("powerpc64-unknown-linux-musl"), Some("-Ctarget-feature=+crt-static"));
        assert_eq!(linker(HOST, HOST), Linker::Native);
        assert_eq!(linker("aarch64-apple-darwin", "aarch64-apple-darwin"), Linker::Native);
    }

    #[test]
    fn each_static_target_is_made_position_independent_where_that_was_tried() {
        let of = |target: &str, minor: u32| flags(target, Path::new("/sysroot"), minor);
        let aarch64 = of("aarch64-unknown-linux-musl", 95);
        for flag in [
            "-Crelocation-model=pie",
            "-Clink-arg=/sysroot/lib/rustlib/aarch64-unknown-linux-musl/lib/self-contained/rcrt1.o",
            "-Clink-arg=-zpack-relative-relocs",
        ] {
            assert!(aarch64.iter().any(|other| other == flag), "{flag}: {aarch64:?}");
        }
        assert!(!of("aarch64-unknown-linux-musl", 92).iter().any(|flag| flag.contains("pack")));
        assert!(of("x86_64-unknown-linux-musl", 95).contains(&"-Clink-self-contained=yes".to_owned()));
        let armv7 = of("armv7-unknown-linux-musleabihf", 95);
        assert_eq!(armv7, ["-Clink-self-contained=yes", "-Ctarget-feature=+crt-static"]);
    }

    #[test]
    fn the_version_of_rustc_is_read() {
        assert_eq!(minor_version("rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n"), Some(95));
        assert_eq!(minor_version("rustc 1.97.0-nightly"), Some(97));
        assert_eq!(minor_version("clang 3"), None);
    }

    #[test]
    fn the_program_of_a_linux_machine_is_static() {
        assert_eq!(own(HOST), "x86_64-unknown-linux-musl");
        assert_eq!(own("aarch64-unknown-linux-gnu"), "aarch64-unknown-linux-musl");
        assert_eq!(own("aarch64-apple-darwin"), "aarch64-apple-darwin");
        assert_eq!(dynamic("armv7-unknown-linux-musleabihf").unwrap(), "armv7-unknown-linux-gnueabihf");
        assert_eq!(dynamic(HOST), None);
        assert_eq!(in_variables("x86_64-unknown-linux-musl"), "x86_64_unknown_linux_musl");
    }
}
