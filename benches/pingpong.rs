//! The yardstick of a call: the same wake-ups without a codec. 64 bytes go
//! from a main thread to an I/O thread, over a socket to another process's
//! I/O thread, to its main thread, and all the way back.

#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};

type Packet = [u8; 64];
const ROUNDS: u32 = 20_000;

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
    if std::env::args().any(|arg| arg == "--echo") {
        use std::os::fd::AsFd;
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        let stream = StdStream::from(stdin);
        let (to_io, mut from_io) = io_thread(stream);
        return runtime().block_on(async move {
            while let Some(packet) = from_io.recv().await {
                if to_io.send(packet).await.is_err() {
                    break;
                }
            }
        });
    }
    let (ours, theirs) = StdStream::pair().expect("a socket pair");
    let program = std::env::current_exe().expect("a path");
    let mut echo = Command::new(program)
        .arg("--echo")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .expect("the echo process");
    raw(&ours);
    let (to_io, mut from_io) = io_thread(ours);
    let mut times = Vec::new();
    runtime().block_on(async {
        for _ in 0..20 {
            let start = Instant::now();
            for _ in 0..ROUNDS / 20 {
                to_io.send([1; 64]).await.expect("send");
                from_io.recv().await.expect("receive");
            }
            times.push(start.elapsed() / (ROUNDS / 20));
        }
    });
    times.sort_unstable();
    println!("pingpong {:.2} us", times[times.len() / 2].as_secs_f64() * 1e6);
    drop(to_io);
    let _ = echo.kill();
    let _ = echo.wait();
}

/// One round without threads on this side warms the other side up.
fn raw(stream: &StdStream) {
    let mut packet = [0; 64];
    let mut stream = stream;
    stream.write_all(&packet).expect("write");
    stream.read_exact(&mut packet).expect("read");
}
