//! Figures of the library itself, one per line: `name value unit`.
//!
//!     calls [connect|round-trip|pipelined|bulk|resident|hops]...   [--ssh HOST] [--config FILE]
//!
//! `scripts/bench` runs it beside the reference and prints the ratios.

#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::time::{Duration, Instant};

use offshoot::{Blob, Context, Econtext, Receiver, Router, Sender, export};

fn nothing() {}
export!(nothing);

fn resident() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}
export!(resident);

async fn flood(_: &Econtext, to: Sender<Blob>, chunks: u32) -> Result<(), offshoot::Error> {
    for _ in 0..chunks {
        to.send(Blob(vec![7; 64 * 1024])).await?;
    }
    Ok(())
}
export!(flood);

struct Options {
    what: Vec<String>,
    ssh: Option<String>,
    config: Option<String>,
}

async fn child(router: &Router, options: &Options) -> Result<Context, offshoot::Error> {
    match &options.ssh {
        None => router.local().connect().await,
        Some(host) => {
            let ssh = router.ssh(host);
            let ssh = match &options.config {
                Some(config) => ssh.ssh_args(["-F", config]),
                None => ssh,
            };
            ssh.connect().await
        }
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

async fn app(router: Router, options: Options) -> Result<(), offshoot::Error> {
    let rounds = if options.ssh.is_some() { 10 } else { 40 };
    for what in &options.what {
        match what.as_str() {
            "connect" => {
                let mut times = Vec::new();
                for _ in 0..rounds {
                    let start = Instant::now();
                    let context = child(&router, &options).await?;
                    context.call(nothing, ()).await?;
                    times.push(start.elapsed());
                    context.shutdown().await;
                }
                println!("connect {:.3} ms", median(times) * 1e3);
            }
            "round-trip" => {
                let context = child(&router, &options).await?;
                let mut times = Vec::new();
                for _ in 0..20 {
                    let start = Instant::now();
                    for _ in 0..500 {
                        context.call(nothing, ()).await?;
                    }
                    times.push(start.elapsed() / 500);
                }
                println!("round-trip {:.2} us", median(times) * 1e6);
                context.shutdown().await;
            }
            "pipelined" => {
                let context = child(&router, &options).await?;
                let mut times = Vec::new();
                const CALLS: u32 = 20_000;
                for _ in 0..10 {
                    let start = Instant::now();
                    let calls: Vec<_> = (0..CALLS).map(|_| context.call(nothing, ())).collect();
                    for call in calls {
                        call.await?;
                    }
                    times.push(start.elapsed());
                }
                println!("pipelined {:.0} calls/s", f64::from(CALLS) / median(times));
                context.shutdown().await;
            }
            "bulk" => {
                let context = child(&router, &options).await?;
                let mut times = Vec::new();
                const CHUNKS: u32 = 4096;
                for _ in 0..5 {
                    let receiver: Receiver<Blob> = Receiver::new(&router);
                    let start = Instant::now();
                    let call = context.call(flood, (receiver.sender(), CHUNKS));
                    for _ in 0..CHUNKS {
                        receiver.recv().await?;
                    }
                    call.await?;
                    times.push(start.elapsed());
                }
                println!("bulk {:.0} MiB/s", f64::from(CHUNKS) / 16.0 / median(times));
                println!("bulk-resident {} KiB", context.call(resident, ()).await?);
                context.shutdown().await;
            }
            "resident" => {
                let context = child(&router, &options).await?;
                println!("resident {} KiB", context.call(resident, ()).await?);
                context.shutdown().await;
            }
            "hops" => {
                let mut context = child(&router, &options).await?;
                for depth in 1..=4 {
                    let start = Instant::now();
                    for _ in 0..2000 {
                        context.call(nothing, ()).await?;
                    }
                    println!("hop-{depth} {:.2} us", start.elapsed().as_secs_f64() / 2000.0 * 1e6);
                    context = router.local().via(&context).connect().await?;
                }
            }
            other => eprintln!("unknown figure: {other}"),
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(async |router| {
        let mut options = Options { what: Vec::new(), ssh: None, config: None };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--ssh" => options.ssh = args.next(),
                "--config" => options.config = args.next(),
                // cargo bench passes this.
                "--bench" => {}
                _ => options.what.push(arg),
            }
        }
        if options.what.is_empty() {
            options.what = ["connect", "round-trip", "pipelined", "bulk", "resident"].map(String::from).to_vec();
        }
        app(router, options).await
    })
}
