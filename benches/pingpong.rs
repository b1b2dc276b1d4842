//! The yardstick of a call: the same wake-ups without a codec. 64 bytes go
//! from a main thread to an I/O thread, over a socket to another process's
//! I/O thread, to its main thread, and all the way back.
//!
//! Beside it, what the socket costs without threads or an event queue, which
//! is the yardstick of one more hop.

#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};

type Packet = [u8; 64];
/// Round trips of one measurement, of which there are 20.
const ROUNDS: u32 = 500;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The I/O thread: bytes from the socket go to the main thread, and back.
fn io_thread(stream: StdStream) -> (Sender<Packet>, Receiver<Packet>) {
    let (to_io, mut from_main) = channel::<Packet>(16);
    let (to_main, from_io) = channel::<Packet>(16);
    std::thread::spawn(move || {
        runtime().block_on(async move {
            stream.set_nonblocking(true).expect("a socket");
            let (mut input, mut output) = UnixStream::from_std(stream).expect("a socket").into_split();
            let writer = async move {
                while let Some(packet) = from_main.recv().await {
                    output.write_all(&packet).await.expect("write");
                }
            };
            let reader = async move {
                let mut packet = [0; 64];
                while input.read_exact(&mut packet).await.is_ok() {
                    if to_main.send(packet).await.is_err() {
                        break;
                    }
                }
            };
            tokio::join!(writer, reader);
        });
    });
    (to_io, from_io)
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--echo") => echo(own_stdin()),
        Some("--echo-raw") => echo_raw(&own_stdin()),
        _ => {
            measure("--echo-raw", "raw", |mut stream| {
                Box::new(move |rounds| {
                    let mut packet = [1; 64];
                    for _ in 0..rounds {
                        stream.write_all(&packet).expect("write");
                        stream.read_exact(&mut packet).expect("read");
                    }
                })
            });
            measure("--echo", "pingpong", |stream| {
                let (to_io, mut from_io) = io_thread(stream);
                let runtime = runtime();
                Box::new(move |rounds| {
                    runtime.block_on(async {
                        for _ in 0..rounds {
                            to_io.send([1; 64]).await.expect("send");
                            from_io.recv().await.expect("receive");
                        }
                    });
                })
            });
        }
    }
}

/// Prints the median time of a round trip to this program, started again.
fn measure(mode: &str, name: &str, prepare: impl FnOnce(StdStream) -> Box<dyn FnMut(u32)>) {
    let (ours, theirs) = StdStream::pair().expect("a socket pair");
    let program = std::env::current_exe().expect("a path");
    let mut other = Command::new(program)
        .arg(mode)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .expect("the other process");
    let mut run = prepare(ours);
    let mut times = Vec::new();
    // The first warm it up.
    for _ in 0..21 {
        let start = Instant::now();
        run(ROUNDS);
        times.push(start.elapsed() / ROUNDS);
    }
    times.remove(0);
    times.sort_unstable();
    println!("{name} {:.2} us", times[times.len() / 2].as_secs_f64() * 1e6);
    other.kill().expect("the other process");
    other.wait().expect("the other process");
}

fn echo(stream: StdStream) {
    let (to_io, mut from_io) = io_thread(stream);
    runtime().block_on(async move {
        while let Some(packet) = from_io.recv().await {
            if to_io.send(packet).await.is_err() {
                break;
            }
        }
    });
}

fn echo_raw(mut stream: &StdStream) {
    let mut packet = [0; 64];
    while stream.read_exact(&mut packet).and_then(|()| stream.write_all(&packet)).is_ok() {}
}

fn own_stdin() -> StdStream {
    StdStream::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor"))
}
