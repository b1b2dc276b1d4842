//! The far side of a command: runs it, and sends its events.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::api::econtext::Econtext;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::builtin::process::{Event, Exit, SILENCE};
use crate::sys::pipe;
use crate::sys::process::{Group, Program, Start, null};
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
pub(crate) async fn run_process(econtext: &Econtext, command: CommandLine, outlets: Outlets) -> io::Result<Exit> {
    let outlets = Closing(outlets);
    let Outlets { events, stdout: out, stderr: err, apart } = &outlets.0;
    let Some(name) = command.argv.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command given"));
    };
    let (stdin, input) = if command.stdin == Input::Null { (null()?, None) } else { to_command()? };
    let [(stdout, from_stdout), (stderr, from_stderr)] =
        if command.mute { [(null()?, None), (null()?, None)] } else { [from_command()?, from_command()?] };
    let mut process = Start::new(Program::new(&command.argv)?, [stdin, stdout, stderr]);
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
    // If the output cannot be sent, its receiver is gone. Returning by `?` then drops the group, which ends the
    // command.
    let mut group = Group::start(process).map_err(|error| not_started(&error, name))?;
    let pid = group.leader();
    let (sender, feed) = match (command.stdin, input) {
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
    group.let_go();
    Ok(Exit { code, signal, open, written: reading.bytes() })
}
crate::export!(bound run_process);

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
pub(crate) const NOT_FOUND: &str = "not found on the host";

/// Why a command could not be started.
fn not_started(error: &io::Error, program: &OsStr) -> io::Error {
    let name = program.to_string_lossy();
    let why = match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => NOT_FOUND.into(),
        // The error of fork if there are too many processes.
        io::ErrorKind::WouldBlock => format!("{error}: no more processes can be started there (`ulimit -u`)"),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot start `{name}`: {why}"))
}
