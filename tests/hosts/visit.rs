//! Visits to every host that has something special, as root and as an ordinary user. A visitor connects, runs
//! some calls, leaves, and must have left nothing.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use offshoot::facts::host_facts;
use offshoot::{Context, Error, Router};

use crate::OnHosts;
use crate::controller::{self, Controller, Settings};
use crate::fleet::{self, Fleet};
use crate::functions::{double, pid, refuse, surroundings};
use crate::support::process::Process;
use crate::support::trace::Trace;
use crate::support::{ONE_SECOND, promised, unique};

const GOOD: [&str; 35] = [
    "here",
    "here-user",
    "jump-here",
    "bare",
    "bare-user",
    "bare-noproc",
    "mini",
    "gzip-only",
    "noexec-user",
    "noexec-all-user",
    "readonly",
    "immutable-user",
    "perl-user",
    "python-user",
    "picky-user",
    "full-user",
    "half-full-user",
    "skewed",
    "few-files",
    "tight-mask",
    "no-home",
    "homeless",
    "shell-bash",
    "shell-rbash",
    "shell-dash",
    "shell-zsh",
    "shell-ksh",
    "shell-mksh",
    "shell-yash",
    "shell-csh",
    "shell-tcsh",
    "shell-fish",
    "noisy",
    "noisy-stderr",
    "web9",
];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for alias in GOOD {
        trials.push((format!("root visits {alias} and leaves nothing"), Box::new(move |fleet| by_root(fleet, alias))));
        trials.push((
            format!("an ordinary user visits {alias} and leaves nothing"),
            Box::new(move |fleet| by_user(fleet, alias)),
        ));
    }
    trials
}

fn by_root(fleet: &Fleet, alias: &str) -> Result<()> {
    fleet.login(alias)?;
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    controller::block_on(async {
        let router = Router::new()?;
        visit(&router, alias, &fleet.config, &mark, async || look_at_visit(&mut trace, fleet, alias, &mark)).await?;
        // The router is dropped without a shutdown. It has no children any more.
        drop(router);
        anyhow::Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn by_user(fleet: &Fleet, alias: &str) -> Result<()> {
    fleet.login(alias)?;
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let settings = Settings { what: "visit", alias, config: &fleet.user_config, mark: &mark, ssh: "ssh", time: "" };
    let mut controller = Controller::start(&settings, Some(fleet))?;
    trace.exempt(controller.pid());
    controller.expect("up")?;
    look_at_visit(&mut trace, fleet, alias, &mark)?;
    controller.go_on()?;
    controller.expect("done")?;
    controller.finish()?;
    trace.expect_nothing_left(ONE_SECOND)
}

/// The whole visit. `look` is called while the child is up.
pub(crate) async fn visit(
    router: &Router,
    alias: &str,
    config: &Path,
    mark: &str,
    look: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let there = fleet::ssh(router, alias, config, mark).connect().await?;
    ensure!(there.name() == format!("ssh.{alias}"), "it is called {}", there.name());
    look().await?;
    check_calls(&there).await?;
    check_surroundings(&there, mark).await?;
    check_commands(&there).await?;
    check_offspring(router, &there, mark).await?;
    let start = Instant::now();
    there.shutdown().await;
    ensure!(start.elapsed() < promised(ONE_SECOND), "the shutdown took {:?}", start.elapsed());
    match there.call(pid, ()).await {
        Err(Error::Channel(_)) => Ok(()),
        other => anyhow::bail!("a call after the end: {other:?}"),
    }
}

async fn check_calls(there: &Context) -> Result<()> {
    ensure!(there.call(double, (21,)).await? == 42, "the function doubles");
    let error = match there.call(refuse, ("soup".into(),)).await {
        Err(Error::Call(error)) => *error,
        other => anyhow::bail!("an error of the function: {other:?}"),
    };
    ensure!(error.message == "no soup today" && error.type_name.ends_with("io::error::Error"), "{error:?}");
    ensure!(error.context == there.name(), "{error:?}");
    let facts = there.call(host_facts, ()).await?;
    ensure!(facts.os == "linux" && facts.arch == std::env::consts::ARCH, "{facts:?}");
    ensure!(facts.pid == there.call(pid, ()).await?, "{facts:?}");
    ensure!(facts.uid == 0 || facts.user.starts_with("ofs-"), "{facts:?}");
    Ok(())
}

/// The process of a child has the name of the child, and none of our variables in its environment.
async fn check_surroundings(there: &Context, mark: &str) -> Result<()> {
    let (argv, environment) = there.call(surroundings, ()).await?;
    ensure!(argv[0] == format!("offshoot:{mark}"), "argv is {argv:?}");
    let nonce: Vec<&str> = argv[1].split(':').skip(1).collect();
    ensure!(nonce.len() == 2 && nonce.iter().all(|half| half.len() == 16), "argv is {argv:?}");
    for (name, value) in &environment {
        let ours = value.contains(".offshoot") || nonce.iter().any(|half| value.contains(half));
        ensure!(!ours && !name.starts_with("OFS") && !name.starts_with("OFFSHOOT"), "{name}={value}");
    }
    Ok(())
}

async fn check_commands(there: &Context) -> Result<()> {
    let line = "echo out; echo err >&2; read x; echo \"$x\"; exit 7";
    let output = there.shell(line).stdin("in\n").output().await?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!((&*stdout, &*stderr) == ("out\nin\n", "err\n"), "{output:?}");
    ensure!(output.exit.code == Some(7) && !output.exit.success(), "{output:?}");
    match there.command("/no/such/program").output().await {
        Err(Error::Call(error)) if error.message.contains("/no/such/program") => Ok(()),
        other => anyhow::bail!("a program that is not there: {other:?}"),
    }
}

/// The child can start children of its own, wherever its image is now.
async fn check_offspring(router: &Router, there: &Context, mark: &str) -> Result<()> {
    let below = router.local().via(there).remote_name(format!("{mark}-below")).connect().await?;
    ensure!(below.name().starts_with(&format!("{}.local.", there.name())), "it is called {}", below.name());
    let (theirs, its) = (there.call(pid, ()).await?, below.call(pid, ()).await?);
    ensure!(its != theirs && below.call(double, (4,)).await? == 8, "it is another process");
    Ok(())
}

/// Looks from outside at a host whose visitor has just arrived.
fn look_at_visit(trace: &mut Trace, fleet: &Fleet, alias: &str, mark: &str) -> Result<()> {
    let processes = trace.look();
    let children: Vec<&Process> = processes.iter().filter(|process| process.is_context(mark)).collect();
    let [child] = children[..] else { anyhow::bail!("one child: {processes:?}") };
    let login = nix::unistd::User::from_name(fleet.login(alias)?)?.context("a user")?;
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{}", child.pid))?);
    ensure!(owner == login.uid.as_raw(), "{child} belongs to {owner}");
    // The first stage has become the child. Its directory and watcher are gone.
    let directories = trace.directories();
    ensure!(directories.is_empty(), "while the child is up there is {directories:?}");
    let nonce = child.argv[1].split(':').nth(1).context("a nonce")?;
    let others = processes.iter().filter(|other| {
        let is_stage = other.argv.iter().any(|word| word.contains(&format!("A={nonce}")));
        // The launcher, and a login shell that waits.
        is_stage && other.parent == child.pid
    });
    ensure!(others.count() == 0, "the child has no watcher: {processes:?}");
    let all = Process::all();
    let zombies: Vec<&Process> = all.iter().filter(|other| other.parent == child.pid && other.is_zombie()).collect();
    ensure!(zombies.is_empty(), "the child leaves no zombies: {zombies:?}");
    Ok(())
}
