//! A command in another context, with its input and its outputs as streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::OnceCell;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::builtin::blob_writer::BlobWriter;
use crate::builtin::process::run_process::{CommandLine, Input, Outlets, run_process};
use crate::builtin::process::{Event, Exit, Output, WindowSize, receiver};
use crate::engine::shared::{Request, Shared};
use crate::wire::codec::Blob;
use crate::wire::error::{Closed, Error};

/// The signal that is reported for a command that was killed.
const SIGKILL: i32 = 9;

/// A command that runs in another context; see [`Command::spawn`](crate::process::Command::spawn).
///
/// Each stream moves at the pace of its reader. If an output is not read, the command stops when its pipe is
/// full. If the command reads its input slowly, writes to that input wait. Dropping the child ends the command.
///
/// The [module](crate::process) has an example.
#[derive(Debug)]
pub struct RemoteChild {
    /// The standard input, if it is piped. Dropping it ends the input.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildOutput>,
    /// Its standard error.
    pub stderr: Option<ChildOutput>,
    control: Arc<Control>,
    /// `None` when the command has ended.
    call: Option<Call<Exit>>,
    ended: Option<Result<Exit, Error>>,
}

impl RemoteChild {
    pub(super) fn start(context: &Context, limit: Option<Duration>, line: CommandLine) -> Self {
        let [events, stdout, stderr] = [receiver(context), receiver(context), receiver(context)];
        let outlets =
            Outlets { events: events.sender(), stdout: stdout.sender(), stderr: stderr.sender(), apart: true };
        let is_piped = line.stdin == Input::Stream;
        let call = context.start(run_process, &(line, outlets), limit);
        let control = Arc::new(Control { events, started: OnceCell::new() });
        let stdin = is_piped.then(|| ChildStdin::new(context.shared(), &control));
        let [stdout, stderr] =
            [stdout, stderr].map(|events| Some(ChildOutput { events, rest: Bytes::new(), ended: false }));
        Self { stdin, stdout, stderr, control, call: Some(call), ended: None }
    }

    /// Waits until the command runs, and returns its process id in its context. Cancel safe.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the command cannot be started or its context is gone. [`RemoteChild::wait`]
    /// returns the reason.
    pub async fn pid(&self) -> Result<u32, Error> {
        self.control.started().await.map(|started| started.pid)
    }

    /// Changes the size of the command's terminal; see [`Command::terminal`](crate::process::Command::terminal).
    /// Does nothing if the command has none. Cancel safe. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`RemoteChild::pid`].
    pub async fn resize(&self, size: WindowSize) -> Result<(), Error> {
        match &self.control.started().await?.sizes {
            Some(sizes) => sizes.send(size.to_blob()).await,
            None => Ok(()),
        }
    }

    /// Ends the input and waits for the end of the command. Cancel safe. Repeated calls return the same result.
    ///
    /// It does not return while there is more unread output than fits into a pipe and a window. Read the
    /// output, or drop its stream. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the command cannot be started, and the errors of [`Context::call`].
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        if let Some(call) = &mut self.call {
            let exit = call.await;
            self.call = None;
            self.ended = Some(exit);
        }
        self.ended.clone().unwrap_or_else(|| Err(Error::Closed(Closed::Call)))
    }

    /// Ends the input, waits for the end of the command, and collects the unread output in memory. Dropping the
    /// future ends the command. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`RemoteChild::wait`].
    pub async fn wait_with_output(mut self) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
        // If a stream fails, the command fails, too, so errors of the streams are not needed.
        let (exit, (), ()) = tokio::join!(self.wait(), collect(&mut out, &mut stdout), collect(&mut err, &mut stderr));
        Ok(Output { exit: exit?, stdout, stderr })
    }

    /// Ends the command and its whole process group: by SIGTERM, and half a second later by SIGKILL. Returns
    /// when the context has begun to do so. After that, [`RemoteChild::wait`] reports signal 9. Does nothing if
    /// the command has ended. If the future is dropped, the command ends all the same.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// None at present: if the context is gone, the command ends, too.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut call) = self.call.take() else { return Ok(()) };
        let killed = Exit { code: None, signal: Some(SIGKILL), open: false, written: [0; 2] };
        self.ended = Some(Ok(killed));
        // A command that has not started cannot report its end.
        let exit = tokio::select! {
            biased;
            exit = &mut call => Some(exit),
            started = self.control.started() => if started.is_err() { Some((&mut call).await) } else { None },
        };
        if exit.is_some() {
            self.ended = exit;
            return Ok(());
        }
        drop(call);
        // Waits for the end of the events: the far side closes them when it ends the command.
        while self.control.events.recv().await.is_ok() {}
        Ok(())
    }
}

async fn collect(from: &mut Option<ChildOutput>, to: &mut Vec<u8>) {
    if let Some(from) = from {
        let _ = from.read_to_end(to).await;
    }
}

/// The events of the command itself.
struct Control {
    events: Receiver<Event>,
    /// The result is kept, also if it is an error, because it arrives only once.
    started: OnceCell<Result<Started, Error>>,
}

struct Started {
    pid: u32,
    stdin: Option<Sender<Blob>>,
    sizes: Option<Sender<Blob>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// Waits until the command runs. Cancel safe.
    async fn started(&self) -> Result<&Started, Error> {
        let started = self.started.get_or_init(|| async {
            match self.events.recv().await? {
                Event::Started { pid, stdin, sizes } => Ok(Started { pid, stdin, sizes }),
                other => Err(Error::Payload(format!("a command that has not begun says {other:?}"))),
            }
        });
        started.await.as_ref().map_err(Error::clone)
    }

    /// The sender for the command's input.
    async fn input(self: Arc<Self>) -> Result<Sender<Blob>, Error> {
        let stdin = self.started().await?.stdin.clone();
        stdin.ok_or_else(|| Error::Payload("the command has no input".into()))
    }
}

/// The standard input of a command in another context. Dropping it ends the input, as a shutdown does.
///
/// The [module](crate::process) has an example.
pub struct ChildStdin {
    shared: Arc<Shared>,
    control: Arc<Control>,
    state: State,
}

enum State {
    Starting(Pin<Box<dyn Future<Output = Result<Sender<Blob>, Error>> + Send + Sync>>),
    Open(BlobWriter),
    Closed,
}

impl fmt::Debug for ChildStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChildStdin")
    }
}

impl ChildStdin {
    fn new(shared: &Arc<Shared>, control: &Arc<Control>) -> Self {
        let state = State::Starting(Box::pin(Arc::clone(control).input()));
        Self { shared: Arc::clone(shared), control: Arc::clone(control), state }
    }

    /// Ready when the command runs.
    fn poll_open(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<&mut BlobWriter>> {
        if let State::Starting(starting) = &mut self.state {
            self.state = match ready!(starting.as_mut().poll(cx)) {
                Ok(input) => State::Open(BlobWriter::new(input)),
                Err(error) => {
                    self.state = State::Closed;
                    return Poll::Ready(Err(broken(error)));
                }
            };
        }
        match &mut self.state {
            State::Open(writer) => Poll::Ready(Ok(writer)),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Closes the input after an error.
    fn checked<T>(&mut self, result: Result<T, Error>) -> io::Result<T> {
        result.map_err(|error| {
            self.state = State::Closed;
            broken(error)
        })
    }
}

/// If the command does not read its input, writing fails as on a broken pipe.
fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

impl AsyncWrite for ChildStdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(ready!(self.poll_open(cx))?.poll_write(cx, bytes));
        Poll::Ready(self.checked(written))
    }

    /// Ready when everything that was written has room at the far end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        let State::Open(writer) = &mut self.state else { return Poll::Ready(Ok(())) };
        let flushed = ready!(writer.poll_flush(cx));
        Poll::Ready(self.checked(flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.state, State::Closed) {
            let flushed = ready!(ready!(self.poll_open(cx))?.poll_flush(cx));
            self.checked(flushed)?;
        }
        if let State::Open(writer) = std::mem::replace(&mut self.state, State::Closed) {
            writer.close();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChildStdin {
    fn drop(&mut self) {
        match &self.state {
            State::Open(writer) => writer.close(),
            State::Starting(_) => {
                let control = Arc::clone(&self.control);
                self.shared.request(Request::Do(Box::new(move |io| {
                    io.tasks.spawn(async move {
                        if let Ok(input) = control.input().await {
                            input.close();
                        }
                    });
                })));
            }
            State::Closed => {}
        }
    }
}

/// An output of a command in another context. It ends when the command has closed it, or when the command has ended
/// and another process has held it open in silence for [`SILENCE`](crate::process::SILENCE). [`Exit::open`] tells the
/// two apart. It is an error of the kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the output is cut off: if
/// the command is ended from here, or its context is lost.
///
/// The [module](crate::process) has an example.
pub struct ChildOutput {
    events: Receiver<Event>,
    rest: Bytes,
    ended: bool,
}

impl fmt::Debug for ChildOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChildOutput")
    }
}

impl AsyncRead for ChildOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Task<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.events).poll_next(cx)) {
                Some(Ok(Event::Stdout(Blob(bytes)) | Event::Stderr(Blob(bytes)))) => {
                    self.ended = bytes.is_empty();
                    self.rest = bytes.into();
                }
                Some(Ok(_)) => {}
                // The output was cut off: its regular end would be an event.
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}
