//! Figures of the library itself, one per line: `name value unit`.
//!
//!     calls FIGURE... [--ssh HOST] [--config FILE] [--binary PATH]
//!     calls start -- COMMAND...      time from its start to its end, and processor time of it and what it waits for
//!     calls drain -- COMMAND...      rate at which its output comes, from the first byte on
//!     calls pour                     a GiB of output, for `drain`
//!
//! Figures are `connect`, `fork`, `round-trip`, `pipelined`, `bulk`, `resident`, `hops`, `depths`, `lengths` and `chain-COUNT`.
//! `scripts/bench` runs it beside the reference and prints the ratios.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use offshoot::{Blob, Context, Econtext, Error, Receiver, Router, Sender, export};

#[global_allocator]
static ALLOCATOR: offshoot::alloc::Allocator = offshoot::alloc::Allocator;

/// Bytes of one chunk of bulk data.
const CHUNK: usize = 64 * 1024;
/// Chunks of one measurement: 256 MiB.
const CHUNKS: u32 = 4096;
/// Calls under way at once.
const PIPELINED: u32 = 20_000;

fn nothing() {}
export!(nothing);

fn echo(bytes: Blob) -> Blob {
    bytes
}
export!(echo);

/// A line of this process's status, in KiB.
fn status(line: String) -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|entry| entry.strip_prefix(line.as_str())?.strip_prefix(':')).unwrap_or("0");
    Ok(value.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}
export!(status);

async fn flood(_: &Econtext, to: Sender<Blob>, chunks: u32) -> Result<(), Error> {
    for _ in 0..chunks {
        to.send(Blob(vec![7; CHUNK])).await?;
    }
    Ok(())
}
export!(flood);

#[derive(Default)]
struct Options {
    what: Vec<String>,
    ssh: Option<String>,
    config: Option<String>,
    binary: Option<String>,
}

fn main() -> ExitCode {
    offshoot::child();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [what, dashes, command @ ..] if what == "start" && dashes == "--" => start(command),
        [what, dashes, command @ ..] if what == "drain" && dashes == "--" => drain(command),
        [what] if what == "pour" => pour(),
        _ => return offshoot::run(async |router| figures(&router, options(args)).await),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("calls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: Vec<String>) -> Options {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--ssh" => options.ssh = args.next(),
            "--config" => options.config = args.next(),
            "--binary" => options.binary = args.next(),
            // `cargo bench` passes this.
            "--bench" => {}
            _ => options.what.push(arg),
        }
    }
    if options.what.is_empty() {
        options.what = ["connect", "round-trip", "pipelined", "bulk", "resident"].map(String::from).to_vec();
    }
    options
}

async fn figures(router: &Router, options: Options) -> Result<(), Error> {
    for what in &options.what {
        match what.as_str() {
            "connect" => connect(router, &options).await?,
            "fork" => fork(router).await?,
            "round-trip" => round_trip(router, &options).await?,
            "pipelined" => pipelined(router, &options).await?,
            "bulk" => bulk(router, &options).await?,
            "resident" => resident(router, &options).await?,
            "hops" => hops(router, &options).await?,
            "depths" => depths(router, &options).await?,
            "lengths" => lengths(router, &options).await?,
            other => match other.strip_prefix("chain-").and_then(|count| count.parse().ok()) {
                Some(count) => chain(router, count).await?,
                None => eprintln!("calls: no such figure: {other}"),
            },
        }
    }
    Ok(())
}

async fn child(router: &Router, options: &Options) -> Result<Context, Error> {
    let Some(host) = &options.ssh else {
        return router.local().connect().await;
    };
    let mut ssh = router.ssh(host);
    if let Some(config) = &options.config {
        ssh = ssh.ssh_args(["-F", config]);
    }
    if let Some(binary) = &options.binary {
        ssh = ssh.binary(binary);
    }
    ssh.connect().await
}

/// From nothing to the result of the first call.
async fn connect(router: &Router, options: &Options) -> Result<(), Error> {
    let mut times = Vec::new();
    for _ in 0..if options.ssh.is_some() { 5 } else { 40 } {
        let start = Instant::now();
        let context = child(router, options).await?;
        context.call(nothing, ()).await?;
        times.push(start.elapsed());
        context.shutdown().await;
    }
    println!("connect {:.3} ms", median(times) * 1e3);
    Ok(())
}

/// What a forked child takes longer than a local one, by turns.
async fn fork(router: &Router) -> Result<(), Error> {
    let (mut local, mut forked) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        for (times, is_fork) in [(&mut local, false), (&mut forked, true)] {
            let start = Instant::now();
            let context = match is_fork {
                true => router.fork().connect().await?,
                false => router.local().connect().await?,
            };
            context.call(nothing, ()).await?;
            times.push(start.elapsed());
            context.shutdown().await;
        }
    }
    println!("local {:.3} ms", median(local) * 1e3);
    println!("fork {:.3} ms", median(forked) * 1e3);
    Ok(())
}

async fn round_trip(router: &Router, options: &Options) -> Result<(), Error> {
    let context = child(router, options).await?;
    println!("round-trip {:.2} us", median_round_trip(&context).await? * 1e6);
    context.shutdown().await;
    Ok(())
}

async fn median_round_trip(context: &Context) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..200 {
            context.call(nothing, ()).await?;
        }
        times.push(start.elapsed() / 200);
    }
    Ok(median(times))
}

async fn pipelined(router: &Router, options: &Options) -> Result<(), Error> {
    let context = child(router, options).await?;
    let mut times = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        let calls: Vec<_> = (0..PIPELINED).map(|_| context.call(nothing, ())).collect();
        for call in calls {
            call.await?;
        }
        times.push(start.elapsed());
    }
    println!("pipelined {:.0} calls/s", f64::from(PIPELINED) / median(times));
    context.shutdown().await;
    Ok(())
}

async fn bulk(router: &Router, options: &Options) -> Result<(), Error> {
    let context = child(router, options).await?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let receiver: Receiver<Blob> = Receiver::new(router);
        let start = Instant::now();
        let call = context.call(flood, (receiver.sender(), CHUNKS));
        for _ in 0..CHUNKS {
            receiver.recv().await?;
        }
        call.await?;
        times.push(start.elapsed());
    }
    println!("bulk {:.0} MiB/s", f64::from(CHUNKS) * CHUNK as f64 / MIB / median(times));
    println!("bulk-peak {} KiB", context.call(status, ("VmHWM".into(),)).await?);
    context.shutdown().await;
    Ok(())
}

async fn resident(router: &Router, options: &Options) -> Result<(), Error> {
    let context = child(router, options).await?;
    println!("resident {} KiB", context.call(status, ("VmRSS".into(),)).await?);
    context.shutdown().await;
    Ok(())
}

/// Round trips to a child, a child of that, and so on: what each further hop
/// adds.
async fn hops(router: &Router, options: &Options) -> Result<(), Error> {
    let first = child(router, options).await?;
    let near = median_round_trip(&first).await?;
    let mut far = first;
    for _ in 0..FURTHER_HOPS {
        far = router.local().via(&far).connect().await?;
    }
    let added = (median_round_trip(&far).await? - near) / f64::from(FURTHER_HOPS);
    println!("hop {:.2} us", added * 1e6);
    Ok(())
}

/// So many calls, one after the other, by way of two contexts. Prints nothing: callgrind counts the instructions.
async fn chain(router: &Router, count: u32) -> Result<(), Error> {
    let mut far = router.local().connect().await?;
    for _ in 0..2 {
        far = router.local().via(&far).connect().await?;
    }
    for _ in 0..count {
        far.call(nothing, ()).await?;
    }
    Ok(())
}

/// Round trips through chains of children, by their length.
async fn depths(router: &Router, options: &Options) -> Result<(), Error> {
    let mut far = child(router, options).await?;
    for depth in 1..=DEEPEST {
        if depth.is_power_of_two() {
            println!("depth-{depth} {:.2} us", median_round_trip(&far).await? * 1e6);
        }
        far = router.local().via(&far).connect().await?;
    }
    Ok(())
}

/// Calls that return their argument, by its bytes.
async fn lengths(router: &Router, options: &Options) -> Result<(), Error> {
    let context = child(router, options).await?;
    for length in [1, 1 << 10, 1 << 14, 1 << 18, 1 << 22] {
        let mut times = Vec::new();
        for _ in 0..50 {
            let bytes = Blob(vec![7; length]);
            let start = Instant::now();
            context.call(echo, (bytes,)).await?;
            times.push(start.elapsed());
        }
        println!("length-{length} {:.2} us", median(times) * 1e6);
    }
    context.shutdown().await;
    Ok(())
}

fn start(command: &[String]) -> std::io::Result<()> {
    let mut times = Vec::new();
    let spent = processor_time()?;
    let end = Instant::now() + Duration::from_secs(1);
    while times.is_empty() || times.len() < 40 && Instant::now() < end {
        let start = Instant::now();
        let status = process(command).stdout(Stdio::null()).status()?;
        times.push(start.elapsed());
        if !status.success() {
            return Err(std::io::Error::other(format!("{command:?}: {status}")));
        }
    }
    let spent = (processor_time()? - spent) / u32::try_from(times.len()).unwrap_or(u32::MAX);
    println!("start {:.3} ms", median(times) * 1e3);
    println!("processor {:.3} ms", spent.as_secs_f64() * 1e3);
    Ok(())
}

/// What all processes have used that this one has waited for, and those that these have waited for.
fn processor_time() -> std::io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

fn drain(command: &[String]) -> std::io::Result<()> {
    let mut child = process(command).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
    let mut buffer = vec![0; CHUNK];
    // The first chunk says that it is under way.
    let _ = output.read(&mut buffer)?;
    let (start, mut bytes) = (Instant::now(), 0);
    loop {
        match output.read(&mut buffer)? {
            0 => break,
            count => bytes += count,
        }
    }
    println!("drain {:.0} MiB/s", bytes as f64 / MIB / start.elapsed().as_secs_f64());
    child.wait()?;
    Ok(())
}

fn pour() -> std::io::Result<()> {
    let chunk = vec![7; CHUNK];
    let mut output = std::io::stdout().lock();
    for _ in 0..CHUNKS * 4 {
        output.write_all(&chunk)?;
    }
    Ok(())
}

fn process(command: &[String]) -> Command {
    let (program, args) = command.split_first().expect("a command");
    let mut process = Command::new(program);
    process.args(args).stdin(Stdio::null());
    process
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

const MIB: f64 = 1024.0 * 1024.0;
const FURTHER_HOPS: u32 = 3;
/// The most children in one chain.
const DEEPEST: u32 = 8;
