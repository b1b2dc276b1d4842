//! Reads a file in several contexts at once, and prints matching lines as they arrive.
//!
//!     cargo run --example stream_logs -- /etc/services             # two children on this machine
//!     cargo run --example stream_logs -- /var/log/syslog web1 web2 # over ssh
//!
//! Each function sends lines while it runs. The stream ends when its call ends.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use offshoot::{CallStream, Error, Router, Sender, export};

/// Sends each line that contains `word`. Returns how many lines the file has.
fn grep(path: PathBuf, word: String, lines: Sender<String>) -> Result<u64, Error> {
    let mut count = 0;
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let line = line?;
        count += 1;
        if line.contains(&word) {
            lines.blocking_send(line)?; // waits while the reader is behind
        }
    }
    Ok(count)
}
export!(grep);

async fn app(router: Router) -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().unwrap_or_else(|| "Cargo.toml".into()));
    let mut contexts = Vec::new();
    for host in args {
        contexts.push(router.ssh(host).connect().await?);
    }
    if contexts.is_empty() {
        contexts = vec![router.local().connect().await?, router.local().connect().await?];
    }
    // All contexts read at the same time.
    let start = |context: &offshoot::Context| context.stream(grep, |lines| (path.clone(), "tcp".into(), lines));
    let streams: Vec<CallStream<String, u64>> = contexts.iter().map(start).collect();
    for mut stream in streams {
        let name = stream.context().to_string();
        while let Some(line) = stream.next().await {
            println!("{name}: {}", line?);
        }
        println!("{name}: {} lines in all", stream.result().await?);
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
