//! Bytes used below a path, here or elsewhere.
//!
//!     cargo run --example disk_usage -- /usr            # two children on this machine
//!     cargo run --example disk_usage -- /usr web1 web2  # over ssh

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::path::{Path, PathBuf};

use offshoot::{Router, export};

/// Bytes used below `path`, on whichever machine this runs.
fn disk_usage(path: PathBuf) -> std::io::Result<u64> {
    fn walk(path: &Path) -> std::io::Result<u64> {
        let meta = path.symlink_metadata()?;
        if !meta.is_dir() {
            return Ok(meta.len());
        }
        let mut total = 0;
        for entry in std::fs::read_dir(path)? {
            total += walk(&entry?.path()).unwrap_or(0);
        }
        Ok(total)
    }
    walk(&path)
}
export!(disk_usage);

async fn app(router: Router) -> Result<(), offshoot::Error> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().unwrap_or_else(|| ".".into()));
    let hosts: Vec<String> = args.collect();
    let mut contexts = Vec::new();
    if hosts.is_empty() {
        let child = router.local().connect().await?;
        contexts.push(router.local().via(&child).connect().await?);
        contexts.push(child);
    }
    for host in hosts {
        contexts.push(router.ssh(host).connect().await?);
    }
    for context in contexts {
        let used: u64 = context.call(disk_usage, (path.clone(),)).await?;
        println!("{context}: {used} bytes below {}", path.display());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
