//! Gives the files of a directory to children, which fetch them by `FileService`. A second argument is the number of children.
//!
//!     cargo run --features files --example file_distributor [DIRECTORY [CHILDREN]]

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::path::PathBuf;

use offshoot::service::{FileService, Pool};
use offshoot::{Context, Error, Router, export};

/// Runs in a child: fetches all files at once, and returns how many bytes they have. Each is compared with its SHA-256.
async fn fetch_all(host: Context, paths: Vec<PathBuf>) -> Result<u64, Error> {
    let place = std::env::temp_dir().join(format!("offshoot-distributor-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let mut fetches = tokio::task::JoinSet::new();
    for (number, path) in paths.into_iter().enumerate() {
        let request = FileService::get(&host, path).keep_mode().keep_times();
        fetches.spawn(request.save(place.join(number.to_string())));
    }
    let mut bytes = 0;
    while let Some(fetch) = fetches.join_next().await {
        bytes += fetch.map_err(std::io::Error::other)??.size;
    }
    std::fs::remove_dir_all(place)?;
    Ok(bytes)
}
export!(fetch_all);

async fn app(router: Router) -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let directory = std::fs::canonicalize(args.next().unwrap_or_else(|| "examples".into()))?;
    let count: u32 = args.next().and_then(|count| count.parse().ok()).unwrap_or(3);
    let files = FileService::new();
    files.register_prefix(directory.clone())?;
    Pool::new(&router).add(files)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    let mut calls = Vec::new();
    for _ in 0..count {
        let child = router.local().await?; // or router.ssh("web1")
        calls.push((child.clone(), child.call(fetch_all, (router.myself(), paths.clone()))));
    }
    for (child, call) in calls {
        println!("{child}: {} files, {} bytes", paths.len(), call.await?);
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
