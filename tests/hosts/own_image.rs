//! Root's child by sudo, su or doas, which is made from the image of the context that starts it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use offshoot::Context;

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::{CONNECT, Fleet};
use crate::functions::{pid, surroundings};
use crate::privilege::{expect, program};
use crate::stage::Stage;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

/// Shells that sudo may find as `sh`.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh93", "mksh", "yash"];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("own image: {name}"), Box::new(trial)));
    add("root's child is made without a file", no_file);
    add("every shell runs it, or goes on and has one sent", shells);
    add("another process that has the parent's number is not run", another);
    trials
}

/// Whether a child was made from its parent's image, as nobody has told it of a directory. It has no descriptor from
/// the shell.
pub(crate) async fn is_direct(context: &Context) -> Result<bool> {
    let (argv, _) = context.call(surroundings, ()).await?;
    let open = context.command("ls").arg("/proc/self/fd").output().await?;
    ensure!(open.stdout == b"0\n1\n2\n3\n", "{context} has open {open:?}");
    Ok(argv.get(2).is_some_and(String::is_empty))
}

/// What a tracer of the parent sees.
fn no_file(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        for (alias, tool) in [("nopass", "sudo"), ("nopass", "doas"), ("norule", "su")] {
            let user = stage.ssh(alias).await?;
            let log = tempfile::tempdir()?;
            let file = log.path().join("calls");
            let parent = user.call(pid, ()).await?.to_string();
            let mut strace = std::process::Command::new("strace")
                .args([
                    "-f",
                    "-qq",
                    "-p",
                    &parent,
                    "-e",
                    "trace=openat,open,creat,mkdir,mkdirat,memfd_create,execve,execveat",
                ])
                .arg("-o")
                .arg(&file)
                .spawn()
                .context("strace")?;
            let tracer = || Process::of(i32::try_from(parent.parse::<u32>().ok()?).ok()?);
            ensure!(tracer().is_some(), "the parent lives");
            let traced = wait_for(PATIENCE, || {
                let status = std::fs::read_to_string(format!("/proc/{parent}/status")).ok()?;
                status.lines().any(|line| line.starts_with("TracerPid:\t") && !line.ends_with("\t0")).then_some(())
            });
            ensure!(traced.is_some(), "strace does not trace");
            // A traced process gains no privileges, unless its tracer has them: ours has.
            let root = match tool {
                "sudo" => stage.sudo(&user).connect().await?,
                "doas" => stage.doas(&user).connect().await?,
                _ => stage.su(&user).password(fleet.root_password.as_str()).connect().await?,
            };
            expect(&root, "root").await?;
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(strace.id())?),
                nix::sys::signal::Signal::SIGINT,
            )?;
            strace.wait()?;
            let calls = std::fs::read_to_string(&file)?;
            ensure!(calls.contains("\"/proc/self/fd/9\", [\"/proc/"), "{tool}: the own image was executed: {calls}");
            for line in calls.lines().filter(|line| !line.contains(" = -1 ") && !line.contains("execve(")) {
                let makes = ["O_CREAT", "mkdir", "memfd_create("].iter().any(|word| line.contains(word));
                let place = ["\"/tmp", "\"/dev/shm", "\"/var/tmp", "offshoot", "memfd_create("];
                ensure!(!(makes && place.iter().any(|place| line.contains(place))), "{tool}: {line}");
            }
            ensure!(stage.trace.directories().is_empty(), "{tool}: {:?}", stage.trace.directories());
            user.shutdown().await;
        }
        stage.end().await
    })
}

fn shells(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let user = stage.ssh("nopass").await?;
        for shell in SHELLS {
            if user.shell(format!("command -v {shell}")).output().await?.exit.code != Some(0) {
                continue;
            }
            let root = stage.sudo(&user).shell(shell).connect().await.context(shell)?;
            expect(&root, "root").await?;
            // It makes no words of a variable, unless it is called sh.
            ensure!(is_direct(&root).await? == (shell != "zsh"), "{shell}");
            root.shutdown().await;
        }
        stage.end().await
    })
}

/// A sudo that runs the line with another process's number, as if the parent had ended and somebody had got its own.
const ANOTHER: &str = r#"#!/bin/sh
for word; do
    shift
    set -- "$@" "$(printf %s "$word" | sed "s|/proc/$PPID/|/proc/OTHER/|g")"
done
exec sudo "$@"
"#;

fn another(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let local = || stage.router.local().remote_name(&stage.mark);
        let parent = local().connect().await?;
        // The kernel counts starts in steps of 10 ms. No number is used twice within one.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let other = local().name("other").connect().await?;
        // It would do as well, being of the same program, and so it shows.
        let (_directory, sudo) = program(&ANOTHER.replace("OTHER", &other.call(pid, ()).await?.to_string()))?;
        let sudo = stage.router.sudo().sudo_path(&sudo).remote_name(&stage.mark).connect_timeout(CONNECT);
        let root = sudo.via(&parent).connect().await?;
        expect(&root, "root").await?;
        ensure!(!is_direct(&root).await?, "root runs the image of {other}");
        let root = stage.sudo(&parent).name("right").connect().await?;
        ensure!(is_direct(&root).await?, "root does not run the image of {parent}");
        stage.end().await
    })
}
