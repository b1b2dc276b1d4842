//! `offshoot push` and `offshoot pull` over ssh, sudo, several hops and containers.

mod hostile;
mod killed;
mod memory;
mod rsync;
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::support::process::Process;
use crate::support::tool::{Ended, Running, tool};
use crate::support::{A_WHILE, PATIENCE, unique};
use tree::{make, manifest};

/// The ways to the hosts where a tree is copied by root, each with the arguments that choose it.
const WAYS: [(&str, &[&str]); 4] = [
    ("ssh and sudo", &["-w", "nopass", "--become"]),
    ("three hosts and sudo", &["-w", "web1/web2/nopass/sudo"]),
    ("docker behind ssh", &["-w", "engines/docker:app"]),
    ("podman behind ssh", &["-w", "engines/podman:app"]),
];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for (name, way) in WAYS {
        let name = format!("copies: a tree comes back as it was pushed, through {name}");
        trials.push((name, Box::new(move |fleet| there_and_back(fleet, way))));
    }
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("copies: {name}"), Box::new(trial)));
    add("a program runs as its owner only where that is the owner's copy", setuid);
    trials.extend(hostile::trials());
    trials.extend(killed::trials());
    trials.extend(memory::trials());
    trials.extend(rsync::trials());
    trials
}

/// A place on a host, which is reached by some arguments of the tool.
struct Site<'a> {
    fleet: &'a Fleet,
    way: &'a [&'a str],
    /// The path of what is copied there.
    path: String,
    /// A directory on this side.
    here: TempDir,
}

impl<'a> Site<'a> {
    fn new(fleet: &'a Fleet, way: &'a [&'a str]) -> Result<Self> {
        // What is on a disk takes no memory.
        let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self { fleet, way, path: format!("/tmp/offshoot-copies-{}", unique()), here })
    }

    fn here(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// The words of a command line: the command, the way, and the rest.
    fn words(&self, command: &str, rest: &[&str]) -> Vec<String> {
        let config = self.fleet.config.display().to_string();
        let words = [&[command, "-F", &config], self.way, rest].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// Runs the tool on the host.
    fn tool(&self, command: &str, rest: &[&str]) -> Result<Ended> {
        let words = self.words(command, rest);
        let (mut command, mut trace) = tool(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let ended = Running::start(&mut command)?.finish_within(4 * PATIENCE)?;
        trace.expect_nothing_left(A_WHILE)?;
        Ok(ended)
    }

    fn push(&self, from: &str, options: &[&str]) -> Result<Ended> {
        let from = self.here(from).display().to_string();
        self.tool("push", &[options, &[&from, &self.path]].concat())
    }

    /// Pulls the copy. Returns where it is on this side.
    fn pull(&self, options: &[&str]) -> Result<(Ended, PathBuf)> {
        let to = self.here("back");
        let ended = self.tool("pull", &[options, &[&self.path, &to.display().to_string()]].concat())?;
        let hosts: Vec<_> = fs::read_dir(&to)?.collect::<Result<_, _>>()?;
        let [host] = &hosts[..] else { bail!("{} hosts, {ended:?}", hosts.len()) };
        let name = Path::new(&self.path).file_name().context("a name")?;
        Ok((ended, host.path().join(name)))
    }

    /// What a line of shell prints on the host.
    fn shell(&self, line: &str) -> Result<Vec<String>> {
        let ended = self.tool("run", &["-q", "-s", line])?;
        ensure!(ended.code == Some(0), "{line}: {ended:?}");
        // Each line begins with the name of the host.
        Ok(ended.stdout.iter().map(|line| line.split_once(": ").map_or("", |(_, rest)| rest).to_owned()).collect())
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        let _ = self.shell(&format!("rm -rf {}", self.path));
    }
}

/// Whether this is a context, and not the tool or a command.
fn is_context(process: &Process) -> bool {
    process.argv.first().is_some_and(|argv0| argv0.starts_with("offshoot:"))
}

/// Whether nothing was sent, made or changed.
fn is_unchanged(ended: &Ended) -> bool {
    let text = ended.stdout.concat();
    let is_changed = ["sent", "made", "adjusted", "deleted", "failed"].iter().any(|word| text.contains(word));
    ended.code == Some(0) && text.contains("0 files written") && !is_changed
}

fn there_and_back(fleet: &Fleet, way: &[&str]) -> Result<()> {
    let site = Site::new(fleet, way)?;
    let from = site.here("from");
    make(&from, fleet)?;
    let ended = site.push("from", &[])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let again = site.push("from", &[])?;
    ensure!(is_unchanged(&again), "{again:?}");
    let checked = site.push("from", &["--checksum"])?;
    ensure!(is_unchanged(&checked), "{checked:?}");
    let (ended, back) = site.pull(&[])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    // Copies that are pulled belong to who pulls, so no program runs as somebody else.
    let (mut wanted, got) = (manifest(&from)?, manifest(&back)?);
    for (path, item) in &mut wanted {
        item.belongs_to_root(&got[path]);
    }
    tree::compare(&wanted, &got)?;
    let (again, _) = site.pull(&[])?;
    ensure!(is_unchanged(&again), "{again:?}");
    // Owners by their names, which have other numbers in a container.
    let stat = site.shell(&format!("cd {} && stat -c '%U %a' suid-root suid-user suid-stranger secret", site.path))?;
    let user = &fleet.user;
    let wanted = ["root 4755".into(), format!("{user} 4755"), "root 755".into(), format!("{user} 600")];
    ensure!(stat == wanted, "{stat:?}");
    let blocks = site.shell(&format!("stat -c %b {}/holes", site.path))?;
    ensure!(blocks[0].parse::<u64>()? * 512 < tree::HOLES / 4, "it has holes: {blocks:?}");
    // What changes at either side is sent alone.
    fs::write(from.join("secret"), "another one")?;
    fs::remove_file(from.join("link"))?;
    site.shell(&format!("cd {} && chmod 700 'a name' && touch extra", site.path))?;
    let ended = site.push("from", &["--delete"])?;
    let text = ended.stdout.concat();
    ensure!(text.contains("1 file written, 11 bytes sent") && text.contains("2 deleted"), "{ended:?}");
    ensure!(text.contains("adjusted"), "{ended:?}");
    let (ended, back) = site.pull(&["--delete"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let (mut wanted, got) = (manifest(&from)?, manifest(&back)?);
    for (path, item) in &mut wanted {
        item.belongs_to_root(&got[path]);
    }
    tree::compare(&wanted, &got)
}

/// Bits that make a program run as its owner or group, by who writes and whom the copy belongs to.
fn setuid(fleet: &Fleet) -> Result<()> {
    for (way, options, wanted) in [
        (&["-w", "nopass", "--become"][..], &["--no-owner"][..], ["root 755", "root 755", "root 755"]),
        (&["-w", "here-user"], &[], ["ofs-user 755", "ofs-user 755", "ofs-user 755"]),
    ] {
        let site = Site::new(fleet, way)?;
        make(&site.here("from"), fleet)?;
        let ended = site.push("from", options)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        let stat = site.shell(&format!("cd {} && stat -c '%U %a' suid-root suid-user suid-stranger", site.path))?;
        ensure!(stat == wanted, "{way:?}: {stat:?}");
    }
    // What is there already, and belongs to another user, keeps neither its bits nor its content.
    let site = Site::new(fleet, &["-w", "nopass", "--become"])?;
    make(&site.here("from"), fleet)?;
    site.shell(&format!(
        "mkdir {0} && cd {0} && echo x >suid-stranger && chown 54322 suid-stranger && chmod 4755 suid-stranger",
        site.path
    ))?;
    site.push("from", &[])?;
    let stat = site.shell(&format!("stat -c '%u %a' {}/suid-stranger", site.path))?;
    ensure!(stat == ["54322 755"], "{stat:?}");
    Ok(())
}
