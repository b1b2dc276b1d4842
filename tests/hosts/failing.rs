//! Hosts that cannot be had: each failure has its kind, says what to do, and harms no other host.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::Router;
use offshoot::error::{ConnectErrorKind, Phase};
use serde_json::Value;

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::launcher::Launcher;
use crate::support::tool::{run, tool};
use crate::support::{A_WHILE, AT_ONCE, Missing, THREE_SECONDS, promised, unique};
use crate::via::stream_error;

/// A host, how a connect to it fails, and what the error has to say.
struct Bad {
    alias: &'static str,
    kind: ConnectErrorKind,
    phase: Phase,
    says: &'static [&'static str],
}

const BAD: [Bad; 32] = [
    Bad {
        alias: "refused",
        kind: ConnectErrorKind::Eof,
        phase: Phase::Login,
        says: &["connection refused", "127.0.0.9:1"],
    },
    Bad { alias: "unknown-host", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["does-not-exist.invalid"] },
    Bad {
        alias: "wrong-key",
        kind: ConnectErrorKind::Auth,
        phase: Phase::Login,
        says: &["no key was accepted", "ofs-wrong-key@"],
    },
    Bad { alias: "unknown-hostkey", kind: ConnectErrorKind::HostKey, phase: Phase::Login, says: &["not known yet"] },
    Bad {
        alias: "changed-hostkey",
        kind: ConnectErrorKind::HostKey,
        phase: Phase::Login,
        says: &["has changed", "ssh-keygen"],
    },
    Bad {
        alias: "exit-at-once",
        kind: ConnectErrorKind::Eof,
        phase: Phase::Login,
        says: &["exited with return code 1", "sh -c"],
    },
    Bad { alias: "nologin", kind: ConnectErrorKind::Auth, phase: Phase::Login, says: &["nologin", "chsh"] },
    Bad { alias: "sh-exits", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["exited with return code 3"] },
    Bad {
        alias: "odd-machine",
        kind: ConnectErrorKind::Unsupported,
        phase: Phase::FirstStage,
        says: &["Plan9 vax", "Linux"],
    },
    Bad {
        alias: "crammed-user",
        kind: ConnectErrorKind::NoPlace,
        phase: Phase::FirstStage,
        says: &["/dev/shm cannot be used (No space left on device)", "home/ofs-user cannot be used", "python3"],
    },
    Bad {
        alias: "sealed-user",
        kind: ConnectErrorKind::NoPlace,
        phase: Phase::Exec,
        says: &["/dev/shm does not allow execution", "run from memory", "Permission denied"],
    },
    Bad { alias: "git-shell", kind: ConnectErrorKind::Auth, phase: Phase::Login, says: &["git-shell"] },
    Bad { alias: "forced", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["ForceCommand"] },
    Bad { alias: "endless", kind: ConnectErrorKind::Oversize, phase: Phase::Login, says: &["profile"] },
    Bad { alias: "no-sh", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["sh: command not found"] },
    Bad { alias: "no-uname", kind: ConnectErrorKind::Unsupported, phase: Phase::FirstStage, says: &["uname"] },
    Bad { alias: "no-reader", kind: ConnectErrorKind::Unsupported, phase: Phase::FirstStage, says: &["head"] },
    Bad { alias: "short-files", kind: ConnectErrorKind::NoPlace, phase: Phase::Exec, says: &["File"] },
    Bad { alias: "no-files", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["ulimit -n"] },
    Bad {
        alias: "nowhere-user",
        kind: ConnectErrorKind::NoPlace,
        phase: Phase::FirstStage,
        says: &[
            "/dev/shm does not allow execution",
            "/tmp does not",
            "/var/tmp does not",
            "home/ofs-user cannot be written",
            "python3",
        ],
    },
    Bad {
        alias: "account-expired",
        kind: ConnectErrorKind::Eof,
        phase: Phase::Login,
        says: &["return code 255", "ssh -v HOST true"],
    },
    Bad { alias: "no-logins", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["ssh -v HOST"] },
    Bad { alias: "no-sessions", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["ssh -v HOST"] },
    Bad {
        alias: "password-expired",
        kind: ConnectErrorKind::Auth,
        phase: Phase::Login,
        says: &["password has expired", "change it"],
    },
    Bad {
        alias: "too-many-logins",
        kind: ConnectErrorKind::Auth,
        phase: Phase::Login,
        says: &["too many logins for 'ofs-too-many'", "maxlogins"],
    },
    Bad {
        alias: "one-process",
        kind: ConnectErrorKind::Auth,
        phase: Phase::Login,
        says: &["exec request failed", "ulimit -u"],
    },
    Bad {
        alias: "two-processes",
        kind: ConnectErrorKind::Start,
        phase: Phase::Login,
        says: &["Cannot fork", "ulimit -u"],
    },
    Bad {
        alias: "script",
        kind: ConnectErrorKind::Corrupt,
        phase: Phase::FirstStage,
        says: &["a terminal is between", "session recorder"],
    },
    Bad { alias: "no-session", kind: ConnectErrorKind::Eof, phase: Phase::Login, says: &["SessionType none"] },
    Bad {
        alias: "no-input",
        kind: ConnectErrorKind::Eof,
        phase: Phase::FirstStage,
        says: &["had no input", "StdinNull"],
    },
    Bad { alias: "silent", kind: ConnectErrorKind::Timeout, phase: Phase::Login, says: &["timed out"] },
    Bad { alias: "frozen", kind: ConnectErrorKind::Timeout, phase: Phase::Login, says: &["timed out"] },
];
/// For hosts that let one wait. ssh has the same limit, and so speaks up at about the same time.
const SHORT: Duration = Duration::from_secs(2);

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for bad in &BAD {
        trials.push((
            format!("{} fails as {} and harms nobody (alone)", bad.alias, bad.kind.as_str()),
            Box::new(|fleet| fails(fleet, bad)),
        ));
    }
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("a client that is not there is named", no_client);
    add("a remote name with a slash is refused", slash_in_name);
    add("ssh without an input is named", without_input);
    add("all bad hosts at once do not hold up the good ones (alone)", all_at_once);
    trials
}

fn fails(fleet: &Fleet, bad: &'static Bad) -> Result<()> {
    if bad.alias == "sealed-user" && !std::path::Path::new("/proc/sys/vm/memfd_noexec").exists() {
        return Err(Missing("this kernel does not know vm.memfd_noexec".into()).into());
    }
    fleet.login(bad.alias)?;
    let _frozen = if bad.alias == "frozen" { Some(Frozen::new(fleet)?) } else { None };
    let limit = if bad.kind == ConnectErrorKind::Timeout { SHORT } else { crate::fleet::CONNECT };
    by_library(fleet, bad, limit, false)?;
    by_library(fleet, bad, limit, true)?;
    by_tool(fleet, bad, limit)
}

/// Connects from here, or from a child of this machine. Both say the same.
fn by_library(fleet: &Fleet, bad: &Bad, limit: Duration, is_behind: bool) -> Result<()> {
    let mark = unique();
    let launcher = Launcher::that_notes()?;
    let mut trace = fleet.trace(&mark).with_notes(launcher.notes());
    let error = block_on(async {
        let router = Router::new()?;
        let hop = if is_behind { Some(router.local().remote_name(&mark).connect().await?) } else { None };
        let start = Instant::now();
        let mut connect = fleet.ssh(&router, bad.alias, &mark).ssh_path(launcher.program()).connect_timeout(limit);
        if let Some(hop) = &hop {
            connect = connect.via(hop);
        }
        let error = stream_error(connect.connect().await)?;
        ensure!(start.elapsed() < promised(limit), "it took {:?}", start.elapsed());
        match &hop {
            // Nobody waits until the router ends.
            None => trace.expect_nothing_left(THREE_SECONDS)?,
            Some(hop) => ensure!(hop.call(double, (1,)).await? == 2, "the hop is well"),
        }
        router.shutdown().await;
        Ok(error)
    })?;
    trace.expect_nothing_left(THREE_SECONDS)?;
    ensure!((error.kind, error.phase) == (bad.kind, bad.phase), "{error:?}");
    let name = format!("ssh.{}", bad.alias);
    match is_behind {
        true => ensure!(error.hop.starts_with("local.") && error.hop.ends_with(&format!(".{name}")), "{error:?}"),
        false => ensure!(error.hop == name, "{error:?}"),
    }
    for part in bad.says {
        ensure!(error.text_with_advice().contains(part), "{part:?} is not in {error}");
    }
    Ok(())
}

fn by_tool(fleet: &Fleet, bad: &Bad, limit: Duration) -> Result<()> {
    let config = fleet.config.display().to_string();
    let hosts = format!("web1,{},local1", bad.alias);
    let limit = format!("{}s", limit.as_secs());
    let (mut command, trace) =
        tool(&["run", "--json", "-F", &config, "--connect-timeout", &limit, "-w", &hosts, "--", "echo", "well"]);
    let launcher = Launcher::that_notes()?;
    launcher.lead(&mut command);
    let mut trace = trace.with_places(&fleet.places).with_notes(launcher.notes());
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(4), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    for good in ["web1", "local1"] {
        let host = &document["hosts"][good];
        ensure!(host["status"] == "ok" && host["stdout"] == "well\n", "{good}: {host}");
    }
    let host = &document["hosts"][bad.alias];
    ensure!(host["status"] == "unreachable", "{host}");
    ensure!(host["error"]["kind"] == bad.kind.as_str() && host["error"]["phase"] == bad.phase.to_string(), "{host}");
    let part = |name: &str| host["error"][name].as_str().context("a text and advice");
    let text = format!("{}; {}", part("text")?, part("advice")?);
    ensure!(bad.says.iter().all(|part| text.contains(part)), "{text}");
    trace.expect_nothing_left(THREE_SECONDS)
}

fn without_input(fleet: &Fleet) -> Result<()> {
    fleet.login("here-user")?;
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let error = block_on(async {
        let router = Router::new()?;
        let config = fleet.config.display().to_string();
        let mark = format!("IgnoreUnknown={mark}");
        let args = ["-F", config.as_str(), "-o", mark.as_str(), "-n"];
        let error = stream_error(router.ssh("here-user").ssh_args(args).connect().await)?;
        router.shutdown().await;
        Ok(error)
    })?;
    ensure!((error.kind, error.phase) == (ConnectErrorKind::Eof, Phase::FirstStage), "{error:?}");
    ensure!(
        error.text_with_advice().contains("had no input") && error.text_with_advice().contains("StdinNull"),
        "{error}"
    );
    trace.expect_nothing_left(A_WHILE)
}

fn no_client(_: &Fleet) -> Result<()> {
    let error = block_on(async {
        let router = Router::new()?;
        let error = stream_error(router.ssh("web1").ssh_path("/nonexistent/ssh").connect().await)?;
        router.shutdown().await;
        Ok(error)
    })?;
    ensure!((error.kind, error.phase) == (ConnectErrorKind::Start, Phase::Start), "{error:?}");
    ensure!(
        error.text.starts_with("Child start failed: [Errno 2]")
            && error.text_with_advice().contains("/nonexistent/ssh"),
        "{error}"
    );
    let (mut command, mut trace) = tool(&["run", "-w", "web1,local1", "--", "/bin/echo", "well"]);
    let ended = run(command.env("PATH", "/nonexistent"))?;
    ensure!(ended.code == Some(4) && ended.stdout == ["local1: well"], "{ended:?}");
    ensure!(
        ended.stderr.iter().any(|line| line.contains("web1: unreachable: ssh.web1: Child start failed")),
        "{ended:?}"
    );
    trace.expect_nothing_left(AT_ONCE)
}

fn slash_in_name(_: &Fleet) -> Result<()> {
    for name in ["a/b", "a\\b"] {
        let error = block_on(async {
            let router = Router::new()?;
            let errors = [
                stream_error(router.ssh("web1").remote_name(name).connect().await)?,
                stream_error(router.local().remote_name(name).connect().await)?,
            ];
            router.shutdown().await;
            Ok(errors)
        })?;
        for error in error {
            ensure!(error.kind == ConnectErrorKind::Start, "{error:?}");
            ensure!(error.text == "remote_name cannot contain slashes", "{error}");
        }
    }
    Ok(())
}

/// Of all bad hosts together, so that the machine is busy.
const LIMIT: Duration = Duration::from_secs(8);

fn all_at_once(fleet: &Fleet) -> Result<()> {
    // The one that is stopped belongs to another trial.
    let bad = BAD.iter().filter(|bad| bad.alias != "frozen" && fleet.login(bad.alias).is_ok());
    let bad: Vec<&Bad> = bad.collect();
    let mut hosts: Vec<&str> = bad.iter().map(|bad| bad.alias).collect();
    hosts.extend(["web[1-3]", "local[1-3]"]);
    let config = fleet.config.display().to_string();
    let (mut command, mut trace) = tool(&[
        "run",
        "--json",
        "-F",
        &config,
        "--connect-timeout",
        &format!("{}s", LIMIT.as_secs()),
        "-w",
        &hosts.join(","),
        "-s",
        "echo well; exit 3",
    ]);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(6), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    // Some of the bad ones take all of their time; it is no sum of such times.
    ensure!(ended.elapsed < promised(LIMIT + THREE_SECONDS), "it took {:?}", ended.elapsed);
    for good in ["web1", "web2", "web3", "local1", "local2", "local3"] {
        let host = &document["hosts"][good];
        let well =
            host["stdout"] == "well\n" && host["seconds"].as_f64().is_some_and(|time| time < LIMIT.as_secs_f64());
        ensure!(well, "{good}: {host}");
    }
    let summary = &document["summary"];
    ensure!(summary["failed"] == 6 && summary["unreachable"] == bad.len(), "{summary}");
    for bad in bad {
        let host = &document["hosts"][bad.alias];
        ensure!(host["error"]["kind"] == bad.kind.as_str(), "{}: {host}", bad.alias);
    }
    trace.expect_nothing_left(THREE_SECONDS)
}

/// The host `frozen`, which is stopped as long as this lives.
struct Frozen(Pid);

impl Frozen {
    fn new(fleet: &Fleet) -> Result<Self> {
        let pid = Pid::from_raw(fleet.server("frozen")?);
        kill(pid, Signal::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
