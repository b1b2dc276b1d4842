//! The two kinds of JSON, which other programs rely on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::text::offshoot;
use crate::support::tool::{run, tool};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// Checks what is the same in every summary.
fn check_summary(summary: &Value, counts: [u64; 6]) {
    let names = ["hosts", "ok", "failed", "unreachable", "timeout", "cancelled"];
    for (name, count) in names.iter().zip(counts) {
        assert_eq!(summary[name], count, "{name} in {summary}");
    }
    assert_eq!((&summary["interrupted"], &summary["stopped"]), (&Value::Bool(false), &Value::Null));
    assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{summary}");
}

/// Runs the tool, with its stdout in the file `out` of the directory. Returns the most memory that it had, in KiB.
pub(crate) fn most_memory(args: &[&str], directory: &Path) -> Result<u64> {
    let (command, _trace) = tool(args);
    let mut watched = Command::new("/usr/bin/env");
    let script = "\"$@\" >out & pid=$!; while now=$(sed -n 's/VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status); \
                  [ -n \"$now\" ]; do most=$now; sleep 0.05; done; wait $pid && echo $most";
    watched.args(["sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    let ended = run(watched.current_dir(directory))?;
    ended.stdout.concat().parse().with_context(|| format!("{ended:?}"))
}

pub(crate) fn much_output_as_json_takes_little_memory() -> Result<()> {
    let line = "head -c 40000000 /dev/zero | tr '\\0' x";
    let directory = tempfile::tempdir()?;
    let most = most_memory(&["run", "--json", "-w", "local[1-5]", "-s", line], directory.path())?;
    ensure!(most < 150_000, "{most} KiB for 200 MB of output");
    let document: Value = serde_json::from_slice(&std::fs::read(directory.path().join("out"))?)?;
    for n in 1..=5 {
        let stdout = document["hosts"][format!("local{n}")]["stdout"].as_str().context("text")?;
        ensure!(stdout.len() == 40_000_000 && stdout.bytes().all(|b| b == b'x'), "local{n}: {} bytes", stdout.len());
    }
    Ok(())
}

pub(crate) fn json_is_one_document_with_every_host() -> Result<()> {
    let line = "echo out; printf 'err' >&2; case $PPID in *) exit 3; esac";
    let ended = offshoot(&["run", "--json", "-F", "none", "-w", "local[1-2],127.0.0.1:1", "-s", line])?;
    assert_eq!((ended.code, ended.stdout.len()), (Some(6), 1), "{:?}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout[0])?;
    assert_eq!(keys(&document), ["hosts", "summary", "v"]);
    assert_eq!(document["v"], 1);
    // In the order of the expression, which a map of values does not keep.
    let places = ["\"local1\":", "\"local2\":", "\"127.0.0.1:1\":"].map(|key| ended.stdout[0].find(key));
    ensure!(places.is_sorted() && places[0].is_some(), "{places:?}");
    let host = &document["hosts"]["local2"];
    assert_eq!(keys(host), ["code", "error", "seconds", "signal", "status", "stderr", "stdout"]);
    assert_eq!((&host["status"], &host["code"]), (&"failed".into(), &3.into()));
    assert_eq!((&host["stdout"], &host["stderr"]), (&"out\n".into(), &"err".into()));
    assert_eq!((&host["signal"], &host["error"]), (&Value::Null, &Value::Null));
    let unreachable = &document["hosts"]["127.0.0.1:1"];
    assert_eq!((&unreachable["status"], &unreachable["code"]), (&"unreachable".into(), &Value::Null));
    let error = &unreachable["error"];
    assert_eq!(keys(error), ["advice", "hop", "kind", "phase", "text"]);
    let (text, advice) = (error["text"].as_str().context("a text")?, error["advice"].as_str().context("advice")?);
    ensure!(text.contains("connection refused") && advice.contains("sshd runs there"), "{error}");
    ensure!(!text.contains(advice), "{error}");
    assert_eq!([&error["kind"], &error["phase"], &error["hop"]], ["eof", "login", "ssh.127.0.0.1:1"]);
    check_summary(&document["summary"], [3, 0, 2, 1, 0, 0]);
    Ok(())
}

pub(crate) fn jsonl_tells_everything_as_it_happens() -> Result<()> {
    let line = "printf 'a\\n\\377\\nb'; kill -TERM $$";
    let ended = offshoot(&["run", "--jsonl", "-w", "local1", "-s", line])?;
    assert_eq!(ended.code, Some(2), "{:?}", ended.stderr);
    ensure!(ended.stderr.is_empty(), "{:?}", ended.stderr);
    let events: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let [first, odd, last, exit, summary] = &events[..] else { anyhow::bail!("five events: {events:?}") };
    for event in &events {
        assert_eq!(event["v"], 1);
        let time = event["time"].as_f64().context("a time")?;
        ensure!(std::time::UNIX_EPOCH.elapsed()?.as_secs_f64() - time < 60.0, "{event}");
    }
    assert_eq!(keys(first), ["event", "host", "stream", "text", "time", "v"]);
    assert_eq!([&first["event"], &first["host"], &first["stream"], &first["text"]], ["line", "local1", "stdout", "a"]);
    assert_eq!(keys(odd), ["base64", "event", "host", "stream", "time", "v"]);
    assert_eq!(odd["base64"], "/w==");
    assert_eq!((&last["text"], &last["partial"]), (&"b".into(), &Value::Bool(true)));
    assert_eq!(keys(exit), ["code", "error", "event", "host", "seconds", "signal", "status", "time", "v"]);
    assert_eq!([&exit["event"], &exit["host"], &exit["status"]], ["exit", "local1", "failed"]);
    assert_eq!((&exit["code"], &exit["signal"], &exit["error"]), (&Value::Null, &15.into(), &Value::Null));
    assert_eq!(summary["event"], "summary");
    check_summary(summary, [1, 0, 1, 0, 0, 0]);
    Ok(())
}

pub(crate) fn a_command_that_cannot_be_started_is_an_error_in_json() -> Result<()> {
    let ended = offshoot(&["run", "--json", "-w", "local1", "--", "/no/such/program"])?;
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let host = &document["hosts"]["local1"];
    assert_eq!((&host["status"], &host["code"]), (&"failed".into(), &Value::Null));
    let text = host["error"]["text"].as_str().context("a text")?;
    ensure!(text.contains("/no/such/program") && text.contains("No such file"), "{text}");
    Ok(())
}
