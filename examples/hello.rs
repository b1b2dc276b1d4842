//! Calls one function in another process.
//!
//!     cargo run --example hello            # a child on this machine
//!     cargo run --example hello -- web1    # a child on another machine, over ssh

#![expect(clippy::print_stdout, reason = "this is its output")]

use offshoot::{Error, Router, export};

/// Runs in the context in which it is called.
fn hello(name: String) -> std::io::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(format!("hello {name}, this is process {} on {}", std::process::id(), host.trim()))
}
export!(hello);

async fn app(router: Router) -> Result<(), Error> {
    let there = match std::env::args().nth(1) {
        Some(host) => router.ssh(host).connect().await?,
        None => router.local().connect().await?,
    };
    println!("{}", there.call(hello, ("world".into(),)).await?);
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
