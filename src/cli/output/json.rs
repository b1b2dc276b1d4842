//! `--json`: one JSON document when all is over.
//!
//! ```text
//! {"v":1,"hosts":{H:{"status":"ok","code":0,"signal":null,"stdout":"...","stderr":"...",
//!                    "seconds":S,"error":null}, ...},
//!  "summary":{"hosts":N,"ok":N,...,"seconds":S}}
//! ```
//!
//! Hosts are in the order of the expression. Output that is not UTF-8 is in
//! `stdout_base64` or `stderr_base64`, and `stdout` or `stderr` is null. Output
//! must be kept until the end, so it is bounded: the beginning is kept, and
//! `truncated` is how many bytes are missing; `--jsonl` has no such bound. A
//! host has `"open":true` as in `--jsonl`. What
//! a function has returned is `result`, which is there for `offshoot call` only
//! and counts as output.

use std::cell::Cell;
use std::io::{self, BufWriter, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::cli::output::jsonl::{SummaryRecord, VERSION, to_millis};
use crate::cli::output::line::whole_characters;
use crate::cli::output::report::{ErrorInfo, HostExit, Stream};
use crate::cli::output::safe_json;
use crate::cli::output::summary::Summary;

/// Most output that is kept of one host, both streams together.
pub(crate) const MAX_OF_HOST: usize = 64 << 20;
/// Most output that is kept of all hosts together.
pub(crate) const MAX_OF_ALL: usize = 512 << 20;

/// The output of a host.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// What a function has returned.
    result: Option<Box<RawValue>>,
    /// How many bytes are missing at the end.
    pub(crate) truncated: u64,
}

impl Kept {
    /// Keeps output, as far as the bounds allow. `all` counts what is kept of
    /// all hosts.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8], all: &mut usize) {
        let room = (MAX_OF_HOST - self.stdout.len() - self.stderr.len()).min(MAX_OF_ALL - *all);
        // Once something is missing, so is all that follows: no holes.
        let kept = match bytes.len() <= room {
            true if self.truncated == 0 => bytes,
            false if self.truncated == 0 => &bytes[..whole_characters(&bytes[..room])],
            _ => &[],
        };
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(kept),
            Stream::Stderr => self.stderr.extend_from_slice(kept),
        }
        *all += kept.len();
        self.truncated += (bytes.len() - kept.len()) as u64;
    }

    /// Keeps a result, if there is room for all of it.
    pub(crate) fn keep_result(&mut self, result: Box<RawValue>, all: &mut usize) {
        let size = result.get().len();
        if size <= MAX_OF_ALL - *all {
            *all += size;
            self.result = Some(result);
        } else {
            self.truncated += size as u64;
        }
    }
}

/// Writes the document. The output of each host is freed once it is written.
pub(crate) fn document(hosts: Vec<(String, HostExit, Kept)>, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let hosts = HostRecords(Cell::new(hosts));
    safe_json::write(&DocumentRecord { v: VERSION, hosts, summary: SummaryRecord::new(summary) }, &mut out)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[derive(serde::Serialize)]
struct DocumentRecord<'a> {
    v: u32,
    hosts: HostRecords,
    summary: SummaryRecord<'a>,
}

/// The hosts by their names. They can be serialised once.
struct HostRecords(Cell<Vec<(String, HostExit, Kept)>>);

impl Serialize for HostRecords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hosts = self.0.take();
        let mut map = serializer.serialize_map(Some(hosts.len()))?;
        for (name, exit, kept) in hosts {
            map.serialize_entry(&name, &HostRecord::new(&exit, &kept))?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct HostRecord<'a> {
    status: &'a str,
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    stdout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_base64: Option<String>,
    stderr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_zero")]
    truncated: u64,
    seconds: f64,
    error: Option<&'a ErrorInfo>,
}

impl<'a> HostRecord<'a> {
    fn new(exit: &'a HostExit, kept: &'a Kept) -> Self {
        let (stdout, stdout_base64) = text_or_base64(&kept.stdout);
        let (stderr, stderr_base64) = text_or_base64(&kept.stderr);
        Self {
            status: exit.status.as_str(),
            code: exit.code,
            signal: exit.signal,
            open: exit.open,
            stdout,
            stdout_base64,
            stderr,
            stderr_base64,
            result: kept.result.as_deref(),
            truncated: kept.truncated,
            seconds: to_millis(exit.seconds),
            error: exit.error.as_ref(),
        }
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::summary::{End, Status};

    fn exit(code: i32) -> HostExit {
        let status = if code == 0 { Status::Ok } else { Status::Failed };
        HostExit { status, code: Some(code), signal: None, open: false, seconds: 0.5, error: None }
    }

    fn kept(stdout: &[u8], stderr: &[u8]) -> Kept {
        let mut kept = Kept::default();
        let mut all = 0;
        kept.push(Stream::Stdout, stdout, &mut all);
        kept.push(Stream::Stderr, stderr, &mut all);
        kept
    }

    #[test]
    fn the_document_is_as_documented_and_in_order() {
        let hosts = vec![
            ("web2".to_owned(), exit(0), kept(b"a\r\n\x1b", b"")),
            ("web1".to_owned(), exit(3), kept(b"\xff", b"e\n")),
        ];
        let names = vec![("web2".into(), Status::Ok), ("web1".into(), Status::Failed)];
        let summary = Summary::new(names, End::Complete, 1.0, 3);
        let mut out = Vec::new();
        document(hosts, &summary, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"v\":1,\"hosts\":{\"web2\":{\"status\":\"ok\",\"code\":0,\"signal\":null,\
             \"stdout\":\"a\\r\\n\\u001b\",\"stderr\":\"\",\"seconds\":0.5,\"error\":null},\
             \"web1\":{\"status\":\"failed\",\"code\":3,\"signal\":null,\"stdout\":null,\
             \"stdout_base64\":\"/w==\",\"stderr\":\"e\\n\",\"seconds\":0.5,\"error\":null}},\
             \"summary\":{\"hosts\":2,\"ok\":1,\"failed\":1,\"unreachable\":0,\"timeout\":0,\
             \"cancelled\":0,\"interrupted\":false,\"stopped\":null,\"seconds\":1.0}}\n"
        );
    }

    #[test]
    fn the_output_of_a_host_is_bounded_and_has_no_holes() {
        let mut kept = Kept::default();
        let mut all = 0;
        let chunk = vec![b'a'; 1 << 20];
        for _ in 0..63 {
            kept.push(Stream::Stdout, &chunk, &mut all);
        }
        let mut odd = vec![b'a'; (1 << 20) - 2];
        odd.extend_from_slice("€ and more".as_bytes());
        kept.push(Stream::Stderr, &odd, &mut all);
        assert_eq!(kept.stdout.len() + kept.stderr.len(), MAX_OF_HOST - 2);
        assert_eq!((kept.truncated, all), ("€ and more".len() as u64, MAX_OF_HOST - 2));
        kept.push(Stream::Stdout, b"x", &mut all);
        assert_eq!((kept.truncated, all), ("€ and more".len() as u64 + 1, MAX_OF_HOST - 2));
        let mut out = Vec::new();
        let summary = Summary::new(Vec::new(), End::Complete, 0.0, 0);
        document(vec![("h".into(), exit(0), kept)], &summary, &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["hosts"]["h"]["truncated"], 13);
        assert_eq!(document["hosts"]["h"]["stdout"].as_str().unwrap().len(), 63 << 20);
    }

    #[test]
    fn the_output_of_all_hosts_is_bounded() {
        let mut all = MAX_OF_ALL - 1;
        let mut kept = Kept::default();
        kept.push(Stream::Stdout, b"abc", &mut all);
        assert_eq!((kept.stdout.as_slice(), kept.truncated, all), (&b"a"[..], 2, MAX_OF_ALL));
        let mut other = Kept::default();
        other.push(Stream::Stdout, b"abc", &mut all);
        assert_eq!((other.truncated, all), (3, MAX_OF_ALL));
    }
}
