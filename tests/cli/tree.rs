//! `offshoot tree`: the contexts on the way to hosts.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::AT_ONCE;
use crate::support::tool::{Ended, run, tool};

fn offshoot(args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

pub(crate) fn the_tree_shows_each_context_once_below_the_one_that_has_started_it() -> Result<()> {
    let ended = offshoot(&["tree", "-w", "local1/local2,local1/local[3-4]/local5,local6"])?;
    ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
    let marks: Vec<&str> = ended.stdout.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    let expected = [
        "offshoot",
        "|- local:local1",
        "|  |- local:local2",
        "|  |- local:local3",
        "|  |  `- local:local5",
        "|  `- local:local4",
        "|     `- local:local5",
        "`- local:local6",
    ];
    ensure!(marks == expected, "{ended:?}");
    for line in &ended.stdout[1..] {
        ensure!(line.contains(": by local, pid ") && line.contains(", own image, ") && line.ends_with(" ms"), "{line}");
    }
    Ok(())
}

pub(crate) fn the_tree_as_json_has_what_failed_and_what_was_sent() -> Result<()> {
    // A hop by a shell needs an image.
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), "[methods.plain]\nargv = [\"env\", \"{command}\"]\n")?;
    let path = config.path().to_string_lossy();
    let hosts = "local1/plain,local1/127.0.0.1:1/local2";
    let ended = offshoot(&["tree", "--config", &path, "-F", "none", "--json", "-w", hosts])?;
    ensure!(ended.code == Some(4), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let first = &document["tree"][0];
    ensure!(document["v"] == 1 && first["image"] == "own" && first["sent"] == 0, "{document}");
    let [sent, failed] = first["behind"].as_array().context("a list")?.as_slice() else { anyhow::bail!("{document}") };
    ensure!(sent["method"] == "plain" && sent["image"] == "uploaded", "{document}");
    ensure!(sent["sent"].as_u64() > Some(100_000) && sent["pid"].as_u64() > Some(1), "{document}");
    ensure!(failed["error"].as_str().is_some_and(|text| text.contains("connection refused")), "{document}");
    ensure!(failed["behind"].as_array().is_some_and(Vec::is_empty), "{document}");
    Ok(())
}
