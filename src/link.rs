//! Links: the tasks that move frames between a file descriptor and the
//! router.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::frame::{self, HEADER, MAX_PAYLOAD};
use crate::io::Io;
use crate::outbox::Outbox;
use crate::process::{self, Launched};
use crate::routing::LinkId;

/// Bytes that one read takes at most.
const READ: usize = 128 * 1024;
/// Bytes that are gathered for one write, but for the last frame's excess.
const WRITE: usize = 128 * 1024;

/// What the I/O side knows of a link.
pub(crate) struct LinkState {
    pub(crate) outbox: Outbox,
    /// Rung when the outbox has been filled.
    pub(crate) wake: Rc<Notify>,
    /// Bytes that came in by this link and wait in other links' outboxes.
    pub(crate) held: usize,
    /// Rung when `held` has fallen, or reading is wanted again.
    pub(crate) resume: Rc<Notify>,
    /// The user wants it not to be read.
    pub(crate) paused: bool,
    pub(crate) logs_dropped: u64,
    /// Frames from it that were forged.
    pub(crate) forged: u64,
    /// The process behind it, if this context has started it.
    pub(crate) process: Option<Launched>,
    pub(crate) ordered_to_end: bool,
    /// Nothing more will be queued: the writer ends when it is empty.
    pub(crate) closing: bool,
    pub(crate) flushed: CancellationToken,
    /// Ends the link's tasks.
    pub(crate) closed: CancellationToken,
}

impl LinkState {
    pub(crate) fn new(process: Option<Launched>) -> Self {
        Self {
            outbox: Outbox::default(),
            wake: Rc::default(),
            held: 0,
            resume: Rc::default(),
            paused: false,
            logs_dropped: 0,
            forged: 0,
            process,
            ordered_to_end: false,
            closing: false,
            flushed: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Has it read, or not read, from now on.
    pub(crate) fn read(&mut self, on: bool) {
        self.paused = !on;
        self.resume.notify_one();
    }

    /// Kills the process at the other end, if it is ours to kill.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }
}

/// Both directions of a byte stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) input: Pipe,
    pub(crate) output: Pipe,
}

/// One direction: a socket, a pipe or a terminal, read or written as it
/// becomes ready.
#[derive(Debug)]
pub(crate) struct Pipe {
    file: AsyncFd<File>,
    /// A short read of a socket or pipe has emptied it; of a terminal it says
    /// nothing.
    short_read_is_empty: bool,
}

impl Pipe {
    /// Must be called on the I/O thread.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
        let short_read_is_empty = kind == SFlag::S_IFSOCK || kind == SFlag::S_IFIFO;
        Ok(Self { file: process::watch(File::from(fd))?, short_read_is_empty })
    }

    /// Reads what there is, at least a byte; 0 at the end of the file.
    ///
    /// Cancel safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.file.readable().await?;
            match ready.try_io(|file| file.get_ref().read(buffer)) {
                Ok(Ok(count)) => {
                    if self.short_read_is_empty && count < buffer.len() {
                        ready.clear_ready();
                    }
                    return Ok(count);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose other end is closed, a socket that was cut.
                Ok(Err(error)) if is_end(&error) => return Ok(0),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Writes at least a byte of `bytes`. Cancel safe.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.async_io(Interest::WRITABLE, |mut file| file.write(bytes)).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`. Not cancel safe.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

fn is_end(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::ECONNRESET | Errno::EPIPE))
}

/// Starts the tasks of a link. `rest` is what was read behind the handshake.
pub(crate) fn start(io: &Rc<Io>, link: LinkId, stream: Stream, rest: Vec<u8>) {
    let Some(closed) = io.with_link(link, |link| link.closed.clone()) else {
        return;
    };
    let (reader, writer, also) = (Guard::new(io, link), Guard::new(io, link), closed.clone());
    io.tasks.spawn_local(async move {
        let why = closed.run_until_cancelled_owned(read(&reader.io, link, &stream.input, rest)).await;
        reader.end(why);
    });
    io.tasks.spawn_local(async move {
        let why = also.run_until_cancelled_owned(write(&writer.io, link, &stream.output)).await;
        writer.end(why);
    });
}

/// Reports the end of a link's task, also when the task panics.
struct Guard {
    io: Rc<Io>,
    link: LinkId,
    done: bool,
}

impl Guard {
    fn new(io: &Rc<Io>, link: LinkId) -> Self {
        Self { io: Rc::clone(io), link, done: false }
    }

    fn end(mut self, why: Option<Result<(), String>>) {
        self.done = true;
        let why = why.and_then(Result::err);
        self.io.link_lost(self.link, why.as_deref());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.io.link_lost(self.link, Some("its task has panicked"));
        }
    }
}

async fn read(io: &Rc<Io>, link: LinkId, input: &Pipe, rest: Vec<u8>) -> Result<(), String> {
    let mut buffer = rest;
    let mut filled = buffer.len();
    buffer.resize(READ.max(filled), 0);
    loop {
        let mut used = 0;
        let now = Instant::now();
        loop {
            match frame::decode(&buffer[used..filled], now) {
                Ok(Some((frame, size))) => {
                    used += size;
                    io.on_frame(link, frame);
                }
                Ok(None) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
        debug_assert!(filled < HEADER + MAX_PAYLOAD, "a whole frame is taken at once");
        allowed(io, link).await;
        match input.read(&mut buffer[filled..]).await {
            Ok(0) if filled == 0 => return Ok(()),
            Ok(0) => return Err("it ended in the middle of a frame".into()),
            Ok(count) => filled += count,
            Err(error) => return Err(error.to_string()),
        }
        // It may have been stopped while there was nothing to read.
        allowed(io, link).await;
        if filled == buffer.len() {
            // There is more, and others have work to do as well.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until a link may be read, or has gone.
async fn allowed(io: &Rc<Io>, link: LinkId) {
    while !io.may_read(link)
        && let Some(resume) = io.with_link(link, |link| Rc::clone(&link.resume))
    {
        resume.notified().await;
    }
}

async fn write(io: &Rc<Io>, link: LinkId, output: &Pipe) -> Result<(), String> {
    let mut buffer = Vec::new();
    let mut left = Vec::new();
    loop {
        buffer.clear();
        left.clear();
        let now = Instant::now();
        let state = io.with_link(link, |link| {
            while buffer.len() < WRITE
                && let Some(one) = link.outbox.pop(now, &mut buffer)
            {
                left.push(one);
            }
            (Rc::clone(&link.wake), link.closing, link.flushed.clone())
        });
        let Some((wake, closing, flushed)) = state else {
            return Ok(());
        };
        io.account(&left);
        if !buffer.is_empty() {
            match output.write_all(&buffer).await {
                Ok(()) => {}
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        } else if closing {
            flushed.cancel();
            return Ok(());
        } else {
            wake.notified().await;
        }
    }
}
