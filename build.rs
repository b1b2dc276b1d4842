//! Tells the program what it was built from and for which target.
//!
//! - `OFFSHOOT_OWN_BUILD`: the build id, one digest of package, version, dependencies, sources and compiler. Builds of
//!   the same sources for several targets have the same id, so that their copies accept each other.
//! - `OFFSHOOT_TARGET`: the target triple.
//! - `OFFSHOOT_PROGRAM`: the build id of the program that uses the library, or nothing.
//!
//! It also links position-independent executables for the musl targets for which rustc links fixed ones by default;
//! `.cargo/config.toml` has the flags of the compiler that belong to it.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// The files that decide what the program does, beside those in `src`.
const SOURCES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "build.rs"];
/// The targets that need our own start files, because rustc's default for them is a fixed address.
const LINKED_BY_HAND: [&str; 2] = ["aarch64-unknown-linux-musl", "i686-unknown-linux-musl"];

fn main() -> Result<(), Box<dyn Error>> {
    let target = variable("TARGET")?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=OFFSHOOT_TARGET={target}");
    println!("cargo:rustc-env=OFFSHOOT_OWN_BUILD={}", build_id()?);
    println!("cargo:rerun-if-env-changed=OFFSHOOT_BUILD");
    println!("cargo:rustc-env=OFFSHOOT_PROGRAM={}", program()?);
    // In this repository `.cargo/config.toml` makes them position-independent, and hands the start files over to us.
    let is_position_independent = variable("CARGO_ENCODED_RUSTFLAGS")?.split('\x1f').any(|flag| flag == PIE);
    if LINKED_BY_HAND.contains(&target.as_str()) && is_position_independent {
        link_start_files(&target)?;
    }
    Ok(())
}

const PIE: &str = "-Crelocation-model=pie";

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// The build id of the program that is built with the library, if its build sets one. It is a line of its executable.
fn program() -> Result<String, Box<dyn Error>> {
    let id = env::var("OFFSHOOT_BUILD").unwrap_or_default();
    if id.len() > MAX_PROGRAM || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "OFFSHOOT_BUILD: a build id has at most {MAX_PROGRAM} printable characters, without spaces"
        )
        .into());
    }
    Ok(id)
}

/// The most bytes of the build id of a program.
const MAX_PROGRAM: usize = 256;

fn rustc(argument: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(variable("RUSTC")?).args(argument).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A digest of the sources, whose names and contents are hashed in the order of their names.
fn build_id() -> Result<String, Box<dyn Error>> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let mut files = Vec::new();
    let mut names = SOURCES.map(PathBuf::from).to_vec();
    for entry in fs::read_dir(root.join("src"))? {
        names.push(Path::new("src").join(entry?.file_name()));
    }
    // `cargo offshoot` is not in the tool, nor in an image.
    names.retain(|name| name != Path::new("src/bin"));
    for name in names {
        println!("cargo:rerun-if-changed={}", name.display());
        collect(&root.join(name), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(&root)?.to_str().ok_or("a file name that is not UTF-8")?;
        let content = fs::read(file)?;
        digest.update(format!("{name}\0{}\0", content.len()));
        digest.update(content);
    }
    digest.update(rustc(&["-V"])?);
    let mut id = String::new();
    for byte in digest.finalize() {
        write!(id, "{byte:02x}")?;
    }
    Ok(id)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.exists() {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Links the files by which a static, position-independent executable starts and relocates itself.
fn link_start_files(target: &str) -> Result<(), Box<dyn Error>> {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
    let directory = sysroot.join("lib/rustlib").join(target).join("lib/self-contained");
    let directory = directory.to_str().ok_or("the sysroot is not UTF-8")?;
    println!("cargo:rustc-link-search=native={directory}");
    for file in ["rcrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o"] {
        println!("cargo:rustc-link-arg={directory}/{file}");
    }
    Ok(())
}
