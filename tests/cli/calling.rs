//! Functions by name, their results in JSON.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::text::offshoot;

pub(crate) fn functions_are_listed_with_their_signatures() -> Result<()> {
    let ended = offshoot(&["functions"])?;
    let facts = "offshoot::builtin::facts::host_facts() -> HostFacts".to_owned();
    ensure!(ended.code == Some(0) && ended.stdout.contains(&facts), "{ended:?}");
    let ended = offshoot(&["functions", "--json", "facts"])?;
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let [function] = document["functions"].as_array().context("a list")?.as_slice() else {
        anyhow::bail!("one function: {document}")
    };
    assert_eq!(function["name"], "offshoot::builtin::facts::host_facts");
    assert_eq!((&function["arguments"], &function["result"]), (&"()".into(), &"HostFacts".into()));
    assert_eq!(function["callable"], true);
    Ok(())
}

pub(crate) fn a_function_is_called_by_any_end_of_its_name() -> Result<()> {
    for name in ["host_facts", "facts::host_facts", "offshoot::builtin::facts::host_facts"] {
        let ended = offshoot(&["call", "-w", "local1/local2,local3", name])?;
        ensure!(ended.code == Some(0) && ended.stdout.len() == 2, "{ended:?}");
        for line in &ended.stdout {
            let (host, result) = line.split_once(": ").context("a host")?;
            ensure!(["local1/local2", "local3"].contains(&host), "{line}");
            let facts: Value = serde_json::from_str(result)?;
            assert_eq!(facts["os"], "linux");
        }
    }
    Ok(())
}

pub(crate) fn results_are_part_of_both_kinds_of_json() -> Result<()> {
    let args = ["-F", "none", "--timeout", "20s", "-w", "local1,127.0.0.1:1", "host_facts", "[]"];
    let ended = offshoot(&[&["call", "--json"], &args[..]].concat())?;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let host = &document["hosts"]["local1"];
    ensure!(host["result"]["pid"].as_u64().is_some() && host["status"] == "ok" && host["code"].is_null(), "{host}");
    ensure!(document["hosts"]["127.0.0.1:1"].get("result").is_none(), "{document}");
    let ended = offshoot(&["call", "--jsonl", "-w", "local1", "host_facts"])?;
    let events: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["result", "exit", "summary"]);
    assert_eq!((&events[0]["host"], &events[0]["result"]["os"]), (&"local1".into(), &"linux".into()));
    Ok(())
}

pub(crate) fn what_cannot_be_called_is_told_before_anything_is_connected() -> Result<()> {
    for (args, says) in [
        (&["host_fact"][..], "did you mean offshoot::builtin::facts::host_facts?"),
        (&["nothing_of_ours"], "see `offshoot functions`"),
        (&["host_facts", "[1]"], "offshoot::builtin::facts::host_facts() -> HostFacts do not fit"),
        (&["host_facts", "{}"], "write a JSON array"),
        (&["read_file", "[\"/etc/passwd\"]"], "JSON cannot express its arguments"),
    ] {
        let ended = offshoot(&[&["call", "-w", "local1"], args].concat())?;
        assert_eq!((ended.code, ended.stdout.len()), (Some(64), 0), "{ended:?}");
        ensure!(ended.stderr.iter().any(|line| line.contains(says)), "{says:?} is not in {:?}", ended.stderr);
    }
    Ok(())
}
