//! Stand-ins for ssh, over ssh and sudo.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::support::tool::{Ended, run, tool};
use crate::support::{Missing, ONE_SECOND, unique};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("rsh runs the line by the login shell, in the home", login_shell);
    add("rsync copies a thousand files over ssh and sudo, there and back", tree);
    trials
}

fn rsh(fleet: &Fleet, args: &[&str]) -> Result<Ended> {
    let config = fleet.config.display().to_string();
    let (mut command, mut trace) = tool(&[&["rsh", "-F", &config], args].concat());
    let ended = run(&mut command)?;
    trace.expect_nothing_left(ONE_SECOND)?;
    Ok(ended)
}

fn login_shell(fleet: &Fleet) -> Result<()> {
    for shell in ["bash", "dash", "zsh", "csh", "fish"] {
        let alias = format!("shell-{shell}");
        fleet.login(&alias)?;
        // Of these shells, all know this.
        let ended = rsh(fleet, &[&alias, "pwd; echo $HOME;", "test 1 = 2"])?;
        ensure!(ended.code == Some(1) && ended.stdout.len() == 2, "{alias}: {ended:?}");
        assert_eq!(ended.stdout[0], ended.stdout[1], "{alias}");
    }
    let ended = rsh(fleet, &["shell-csh", "set a = csh; echo $a"])?;
    assert_eq!(ended.stdout, ["csh"], "{:?}", ended.stderr);
    Ok(())
}

fn tree(fleet: &Fleet) -> Result<()> {
    if Command::new("rsync").arg("--version").output().is_err() {
        return Err(Missing("rsync is not installed".into()).into());
    }
    let place = tempfile::tempdir()?;
    let [from, back] = ["from", "back"].map(|name| place.path().join(name));
    for nth in 0..1000 {
        let directory = from.join(format!("d{}", nth % 10));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("f{nth}")), vec![b'x'; nth * 10])?;
    }
    let there = format!("/tmp/offshoot-rsh-{}", unique());
    let config = fleet.config.display().to_string();
    let text = |path: &Path| path.to_str().map(|path| format!("{path}/")).context("a path");
    let program = format!("{TOOL} rsh -F {config} --become");
    let copy = |from: &str, to: &str| {
        let (prepared, mut trace) = tool(&[]);
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &program, from, to]);
        command.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = run(&mut command)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        trace.expect_nothing_left(ONE_SECOND)
    };
    copy(&text(&from)?, &format!("nopass:{there}"))?;
    let owner = rsh(fleet, &["nopass", "stat -c %U", &there])?;
    let copied = copy(&format!("nopass:{there}/"), &text(&back)?);
    rsh(fleet, &["--become", "nopass", "rm -r", &there])?;
    copied?;
    assert_eq!(owner.stdout, ["root"], "{:?}", owner.stderr);
    let output = Command::new("diff").arg("-r").args([&from, &back]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The same by a program whose ssh goes through another host.
    let script = format!("rsync -a {} nopass:{there} && ssh nopass ls {there}/d1 | wc -l", text(&from)?);
    let (mut command, mut trace) = tool(&["with", "-F", &config, "web1", "--", "sh", "-c", &script]);
    let ended = run(&mut command)?;
    rsh(fleet, &["nopass", "rm -r", &there])?;
    ensure!(ended.code == Some(0) && ended.stdout == ["100"], "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}
