//! The tool before an sshd that refuses logins: by its MaxStartups, or by its PerSourcePenalties.

use std::process::Command;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use offshoot::Router;
use tokio::task::JoinSet;

use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::running::{CROWD, on_hosts_within};
use crate::support::A_WHILE;
use crate::support::tool::Ended;
use crate::{LONG, OnHosts};

/// The longest ban that a trial waits for. Each failed login adds 5 s, and 15 s are the least.
const BAN: Duration = Duration::from_secs(90);
/// The time for hundreds of targets. Each takes some tenths of a second of a processor.
const LONGEST: Duration = Duration::from_secs(500);

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("64 targets of one sshd with default limits are all reached", |fleet| targets(fleet, 64).map(drop));
    add(
        &format!("512 targets of one sshd with default limits are reached as fast as without limits{LONG} (alone)"),
        many,
    );
    add("one wrong key among many earns no ban, and the tool waits for the end of one", penalties);
    add(&format!("the time for children of this machine grows with their number{LONG} (alone)"), children);
    trials
}

/// Options that make ssh reach this host by any name.
fn address(fleet: &Fleet, host: &str) -> Result<[String; 4]> {
    let known = Command::new("ssh").arg("-G").arg("-F").arg(&fleet.config).arg(host).output()?;
    let known = String::from_utf8(known.stdout)?;
    let value = |key: &str| known.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let option = |key: &str| anyhow::Ok(format!("{key}={}", value(key).with_context(|| format!("no {key}"))?));
    Ok(["-o".into(), option("hostname")?, "-o".into(), option("port")?])
}

/// Runs a command on this many names of one host, all at the same time.
fn on_names(fleet: &Fleet, host: &str, names: &str, more: &[&str]) -> Result<Ended> {
    let address = address(fleet, host)?;
    let address: Vec<&str> = address.iter().map(String::as_str).collect();
    let args = ["-f", "1000", "-w", names, "-o", "User=root", "--connect-timeout", "60s"];
    on_hosts_within(fleet, &[&args, &address[..], more, &["--", "echo", "here"]].concat(), LONGEST)
}

/// Logins are a matter of some milliseconds with this key exchange, and of a hundred with the default.
const QUICK: [&str; 2] = ["-o", "KexAlgorithms=curve25519-sha256"];

/// Reaches this many targets of the sshd with the limits that it comes with.
fn targets(fleet: &Fleet, count: usize) -> Result<Ended> {
    let _turn = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = on_names(fleet, "crowd", &format!("target[1-{count}]"), &QUICK)?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == count, "{ended:?}");
    Ok(ended)
}

fn many(fleet: &Fleet) -> Result<()> {
    const TARGETS: usize = 512;
    // With the default key exchange, which takes three times as long, the two were the same (0.98).
    const MOST: f64 = 1.5;
    // The first run prepares the image.
    targets(fleet, 8)?;
    let mut best = f64::MAX;
    // The machine may be busy with something else during one of the two.
    for _ in 0..3 {
        let limited = targets(fleet, TARGETS)?.elapsed;
        let ended = on_names(fleet, "here", &format!("target[1-{TARGETS}]"), &QUICK)?;
        ensure!(ended.code == Some(0) && ended.stdout.len() == TARGETS, "{ended:?}");
        let ratio = limited.as_secs_f64() / ended.elapsed.as_secs_f64();
        eprintln!("{TARGETS} targets: {limited:?} with default limits, {:?} without, {ratio:.2} times", ended.elapsed);
        best = best.min(ratio);
        if best <= MOST {
            return Ok(());
        }
    }
    bail!("with limits it takes {best:.2} times as long at best")
}

/// Logs in by ssh alone, and returns what it says.
fn by_ssh(fleet: &Fleet, user: &str) -> Result<String> {
    let config = fleet.config.display().to_string();
    let ssh = Command::new("ssh").args(["-v", "-F", &config, "-l", user, "penalties", "echo let in"]).output()?;
    Ok(String::from_utf8_lossy(&[ssh.stdout, ssh.stderr].concat()).into_owned())
}

/// In one trial, because all logins come from one address.
fn penalties(fleet: &Fleet) -> Result<()> {
    let ended = on_names(fleet, "penalties", "target[1-99],ofs-wrong-key@target100", &[])?;
    let told = ended.stderr.join("\n");
    ensure!(ended.code == Some(4) && ended.stdout.len() == 99, "{told}");
    ensure!(told.contains("no key was accepted for ofs-wrong-key") && !told.contains("PerSourcePenalties"), "{told}");
    ensure!(by_ssh(fleet, "root")?.contains("let in"), "there is no ban");

    let begun = Instant::now();
    while !by_ssh(fleet, "ofs-wrong-key")?.contains("Not allowed at this time") {
        ensure!(begun.elapsed() < A_WHILE, "there is no ban");
    }
    let limited = ["--connect-timeout", "4s", "-w", "penalties", "--", "echo", "here"];
    let ended = on_hosts_within(fleet, &limited, BAN)?;
    let told = ended.stderr.join("\n");
    ensure!(
        ended.code == Some(4) && told.contains("penalties: unreachable: ssh.penalties: the server refuses"),
        "{told}"
    );
    ensure!(told.contains("PerSourcePenaltyExemptList"), "{told}");
    let limit = format!("{}s", BAN.as_secs());
    let ended =
        on_hosts_within(fleet, &["--connect-timeout", &limit, "-w", "penalties", "--", "echo", "here"], BAN * 2)?;
    let told = ended.stderr.join("\n");
    ensure!(ended.code == Some(0) && ended.stdout == ["penalties: here"], "{told}");
    let notes =
        ended.stderr.iter().filter(|line| line.contains("note: the server of ssh.penalties refuses this address"));
    ensure!(notes.count() == 1, "{told}");
    Ok(())
}

fn children(_: &Fleet) -> Result<()> {
    let mut times = Vec::new();
    for count in [250_u32, 500, 1000, 2000] {
        let time = block_on(async {
            let router = Router::new()?;
            let begun = Instant::now();
            let mut connects = JoinSet::new();
            for _ in 0..count {
                let connect = router.local().connect_timeout(Duration::from_secs(300));
                connects.spawn(connect.connect());
            }
            let mut contexts = Vec::new();
            while let Some(context) = connects.join_next().await {
                contexts.push(context??);
            }
            let time = begun.elapsed();
            router.shutdown().await;
            anyhow::Ok(time)
        })?;
        eprintln!("{count} children: {time:?}, {:?} each", time / count);
        times.push(time / count);
    }
    let (least, most) = (times.iter().min().context("times")?, times.iter().max().context("times")?);
    ensure!(most.as_secs_f64() <= least.as_secs_f64() * 1.6, "the time for each child: {times:?}");
    Ok(())
}
