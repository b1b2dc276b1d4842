//! Uploads that are damaged or cut on the way.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use offshoot::Router;
use offshoot::error::{ConnectError, ConnectErrorKind, Phase};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::launcher::Launcher;
use crate::random::Random;
use crate::support::{ONE_SECOND, promised, unique, wait_for};
use crate::via::stream_error;

const CUTS: usize = 8;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    // An image that is not packed is executed, and detects the damage itself. So the damage must not be in a
    // place where it does harm. The last byte belongs to a table that is not needed.
    for (alias, packing, place) in [
        ("here-user", "zstd", "700"),
        ("gzip-only", "gzip", "700"),
        ("mini", "nothing", "last"),
        ("bare-noproc", "gzip, for busybox without /proc,", "700"),
        ("noexec-all-user", "zstd, for memory,", "700"),
    ] {
        trials.push((
            format!("an image packed by {packing} that is damaged on the way is refused as corrupt"),
            Box::new(move |fleet| damaged(fleet, alias, "flip", place)),
        ));
        trials.push((
            format!("an image packed by {packing} that is cut short is refused as corrupt"),
            Box::new(move |fleet| damaged(fleet, alias, "cut", "700")),
        ));
        trials.push((
            format!("an upload packed by {packing} that ends anywhere ends the far side within a second, at rest"),
            Box::new(move |fleet| cut_anywhere(fleet, alias)),
        ));
    }
    trials
}

fn damaged(fleet: &Fleet, alias: &str, how: &str, place: &str) -> Result<()> {
    let attempt = Attempt::make(fleet, alias, how, place)?;
    let error = &attempt.error;
    ensure!(error.kind == ConnectErrorKind::Corrupt, "{error:?}");
    ensure!(matches!(error.phase, Phase::Upload | Phase::Exec | Phase::Handshake), "{error:?}");
    ensure!(error.hop == format!("ssh.{alias}") && !error.text.is_empty(), "{error:?}");
    Ok(())
}

fn cut_anywhere(fleet: &Fleet, alias: &str) -> Result<()> {
    let (mut random, seed) = Random::new(alias);
    let mut places = vec!["line".to_owned(), "0".to_owned(), "999".to_owned()];
    places.extend((3..CUTS).map(|_| random.below(1000).to_string()));
    for place in places {
        let attempt = Attempt::make(fleet, alias, "cut", &place)?;
        let what = format!("cut at {place} ({seed})");
        let kind = attempt.error.kind;
        ensure!(matches!(kind, ConnectErrorKind::Corrupt | ConnectErrorKind::Eof), "{what}: {:?}", attempt.error);
        ensure!(attempt.ended < promised(ONE_SECOND), "{what}: it took {:?}", attempt.ended);
        // The image is this test program, some 20 MB. To receive and to unpack it takes half of that in the slowest
        // shell. A process that spins would take more.
        ensure!(attempt.used < ONE_SECOND + ONE_SECOND / 2, "{what}: the far side used {:?}", attempt.used);
    }
    Ok(())
}

/// A connect that cannot succeed.
struct Attempt {
    error: ConnectError,
    /// The time from the damage to the end of everything that took part.
    ended: Duration,
    /// The processor time of everything on the other side.
    used: Duration,
}

impl Attempt {
    fn make(fleet: &Fleet, alias: &str, how: &str, place: &str) -> Result<Self> {
        let mark = unique();
        let launcher = Launcher::that_damages(how, place)?;
        let mut trace = fleet.trace(&mark).with_notes(launcher.notes());
        let (program, fleet, mark) = (launcher.program(), fleet.clone(), mark.clone());
        let alias = alias.to_owned();
        let connecting = std::thread::spawn(move || {
            block_on(async {
                let router = Router::new()?;
                let error = stream_error(fleet.ssh(&router, &alias, &mark).ssh_path(program).connect().await);
                router.shutdown().await;
                error
            })
        });
        let mut used: HashMap<i32, u64> = HashMap::new();
        let done = wait_for(Duration::from_secs(60), || {
            for process in trace.look() {
                let is_far = !process.mentions("IgnoreUnknown=");
                if is_far {
                    let most = used.entry(process.pid).or_default();
                    *most = process.used.max(*most);
                }
            }
            connecting.is_finished().then_some(())
        });
        ensure!(done.is_some(), "the connect to {place} does not end");
        let error = connecting.join().map_err(|_| anyhow::anyhow!("the connect panicked"))??;
        trace.expect_nothing_left(ONE_SECOND)?;
        let now = std::time::UNIX_EPOCH.elapsed()?.as_micros();
        let ended = Duration::from_micros(u64::try_from(now.saturating_sub(launcher.damaged_at()?))?);
        // For every program a tick is a hundredth of a second.
        let used = Duration::from_millis(10 * used.values().sum::<u64>());
        Ok(Self { error, ended, used })
    }
}
