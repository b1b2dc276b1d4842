//! Random commands write in every way, and random readers read. Everything that is written must arrive.
//!
//! `OFS_ROUNDS` is the number of rounds. `OFS_SEED` repeats the same random numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::random::{Random, rounds};
use crate::support::tool::tool;
use crate::support::{ONE_SECOND, PATIENCE, THREE_SECONDS};

pub(crate) fn trials() -> Vec<OnHosts> {
    vec![("whatever writes on hosts, and however it is read, all of it arrives".into(), Box::new(on_hosts))]
}

/// As the name of the trial says.
pub(crate) fn whatever_writes_and_however_it_is_read_all_of_it_arrives() -> Result<()> {
    try_often("writing here", rounds(12), &["run", "--jsonl", "-w", "local1,local2/local3"], 2, &[])
}

fn on_hosts(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    let args = ["run", "--jsonl", "-F", &config, "-w", "here-user,web1/mini"];
    try_often("writing there", rounds(4), &args, 2, &fleet.places)
}

/// A line for a shell, and its output on stdout and on stderr.
#[derive(Debug, Default)]
struct Writer {
    line: String,
    written: [Vec<u8>; 2],
}

impl Writer {
    fn new(random: &mut Random) -> Self {
        let mut writer = Self::default();
        for _ in 0..1 + random.below(4) {
            writer.add(random);
        }
        // A process that the command leaves behind goes on writing.
        if random.below(3) == 0 {
            writer.line.push_str("{ sleep 0.2; ");
            writer.add(random);
            writer.line.push_str("} & ");
        }
        if random.below(2) == 0 && !writer.line.ends_with("& ") {
            writer.line.push_str("printf end");
            writer.written[0].extend(b"end");
        } else {
            writer.line.push_str("exit 0");
        }
        writer
    }

    fn add(&mut self, random: &mut Random) {
        let count = 1 + random.below(6000);
        let numbers = |from: u64| (from..=count).fold(String::new(), |text, number| text + &number.to_string() + "\n");
        let (line, bytes) = match random.below(9) {
            0 | 1 => (format!("seq 1 {count}"), numbers(1).into_bytes()),
            2 => (format!("head -c {count} /dev/zero"), vec![0; count as usize]),
            3 => {
                let length = random.pick(&[65_535, 65_536, 65_537, 200_000]);
                let line = format!("head -c {length} /dev/zero | tr '\\0' x; echo");
                (line, [vec![b'x'; length], vec![b'\n']].concat())
            }
            4 => (r"printf 'a\rb\r\n\r'".into(), b"a\rb\r\n\r".to_vec()),
            5 => (r"printf '\377\376\n\303'".into(), b"\xff\xfe\n\xc3".to_vec()),
            6 => ("for n in 1 2 3 4 5; do printf $n; sleep 0.03; done".into(), b"12345".to_vec()),
            7 => (format!("seq 1 {count} | (sleep 0.1; cat)"), numbers(1).into_bytes()),
            _ => (format!("(seq 1 {count} & wait)"), numbers(1).into_bytes()),
        };
        let stream = random.below(2) as usize;
        let _ = write!(self.line, "{{ {line}; }}{}; ", [" ", " >&2"][stream]);
        self.written[stream].extend(bytes);
    }
}

/// The way in which the output of the tool is read.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Fast,
    Slow,
    /// Stops reading for some time, after so many bytes.
    Stopped(usize, Duration),
    /// Stops reading for ever, after so many bytes.
    Closed(usize),
}

impl Reader {
    fn new(random: &mut Random) -> Self {
        let after = random.below(200_000) as usize;
        match random.below(6) {
            0 => Self::Fast,
            1 | 2 => Self::Slow,
            // This is also longer than the wait for silent processes.
            3 | 4 => Self::Stopped(after, random.time(THREE_SECONDS)),
            _ => Self::Closed(after),
        }
    }

    fn read(self, mut from: impl Read) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        match self {
            Self::Fast => {}
            Self::Slow => {
                let mut piece = [0; 4096];
                loop {
                    match from.read(&mut piece)? {
                        0 => break,
                        count => all.extend_from_slice(&piece[..count]),
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Self::Stopped(after, time) => {
                from.by_ref().take(after as u64).read_to_end(&mut all)?;
                std::thread::sleep(time);
            }
            Self::Closed(after) => {
                from.take(after as u64).read_to_end(&mut all)?;
                return Ok(all);
            }
        }
        from.read_to_end(&mut all)?;
        Ok(all)
    }
}

fn try_often(what: &str, rounds: u32, args: &[&str], hosts: usize, places: &[std::path::PathBuf]) -> Result<()> {
    let (mut random, seed) = Random::new(what);
    let (start, mut bytes) = (Instant::now(), 0);
    for round in 1..=rounds {
        let (writer, reader) = (Writer::new(&mut random), Reader::new(&mut random));
        let what = || format!("round {round} ({seed}): {reader:?} reads {}", writer.line);
        let (mut command, trace) = tool(&[args, &["-s", &writer.line]].concat());
        let mut trace = trace.with_places(places);
        let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = running.stdout.take().context("it has an output")?;
        let read = reader.read(stdout).with_context(what)?;
        let status = running.wait()?;
        bytes += read.len();
        if !matches!(reader, Reader::Closed(_)) {
            ensure!(status.code() == Some(0), "{}: {status}", what());
            compare(&read, &writer, hosts).with_context(what)?;
        }
        trace.expect_nothing_left(ONE_SECOND).with_context(what)?;
        ensure!(start.elapsed() < PATIENCE * rounds, "{} takes too long", what());
    }
    eprintln!("{what} ({seed}): {rounds} rounds and {bytes} bytes in {:?}", start.elapsed());
    Ok(())
}

/// Checks that the tool has printed everything that was written on each host.
fn compare(printed: &[u8], writer: &Writer, hosts: usize) -> Result<()> {
    let mut read: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
    let mut exits = 0;
    for line in printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).context("a line is not whole")?;
        let word = |key: &str| record[key].as_str().map(str::to_owned);
        match record["event"].as_str() {
            Some("line") => {
                let key = (word("host").context("no host")?, word("stream").context("no stream")?);
                let bytes = read.entry(key).or_default();
                bytes.extend(match word("text") {
                    Some(text) => text.into_bytes(),
                    None => from_base64(&word("base64").context("no bytes")?),
                });
                if record["partial"] != true {
                    bytes.push(b'\n');
                }
            }
            Some("exit") => {
                exits += 1;
                ensure!(record["status"] == "ok" && record["open"].is_null(), "{record}");
            }
            _ => {}
        }
    }
    ensure!(exits == hosts, "{exits} of {hosts} hosts have ended");
    let names: std::collections::BTreeSet<&String> = read.keys().map(|(host, _)| host).collect();
    ensure!(names.len() == hosts, "of {hosts} hosts there are {names:?}");
    for name in names {
        for (stream, written) in ["stdout", "stderr"].iter().zip(&writer.written) {
            let read = read.get(&(name.clone(), (*stream).to_owned())).map_or(&[][..], Vec::as_slice);
            if read != written {
                let at = read.iter().zip(written).take_while(|(read, written)| read == written).count();
                bail!("{name}: {stream} has {} of {} bytes, and differs at {at}", read.len(), written.len());
            }
        }
    }
    Ok(())
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
