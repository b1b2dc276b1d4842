//! `offshoot cache`: the images that `--cache` leaves on hosts.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::text::launcher;
use crate::support::AT_ONCE;
use crate::support::tool::{Ended, run, tool};

/// An ssh that runs the command here.
const SSH: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac\nfor command; do :; done\nexec sh -c \"$command\"";

fn at(home: &Path, path: &str, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    command.env("PATH", path).env("HOME", home).env_remove("XDG_CACHE_HOME");
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

pub(crate) fn what_hosts_keep_is_listed_and_removed() -> Result<()> {
    let (_directory, path) = launcher("ssh", SSH)?;
    let home = tempfile::tempdir()?;
    let kept = home.path().join(".cache/offshoot");
    let offshoot = |args: &[&str]| at(home.path(), &path, args);
    let listed = offshoot(&["cache", "ls", "-F", "none", "-w", "web1"])?;
    ensure!(listed.code == Some(0) && listed.stdout.is_empty(), "{listed:?}");
    ensure!(!kept.exists(), "it puts nothing there itself");
    let ended = offshoot(&["run", "-F", "none", "--cache", "-w", "web1", "--", "true"])?;
    ensure!(ended.code == Some(0) && std::fs::read_dir(&kept)?.count() == 1, "{ended:?}");
    let (old, note) = ("ab".repeat(32), kept.join("a note"));
    std::fs::write(kept.join(&old), "an old image")?;
    std::fs::write(&note, "")?;
    let listed = offshoot(&["cache", "ls", "-F", "none", "-w", "web1,local1/web1"])?;
    ensure!(listed.code == Some(0) && listed.stdout.len() == 4, "{listed:?}");
    for host in ["web1", "local1/web1"] {
        let lines: Vec<_> = listed.stdout.iter().filter(|line| line.starts_with(&format!("{host}: "))).collect();
        let (new, current): (Vec<&String>, Vec<&String>) =
            lines.iter().partition(|line| line.contains("abababababab, 0.1 MiB, "));
        ensure!(new.len() == 1 && !new[0].contains("current") && new[0].contains(" s old"), "{listed:?}");
        ensure!(current.len() == 1 && current[0].ends_with(" s old, current"), "{listed:?}");
    }
    ensure!(listed.stderr.concat().starts_with("offshoot: 2 hosts: 4 images, "), "{listed:?}");
    let json = offshoot(&["cache", "ls", "--json", "-F", "none", "-w", "web1"])?;
    let json: Value = serde_json::from_str(&json.stdout.concat())?;
    let images = json.pointer("/cache/0/images").and_then(Value::as_array).context("images")?;
    ensure!(json["cache"][0]["directory"] == *kept.to_string_lossy(), "{json}");
    ensure!(images.iter().any(|image| image["sha256"] == *old && image["size"] == 12 && image["current"] == false));
    // A configuration with a cache changes nothing.
    let config = home.path().join("config.toml");
    std::fs::write(&config, "cache = true\n")?;
    let config = config.to_string_lossy();
    let ended = offshoot(&["--config", &config, "cache", "purge", "--old", "-F", "none", "-w", "web1"])?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 1, "{ended:?}");
    ensure!(ended.stdout[0].starts_with("web1: removed abababababab, 0.1 MiB, "), "{ended:?}");
    ensure!(!kept.join(&old).exists() && std::fs::read_dir(&kept)?.count() == 2, "the current one stays");
    let ended = offshoot(&["--config", &config, "cache", "purge", "-F", "none", "-w", "web1"])?;
    ensure!(ended.code == Some(0) && ended.stderr.concat().contains("1 image removed, "), "{ended:?}");
    ensure!(std::fs::read_dir(&kept)?.count() == 1 && note.exists(), "a file of somebody else stays");
    std::fs::remove_file(note)?;
    ensure!(offshoot(&["run", "-F", "none", "--cache", "-w", "web1", "--", "true"])?.code == Some(0));
    ensure!(offshoot(&["--config", &config, "cache", "purge", "-F", "none", "-w", "web1"])?.code == Some(0));
    ensure!(!kept.exists(), "an empty directory is removed, too");
    Ok(())
}

pub(crate) fn a_cache_that_cannot_be_listed_is_told() -> Result<()> {
    let (_directory, path) =
        launcher("ssh", "echo 'ssh: connect to host web1 port 22: Connection refused' >&2; exit 255")?;
    let home = tempfile::tempdir()?;
    let ended = at(home.path(), &path, &["cache", "ls", "-F", "none", "-w", "web1,local1"])?;
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains("web1: "), "{ended:?}");
    // What is no directory cannot be one with images.
    std::fs::create_dir(home.path().join(".cache"))?;
    std::fs::write(home.path().join(".cache/offshoot"), "")?;
    let ended = at(home.path(), &path, &["cache", "ls", "-w", "local1"])?;
    ensure!(ended.code == Some(0) && ended.stdout.is_empty(), "{ended:?}");
    for (args, says) in [
        (&["cache", "ls", "--keep", "5m", "-w", "local1"][..], "--keep does not apply to it"),
        (&["cache", "list", "-w", "local1"], "ls|purge"),
        (&["cache", "ls"], "--hosts"),
    ] {
        let ended = at(home.path(), &path, args)?;
        ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{args:?}: {ended:?}");
    }
    Ok(())
}
