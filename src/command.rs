//! Running commands in other contexts.
//!
//! ```no_run
//! # async fn demo(web: offshoot::Context, router: offshoot::Router) -> Result<(), offshoot::Error> {
//! use offshoot::command::Command;
//! let output = Command::new("uptime").output(&router, &web).await?;
//! println!("{}", String::from_utf8_lossy(&output.stdout));
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use crate::call::Call;
use crate::context::{Context, Econtext};
use crate::error::Error;
use crate::function::Value;
use crate::payload::Blob;
use crate::process::{Known, own_session, signal_group};
use crate::receiver::Receiver;
use crate::router::Router;
use crate::sender::Sender;

/// Bytes of one chunk of output.
const CHUNK: usize = 32 * 1024;
/// After the end of a command its output is read for this long, if other
/// processes hold it open.
const LINGER: Duration = Duration::from_millis(100);
/// A command whose caller has gone gets SIGTERM, and this long after it
/// SIGKILL.
const KILL_AFTER: Duration = Duration::from_millis(500);

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
        #[serde(deserialize_with = "crate::sender::to_its_origin")]
        stdin: Option<Sender<Blob>>,
    },
    /// Bytes from its standard output.
    Stdout(Blob),
    /// Bytes from its standard error.
    Stderr(Blob),
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
}

impl Value for Exit {}

impl Exit {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
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
        let events = Receiver::builder(router).respondent(context.id()).build();
        let exit = context.call(run_process, (self, events.sender()));
        Running { events, exit }
    }

    /// Runs it in `context` and collects its output, in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if it cannot be started; what
    /// [`Context::call`] gives.
    pub async fn output(self, router: &Router, context: &Context) -> Result<Output, Error> {
        let Running { events, mut exit } = self.spawn(router, context);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut take = |event| match event {
            Event::Stdout(Blob(bytes)) => stdout.extend_from_slice(&bytes),
            Event::Stderr(Blob(bytes)) => stderr.extend_from_slice(&bytes),
            Event::Started { .. } => {}
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
        std::fs::metadata(cwd).map_err(|error| name_it(&error, &cwd.display().to_string()))?;
        process.current_dir(cwd);
    }
    own_session(&mut process);
    let child = process.spawn().map_err(|error| name_it(&error, &program.to_string_lossy()))?;
    let mut group = Group { pid: child.id(), _known: Known::new(child.id()), child: Some(child) };
    let Some(child) = &mut group.child else { unreachable!("it has just been put there") };
    let (stdout, stderr, stdin) = (child.stdout.take(), child.stderr.take(), child.stdin.take());
    let (sender, feed) = match (command.stdin, stdin) {
        (Input::Stream, Some(stdin)) => {
            let input = Receiver::builder(econtext.router()).respondent(econtext.caller()).build();
            (Some(input.sender()), Some(Feed::Stream(input, stdin)))
        }
        (Input::Bytes(bytes), Some(stdin)) => (None, Some(Feed::Bytes(bytes, stdin))),
        _ => (None, None),
    };
    let started = Event::Started { pid: group.pid.unwrap_or(0), stdin: sender };
    events.send(started).await.map_err(io::Error::other)?;
    let (events, errors) = (&events, &events);
    let feed = async {
        if let Some(feed) = feed {
            feed.run().await;
        }
    };
    let output =
        async { tokio::try_join!(pump(stdout, events, Event::Stdout), pump(stderr, errors, Event::Stderr)).map(drop) };
    tokio::pin!(feed, output);
    let (mut fed, mut read) = (false, false);
    // Whoever does not take the output has lost interest in the command:
    // leaving by `?` drops the group, which ends it.
    let status = loop {
        tokio::select! {
            () = &mut feed, if !fed => fed = true,
            result = &mut output, if !read => {
                result?;
                read = true;
            }
            status = child.wait() => break status?,
        }
    };
    if !read {
        // A daemon that it has left behind may hold its output open.
        let mut lingering = tokio::time::interval(LINGER);
        lingering.tick().await;
        tokio::select! {
            result = &mut output => result?,
            _ = lingering.tick() => {}
        }
    }
    group.child = None;
    Ok(Exit { code: status.code(), signal: std::os::unix::process::ExitStatusExt::signal(&status) })
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

async fn pump(pipe: Option<impl AsyncRead + Unpin>, events: &Sender<Event>, wrap: fn(Blob) -> Event) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if pipe.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        events.send(wrap(Blob(chunk))).await.map_err(io::Error::other)?;
    }
}

/// A process group that ends when it is dropped before its leader has ended.
struct Group {
    pid: Option<u32>,
    _known: Known,
    child: Option<Child>,
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take().filter(|child| child.id().is_some()) else {
            return;
        };
        let pid = self.pid;
        signal_group(pid, Signal::SIGTERM);
        let end = async move {
            if tokio::time::timeout(KILL_AFTER, child.wait()).await.is_err() {
                signal_group(pid, Signal::SIGKILL);
                let _ = child.wait().await;
            }
        };
        // Bounded by SIGKILL, so nobody need wait for it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end);
        } else {
            signal_group(pid, Signal::SIGKILL);
        }
    }
}

fn name_it(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
