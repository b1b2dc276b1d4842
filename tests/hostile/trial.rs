//! One run of the tool with one attack and three honest hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::attack::{Act, Attack, Stays};
use crate::far_side::PLACE;
use crate::measure::{Peaks, time_of_ended};
use crate::random::rounds;
use crate::support::A_WHILE;
use crate::support::lines::lines_of;
use crate::support::tool::tool;

/// How long a run may take for each round, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the memory is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The lines that each honest host prints once the attack is over.
const LAST_LINES: u64 = 2_000;
/// Exit codes of the tool: of a run that SIGINT has ended, and the first of those for a wrong use.
const INTERRUPTED: i32 = 130;
const USAGE: i32 = 64;
/// The most bytes of an error.
const LONGEST_ERROR: usize = 70_000;
/// The most bytes that a run prints on stderr for each round.
const MOST_STDERR: usize = 4 << 20;

/// What a run has taken.
#[derive(Debug)]
pub(crate) struct Figures {
    /// MiB of memory of the largest process that was attacked.
    pub(crate) memory: u64,
    /// Processor time of the controller.
    pub(crate) cpu: Duration,
    pub(crate) elapsed: Duration,
}

/// What a run has said.
#[derive(Debug, Default)]
struct Said {
    /// The lines of each host, and how its command ended.
    lines: BTreeMap<String, Vec<String>>,
    exits: BTreeMap<String, Value>,
}

impl Said {
    fn take(&mut self, line: &str) -> Result<()> {
        let event: Value = serde_json::from_str(line).with_context(|| format!("{line:.200} is not JSON"))?;
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        match &*text("event") {
            "line" => self.lines.entry(text("host")).or_default().push(text("text")),
            "exit" => drop(self.exits.insert(text("host"), event)),
            _ => {}
        }
        Ok(())
    }
}

/// Runs an attack and checks everything that holds.
pub(crate) fn run(attack: &Attack) -> Result<Figures> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    prepare(place, attack.name, env!("CARGO_BIN_EXE_offshoot").as_ref())?;
    let hosts = format!("{},{}", attack.honest().join(","), attack.hosts);
    let line = honest_command(place);
    let limit = format!("{}s", patience().as_secs());
    let (mut command, mut trace) = tool(&[
        "run",
        "-n",
        "--jsonl",
        "-t",
        &limit,
        "--connect-timeout",
        "20s",
        "-f",
        attack.fanout,
        "-w",
        &hosts,
        "-s",
        &line,
    ]);
    if matches!(attack.act, Act::Context { .. }) {
        // This is quicker than a first stage, which other trials have.
        command.args(["--binary", env!("CARGO_BIN_EXE_offshoot")]);
    }
    among_attackers(&mut command, place)?;
    let mut run = Run::start(&mut command, place, attack)?;
    let cpu = run.follow()?;
    fs::remove_file(place.join("stay"))?;
    run.take_all()?;
    let figures = Figures { memory: run.peaks.largest(), cpu, elapsed: run.began.elapsed() };
    let status = run.child.wait()?;
    let stderr = run.stderr.iter().flat_map(Receiver::try_iter).collect::<Vec<_>>().join("\n");
    let checked = check(attack, &run.said, status.code(), &stderr, &figures).and_then(|()| check_place(attack, place));
    checked.map_err(|error| anyhow!("{figures:?}\nexits: {:#?}\nstderr: {stderr:.3000}\n{error:#}", run.said.exits))?;
    trace.expect_nothing_left(A_WHILE)?;
    Ok(figures)
}

/// Makes what an attacker finds in the directory that it shares with its trial. `program` is the one that it comes up as.
pub(crate) fn prepare(place: &Path, attack: &str, program: &Path) -> Result<()> {
    fs::write(place.join("attack"), attack)?;
    fs::write(place.join("hello"), hello_of(program)?)?;
    fs::write(place.join("stay"), "")?;
    Ok(symlink(std::env::current_exe()?, place.join("ssh"))?)
}

/// The lines for a shell of an honest host: numbers from 1 on until the attack is over, then more of them, and the last one
/// marked as such.
pub(crate) fn honest_command(place: &Path) -> String {
    format!(
        "n=0; : >'{0}'/up.$$; while [ ! -e '{0}/go' ]; do n=$((n+1)); echo $n; sleep .05; done; \
         m=$((n+{LAST_LINES})); while [ $n -lt $m ]; do n=$((n+1)); echo $n; done; echo last $n",
        place.display()
    )
}

/// How long a run may take.
fn patience() -> Duration {
    PATIENCE * rounds(1)
}

/// Makes the attacker the ssh of a program.
pub(crate) fn among_attackers(command: &mut Command, place: &Path) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env(PLACE, place).env("HOME", place).env("PATH", format!("{}:{path}", place.display()));
    Ok(())
}

/// What a program says first, after its token, as a child that was sent.
fn hello_of(program: &Path) -> Result<Vec<u8>> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hello) = known.get(program) {
        return Ok(hello.clone());
    }
    let hello = ask_for_hello(program)?;
    known.insert(program.to_owned(), hello.clone());
    Ok(hello)
}

/// Starts a program as such a child.
fn ask_for_hello(program: &Path) -> Result<Vec<u8>> {
    let token = "0".repeat(16);
    let mut child = Command::new(program);
    // The image counts as sent if it is on this descriptor, even if nothing is there.
    child.args([&format!("offshoot-child:{token}:{token}"), "", "", "9"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdout = child.stdout.take().context("it has a stdout")?;
    let mut hello = vec![0; 2 * token.len() + 1 + 8 + 2 + 4];
    stdout.read_exact(&mut hello)?;
    let length = hello.last_chunk().map(|length| u32::from_be_bytes(*length)).unwrap_or_default();
    let mut body = vec![0; length as usize];
    stdout.read_exact(&mut body)?;
    drop(child.stdin.take());
    child.wait()?;
    hello.extend(body);
    Ok(hello.split_off(2 * token.len() + 1))
}

/// A pipe whose reader does not read, and that is full.
fn full_pipe() -> Result<(std::io::PipeReader, std::io::PipeWriter)> {
    let (reader, mut writer) = std::io::pipe()?;
    let flags = OFlag::from_bits_retain(fcntl(writer.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags))?;
    Ok((reader, writer))
}

/// A run that is under way.
struct Run<'a> {
    attack: &'a Attack,
    place: &'a Path,
    child: Child,
    stdout: Receiver<String>,
    stderr: Option<Receiver<String>>,
    _unread: Option<std::io::PipeReader>,
    began: Instant,
    peaks: Peaks,
    said: Said,
    /// Whether the attack is over, and whether the run was told to end.
    is_over: bool,
    is_stopped: bool,
}

impl<'a> Run<'a> {
    fn start(command: &mut Command, place: &'a Path, attack: &'a Attack) -> Result<Self> {
        let (unread, stderr) = if attack.is_unread {
            let (reader, writer) = full_pipe()?;
            (Some(reader), Stdio::from(writer))
        } else {
            (None, Stdio::piped())
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        Ok(Self {
            attack,
            place,
            stdout: lines_of(child.stdout.take()),
            stderr: child.stderr.take().map(|stderr| lines_of(Some(stderr))),
            child,
            _unread: unread,
            began: Instant::now(),
            peaks: Peaks::default(),
            said: Said::default(),
            is_over: false,
            is_stopped: false,
        })
    }

    /// Watches the run to its end. Returns its processor time.
    fn follow(&mut self) -> Result<Duration> {
        loop {
            self.peaks.look(self.child.id());
            let launchers = fs::read_to_string(self.place.join("launchers")).unwrap_or_default();
            launchers.lines().filter_map(|pid| pid.parse().ok()).for_each(|pid| self.peaks.look(pid));
            for line in self.stdout.try_iter().collect::<Vec<_>>() {
                self.said.take(&line)?;
            }
            if !self.is_over && self.attack_is_over() {
                self.is_over = true;
                fs::write(self.place.join("go"), "")?;
            }
            if self.is_over && !self.is_stopped && self.attack.stays == Stays::ToTheEnd && self.honest_are_done() {
                self.is_stopped = true;
                kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
            }
            if let Some(time) = time_of_ended(self.child.id()) {
                return Ok(time);
            }
            ensure!(self.began.elapsed() < patience(), "it does not end; {:#?}", self.said.exits);
            std::thread::sleep(POLL);
        }
    }

    /// Whether each hostile host is done, or has been given up.
    fn attack_is_over(&self) -> bool {
        let evil = hosts_of(self.attack);
        let attackers: BTreeSet<&str> =
            evil.iter().filter_map(|host| host.split('/').find(|hop| hop.starts_with("evil"))).collect();
        let is_done = |attacker: &str| self.place.join(format!("done.{attacker}")).exists();
        attackers.into_iter().all(is_done) || evil.iter().all(|host| self.said.exits.contains_key(host))
    }

    fn honest_are_done(&self) -> bool {
        self.attack.honest().iter().all(|host| self.said.exits.contains_key(*host))
    }

    /// Takes what is left on stdout, whose writer has ended.
    fn take_all(&mut self) -> Result<()> {
        while let Ok(line) = self.stdout.recv_timeout(A_WHILE) {
            self.said.take(&line)?;
        }
        Ok(())
    }
}

impl Drop for Run<'_> {
    /// A trial that fails must not leave anything either.
    fn drop(&mut self) {
        let _ = fs::write(self.place.join("go"), "");
        let _ = fs::remove_file(self.place.join("stay"));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The hostile hosts, by the names that the tool gives them.
fn hosts_of(attack: &Attack) -> Vec<String> {
    let mut hosts = Vec::new();
    for expression in attack.hosts.split(',') {
        match expression.split_once('[') {
            Some((start, range)) => {
                let digits: Vec<u32> = range.chars().filter_map(|c| c.to_digit(10)).collect();
                hosts.extend((digits[0]..=digits[1]).map(|number| format!("{start}{number}")));
            }
            None => hosts.push(expression.to_owned()),
        }
    }
    hosts
}

fn check(attack: &Attack, said: &Said, code: Option<i32>, stderr: &str, figures: &Figures) -> Result<()> {
    for host in attack.honest() {
        let lines = said.lines.get(host).map(Vec::as_slice).unwrap_or_default();
        let (last, numbers) = lines.split_last().with_context(|| format!("{host} has printed nothing"))?;
        let count = numbers.len();
        ensure!(
            numbers.iter().zip(1..).all(|(line, number)| *line == number.to_string())
                && *last == format!("last {count}"),
            "lines of {host} are missing: {count} have come, and then {last}"
        );
        let exit = said.exits.get(host).with_context(|| format!("{host} has not ended"))?;
        ensure!(exit["status"] == "ok" && exit["code"] == 0, "{host} has ended with {exit}");
    }
    let is_right = match attack.stays {
        Stays::ToTheEnd => code == Some(INTERRUPTED),
        Stays::NoLonger => code.is_some_and(|code| code < USAGE && code != 0 || code == 0 && attack.says.is_empty()),
    };
    ensure!(is_right, "the run has ended with {code:?}");
    ensure!(!stderr.contains("panicked"), "something has panicked");
    ensure!(stderr.len() < MOST_STDERR * rounds(1) as usize, "{} bytes on stderr", stderr.len());
    for never in attack.never_said {
        let is_said = |line: &&str| line.strip_prefix(never).is_some_and(|rest| rest.starts_with(':'));
        if let Some(line) = stderr.lines().find(is_said) {
            bail!("a line of an attacker is shown as one of {never}: {line}");
        }
    }
    check_errors(attack, said)?;
    ensure!(figures.memory <= attack.memory, "{} MiB of memory (at most {})", figures.memory, attack.memory);
    let cpu = attack.cpu * u64::from(rounds(1));
    ensure!(figures.cpu.as_secs() <= cpu, "{:?} of processor time (at most {cpu} s)", figures.cpu);
    Ok(())
}

/// Whether the errors of the hostile hosts say what is expected, in words that a terminal can show.
fn check_errors(attack: &Attack, said: &Said) -> Result<()> {
    if attack.stays == Stays::ToTheEnd {
        return Ok(());
    }
    let mut is_first_said = attack.says.is_empty();
    for host in hosts_of(attack) {
        let exit = said.exits.get(&host).with_context(|| format!("{host} has not ended"))?;
        // Chance may have made a reply that says so.
        if exit["status"] == "ok" && attack.says.is_empty() {
            continue;
        }
        ensure!(exit["status"] != "ok", "{host} has ended well");
        let text = exit["error"]["text"].as_str().unwrap_or_default();
        // A command that has failed by its own needs no words.
        if exit["code"].is_i64() && attack.says.is_empty() {
            continue;
        }
        ensure!(!text.is_empty() && text.len() < LONGEST_ERROR, "the error of {host} has {} bytes", text.len());
        let is_unsafe = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || "\u{202e}\u{2066}\u{2028}".contains(c);
        ensure!(!text.contains(is_unsafe), "the error of {host} is not escaped: {text:?}");
        ensure!(
            attack.says.is_empty() || attack.says.iter().any(|words| has_one_of(text, words)),
            "the error of {host}: {text}"
        );
        is_first_said |= attack.says.first().is_some_and(|words| has_one_of(text, words));
    }
    ensure!(is_first_said, "no error says {:?}", attack.says.first());
    Ok(())
}

/// Whether one of the texts that `words` joins by ` or ` occurs.
fn has_one_of(text: &str, words: &str) -> bool {
    words.split(" or ").any(|words| text.contains(words))
}

/// Checks what the attackers have left in their directory.
fn check_place(attack: &Attack, place: &Path) -> Result<()> {
    let lines = |name: &str| {
        let text = fs::read_to_string(place.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let faults = lines("faults");
    ensure!(faults.is_empty(), "{faults:?}");
    let attackers = lines("launchers").len();
    ensure!(attackers > 0, "no attacker was started");
    let uploads = lines("uploads").len();
    ensure!(uploads <= attack.uploads * attackers, "{uploads} uploads");
    let sent: BTreeSet<String> = lines("kinds").into_iter().collect();
    let unsent: Vec<_> = attack.sends.iter().map(ToString::to_string).filter(|kind| !sent.contains(kind)).collect();
    ensure!(unsent.is_empty(), "the attack has not sent {unsent:?}");
    Ok(())
}
