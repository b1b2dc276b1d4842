//! The build id: a digest of everything that a program is built from, so that all images of one build have one id.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use offshoot::cli::own;
use sha2::{Digest, Sha256};

/// Names that an id contains; the rest are in the digest alone.
const MAX_NAMES: usize = 3;

/// The build id of packages: their names, and a digest.
///
/// `inputs` is what decides besides the sources: the toolchain, the profile, the features.
pub(crate) fn build_id(names: &[String], inputs: &[String], sources: &[PathBuf]) -> Result<String> {
    let mut digest = Sha256::new();
    let mut add = |text: &[u8]| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    for text in names.iter().chain(inputs) {
        add(text.as_bytes());
    }
    for (number, root) in sources.iter().enumerate() {
        let mut files = Vec::new();
        collect(root, &mut files, 0).with_context(|| root.display().to_string())?;
        files.sort();
        for file in &files {
            let name = file.strip_prefix(root).unwrap_or(file);
            add(format!("{number} {}", name.display()).as_bytes());
            match own::file_digest(file) {
                Ok(content) => add(&content),
                // An editor has removed it in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| file.display().to_string()),
            }
        }
    }
    Ok(format!("{}:{}", joined(names), hexadecimal(&digest.finalize()[..16])))
}

/// The names of the packages, as the first part of the id.
fn joined(names: &[String]) -> String {
    let more = if names.len() > MAX_NAMES { "+.." } else { "" };
    names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join("+") + more
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Folders within folders that are read.
const MAX_DEPTH: usize = 64;

/// The files of a package, without what is hidden and without folders of results: `target` beside the manifest, and what
/// cargo has marked as a cache. Links are not followed. `.cargo` has flags.
fn collect(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    if depth > MAX_DEPTH || depth > 0 && folder.join("CACHEDIR.TAG").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name.as_encoded_bytes().starts_with(b".") && name != ".cargo" {
            continue;
        }
        if kind.is_dir() && !(depth == 0 && name == "target") {
            collect(&entry.path(), files, depth + 1)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_the_sources_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::create_dir_all(root.join("results/debug")).unwrap();
        fs::write(root.join("src/main.rs"), "fn main() {}").unwrap();
        fs::write(root.join("results/CACHEDIR.TAG"), "").unwrap();
        let id =
            |inputs: &str| build_id(&["disk-0.1.0".into()], &[inputs.into()], std::slice::from_ref(&root)).unwrap();
        let first = id("release");
        assert!(first.starts_with("disk-0.1.0:") && first.len() == "disk-0.1.0:".len() + 32, "{first}");
        fs::write(root.join("target/debug/disk"), "a result").unwrap();
        fs::write(root.join("results/debug/disk"), "a result").unwrap();
        fs::write(root.join(".gitignore"), "/target").unwrap();
        assert_eq!(id("release"), first);
        assert_ne!(id("dev"), first);
        fs::write(root.join("src/main.rs"), "fn main() { }").unwrap();
        let second = id("release");
        assert_ne!(second, first);
        fs::rename(root.join("src/main.rs"), root.join("src/lib.rs")).unwrap();
        assert_ne!(id("release"), second);
    }

    #[test]
    fn an_id_names_its_packages() {
        let names = |count: usize| (0..count).map(|number| format!("p{number}-1.0.0")).collect::<Vec<_>>();
        assert_eq!(joined(&names(2)), "p0-1.0.0+p1-1.0.0");
        assert_eq!(joined(&names(5)), "p0-1.0.0+p1-1.0.0+p2-1.0.0+..");
    }
}
