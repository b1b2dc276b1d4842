//! Settings of sudoers that change how sudo runs a program: recorded, checked, traced, kept from executing others, or
//! for some commands alone.

use anyhow::{Context as _, Result, ensure};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::own_image::is_direct;
use crate::stage::Stage;
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
