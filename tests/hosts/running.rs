//! The tool over ssh.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use offshoot::Router;
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::{double, surroundings};
use crate::launcher::Launcher;
use crate::support::process::Process;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, ONE_SECOND, PATIENCE, THREE_SECONDS, long_time, promised, unique, wait_for};

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("the tool runs a command on a range of hosts", a_range);
    add("the tool goes from host to host and into children there", paths);
    add("the tool calls a function behind two hosts", a_call);
    add("a command in front of the shell runs there, and what it sets is seen", with_prefix);
    add("what ssh says of itself is logged under the name of its host", ssh_speaks);
    add("the tool ends a remote command that takes too long", too_long);
    add("ctrl-c ends remote commands", interrupted);
    add("ctrl-c twice ends remote commands that do not want to (alone)", interrupted_twice);
    add("the time to connect is limited", connect_timeout);
    add("eight logins at once are no crowd to the library", crowd);
    add("the tool logs in to one sshd with moderation", moderation);
    add("aliases of one sshd that turns logins away are all reached", aliases_of_a_crowd);
    add("whatever ssh_config asks for besides, the connection is clean", odd_configuration);
    add("connections that ssh shares are shared, and end by themselves", shared);
    add("many hosts behind one jump host are all reached", jump);
    trials
}

/// The tool with the hosts' configuration.
fn on_hosts(fleet: &Fleet, args: &[&str]) -> Result<(std::process::Command, Trace, Launcher)> {
    let config = fleet.config.display().to_string();
    let (mut command, trace) = tool(&[&["run", "-F", &config], args].concat());
    let launcher = Launcher::that_notes()?;
    launcher.lead(&mut command);
    let trace = trace.with_places(&fleet.places).with_notes(launcher.notes());
    Ok((command, trace, launcher))
}

fn on_hosts_to_the_end(fleet: &Fleet, args: &[&str]) -> Result<Ended> {
    on_hosts_within(fleet, args, PATIENCE)
}

/// The same, with this time for it.
pub(crate) fn on_hosts_within(fleet: &Fleet, args: &[&str], limit: Duration) -> Result<Ended> {
    let (mut command, mut trace, _launcher) = on_hosts(fleet, args)?;
    let ended = Running::start(&mut command)?.finish_within(limit)?;
    trace.expect_nothing_left(ONE_SECOND)?;
    Ok(ended)
}

/// Does the same, while counting the logins that the server `crowd` has under way. Returns the largest
/// number.
fn on_crowd(fleet: &Fleet, args: &[&str]) -> Result<(Ended, u32)> {
    let _turn = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut command, mut trace, _launcher) = on_hosts(fleet, args)?;
    let server = fleet.server("crowd")?;
    let mut running = Running::start(&mut command)?;
    let mut most = 0;
    while !running.has_ended() {
        // sshd: /usr/sbin/sshd -D [listener] 3 of 10-100 startups
        let title = Process::of(server).context("crowd has gone")?.argv.join(" ");
        let logins = title.split_once("[listener] ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        most = most.max(logins.with_context(|| title.clone())?);
        std::thread::yield_now();
    }
    let ended = running.finish()?;
    trace.expect_nothing_left(ONE_SECOND)?;
    Ok((ended, most))
}

fn with_prefix(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let prefix = ["env", "OFS_ONE=a 'b' $c", "nice", "-n", "5"];
        let far = fleet.ssh(&router, "here-user", &mark).exec_prefix(prefix).connect().await?;
        let near = router.local().remote_name(&mark).exec_prefix(["env", "OFS_ONE=a 'b' $c"]).connect().await?;
        for context in [far, near] {
            let (_, environment) = context.call(surroundings, ()).await?;
            ensure!(environment.contains(&("OFS_ONE".into(), "a 'b' $c".into())), "{context}: {environment:?}");
        }
        router.shutdown().await;
        anyhow::Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn ssh_speaks(fleet: &Fleet) -> Result<()> {
    let ended = on_hosts_to_the_end(fleet, &["-vv", "-w", "web1", "-o", "LogLevel=DEBUG1", "--", "true"])?;
    let is_it =
        |line: &&String| line.contains(" D offshoot::connect::methods::") && line.contains(": ssh.web1: debug1: ");
    ensure!(ended.code == Some(0) && ended.stderr.iter().filter(is_it).count() > 3, "{ended:?}");
    Ok(())
}

fn a_range(fleet: &Fleet) -> Result<()> {
    let ended = on_hosts_to_the_end(fleet, &["-w", "web[1-3]", "--", "uptime"])?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 3, "{ended:?}");
    for host in ["web1: ", "web2: ", "web3: "] {
        ensure!(ended.stdout.iter().any(|line| line.starts_with(host) && line.contains("load average")), "{ended:?}");
    }
    ensure!(ended.stderr.len() == 1 && ended.stderr[0].starts_with("offshoot: 3 hosts: 3 ok in "), "{ended:?}");
    Ok(())
}

fn paths(fleet: &Fleet) -> Result<()> {
    let hosts = "web1/here-user,web1/local1/local2,local1/bare,web2/fork";
    let ended = on_hosts_to_the_end(fleet, &["--json", "-w", hosts, "-s", "cd; pwd"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    let home = format!("{}\n", fleet.homes.join(&fleet.user).display());
    for (host, home) in [
        ("web1/here-user", &*home),
        ("web1/local1/local2", "/root\n"),
        ("local1/bare", "/root\n"),
        ("web2/fork", "/root\n"),
    ] {
        ensure!(document["hosts"][host]["stdout"] == home, "{host}: {document}");
    }
    Ok(())
}

fn a_call(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    let (mut command, mut trace) =
        tool(&["call", "--json", "-F", &config, "-w", "web1/here-user,nologin", "host_facts"]);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(4), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout.concat())?;
    ensure!(document["hosts"]["web1/here-user"]["result"]["user"] == "ofs-user", "{document}");
    ensure!(document["hosts"]["nologin"]["error"]["kind"] == "auth", "{document}");
    trace.expect_nothing_left(ONE_SECOND)
}

fn too_long(fleet: &Fleet) -> Result<()> {
    let time = long_time();
    let (mut command, trace, _launcher) = on_hosts(fleet, &["-t", "1s", "-w", "here-user,mini", "--", "sleep", &time])?;
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(2), "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.contains("2 timed out in ")), "{ended:?}");
    ensure!(
        ended.stderr.iter().any(|line| line.starts_with("here-user: timed out: the command did not end within ")),
        "{ended:?}"
    );
    trace.expect_nothing_left(ONE_SECOND)
}

/// Starts a command that reports its start and does not end, and waits until it runs on all hosts.
fn begin(fleet: &Fleet, line: &str) -> Result<(Running, Trace, Launcher)> {
    let (mut command, mut trace, launcher) = on_hosts(fleet, &["-w", "here-user,bare,web1/mini", "-s", line])?;
    let running = Running::start(&mut command)?;
    for _ in 0..3 {
        let line = running.line()?;
        ensure!(line.ends_with(": begun"), "{line}");
    }
    trace.look();
    Ok((running, trace, launcher))
}

fn interrupted(fleet: &Fleet) -> Result<()> {
    let time = long_time();
    let (running, trace, _launcher) = begin(fleet, &format!("echo begun; sleep {time}"))?;
    let mut trace = trace.with_needle(&time);
    ensure!(trace.look().iter().any(|process| process.argv.contains(&time)), "the command runs");
    let start = Instant::now();
    running.signal(Signal::SIGINT)?;
    let ended = running.finish()?;
    ensure!(ended.code == Some(130) && start.elapsed() < promised(ONE_SECOND), "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.contains("interrupted: 3 hosts: 3 cancelled")), "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}

fn interrupted_twice(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let line = format!("trap '' INT TERM HUP; echo begun; while :; do sleep 1; : {mark}; done");
    let (mut running, trace, _launcher) = begin(fleet, &line)?;
    let mut trace = trace.with_needle(&mark);
    ensure!(!trace.look().is_empty(), "the commands run");
    let ended = wait_for(promised(ONE_SECOND), || {
        let has_ended = running.has_ended() || running.signal(Signal::SIGINT).is_err();
        has_ended.then_some(())
    });
    ensure!(ended.is_some(), "it does not wait for anything");
    let ended = running.finish()?;
    ensure!(ended.code == Some(130), "{ended:?}");
    trace.expect_nothing_left(THREE_SECONDS)
}

fn connect_timeout(fleet: &Fleet) -> Result<()> {
    let ended = on_hosts_to_the_end(fleet, &["--connect-timeout", "2s", "-w", "silent,local1", "--", "true"])?;
    ensure!(ended.code == Some(4) && ended.elapsed < promised(ONE_SECOND * 2), "{ended:?}");
    ensure!(
        ended.stderr.iter().any(|line| line.starts_with("silent: unreachable: ssh.silent: connection timed out")),
        "{ended:?}"
    );
    Ok(())
}

/// The sshd has as many logins at once as it accepts, so these trials take turns.
pub(crate) static CROWD: Mutex<()> = Mutex::new(());

fn crowd(fleet: &Fleet) -> Result<()> {
    let _turn = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let tasks = TaskTracker::new();
        let connects = (0..8).map(|_| tasks.spawn(fleet.ssh(&router, "crowd", &mark).connect()));
        // All of them begin before the first one is awaited.
        let connects: Vec<_> = connects.collect();
        let mut ids = BTreeSet::new();
        for connect in connects {
            let context = connect.await??;
            ensure!(context.call(double, (8,)).await? == 16, "{context} works");
            ids.insert(context.id());
        }
        ensure!(ids.len() == 8, "eight contexts: {ids:?}");
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

/// One sshd with its default limits, and more accounts than it accepts logins at once.
fn moderation(fleet: &Fleet) -> Result<()> {
    let users = [
        "root",
        "ofs-user",
        "ofs-bash",
        "ofs-rbash",
        "ofs-dash",
        "ofs-noisy",
        "ofs-noisy-err",
        "ofs-odd",
        "ofs-sh-exits",
    ];
    let more = ["ofs-zsh", "ofs-ksh", "ofs-mksh", "ofs-yash", "ofs-csh", "ofs-tcsh", "ofs-fish"];
    let there = more.into_iter().filter(|user| matches!(nix::unistd::User::from_name(user), Ok(Some(_))));
    let hosts: Vec<String> = users.into_iter().chain(there).map(|user| format!("{user}@crowd")).collect();
    let (ended, most) = on_crowd(fleet, &["-w", &hosts.join(","), "--", "id", "-un"])?;
    ensure!((2..=8).contains(&most), "{most} logins at once");
    ensure!(ended.code == Some(0) && ended.stdout.len() == hosts.len(), "{ended:?}");
    for host in &hosts {
        let line = format!("{host}: {}", host.split('@').next().unwrap_or_default());
        ensure!(ended.stdout.contains(&line), "{line} is not in {ended:?}");
    }
    Ok(())
}

/// The tool cannot know that these names are one server, which has MaxStartups 10:30:100.
fn aliases_of_a_crowd(fleet: &Fleet) -> Result<()> {
    let _turn = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let known = std::process::Command::new("ssh").arg("-G").arg("-F").arg(&fleet.config).arg("crowd").output()?;
    let known = String::from_utf8(known.stdout)?;
    let value = |key: &str| known.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let [address, port] = ["hostname", "port"].map(|key| value(key).map(|value| format!("{key}={value}")));
    let (address, port) = (address.context("no address")?, port.context("no port")?);
    let args = ["-w", "alias[1-32]", "-o", &address, "-o", &port, "-o", "User=root", "--", "echo", "here"];
    let ended = on_hosts_to_the_end(fleet, &args)?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 32, "{ended:?}");
    Ok(())
}

fn odd_configuration(fleet: &Fleet) -> Result<()> {
    for options in [
        &["RequestTTY=force"][..],
        &["LogLevel=DEBUG3"],
        &["Compression=yes", "VisualHostKey=yes", "LogLevel=VERBOSE"],
        &["PermitLocalCommand=yes", "LocalCommand=echo local noise; echo more >&2"],
        &["SendEnv=*", "SetEnv=LC_ALL=C.UTF-8", "TCPKeepAlive=no"],
        &["EscapeChar=a", "IPQoS=none"],
    ] {
        let mut args = vec!["-w", "here-user,mini"];
        args.extend(options.iter().flat_map(|option| ["-o", option]));
        args.extend(["-s", "echo a; echo b >&2"]);
        let ended = on_hosts_to_the_end(fleet, &args)?;
        ensure!(ended.code == Some(0) && ended.stdout.len() == 2, "{options:?}: {ended:?}");
        ensure!(ended.stderr.iter().filter(|line| line.ends_with(": b")).count() == 2, "{options:?}: {ended:?}");
    }
    // Impossible combinations are refused with an explanation.
    let ended = on_hosts_to_the_end(fleet, &["-w", "here-user", "-o", "RemoteCommand=id", "--", "true"])?;
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains("RemoteCommand=none"), "{ended:?}");
    Ok(())
}

fn shared(fleet: &Fleet) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = format!("ControlPath={}/%C", directory.path().display());
    let options = ["-o", "ControlMaster=auto", "-o", &path, "-o", "ControlPersist=2"];
    let mut traces = Vec::new();
    for _ in 0..2 {
        let args = [&options[..], &["-w", "here-user", "-s", "echo $SSH_CONNECTION"]].concat();
        let (mut command, trace, launcher) = on_hosts(fleet, &args)?;
        // The process that holds the connection shows the directory, and nothing else does.
        let mut trace = trace.with_needle(&directory.path().display().to_string());
        let ended = run(&mut command)?;
        ensure!(ended.code == Some(0) && ended.stdout.len() == 1, "{ended:?}");
        let left = trace.left();
        ensure!(left.len() == 1 && left[0].contains("[mux]"), "what the user asked for is left: {left:?}");
        traces.push((trace, launcher, ended.stdout));
    }
    ensure!(traces[0].2 == traces[1].2, "it is one connection: {} and {}", traces[0].2[0], traces[1].2[0]);
    for (trace, _, _) in &mut traces {
        trace.expect_nothing_left(A_WHILE)?;
    }
    Ok(())
}

fn jump(fleet: &Fleet) -> Result<()> {
    let hosts = "web[1-9],here,here-user,bare-noproc,mini,gzip-only,noexec-user,readonly";
    let (ended, most) = on_crowd(fleet, &["-J", "crowd", "-w", hosts, "-s", "echo well"])?;
    ensure!((2..=8).contains(&most), "{most} logins at once");
    ensure!(ended.code == Some(0) && ended.stdout.len() == 16, "{ended:?}");
    Ok(())
}
