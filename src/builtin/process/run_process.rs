//! The far side of a command: runs it, and sends its events.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::api::econtext::Econtext;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::builtin::process::{Event, Exit, SILENCE, WindowSize};
use crate::sys::process::{Group, Program, Start, null, raise_open_files, sealed_copy};
use crate::sys::{pipe, pty};
use crate::wire::codec::Blob;

/// Bytes of one chunk of output.
const CHUNK: usize = 32 * 1024;
/// Silence is counted in steps of this length. If the context is stopped for some time and continues, that time
/// counts as one step.
const TICK: Duration = Duration::from_millis(100);

/// A command to run, in any context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandLine {
    pub(crate) argv: Vec<OsString>,
    pub(crate) cwd: Option<PathBuf>,
    /// `None` removes a variable.
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    pub(crate) clear_env: bool,
    pub(crate) stdin: Input,
    /// The output is not wanted.
    pub(crate) mute: bool,
    /// The output is read to its end, however long other processes that hold it open are silent.
    pub(crate) to_end: bool,
    /// It runs on a terminal of this size, of which all three descriptors are.
    pub(crate) terminal: Option<WindowSize>,
    /// A script for the program.
    pub(crate) script: Option<Script>,
}

impl CommandLine {
    /// A program, found through PATH in its context, without a shell.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { argv: vec![program.into()], ..Self::default() }
    }

    /// A line for `/bin/sh` in its context.
    pub(crate) fn shell(line: impl Into<OsString>) -> Self {
        Self { argv: vec!["/bin/sh".into(), "-c".into(), line.into()], ..Self::default() }
    }
}

/// A text that a program reads by a path, without a file: the program inherits it as an open descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) text: Blob,
    /// The path of the descriptor is appended to this argument.
    pub(crate) argument: usize,
}

/// The input of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Input {
    #[default]
    Null,
    Bytes(Blob),
    Stream,
}

/// The senders for the events of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outlets {
    /// For its start and its end.
    pub(crate) events: Sender<Event>,
    pub(crate) stdout: Sender<Event>,
    pub(crate) stderr: Sender<Event>,
    /// Whether these are three receivers instead of one. Then each stream ends with an empty chunk, and a
    /// stream that is not read does not hold up the others.
    pub(crate) apart: bool,
}

/// Closes the senders on drop, so that the receivers learn the end in every case.
struct Closing(Outlets);

impl Drop for Closing {
    fn drop(&mut self) {
        if self.0.apart {
            [&self.0.stdout, &self.0.stderr, &self.0.events].into_iter().for_each(Sender::close);
        }
    }
}

/// Runs a command and sends its events to `outlets`.
pub(crate) async fn run_process(econtext: &Econtext, mut command: CommandLine, outlets: Outlets) -> io::Result<Exit> {
    let outlets = Closing(outlets);
    let Outlets { events, stdout: out, stderr: err, apart } = &outlets.0;
    let is_script = command.script.is_some();
    let passed = command.script.take().map(|script| hold(script, &mut command.argv)).transpose()?;
    let Some(name) = command.argv.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command given"));
    };
    let Ends { theirs, input, stdout: from_stdout, stderr: from_stderr, screen } = Ends::of(&command)?;
    let process = prepare(&command, theirs, screen.is_some(), passed)?;
    // If the output cannot be sent, its receiver is gone. Returning by `?` then drops the group, which ends the
    // command.
    let mut group = Group::start(process).map_err(|error| not_started(&error, name, is_script))?;
    let pid = group.leader();
    let (sender, feed) = match (command.stdin, input) {
        (Input::Stream, Some(stdin)) => {
            let input = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
            (Some(input.sender()), Some(Feed::Stream(input, stdin)))
        }
        (Input::Bytes(bytes), Some(stdin)) => (None, Some(Feed::Bytes(bytes, stdin))),
        _ => (None, None),
    };
    let screen =
        screen.map(|screen| (Receiver::<Blob>::from_context(econtext.shared(), econtext.caller_id(), true), screen));
    let sizes = screen.as_ref().map(|(sizes, _)| sizes.sender());
    let started = Event::Started { pid: pid.unwrap_or(0), stdin: sender, sizes };
    events.send(started).await.map_err(io::Error::other)?;
    let feed = async {
        let fed = async {
            if let Some(feed) = feed {
                feed.run().await;
            }
        };
        tokio::join!(fed, follow(screen));
    };
    let reading = Reading::default();
    let pumps = (
        pump(from_stdout, out, Event::Stdout, &reading, (0, *apart)),
        pump(from_stderr, err, Event::Stderr, &reading, (1, *apart)),
    );
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
    let (code, signal) = (status.code(), std::os::unix::process::ExitStatusExt::signal(&status));
    while command.to_end && !read {
        tokio::select! {
            () = &mut feed, if !fed => fed = true,
            result = &mut output => {
                result?;
                read = true;
            }
        }
    }
    let open = !read && {
        let others = async {
            tokio::time::sleep(TICK).await;
            events.send(Event::Ended { code, signal }).await.map_err(io::Error::other)?;
            reading.silence().await;
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            // Output that arrives at the last moment is taken first.
            biased;
            result = &mut output => result.map(|()| false)?,
            result = others => result.map(|()| true)?,
        }
    };
    if open && *apart {
        // The command has ended well, so the streams end, too. A receiver that is gone does not need that.
        let _ = tokio::join!(out.send(Event::Stdout(Blob::default())), err.send(Event::Stderr(Blob::default())));
    }
    group.let_go();
    Ok(Exit { code, signal, open, written: reading.bytes() })
}
crate::export!(bound run_process);

/// The process of a command, ready to start.
fn prepare(
    command: &CommandLine,
    theirs: [OwnedFd; 3],
    has_terminal: bool,
    passed: Option<OwnedFd>,
) -> io::Result<Start> {
    let mut process = Start::new(Program::new(&command.argv)?, theirs);
    if has_terminal {
        process.with_terminal();
    }
    if let Some(passed) = passed {
        process.pass(passed);
    }
    if command.clear_env {
        process.variables.clear();
    }
    process.variables.retain(|(name, _)| !command.env.contains_key(name));
    let set = command.env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    process.variables.extend(set);
    if let Some(cwd) = &command.cwd {
        check_directory(cwd).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot change to directory {}: {error}", cwd.display()))
        })?;
        process.in_directory(cwd)?;
    }
    Ok(process)
}

/// Puts the path of a script's descriptor into the arguments.
fn hold(script: Script, argv: &mut [OsString]) -> io::Result<OwnedFd> {
    let held = sealed_copy(&script.text.0)?;
    // Linux has this one also where /dev is almost empty.
    let mut path = format!("/proc/self/fd/{}", held.as_raw_fd());
    if !Path::new(&path).exists() {
        path.replace_range(.."/proc/self".len(), "/dev");
        if !Path::new(&path).exists() {
            let lacks = "a script is read through /proc or /dev/fd, and the host has neither: mount one of them there";
            return Err(io::Error::new(io::ErrorKind::NotFound, lacks));
        }
    }
    argv.get_mut(script.argument).ok_or(io::ErrorKind::InvalidInput)?.push(path);
    Ok(held)
}

/// The ends of the streams of a command.
struct Ends {
    theirs: [OwnedFd; 3],
    input: Option<pipe::Output>,
    stdout: Option<pipe::Input>,
    stderr: Option<pipe::Input>,
    /// Our end of its terminal, to change the size.
    screen: Option<OwnedFd>,
}

impl Ends {
    fn of(command: &CommandLine) -> io::Result<Self> {
        raise_open_files();
        if let Some(WindowSize { rows, columns }) = command.terminal {
            let (screen, theirs) = pty::open().map_err(io::Error::other)?;
            pty::resize(screen.as_fd(), [rows, columns])?;
            let theirs = OwnedFd::from(theirs);
            return Ok(Self {
                theirs: [theirs.try_clone()?, theirs.try_clone()?, theirs],
                input: Some(pipe::Output::new(screen.try_clone()?)?),
                stdout: Some(pipe::Input::new(screen.try_clone()?)?),
                stderr: None,
                screen: Some(screen),
            });
        }
        let (stdin, input) = if command.stdin == Input::Null { (null()?, None) } else { to_command()? };
        let [(out, stdout), (err, stderr)] =
            if command.mute { [(null()?, None), (null()?, None)] } else { [from_command()?, from_command()?] };
        Ok(Self { theirs: [stdin, out, err], input, stdout, stderr, screen: None })
    }
}

/// Changes the size of a terminal when it is told to.
async fn follow(screen: Option<(Receiver<Blob>, OwnedFd)>) {
    let Some((sizes, screen)) = screen else { return };
    while let Ok(size) = sizes.recv().await {
        if let Some(WindowSize { rows, columns }) = WindowSize::from_blob(&size) {
            // An error means that the terminal is gone.
            let _ = pty::resize(screen.as_fd(), [rows, columns]);
        }
    }
}

/// The end of a pipe that a command writes to, and ours.
fn from_command() -> io::Result<(OwnedFd, Option<pipe::Input>)> {
    let (ours, theirs) = io::pipe()?;
    Ok((theirs.into(), Some(pipe::Input::new(ours.into())?)))
}

/// The end of a pipe that a command reads from, and ours.
fn to_command() -> io::Result<(OwnedFd, Option<pipe::Output>)> {
    let (theirs, ours) = io::pipe()?;
    Ok((theirs.into(), Some(pipe::Output::new(ours.into())?)))
}

enum Feed {
    Bytes(Blob, pipe::Output),
    Stream(Receiver<Blob>, pipe::Output),
}

impl Feed {
    /// Writes the input. It is not an error if the command does not read it to its end.
    async fn run(self) {
        match self {
            Self::Bytes(Blob(bytes), stdin) => drop(stdin.write_all(&bytes).await),
            Self::Stream(input, stdin) => {
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
    /// Bytes that were read from each stream.
    bytes: [Cell<u64>; 2],
    /// Number of streams that are not read now, because a chunk of them waits for room.
    waiting: Cell<u32>,
}

impl Reading {
    fn bytes(&self) -> [u64; 2] {
        self.bytes.each_ref().map(Cell::get)
    }

    /// Ends when no output has come for [`SILENCE`] while the streams were being read.
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
    pipe: Option<pipe::Input>,
    events: &Sender<Event>,
    wrap: fn(Blob) -> Event,
    reading: &Reading,
    (stream, apart): (usize, bool),
) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let count = pipe.read_buf(&mut chunk).await?;
        if count == 0 {
            if apart {
                // If the receiver is gone, it does not need the end.
                let _ = events.send(wrap(Blob(Vec::new()))).await;
            }
            return Ok(());
        }
        reading.bytes[stream].update(|bytes| bytes + count as u64);
        reading.waiting.update(|waiting| waiting + 1);
        let sent = events.send(wrap(Blob(chunk.into()))).await;
        reading.waiting.update(|waiting| waiting - 1);
        if apart && sent.is_err() {
            // The command notices through its pipe that the reader is gone.
            return Ok(());
        }
        sent.map_err(io::Error::other)?;
    }
}

/// Checks that a command can run in a directory. Without this, what is wrong with the directory looks like an error
/// of the program.
fn check_directory(directory: &Path) -> io::Result<()> {
    if !std::fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(nix::unistd::access(directory, nix::unistd::AccessFlags::X_OK)?)
}

/// Said of a program that is in no directory of PATH.
const NOT_FOUND: &str = "not found on the host";

/// Why a command could not be started.
fn not_started(error: &io::Error, program: &OsStr, is_interpreter: bool) -> io::Error {
    let name = program.to_string_lossy();
    if is_interpreter && error.kind() == io::ErrorKind::NotFound {
        return io::Error::new(error.kind(), format!("no such interpreter of the script on the host: `{name}`"));
    }
    let why = match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => NOT_FOUND.into(),
        // The error of fork if there are too many processes.
        io::ErrorKind::WouldBlock => format!("{error}: no more processes can be started there (`ulimit -u`)"),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot start `{name}`: {why}"))
}
