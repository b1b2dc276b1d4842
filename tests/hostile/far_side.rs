//! The far side of a fake ssh: it comes up as an honest child does, and then writes what its attack wants.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::attack::{Act, Attack, HONEST, Stays};
use crate::frame::{self, HEADER, MORE, frame, word};
use crate::kinds::{self, Kind};
use crate::random::Random;
use crate::support::wait_for;

/// The variable with the path of the directory that a trial shares with its attackers. Its file `attack` has the name of the
/// attack, its file `hello` what an honest child says first.
pub(crate) const PLACE: &str = "OFS_HOSTILE";
/// How long a write to a peer that reads may wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this time a peer that does not want more has stopped to read.
const STALLS: Duration = Duration::from_secs(1);
/// How long a controller is stopped.
const HALT: Duration = Duration::from_secs(2);
/// The time between two tries to write to a full link.
const FULL: Duration = Duration::from_millis(1);
/// The handle at which the answers to frames arrive that only show that what was sent before was handled.
const ECHO: u32 = 7_777;
/// The handle at which a block of ids arrives.
const BLOCK: u32 = 7_778;
/// A handle that no context has, and whose messages are answered.
const NOBODY: u32 = 999_999;
/// The handle for answers that nobody wants.
pub(crate) const UNWANTED: u32 = 5_000;
/// Bytes of one write of a flood.
const BATCH: usize = 64 * 1024;

/// Addresses and payload of a frame.
type Received = ([u32; 5], Vec<u8>);

/// What becomes a hostile context: the bytes of the link.
pub(crate) struct Far {
    place: PathBuf,
    host: String,
    token: String,
    /// Whether a first stage was asked for. Otherwise the tool was told that it is installed here.
    is_staged: bool,
    input: File,
    output: File,
    /// Frames that an attack may want to see.
    received: Option<Receiver<Received>>,
    is_deaf: Arc<AtomicBool>,
    /// Those that were looked at and were not what was waited for.
    passed_over: VecDeque<Received>,
    /// This context and the one that has started it.
    pub(crate) me: u32,
    pub(crate) parent: u32,
    pub(crate) random: Random,
    /// How many times the usual amount is sent.
    pub(crate) rounds: u32,
    kinds: BTreeSet<Kind>,
}

/// Runs the attack that this process was started for, instead of ssh.
pub(crate) fn main(place: &Path, args: &[String], attacks: &[Attack]) -> io::Result<()> {
    if args.iter().any(|arg| arg == "-G") {
        return Ok(());
    }
    let name = fs::read_to_string(place.join("attack"))?;
    let attack = attacks.iter().find(|attack| attack.name == name).ok_or_else(|| io::Error::other("no such attack"))?;
    let mut far = Far::new(place, args)?;
    append(&place.join("launchers"), &std::os::unix::process::parent_id().to_string())?;
    let outcome = match attack.act {
        Act::Dialogue(act) => far.await_honest().and_then(|()| act(&mut far)),
        Act::Context { reads, act } => {
            far.come_up(reads).and_then(|()| far.await_honest()).and_then(|()| act(&mut far))
        }
    };
    let is_stuck = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
    if is_stuck && far.received.is_some() {
        append(&place.join("faults"), &format!("{}: nobody reads what it writes", far.host))?;
    }
    fs::write(place.join(format!("done.{}", far.host)), "")?;
    while attack.stays == Stays::ToTheEnd && place.join("stay").exists() {
        std::thread::sleep(FULL);
    }
    Ok(())
}

/// Adds a line to a file that others write to as well.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{line}\n").as_bytes())
}

impl Far {
    fn new(place: &Path, args: &[String]) -> io::Result<Self> {
        let command = args.last().cloned().unwrap_or_default();
        let host = args.get(args.len().saturating_sub(2)).cloned().unwrap_or_default();
        let after = |mark: &str| command.split_once(mark).map(|(_, rest)| rest);
        let half = |mark: &str| after(mark).and_then(|rest| rest.get(..16)).unwrap_or_default();
        let is_staged = command.contains(" A=") || command.contains("'A=");
        let token = match is_staged {
            true => [half("A="), half("B=")].concat(),
            false => after("offshoot-child:").unwrap_or_default().replace(':', ""),
        };
        // The same for the same seed, and different for each host.
        let (random, _) = Random::new(&host);
        Ok(Self {
            place: place.to_owned(),
            token,
            is_staged,
            input: File::from(io::stdin().as_fd().try_clone_to_owned()?),
            output: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            received: None,
            is_deaf: Arc::default(),
            passed_over: VecDeque::new(),
            me: 0,
            parent: 0,
            random,
            rounds: crate::random::rounds(1),
            kinds: BTreeSet::new(),
            host,
        })
    }

    /// The number in the name of the host.
    pub(crate) fn number(&self) -> u32 {
        self.host.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
    }

    /// Announces a machine like this one.
    pub(crate) fn announce(&mut self) -> io::Result<()> {
        self.say(&format!("Linux {} - head none |/tmp/.offshoot-x", std::env::consts::ARCH))
    }

    /// A line of a first stage.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{} {line}\n", self.token);
        self.output.write_all(line.as_bytes())
    }

    /// Takes a request and the image that follows. Returns the number of its bytes.
    pub(crate) fn take_image(&mut self) -> io::Result<u64> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" {
            self.input.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let size: u64 = line.split(' ').next().and_then(|word| word.trim().parse().ok()).unwrap_or(0);
        append(&self.place.join("uploads"), line.trim())?;
        io::copy(&mut (&self.input).take(size), &mut io::sink())
    }

    /// What an honest child writes before its frames.
    pub(crate) fn hello(&self) -> io::Result<Vec<u8>> {
        let hello = fs::read(self.place.join("hello"))?;
        Ok([self.token.as_bytes(), b"\n", &hello].concat())
    }

    pub(crate) fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    /// Comes up, by the handshake and what precedes it.
    fn come_up(&mut self, reads: bool) -> io::Result<()> {
        if self.is_staged {
            self.announce()?;
            self.take_image()?;
        }
        let hello = self.hello()?;
        self.output.write_all(&hello)?;
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut welcome = vec![0; u32::from_be_bytes(length) as usize];
        self.input.read_exact(&mut welcome)?;
        let mut rest = &welcome[..];
        let [me, _, parent] = [(); 3].map(|()| take_number(&mut rest));
        (self.me, self.parent) = (me, parent);
        let flags = OFlag::from_bits_retain(fcntl(&self.output, FcntlArg::F_GETFL)?);
        fcntl(&self.output, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        if reads {
            self.received = Some(read_frames(self.input.try_clone()?, Arc::clone(&self.is_deaf)));
        }
        Ok(())
    }

    /// Writes bytes past all checks.
    ///
    /// # Errors
    ///
    /// If the link has gone, or the peer has stopped to read.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.note(bytes)?;
        self.write(bytes)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let limit = if self.received.is_some() { PATIENCE } else { STALLS };
        let mut since = Instant::now();
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    since = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < limit => {
                    std::thread::sleep(FULL);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the same frames again and again.
    pub(crate) fn flood(&mut self, frames: &[u8], times: u32) -> io::Result<()> {
        self.note(frames)?;
        let per_batch = u32::try_from(BATCH / frames.len().max(1)).unwrap_or(1).max(1);
        let batch = frames.repeat(per_batch as usize);
        for _ in 0..(times * self.rounds).div_ceil(per_batch) {
            self.write(&batch)?;
        }
        Ok(())
    }

    /// Notes what kinds of frames are sent, for the trial to compare with the table.
    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while rest.len() >= HEADER && rest.starts_with(b"OS") {
            for kind in kinds::of_frame(rest) {
                self.note_kind(kind)?;
            }
            rest = rest.get(HEADER + word(rest, 24) as usize..).unwrap_or_default();
        }
        Ok(())
    }

    fn note_kind(&mut self, kind: Kind) -> io::Result<()> {
        if self.kinds.insert(kind) { append(&self.place.join("kinds"), &kind.to_string()) } else { Ok(()) }
    }

    /// A frame of this context, in the control lane.
    pub(crate) fn control(&self, handle: u32, payload: &[u8]) -> Vec<u8> {
        frame(0, [self.parent, self.me, self.me, handle, 0], payload)
    }

    /// The same, with a handle for the answer.
    pub(crate) fn asking(&self, handle: u32, payload: &[u8]) -> Vec<u8> {
        frame(0, [self.parent, self.me, self.me, handle, UNWANTED], payload)
    }

    /// A log record for the master.
    pub(crate) fn log(&self, record: &[u8]) -> Vec<u8> {
        frame(2, [0, self.me, self.me, kinds::FORWARD_LOG, 0], record)
    }

    /// Sends a message, in as many fragments as it takes.
    pub(crate) fn send_long(&mut self, addresses: [u32; 5], payload: &[u8]) -> io::Result<()> {
        let mut parts = payload.chunks(60_000).peekable();
        while let Some(part) = parts.next() {
            let mut bytes = frame(1, addresses, part);
            bytes[2] = if parts.peek().is_some() { MORE } else { 0 };
            self.send(&bytes)?;
        }
        Ok(())
    }

    /// From now on reads nothing.
    pub(crate) fn stop_reading(&mut self) {
        self.received = None;
        self.is_deaf.store(true, Ordering::Relaxed);
    }

    /// Waits until another attacker is done.
    pub(crate) fn wait_for(&self, other: &str) -> io::Result<()> {
        wait_for(PATIENCE, || self.place.join(format!("done.{other}")).exists().then_some(()))
            .ok_or_else(|| io::Error::other("the other attacker is not done"))
    }

    /// Waits until the commands of the honest hosts run.
    fn await_honest(&self) -> io::Result<()> {
        let is_up = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("up.");
        let count = || fs::read_dir(&self.place).into_iter().flatten().flatten().filter(is_up).count();
        let are_up = || (count() >= HONEST).then_some(());
        wait_for(PATIENCE, are_up).ok_or_else(|| io::Error::other("the honest hosts do not come up"))
    }

    /// Stops the parent of the hop that this attacker is behind, for some time.
    pub(crate) fn halt_controller(&self) -> io::Result<()> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", std::os::unix::process::parent_id()))?;
        let pid = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let pid = Pid::from_raw(pid.ok_or_else(|| io::Error::other("no parent"))?);
        kill(pid, Signal::SIGSTOP)?;
        std::thread::spawn(move || {
            std::thread::sleep(HALT);
            kill(pid, Signal::SIGCONT)
        });
        Ok(())
    }

    /// Waits until the parent and the master have handled what was sent before.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        for to in BTreeSet::from([self.parent, 0]) {
            self.send(&frame(1, [to, self.me, self.me, NOBODY, ECHO], b""))?;
            self.wait(|[_, _, _, handle, _], _| handle == ECHO)?;
        }
        Ok(())
    }

    /// Waits for a frame that `is_wanted` accepts, among those that [`read_frames`] keeps.
    pub(crate) fn wait(&mut self, is_wanted: impl Fn([u32; 5], &[u8]) -> bool) -> io::Result<Received> {
        let at = self.passed_over.iter().position(|(addresses, payload)| is_wanted(*addresses, payload));
        if let Some(received) = at.and_then(|at| self.passed_over.remove(at)) {
            return Ok(received);
        }
        let received = self.received.as_ref().ok_or_else(|| io::Error::other("this attack reads nothing"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (addresses, payload) =
                received.recv_timeout(left).map_err(|error| io::Error::other(error.to_string()))?;
            if is_wanted(addresses, &payload) {
                return Ok((addresses, payload));
            }
            self.passed_over.push_back((addresses, payload));
        }
    }

    /// Waits until a function is called here, or in a context that this one plays. Returns the context, the
    /// handle for the reply, and the payload.
    pub(crate) fn called(&mut self) -> io::Result<(u32, u32, Vec<u8>)> {
        let ([dst, .., reply_to], payload) = self.wait(|[_, _, _, handle, _], _| handle == kinds::CALL_FUNCTION)?;
        Ok((dst, reply_to, payload))
    }

    /// The first of the ids that this context is given when it has to start a child.
    pub(crate) fn given_ids(&mut self) -> io::Result<u32> {
        let (_, payload) =
            self.wait(|[_, _, _, handle, _], payload| handle == kinds::ALLOCATE_ID && payload.len() == 12)?;
        Ok(word(&payload, 4))
    }

    /// Asks for a block of ids. Returns the first one, or `None` if that was refused.
    pub(crate) fn ask_for_ids(&mut self) -> io::Result<Option<u32>> {
        let me = self.me;
        self.send(&frame(0, [self.parent, me, me, kinds::ALLOCATE_ID, BLOCK], &me.to_be_bytes()))?;
        let (addresses, payload) = self.wait(|[_, _, _, handle, _], _| handle == BLOCK)?;
        Ok((addresses[4] == 0 && payload.len() == 8).then(|| word(&payload, 0)))
    }

    /// Replies to a call, as the context that was called.
    pub(crate) fn reply(&mut self, as_context: u32, handle: u32, payload: &[u8]) -> io::Result<()> {
        if let Some(kind) = payload.first() {
            self.note_kind(Kind::Reply(*kind))?;
        }
        self.send_long([0, as_context, as_context, handle, 0], payload)
    }
}

/// Reads frames, and keeps those that an attack may want.
fn read_frames(input: File, stop: Arc<AtomicBool>) -> Receiver<Received> {
    let mut input = BufReader::new(input);
    let (keep, kept) = channel();
    std::thread::spawn(move || {
        while let Ok((addresses, payload)) = frame::read(&mut input) {
            let is_wanted =
                [kinds::CALL_FUNCTION, kinds::ALLOCATE_ID, kinds::CREDIT, ECHO, BLOCK].contains(&addresses[3]);
            if stop.load(Ordering::Relaxed) || is_wanted && keep.send((addresses, payload)).is_err() {
                break;
            }
        }
    });
    kept
}

/// Takes a number that bincode has written from the front.
fn take_number(bytes: &mut &[u8]) -> u32 {
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at(count.min(bytes.len()));
        *bytes = rest;
        taken.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    match take(1) {
        251 => take(2),
        252 => take(4),
        other => other,
    }
}
