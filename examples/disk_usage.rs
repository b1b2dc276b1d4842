//! Counts the bytes used below a path, on several machines at once.
//!
//!     cargo run --example disk_usage -- /usr            # two children on this machine
//!     cargo run --example disk_usage -- /usr web1 web2  # over ssh

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::path::{Path, PathBuf};

use offshoot::connect::AnyMethod;
use offshoot::{Error, Router, export};

/// Counts the bytes used below `path`, on the machine where this runs.
fn disk_usage(path: PathBuf) -> std::io::Result<u64> {
    fn walk(path: &Path) -> std::io::Result<u64> {
        let meta = path.symlink_metadata()?;
        if !meta.is_dir() {
            return Ok(meta.len());
        }
        let entries = std::fs::read_dir(path)?;
        entries.map(|entry| Ok(walk(&entry?.path()).unwrap_or(0))).sum()
    }
    walk(&path)
}
export!(disk_usage);

async fn app(router: Router) -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().unwrap_or_else(|| "src".into()));
    let mut connects: Vec<offshoot::connect::Connect<AnyMethod>> = args.map(|host| router.ssh(host).boxed()).collect();
    if connects.is_empty() {
        connects = vec![router.local().boxed(), router.local().boxed()];
    }
    let mut calls = Vec::new();
    for connect in connects {
        let context = connect.await?;
        // The call has been sent at this point, so all contexts count at the same time.
        calls.push(context.call(disk_usage, (path.clone(),)));
    }
    for call in calls {
        let context = call.context().clone();
        println!("{context}: {} bytes below {}", call.await?, path.display());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
