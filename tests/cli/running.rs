//! The order, the attempts and the end of a run.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::text::{launcher, offshoot};
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::{AT_ONCE, Missing, ONE_SECOND, long_time, promised};

fn events(ended: &Ended) -> Result<Vec<Value>> {
    ended.stdout.iter().map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
}

fn told(ended: &Ended, text: &str) -> bool {
    ended.stderr.iter().any(|line| line.contains(text))
}

pub(crate) fn a_batch_begins_when_the_one_before_is_done() -> Result<()> {
    let line = "echo begun; sleep 0.2; echo done";
    let ended = offshoot(&["run", "--jsonl", "--batch", "1,2", "-w", "local[1-5]", "-s", line])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let events = events(&ended)?;
    let at = |host: &str, event: &str| events.iter().position(|line| line["host"] == host && line["event"] == event);
    for (before, after) in [(&["local1"][..], ["local2", "local3"]), (&["local2", "local3"], ["local4", "local5"])] {
        let done = before.iter().map(|host| at(host, "exit").context("an end")).collect::<Result<Vec<_>>>()?;
        for host in after {
            let begun = at(host, "line").context("a line")?;
            ensure!(done.iter().all(|done| *done < begun), "{host} begins after {before:?}: {events:#?}");
        }
    }
    // Those of a batch run side by side.
    ensure!(at("local3", "line") < at("local2", "exit"), "{events:#?}");
    Ok(())
}

pub(crate) fn no_more_hosts_are_started_when_too_many_have_failed() -> Result<()> {
    let args = ["run", "--batch", "1", "--max-fail", "1", "-w", "local[1-6]", "--", "false"];
    let ended = offshoot(&args)?;
    assert_eq!(ended.code, Some(2 + 8), "{ended:?}");
    let summary =
        "offshoot: stopped early: 2 hosts have failed, and --max-fail allows 1: 6 hosts: 2 failed, 4 skipped in ";
    ensure!(told(&ended, summary) && told(&ended, "  skipped: local[3-6]"), "{ended:?}");
    ensure!(told(&ended, "-w 'local[1-6]' -- false"), "the rerun has all six: {ended:?}");
    let ended = offshoot(&[&["run", "--jsonl"], &args[1..]].concat())?;
    let events = events(&ended)?;
    let statuses: Vec<_> = events.iter().filter_map(|event| event["status"].as_str()).collect();
    assert_eq!(statuses, ["failed", "failed", "skipped", "skipped", "skipped", "skipped"]);
    let summary = events.last().context("a summary")?;
    assert_eq!((&summary["skipped"], &summary["cancelled"]), (&4.into(), &0.into()));
    ensure!(summary["stopped"].as_str().is_some_and(|why| why.contains("--max-fail")), "{summary}");
    // Hosts that run go on, and if all are started nothing is stopped.
    let line = "case $(cat /proc/self/comm) in *) exit 1; esac";
    let ended = offshoot(&["run", "--max-fail", "0", "-f", "4", "-w", "local[1-4]", "-s", line])?;
    ensure!(ended.code == Some(2) && told(&ended, "4 hosts: 4 failed"), "{ended:?}");
    Ok(())
}

/// An ssh that fails this many times, with these words, and then runs the command here. It counts its logins.
fn failing_ssh(times: u32, words: &str) -> Result<(tempfile::TempDir, String)> {
    launcher(
        "ssh",
        &format!(
            "case \"$*\" in *' -G '*) exit 0 ;; esac\n\
             echo called >>\"${{0%/*}}/calls\"\n\
             [ $(wc -l <\"${{0%/*}}/calls\") -gt {times} ] || {{ echo '{words}' >&2; exit 255; }}\n\
             for command; do :; done\nexec sh -c \"$command\""
        ),
    )
}

fn logins(directory: &tempfile::TempDir) -> Result<usize> {
    Ok(std::fs::read_to_string(directory.path().join("calls"))?.lines().count())
}

pub(crate) fn a_host_that_cannot_be_reached_is_tried_again() -> Result<()> {
    const REFUSED: &str = "ssh: connect to host web1 port 22: Connection refused";
    let (directory, path) = failing_ssh(2, REFUSED)?;
    let args = ["run", "-F", "none", "--retries", "2", "-w", "web1", "--", "echo", "done"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["web1: done".to_owned()][..]), "{ended:?}");
    ensure!(told(&ended, "web1: attempt 1: unreachable: ") && told(&ended, "web1: attempt 2: "), "{ended:?}");
    ensure!(ended.elapsed > ONE_SECOND, "there are waits between: {:?}", ended.elapsed);
    assert_eq!(logins(&directory)?, 3);
    for (format, key) in [("--json", "/hosts/web1/attempts"), ("--jsonl", "/attempts")] {
        let (_directory, path) = failing_ssh(1, REFUSED)?;
        let ended = run(tool(&[&["run", format], &args[1..]].concat()).0.env("PATH", &path))?;
        let events = events(&ended)?;
        let attempts: Vec<_> = events.iter().filter_map(|event| event.pointer(key)).collect();
        assert_eq!(attempts, [&Value::from(2)], "{ended:?}");
        let retry = events.iter().find(|event| event["event"] == "retry");
        ensure!(retry.is_some() == (format == "--jsonl"), "{events:#?}");
        ensure!(retry.is_none_or(|retry| retry["attempt"] == 1 && retry["status"] == "unreachable"), "{events:#?}");
    }
    // The last attempt is what counts.
    let (_directory, path) = failing_ssh(100, REFUSED)?;
    let args = ["run", "-F", "none", "--retries", "1", "-w", "web1", "--", "true"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    ensure!(ended.code == Some(4) && told(&ended, "web1: unreachable in attempt 2: ssh.web1: "), "{ended:?}");
    Ok(())
}

pub(crate) fn what_another_attempt_cannot_mend_is_not_tried_again() -> Result<()> {
    for words in ["me@web1: Permission denied (publickey).", "Host key verification failed."] {
        let (directory, path) = failing_ssh(100, words)?;
        let args = ["run", "-F", "none", "--retries", "3", "-w", "web1", "--", "true"];
        let ended = run(tool(&args).0.env("PATH", &path))?;
        ensure!(ended.code == Some(4) && !told(&ended, "attempt"), "{ended:?}");
        assert_eq!(logins(&directory)?, 1, "{words}");
    }
    // A command that has failed may have done something.
    let ended = offshoot(&["run", "--retries", "3", "-w", "local1", "--", "false"])?;
    ensure!(ended.code == Some(2) && !told(&ended, "attempt"), "{ended:?}");
    Ok(())
}

pub(crate) fn a_hop_is_tried_again_once_for_all_hosts_behind_it() -> Result<()> {
    let (directory, path) = failing_ssh(100, "ssh: connect to host bastion port 22: Connection refused")?;
    let args = ["run", "-F", "none", "--retries", "1", "-w", "bastion/local[1-5]", "--", "true"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    ensure!(ended.code == Some(4) && told(&ended, "5 hosts: 5 unreachable"), "{ended:?}");
    assert_eq!(logins(&directory)?, 2, "{ended:?}");
    Ok(())
}

/// The tool without input, so that commands can be started again.
fn without_input(args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    let ended = Running::start_with(&mut command, Stdio::null())?.finish()?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

pub(crate) fn commands_that_failed_are_tried_again_if_that_is_asked_for() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let line = |name: &str, fail: &str| {
        format!("echo out; mkdir {} 2>/dev/null || exit 0; {fail}", directory.path().join(name).display())
    };
    let again = ["--retries", "1", "--retry-on", "all", "-w", "local1", "-s"];
    let ended = without_input(&[&["run"], &again[..], &[&line("text", "exit 3")]].concat())?;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 2), "both attempts are shown: {ended:?}");
    ensure!(told(&ended, "local1: attempt 1: exited with return code 3; the next attempt begins in "), "{ended:?}");
    let ended = without_input(&[&["run", "--json"], &again[..], &[&line("json", "exit 3")]].concat())?;
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let host = &document["hosts"]["local1"];
    ensure!(host["stdout"] == "out\n" && host["status"] == "ok" && host["attempts"] == 2, "{host}");
    // A host that was lost is reached again.
    let ended = without_input(&[&["run"], &again[..], &[&line("lost", "kill -9 $PPID; sleep 100")]].concat())?;
    ensure!(
        ended.code == Some(0) && told(&ended, "local1: attempt 1: unreachable: the connection was lost"),
        "{ended:?}"
    );
    // stdin is there only once.
    let mut command = tool(&[&["run"], &again[..], &["cat"]].concat()).0;
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(64) && told(&ended, "write -n"), "{ended:?}");
    Ok(())
}

pub(crate) fn a_run_ends_at_its_deadline() -> Result<()> {
    let time = long_time();
    let line = format!("echo begun; sleep {time}; true");
    let args = ["run", "--deadline", "1s", "-f", "2", "-w", "local[1-3]", "-s", &line];
    let (mut command, trace) = tool(&args);
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    assert_eq!((ended.code, ended.stdout.len()), (Some(8), 2), "{ended:?}");
    let summary = "offshoot: stopped early: the deadline of 1s has passed: 3 hosts: 2 cancelled, 1 skipped in 1.";
    ensure!(told(&ended, summary), "{ended:?}");
    ensure!(ended.elapsed > ONE_SECOND && ended.elapsed < promised(ONE_SECOND), "{:?}", ended.elapsed);
    let ended = offshoot(&["run", "--deadline", "1h", "-w", "local1", "--", "true"])?;
    ensure!(ended.code == Some(0) && told(&ended, "1 host: 1 ok"), "{ended:?}");
    Ok(())
}

pub(crate) fn hosts_are_reached_where_the_system_has_no_random_device() -> Result<()> {
    // In a mount namespace of its own the directory of devices has two only, if the system lets us.
    let script = "d=$(mktemp -d) && mount -t tmpfs tmpfs \"$d\" && : >\"$d/null\" && : >\"$d/tty\" \
                  && mount --bind /dev/null \"$d/null\" && mount --bind /dev/tty \"$d/tty\" \
                  && mount --move \"$d\" /dev && rmdir \"$d\" && [ ! -e /dev/urandom ] \
                  && exec \"$0\" run -w local1,local2/local3 -s 'ls /dev'";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]).arg(tool(&[]).0.get_program());
    let mut ended = run(&mut command)?;
    if ended.stdout.is_empty() && !nix::unistd::geteuid().is_root() {
        return Err(Missing("only root may mount".into()).into());
    }
    ended.stdout.sort_unstable();
    let expected = ["local1: null", "local1: tty", "local2/local3: null", "local2/local3: tty"];
    ensure!(ended.code == Some(0) && ended.stdout == expected, "{ended:?}");
    Ok(())
}
