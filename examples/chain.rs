//! Calls that run only if the calls before them have succeeded, without a round trip for each call.
//!
//!     cargo run --example chain

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::path::PathBuf;

use offshoot::{Error, Router, export};

fn make_directory(path: PathBuf) -> std::io::Result<()> {
    std::fs::create_dir(path)
}
fn write(path: PathBuf, text: String) -> std::io::Result<()> {
    std::fs::write(path, text)
}
fn remove(path: PathBuf) -> std::io::Result<()> {
    std::fs::remove_dir_all(path)
}
export!(make_directory, write, remove);

async fn app(router: Router) -> Result<(), Error> {
    let child = router.local().connect().await?;
    let directory = std::env::temp_dir().join(format!("offshoot-chain-{}", std::process::id()));
    let file = directory.join("file");

    let chain = child.call_chain();
    chain.call_no_reply(make_directory, (directory.clone(),))?;
    chain.call_no_reply(write, (file.clone(), "first".into()))?;
    // Only this call is awaited. All three calls are sent without waiting for each other.
    chain.call(write, (file.clone(), "second".into())).await?;
    println!("{} says {:?}", file.display(), std::fs::read_to_string(&file)?);

    // This call fails, so the later calls of the chain do not run.
    chain.call_no_reply(make_directory, (directory.clone(),))?;
    let error = chain.call(remove, (directory.clone(),)).await.expect_err("the directory is there");
    println!("not removed: {error}");
    assert!(file.exists());

    // After a reset the chain runs again.
    chain.reset();
    chain.call(remove, (directory.clone(),)).await?;
    assert!(!directory.exists());
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
