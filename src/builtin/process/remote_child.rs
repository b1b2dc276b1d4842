//! A command that runs in another context, with its input and its outputs as
//! streams.

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
use crate::api::sender::{Sender, Sending};
use crate::builtin::process::run_process::{CommandLine, Input, Outlets, run_process};
use crate::builtin::process::{Event, Exit, Output, receiver};
use crate::engine::shared::{Request, Shared};
use crate::wire::codec::Blob;
use crate::wire::error::{Closed, Error};

/// Bytes of one chunk of input.
const CHUNK: usize = 32 * 1024;
/// What a command that was killed is said to have died of.
const SIGKILL: i32 = 9;

/// A command that runs in another context; see
/// [`Command::spawn`](crate::process::Command::spawn).
///
/// Each stream goes at the pace of its reader: a command whose output nobody
/// reads is stopped by its full pipe, and one whose input is read slowly slows
/// down who writes it. Dropping the child ends the command.
///
/// The [module](crate::process) has an example.
#[derive(Debug)]
pub struct RemoteChild {
    /// Its standard input, unless that is given otherwise. Dropping it ends the
    /// input.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildOutput>,
    /// Its standard error.
    pub stderr: Option<ChildOutput>,
    control: Arc<Control>,
    /// `None` when it has ended.
    call: Option<Call<Exit>>,
    ended: Option<Result<Exit, Error>>,
}

impl RemoteChild {
    pub(super) fn start(context: &Context, limit: Option<Duration>, line: CommandLine) -> Self {
        let [events, stdout, stderr] = [receiver(context), receiver(context), receiver(context)];
        let outlets =
            Outlets { events: events.sender(), stdout: stdout.sender(), stderr: stderr.sender(), apart: true };
        let is_piped = line.stdin == Input::Stream;
        let call = context.start(run_process, &(line, outlets), limit, 0);
        let control = Arc::new(Control { events, started: OnceCell::new() });
        let stdin = is_piped.then(|| ChildStdin::new(context.shared(), &control));
        let [stdout, stderr] =
            [stdout, stderr].map(|events| Some(ChildOutput { events, rest: Bytes::new(), ended: false }));
        Self { stdin, stdout, stderr, control, call: Some(call), ended: None }
    }

    /// Its process id there, as soon as it runs. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if it cannot be started or its context has gone;
    /// [`RemoteChild::wait`] says why.
    pub async fn pid(&self) -> Result<u32, Error> {
        self.control.started().await.map(|started| started.pid)
    }

    /// Ends its input and waits for its end. Cancel safe, and gives the same
    /// again when repeated.
    ///
    /// It waits for as long as there is output that nobody reads, beyond what
    /// fits into a pipe and a window: read it, or drop what it is read from.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if it cannot be started; what [`Context::call`] gives.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        if let Some(call) = &mut self.call {
            let exit = call.await;
            self.call = None;
            self.ended = Some(exit);
        }
        self.ended.clone().unwrap_or_else(|| Err(Error::Closed(Closed::Call)))
    }

    /// Ends its input, waits for its end, and collects what was not read of its
    /// output, in memory. Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// As [`RemoteChild::wait`].
    pub async fn wait_with_output(mut self) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
        // What goes wrong with a stream goes wrong with the command, too.
        let (exit, (), ()) = tokio::join!(self.wait(), collect(&mut out, &mut stdout), collect(&mut err, &mut stderr));
        Ok(Output { exit: exit?, stdout, stderr })
    }

    /// Ends it and its whole process group: by SIGTERM, and what is left half a
    /// second later by SIGKILL. Returns when its context has begun with that.
    /// Then [`RemoteChild::wait`] tells of the signal 9. Does nothing if it has
    /// ended. If the future is dropped, the command ends all the same.
    ///
    /// # Errors
    ///
    /// None at present: that the context has gone ends the command, too.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut call) = self.call.take() else { return Ok(()) };
        let killed = Exit { code: None, signal: Some(SIGKILL), open: false, written: [0; 2] };
        self.ended = Some(Ok(killed));
        // What has not begun cannot tell of its end.
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
        // It says nothing more, or that it lets go.
        while self.control.events.recv().await.is_ok() {}
        Ok(())
    }
}

async fn collect(from: &mut Option<ChildOutput>, to: &mut Vec<u8>) {
    if let Some(from) = from {
        let _ = from.read_to_end(to).await;
    }
}

/// What the far side says of the command itself.
struct Control {
    events: Receiver<Event>,
    /// Kept, also if it failed: it is told once.
    started: OnceCell<Result<Started, Error>>,
}

struct Started {
    pid: u32,
    stdin: Option<Sender<Blob>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// Waits until it runs. Cancel safe.
    async fn started(&self) -> Result<&Started, Error> {
        let started = self.started.get_or_init(|| async {
            match self.events.recv().await? {
                Event::Started { pid, stdin } => Ok(Started { pid, stdin }),
                other => Err(Error::Payload(format!("a command that has not begun says {other:?}"))),
            }
        });
        started.await.as_ref().map_err(Error::clone)
    }

    /// Where its input goes.
    async fn input(self: Arc<Self>) -> Result<Sender<Blob>, Error> {
        let stdin = self.started().await?.stdin.clone();
        stdin.ok_or_else(|| Error::Payload("the command has no input".into()))
    }
}

/// The standard input of a command in another context: what is written here
/// goes there. Dropping it ends the input, as shutting it down does.
///
/// The [module](crate::process) has an example.
pub struct ChildStdin {
    shared: Arc<Shared>,
    control: Arc<Control>,
    state: State,
}

enum State {
    Starting(Pin<Box<dyn Future<Output = Result<Sender<Blob>, Error>> + Send + Sync>>),
    /// The last chunk is on its way into the window.
    Open(Sender<Blob>, Option<Sending>),
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

    /// Ready when there is room for another chunk.
    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<&mut State>> {
        if let State::Starting(starting) = &mut self.state {
            self.state = match ready!(starting.as_mut().poll(cx)) {
                Ok(input) => State::Open(input, None),
                Err(error) => {
                    self.state = State::Closed;
                    return Poll::Ready(Err(broken(error)));
                }
            };
        }
        if let State::Open(_, sending) = &mut self.state
            && let Some(last) = sending
        {
            let sent = ready!(Pin::new(last).poll(cx));
            *sending = None;
            if let Err(error) = sent {
                self.state = State::Closed;
                return Poll::Ready(Err(broken(error)));
            }
        }
        Poll::Ready(Ok(&mut self.state))
    }
}

/// A command that does not read its input is a pipe that nobody reads.
fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

impl AsyncWrite for ChildStdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_ready(cx))? {
            State::Open(input, sending) => {
                let count = bytes.len().min(CHUNK);
                *sending = Some(input.send(Blob(bytes[..count].to_vec())));
                Poll::Ready(Ok(count))
            }
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ready when all that was written has room at the far end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        match &self.state {
            State::Open(_, Some(_)) => self.poll_ready(cx).map(|ready| ready.map(drop)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        let state = ready!(self.poll_ready(cx))?;
        if let State::Open(input, _) = state {
            input.close();
            *state = State::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChildStdin {
    fn drop(&mut self) {
        match &self.state {
            State::Open(input, _) => input.close(),
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

/// An output of a command in another context, which ends when the command has
/// closed it.
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
                // Cut off: the end would have been told.
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
