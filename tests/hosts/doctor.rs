//! `offshoot doctor`: each fault is found at its step, within five seconds, with what to do about it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::launcher::Launcher;
use crate::support::tool::{Ended, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, Missing, ONE_SECOND, promised};

/// A fault: its name, how it is called up, the step that fails, and words of what came back and of what to do.
type Fault = (&'static str, &'static [&'static str], &'static str, &'static str, &'static str);

const FAULTS: [Fault; 44] = [
    ("nobody listens", &["refused"], "login", "connection refused", "sshd runs there"),
    ("a name that does not resolve", &["unknown-host"], "login", "cannot be resolved", "spelling, DNS"),
    ("a key that is not accepted", &["wrong-key"], "login", "no key was accepted", "authorized_keys"),
    ("a host key that is unknown", &["unknown-hostkey"], "login", "not known yet", "by hand"),
    ("a host key that has changed", &["changed-hostkey"], "login", "has changed", "ssh-keygen"),
    ("a server that says nothing", &["silent"], "login", "timed out", ""),
    ("a login shell that ends at once", &["exit-at-once"], "login", "return code 1", "accept `sh -c`"),
    ("an account without a login shell", &["nologin"], "login", "nologin", "use another"),
    ("an account that runs git alone", &["git-shell"], "login", "git-shell", "another account"),
    ("a key that is bound to a command", &["forced"], "login", "This key may do one thing", "ForceCommand"),
    ("a sh that ends at once", &["sh-exits"], "login", "return code 3", "accept `sh -c`"),
    ("a machine without sh", &["no-sh"], "login", "sh: command not found", "POSIX shell"),
    ("a profile without end", &["endless"], "login", "there is no end to this", "profile"),
    ("an account that may open no files", &["no-files"], "login", "", "ulimit -n"),
    ("an account that has expired", &["account-expired"], "login", "the account has expired", "chage -E"),
    ("a server that is closed for users", &["no-logins"], "login", "Closed until the new disks", "/etc/nologin"),
    ("a server without sessions", &["no-sessions"], "login", "gives it no session", "MaxSessions"),
    ("a client that asks for no session", &["no-session"], "login", "", "SessionType"),
    ("a machine of another kind", &["odd-machine"], "image", "Plan9 vax", "none can be built for such a machine"),
    ("a machine without uname", &["no-uname"], "first stage", "uname", "`uname` on its PATH"),
    ("a machine that cannot read", &["no-reader"], "first stage", "neither `head -c` nor `dd`", "on its PATH"),
    ("no place and no interpreter", &["nowhere-user"], "places", "/tmp does not allow execution", "noexec"),
    ("full places and no interpreter", &["crammed-user"], "places", "No space left on device", "free"),
    ("memory that may not be executed", &["sealed-user"], "interpreter", "Permission denied", "noexec"),
    ("files that must be short", &["short-files"], "interpreter", "File size limit exceeded", "ulimit -f"),
    ("an option that ssh does not know", &["here", "-o", "Nonsense=1"], "login", "nonsense", "the file that -F names"),
    ("a jump host that is not there", &["here", "-J", "refused"], "login", "connection refused", "sshd runs there"),
    ("a port where nobody listens", &["here", "-p", "1"], "login", "connection refused", "sshd runs there"),
    (
        "a program that is not there",
        &["here", "--binary", "/no/such/program"],
        "exec",
        "no program /no/such/program at ssh.",
        "leave --binary out",
    ),
    ("a program that is none", &["here", "--binary", "/etc/passwd"], "exec", "126", "may not be executed"),
    ("another program", &["here", "--binary", "/bin/true"], "exec", "return code 0", "a copy of this program"),
    ("a fault behind a hop", &["web1/nologin"], "login", "nologin", "use another"),
    ("a full host behind a hop", &["web1/crammed-user"], "places", "No space left on device", "free"),
    ("a hop that is not there", &["refused/here"], "login", "connection refused", "sshd runs there"),
    ("a user who is not there", &["ofs-nobody@here"], "login", "no key was accepted", "user name"),
    ("a container that is not there", &["engines/docker:nosuch"], "login", "no such container", "those that there are"),
    ("a container that is stopped", &["engines/docker:stopped"], "login", "is not running", "start it"),
    ("a container that is paused", &["engines/docker:paused"], "login", "is paused", "unpause it"),
    ("a container of podman that is stopped", &["engines/podman:stopped"], "login", "is not running", "start it"),
    ("an engine's socket that is for others", &["engines-other/docker:app"], "login", "permission denied", "group"),
    ("an engine that is not installed", &["bare/docker:app"], "start", "No such file or directory: docker", "in PATH"),
    (
        "a container without a shell or a place",
        &["engines/docker:bare-readonly"],
        "exec",
        "read-only",
        "give it a volume",
    ),
    ("a pod that is not there", &["engines/kubectl:nosuch"], "login", "no such container", "those that there are"),
    ("a pod without a shell", &["engines/kubectl:bare"], "login", "no shell", "by binary"),
];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for fault in &FAULTS {
        trials.push((
            format!("doctor finds {}: {}", fault.0, fault.1.join(" ")),
            Box::new(move |fleet| finds(fleet, fault)),
        ));
    }
    for (how, says) in [("flip", "try again"), ("cut", "")] {
        trials.push((
            format!("doctor finds an upload that is damaged on the way: {how}"),
            Box::new(move |fleet| damaged(fleet, how, says)),
        ));
    }
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("doctor finds a client that is not there", no_client);
    add("doctor finds an engine that is not running", no_engine);
    add("doctor finds nothing on hosts that are odd and no worse", well);
    add("doctor tells people what to do, and run tells how far it came", for_people);
    trials
}

fn doctor(fleet: &Fleet, args: &[&str]) -> (std::process::Command, Trace) {
    let config = fleet.config.display().to_string();
    let (command, trace) = tool(&[&["doctor", "--json", "-F", &config], args].concat());
    (command, trace.with_places(&fleet.places))
}

/// The last hop that was tried, and its steps.
fn read(ended: &Ended) -> Result<(Value, Vec<Value>)> {
    let document: Value =
        serde_json::from_str(&ended.stdout.concat()).with_context(|| format!("{:?}", ended.stderr))?;
    let hop = document["hops"].as_array().and_then(|hops| hops.last()).context("a hop")?;
    let steps = hop["steps"].as_array().context("steps")?.clone();
    Ok((document.clone(), steps))
}

fn expect_failed(ended: &Ended, step: &str, got: &str, advice: &str) -> Result<()> {
    ensure!(ended.code == Some(4), "{ended:?}");
    let (document, steps) = read(ended)?;
    ensure!(document["ok"] == false, "{document}");
    let failed: Vec<&Value> = steps.iter().filter(|step| step["status"] == "failed").collect();
    let [failed] = failed[..] else { anyhow::bail!("one step fails: {document}") };
    ensure!(failed["step"] == step, "not {step}: {failed}");
    ensure!(failed["got"].as_str().is_some_and(|text| text.contains(got)), "{got:?} is not in {failed}");
    ensure!(
        failed["do"].as_str().is_some_and(|text| !text.is_empty() && text.contains(advice)),
        "{advice:?}: {failed}"
    );
    Ok(())
}

fn finds(fleet: &Fleet, (_, args, step, got, advice): &Fault) -> Result<()> {
    if let Some(host) = args[0].rsplit('/').next().filter(|host| !host.contains(['@', ':'])) {
        fleet.login(host)?;
    }
    if args[0] == "sealed-user" && !std::path::Path::new("/proc/sys/vm/memfd_noexec").exists() {
        return Err(Missing("this kernel does not know vm.memfd_noexec".into()).into());
    }
    let (mut command, mut trace) = doctor(fleet, args);
    let ended = run(&mut command)?;
    expect_failed(&ended, step, got, advice)?;
    ensure!(ended.elapsed < promised(Duration::from_secs(5)), "it took {:?}", ended.elapsed);
    trace.expect_nothing_left(A_WHILE)
}

fn damaged(fleet: &Fleet, how: &str, advice: &str) -> Result<()> {
    let launcher = Launcher::that_damages(how, "700")?;
    let (mut command, trace) = doctor(fleet, &["here-user"]);
    let mut trace = trace.with_notes(launcher.notes());
    launcher.lead(&mut command);
    expect_failed(&run(&mut command)?, "upload", "", advice)?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn no_client(fleet: &Fleet) -> Result<()> {
    let (mut command, mut trace) = doctor(fleet, &["here"]);
    let ended = run(command.env("PATH", "/nonexistent"))?;
    expect_failed(&ended, "start", "No such file or directory: ssh", "in PATH")?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn no_engine(fleet: &Fleet) -> Result<()> {
    let (mut command, mut trace) = doctor(fleet, &["docker:app"]);
    let nowhere = "unix:///nonexistent";
    let ended = run(command.env("PATH", &fleet.engines).env("DOCKER_HOST", nowhere))?;
    expect_failed(&ended, "login", "the engine is not running", "start it")?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn well(fleet: &Fleet) -> Result<()> {
    for (host, step, says) in [
        ("full-user", "upload", "attempt number"),
        ("half-full-user", "places", "/tmp cannot be used (No space left on device)"),
        ("perl-user", "interpreter", "perl runs the image from memory"),
        ("python-user", "interpreter", "python3 runs the image from memory"),
        ("web1/immutable-user", "interpreter", "from memory"),
        ("few-files", "first call", "ofs-files@"),
        ("skewed", "handshake", "after"),
        ("local1/local2", "upload", "not needed"),
    ] {
        let (mut command, mut trace) = doctor(fleet, &[host]);
        let ended = run(&mut command)?;
        let (document, steps) = read(&ended)?;
        ensure!(ended.code == Some(0) && document["ok"] == true, "{document}");
        ensure!(steps.iter().all(|step| step["status"] == "ok" || step["status"] == "skipped"), "{document}");
        let found = steps.iter().find(|found| found["step"] == step).context("the step")?;
        ensure!(found["got"].as_str().is_some_and(|got| got.contains(says)), "{host}: {found}");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    Ok(())
}

fn for_people(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    let (mut command, _trace) = tool(&["doctor", "-F", &config, "web1/crammed-user"]);
    let ended = run(&mut command)?;
    let text = ended.stdout.join("\n");
    for part in ["ssh.web1\n", "ssh.web1.ssh.crammed-user\n", "  places       FAILED", "      do: free or mount"] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    let (mut command, _trace) = tool(&["run", "-F", &config, "-w", "crammed-user,local1", "--", "true"]);
    let said = run(&mut command)?.stderr.join("\n");
    let short = "start ok, login ok, first stage ok, places FAILED; `offshoot doctor crammed-user` says more";
    ensure!(said.contains(short), "{said}");
    // A host that is alone is worth all of it.
    let (mut command, _trace) = tool(&["run", "-F", &config, "-w", "crammed-user", "--", "true"]);
    let said = run(&mut command)?.stderr.join("\n");
    for part in ["    first stage  ok ", "    places       FAILED", "; free or mount", ": see above"] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    Ok(())
}
