//! The standard streams of a process, as those of a command on a host. Each stream moves at the pace of its reader.
//!
//! They are read and written by threads. The descriptors are shared with other processes, so they cannot be made
//! non-blocking.

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::builtin::net::RemoteStream;
use crate::builtin::process::{Command, Exit};
use crate::wire::error::Error;

/// Bytes of one read; the same as for the output of commands.
const CHUNK: usize = 32 * 1024;
/// Chunks between a thread and the connection: while one is written, the next is read.
const AHEAD: usize = 2;
/// How long a thread waits for a descriptor that another process has made non-blocking.
const NOT_YET: Duration = Duration::from_millis(5);

/// The standard streams of this process.
///
/// # Errors
///
/// If the system has no room for more descriptors.
#[cfg(feature = "cli")]
pub(crate) fn own_streams() -> io::Result<[OwnedFd; 3]> {
    Ok([
        io::stdin().as_fd().try_clone_to_owned()?,
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    ])
}

/// Runs a command with these standard streams until it has ended and its output is written.
///
/// # Errors
///
/// If the command cannot be started, the connection is lost, or output is lost.
pub(crate) async fn run(command: Command, [stdin, stdout, stderr]: [OwnedFd; 3]) -> Result<Exit, Error> {
    let io = |error: io::Error| Error::Io(error.into());
    let has_terminal = command.has_terminal();
    let mut child = command.spawn();
    let input = match child.stdin.take() {
        Some(to) => Some((read_stdin(stdin).map_err(io)?, to)),
        None => None,
    };
    let output = Writing::start(stdout, "stdout").map_err(io)?;
    let errors = Writing::start(stderr, "stderr").map_err(io)?;
    // What is on a terminal has one output, and the other one has no end.
    let second = child.stderr.take().filter(|_| !has_terminal);
    let outputs = (output.take(child.stdout.take()), errors.take(second));
    let all = async { tokio::join!(outputs.0, outputs.1, child.wait()) };
    let feed = async {
        if let Some((from, to)) = input {
            feed(from, to).await;
        }
        // The end of the input is not that of the command.
        std::future::pending::<()>().await;
    };
    let (output, errors, exit) = tokio::select! {
        all = all => all,
        () = feed => unreachable!("this future does not end"),
    };
    let exit = exit?;
    for (taken, sent) in [output, errors].into_iter().zip(exit.written) {
        if let Some(taken) = taken.map_err(io)?
            && taken < sent
        {
            return Err(io(io::Error::other(format!("{} bytes of the output were lost on the way", sent - taken))));
        }
    }
    Ok(exit)
}

/// Passes the standard input and output to a connection, until its other end has ended and everything is
/// written. If this is dropped before, the connection is reset.
///
/// # Errors
///
/// If the connection breaks, or the output cannot be written.
pub(crate) async fn carry(mut stream: RemoteStream, [stdin, stdout, _]: [OwnedFd; 3]) -> io::Result<()> {
    stream.reset_on_drop(true);
    let (mut from, mut to) = tokio::io::split(stream);
    let input = read_stdin(stdin)?;
    let output = Writing::start(stdout, "stdout")?;
    let feed = async {
        feed(input, &mut to).await;
        // The end of the input is not that of the connection.
        std::future::pending::<()>().await;
    };
    let taken = tokio::select! {
        taken = output.take(Some(&mut from)) => taken.map(drop),
        () = feed => unreachable!("this future does not end"),
    };
    from.unsplit(to).reset_on_drop(false);
    taken
}

/// An input that a thread reads. The thread ends when this is dropped, and so closes the input: a program whose input and
/// output are one socket would otherwise wait for the end of its output for ever.
struct Reading {
    chunks: mpsc::Receiver<Vec<u8>>,
    _ended: PipeWriter,
}

/// Reads stdin in a thread, at the pace of the receiver.
fn read_stdin(stdin: OwnedFd) -> io::Result<Reading> {
    let (chunks, receiver) = mpsc::channel(AHEAD);
    let (has_ended, ended) = io::pipe()?;
    let mut stdin = File::from(stdin);
    let read = move || {
        loop {
            let mut both = [&stdin.as_fd(), &has_ended.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            // An error is found again by reading.
            let _ = poll(&mut both, PollTimeout::NONE);
            if both[1].any().unwrap_or(true) {
                return;
            }
            if !both[0].any().unwrap_or(true) {
                continue;
            }
            let mut chunk = vec![0; CHUNK];
            match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => {
                    chunk.truncate(count);
                    if chunks.blocking_send(chunk).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(NOT_YET),
                // As at its end: the command finds out what is missing.
                Err(error) => return tracing::warn!("cannot read stdin: {error}"),
            }
        }
    };
    std::thread::Builder::new().name("stdin".into()).spawn(read)?;
    Ok(Reading { chunks: receiver, _ended: ended })
}

/// Gives the input to the other end until it ends or the other end takes no more.
async fn feed(mut from: Reading, mut to: impl AsyncWrite + Unpin) {
    while let Some(chunk) = from.chunks.recv().await {
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
    // What has ended needs no end of its input.
    let _ = to.shutdown().await;
}

/// A descriptor that a thread writes to.
struct Writing {
    chunks: mpsc::Sender<Vec<u8>>,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Writing {
    fn start(to: OwnedFd, name: &str) -> io::Result<Self> {
        let (chunks, mut receiver) = mpsc::channel::<Vec<u8>>(AHEAD);
        let (end, written) = oneshot::channel();
        let mut to = File::from(to);
        let write = move || {
            let mut result = Ok(());
            while let Some(chunk) = receiver.blocking_recv() {
                result = write_all(&mut to, &chunk);
                if result.is_err() {
                    break;
                }
            }
            drop(receiver);
            // An error means that the process ends for another reason.
            let _ = end.send(result);
        };
        std::thread::Builder::new().name(name.into()).spawn(write)?;
        Ok(Self { chunks, written })
    }

    /// Writes an output, to its end or until nobody reads it. Returns how many bytes the output had; `None` if nobody
    /// read it to its end.
    ///
    /// # Errors
    ///
    /// If it is cut off, or cannot be written.
    async fn take(self, from: Option<impl AsyncRead + Unpin>) -> io::Result<Option<u64>> {
        let Self { chunks, written } = self;
        let (mut taken, mut cut_off) = (0, None);
        if let Some(mut from) = from {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                match from.read_buf(&mut chunk).await {
                    Ok(0) => break,
                    Ok(count) if chunks.send(chunk).await.is_ok() => taken += count as u64,
                    Ok(_) => break,
                    Err(error) => {
                        cut_off = Some(error);
                        break;
                    }
                }
            }
        }
        drop(chunks);
        match written.await {
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("cannot write the output: {error}"))),
            _ => cut_off.map_or(Ok(Some(taken)), Err),
        }
    }
}

fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(NOT_YET),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
