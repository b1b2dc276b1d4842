//! One run of the tool with one fault, and the promises that hold whatever the fault is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::launcher;
use crate::support::tool::tool;
use crate::support::trace::Trace;
use crate::support::{A_WHILE, THREE_SECONDS, promised, wait_for};

use super::fault::{Fault, HONEST, Image, Injection, Scene};
use super::interposer::{PLAN, RECORD, STOPPED, STRUCK, TOOL};
use super::job::Job;
use super::stream::Streams;

/// `-t`.
const LIMIT: Duration = Duration::from_secs(3);
/// Longer than any of them lets a run take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a run is looked at.
const POLL: Duration = Duration::from_millis(50);
/// The directories in which first stages may leave something, apart from one that only the run has.
const PLACES: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];

/// `--connect-timeout`, for each hop. To pack an image takes long in a build for tests.
fn connect_timeout(image: Image) -> Duration {
    Duration::from_secs(if image == Image::There { 3 } else { 15 })
}

/// Held by a run that has to pack its image. Several of them at once would take too long.
static PACKING: Mutex<()> = Mutex::new(());

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Fewer bytes have passed than the fault needs.
    NotReached,
    /// The machine was too busy for a run in which nothing goes wrong.
    TooBusy,
    /// What the tool says of the host; nothing if it was killed.
    Struck(Option<String>),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached => f.write_str("not reached"),
            Self::TooBusy => f.write_str("the machine was too busy"),
            Self::Struck(status) => f.write_str(status.as_deref().unwrap_or("nothing is said")),
        }
    }
}

/// Runs without a fault, and returns what the links have carried.
pub(crate) fn measure(scene: Scene) -> Result<Streams> {
    let mut run = Run::start(scene, None)?;
    run.follow()?;
    let said = run.said.clone().context("it says nothing")?;
    for host in [HONEST, scene.host()] {
        scene.job.check_whole(host, &said["hosts"][host], run.place()).map_err(|error| run.with_output(&error))?;
    }
    run.expect_nothing_left()?;
    Streams::read(scene, run.place())
}

/// Runs with a fault, and checks all promises.
///
/// # Errors
///
/// Says which promise is broken, and what the tool has said.
pub(crate) fn inject(injection: &Injection) -> Result<Outcome> {
    let mut run = Run::start(injection.scene, Some(injection))?;
    let checked = run.follow().and_then(|()| run.check(injection));
    checked.map_err(|error| run.with_output(&error))
}

/// A run that is under way or has ended.
struct Run {
    scene: Scene,
    directory: TempDir,
    tool: Child,
    trace: Trace,
    began: Duration,
    /// When it ended, and how.
    ended: Option<(Duration, ExitStatus)>,
    /// What it has said on stdout.
    said: Option<Value>,
    /// How long the processes of the run have waited for a processor, by pid.
    waits: BTreeMap<i32, Duration>,
    /// The same of this thread before the run.
    own_wait: Duration,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The time since 1970.
fn now() -> Duration {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// How long the thread of a process that has waited longest has been ready to run, and was not run.
fn waited_for_processor(pid: i32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| wait_in(&thread.path())).max().unwrap_or_default()
}

/// The same for the thread with this directory in `/proc`.
fn wait_in(thread: &Path) -> Duration {
    let times = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(times.split(' ').nth(1).and_then(|time| time.parse().ok()).unwrap_or(0))
}

impl Run {
    fn start(scene: Scene, injection: Option<&Injection>) -> Result<Self> {
        let turn = (scene.image == Image::Sent).then(|| PACKING.lock().unwrap_or_else(PoisonError::into_inner));
        let directory = tempfile::Builder::new().prefix("ofs-fault").tempdir()?;
        let place = directory.path();
        scene.job.prepare(place)?;
        for name in ["stage", "temporary", "state"] {
            fs::create_dir(place.join(name))?;
        }
        match injection {
            Some(injection) => fs::write(place.join(PLAN), injection.plan())?,
            None => fs::write(place.join(RECORD), "")?,
        }
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        // A measurement has no fault to wait for.
        let times = if injection.is_none() { 4 } else { 1 };
        let connect = seconds(connect_timeout(scene.image) * times);
        let hosts = format!("{HONEST},{}", scene.host());
        let (word, last) = scene.job.words();
        let mut args = vec![word, "-F", "none", "--json", "--connect-timeout", &connect, "-w", &hosts];
        let limit = seconds(LIMIT * times);
        args.extend(["-t", &limit]);
        if scene.image == Image::There {
            args.extend(["--binary", env!("CARGO_BIN_EXE_offshoot")]);
        }
        args.extend(last);
        let (mut command, trace) = tool(&args);
        let notes = launcher::interpose(place, &mut command)?;
        command.current_dir(place.join(HONEST)).stdin(scene.job.stdin(place)?);
        command.stdout(fs::File::create(place.join("stdout"))?).stderr(fs::File::create(place.join("stderr"))?);
        for (name, value) in [("XDG_RUNTIME_DIR", "stage"), ("TMPDIR", "temporary"), ("XDG_STATE_HOME", "state")] {
            command.env(name, place.join(value));
        }
        let places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).chain([place.join("stage")]).collect();
        let trace = trace.with_places(&places).with_notes(notes);
        let (began, own_wait) = (now(), wait_in("/proc/thread-self".as_ref()));
        let tool = command.spawn()?;
        fs::write(place.join(TOOL), format!("{}\n", tool.id()))?;
        Ok(Self {
            scene,
            directory,
            tool,
            trace,
            began,
            ended: None,
            said: None,
            waits: BTreeMap::new(),
            own_wait,
            _turn: turn,
        })
    }

    fn place(&self) -> &Path {
        self.directory.path()
    }

    /// Follows it to its end.
    fn follow(&mut self) -> Result<()> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.tool.try_wait()? {
                break status;
            }
            ensure!(start.elapsed() < PATIENCE, "the tool does not end");
            for process in self.trace.look() {
                let wait = waited_for_processor(process.pid);
                let longest = self.waits.entry(process.pid).or_default();
                *longest = wait.max(*longest);
            }
            std::thread::sleep(POLL);
        };
        self.ended = Some((now(), status));
        let stdout = fs::read(self.place().join("stdout"))?;
        // A tool that is killed says nothing, or a part.
        self.said = serde_json::from_slice(&stdout).ok();
        Ok(())
    }

    /// How long the processes and this thread have waited for a processor, one after the other. No program can promise that others
    /// leave it one, so this time comes on top of each promised one. It is next to nothing if the trial has the machine for itself.
    fn waited(&self) -> Duration {
        let own = wait_in("/proc/thread-self".as_ref()).saturating_sub(self.own_wait);
        self.waits.values().sum::<Duration>() + own
    }

    /// When the fault was done.
    fn struck(&self) -> Option<Duration> {
        let time = fs::read_to_string(self.place().join(STRUCK)).ok()?;
        time.parse().ok().map(Duration::from_micros)
    }

    fn check(&mut self, injection: &Injection) -> Result<Outcome> {
        let struck = self.struck();
        self.check_time(injection, struck)?;
        self.check_stderr()?;
        let is_busy = self.was_too_busy(injection, struck.is_some());
        match (struck, injection.fault) {
            (Some(_), Fault::KillTool) => {}
            _ if is_busy => {}
            _ => self.check_said(injection, struck.is_some())?,
        }
        self.let_stopped_go_on()?;
        self.expect_nothing_left()?;
        self.check_files(injection, struck.is_some())?;
        let host = &self.scene.host();
        let status = self.said.as_ref().and_then(|said| said["hosts"][host]["status"].as_str());
        Ok(match struck {
            _ if is_busy => Outcome::TooBusy,
            Some(_) => Outcome::Struck(status.map(str::to_owned)),
            None => Outcome::NotReached,
        })
    }

    /// Whether the time that was asked for has run out, of a host that nothing has hit, because the machine had other things to do.
    fn was_too_busy(&self, injection: &Injection, is_struck: bool) -> bool {
        let Some(said) = &self.said else { return false };
        let is_late = |host: &str| said["hosts"][host]["error"]["kind"] == "timeout";
        let is_spared = !is_struck || injection.fault.is_delay();
        (is_late(HONEST) || (is_spared && is_late(self.scene.host()))) && self.waited() > LIMIT / 2
    }

    /// It ends within three seconds after the fault. If the fault cannot be seen, within three seconds after the times that
    /// were asked for: that of each connect, from the beginning, or that of the command, from the fault, as it runs then.
    fn check_time(&self, injection: &Injection, struck: Option<Duration>) -> Result<()> {
        let (ended, _) = self.ended.context("it has not ended")?;
        let connects = connect_timeout(self.scene.image) * self.scene.links().len() as u32;
        let fault = struck.unwrap_or(self.began);
        let last = match (struck, injection.fault.is_silent()) {
            (Some(_), false) => fault,
            _ => (self.began + connects).max(fault + LIMIT),
        };
        // Three seconds are the trial's own only if it is alone.
        let limit = last + promised(THREE_SECONDS) + self.waited();
        ensure!(ended <= limit, "it has ended {:?} after the fault, {:?} too late", ended - fault, ended - limit);
        Ok(())
    }

    fn expect_nothing_left(&mut self) -> Result<()> {
        let limit = promised(THREE_SECONDS) + self.waited();
        let left = wait_for(limit, || self.trace.left().is_empty().then_some(()))
            .map_or_else(|| self.trace.left(), |()| Vec::new());
        ensure!(left.is_empty(), "left after {limit:?}:\n    {}", left.join("\n    "));
        Ok(())
    }

    fn check_stderr(&self) -> Result<()> {
        let stderr = fs::read(self.place().join("stderr"))?;
        let text = String::from_utf8(stderr).context("stderr is not UTF-8")?;
        let raw = text.chars().find(|c| c.is_control() && *c != '\n');
        ensure!(raw.is_none(), "stderr has a raw {raw:?}");
        for word in ["panicked", "crashed", "a bug"] {
            ensure!(!text.contains(word), "stderr has the word {word}");
        }
        Ok(())
    }

    /// What the tool says of each host, and its exit code, agree with what has happened.
    fn check_said(&self, injection: &Injection, is_struck: bool) -> Result<()> {
        let (_, status) = self.ended.context("it has not ended")?;
        let Some(said) = &self.said else {
            // A signal may come before there is anything to say.
            let is_ended = is_struck && injection.fault.ends_tool() && status.code() == Some(143);
            let stdout = fs::read(self.place().join("stdout"))?;
            ensure!(is_ended && stdout.is_empty(), "stdout is no document; {status}");
            return Ok(());
        };
        let hosts = said["hosts"].as_object().context("no hosts")?;
        ensure!(hosts.len() == 2, "there are {} hosts", hosts.len());
        let corrupts = is_struck && injection.fault.corrupts();
        for (name, host) in hosts {
            ensure!(host["status"] != "ok" || host["error"].is_null(), "{name} is ok with an error");
            let whole = self.scene.job.check_whole(name, host, self.place());
            let is_to_be_whole = match name == HONEST {
                true => !injection.fault.ends_tool() || !is_struck,
                false => !is_struck || injection.fault.is_delay(),
            };
            let says_so = host["error"].is_null() && host["status"] != "cancelled" && host["status"] != "skipped";
            if is_to_be_whole {
                whole.with_context(|| format!("{name} was to do all"))?;
            } else if says_so && !(corrupts && name != HONEST) {
                whole.with_context(|| format!("{name} says that it has done all"))?;
            }
            // A command that has failed by itself has an exit code, and a host that has not done it an error.
            let has_reason = !host["error"].is_null() || host["code"].is_i64() || host["signal"].is_i64();
            ensure!(host["status"] == "ok" || !says_so || has_reason, "{name} has failed without a word");
        }
        Self::check_code(said, status, is_struck && injection.fault == Fault::EndTool)
    }

    /// The exit code and the summary are those of the hosts.
    fn check_code(said: &Value, status: ExitStatus, may_be_ended: bool) -> Result<()> {
        let hosts = said["hosts"].as_object().context("no hosts")?;
        let mut code = 0;
        for kind in ["ok", "failed", "unreachable", "timeout", "cancelled", "skipped"] {
            let count = hosts.values().filter(|host| host["status"] == kind).count();
            ensure!(said["summary"][kind] == count, "the summary does not count {count} {kind}");
            code |= match (kind, count) {
                (_, 0) | ("ok", _) => 0,
                ("failed" | "timeout", _) => 2,
                ("unreachable", _) => 4,
                _ => 8,
            };
        }
        // A signal has the last word, also if it comes when all is done.
        let is_ended = status.code() == Some(143) && may_be_ended;
        let code = if said["summary"]["interrupted"] == true { 143 } else { code };
        ensure!(status.code() == Some(code) || is_ended, "it ends with {status} and not {code}");
        Ok(())
    }

    /// A stopped process can notice nothing. It does when it goes on.
    fn let_stopped_go_on(&self) -> Result<()> {
        if let Ok(pid) = fs::read_to_string(self.place().join(STOPPED)) {
            let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGCONT);
        }
        Ok(())
    }

    /// Every received file is whole, and nothing else is there.
    fn check_files(&self, injection: &Injection, is_struck: bool) -> Result<()> {
        let place = self.place();
        let fault = injection.fault;
        for host in [HONEST, self.scene.host()] {
            // Bytes that were changed can have named other files, below the homes.
            if is_struck && fault.corrupts() && host != HONEST {
                continue;
            }
            // A receiver that is killed leaves a draft. That of the tool's own children dies with the tool.
            let receiver_dies = match (self.scene.job, fault) {
                (Job::Push, Fault::KillFar) => {
                    host != HONEST && injection.link == host.rsplit('/').next().unwrap_or(host)
                }
                (Job::Push, Fault::KillTool) => host == HONEST,
                (_, Fault::KillTool) => true,
                _ => false,
            };
            self.scene.job.check_tree(host, place, is_struck && receiver_dies)?;
        }
        for name in ["stage", "temporary"] {
            let entries: Vec<_> = fs::read_dir(place.join(name))?.flatten().map(|entry| entry.file_name()).collect();
            ensure!(entries.is_empty(), "left in {name}: {entries:?}");
        }
        Ok(())
    }

    /// The error with what the tool has said.
    fn with_output(&self, error: &anyhow::Error) -> anyhow::Error {
        let text = |name: &str| {
            let text = fs::read(self.place().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&text).trim_end().chars().take(900).collect::<String>()
        };
        let struck = self.struck().map(|time| time.saturating_sub(self.began));
        anyhow!(
            "{error:#}\n  fault after {struck:?}, end after {:?}, {:?} of waiting for a processor\n  stdout: {}\n  stderr: {}",
            self.ended.map(|(time, status)| (time.saturating_sub(self.began), status.to_string())),
            self.waited(),
            text("stdout"),
            text("stderr"),
        )
    }
}

impl Drop for Run {
    /// A trial that fails must not leave a process either.
    fn drop(&mut self) {
        let _ = self.tool.kill();
        let _ = self.tool.wait();
        let _ = self.let_stopped_go_on();
        wait_for(A_WHILE, || self.trace.left().is_empty().then_some(()));
    }
}
