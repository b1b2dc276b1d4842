//! Secrets are only where they are needed: not in anything that others can read, and not in memory after use.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::{pid, surroundings};
use crate::privilege::tool_asks;
use crate::stage::Stage;
use crate::support::process::Process;
use crate::via::stream_error;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("secrets: {name}"), Box::new(trial)));
    add("none is seen anywhere", secrets);
    add("none stays in the memory of contexts that it has passed through", in_memory);
    trials
}

/// Reads everything that others could read, while secrets travel and after they have arrived.
fn secrets(fleet: &Fleet) -> Result<()> {
    let secrets = [fleet.password.as_str(), &fleet.root_password, &fleet.passphrase];
    let done = std::sync::atomic::AtomicBool::new(false);
    let looked = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for process in Process::all() {
                    if let Some(secret) = secrets.iter().find(|secret| process.mentions(secret)) {
                        // The tests read the secrets from a file of the hosts, so no process has to contain them.
                        anyhow::bail!("{secret} is seen in {process}");
                    }
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(rounds)
        });
        let connected = with_secrets(fleet).and_then(|()| tool_asks(fleet));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        connected?;
        looking.join().map_err(|_| anyhow::anyhow!("the watcher has panicked"))?
    })?;
    ensure!(looked > 3, "it was looked at {looked} times only");
    Ok(())
}

fn with_secrets(fleet: &Fleet) -> Result<()> {
    let secrets = [fleet.password.as_str(), &fleet.root_password, &fleet.passphrase];
    let records = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let since = tempfile::NamedTempFile::new()?;
    let mut logs = DebugLogs::default();
    block_on(async {
        let mut stage = Stage::new(fleet)?;
        let heard = std::sync::Arc::clone(&records);
        stage.router.on_log(move |record| {
            if let Ok(mut heard) = heard.lock() {
                heard.push_str(&format!("{record:?}\n"));
            }
        });
        let there = fleet.ssh(&stage.router, "ssh-questions", &stage.mark).password(fleet.password.as_str());
        // For this trial, everything that is logged goes to files.
        let there = there.ssh_debug_level(3).debug(true).connect().await?;
        let plain = fleet.ssh(&stage.router, "ssh-password", &stage.mark).password(fleet.password.as_str());
        plain.ssh_debug_level(3).connect().await?;
        let locked = fleet.ssh(&stage.router, "ssh-locked-key", &stage.mark).passphrase(fleet.passphrase.as_str());
        locked.connect().await?;
        let asked = fleet.ssh(&stage.router, "asked", &stage.mark).debug(true).connect().await?;
        let sudo = stage.sudo(&asked).password(fleet.password.as_str()).direct(false).debug(true).connect().await?;
        let su = stage.su(&there).password(fleet.root_password.as_str()).direct(false).debug(true).connect().await?;
        let doas = stage.doas(&asked).password(fleet.password.as_str()).debug(true).connect().await?;
        let busybox = stage.su(&there).su_path(&fleet.busybox_su).username("ofs-asked");
        let busybox = busybox.password(fleet.password.as_str()).debug(true).connect().await?;
        let further = stage.router.ssh("ssh-password").ssh_args(["-F".into(), fleet.user_config.display().to_string()]);
        let further = further
            .remote_name(&stage.mark)
            .password(fleet.password.as_str())
            .via(&asked)
            .debug(true)
            .connect()
            .await?;
        for context in [&there, &asked, &sudo, &su, &doas, &busybox, &further] {
            logs.0.push(format!("offshoot.{}.", context.call(pid, ()).await?));
        }
        ensure!(logs.files().len() == logs.0.len(), "each of {:?} has a log: {:?}", logs.0, logs.files());
        for context in [&sudo, &su, &doas, &busybox, &further] {
            let (argv, environment) = context.call(surroundings, ()).await?;
            let all = format!("{argv:?} {environment:?}");
            ensure!(!secrets.iter().any(|secret| all.contains(secret)), "{context}: {all}");
        }
        ensure!(stage.trace.look().len() > 5, "there are processes to look at");
        ensure!(stage.trace.directories().is_empty(), "no file is left: {:?}", stage.trace.directories());
        let wrong = stream_error(stage.su(&asked).password(fleet.passphrase.as_str()).connect().await)?;
        let shown = format!("{wrong} {wrong:?} {:?}", stage.sudo(&asked).password(fleet.password.as_str()));
        ensure!(!secrets.iter().any(|secret| shown.contains(secret)), "{shown}");
        stage.end().await
    })?;
    let records = records.lock().map_err(|_| anyhow::anyhow!("no records"))?.clone();
    ensure!(!secrets.iter().any(|secret| records.contains(secret)), "{records}");
    // Files newer than this trial, in all directories that we use and in all logs.
    let user = nix::unistd::User::from_name(&fleet.user)?.context("no ordinary user")?;
    let mut find = std::process::Command::new("find");
    find.args(["/tmp", "/var/tmp", "/dev/shm", "/var/log"]).arg(user.dir).args(["-type", "f", "-newer"]);
    for file in String::from_utf8_lossy(&find.arg(since.path()).output()?.stdout).lines() {
        // A file that disappears meanwhile belongs to another trial.
        let content = std::fs::read(file).unwrap_or_default();
        let holds = |secret: &&str| content.windows(secret.len()).any(|part| part == secret.as_bytes());
        ensure!(!secrets.iter().any(holds), "a secret is in {file}");
    }
    Ok(())
}

/// The debug logs of these processes. They are removed when the trial ends.
#[derive(Default)]
struct DebugLogs(Vec<String>);

impl DebugLogs {
    fn files(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir("/tmp").into_iter().flatten().flatten().map(|entry| entry.path());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.0.iter().any(|beginning| name.starts_with(beginning))
        };
        all.filter(is_ours).collect()
    }
}

impl Drop for DebugLogs {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A password passes through one context and is typed by the next one.
fn in_memory(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let middle = stage.ssh("asked").await?;
        let last = stage.router.local().remote_name(&stage.mark).via(&middle).connect().await?;
        let pids = [middle.call(pid, ()).await?, last.call(pid, ()).await?];
        for pid in pids {
            ensure!(holds(pid, &stage.mark)?, "the memory of {pid} can be read");
        }
        for direct in [true, false] {
            let sudo = stage.sudo(&last).password(fleet.password.as_str()).direct(direct).connect().await?;
            sudo.shutdown().await;
        }
        stage.su(&last).password(fleet.root_password.as_str()).connect().await?;
        stage.doas(&last).password(fleet.password.as_str()).connect().await?;
        let wrong = format!("wrong, and long, {}", stage.mark.len());
        stream_error(stage.sudo(&last).password(wrong.as_str()).connect().await)?;
        for (pid, which) in pids.into_iter().zip(["it passes through", "it is typed by"]) {
            for secret in [&fleet.password, &fleet.root_password, &wrong] {
                ensure!(!holds(pid, secret)?, "{secret} is left in the memory of the context that {which}");
            }
        }
        stage.end().await
    })
}

/// Whether this text is anywhere in memory that a process can write to.
fn holds(pid: u32, text: &str) -> Result<bool> {
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut words = line.split(' ');
        let (Some((from, to)), Some(rights)) = (words.next().and_then(|range| range.split_once('-')), words.next())
        else {
            continue;
        };
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; usize::try_from(to - from)?];
        memory.seek(SeekFrom::Start(from))?;
        // Mappings that are not memory of a program, such as [vvar].
        if memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
