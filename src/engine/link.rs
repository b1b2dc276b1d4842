//! Links: the tasks that move frames between a file descriptor and the
//! router.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;

use crate::engine::io::Io;
use crate::routing::table::LinkId;
use crate::sys::pipe::is_end;
use crate::sys::pipe::{Input, Output, Stream};
use crate::wire::frame::{self, HEADER, MAX_PAYLOAD, Pieces};
use crate::wire::write_batch::{SLICES, WriteBatch};

/// Minimum free space in the buffer before a read, in bytes.
const READ: usize = 128 * 1024;

/// Starts the tasks of a link. They end with the link. `rest` contains the bytes that were read after the handshake.
pub(crate) fn start(io: &Rc<Io>, link: LinkId, stream: Stream, rest: Vec<u8>) {
    let (reader, writer) = (Guard::new(io, link), Guard::new(io, link));
    let Stream { input, output } = stream;
    let output = Rc::new(output);
    let also = Rc::clone(&output);
    let reading = io.tasks.spawn(async move {
        let why = read(&reader.io, link, &input, rest).await;
        reader.end(why);
    });
    let writing = io.tasks.spawn(async move {
        let why = write(&writer.io, link, &also).await;
        writer.end(why);
    });
    io.with_links(|links| links.set_tasks(link, output, vec![reading, writing]));
}

/// Reports the end of a task of a link, even if the task panics. A task that is aborted ends because the link has ended.
struct Guard {
    io: Rc<Io>,
    link: LinkId,
    done: bool,
}

impl Guard {
    fn new(io: &Rc<Io>, link: LinkId) -> Self {
        Self { io: Rc::clone(io), link, done: false }
    }

    fn end(mut self, why: Result<(), String>) {
        self.done = true;
        let why = why.err();
        self.io.neighbours().lost(&self.io, self.link, why.as_deref());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            self.io.neighbours().lost(&self.io, self.link, Some("its task has panicked"));
        }
    }
}

async fn read(io: &Rc<Io>, link: LinkId, input: &Input, rest: Vec<u8>) -> Result<(), String> {
    let mut buffer = BytesMut::from(&rest[..]);
    let mut pieces = Pieces::default();
    loop {
        let now = Instant::now();
        let (mut frames, before) = (0, buffer.len());
        while let Some(frame) = frame::decode(&mut buffer, &mut pieces, now).map_err(|error| error.to_string())? {
            frames += 1;
            io.on_frame(link, frame);
        }
        let bytes = before - buffer.len();
        debug_assert!(buffer.len() < HEADER + MAX_PAYLOAD, "a whole frame is taken at once");
        if io.with_links(|links| links.note_read(link, frames, bytes)).is_some() {
            allowed(io, link).await;
        }
        if buffer.capacity() - buffer.len() < READ / 2 {
            // Reuses the same memory, unless a payload still refers to it.
            buffer.reserve(READ);
        }
        match input.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(()),
            Ok(0) => return Err("it ended in the middle of a frame".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        // Reading may have been stopped while there was nothing to read.
        if io.with_links(|links| links.must_wait(link)).is_some() {
            allowed(io, link).await;
        }
        if buffer.len() == buffer.capacity() {
            // There may be more to read. Other tasks run first.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until the link may be read, or has been closed.
async fn allowed(io: &Rc<Io>, link: LinkId) {
    while let Some(resume) = io.with_links(|links| links.must_wait(link)) {
        resume.notified().await;
    }
}

/// Writes what [`Links::write_due`](crate::engine::links::Links::write_due) leaves.
async fn write(io: &Rc<Io>, link: LinkId, output: &Output) -> Result<(), String> {
    let mut batch = WriteBatch::default();
    let mut left = Vec::new();
    loop {
        let Some(next) = io.with_links(|links| links.fill(link, &mut batch, &mut left)) else {
            return Ok(());
        };
        if !batch.is_empty() {
            match write_rest(output, &batch, next.written).await {
                Ok(()) => {}
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        } else if next.closing {
            next.flushed.cancel();
            return Ok(());
        } else {
            next.wake.notified().await;
        }
    }
}

/// Writes what comes after the first `written` bytes.
async fn write_rest(output: &Output, batch: &WriteBatch, mut written: usize) -> io::Result<()> {
    while written < batch.len() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        written += output.write_vectored(batch.slices(written, &mut slices)).await?;
    }
    Ok(())
}
