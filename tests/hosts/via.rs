//! Children of children, over any method.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use offshoot::error::{ConnectError, ConnectErrorKind, Phase};
use offshoot::{Context, Error, Router};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::{self, Fleet};
use crate::functions::{ask, double, live_alone, pid};
use crate::support::{AT_ONCE, ONE_SECOND, THREE_SECONDS, promised, unique};

const DEPTH: usize = 10;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("ten children deep a call arrives, and all of them end", ten_deep);
    add("ssh over ssh uses the configuration of the one in the middle", ssh_over_ssh);
    add("a chain across machines of all kinds works", across_machines);
    add("errors behind via keep their type and name their hop", errors_keep_their_type);
    add("siblings cannot call each other", siblings);
    add("what detaches behind ssh and sudo lives on alone", detached);
    add("when the middle of a chain ends, what is behind it is lost and ends (alone)", middle_ends);
    trials
}

fn ten_deep(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let mut chain: Vec<Context> = Vec::new();
        for _ in 0..DEPTH {
            let connect = router.local().remote_name(&mark);
            chain.push(match chain.last() {
                Some(via) => connect.via(via).connect().await?,
                None => connect.connect().await?,
            });
        }
        let mut pids = BTreeSet::new();
        for context in &chain {
            pids.insert(context.call(pid, ()).await?);
        }
        ensure!(pids.len() == DEPTH, "each is a process of its own: {pids:?}");
        let deepest = &chain[DEPTH - 1];
        ensure!(deepest.name().matches("local.").count() == DEPTH, "its name tells the way: {deepest}");
        // Each one was started by the one above it.
        let mut processes = trace.look();
        processes.retain(|process| process.is_context(&mark));
        processes.sort_by_key(|process| process.started);
        let mut parent = i32::try_from(std::process::id())?;
        while let Some(at) = processes.iter().position(|process| process.parent == parent) {
            parent = processes.swap_remove(at).pid;
        }
        ensure!(processes.is_empty(), "not in the chain: {processes:?}");
        ensure!(u32::try_from(parent)? == deepest.call(pid, ()).await?, "the deepest is the last");
        let start = Instant::now();
        router.shutdown().await;
        ensure!(start.elapsed() < promised(ONE_SECOND), "the shutdown took {:?}", start.elapsed());
        Ok(())
    })?;
    trace.expect_nothing_left(AT_ONCE)
}

fn ssh_over_ssh(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let user = fleet.ssh(&router, "here-user", &mark).connect().await?;
        // The ordinary user's ssh reads the ordinary user's file. It would refuse a file of root.
        let root = fleet::ssh(&router, "web1", &fleet.user_config, &mark).via(&user).connect().await?;
        ensure!(root.name() == "ssh.here-user.ssh.web1", "it is called {root}");
        let denied = fleet.ssh(&router, "web2", &mark).via(&user).connect().await;
        ensure!(denied.is_err(), "an ordinary user has no use for the key of root");
        let user_again = fleet.ssh(&router, "here-user", &mark).via(&root).connect().await?;
        for (context, uid) in [(&user, false), (&root, true), (&user_again, false)] {
            let facts = context.call(offshoot::facts::host_facts, ()).await?;
            ensure!((facts.uid == 0) == uid, "{context} is {facts:?}");
        }
        user.shutdown().await;
        match user_again.call(double, (1,)).await {
            Err(Error::Channel(_)) => {}
            other => bail!("all behind it ended with it: {other:?}"),
        }
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn across_machines(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let mut via = router.local().remote_name(&mark).connect().await?;
        via = fleet.ssh(&router, "web3", &mark).via(&via).connect().await?;
        // Its image is in memory, and is sent on from there.
        via = fleet.ssh(&router, "noexec-all-user", &mark).via(&via).connect().await?;
        via = fleet::ssh(&router, "bare-noproc", &fleet.user_config, &mark).via(&via).connect().await?;
        via = router.local().remote_name(&mark).via(&via).connect().await?;
        ensure!(via.call(double, (5,)).await? == 10, "the far end calls back");
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn errors_keep_their_type(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let web = fleet.ssh(&router, "web4", &mark).connect().await?;
        let mini = fleet.ssh(&router, "mini", &mark).connect().await?;
        let limit = Duration::from_secs(2);
        for (connect, kind, phase, hop, text) in [
            (
                fleet.ssh(&router, "refused", &mark).via(&web),
                ConnectErrorKind::Eof,
                Phase::Login,
                "ssh.web4.ssh.refused",
                "refused",
            ),
            (
                fleet.ssh(&router, "wrong-key", &mark).via(&web),
                ConnectErrorKind::Auth,
                Phase::Login,
                "ssh.web4.ssh.wrong-key",
                "no key",
            ),
            (
                fleet.ssh(&router, "nowhere-user", &mark).via(&web),
                ConnectErrorKind::NoPlace,
                Phase::FirstStage,
                "ssh.web4.ssh.nowhere-user",
                "/var/tmp",
            ),
            (
                fleet.ssh(&router, "web5", &mark).via(&mini),
                ConnectErrorKind::Start,
                Phase::Start,
                "ssh.mini.ssh.web5",
                "[Errno 2]",
            ),
            (
                fleet.ssh(&router, "silent", &mark).connect_timeout(limit).via(&web),
                ConnectErrorKind::Timeout,
                Phase::Login,
                "ssh.web4.ssh.silent",
                "timed out",
            ),
        ] {
            let error = stream_error(connect.connect().await)?;
            ensure!((error.kind, error.phase) == (kind, phase), "{hop}: {error:?}");
            ensure!(error.hop == hop && error.to_string().contains(text), "{hop}: {error}");
        }
        // The contexts in the middle still work.
        ensure!(web.call(double, (2,)).await? == 4 && mini.call(double, (3,)).await? == 6, "they still work");
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

pub(crate) fn stream_error<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<ConnectError> {
    match result {
        Err(Error::Connect(error)) => Ok(*error),
        other => bail!("an error of a connect: {other:?}"),
    }
}

fn siblings(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let one = router.local().remote_name(&mark).connect().await?;
        let other = fleet.ssh(&router, "here-user", &mark).connect().await?;
        let child = router.local().remote_name(&mark).via(&one).connect().await?;
        for (asked, asker) in [(&other, &one), (&one, &other), (&other, &child)] {
            let answer = asker.call(ask, (asked.id(),)).await?;
            ensure!(answer == "refused by policy", "{asker} asks {asked}: {answer}");
        }
        // A parent may call its child.
        let answer = one.call(ask, (child.id(),)).await?;
        ensure!(answer == format!("answered {}", child.call(pid, ()).await?), "{answer}");
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn detached(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let pids = block_on(async {
        let router = Router::new()?;
        let over_ssh = fleet.ssh(&router, "here-user", &mark).connect().await?;
        let here = fleet.ssh(&router, "here", &mark).connect().await?;
        // To another user, so that an upload is needed and sudo stays in between.
        let over_sudo = router.sudo().username(&fleet.user).remote_name(&mark).via(&here).connect().await?;
        // A sudo with a terminal of its own does this: it holds the link as long as its command lives.
        let relay = ["sh", "-c", "cat | { \"$@\"; true; } | cat", "relay"];
        let relayed = router.local().exec_prefix(relay).remote_name(&mark).connect().await?;
        let mut pids = Vec::new();
        for context in [&relayed, &over_ssh, &over_sudo] {
            pids.push(i32::try_from(context.call(pid, ()).await?)?);
            let left = context.timeout(THREE_SECONDS).call(live_alone, (mark.clone(),)).await;
            ensure!(matches!(left, Err(Error::Channel(_))), "{context} is no longer part of the tree: {left:?}");
        }
        let start = Instant::now();
        router.shutdown().await;
        ensure!(start.elapsed() < promised(ONE_SECOND), "nobody waits for it: {:?}", start.elapsed());
        Ok(pids)
    })?;
    // Longer than any grace.
    std::thread::sleep(ONE_SECOND);
    let contexts: BTreeSet<i32> =
        trace.look().iter().filter(|process| process.is_context(&mark)).map(|process| process.pid).collect();
    ensure!(contexts == pids.iter().copied().collect(), "{contexts:?} live, of {pids:?}");
    for pid in pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    }
    trace.expect_nothing_left(THREE_SECONDS)
}

fn middle_ends(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let top = router.local().remote_name(&mark).connect().await?;
        let middle = router.local().remote_name(&mark).via(&top).connect().await?;
        let deep = fleet.ssh(&router, "here-user", &mark).via(&middle).connect().await?;
        let process = i32::try_from(middle.call(pid, ()).await?)?;
        let waiting = deep.call(ask, (top.id(),));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL)?;
        drop(waiting);
        let start = Instant::now();
        // From some moment on every call fails, and it fails soon.
        while deep.call(double, (1,)).await.is_ok() {
            ensure!(start.elapsed() < promised(THREE_SECONDS), "calls still work");
        }
        ensure!(top.call(double, (1,)).await? == 2, "what is above it is well");
        top.shutdown().await;
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(THREE_SECONDS)
}
