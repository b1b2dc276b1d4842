//! `--json`: one JSON document at the end of the run.
//!
//! ```text
//! {"v":1,"hosts":{H:{"status":"ok","code":0,"signal":null,"stdout":"...","stderr":"...",
//!                    "seconds":S,"error":null}, ...},
//!  "summary":{"hosts":N,"ok":N,...,"seconds":S}}
//! ```
//!
//! Hosts are in the order of the expression. Output that is not UTF-8 is in `stdout_base64` or `stderr_base64`,
//! and `stdout` or `stderr` is null. Output is kept until the end, so it is bounded: the beginning is kept, and
//! `truncated` is the number of missing bytes. `--jsonl` has no such bound. A host has `"open":true` as in
//! `--jsonl`, and `attempts` if there were several; the output is that of the last one. `offshoot call` adds the value that the function has returned as `result`, which counts as
//! output.

use std::cell::Cell;
use std::io::{self, BufWriter, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::cli::output::jsonl::{SummaryRecord, VERSION, is_one, to_millis};
use crate::cli::output::kept::{Kept, Output, Store};
use crate::cli::output::report::{ErrorInfo, HostExit};
use crate::cli::output::safe_json;
use crate::cli::output::summary::Summary;

/// Writes the document. If output is in the file of `store`, only the output of one host at a time is in
/// memory.
pub(crate) fn document(
    hosts: Vec<(String, HostExit, Kept)>,
    store: Store,
    summary: &Summary,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let hosts = HostRecords(Cell::new(hosts), store);
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

/// The hosts by their names. They can be serialised once only.
struct HostRecords(Cell<Vec<(String, HostExit, Kept)>>, Store);

impl Serialize for HostRecords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hosts = self.0.take();
        let mut map = serializer.serialize_map(Some(hosts.len()))?;
        for (name, exit, kept) in hosts {
            let truncated = kept.truncated;
            let output = kept.read(&self.1).map_err(S::Error::custom)?;
            map.serialize_entry(&name, &HostRecord::new(&exit, &output, truncated))?;
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
    #[serde(skip_serializing_if = "is_one")]
    attempts: u32,
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
    fn new(exit: &'a HostExit, output: &'a Output, truncated: u64) -> Self {
        let (stdout, stdout_base64) = text_or_base64(&output.stdout);
        let (stderr, stderr_base64) = text_or_base64(&output.stderr);
        Self {
            status: exit.status.as_str(),
            code: exit.code,
            signal: exit.signal,
            open: exit.open.is_open(),
            attempts: exit.attempts,
            stdout,
            stdout_base64,
            stderr,
            stderr_base64,
            result: serde_json::from_slice(&output.result).ok(),
            truncated,
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
    use crate::cli::output::report::Stream;
    use crate::cli::output::summary::{End, Status};

    fn exit(code: i32) -> HostExit {
        let status = if code == 0 { Status::Ok } else { Status::Failed };
        HostExit { status, code: Some(code), seconds: 0.5, ..HostExit::cancelled() }
    }

    fn kept(stdout: &[u8], stderr: &[u8]) -> Kept {
        let mut kept = Kept::default();
        let mut store = Store::default();
        kept.push(Stream::Stdout, stdout, &mut store);
        kept.push(Stream::Stderr, stderr, &mut store);
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
        document(hosts, Store::default(), &summary, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"v\":1,\"hosts\":{\"web2\":{\"status\":\"ok\",\"code\":0,\"signal\":null,\
             \"stdout\":\"a\\r\\n\\u001b\",\"stderr\":\"\",\"seconds\":0.5,\"error\":null},\
             \"web1\":{\"status\":\"failed\",\"code\":3,\"signal\":null,\"stdout\":null,\
             \"stdout_base64\":\"/w==\",\"stderr\":\"e\\n\",\"seconds\":0.5,\"error\":null}},\
             \"summary\":{\"hosts\":2,\"ok\":1,\"failed\":1,\"unreachable\":0,\"timeout\":0,\
             \"cancelled\":0,\"skipped\":0,\"interrupted\":false,\"stopped\":null,\"seconds\":1.0}}\n"
        );
    }
}
