//! SIGKILL of any one process of ours, at any moment. Within three seconds, only processes that were not
//! behind it are left, and they have noticed.
//!
//! Not promised are processes that the user's own functions have detached, and more than one kill at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::controller::Settings;
use crate::fleet::Fleet;
use crate::foreign;
use crate::launcher::Launcher;
use crate::random::Random;
use crate::support::process::Process;
use crate::support::tool::{MARK, Running, program, tool};
use crate::support::trace::Trace;
use crate::support::{ONE_SECOND, PATIENCE, THREE_SECONDS, long_time, promised, unique, wait_for};
use crate::{Level, OnHosts};

/// The process that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Controller,
    Launcher,
    /// The sshd of the connection. Killing it has the same effect as a lost network.
    Session,
    FirstStage,
    /// A program that the first stage runs to receive the image.
    Reader,
    /// The context that the controller has started. Everything else is behind it.
    Context,
    /// The engine's client, or the context in the container. The processes before it live on.
    Client,
    Inside,
}

/// The connection that is brought up before the kill.
#[derive(Debug, Clone, Copy)]
struct Scene {
    what: What,
    alias: &'static str,
    rounds: u32,
    victims: &'static [Victim],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A controller that holds a connection, as in [`Settings::what`].
    Held(&'static str),
    Tool,
    /// The tool with images for other processors.
    Bundle,
}

impl What {
    fn is_tool(self) -> bool {
        matches!(self, Self::Tool | Self::Bundle)
    }
}

/// A part of the name of each trial with a number of kills.
pub(crate) const MANY: &str = " kills (";
/// The number of kills if time is short.
const FEW: u32 = 2;

/// The scenes: two hundred kills in all, unless time is short.
const SCENES: [Scene; 16] = [
    Scene::held("ssh", "here-user", 20, &Victim::ALL),
    // Without /proc, and with the programs of busybox.
    Scene::held("ssh", "bare-noproc", 16, &Victim::ALL),
    // The image is executed from memory.
    Scene::held("ssh", "noexec-all-user", 16, &Victim::ALL),
    // A login shell that waits for the first stage.
    Scene::held("ssh", "shell-tcsh", 14, &Victim::ALL),
    Scene::held("chain", "here-user", 14, &[Victim::Controller, Victim::Launcher, Victim::Session, Victim::Context]),
    Scene::held("staged", "here", 12, &[Victim::Controller, Victim::FirstStage, Victim::Reader, Victim::Context]),
    Scene::held("local", "here", 6, &[Victim::Controller, Victim::Context]),
    Scene { what: What::Tool, alias: "here-user", rounds: 20, victims: &Victim::ALL },
    Scene { what: What::Tool, alias: "local1", rounds: 6, victims: &[Victim::Controller, Victim::Context] },
    // Hosts with other processors.
    Scene { what: What::Bundle, alias: "aarch64", rounds: 16, victims: &Victim::ALL },
    Scene { what: What::Bundle, alias: "i686", rounds: 14, victims: &Victim::ALL },
    // The image comes from a context further up.
    Scene { what: What::Bundle, alias: "here/aarch64", rounds: 16, victims: &Victim::ALL },
    Scene::held("docker:app", "engines", 10, &Victim::IN_CONTAINERS),
    Scene::held("podman:app", "engines", 8, &Victim::IN_CONTAINERS),
    // The container ends too.
    Scene::held(
        "image:busybox",
        "engines",
        6,
        &[Victim::Controller, Victim::Launcher, Victim::Context, Victim::Inside],
    ),
    // The image is copied in.
    Scene::held("docker:bare", "engines", 10, &Victim::IN_CONTAINERS),
];

impl Victim {
    const ALL: [Self; 6] =
        [Self::Controller, Self::Launcher, Self::Session, Self::FirstStage, Self::Reader, Self::Context];
    const IN_CONTAINERS: [Self; 5] = [Self::Controller, Self::Launcher, Self::Context, Self::Client, Self::Inside];
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Held(what) => write!(f, "{what}, {}", self.alias),
            What::Tool => write!(f, "the tool, {}", self.alias),
            What::Bundle => write!(f, "the foreign tool, {}", self.alias),
        }
    }
}

pub(crate) fn trials(level: Level) -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for scene in &SCENES {
        let rounds = if level == Level::Check { FEW } else { scene.rounds };
        let name = format!("{rounds}{MANY}{scene}): after three seconds nothing is left (alone)");
        trials.push((name, Box::new(move |fleet| scene.play(rounds, fleet))));
    }
    trials.push(("a watcher that is killed is not missed (alone)".into(), Box::new(killed_watcher)));
    trials.push(("signals end the whole tree of a program (alone)".into(), Box::new(signals)));
    trials
}

impl Scene {
    const fn held(what: &'static str, alias: &'static str, rounds: u32, victims: &'static [Victim]) -> Self {
        Self { what: What::Held(what), alias, rounds, victims }
    }

    fn play(&'static self, rounds: u32, fleet: &Fleet) -> Result<()> {
        let (mut random, seed) = Random::new(&self.to_string());
        let usual = Round::begin(self, fleet)?.time_to_be_up()?;
        let mut tally: BTreeMap<(Victim, Moment), u32> = BTreeMap::new();
        for number in 1..=rounds {
            let victim = random.pick(self.victims);
            // In turns: at a random time, and as soon as a phase has begun, because some phases are short.
            let when = match number % 2 {
                0 => When::After(random.time(usual * 5 / 4)),
                _ => When::At(random.pick(&Moment::ALL)),
            };
            let what = format!("round {number} of {self}: {victim:?} killed {when:?} ({seed})");
            let round = Round::begin(self, fleet).with_context(|| what.clone())?;
            let killed = round.kill(victim, when, &mut random).context(what)?;
            *tally.entry(killed).or_default() += 1;
        }
        let tally: Vec<String> =
            tally.iter().map(|((victim, moment), count)| format!("{count}x {victim:?} {moment}")).collect();
        eprintln!("kills ({self}; {seed}; up after {usual:?}): {}", tally.join(", "));
        Ok(())
    }
}

/// The phase that was reached when the victim was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Login,
    FirstStage,
    Upload,
    Handshake,
    Running,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Login, Self::FirstStage, Self::Upload, Self::Handshake, Self::Running];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "at login",
            Self::FirstStage => "in the first stage",
            Self::Upload => "during the upload",
            Self::Handshake => "in the child's first moments",
            Self::Running => "while the command runs",
        })
    }
}

/// The time of the kill. If there is no victim yet, the kill follows as soon as there is one.
#[derive(Debug, Clone, Copy)]
enum When {
    After(Duration),
    At(Moment),
}

/// A controller with everything that it starts.
struct Round {
    scene: &'static Scene,
    controller: Running,
    trace: Trace,
    time: String,
    since: Instant,
    /// Keeps the directory of the launcher.
    _launcher: Launcher,
}

impl Round {
    fn begin(scene: &'static Scene, fleet: &Fleet) -> Result<Self> {
        let (mark, time) = (unique(), long_time());
        let launcher = Launcher::that_notes()?;
        let mut command = scene.command(fleet, &mark, &time, &launcher)?;
        let trace = fleet.trace(&mark).with_needle(&time).with_notes(launcher.notes());
        let controller = Running::start(&mut command)?;
        Ok(Self { scene, controller, trace, time, since: Instant::now(), _launcher: launcher })
    }

    /// Waits until the command runs, and ends everything in order.
    fn time_to_be_up(mut self) -> Result<Duration> {
        let up = wait_for(PATIENCE, || (self.moment() == Moment::Running).then(|| self.since.elapsed()));
        let up = up.context("the command does not run")?;
        if self.scene.what.is_tool() {
            self.controller.signal(Signal::SIGTERM)?;
        }
        self.controller.finish()?;
        self.trace.expect_nothing_left(THREE_SECONDS)?;
        Ok(up)
    }

    /// Kills a process, and checks what becomes of the others.
    fn kill(mut self, victim: Victim, when: When, random: &mut Random) -> Result<(Victim, Moment)> {
        wait_for(PATIENCE, || {
            let is_time = match when {
                When::After(delay) => self.since.elapsed() >= delay,
                When::At(moment) => self.moment() >= moment,
            };
            is_time.then_some(())
        });
        let mut spared: Vec<u32> = Vec::new();
        let found = wait_for(PATIENCE, || {
            // A first stage that has become a child does not come back.
            let is_early = matches!(victim, Victim::FirstStage | Victim::Reader);
            let has_gone = is_early && self.moment() >= Moment::Handshake;
            let wanted = if has_gone { Victim::Context } else { victim };
            let candidates = self.candidates(wanted);
            let moment = self.moment();
            let process = candidates.get(random.below(candidates.len() as u64) as usize)?;
            if matches!(wanted, Victim::Client | Victim::Inside) {
                let before = [Victim::Launcher, Victim::Context].map(|before| self.candidates(before));
                spared = before.concat().iter().filter_map(|process| u32::try_from(process.pid).ok()).collect();
            }
            // Some victims have ended before they can be killed.
            process.signal(Signal::SIGKILL).ok()?;
            Some((wanted, process.clone(), moment))
        });
        let (victim, process, moment) = found.context("there is nobody to kill")?;
        if victim != Victim::Controller {
            self.trace.exempt(self.controller.pid);
        }
        for spared in &spared {
            self.trace.exempt(*spared);
        }
        let spared_no_more = |trace: &mut Trace| spared.iter().for_each(|pid| trace.exempt_no_more(*pid));
        let gone = wait_for(promised(THREE_SECONDS), || {
            // This process has to reap the controller.
            self.controller.has_ended();
            let is_up = victim == Victim::Reader && self.moment() == Moment::Running;
            (is_up || self.trace.left().is_empty()).then_some(())
        });
        if victim == Victim::Reader && self.moment() == Moment::Running {
            // It had done its work before it was killed.
            self.time_to_be_up()?;
            return Ok((victim, Moment::Handshake));
        }
        let left = self.trace.left();
        ensure!(gone.is_some(), "{process} was killed {moment}, and left:\n    {}", left.join("\n    "));
        spared_no_more(&mut self.trace);
        self.check_controller(victim)?;
        Ok((victim, moment))
    }

    /// A controller that was not killed has noticed, and succeeds when it is told to end.
    fn check_controller(mut self, victim: Victim) -> Result<()> {
        self.trace.exempt_no_more(self.controller.pid);
        if victim == Victim::Controller {
            self.controller.finish()?;
        } else if self.scene.what.is_tool() {
            let ended = self.controller.finish()?;
            ensure!(ended.code == Some(4), "the host is lost to the tool: {ended:?}");
        } else {
            let mut said = self.controller.line()?;
            while said == "begun" || said == "up" {
                said = self.controller.line()?;
            }
            ensure!(said.starts_with("lost: Err(") || said.starts_with("failed: "), "the controller says {said}");
            let ended = self.controller.finish()?;
            ensure!(ended.code == Some(0), "the controller ends well: {ended:?}");
        }
        self.trace.expect_nothing_left(THREE_SECONDS)
    }

    fn candidates(&mut self, victim: Victim) -> Vec<Process> {
        let controller = i32::try_from(self.controller.pid).unwrap_or(0);
        let all = self.trace.look();
        let is_victim = |process: &Process| !process.is_zombie() && !is_guard(process);
        let found = all.iter().filter(|process| is_victim(process)).filter(|process| match victim {
            Victim::Controller => process.pid == controller,
            Victim::Launcher => process.parent == controller,
            Victim::Session => false,
            Victim::FirstStage => is_first_stage(process, &all),
            Victim::Reader => is_reader(process),
            // The client of the sweeper runs as root. It does not belong to the child, and ends when the child is up.
            Victim::Client => {
                matches!(&process.argv[..], [client, exec, ..] if client != "sh" && exec == "exec")
                    && !process.argv.iter().any(|word| word == "--user=0")
            }
            Victim::Inside => is_context(process) && is_inside(process) && !is_fork(process, &all),
            Victim::Context => is_context(process) && !is_inside(process) && !is_fork(process, &all),
        });
        let found: Vec<Process> = found.cloned().collect();
        match victim {
            Victim::Session => all.iter().filter_map(session_of).collect(),
            _ => found,
        }
    }

    fn moment(&mut self) -> Moment {
        let processes = self.trace.look();
        if processes.iter().any(|process| is_sleep(process) && process.argv.contains(&self.time)) {
            Moment::Running
        } else if processes.iter().any(is_context) {
            Moment::Handshake
        } else if !self.trace.directories().is_empty() {
            Moment::Upload
        } else if processes.iter().any(|process| is_first_stage(process, &processes)) {
            Moment::FirstStage
        } else {
            Moment::Login
        }
    }
}

fn is_context(process: &Process) -> bool {
    process.argv.first().is_some_and(|argv0| argv0.starts_with("offshoot:"))
}

/// The guard: it ends what a command leaves when its context is killed. It has the arguments of the context,
/// and nothing ends when it does.
fn is_guard(process: &Process) -> bool {
    std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|name| name == "offshoot-guard\n")
}

/// A command that a context is about to execute, or a child that still has the name of its parent.
fn is_fork(process: &Process, all: &[Process]) -> bool {
    all.iter().any(|parent| parent.pid == process.parent && is_context(parent))
}

/// The sshd that has started a process, if there is one.
fn session_of(process: &Process) -> Option<Process> {
    Process::of(process.parent).filter(|parent| parent.argv.first().is_some_and(|argv0| argv0.starts_with("sshd")))
}

/// In a container of the host `engines`, which has a pid namespace of its own inside that of the host.
fn is_inside(process: &Process) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_ascii_whitespace().count() > 2)
}

fn is_reader(process: &Process) -> bool {
    process.argv.first().is_some_and(|argv0| ["head", "zstd", "gzip"].contains(&argv0.as_str()))
}

fn is_sleep(process: &Process) -> bool {
    process.argv.iter().take(2).any(|word| word == "sleep")
}

fn is_stage(process: &Process) -> bool {
    matches!(&process.argv[..], [shell, option, line] if shell == "sh" && option == "-c" && line.starts_with("A="))
}

/// The shell that runs the line itself, not one that it has forked: its parent is another program.
fn is_first_stage(process: &Process, all: &[Process]) -> bool {
    is_stage(process) && !all.iter().any(|parent| parent.pid == process.parent && is_stage(parent))
}

/// A signal to the program ends everything in order.
fn signals(fleet: &Fleet) -> Result<()> {
    let chain = SCENES.iter().find(|scene| scene.what == What::Held("chain")).context("no chain")?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut round = Round::begin(chain, fleet)?;
        let up = wait_for(PATIENCE, || (round.moment() == Moment::Running).then_some(()));
        up.context("the command does not run")?;
        round.controller.signal(signal)?;
        let ended = wait_for(promised(THREE_SECONDS), || round.controller.has_ended().then_some(()));
        ended.with_context(|| format!("{signal} does not end it"))?;
        let ended = round.controller.finish()?;
        ensure!(ended.code == Some(code), "{signal}: {ended:?}");
        round.trace.expect_nothing_left(ONE_SECOND)?;
    }
    Ok(())
}

/// The watcher of a directory. A child that comes up ends it.
fn killed_watcher(fleet: &Fleet) -> Result<()> {
    let mut round = Round::begin(&SCENES[0], fleet)?;
    let watcher = wait_for(PATIENCE, || {
        let all = round.trace.look();
        // Of all processes that the stage forks, only this one sleeps.
        let sleeps = |parent: &Process| all.iter().any(|child| child.parent == parent.pid && is_sleep(child));
        all.iter().find(|process| is_stage(process) && !is_first_stage(process, &all) && sleeps(process)).cloned()
    });
    watcher.context("there is no watcher")?.signal(Signal::SIGKILL)?;
    round.time_to_be_up().map(drop)
}

impl Scene {
    fn command(&self, fleet: &Fleet, mark: &str, time: &str, launcher: &Launcher) -> Result<Command> {
        for alias in self.alias.split('/').filter(|alias| *alias != "local1") {
            fleet.login(alias)?;
        }
        match self.what {
            What::Held(what) => {
                let ssh = &launcher.program();
                Settings { what, alias: self.alias, config: &fleet.config, mark, ssh, time }.command(None)
            }
            What::Tool | What::Bundle => {
                let config = fleet.config.display().to_string();
                let args = ["run", "-F", &config, "-w", self.alias, "--", "sleep", time];
                let (mut command, _) = match self.what {
                    What::Bundle => program(&foreign::bundle("offshoot")?, &args),
                    _ => tool(&args),
                };
                launcher.lead(&mut command);
                command.env(MARK, mark);
                Ok(command)
            }
        }
    }
}
