//! A host that lies about the files that are pulled from it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use offshoot::Handle;

use crate::attack::{Attack, HONEST, Stays};
use crate::far_side::Far;
use crate::frame::{frame, word};
use crate::kinds::CREDIT;
use crate::measure::Peaks;
use crate::random::rounds;
use crate::support::A_WHILE;
use crate::support::lines::lines_of;
use crate::support::tool::tool;
use crate::trial::{among_attackers, prepare};
use crate::wire::{bytes, number};

/// It plays the side that has the files. What it does depends on the number in its name.
pub(crate) const ATTACK: Attack = Attack { stays: Stays::ToTheEnd, ..Attack::new("files that are none", HOSTS, act) };
const HOSTS: &str = "evil[1-11]";

/// The handle at which it wants to hear which files are wanted.
const ANSWERS: u32 = 6_000;
/// Names that are listed in a round. A hundred rounds are as many as one copy may have.
const NAMES: u32 = 100_000;
/// The most entries of a message.
const BATCH: u32 = 256;
/// The room of a new window, and what a message costs besides its payload.
const WINDOW: i64 = 64 * 1024;
const HEADER: i64 = 32;
/// What a terminal acts on.
const NASTY: &str = "\u{1b}]0;evil\u{7}\u{9b}2J\n\u{202e}";
/// The most MiB that the tool takes, with eleven attackers at once: 64 for the one that lists what has to be kept.
const MEMORY: u64 = 160;
const PATIENCE: Duration = Duration::from_secs(90);
/// The end of a copy that has gone well: nothing was done, and nothing has stopped it.
const OUTCOME: [u8; 10] = [0; 10];

/// The way to the side that writes.
struct Sink<'a> {
    far: &'a mut Far,
    handle: u32,
    room: i64,
    size: i64,
}

impl Sink<'_> {
    /// Sends a message as soon as the window has room for it.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let cost = message.len() as i64 + HEADER;
        while self.room < cost && 2 * self.room < self.size {
            let handle = self.handle;
            let (_, grant) = self.far.wait(|[_, _, _, to, _], payload| to == CREDIT && word(payload, 0) == handle)?;
            self.room += i64::from(word(&grant, 4));
            self.size = self.size.max(word(&grant, 12).into());
        }
        self.room -= cost;
        let me = self.far.me;
        self.far.send_long([0, me, me, self.handle, 0], message)
    }

    fn list(&mut self, directory: &str, entries: &[Vec<u8>]) -> io::Result<()> {
        let group = [bytes(directory), number(entries.len() as u64), entries.concat(), vec![1, 1]].concat();
        self.send(&[number(1), number(1), group].concat())?;
        // It never waits with its answers.
        let me = self.far.me;
        let grant: Vec<u8> = [ANSWERS, 1 << 20, 1024, 1 << 20].iter().flat_map(|n| n.to_be_bytes()).collect();
        self.far.send(&frame(0, [0, me, me, Handle::CREDIT.0, 0], &grant))
    }

    fn pieces(&mut self, pieces: &[Vec<u8>]) -> io::Result<()> {
        self.send(&[number(2), number(pieces.len() as u64), pieces.concat()].concat())
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(&number(4))
    }
}

/// An entry, whose kind and what belongs to that are `what`.
fn entry(name: &str, what: &[u8]) -> Vec<u8> {
    // The mode has all bits; the time is 1.000000002 s after the beginning; it belongs to root.
    [bytes(name), what.to_vec(), number(0o7777), vec![2, 2, 0, 0]].concat()
}

fn file(name: &str, size: u64) -> Vec<u8> {
    entry(name, &[number(0), number(size)].concat())
}

fn directory(name: &str) -> Vec<u8> {
    entry(name, &[1])
}

fn link(name: &str, to: &str) -> Vec<u8> {
    entry(name, &[vec![2], bytes(to)].concat())
}

fn hard_link(name: &str, directory: &str, first: &str) -> Vec<u8> {
    entry(name, &[vec![3], bytes(directory), bytes(first)].concat())
}

fn begin(nth: u64) -> Vec<u8> {
    [vec![0], number(nth), vec![0]].concat()
}

fn content(content: &[u8]) -> Vec<u8> {
    [vec![1], bytes(content)].concat()
}

fn act(far: &mut Far) -> io::Result<()> {
    let (_, reply_to, call) = far.called()?;
    // Two senders to the master at the end of the call, each with a handle of two bytes.
    let handle = |at: usize| u32::from(u16::from_le_bytes([call[call.len() - at], call[call.len() - at + 1]]));
    let (messages, ready) = (handle(6), handle(2));
    let me = far.me;
    far.send(&frame(1, [0, me, me, ready, 0], &[number(me.into()), number(ANSWERS.into())].concat()))?;
    let (variant, rounds) = (far.number(), far.rounds);
    let mut sink = Sink { far, handle: messages, room: WINDOW, size: WINDOW };
    match variant {
        1 => sink.list("", &[file("fine", 0), file("../escaped", 1)])?,
        2 => sink.list("../..", &[file("escaped", 1)])?,
        3 => sink.list("", &[hard_link("escaped", "..", "outside")])?,
        // A link to elsewhere, and what would go through it.
        4 => {
            sink.list("", &[link("way", "../../outside")])?;
            sink.list("", &[directory("way")])?;
            sink.list("way", &[file("escaped", 1), directory("escaped-too"), link("escaped-link", "x")])?;
            sink.list("", &[hard_link("escaped", "way", "precious")])?;
            sink.end()?;
        }
        // A file that grows without end.
        5 => {
            sink.list("", &[file("grows", 10)])?;
            sink.pieces(&[begin(0), content(b"0123456789")])?;
            sink.pieces(&[content(&[b'x'; 60_000])])?;
        }
        6 => {
            sink.list("", &[file("holes", 10)])?;
            sink.pieces(&[begin(0), [vec![2], number(u64::MAX)].concat()])?;
        }
        // Names and words that a terminal acts on.
        7 => {
            sink.list("", &[directory(NASTY), link(&format!("{NASTY}link"), NASTY)])?;
            for _ in 0..1_000 * rounds {
                sink.send(&[number(3), bytes(NASTY), vec![0], bytes(NASTY)].concat())?;
            }
            sink.end()?;
        }
        // Names without end, over and over the same one.
        8 => {
            let same = vec![link("same", "there"); BATCH as usize];
            for _ in 0..(NAMES * rounds).div_ceil(BATCH) {
                sink.list("", &same)?;
            }
            sink.end()?;
        }
        // Hard links without end, which are made when all files are there, to a file that never comes.
        10 => {
            let far_away = "d/".repeat(1_999) + "d";
            let links = vec![hard_link("link", &far_away, "first"); 15];
            for _ in 0..2_000 {
                sink.list("", &links)?;
            }
        }
        // What is no message, and no end of the call.
        11 => {
            sink.send(&[9; 9])?;
            return far.settle();
        }
        // Files without end, none of which is sent.
        _ => {
            for nth in 0..NAMES {
                sink.list("", &[file(&format!("file{nth}"), 1 << 40)])?;
            }
        }
    }
    far.reply(me, reply_to, &OUTCOME)?;
    far.settle()
}

/// What each of them is told, or says of itself.
const SAYS: [(&str, &str); 11] = [
    ("evil1", "is not the name of a file"),
    ("evil2", "leads out of the directory"),
    ("evil3", "leads out of the directory"),
    ("evil4", "not copied"),
    ("evil5", "sends more of grows than there was"),
    ("evil6", "sends more of holes than there was"),
    ("evil7", "not copied"),
    ("evil8", ""),
    ("evil9", "lists files, and sends none"),
    ("evil10", "more directories and hard links than fit into 64 MiB; copy parts of the tree"),
    ("evil11", "sends what cannot be read"),
];

/// Pulls from all of them, and from an honest host.
pub(crate) fn lead_nowhere() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    prepare(place, ATTACK.name, env!("CARGO_BIN_EXE_offshoot").as_ref())?;
    // The attackers wait for as many.
    (0..HONEST).try_for_each(|nth| fs::write(place.join(format!("up.{nth}")), ""))?;
    fs::create_dir_all(place.join("outside"))?;
    fs::write(place.join("outside/precious"), "precious")?;
    fs::create_dir(place.join("tree"))?;
    fs::write(place.join("tree/file"), "honest")?;
    fs::create_dir_all(place.join("out/evil4"))?;
    symlink("../../outside", place.join("out/evil4/planted"))?;
    let (hosts, tree) = (format!("local1,{HOSTS}"), place.join("tree").display().to_string());
    let out = place.join("out").display().to_string();
    let (mut command, mut trace) = tool(&["pull", "--jsonl", "-w", &hosts, &tree, &out]);
    command.args(["--binary", env!("CARGO_BIN_EXE_offshoot")]);
    among_attackers(&mut command, place)?;
    let before = names(place)?;
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (lines_of(child.stdout.take()), lines_of(child.stderr.take()));
    let mut peaks = Peaks::default();
    let status = loop {
        peaks.look(child.id());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > PATIENCE * rounds(1) {
            let _ = child.kill();
            child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    fs::remove_file(place.join("stay"))?;
    let (stdout, stderr): (Vec<_>, Vec<_>) = (stdout.iter().collect(), stderr.iter().collect());
    let said = format!("{}\n{}", stdout.join("\n"), stderr.join("\n"));
    let exits = stdout.iter().filter(|line| line.contains("\"exit\"")).cloned().collect::<Vec<_>>().join("\n");
    let seen = format!("{:?}, {} MiB, {status}, {stderr:.1000?}, {exits}", began.elapsed(), peaks.largest());
    ensure!(status.code().is_some_and(|code| code != 0 && code < 64), "{seen}");
    // So many are more than one copy may have.
    let is_too_much = NAMES * rounds(1) > 10_000_000;
    for (host, says) in SAYS {
        let says = if host == "evil8" && is_too_much { "lists more than 10000000 names" } else { says };
        let exit = stdout.iter().find(|line| line.contains("\"exit\"") && line.contains(&format!("\"{host}\"")));
        let exit = exit.with_context(|| format!("{host} has not ended: {seen}"))?;
        ensure!(exit.contains(says) && exit.contains("\"status\":\"ok\"") == says.is_empty(), "{host}: {exit}");
    }
    ensure!(fs::read_to_string(place.join("out/local1/tree/file"))? == "honest", "{seen}");
    let is_raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    ensure!(!said.contains(is_raw), "{seen}");
    ensure!(stderr.len() + stdout.len() < 2_000, "{} lines: {seen}", stderr.len() + stdout.len());
    ensure!(peaks.largest() <= MEMORY, "{seen}");
    // Nothing is new outside of the directory, but what the attackers note.
    let allowed = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with(place.join("out"))
            || ["launchers", "kinds", "uploads", "faults"].contains(&&*name)
            || name.starts_with("done.")
    };
    let new: Vec<_> = names(place)?.difference(&before).filter(|path| !allowed(path)).cloned().collect();
    ensure!(new.is_empty(), "{new:?}");
    ensure!(
        fs::read_to_string(place.join("outside/precious"))? == "precious"
            && links(&place.join("outside/precious"))? == 1
    );
    ensure!(names(place)?.iter().all(|path| !path.to_string_lossy().contains("escaped")), "{:?}", names(place));
    trace.expect_nothing_left(A_WHILE)
}

fn links(path: &Path) -> Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path)?))
}

/// All paths below a directory. Follows no links.
fn names(place: &Path) -> Result<BTreeSet<PathBuf>> {
    let (mut names, mut directories) = (BTreeSet::new(), vec![place.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
            names.insert(entry.path());
        }
    }
    Ok(names)
}
