//! Running commands in other contexts, in the manner of `tokio::process`.
//!
//! ```
//! use offshoot::{Error, Router};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Box<dyn std::error::Error>> {
//! let web = router.local().await?; // or router.ssh("web1")
//! let output = web.command("wc").args(["-c"]).stdin("hello").output().await?;
//! assert_eq!((output.exit.code, output.stdout.trim_ascii()), (Some(0), &b"5"[..]));
//!
//! // Input and output as they come.
//! let mut cat = web.command("cat").spawn();
//! let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
//! stdin.write_all(b"hello").await?;
//! drop(stdin);
//! let mut text = String::new();
//! stdout.read_to_string(&mut text).await?;
//! assert_eq!(text, "hello");
//! assert!(cat.wait().await?.success());
//! # Ok(()) }
//! ```

mod remote_child;
pub(crate) mod run_process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::api::with_timeout::WithTimeout;
use crate::builtin::process::run_process::{CommandLine, Input, Outlets, run_process};
use crate::wire::codec::Blob;
use crate::wire::error::{ChannelError, ChannelErrorKind, Error};

pub use remote_child::{ChildOutput, ChildStdin, RemoteChild};

/// After the end of a command its output is read until the other processes
/// that hold it open have been silent for so long.
///
/// A filter that thinks for longer is rare, and so is who wants to wait longer
/// for a daemon.
///
/// The [module](crate::process) has an example of commands.
pub const SILENCE: Duration = Duration::from_secs(2);

impl Context {
    /// A command to run there: `program` is found through PATH there, without a
    /// shell. Nothing happens before one of [`Command::output`],
    /// [`Command::status`] and [`Command::spawn`].
    ///
    /// ```
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// # let web = router.local().await?;
    /// let output = web.command("pwd").current_dir("/").output().await?;
    /// assert_eq!(output.stdout, b"/\n");
    /// # Ok(()) }
    /// ```
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        Command::new(self, None, CommandLine::new(program))
    }

    /// A line for `/bin/sh` there; otherwise as [`Context::command`].
    ///
    /// ```
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// # let web = router.local().await?;
    /// assert_eq!(web.shell("exit $((1 + 2))").status().await?.code, Some(3));
    /// # Ok(()) }
    /// ```
    pub fn shell(&self, line: impl Into<OsString>) -> Command {
        Command::new(self, None, CommandLine::shell(line))
    }
}

impl WithTimeout<'_> {
    /// As [`Context::command`], but the command is ended, and what waits for it
    /// gets [`Error::Timeout`], when it has run for so long.
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        Command::new(self.context, Some(self.limit), CommandLine::new(program))
    }

    /// As [`Context::shell`], but the command is ended, and what waits for it
    /// gets [`Error::Timeout`], when it has run for so long.
    pub fn shell(&self, line: impl Into<OsString>) -> Command {
        Command::new(self.context, Some(self.limit), CommandLine::shell(line))
    }
}

/// A command to run in another context; see [`Context::command`].
///
/// It runs in a session of its own. If what waits for it is dropped, or if the
/// context ends, its whole process group ends: by SIGTERM, and what is left
/// half a second later by SIGKILL.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before output(), status() or spawn()"]
pub struct Command {
    context: Context,
    /// How long it may run.
    limit: Option<Duration>,
    line: CommandLine,
    stdin: Option<Stdin>,
}

/// What a command reads; see [`Command::stdin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdin(Input);

impl Stdin {
    /// Nothing: the input ends at once.
    pub fn null() -> Self {
        Self(Input::Null)
    }

    /// What is written to [`RemoteChild::stdin`].
    pub fn piped() -> Self {
        Self(Input::Stream)
    }
}

macro_rules! stdin_of {
    ($($from:ty)*) => { $(
        impl From<$from> for Stdin {
            fn from(bytes: $from) -> Self {
                Self(Input::Bytes(Blob(bytes.into())))
            }
        }
    )* };
}
stdin_of! { &str String &[u8] Vec<u8> }

impl<const N: usize> From<&[u8; N]> for Stdin {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}

/// What a running command says, in order per stream.
///
/// [`Command::events`] has an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// It runs. `stdin` takes its input, if that is [`Stdin::piped`]; close it to
    /// end the input.
    Started {
        /// Its process id there.
        pid: u32,
        /// Its standard input.
        #[serde(deserialize_with = "crate::api::sender::to_its_origin")]
        stdin: Option<Sender<Blob>>,
    },
    /// Bytes from its standard output.
    Stdout(Blob),
    /// Bytes from its standard error.
    Stderr(Blob),
    /// It has ended, and its output has not: more may come of what waits to be
    /// taken, or of other processes that hold it open. [`Exit`] comes when all
    /// has been read.
    Ended {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
    },
}

impl Value for Event {}

/// How a command ended.
///
/// [`Context::shell`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Whether another process still held its output open after [`SILENCE`], so
    /// that it was read no further.
    pub open: bool,
    /// How many bytes it has written to its standard output and its standard
    /// error, as far as they were read.
    pub written: [u64; 2],
}

impl Value for Exit {}

impl Exit {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// How many bytes of its output are missing for somebody who has received
    /// this many of standard output and standard error.
    pub fn missing(&self, received: [u64; 2]) -> u64 {
        self.written.iter().zip(received).map(|(written, received)| written.saturating_sub(received)).sum()
    }
}

/// Everything that a command said, and how it ended.
///
/// [`Context::command`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A command on its way: what it says, as it comes, and its end; see
/// [`Command::events`].
///
/// Dropping it ends the command.
///
/// [`Command::events`] has an example.
#[derive(Debug)]
pub struct Running {
    /// What the command says. It is read at the pace of this end: a command
    /// whose output nobody takes is stopped by its full pipe.
    pub events: Receiver<Event>,
    /// How it ends. All its output has been queued before.
    pub exit: Call<Exit>,
}

impl Command {
    fn new(context: &Context, limit: Option<Duration>, line: CommandLine) -> Self {
        Self { context: context.clone(), limit, line, stdin: None }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.line.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.line.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// The directory to run in. Default: that of the context.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.line.cwd = Some(directory.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.line.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes a variable from its environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.line.env.insert(name.into(), None);
        self
    }

    /// Begins with an empty environment. Default: that of the context.
    pub fn env_clear(mut self) -> Self {
        self.line.clear_env = true;
        self
    }

    /// What it reads: bytes or a text, at most
    /// [`max_message_size`](crate::Router::max_message_size) bytes, or
    /// [`Stdin::piped`]. Default: nothing, but for [`Command::spawn`], where it
    /// is piped.
    pub fn stdin(mut self, input: impl Into<Stdin>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Runs it and collects its output, in memory. Dropping the future ends the
    /// command.
    ///
    /// That it exits with another code than 0 is no error: see
    /// [`Exit::success`].
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if it cannot be started; [`Error::Channel`] if some of
    /// its output was lost on the way; what [`Context::call`] gives.
    pub async fn output(self) -> Result<Output, Error> {
        let context = self.context.id();
        let Running { events, mut exit } = self.events();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut take = |event| match event {
            Event::Stdout(Blob(bytes)) => stdout.extend_from_slice(&bytes),
            Event::Stderr(Blob(bytes)) => stderr.extend_from_slice(&bytes),
            Event::Started { .. } | Event::Ended { .. } => {}
        };
        let exit = loop {
            tokio::select! {
                event = events.recv() => take(event?),
                exit = &mut exit => break exit?,
            }
        };
        // What was sent before the exit has arrived before it.
        while let Some(event) = events.try_recv()? {
            take(event);
        }
        let missing = exit.missing([stdout.len() as u64, stderr.len() as u64]);
        if missing > 0 {
            let reason = format!("{missing} bytes of the output of the command were lost on the way");
            return Err(ChannelError::new(context, ChannelErrorKind::Disconnected, reason).into());
        }
        Ok(Output { exit, stdout, stderr })
    }

    /// Runs it, throws its output away there, and tells how it has ended.
    /// Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub async fn status(mut self) -> Result<Exit, Error> {
        self.line.mute = true;
        let Running { events: _unheard, exit } = self.events();
        exit.await
    }

    /// Starts it, with its input and both its outputs as streams. Returns at
    /// once; that it cannot be started is told by [`RemoteChild::wait`].
    /// Dropping the child ends the command.
    pub fn spawn(mut self) -> RemoteChild {
        let Stdin(input) = self.stdin.take().unwrap_or_else(Stdin::piped);
        self.line.stdin = input;
        RemoteChild::start(&self.context, self.limit, self.line)
    }

    /// Starts it, with both its outputs in one, in the order in which they were
    /// read there. Returns at once.
    ///
    /// ```
    /// use offshoot::process::{Event, Running};
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// # let web = router.local().await?;
    /// let Running { events, exit } = web.command("uname").events();
    /// while let Ok(event) = events.recv().await {
    ///     if let Event::Stdout(bytes) = event {
    ///         println!("{}", String::from_utf8_lossy(&bytes.0));
    ///         break;
    ///     }
    /// }
    /// assert!(exit.await?.success());
    /// # Ok(()) }
    /// ```
    pub fn events(mut self) -> Running {
        if let Some(Stdin(input)) = self.stdin.take() {
            self.line.stdin = input;
        }
        Running::start(&self.context, self.limit, self.line)
    }
}

impl Running {
    pub(crate) fn start(context: &Context, limit: Option<Duration>, line: CommandLine) -> Self {
        let events = receiver(context);
        let [to, stdout, stderr] = [events.sender(), events.sender(), events.sender()];
        let args = (line, Outlets { events: to, stdout, stderr, apart: false });
        let exit = context.start(run_process, &args, limit, 0);
        Self { events, exit }
    }
}

/// A receiver for what a context says of a command.
fn receiver(context: &Context) -> Receiver<Event> {
    Receiver::from_context(context.shared(), context.id(), true)
}
