//! Running commands in other contexts.
//!
//! ```no_run
//! # async fn demo(web: offshoot::Context, router: offshoot::Router) -> Result<(), offshoot::Error> {
//! use offshoot::command::Command;
//! let output = Command::new("uptime").output(&router, &web).await?;
//! println!("{}", String::from_utf8_lossy(&output.stdout));
//! # Ok(()) }
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use crate::api::call::Call;
use crate::api::context::{Context, Econtext};
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::router::Router;
use crate::api::sender::Sender;
use crate::sys::process::Group;
use crate::wire::codec::Blob;
use crate::wire::error::{ChannelError, ChannelErrorKind, Error};

/// Bytes of one chunk of output.
const CHUNK: usize = 32 * 1024;
/// After the end of a command its output is read until the other processes
/// that hold it open have been silent for so long.
///
/// A filter that thinks for longer is rare, and so is who wants to wait longer
/// for a daemon.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Silence is counted in steps, so that a context that stands still for some
/// time, and then goes on, takes that for one step.
const TICK: Duration = Duration::from_millis(100);

/// A command to run in another context.
///
/// It runs in a session of its own. Dropping the call, or the end of the
/// context, ends its whole process group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    argv: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: BTreeMap<OsString, Option<OsString>>,
    clear_env: bool,
    stdin: Input,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Input {
    Null,
    Bytes(Blob),
    Stream,
}

/// What a running command says, in order per stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// It runs. `stdin` takes what [`Command::stdin_stream`] asked for; close
    /// it to end the input.
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
    /// taken, or of other processes that hold it open. How it ended is told
    /// when all has been read.
    Ended,
}

impl Value for Event {}

/// How a command ended.
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

/// A command on its way: its output as it comes, and its end.
///
/// Dropping it ends the command.
#[derive(Debug)]
pub struct Running {
    /// What the command says. It is read at the pace of this end: a command
    /// whose output nobody takes is stopped by its full pipe.
    pub events: Receiver<Event>,
    /// How it ends. All its output has been queued before.
    pub exit: Call<Exit>,
}

impl Command {
    /// Runs `program`, found through PATH there, without a shell.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { argv: vec![program.into()], cwd: None, env: BTreeMap::new(), clear_env: false, stdin: Input::Null }
    }

    /// Runs `line` by `/bin/sh` there.
    pub fn shell(line: impl Into<OsString>) -> Self {
        Self::new("/bin/sh").arg("-c").arg(line)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// The directory to run in. Default: that of the context.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes a variable from its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), None);
        self
    }

    /// Begins with an empty environment. Default: that of the context.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Gives it this as standard input, at most
    /// [`max_message_size`](Router::max_message_size) bytes. Default: nothing.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(Blob(input.into()));
        self
    }

    /// Its standard input will be sent to [`Event::Started`]'s `stdin`.
    #[must_use]
    pub fn stdin_stream(mut self) -> Self {
        self.stdin = Input::Stream;
        self
    }

    /// Starts it in `context`.
    pub fn spawn(self, router: &Router, context: &Context) -> Running {
        let events = Receiver::from_context(router.shared(), context.id(), true);
        let exit = context.call(run_process, (self, events.sender()));
        Running { events, exit }
    }

    /// Runs it in `context` and collects its output, in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if it cannot be started; [`Error::Channel`] if some of
    /// its output was lost on the way; what [`Context::call`] gives.
    pub async fn output(self, router: &Router, context: &Context) -> Result<Output, Error> {
        let Running { events, mut exit } = self.spawn(router, context);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut take = |event| match event {
            Event::Stdout(Blob(bytes)) => stdout.extend_from_slice(&bytes),
            Event::Stderr(Blob(bytes)) => stderr.extend_from_slice(&bytes),
            Event::Started { .. } | Event::Ended => {}
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
            return Err(ChannelError::new(context.id(), ChannelErrorKind::Disconnected, reason).into());
        }
        Ok(Output { exit, stdout, stderr })
    }
}

/// Runs a command and sends what it says to `events`.
async fn run_process(econtext: &Econtext, command: Command, events: Sender<Event>) -> io::Result<Exit> {
    let Some((program, args)) = command.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command given"));
    };
    let mut process = tokio::process::Command::new(program);
    process.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.stdin(if command.stdin == Input::Null { Stdio::null() } else { Stdio::piped() });
    if command.clear_env {
        process.env_clear();
    }
    for (name, value) in &command.env {
        match value {
            Some(value) => process.env(name, value),
            None => process.env_remove(name),
        };
    }
    if let Some(cwd) = &command.cwd {
        // Otherwise a missing directory and a missing program look the same.
        std::fs::metadata(cwd).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot change to directory {}: {error}", cwd.display()))
        })?;
        process.current_dir(cwd);
    }
    // Whoever does not take the output has lost interest in the command:
    // leaving by `?` drops the group, which ends it.
    let mut group = Group::start(&mut process).map_err(|error| not_started(&error, program))?;
    let Some(leader) = group.leader() else { unreachable!("it has just been started") };
    let (stdout, stderr, stdin, pid) = (leader.stdout.take(), leader.stderr.take(), leader.stdin.take(), leader.id());
    let (sender, feed) = match (command.stdin, stdin) {
        (Input::Stream, Some(stdin)) => {
            let input = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
            (Some(input.sender()), Some(Feed::Stream(input, stdin)))
        }
        (Input::Bytes(bytes), Some(stdin)) => (None, Some(Feed::Bytes(bytes, stdin))),
        _ => (None, None),
    };
    let started = Event::Started { pid: pid.unwrap_or(0), stdin: sender };
    events.send(started).await.map_err(io::Error::other)?;
    let feed = async {
        if let Some(feed) = feed {
            feed.run().await;
        }
    };
    let reading = Reading::default();
    let pumps = (pump(stdout, &events, Event::Stdout, &reading, 0), pump(stderr, &events, Event::Stderr, &reading, 1));
    let output = async { tokio::try_join!(pumps.0, pumps.1).map(drop) };
    tokio::pin!(feed, output);
    let (mut fed, mut read) = (false, false);
    let status = loop {
        tokio::select! {
            () = &mut feed, if !fed => fed = true,
            result = &mut output, if !read => {
                result?;
                read = true;
            }
            status = group.wait() => break status?,
        }
    };
    let open = !read && {
        let others = async {
            tokio::time::sleep(TICK).await;
            events.send(Event::Ended).await.map_err(io::Error::other)?;
            reading.silence().await;
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            // What has come at the last moment is taken before it is too late.
            biased;
            result = &mut output => result.map(|()| false)?,
            result = others => result.map(|()| true)?,
        }
    };
    group.let_go();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    Ok(Exit { code: status.code(), signal, open, written: reading.bytes() })
}
crate::export!(bound run_process);

enum Feed {
    Bytes(Blob, ChildStdin),
    Stream(Receiver<Blob>, ChildStdin),
}

impl Feed {
    /// A command that does not read its input to the end is no error.
    async fn run(self) {
        match self {
            Self::Bytes(Blob(bytes), mut stdin) => drop(stdin.write_all(&bytes).await),
            Self::Stream(input, mut stdin) => {
                while let Ok(Blob(bytes)) = input.recv().await {
                    if stdin.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
}

/// How far the output of a command has been read.
#[derive(Default)]
struct Reading {
    /// Bytes of each stream.
    bytes: [Cell<u64>; 2],
    /// Streams that are not being read, as what was read waits to be taken.
    waiting: Cell<u32>,
}

impl Reading {
    fn bytes(&self) -> [u64; 2] {
        self.bytes.each_ref().map(Cell::get)
    }

    /// Ends when nothing has come for long enough, though it would have been
    /// read.
    async fn silence(&self) {
        let (mut silent, mut last) = (Duration::ZERO, self.bytes());
        while silent < SILENCE {
            tokio::time::sleep(TICK).await;
            let now = self.bytes();
            let is_silent = now == last && self.waiting.get() == 0;
            (silent, last) = (if is_silent { silent + TICK } else { Duration::ZERO }, now);
        }
    }
}

async fn pump(
    pipe: Option<impl AsyncRead + Unpin>,
    events: &Sender<Event>,
    wrap: fn(Blob) -> Event,
    reading: &Reading,
    stream: usize,
) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = pipe.read_buf(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        reading.bytes[stream].update(|bytes| bytes + count as u64);
        reading.waiting.update(|waiting| waiting + 1);
        events.send(wrap(Blob(chunk))).await.map_err(io::Error::other)?;
        reading.waiting.update(|waiting| waiting - 1);
    }
}

/// Why a command could not be started.
fn not_started(error: &io::Error, program: &OsStr) -> io::Error {
    let name = program.to_string_lossy();
    let why = match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => "not found on the host".into(),
        // What fork says where there are too many processes.
        io::ErrorKind::WouldBlock => format!("{error}: no more processes can be started there (`ulimit -u`)"),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot start `{name}`: {why}"))
}
