//! A push during which a hop is killed, and the one after it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::tree::{compare, manifest, noise};
use super::{Site, is_context, is_unchanged};
use crate::OnHosts;
use crate::cli::transfer::kill_pushes;
use crate::fleet::Fleet;
use crate::random::rounds;
use crate::support::process::Process;
use crate::support::tool::{Running, tool};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, PATIENCE, wait_for};

/// How many small files are copied, and the size of the large one.
const SMALL: usize = 10_000;
const LARGE: usize = 48 << 20;
/// A hop is killed when so much of the large one has arrived. It is more than what a copy keeps.
const ENOUGH: u64 = 12 << 20;
/// The large one takes seconds.
pub(super) const RATE: &str = "16M";
/// ssh into one host, and sudo there.
pub(super) const WAY: &[&str] = &["-w", "nopass", "--become"];

pub(super) fn trials() -> Vec<OnHosts> {
    let name = "copies: a push whose hop is killed says so, leaves whole files, and goes on the next time";
    // The same as on every level, as often as it takes to meet moments that are short.
    let often = "copies: a push that is killed 200 times leaves the old file or the new one (long)";
    vec![(name.into(), Box::new(push)), (often.into(), Box::new(|_| kill_pushes(rounds(200))))]
}

/// Makes many small files and a large one.
pub(super) fn many(root: &Path) -> Result<()> {
    for nth in 0..SMALL {
        let directory = root.join(format!("d{}", nth % 100));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("f{nth}")), format!("{nth} ").repeat(nth % 100))?;
    }
    Ok(fs::write(root.join("large"), noise(LARGE))?)
}

/// Kills the context `nth` on the way as soon as enough of the large file is there: once more of it each time.
pub(super) fn kill_hop(running: &mut Running, trace: &mut Trace, there: &Path, nth: usize) -> Result<()> {
    let has_enough = || {
        let entries = fs::read_dir(there).into_iter().flatten().flatten();
        let large = entries.filter(|entry| entry.file_name().to_string_lossy().contains("large"));
        // Together with what the last one has left.
        let sizes = large.filter_map(|entry| Some(entry.metadata().ok()?.len()));
        sizes.sum::<u64>() >= ENOUGH * (nth as u64 + 1)
    };
    let is_time = wait_for(4 * PATIENCE, || (has_enough() || running.has_ended()).then_some(()));
    is_time.with_context(|| format!("too little arrives in {}", there.display()))?;
    let mut contexts: Vec<Process> = trace.look().into_iter().filter(is_context).collect();
    contexts.sort_by_key(|process| (process.started, process.pid));
    ensure!(!running.has_ended() && contexts.len() > nth, "too late: {contexts:?}");
    Ok(contexts[nth].signal(Signal::SIGKILL)?)
}

fn push(fleet: &Fleet) -> Result<()> {
    let site = Site::new(fleet, WAY)?;
    let (from, there) = (site.here("from"), Path::new(&site.path));
    many(&from)?;
    let wanted = manifest(&from)?;
    for nth in [0, 1] {
        let words = site.words("push", &["--bwlimit", RATE, &from.display().to_string(), &site.path]);
        let (mut command, mut trace) = tool(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut running = Running::start(&mut command)?;
        kill_hop(&mut running, &mut trace, there, nth)?;
        let ended = running.finish()?;
        trace.expect_nothing_left(A_WHILE)?;
        let said = ended.stderr.concat();
        ensure!(ended.code == Some(4) && said.contains("nopass") && said.contains("lost"), "{ended:?}");
        // What has its name is whole.
        for (path, item) in manifest(there)? {
            let is_draft = path.to_string_lossy().ends_with(".offshoot-part");
            ensure!(is_draft || wanted.get(&path).is_some_and(|wanted| wanted.is_same_content(&item)), "{path:?}");
        }
    }
    let ended = site.push("from", &[])?;
    let sent =
        ended.stdout.concat().split_once(" bytes sent").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let sent: u64 = sent.with_context(|| format!("{ended:?}"))?;
    ensure!(ended.code == Some(0) && sent < LARGE as u64 - ENOUGH, "{ended:?}");
    compare(&wanted, &manifest(there)?)?;
    let again = site.push("from", &[])?;
    ensure!(is_unchanged(&again), "{again:?}");
    Ok(())
}
