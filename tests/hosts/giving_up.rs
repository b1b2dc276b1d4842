//! Connects that are dropped at any moment, and programs that are told to end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::error::ConnectErrorKind;
use offshoot::{Error, Router};

use crate::OnHosts;
use crate::controller::{Settings, block_on};
use crate::fleet::Fleet;
use crate::functions::{double, pid};
use crate::launcher::Launcher;
use crate::random::Random;
use crate::support::tool::Running;
use crate::support::{ONE_SECOND, THREE_SECONDS, long_time, promised, unique};

/// A connect takes about this long.
const USUAL: Duration = Duration::from_millis(500);
const ROUNDS: usize = 8;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("a connect that is dropped at any moment leaves nothing (alone)", dropped);
    add("a first stage on this side that is dropped at any moment leaves nothing (alone)", staged);
    add("a connect that runs out of time at any moment says so and leaves nothing (alone)", out_of_time);
    add("a shutdown cancels connects at any moment and leaves nothing (alone)", cancelled);
    add("a child elsewhere that is stopped holds up neither the others nor the end (alone)", stopped);
    add("a program that is told to end ends everything, at any moment (alone)", told_to_end);
    trials
}

fn dropped(fleet: &Fleet) -> Result<()> {
    let (mut random, seed) = Random::new("dropped");
    block_on(async {
        let router = Router::new()?;
        for _ in 0..ROUNDS {
            let (mark, launcher) = (unique(), Launcher::that_notes()?);
            let mut trace = fleet.trace(&mark).with_notes(launcher.notes());
            let after = random.time(USUAL);
            let connect = fleet.ssh(&router, "here-user", &mark).ssh_path(launcher.program()).connect();
            let in_time = tokio::time::timeout(after, connect).await;
            if let Ok(connected) = in_time {
                connected?.shutdown().await;
            }
            trace.expect_nothing_left(THREE_SECONDS).with_context(|| format!("dropped after {after:?} ({seed})"))?;
        }
        let child = router.local().connect().await?;
        ensure!(child.call(double, (1,)).await? == 2, "the router is well");
        router.shutdown().await;
        Ok(())
    })
}

/// The processes that are ended then include those that clean up.
fn staged(fleet: &Fleet) -> Result<()> {
    let (mut random, seed) = Random::new("staged");
    block_on(async {
        let router = Router::new()?;
        for _ in 0..3 * ROUNDS {
            let mark = unique();
            let mut trace = fleet.trace(&mark);
            let after = random.time(USUAL / 5);
            let prefix = ["env".to_owned(), "-u".into(), "XDG_RUNTIME_DIR".into(), format!("MARK={mark}")];
            let connect = router.local().exec_prefix(prefix).connect();
            // The directory is found by the processes that are seen running.
            let watch = async {
                let start = Instant::now();
                while start.elapsed() < after {
                    trace.look();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! {
                connected = connect => connected?.shutdown().await,
                () = watch => {}
            }
            trace.expect_nothing_left(ONE_SECOND).with_context(|| format!("dropped after {after:?} ({seed})"))?;
        }
        router.shutdown().await;
        Ok(())
    })
}

fn out_of_time(fleet: &Fleet) -> Result<()> {
    let (mut random, seed) = Random::new("out of time");
    block_on(async {
        let router = Router::new()?;
        for _ in 0..ROUNDS {
            let (mark, launcher) = (unique(), Launcher::that_notes()?);
            let mut trace = fleet.trace(&mark).with_notes(launcher.notes());
            let limit = random.time(USUAL);
            let what = format!("{limit:?} ({seed})");
            let start = Instant::now();
            let connect = fleet.ssh(&router, "here-user", &mark).ssh_path(launcher.program()).connect_timeout(limit);
            match connect.connect().await {
                Ok(context) => context.shutdown().await,
                Err(Error::Connect(error)) if error.kind == ConnectErrorKind::Timeout => {}
                Err(error) => anyhow::bail!("{what}: {error:?}"),
            }
            ensure!(start.elapsed() < promised(limit), "{what}: it took {:?}", start.elapsed());
            trace.expect_nothing_left(THREE_SECONDS).context(what)?;
        }
        router.shutdown().await;
        Ok(())
    })
}

fn cancelled(fleet: &Fleet) -> Result<()> {
    let (mut random, seed) = Random::new("cancelled");
    for _ in 0..ROUNDS {
        let (mark, launcher) = (unique(), Launcher::that_notes()?);
        let mut trace = fleet.trace(&mark).with_notes(launcher.notes());
        let after = random.time(USUAL);
        let what = format!("shutdown after {after:?} ({seed})");
        block_on(async {
            let router = Router::new()?;
            let far = fleet.ssh(&router, "here-user", &mark).ssh_path(launcher.program()).connect();
            let near = router.local().remote_name(&mark).connect();
            let end = async {
                tokio::time::sleep(after).await;
                let start = Instant::now();
                router.shutdown().await;
                start.elapsed()
            };
            let (far, near, took) = tokio::join!(far, near, end);
            ensure!(took < promised(ONE_SECOND), "{what}: it took {took:?}");
            for result in [far, near] {
                match result {
                    Ok(_) | Err(Error::Closed(_)) => {}
                    Err(Error::Connect(error)) if error.kind == ConnectErrorKind::Cancelled => {}
                    Err(error) => anyhow::bail!("{what}: {error:?}"),
                }
            }
            Ok(())
        })?;
        trace.expect_nothing_left(ONE_SECOND).context(what)?;
    }
    Ok(())
}

/// The stopped process need not end while it is stopped: its parent cannot reach it.
fn stopped(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let well = fleet.ssh(&router, "web6", &format!("{mark}-well")).connect().await?;
        let stopped = fleet.ssh(&router, "here-user", &mark).connect().await?;
        let process = Pid::from_raw(i32::try_from(stopped.call(pid, ()).await?)?);
        kill(process, Signal::SIGSTOP)?;
        let limit = Duration::from_millis(300);
        let waited = stopped.timeout(limit).call(double, (1,)).await;
        ensure!(matches!(waited, Err(Error::Timeout { .. })), "a call there: {waited:?}");
        ensure!(well.call(double, (2,)).await? == 4, "the other is well");
        // It is first told to end, and then dropped.
        let start = Instant::now();
        stopped.shutdown().await;
        ensure!(start.elapsed() < promised(Duration::from_secs(5)), "it took {:?}", start.elapsed());
        ensure!(well.call(double, (3,)).await? == 6, "the other is still well");
        kill(process, Signal::SIGCONT)?;
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(THREE_SECONDS)
}

fn told_to_end(fleet: &Fleet) -> Result<()> {
    let (mut random, seed) = Random::new("told to end");
    for round in 0..ROUNDS {
        let (mark, time, launcher) = (unique(), long_time(), Launcher::that_notes()?);
        let ssh = launcher.program();
        let what = ["ssh", "chain"][round % 2];
        let settings =
            Settings { what, alias: "here-user", config: &fleet.config, mark: &mark, ssh: &ssh, time: &time };
        let mut trace = fleet.trace(&mark).with_needle(&time).with_notes(launcher.notes());
        let (signal, code) = random.pick(&[(Signal::SIGTERM, 143), (Signal::SIGINT, 130)]);
        let running = Running::start(&mut settings.command(None)?)?;
        // Before it handles signals, they end it at once. That is not tested here.
        let line = running.line()?;
        ensure!(line == "begun", "the controller says {line}");
        let after = random.time(USUAL);
        std::thread::sleep(after);
        running.signal(signal)?;
        let start = Instant::now();
        let ended = running.finish()?;
        let what = format!("{what}, {signal} after {after:?} ({seed})");
        ensure!(ended.code == Some(code), "{what}: {ended:?}");
        ensure!(start.elapsed() < promised(ONE_SECOND), "{what}: it took {:?}", start.elapsed());
        trace.expect_nothing_left(ONE_SECOND).context(what)?;
    }
    Ok(())
}
