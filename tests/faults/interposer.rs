//! In the place of `ssh`: runs the command that ssh would run on the host, passes the bytes of both directions, counts
//! them, and strikes at the byte of the plan.
//!
//! The far side is as behind sshd: it is in a process group of its own, it has sockets, and its input ends when its first
//! process has ended.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};

use super::fault::{Direction, Fault, Injection};

/// Files in the directory of a run: what to do, the pid of the tool, when it was done, and which process was stopped. The
/// streams are recorded in files of this name, if there is one, with the link and the direction after it.
pub(crate) const PLAN: &str = "plan";
pub(crate) const TOOL: &str = "tool";
pub(crate) const STRUCK: &str = "struck";
pub(crate) const STOPPED: &str = "stopped";
pub(crate) const RECORD: &str = "record";

/// How long a pause lasts.
const PAUSE: Duration = Duration::from_millis(300);
/// How many bytes pass slowly, and how long each of them takes.
const SLOW: (u64, Duration) = (300, Duration::from_millis(1));
/// How many bytes are repeated, at most.
const TAIL: usize = 64;
/// What ssh ends with if its connection is lost.
const LOST: u8 = 255;

/// Whether nothing passes any more.
static IS_STALLED: AtomicBool = AtomicBool::new(false);
/// How many processes are paused, and have to go on before this one ends.
static PAUSED: AtomicU32 = AtomicU32::new(0);

/// The arguments are the directory of the run and those of ssh.
pub(crate) fn main(args: &[String]) -> Result<ExitCode> {
    let [place, args @ ..] = args else { anyhow::bail!("no directory") };
    // The tool asks what the configuration says.
    if args.iter().any(|arg| arg == "-G") {
        return Ok(ExitCode::SUCCESS);
    }
    let [.., link, command] = args else { anyhow::bail!("no command") };
    let place = Path::new(place);
    let plan = fs::read_to_string(place.join(PLAN)).unwrap_or_default();
    let plan = Injection::parse_plan(&plan).ok().filter(|(on, ..)| on == link && !place.join(STRUCK).exists());
    let (input, theirs) = UnixStream::pair()?;
    let (output, their_output) = UnixStream::pair()?;
    let mut far = start(command, &place.join(link), [theirs.into(), their_output.into()])?;
    let pid = Pid::from_raw(i32::try_from(far.id())?);
    let passage = |direction: Direction| -> Result<Passage> {
        let fault = plan.filter(|(_, on, ..)| *on == direction).map(|(.., at, fault)| (at, fault));
        let (from, to) = match direction {
            Direction::Down => (io::stdin().as_fd().try_clone_to_owned()?, OwnedFd::from(input.try_clone()?)),
            Direction::Up => (output.try_clone()?.into(), io::stdout().as_fd().try_clone_to_owned()?),
        };
        let ends = Ends { from: from.into(), to: to.into(), far: [input.try_clone()?, output.try_clone()?] };
        let record = place.join(format!("{RECORD}.{link}.{}", direction.name()));
        let record = if place.join(RECORD).exists() { Some(fs::File::create(record)?) } else { None };
        let place = place.to_owned();
        Ok(Passage { place, direction, ends, far: pid, fault, record, count: 0, slow: 0, tail: Vec::new() })
    };
    let (down, up) = (passage(Direction::Down)?, passage(Direction::Up)?);
    thread::spawn(move || down.pass());
    let up = thread::spawn(move || up.pass());
    let status = far.wait()?;
    let _ = input.shutdown(Shutdown::Both);
    let _ = up.join();
    while PAUSED.load(Ordering::SeqCst) > 0 {
        thread::sleep(PAUSE / 10);
    }
    Ok(ExitCode::from(status.code().map_or(LOST, |code| code as u8)))
}

fn start(command: &str, home: &Path, [input, output]: [OwnedFd; 2]) -> Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(home).process_group(0).stdin(input).stdout(output);
    shell.spawn().context("no shell")
}

/// The ends of a direction.
struct Ends {
    from: fs::File,
    to: fs::File,
    /// Our ends of the input and of the output of the far side.
    far: [UnixStream; 2],
}

impl Ends {
    /// Ends a direction for both sides. Nothing else of this process holds its ends open.
    fn close(self, direction: Direction) {
        let [input, output] = self.far;
        let _ = match direction {
            Direction::Down => input.shutdown(Shutdown::Write),
            Direction::Up => output.shutdown(Shutdown::Both),
        };
        drop((self.from, self.to));
        let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") else { return };
        let _ = match direction {
            Direction::Down => dup2_stdin(null),
            Direction::Up => dup2_stdout(null),
        };
    }
}

/// One direction of the link.
struct Passage {
    place: PathBuf,
    direction: Direction,
    ends: Ends,
    far: Pid,
    /// What is still to be done, and after how many bytes.
    fault: Option<(u64, Fault)>,
    record: Option<fs::File>,
    /// Bytes that have passed.
    count: u64,
    /// Bytes that pass slowly.
    slow: u64,
    /// The last bytes that have passed.
    tail: Vec<u8>,
}

/// What happens to the bytes that follow.
#[derive(PartialEq, Eq)]
enum Next {
    Pass,
    End,
    /// The next byte changes, or is missing.
    Change(Fault),
}

impl Passage {
    fn pass(mut self) {
        let _ = self.pass_all();
        self.ends.close(self.direction);
    }

    fn pass_all(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let next = match self.fault {
                Some((at, fault)) if at == self.count => {
                    self.fault = None;
                    self.strike(fault)?
                }
                _ => Next::Pass,
            };
            if next == Next::End {
                return Ok(());
            }
            let most = match (&next, self.fault) {
                _ if self.slow > 0 => 1,
                (Next::Change(_), _) => 1,
                // A pending fault lies behind what has passed.
                (_, Some((at, _))) => (at - self.count).min(buffer.len() as u64) as usize,
                _ => buffer.len(),
            };
            let count = self.ends.from.read(&mut buffer[..most])?;
            if count == 0 {
                return Ok(());
            }
            wait_if_stalled();
            let bytes = &mut buffer[..count];
            if let Next::Change(fault) = next {
                self.note()?;
                match fault {
                    Fault::Flip(bit) => bytes[0] ^= 1 << bit,
                    _ => {
                        self.count += 1;
                        continue;
                    }
                }
            }
            if self.slow > 0 {
                self.slow -= 1;
                thread::sleep(SLOW.1);
            }
            self.ends.to.write_all(bytes)?;
            self.count += count as u64;
            self.tail.extend_from_slice(bytes);
            self.tail.drain(..self.tail.len().saturating_sub(TAIL));
            if let Some(record) = &mut self.record {
                record.write_all(bytes)?;
            }
        }
    }

    /// Does what the fault says, unless it needs the next byte.
    fn strike(&mut self, fault: Fault) -> io::Result<Next> {
        match fault {
            Fault::Flip(_) | Fault::Drop => return Ok(Next::Change(fault)),
            // It is noted before anything notices it.
            _ => self.note()?,
        }
        match fault {
            Fault::Cut => exit(),
            Fault::HalfCut => return Ok(Next::End),
            Fault::Stall => loop {
                thread::park();
            },
            Fault::StallBoth => {
                IS_STALLED.store(true, Ordering::SeqCst);
                wait_if_stalled();
            }
            Fault::Slow => self.slow = SLOW.0,
            Fault::Repeat => {
                let tail = self.tail.clone();
                self.ends.to.write_all(&tail)?;
            }
            Fault::KillFar => send(self.far, Signal::SIGKILL),
            Fault::StopFar => {
                fs::write(self.place.join(STOPPED), self.far.to_string())?;
                send(self.far, Signal::SIGSTOP);
            }
            Fault::PauseFar => pause(self.far),
            Fault::PauseTool => pause(self.tool()?),
            Fault::EndTool => send(self.tool()?, Signal::SIGTERM),
            Fault::KillTool => send(self.tool()?, Signal::SIGKILL),
            Fault::Flip(_) | Fault::Drop => {}
        }
        Ok(Next::Pass)
    }

    /// Writes down the time, in microseconds since 1970.
    fn note(&self) -> io::Result<()> {
        let time = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
        fs::write(self.place.join(STRUCK), time.to_string())
    }

    /// The process of the tool, which may have been started a moment ago.
    fn tool(&self) -> io::Result<Pid> {
        loop {
            match fs::read_to_string(self.place.join(TOOL)) {
                Ok(pid) if pid.ends_with('\n') => {
                    return pid.trim().parse().map(Pid::from_raw).map_err(io::Error::other);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the kernel closes all ends at once")]
fn exit() -> ! {
    std::process::exit(LOST.into())
}

fn wait_if_stalled() {
    while IS_STALLED.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Sends a signal to a process, which may have ended.
fn send(to: Pid, signal: Signal) {
    let _ = kill(to, signal);
}

/// Stops a process for some time.
fn pause(process: Pid) {
    PAUSED.fetch_add(1, Ordering::SeqCst);
    send(process, Signal::SIGSTOP);
    thread::spawn(move || {
        thread::sleep(PAUSE);
        send(process, Signal::SIGCONT);
        PAUSED.fetch_sub(1, Ordering::SeqCst);
    });
}
