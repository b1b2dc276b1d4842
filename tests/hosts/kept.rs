//! Images that are on a host already: kept from an earlier connect, or installed by its owner.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use offshoot::Router;
use offshoot::error::{ConnectErrorKind, Phase};
use sha2::{Digest, Sha256};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::support::tool::{run, tool};
use crate::support::{ONE_SECOND, unique};
use crate::via::stream_error;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("an image that a host has kept is used, and replaced where it is not what it says", kept);
    add("the tool has images kept behind a hop, and runs those that are installed", by_tool);
    add("a copy that is installed is run, and what is none is told apart", installed);
    trials
}

fn own_image() -> Result<Vec<u8>> {
    Ok(fs::read("/proc/self/exe")?)
}

fn kept(fleet: &Fleet) -> Result<()> {
    let name: String = Sha256::digest(own_image()?).iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = fleet.homes.join("ofs-dash/.cache");
    let file = directory.join("offshoot").join(name);
    let tidy = Tidy(directory);
    for round in ["sent", "kept", "damaged", "mended"] {
        let mark = unique();
        let mut trace = fleet.trace(&mark);
        if round == "damaged" {
            fs::write(&file, "#!/bin/sh\necho this must not run\n")?;
        }
        block_on(async {
            let router = Router::new()?;
            let there = fleet.ssh(&router, "shell-dash", &mark).cache(true).connect().await.context(round)?;
            ensure!(there.call(double, (4,)).await? == 8, "{round}");
            router.shutdown().await;
            anyhow::Ok(())
        })?;
        ensure!(fs::read(&file).context(round)? == own_image()?, "{round}: it is whole");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    drop(tidy);
    Ok(())
}

fn by_tool(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    let hosts = ["-F", &config, "-w", "web2/shell-bash", "--", "echo", "well"];
    let tidy = [Tidy(fleet.homes.join("ofs-bash/.cache")), Tidy("/root/.cache/offshoot".into())];
    let (mut command, mut trace) = tool(&[&["run", "--cache"], &hosts[..]].concat());
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0) && ended.stdout == ["web2/shell-bash: well"], "{ended:?}");
    ensure!(fs::read_dir(tidy[0].0.join("offshoot"))?.count() == 1, "one image is kept");
    trace.expect_nothing_left(ONE_SECOND)?;
    let (mut command, mut trace) = tool(
        &[&["run", "--binary", env!("CARGO_BIN_EXE_offshoot")], &hosts[..3], &["here", "--", "echo", "well"]].concat(),
    );
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0) && ended.stdout == ["here: well"], "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}

fn installed(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let file = fleet.homes.join("ofs-user").join(&mark);
    let tidy = Tidy(file.clone());
    // Another process writes it. If this one did, a child that another trial forks at that moment would hold
    // it open for writing.
    ensure!(std::process::Command::new("cp").args([&std::env::current_exe()?, &file]).status()?.success(), "cp");
    block_on(async {
        let router = Router::new()?;
        let connect = |binary: &str| fleet.ssh(&router, "here-user", &mark).binary(binary);
        let there = connect(&file.display().to_string()).connect().await?;
        ensure!(there.call(double, (4,)).await? == 8, "it is up");
        for (binary, says) in [
            ("/bin/true", "is it a copy of this program"),
            ("/no/such/file", "there is no program /no/such/file at ssh."),
            ("/etc/passwd", "may not be executed"),
        ] {
            let error = stream_error(connect(binary).connect().await)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Eof, Phase::Exec), "{error:?}");
            ensure!(error.text_with_advice().contains(says), "{error:?}");
        }
        router.shutdown().await;
        anyhow::Ok(())
    })?;
    drop(tidy);
    trace.expect_nothing_left(ONE_SECOND)
}

/// Files that a trial makes on a host, and removes at its end.
pub(crate) struct Tidy(pub(crate) PathBuf);

impl Drop for Tidy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}
