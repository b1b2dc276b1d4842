//! Settings of sudoers that change how sudo runs a program: recorded, checked, traced, kept from executing others, or
//! for some commands alone.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::own_image::is_direct;
use crate::stage::Stage;
use crate::support::tool::{Ended, run, tool};
use crate::support::{ONE_SECOND, unique};
use crate::via::stream_error;

/// A host, and what comes of `sudo` there.
struct Setting {
    alias: &'static str,
    /// What sudo runs, it runs from the parent's own image if it may.
    direct: bool,
}

const WORKS: [Setting; 3] = [
    Setting { alias: "recorded", direct: true },
    // The library that is loaded before each program is not loaded into a static one; and a descriptor is no path to check.
    Setting { alias: "intercept", direct: false },
    Setting { alias: "traced", direct: false },
];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for setting in &WORKS {
        let way = if setting.direct { "from the own image" } else { "from one that is sent" };
        let name = format!("sudoers: on {} root's child comes up, {way}", setting.alias);
        trials.push((name, Box::new(move |fleet| works(fleet, setting))));
    }
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("sudoers: {name}"), Box::new(trial)));
    add("a rule with NOEXEC is named, and what to write instead", noexec);
    add("a rule without a password for one command is told from one for a shell", few_commands);
    add("a rule for this program and one function lets nothing else through", one_function);
    trials
}

fn works(fleet: &Fleet, setting: &Setting) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh(setting.alias).await?;
        for direct in [true, false] {
            let root = stage.sudo(&user).direct(direct).connect().await;
            let root = root.with_context(|| format!("{}, direct {direct}", setting.alias))?;
            ensure!(is_direct(&root).await? == (direct && setting.direct), "{}, direct {direct}", setting.alias);
            let facts = root.call(host_facts, ()).await?;
            ensure!(facts.uid == 0 && root.call(double, (21,)).await? == 42, "{root} is {facts:?}");
            // What is made there keeps to the same rules, and so does what it starts.
            let output = root.shell("id -u; seq 20000 | tail -n 1").output().await?;
            ensure!(output.stdout == b"0\n20000\n" && output.exit.code == Some(0), "{output:?}");
            let below = stage.router.local().via(&root).remote_name(&stage.mark).connect().await?;
            ensure!(below.call(double, (4,)).await? == 8, "{below} works");
            root.shutdown().await;
        }
        stage.end().await
    })
}

fn noexec(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("noexec").await?;
        // What the shell complains of and what it announces come on two ways, in any order.
        for direct in [true, false, true, false] {
            let error = stream_error(stage.sudo(&user).direct(direct).connect().await)?;
            ensure!((error.kind, error.phase) == (ConnectErrorKind::Unsupported, Phase::FirstStage), "{error:?}");
            ensure!(error.text.contains("NOEXEC") && error.advice.contains("EXEC: for the shell"), "{error:?}");
        }
        stage.end().await
    })
}

fn few_commands(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("few-commands").await?;
        let error = stream_error(stage.sudo(&user).connect().await)?;
        ensure!((error.kind, error.phase) == (ConnectErrorKind::Password, Phase::Login), "{error:?}");
        ensure!(error.advice.contains("NOPASSWD") && error.advice.contains("`sudo -l`"), "{error:?}");
        let error = stream_error(stage.sudo(&user).password("wrong").connect().await)?;
        ensure!(error.text.starts_with("sudo password is incorrect"), "{error:?}");
        stage.end().await
    })
}

/// `offshoot sudoers` prints the rule for a copy of the tool. The rule of sudo-rs has no digest.
fn one_function(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let copy = fleet.homes.join(format!("rule-{mark}"));
    let _tidy = Removed(copy.clone());
    // Another process writes it. If this one did, a child that another trial forks would hold it open for writing.
    let copied = std::process::Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_offshoot")), &copy]).status()?;
    ensure!(copied.success(), "cp");
    for (server, alias, has_digest) in [("priv", "few-commands", true), ("sudo-rs", "sudo-rs-few", false)] {
        let installed = copy.to_string_lossy();
        let mut words = vec!["sudoers", "--user", "ofs-few-cmds", "--binary", &installed, "--program", &installed];
        words.extend(["--allow", "host_facts"]);
        words.extend((!has_digest).then_some("--no-digest"));
        let (mut command, _) = tool(&words);
        let rule = run(&mut command)?;
        ensure!(rule.code == Some(0) && rule.stderr.is_empty(), "{rule:?}");
        let file = format!("/proc/{}/root/etc/sudoers.d/{mark}", fleet.server(server)?);
        fs::write(&file, rule.stdout.join("\n") + "\n")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440))?;
        let _tidy = Removed(file.into());

        let config = fleet.config.display().to_string();
        let with = |options: &[&str], what: &[&str]| -> Result<Ended> {
            let reach = ["-F", &config, "-w", alias, "-b", "--binary", &installed];
            let (mut command, mut trace) = tool(&[&what[..1], &reach[..], options, &what[1..]].concat());
            let ended = run(&mut command)?;
            trace.expect_nothing_left(ONE_SECOND)?;
            Ok(ended)
        };
        let allow = ["--allow", "host_facts"];
        let ended = with(&allow, &["call", "host_facts"])?;
        ensure!(ended.code == Some(0) && ended.stdout.concat().contains("\"uid\":0,"), "{alias}: {ended:?}");
        let ended = with(&allow, &["run", "--", "id"])?;
        let told = ended.stderr.concat();
        ensure!(ended.code == Some(2) && told.contains("runs only the functions that its connect allows"), "{ended:?}");
        for options in [&["--allow", "commands"][..], &["--allow", "host_facts,commands"], &[]] {
            let ended = with(options, &["run", "--", "id"])?;
            let told = ended.stderr.concat();
            ensure!(ended.code == Some(4) && told.contains("sudo password is required"), "{alias}: {ended:?}");
        }
        if has_digest {
            let mut file = fs::OpenOptions::new().write(true).open(&copy)?;
            // A text in its header says nothing about how it runs.
            file.seek(SeekFrom::Start(9))?;
            file.write_all(b"x")?;
            drop(file);
            let ended = with(&allow, &["call", "host_facts"])?;
            let told = ended.stderr.concat();
            ensure!(ended.code == Some(4) && told.contains("sudo password is required"), "{ended:?}");
            let mut file = fs::OpenOptions::new().write(true).open(&copy)?;
            file.seek(SeekFrom::Start(9))?;
            file.write_all(&[0])?;
        }
    }
    Ok(())
}

/// A file that is removed at the end.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
