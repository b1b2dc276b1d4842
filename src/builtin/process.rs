//! Runs commands in other contexts. The types are similar to those of `tokio::process`.
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

use std::any::type_name_of_val;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::{Builtin, Value};
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::api::with_timeout::WithTimeout;
use crate::builtin::process::run_process::{CommandLine, Input, Outlets, run_process};
use crate::wire::codec::Blob;
use crate::wire::error::{ChannelError, ChannelErrorKind, Error};

pub use remote_child::{ChildOutput, ChildStdin, RemoteChild};

/// How long the output must be silent after the end of a command.
///
/// After a command has ended, other processes may hold its output open. The output is read until they have been
/// silent for this time. A filter that computes for longer is rare, and few users want to wait longer for a
/// daemon.
///
/// The [module](crate::process) has an example of commands.
pub const SILENCE: Duration = Duration::from_secs(2);

/// What runs commands, for [`Connect::allow`](crate::connect::Connect::allow), which has an example.
pub const COMMANDS: Builtin = Builtin(|| vec![type_name_of_val(&run_process)]);

impl Context {
    /// A command to run in this context. `program` is found through PATH there, without a shell. Nothing
    /// happens until [`Command::output`], [`Command::status`], [`Command::spawn`] or [`Command::events`] is
    /// called.
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

    /// A line for `/bin/sh` in this context; otherwise as [`Context::command`].
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
    /// As [`Context::command`], but the command is ended when it has run for the time limit. The caller then
    /// gets [`Error::Timeout`].
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        Command::new(self.context, Some(self.limit), CommandLine::new(program))
    }

    /// As [`Context::shell`], but the command is ended when it has run for the time limit. The caller then gets
    /// [`Error::Timeout`].
    pub fn shell(&self, line: impl Into<OsString>) -> Command {
        Command::new(self.context, Some(self.limit), CommandLine::shell(line))
    }
}

/// A command to run in another context; see [`Context::command`].
///
/// It runs in a session of its own. If the future or the child that waits for it is dropped, or if the context
/// ends, the whole process group of the command is ended: by SIGTERM, and half a second later by SIGKILL.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before output(), status() or spawn()"]
pub struct Command {
    context: Context,
    /// The time limit for the command.
    limit: Option<Duration>,
    line: CommandLine,
    stdin: Option<Stdin>,
}

/// The input of a command; see [`Command::stdin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdin(Input);

impl Stdin {
    /// No input: the command reads end of file at once.
    pub fn null() -> Self {
        Self(Input::Null)
    }

    /// The input is written to [`RemoteChild::stdin`].
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

/// How many rows and columns a terminal has; see [`Command::terminal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines of text.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for WindowSize {
    /// The size of the terminals of old, which programs assume if they know no better.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl WindowSize {
    /// As it is sent, so that no further type of sender is needed.
    pub(crate) fn to_blob(self) -> Blob {
        Blob([self.rows.to_be_bytes(), self.columns.to_be_bytes()].concat())
    }

    pub(crate) fn from_blob(Blob(bytes): &Blob) -> Option<Self> {
        let [a, b, c, d] = *bytes.as_slice() else { return None };
        Some(Self { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) })
    }
}

/// An event of a running command. The events of one stream keep their order.
///
/// [`Command::events`] has an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// The command runs. `stdin` takes its input, if its input is [`Stdin::piped`]. Close it to end the input.
    Started {
        /// The process id of the command in its context.
        pid: u32,
        /// Sender for the standard input of the command.
        #[serde(deserialize_with = "crate::api::sender::to_its_origin")]
        stdin: Option<Sender<Blob>>,
        /// Sender for the sizes of its terminal, if it has one; see [`Command::terminal`].
        #[serde(deserialize_with = "crate::api::sender::to_its_origin")]
        sizes: Option<Sender<Blob>>,
    },
    /// Bytes from its standard output.
    Stdout(Blob),
    /// Bytes from its standard error.
    Stderr(Blob),
    /// The command has ended, but its output has not: more may come from a queue, or from other processes that
    /// hold the output open. [`Exit`] comes when all output has been read.
    Ended {
        /// The exit code, if the command exited.
        code: Option<i32>,
        /// The signal that killed the command, if one did.
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
    /// The exit code, if the command exited.
    pub code: Option<i32>,
    /// The signal that killed the command, if one did.
    pub signal: Option<i32>,
    /// Whether another process still held the output open after [`SILENCE`], so that the output was not read to
    /// its end. Everything that came before has been received, and the streams of a [`RemoteChild`] have ended as if
    /// the output had been closed.
    pub open: bool,
    /// How many bytes were read from the command's standard output and standard error.
    pub written: [u64; 2],
}

impl Value for Exit {}

impl Exit {
    /// Whether the command exited with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// How many bytes of output are missing, if this many bytes of standard output and standard error were
    /// received.
    pub fn missing(&self, received: [u64; 2]) -> u64 {
        self.written.iter().zip(received).map(|(written, received)| written.saturating_sub(received)).sum()
    }
}

/// The whole output of a command, and how it ended.
///
/// [`Context::command`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How the command ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A running command: its events, and its end; see [`Command::events`].
///
/// Dropping it ends the command.
///
/// [`Command::events`] has an example.
#[derive(Debug)]
pub struct Running {
    /// The events of the command. They arrive at the pace at which they are received: if the receiver does not
    /// read, the command stops when its pipe is full. After the last event it waits, and does not end.
    pub events: Receiver<Event>,
    /// How the command ends. All its output is queued before this.
    pub exit: Call<Exit>,
}

impl Command {
    pub(crate) fn new(context: &Context, limit: Option<Duration>, line: CommandLine) -> Self {
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

    /// Directory to run in. Default: the directory of the context.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.line.cwd = Some(directory.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.line.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.line.env.insert(name.into(), None);
        self
    }

    /// Starts with an empty environment. Default: the environment of the context.
    pub fn env_clear(mut self) -> Self {
        self.line.clear_env = true;
        self
    }

    /// Sets the input: bytes or a text, at most [`max_message_size`](crate::Router::max_message_size) bytes, or
    /// [`Stdin::piped`]. Default: no input; for [`Command::spawn`], a pipe.
    pub fn stdin(mut self, input: impl Into<Stdin>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Runs the command on a terminal of this size, as an interactive program wants it. The terminal is its
    /// input and both its outputs: all output is standard output. [`RemoteChild::resize`] changes the size.
    ///
    /// The terminal changes bytes: what is typed comes back as output, lines end with `\r\n`, and Ctrl-D, the
    /// byte 4, ends the input. When the command is ended, all programs on its terminal get SIGHUP.
    ///
    /// ```
    /// use offshoot::process::WindowSize;
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// # let web = router.local().await?;
    /// let output = web.command("stty").arg("size").terminal(WindowSize { rows: 33, columns: 99 }).output().await?;
    /// assert_eq!(output.stdout, b"33 99\r\n");
    /// # Ok(()) }
    /// ```
    pub fn terminal(mut self, size: WindowSize) -> Self {
        self.line.terminal = Some(size);
        self
    }

    #[cfg(feature = "fakessh")]
    pub(crate) fn has_terminal(&self) -> bool {
        self.line.terminal.is_some()
    }

    /// Reads the output until all processes have closed it, as ssh does, instead of until [`SILENCE`].
    #[cfg(feature = "fakessh")]
    pub(crate) fn with_whole_output(mut self) -> Self {
        self.line.to_end = true;
        self
    }

    /// Runs the command and collects its output in memory. Dropping the future ends the command.
    ///
    /// An exit code other than 0 is not an error: see [`Exit::success`].
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the command cannot be started, [`Error::Channel`] if some of its output was lost on
    /// the way, and the errors of [`Context::call`].
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
                event = events.recv() => match event {
                    // The end may have arrived before the connection was lost.
                    Err(error) if error.is_disconnected() => break exit.await?,
                    event => take(event?),
                },
                exit = &mut exit => break exit?,
            }
        };
        // Events that were sent before the exit have arrived before it.
        loop {
            match events.try_recv() {
                Ok(Some(event)) => take(event),
                Err(error @ Error::Payload(_)) => return Err(error),
                _ => break,
            }
        }
        let missing = exit.missing([stdout.len() as u64, stderr.len() as u64]);
        if missing > 0 {
            let reason = format!("{missing} bytes of the output of the command were lost on the way");
            return Err(ChannelError::new(context, ChannelErrorKind::Disconnected, reason).into());
        }
        Ok(Output { exit, stdout, stderr })
    }

    /// Runs the command, discards its output in the other context, and returns how the command ended. Dropping
    /// the future ends the command. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub async fn status(mut self) -> Result<Exit, Error> {
        self.line.mute = true;
        let Running { events: _unheard, exit } = self.events();
        exit.await
    }

    /// Starts the command, with its input and both its outputs as streams. Returns at once. If the command
    /// cannot be started, [`RemoteChild::wait`] returns the error. Dropping the child ends the command.
    pub fn spawn(mut self) -> RemoteChild {
        let Stdin(input) = self.stdin.take().unwrap_or_else(Stdin::piped);
        self.line.stdin = input;
        RemoteChild::start(&self.context, self.limit, self.line)
    }

    /// Starts the command, with both its outputs in one receiver, in the order in which they were read. Returns
    /// at once.
    ///
    /// The receiver does not end with the command: after the last event, [`Receiver::recv`] waits until the
    /// context has gone. The end of the command is [`Running::exit`]. Wait for both, and then take the events
    /// that are left. (`tokio::select!` needs the crate `tokio` with its feature `macros`.)
    ///
    /// ```
    /// use offshoot::process::{Event, Running};
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// # let web = router.local().await?;
    /// let Running { events, mut exit } = web.shell("echo out; echo err >&2").events();
    /// let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    /// let mut take = |event| match event {
    ///     Event::Stdout(bytes) => stdout.extend(bytes.0),
    ///     Event::Stderr(bytes) => stderr.extend(bytes.0),
    ///     _ => {}
    /// };
    /// let exit = loop {
    ///     tokio::select! {
    ///         event = events.recv() => take(event?),
    ///         exit = &mut exit => break exit?,
    ///     }
    /// };
    /// // All events have arrived before the exit.
    /// while let Some(event) = events.try_recv()? {
    ///     take(event);
    /// }
    /// assert!(exit.success());
    /// assert_eq!((&stdout[..], &stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
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
        let exit = context.start(run_process, &args, limit);
        Self { events, exit }
    }
}

/// A receiver for the events of a command in this context.
fn receiver(context: &Context) -> Receiver<Event> {
    Receiver::from_context(context.shared(), context.id(), true)
}
