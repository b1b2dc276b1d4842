//! rsync through `offshoot rsh`, to root on a host.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Site;
use super::killed::{RATE, WAY, kill_hop, many};
use super::tree::{compare, manifest, noise};
use crate::OnHosts;
use crate::fleet::Fleet;
use crate::support::tool::{Running, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, Missing, PATIENCE};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");
/// The size of a file that takes a while.
const HUGE: usize = 1 << 30;

pub(super) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("copies: {name}"), Box::new(trial)));
    add("rsync whose hop is killed says so, and goes on the next time", killed);
    add("rsync of ten thousand files and of 1 GiB comes back the same (long)", there_and_back);
    trials
}

/// rsync of `from` to `to`, and the trace of it.
fn start(fleet: &Fleet, options: &[&str], from: &str, to: &str) -> Result<(Running, Trace)> {
    if Command::new("rsync").arg("--version").output().is_err() {
        return Err(Missing("rsync is not installed".into()).into());
    }
    let program = format!("{TOOL} rsh -F {} --become", fleet.config.display());
    let (prepared, trace) = tool(&[]);
    let mut command = Command::new("rsync");
    command.args(["-a", "--partial", "-e", &program]).args(options).args([from, to]);
    command.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok((Running::start(&mut command)?, trace))
}

fn run(fleet: &Fleet, from: &str, to: &str) -> Result<()> {
    let (running, mut trace) = start(fleet, &[], from, to)?;
    let ended = running.finish_within(8 * PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)
}

fn killed(fleet: &Fleet) -> Result<()> {
    let site = Site::new(fleet, WAY)?;
    let (from, to) = (site.here("from"), format!("nopass:{}", site.path));
    many(&from)?;
    let source = format!("{}/", from.display());
    for nth in [0, 1] {
        let (mut running, mut trace) = start(fleet, &["--bwlimit", RATE], &source, &to)?;
        kill_hop(&mut running, &mut trace, Path::new(&site.path), nth)?;
        let ended = running.finish()?;
        trace.expect_nothing_left(A_WHILE)?;
        let said = ended.stderr.join("\n");
        ensure!(
            ended.code.is_some_and(|code| code != 0) && said.contains("nopass: the connection was lost"),
            "{ended:?}"
        );
    }
    // What rsync has left under other names is its own.
    site.shell(&format!("rm -f {}/.large.*", site.path))?;
    run(fleet, &source, &to)?;
    compare(&manifest(&from)?, &manifest(Path::new(&site.path))?)
}

fn there_and_back(fleet: &Fleet) -> Result<()> {
    let mut site = Site::new(fleet, WAY)?;
    // On a disk and not in memory: this host is this machine.
    site.path = site.here("there").display().to_string();
    let (from, back, to) = (site.here("from"), site.here("back"), format!("nopass:{}", site.path));
    many(&from)?;
    fs::write(from.join("huge"), noise(1 << 20).repeat(HUGE >> 20))?;
    run(fleet, &format!("{}/", from.display()), &to)?;
    run(fleet, &format!("{to}/"), &back.display().to_string())?;
    let wanted = manifest(&from)?;
    compare(&wanted, &manifest(Path::new(&site.path))?)?;
    compare(&wanted, &manifest(&back)?)
}
