//! Links: the tasks that move frames between a file descriptor and the
//! router.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::io::Io;
use crate::routing::outbox::Outbox;
use crate::routing::table::LinkId;
use crate::sys::pipe::is_end;
use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::process::Launched;
use crate::wire::frame::{self, HEADER, MAX_PAYLOAD};
use crate::wire::write_batch::WriteBatch;

/// Bytes that there is room for before a read.
const READ: usize = 128 * 1024;
/// Bytes that are gathered for one write, but for the last frame's excess.
const WRITE: usize = 128 * 1024;

/// What has gone over a link; bytes with headers.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) bytes_out: u64,
}

/// Lines of a launcher that are kept: what it says when it loses its connection
/// is one or two, and banners and warnings may come before.
const MAX_LINES: usize = 5;
/// Bytes of each line, for people to read.
const MAX_LINE: usize = 500;

/// What the process behind a link has said last on its stderr.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    lines: RefCell<VecDeque<String>>,
    /// Nothing more will come.
    pub(crate) ended: CancellationToken,
}

impl LastWords {
    /// Adds a line that can be printed.
    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.lines.borrow_mut();
        lines.push_back(crate::engine::log::cut(line, MAX_LINE));
        if lines.len() > MAX_LINES {
            lines.pop_front();
        }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().cloned().collect()
    }
}

/// What a link may do wrong and go on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A frame that claims to be from elsewhere.
    Forged,
    /// A route that is not its own.
    Route,
    /// A log record that cannot be read.
    Record,
    /// A farewell that is none.
    Detaching,
    /// A message that a policy or the routing mode refuses.
    Refused,
}

/// How many kinds there are.
const FAULTS: usize = 5;

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
    pub(crate) traffic: Traffic,
    pub(crate) logs_dropped: u64,
    /// How often it has done each [`Fault`].
    pub(crate) faults: [u64; FAULTS],
    /// The process behind it, if this context has started it.
    pub(crate) process: Option<Launched>,
    pub(crate) last_words: Option<Rc<LastWords>>,
    pub(crate) ordered_to_end: bool,
    /// The context at its other end was told to end, by whomever.
    pub(crate) told_to_end: bool,
    /// The child behind it is about to leave the tree.
    pub(crate) detached: bool,
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
            traffic: Traffic::default(),
            logs_dropped: 0,
            faults: [0; FAULTS],
            process,
            last_words: None,
            ordered_to_end: false,
            told_to_end: false,
            detached: false,
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

/// Starts the tasks of a link. `rest` is what was read behind the handshake.
pub(crate) fn start(io: &Rc<Io>, link: LinkId, stream: Stream, rest: Vec<u8>) {
    let Some(closed) = io.with_link(link, |link| link.closed.clone()) else {
        return;
    };
    let (reader, writer, also) = (Guard::new(io, link), Guard::new(io, link), closed.clone());
    io.tasks.spawn(async move {
        let why = closed.run_until_cancelled_owned(read(&reader.io, link, &stream.input, rest)).await;
        reader.end(why);
    });
    io.tasks.spawn(async move {
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

async fn read(io: &Rc<Io>, link: LinkId, input: &Input, rest: Vec<u8>) -> Result<(), String> {
    let mut buffer = BytesMut::from(&rest[..]);
    loop {
        let now = Instant::now();
        let (mut frames, before) = (0, buffer.len());
        while let Some(frame) = frame::decode(&mut buffer, now).map_err(|error| error.to_string())? {
            frames += 1;
            io.on_frame(link, frame);
        }
        let bytes = before - buffer.len();
        io.with_link(link, |link| {
            link.traffic.frames_in += frames;
            link.traffic.bytes_in += bytes as u64;
        });
        debug_assert!(buffer.len() < HEADER + MAX_PAYLOAD, "a whole frame is taken at once");
        allowed(io, link).await;
        if buffer.capacity() - buffer.len() < READ / 2 {
            // Takes the same memory again, unless a payload still lies there.
            buffer.reserve(READ);
        }
        match input.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(()),
            Ok(0) => return Err("it ended in the middle of a frame".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        // It may have been stopped while there was nothing to read.
        allowed(io, link).await;
        if buffer.len() == buffer.capacity() {
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

async fn write(io: &Rc<Io>, link: LinkId, output: &Output) -> Result<(), String> {
    let mut batch = WriteBatch::default();
    let mut left = Vec::new();
    loop {
        batch.clear();
        left.clear();
        let now = Instant::now();
        let state = io.with_link(link, |link| {
            while batch.len() < WRITE
                && let Some(one) = link.outbox.pop(now, &mut batch)
            {
                left.push(one);
            }
            link.traffic.frames_out += left.len() as u64;
            link.traffic.bytes_out += batch.len() as u64;
            (Rc::clone(&link.wake), link.closing, link.flushed.clone())
        });
        let Some((wake, closing, flushed)) = state else {
            return Ok(());
        };
        io.account(&left);
        if !batch.is_empty() {
            match write_all(output, &batch).await {
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

async fn write_all(output: &Output, batch: &WriteBatch) -> io::Result<()> {
    let mut written = 0;
    while written < batch.len() {
        written += output.write_vectored(&batch.slices(written)).await?;
    }
    Ok(())
}
