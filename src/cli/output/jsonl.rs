//! `--jsonl`: one JSON object per line, written as the events happen.
//!
//! ```text
//! {"v":1,"event":"line","host":H,"time":T,"stream":"stdout","text":"..."}
//! {"v":1,"event":"result","host":H,"time":T,"result":ANY}
//! {"v":1,"event":"retry","host":H,"time":T,"attempt":N,"status":"failed","code":1,...,"wait":S,"error":null}
//! {"v":1,"event":"exit","host":H,"time":T,"status":"ok","code":0,"signal":null,"seconds":S,"error":null}
//! {"v":1,"event":"summary","time":T,"hosts":N,"ok":N,...,"seconds":S}
//! ```
//!
//! `time` is in seconds since 1970. A line that is not UTF-8 has `base64` in place of `text`. A line that did
//! not end in a newline has `"partial":true`, because the output ended or the line is very long. Every host has
//! exactly one `exit`, and `summary` is last. New keys may be added. `v` changes if a key is removed or changes
//! its meaning. `result` is the value that a function has returned. `retry` is the end of an attempt; the lines
//! before it are of that attempt. `exit` is about the last attempt, and has `attempts` if there were several.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::output::line::{Line, LineEnd};
use crate::cli::output::report::{ErrorInfo, HostExit, Stream};
use crate::cli::output::safe_json;
use crate::cli::output::summary::{End, Status, Summary};

/// Version of the schema, also for `--json`.
pub(crate) const VERSION: u32 = 1;

pub(crate) fn line(name: &str, now: SystemTime, stream: Stream, line: Line<'_>, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(line.bytes).ok();
    let base64 = text.is_none().then(|| STANDARD.encode(line.bytes));
    push(
        &LineRecord {
            v: VERSION,
            event: "line",
            host: name,
            time: unix_time(now),
            stream: stream.as_str(),
            text,
            base64,
            partial: line.end != LineEnd::Newline,
        },
        out,
    );
}

pub(crate) fn result(name: &str, now: SystemTime, result: &RawValue, out: &mut Vec<u8>) {
    let (v, event, time) = (VERSION, "result", unix_time(now));
    push(&ResultRecord { v, event, host: name, time, result }, out);
}

pub(crate) fn exit(name: &str, now: SystemTime, exit: &HostExit, out: &mut Vec<u8>) {
    push(
        &ExitRecord {
            v: VERSION,
            event: "exit",
            host: name,
            time: unix_time(now),
            status: exit.status.as_str(),
            code: exit.code,
            signal: exit.signal,
            open: exit.open.is_open(),
            attempts: exit.attempts,
            seconds: to_millis(exit.seconds),
            error: exit.error.as_ref(),
        },
        out,
    );
}

/// The end of an attempt after which there is another.
pub(crate) fn retry(name: &str, now: SystemTime, exit: &HostExit, wait: Duration, out: &mut Vec<u8>) {
    push(
        &RetryRecord {
            v: VERSION,
            event: "retry",
            host: name,
            time: unix_time(now),
            attempt: exit.attempts,
            status: exit.status.as_str(),
            code: exit.code,
            signal: exit.signal,
            wait: to_millis(wait.as_secs_f64()),
            error: exit.error.as_ref(),
        },
        out,
    );
}

pub(crate) fn summary(now: SystemTime, summary: &Summary, out: &mut Vec<u8>) {
    let (v, event, time) = (VERSION, "summary", unix_time(now));
    push(&SummaryEvent { v, event, time, summary: SummaryRecord::new(summary) }, out);
}

/// The summary in both kinds of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryRecord<'a> {
    hosts: usize,
    ok: usize,
    failed: usize,
    unreachable: usize,
    timeout: usize,
    cancelled: usize,
    skipped: usize,
    interrupted: bool,
    /// Why the run was stopped early.
    stopped: Option<&'a str>,
    seconds: f64,
}

impl<'a> SummaryRecord<'a> {
    pub(crate) fn new(summary: &'a Summary) -> Self {
        Self {
            hosts: summary.total(),
            ok: summary.count(Status::Ok),
            failed: summary.count(Status::Failed),
            unreachable: summary.count(Status::Unreachable),
            timeout: summary.count(Status::Timeout),
            cancelled: summary.count(Status::Cancelled),
            skipped: summary.count(Status::Skipped),
            interrupted: summary.end == End::Interrupted,
            stopped: match &summary.end {
                End::Stopped(reason) => Some(reason),
                _ => None,
            },
            seconds: to_millis(summary.seconds),
        }
    }
}

/// Rounds to milliseconds. More digits would not help.
pub(crate) fn to_millis(seconds: f64) -> f64 {
    if seconds.is_finite() { (seconds * 1000.0).round() / 1000.0 } else { 0.0 }
}

#[derive(Serialize)]
struct ResultRecord<'a> {
    v: u32,
    event: &'a str,
    host: &'a str,
    time: f64,
    result: &'a RawValue,
}

#[derive(Serialize)]
struct LineRecord<'a> {
    v: u32,
    event: &'a str,
    host: &'a str,
    time: f64,
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Serialize)]
struct ExitRecord<'a> {
    v: u32,
    event: &'a str,
    host: &'a str,
    time: f64,
    status: &'a str,
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    #[serde(skip_serializing_if = "is_one")]
    attempts: u32,
    seconds: f64,
    error: Option<&'a ErrorInfo>,
}

#[derive(Serialize)]
struct RetryRecord<'a> {
    v: u32,
    event: &'a str,
    host: &'a str,
    time: f64,
    attempt: u32,
    status: &'a str,
    code: Option<i32>,
    signal: Option<i32>,
    wait: f64,
    error: Option<&'a ErrorInfo>,
}

#[derive(Serialize)]
struct SummaryEvent<'a> {
    v: u32,
    event: &'a str,
    time: f64,
    #[serde(flatten)]
    summary: SummaryRecord<'a>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_one(number: &u32) -> bool {
    *number == 1
}

fn push(record: &impl Serialize, out: &mut Vec<u8>) {
    out.append(&mut safe_json::line(record));
}

fn unix_time(now: SystemTime) -> f64 {
    to_millis(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456)
    }

    fn shown(bytes: &[u8], end: LineEnd) -> String {
        let mut out = Vec::new();
        line("web1", now(), Stream::Stderr, Line { bytes, end }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_as_documented() {
        assert_eq!(
            shown(b"a \"b\"\x1b\r", LineEnd::Newline),
            "{\"v\":1,\"event\":\"line\",\"host\":\"web1\",\"time\":1700000000.123,\"stream\":\"stderr\",\
             \"text\":\"a \\\"b\\\"\\u001b\\r\"}\n"
        );
        assert!(shown(b"\xff", LineEnd::Newline).ends_with(",\"base64\":\"/w==\"}\n"));
        for end in [LineEnd::More, LineEnd::Nothing] {
            assert!(shown(b"a", end).ends_with(",\"text\":\"a\",\"partial\":true}\n"));
        }
    }

    #[test]
    fn exits_are_as_documented() {
        let mut out = Vec::new();
        let error = ErrorInfo {
            kind: "auth".into(),
            phase: "login".into(),
            hop: "ssh.web1".into(),
            text: "denied".into(),
            advice: "install a key".into(),
            steps: String::new(),
        };
        let mut host =
            HostExit { status: Status::Unreachable, seconds: 0.123_456, error: Some(error), ..HostExit::cancelled() };
        exit("web1", now(), &host, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"v\":1,\"event\":\"exit\",\"host\":\"web1\",\"time\":1700000000.123,\"status\":\"unreachable\",\
             \"code\":null,\"signal\":null,\"seconds\":0.123,\"error\":{\"kind\":\"auth\",\"phase\":\"login\",\
             \"hop\":\"ssh.web1\",\"text\":\"denied\",\"advice\":\"install a key\"}}\n"
        );
        host = HostExit { status: Status::Failed, code: Some(3), error: None, seconds: f64::NAN, ..host };
        let mut out = Vec::new();
        exit("web1", now(), &host, &mut out);
        assert!(
            String::from_utf8(out)
                .unwrap()
                .ends_with("\"status\":\"failed\",\"code\":3,\"signal\":null,\"seconds\":0.0,\"error\":null}\n")
        );
    }

    #[test]
    fn summaries_are_as_documented() {
        let mut out = Vec::new();
        let hosts = vec![("a".into(), Status::Ok), ("b".into(), Status::Cancelled)];
        let end = End::Stopped("too many failed".into());
        summary(now(), &Summary::new(hosts, end, 1.0, 0), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"v\":1,\"event\":\"summary\",\"time\":1700000000.123,\"hosts\":2,\"ok\":1,\"failed\":0,\
             \"unreachable\":0,\"timeout\":0,\"cancelled\":1,\"skipped\":0,\"interrupted\":false,\
             \"stopped\":\"too many failed\",\"seconds\":1.0}\n"
        );
    }
}
