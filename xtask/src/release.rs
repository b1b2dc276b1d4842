//! Makes everything that is published of one version, in `dist/release`.
//!
//! All of it comes from one source and one toolchain, and two runs give the same bytes. Timestamps are that of the last
//! commit, or `SOURCE_DATE_EPOCH`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::image::{self, contains};
use super::{DEFAULT_TARGETS, check, elf, macho, packagers, target_directory, top};

/// The machines on which the tool runs, with the name that Debian has for them. macOS is built, and nothing runs it.
const CONTROLLERS: [(&str, Option<&str>); 4] = [
    ("x86_64-unknown-linux-musl", Some("amd64")),
    ("aarch64-unknown-linux-musl", Some("arm64")),
    ("x86_64-apple-darwin", None),
    ("aarch64-apple-darwin", None),
];
/// The completions that a package has: the shell, and the name of the file.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "offshoot"), ("zsh", "_offshoot"), ("fish", "offshoot.fish")];

/// Builds the bundles, the packages, the list of what is in them, and the digests.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn release() -> Result<()> {
    let place = top().join("dist/release");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let parts = target_directory().join("release-parts");
    let epoch = epoch()?;
    let version = packagers::version()?;
    let tool = target_directory().join("tool");
    image::tool(&tool)?;
    let images = image::images(&DEFAULT_TARGETS)?;
    put_texts(&tool, &parts)?;
    for (target, debian) in CONTROLLERS {
        let bundle = place.join(format!("offshoot-{version}-{target}"));
        image::tool_with(&tool, &image::tool_for(target)?, &images, &bundle)?;
        check_headers(target, &fs::read(&bundle)?).with_context(|| bundle.display().to_string())?;
        if let Some(architecture) = debian {
            // cargo-deb takes the program from the place that Cargo.toml names.
            fs::copy(&bundle, parts.join("offshoot"))?;
            let file = place.join(format!("offshoot_{version}_{architecture}.deb"));
            let mut deb = packagers::cargo("deb")?;
            deb.args(["deb", "--no-build", "--no-strip", "--locked", "--quiet", "--target", target, "--output"]);
            deb.arg(&file).env("SOURCE_DATE_EPOCH", &epoch);
            check(deb.args(maintainer()))?;
        }
    }
    fs::write(place.join(format!("offshoot-{version}.cdx.json")), contents(&epoch)?)?;
    fs::copy(packagers::package(&parts, &version)?, place.join(format!("offshoot-{version}.crate")))?;
    let sums = sums(&place)?;
    fs::write(place.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    Ok(())
}

/// Checks what docs/guide/packaging.md says of the headers of a tool. `images` checks those of images.
fn check_headers(target: &str, tool: &[u8]) -> Result<()> {
    if target.contains("-linux-") {
        return elf::Headers::check(tool);
    }
    macho::check(tool, target)
}

/// Who maintains the packages for Debian, if the environment says it as Debian's own tools take it.
fn maintainer() -> Vec<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (set("DEBFULLNAME"), set("DEBEMAIL")) {
        (Some(name), Some(address)) => vec!["--maintainer".into(), format!("{name} <{address}>")],
        _ => Vec::new(),
    }
}

/// The seconds that files of packages have as their time.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let log = Command::new("git").args(["log", "-1", "--format=%ct"]).output().context("git")?;
    let epoch = String::from_utf8(log.stdout)?.trim().to_owned();
    ensure!(!epoch.is_empty(), "this is no checkout of git: set SOURCE_DATE_EPOCH to the time of the release");
    Ok(epoch)
}

/// Has the tool write its manual pages and completions below `parts`, where `[package.metadata.deb]` takes them.
fn put_texts(tool: &Path, parts: &Path) -> Result<()> {
    let (man, completions) = (parts.join("man"), parts.join("completions"));
    for directory in [&man, &completions] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
    }
    check(Command::new(tool).args(["--config", "none", "man", "--output"]).arg(&man))?;
    for (shell, file) in COMPLETIONS {
        let written = Command::new(tool).args(["--config", "none", "completions", shell]).output()?;
        ensure!(written.status.success(), "completions for {shell}: {}", String::from_utf8_lossy(&written.stderr));
        fs::write(completions.join(file), written.stdout)?;
    }
    Ok(())
}

/// The crates that the tool consists of, as CycloneDX. What changes from one run to the next is fixed or left out.
fn contents(epoch: &str) -> Result<Vec<u8>> {
    let mut make = packagers::cargo("cyclonedx")?;
    make.args(["cyclonedx", "--format", "json", "--quiet", "--no-default-features", "--features", "cli"]);
    make.args(["--target", "x86_64-unknown-linux-musl", "--override-filename", "contents"]);
    check(make.env("SOURCE_DATE_EPOCH", epoch))?;
    // It writes one beside each manifest of the workspace.
    let files = ["contents.json", "xtask/contents.json"].map(|file| top().join(file));
    let text = fs::read_to_string(&files[0])?;
    for file in files.iter().filter(|file| file.exists()) {
        fs::remove_file(file)?;
    }
    let mut list: serde_json::Value = serde_json::from_str(&text)?;
    list.as_object_mut().context("the list is no object")?.remove("serialNumber");
    let here = format!("file://{}", top().display());
    let text = serde_json::to_string_pretty(&list)?.replace(&here, "file:///offshoot");
    Ok(text.into_bytes())
}

/// The digests of all files, as `sha256sum` writes them. None of them may name a place of this machine.
fn sums(place: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(place)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let home = std::env::home_dir().context("there is no home")?;
    let places = [top().display().to_string(), home.join(".cargo").display().to_string()];
    let mut sums = String::new();
    for file in files {
        let bytes = fs::read(&file)?;
        for place in &places {
            ensure!(!contains(&bytes, place.as_bytes()), "{} names {place}", file.display());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let digest = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        sums.push_str(&format!("{digest}  {name}\n"));
    }
    Ok(sums)
}
