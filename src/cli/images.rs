//! `offshoot images` and `offshoot bundle`: what a program carries, and making
//! one that carries more.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::image::bundle::{Bundle, Entry, machine_of};
use serde_json::json;

use crate::cli::args::{BundleArgs, ImagesArgs};
use crate::cli::complaint::fail;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::safe_json;

/// Lists the images of a program.
pub(crate) fn images(args: &ImagesArgs) -> Exit {
    let opened;
    let bundle = match &args.program {
        Some(program) => match Bundle::open(program) {
            Ok(bundle) => {
                opened = bundle;
                &opened
            }
            Err(error) => return fail(Exit::Internal, &format!("{}: {error}", program.display())),
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
            // The list is only for the eye.
            let _ = std::io::stderr().write_all(table(&entries).as_bytes());
            Exit::Done(Outcome::default())
        }
        Err(why) => fail(Exit::Usage, &why),
    }
}

fn make(args: &BundleArgs) -> Result<Vec<Entry>, String> {
    let name = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("the own program cannot be found: {error}"))?,
    };
    let bundle = Bundle::open(&program).map_err(|error| name(&program, error))?;
    let mut images = Vec::new();
    for word in &args.images {
        let (triple, path) = match word.split_once('=') {
            Some((triple, path)) => (Some(triple.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(word)),
        };
        let image = std::fs::read(&path).map_err(|error| name(&path, error))?;
        let (system, processor) =
            machine_of(&image).ok_or_else(|| format!("{}: not an executable that we know", path.display()))?;
        let triple = triple.or_else(|| triple_in(&path)).unwrap_or_else(|| format!("{processor}-{system}"));
        images.push((triple, image));
    }
    // Beside its place and renamed, so that a copy that runs is not touched.
    let directory =
        args.output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let unfinished = directory.join(format!(".offshoot-bundle.{}", std::process::id()));
    let result = (|| {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        let entries = bundle.write(&images, &mut out)?;
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

/// The target in a path of cargo's, as `target/TRIPLE/release/program`.
fn triple_in(path: &Path) -> Option<String> {
    let mut words = path.components().filter_map(|word| word.as_os_str().to_str());
    words.rfind(|word| word.matches('-').count() >= 2).map(str::to_owned)
}
