//! Builds images and bundles, and checks their sizes and their bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{DEFAULT_TARGETS, check, compile, elf, macho, target_directory, top};

/// The most bytes of an image of a default target, packed by zstd -19.
const IMAGE_BUDGET: usize = 850 * 1024;
/// The most bytes of the bundle of the default targets.
const BUNDLE_BUDGET: usize = 7 * 1024 * 1024;
/// Targets that nothing on this machine can run. They are built and linked.
const ELSEWHERE: [&str; 3] = ["x86_64-unknown-freebsd", "x86_64-apple-darwin", "aarch64-apple-darwin"];

/// Targets whose images need the C library of the host. zig links them.
const WITH_LIBC: [&str; 4] = [
    "armv7-unknown-linux-gnueabihf",
    "s390x-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
];

/// The path at which cargo puts an executable.
fn executable(target: &str, profile: &str, name: &str) -> PathBuf {
    target_directory().join(target).join(profile).join(name)
}

/// Builds the tool for this machine.
pub(super) fn tool(file: &Path) -> Result<()> {
    put(&tool_for(compile::host())?, file)
}

/// Builds the tool for machines of a target.
pub(super) fn tool_for(target: &str) -> Result<PathBuf> {
    // Without what only `cargo offshoot` needs.
    let args = ["--release", "--no-default-features", "--features", "cli", "--bin", "offshoot"];
    compile::cargo("build", &[target], &args)?;
    Ok(executable(target, "release", "offshoot"))
}

/// Copies a file to a path from which a program may be running.
fn put(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("a file needs a folder")?;
    fs::create_dir_all(directory)?;
    let aside = directory.join(format!(".offshoot.{}", std::process::id()));
    fs::copy(from, &aside).with_context(|| from.display().to_string())?;
    fs::rename(&aside, to)?;
    Ok(())
}

/// Builds the image for each target: the program without the tool.
pub(super) fn images(targets: &[&str]) -> Result<Vec<PathBuf>> {
    let args = ["--quiet", "--profile", "image", "--no-default-features", "--bin", "offshoot"];
    // All in one run of cargo, so that one is optimised beside another.
    compile::cargo("build", targets, &args)?;
    let checked = targets.iter().map(|target| {
        let image = executable(target, "image", "offshoot");
        if DEFAULT_TARGETS.contains(target) {
            elf::Headers::check(&fs::read(&image)?).with_context(|| image.display().to_string())?;
        }
        Ok(image)
    });
    checked.collect()
}

/// Builds the tool with the images of `targets`.
pub(super) fn bundle(file: &Path, targets: &[&str]) -> Result<()> {
    let images = images(targets)?;
    let tool = target_directory().join("tool");
    self::tool(&tool)?;
    fs::create_dir_all(file.parent().context("a file needs a folder")?)?;
    tool_with(&tool, &tool, &images, file)
}

/// Has `tool` write `program`, which may be for another machine, with images.
pub(super) fn tool_with(tool: &Path, program: &Path, images: &[PathBuf], file: &Path) -> Result<()> {
    let mut make = Command::new(tool);
    check(make.args(["bundle", "--program"]).arg(program).arg("--output").arg(file).args(images))
}

/// Packs an image as a bundle does.
pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut compressor = zstd_rs::Compressor::new(zstd_rs::CompressionConfig::HIGH).map_err(anyhow::Error::msg)?;
    compressor.compress(plain, None, &mut packed).map_err(anyhow::Error::msg)?;
    Ok(packed)
}

/// Prints the sizes of the images and of the bundle. Fails if one is above its budget.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn size(targets: &[&str]) -> Result<()> {
    let mut fits = true;
    for (target, image) in targets.iter().zip(images(targets)?) {
        let plain = fs::read(image)?;
        let packed = pack(&plain)?.len();
        let [plain, packed, limit] = [plain.len(), packed, IMAGE_BUDGET].map(|bytes| bytes as f64 / 1024.0);
        println!("{target}: {plain:.1} KiB, by zstd -19 {packed:.1} KiB of at most {limit:.0}");
        fits &= packed <= limit || !DEFAULT_TARGETS.contains(target);
    }
    if *targets == DEFAULT_TARGETS {
        let file = target_directory().join("bundle-to-weigh");
        bundle(&file, targets)?;
        let bytes = fs::metadata(&file)?.len() as usize;
        fs::remove_file(&file)?;
        println!("the bundle of these: {bytes} bytes of at most {BUNDLE_BUDGET}");
        fits &= bytes <= BUNDLE_BUDGET;
    }
    ensure!(fits, "something is above its budget");
    Ok(())
}

/// Builds the sources here and from a copy in another directory, and compares tool and image byte
/// by byte.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn reproducible() -> Result<()> {
    let copy = std::env::temp_dir().join(format!("offshoot-reproducible-{}", std::process::id()));
    let result = build_twice(&copy);
    // The result counts, whether the copy can be removed or not.
    let _ = fs::remove_dir_all(&copy);
    result?;
    println!("built in two places, image and tool are the same");
    Ok(())
}

fn build_twice(copy: &Path) -> Result<()> {
    fs::create_dir(copy)?;
    let mut tar = Command::new("sh");
    tar.arg("-c").arg(r#"tar -c --exclude=./target --exclude=./dist --exclude=./.git . | tar -xC "$1""#);
    check(tar.arg("sh").arg(copy))?;
    let target = compile::host();
    let there = |directory: &str, args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(copy).env("CARGO_TARGET_DIR", copy.join(directory)).arg("xtask").args(args);
        check(&mut cargo)
    };
    // In a directory for each, so that one is optimised beside the other.
    std::thread::scope(|scope| {
        let image = scope.spawn(|| there("target-of-image", &["image", target]));
        there("target", &["tool"])?;
        image.join().map_err(|_| anyhow::anyhow!("the thread that builds the image has panicked"))?
    })?;
    let tool = target_directory().join("tool");
    self::tool(&tool)?;
    let here = images(&[target])?.into_iter().chain([tool]);
    let there = [copy.join("target-of-image").join(target).join("image/offshoot"), copy.join("dist/offshoot")];
    for (here, there) in here.zip(&there) {
        let (ours, theirs) = (fs::read(&here)?, fs::read(there)?);
        ensure!(ours == theirs, "{} and {} differ by where they were built", here.display(), there.display());
        let place = top().display().to_string();
        ensure!(!contains(&ours, place.as_bytes()), "{} names the place where it was built", here.display());
    }
    Ok(())
}

pub(super) fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Builds and links the program without the tool for systems that nothing on this machine can run, and checks the tool for them.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn elsewhere() -> Result<()> {
    for target in ELSEWHERE {
        // Not optimised, because it will not run.
        let args = ["--quiet", "--no-default-features", "--bin", "offshoot", "--config", "profile.dev.opt-level=0"];
        compile::cargo("build", &[target], &args)?;
        let file = fs::read(executable(target, "debug", "offshoot"))?;
        match target.ends_with("-darwin") {
            true => macho::check(&file, target).with_context(|| target.to_owned())?,
            false => ensure!(file.starts_with(b"\x7fELF"), "what was built for {target} is no executable for it"),
        }
        compile::cargo("check", &[target], &["--quiet", "--bins"])?;
        println!("{target}: linked, and the tool is checked");
    }
    Ok(())
}

/// Builds the programs that the tests send to hosts of other processors, in `target/bundles`: the
/// tool with images for the default targets, the tool with images that need a C library, and an
/// example with one image, made like any other program.
pub(super) fn foreign() -> Result<()> {
    let bundles = top().join("target/bundles");
    fs::create_dir_all(&bundles)?;
    bundle(&bundles.join("offshoot"), &DEFAULT_TARGETS)?;
    let images = images_with_libc()?;
    let tool = target_directory().join("tool");
    tool_with(&tool, &tool, &images, &bundles.join("with-libc"))?;
    let mut files = Vec::new();
    for target in [compile::host(), "aarch64-unknown-linux-musl"] {
        compile::cargo("build", &[target], &["--quiet", "--example", "disk_usage"])?;
        files.push(executable(target, "debug", "examples/disk_usage"));
    }
    let mut make = Command::new(bundles.join("offshoot"));
    make.args(["bundle", "--program"]).arg(&files[0]).arg("--output").arg(bundles.join("disk_usage"));
    check(make.arg(&files[1]))
}

/// Builds images that need a C library. They are hardly optimised: emulators run them, and nobody ships them.
fn images_with_libc() -> Result<Vec<PathBuf>> {
    let mut args = vec!["--quiet", "--profile", "image", "--no-default-features", "--bin", "offshoot"];
    for setting in ["profile.image.opt-level=1", "profile.image.lto=\"off\"", "profile.image.codegen-units=16"] {
        args.extend(["--config", setting]);
    }
    compile::cargo("build", &WITH_LIBC, &args)?;
    Ok(WITH_LIBC.map(|target| executable(target, "image", "offshoot")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_where_it_is() {
        assert!(contains(b"abc", b"bc") && !contains(b"abc", b"cb"));
    }
}
