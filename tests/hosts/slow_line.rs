//! The number of round trips of a connect, measured in two ways: by the time that it takes over a connection
//! with a long delay, and by counting what crosses a connection. And a connection that carries nothing any more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::Router;
use offshoot::connect::{Connect, Ssh};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::kept::Tidy;
use crate::support::tool::{Running, tool};
use crate::support::{A_WHILE, ONE_SECOND, PATIENCE, unique};

/// The delay. It is long compared with everything that is not waiting for the connection.
const ROUND_TRIP: Duration = Duration::from_millis(300);
/// The delay where round trips are counted, so a busy machine does not matter.
const COUNTED: Duration = Duration::from_millis(50);
/// The bytes that an ssh server accepts unread. So many bytes of an image travel without waiting.
const SSH_WINDOW: u64 = 2 << 20;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("over a slow line a login takes hardly longer than that of ssh, and a call one round trip", login);
    add("over a slow line a connect behind a login takes one round trip, also by a password", behind);
    add("a network that has died is noticed by ssh", dead);
    add("over a narrow line text is packed in both directions", packed);
    add("over a line of 50 ms every connect takes as many round trips as are promised", counted);
    trials
}

/// A server that is reached over a slow connection.
struct Line {
    options: Vec<String>,
    seen: Arc<Seen>,
}

/// A record of what has crossed the connection. Sent data may answer all data that has arrived at its sender.
/// So each end knows the largest number of consecutive round trips before its data.
#[derive(Default)]
struct Seen {
    /// At the near end and at the far end.
    known: Mutex<[u32; 2]>,
    /// The bytes from the near end, and those from the far end.
    up: AtomicU64,
    down: AtomicU64,
    /// The pieces that have not arrived.
    under_way: AtomicU64,
    /// Whether pieces are lost, and neither end is told.
    is_dead: AtomicBool,
    /// The ends of all connections.
    ends: Mutex<Vec<TcpStream>>,
}

impl Seen {
    /// A piece leaves end 0 or 1. It carries the number of round trips that are known there.
    fn leaves(&self, end: usize, bytes: usize) -> u32 {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        if end == 0 { &self.up } else { &self.down }.fetch_add(bytes as u64, Ordering::SeqCst);
        // A round trip begins with data from the near end.
        self.known.lock().map_or(0, |known| if end == 0 { known[0] + 1 } else { known[1] })
    }

    fn arrives(&self, end: usize, round_trips: u32) {
        if let Ok(mut known) = self.known.lock() {
            known[end] = known[end].max(round_trips);
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Line {
    /// Passes bytes to the server of this host, each with the delay.
    fn to(fleet: &Fleet, alias: &str, round_trip: Duration) -> Result<Self> {
        Self::with(fleet, alias, round_trip, None)
    }

    /// Passes so many bytes in a second, without a delay.
    fn narrow(fleet: &Fleet, alias: &str, rate: f64) -> Result<Self> {
        Self::with(fleet, alias, Duration::ZERO, Some(rate))
    }

    fn with(fleet: &Fleet, alias: &str, round_trip: Duration, rate: Option<f64>) -> Result<Self> {
        let said = Command::new("ssh").arg("-G").arg("-F").arg(&fleet.config).arg(alias).output()?.stdout;
        let said = String::from_utf8(said)?;
        let value = |name: &str| {
            said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).with_context(|| name.to_owned())
        };
        let server = format!("{}:{}", value("hostname")?, value("port")?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let options = [
            "HostName=127.0.0.1".to_owned(),
            format!("Port={}", listener.local_addr()?.port()),
            format!("HostKeyAlias=[{}]:{}", value("hostname")?, value("port")?),
        ];
        let seen = Arc::<Seen>::default();
        let sees = Arc::clone(&seen);
        // It ends with this process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
                if let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) {
                    if let (Ok(mut ends), Ok(near), Ok(far)) = (sees.ends.lock(), near.try_clone(), far.try_clone()) {
                        ends.extend([near, far]);
                    }
                    carry(near, far, 0, (round_trip / 2, rate), &sees);
                    carry(far_too, near_too, 1, (round_trip / 2, rate), &sees);
                }
            }
        });
        Ok(Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect(), seen })
    }

    /// Returns the number of consecutive round trips, the bytes sent, and the result. Data that only happens
    /// to come in between, such as more room for an image, is counted as well. So if the number is above the
    /// promised one, the smallest of three attempts counts.
    async fn count<T>(&self, promised: u32, mut what: impl AsyncFnMut() -> Result<T>) -> Result<(u32, u64, T)> {
        let mut least: Option<(u32, u64, T)> = None;
        for _ in 0..3 {
            self.quiet().await?;
            let known = || self.seen.known.lock().map(|known| known[0]).unwrap_or_default();
            let (before, up) = (known(), self.seen.up.load(Ordering::SeqCst));
            let result = what().await?;
            let (count, bytes) = (known() - before, self.seen.up.load(Ordering::SeqCst) - up);
            if least.as_ref().is_none_or(|(least, ..)| count < *least) {
                least = Some((count, bytes, result));
            }
            if count <= promised {
                break;
            }
        }
        least.context("a count")
    }

    /// Loses all that comes from now on.
    fn dies(&self) {
        self.seen.is_dead.store(true, Ordering::SeqCst);
    }

    /// Ends all connections, as a host does that has come back.
    fn is_cut(&self) {
        for end in self.seen.ends.lock().iter().flat_map(|ends| ends.iter()) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Waits until nothing is under way, and no answer either.
    async fn quiet(&self) -> Result<()> {
        let (mut since, limit) = (Instant::now(), Instant::now() + Duration::from_secs(20));
        while since.elapsed() < COUNTED {
            if self.seen.under_way.load(Ordering::SeqCst) > 0 {
                since = Instant::now();
            }
            ensure!(Instant::now() < limit, "the line is never quiet");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn ssh(&self, fleet: &Fleet, router: &Router, alias: &str, mark: &str) -> Connect<Ssh> {
        fleet.ssh(router, alias, mark).ssh_args(self.options.clone())
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, end: usize, (late, rate): (Duration, Option<f64>), seen: &Arc<Seen>) {
    let (sent, arrived) = channel::<(Instant, Vec<u8>, u32)>();
    let sees = Arc::clone(seen);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from.read(&mut buffer) {
            let round_trips = sees.leaves(end, count);
            let ended = sent.send((Instant::now() + late, buffer[..count].to_vec(), round_trips)).is_err();
            if count == 0 || ended {
                break;
            }
            // The sender waits as well, once the buffers of the system are full.
            if let Some(rate) = rate {
                thread::sleep(Duration::from_secs_f64(count as f64 / rate));
            }
        }
    });
    let sees = Arc::clone(seen);
    thread::spawn(move || {
        let mut open = true;
        for (due, bytes, round_trips) in arrived {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            sees.arrives(1 - end, round_trips);
            if open && !sees.is_dead.load(Ordering::SeqCst) && (bytes.is_empty() || to.write_all(&bytes).is_err()) {
                let _ = to.shutdown(Shutdown::Write);
                open = false;
            }
        }
    });
}

/// Asserts exactly this number of round trips: everything else takes less than one.
fn expect(what: &str, time: Duration, round_trips: u32) -> Result<()> {
    eprintln!("{what}: {time:?} where a round trip takes {ROUND_TRIP:?}");
    ensure!(time < ROUND_TRIP * (round_trips + 1), "{what} takes {time:?}, more than {round_trips} of {ROUND_TRIP:?}");
    Ok(())
}

fn login(fleet: &Fleet) -> Result<()> {
    let line = Line::to(fleet, "here-user", ROUND_TRIP)?;
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(&fleet.config).args(&line.options).args(["here-user", "true"]).stdin(Stdio::null());
    let start = Instant::now();
    ensure!(ssh.status()?.success(), "ssh gets through");
    let alone = start.elapsed();
    block_on(async {
        let router = Router::new()?;
        // Packed before, so that only the connection is measured.
        fleet.ssh(&router, "here-user", &mark).connect().await?;
        let (mut connected, mut called) = (Duration::MAX, Duration::MAX);
        // A busy machine needs time as well, so the fastest attempt counts.
        let mut windows = 0;
        for _ in 0..3 {
            let before = line.seen.up.load(Ordering::SeqCst);
            let start = Instant::now();
            let context = line.ssh(fleet, &router, "here-user", &mark).connect().await?;
            connected = connected.min(start.elapsed());
            windows = ((line.seen.up.load(Ordering::SeqCst) - before) / SSH_WINDOW) as u32;
            let start = Instant::now();
            context.call(double, (1,)).await?;
            called = called.min(start.elapsed());
            if connected.saturating_sub(alone) < ROUND_TRIP * (2 * windows + 3) / 2 {
                break;
            }
        }
        // An image larger than the window of ssh takes one more for each window. This image is larger.
        ensure!(windows > 0, "the image fits the window of ssh");
        expect("a connect, beyond ssh", connected.saturating_sub(alone), 1 + windows)?;
        expect("the first call", called, 1)?;
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn behind(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    block_on(async {
        let router = Router::new()?;
        let line = Line::to(fleet, "asked", ROUND_TRIP)?;
        let user = line.ssh(fleet, &router, "asked", &mark).connect().await?;
        user.call(double, (1,)).await?;
        let password = fleet.password.as_str();
        let start = Instant::now();
        let child = router.local().remote_name(&mark).via(&user).connect().await?;
        expect("local", start.elapsed(), 1)?;
        // Ids for further children were sent before they were requested.
        let start = Instant::now();
        let grandchild = router.local().remote_name(&mark).via(&child).connect().await?;
        expect("local behind that", start.elapsed(), 1)?;
        let start = Instant::now();
        let root = router.sudo().password(password).remote_name(&mark).via(&user).connect().await?;
        expect("sudo by a password", start.elapsed(), 1)?;
        for context in [child, grandchild, root] {
            let start = Instant::now();
            context.call(double, (1,)).await?;
            expect("a call", start.elapsed(), 1)?;
        }
        router.shutdown().await;
        Ok(())
    })?;
    trace.expect_nothing_left(ONE_SECOND)
}

fn dead(fleet: &Fleet) -> Result<()> {
    const INTERVAL: Duration = Duration::from_secs(1);
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let line = Line::to(fleet, "here-user", Duration::ZERO)?;
    block_on(async {
        let router = Router::new()?;
        let context = line.ssh(fleet, &router, "here-user", &mark).keepalive(INTERVAL, 3).connect().await?;
        context.call(double, (1,)).await?;
        line.dies();
        let start = Instant::now();
        let lost = context.call(double, (1,)).await.err().context("no answer can come")?;
        let took = start.elapsed();
        ensure!(lost.is_disconnected(), "{lost:?}");
        // A question goes out each second. After three without an answer ssh gives up when the next one is due.
        ensure!(took > 2 * INTERVAL && took < 4 * INTERVAL + ONE_SECOND, "it was noticed after {took:?}");
        ensure!(router.children().is_empty(), "{:?}", router.children());
        router.shutdown().await;
        Ok(())
    })?;
    line.is_cut();
    trace.expect_nothing_left(ONE_SECOND)
}

fn packed(fleet: &Fleet) -> Result<()> {
    const SIZE: usize = 4 << 20;
    let line = Line::narrow(fleet, "here-user", f64::from(4 << 20))?;
    let here = tempfile::tempdir()?;
    let text: Vec<u8> = (0..).flat_map(|number: u32| format!("line {number}\n").into_bytes()).take(SIZE).collect();
    std::fs::write(here.path().join("text"), &text)?;
    let config = here.path().join("config");
    let config = config.to_str().context("a path")?;
    let options: Vec<&str> = line.options.iter().map(String::as_str).filter(|option| *option != "-o").collect();
    std::fs::write(config, format!("Host here-user\n{}\nInclude {}\n", options.join("\n"), fleet.config.display()))?;
    let there = format!("/tmp/offshoot-narrow-{}", unique());
    let run = |words: &[&str]| -> Result<(u64, u64)> {
        let crossed = || (line.seen.up.load(Ordering::SeqCst), line.seen.down.load(Ordering::SeqCst));
        let before = crossed();
        let words = [&words[..1], &["-F", config, "-w", "here-user"], &words[1..]].concat();
        let (mut command, mut trace) = tool(&words);
        let ended = Running::start(command.current_dir(&here))?.finish_within(4 * PATIENCE)?;
        ensure!(ended.code == Some(0), "{words:?}: {ended:?}");
        trace.expect_nothing_left(A_WHILE)?;
        Ok((crossed().0 - before.0, crossed().1 - before.1))
    };
    // The image crosses the line each time.
    let (image, _) = run(&["run", "--", "true"])?;
    let (up, _) = run(&["push", "text", &there])?;
    let (_, down) = run(&["pull", &there, "back"])?;
    run(&["run", "--", "rm", &there])?;
    let up = up.saturating_sub(image);
    eprintln!("{SIZE} bytes of text: {up} bytes up, {down} bytes down");
    // It is packed to about a third. ssh and sshd take some of it before anybody waits.
    ensure!(up < SIZE as u64 * 2 / 3 && down < SIZE as u64 * 2 / 3, "{up} bytes up, {down} bytes down");
    let name = std::path::Path::new(&there).file_name().context("a name")?;
    ensure!(std::fs::read(here.path().join("back/here-user").join(name))? == text, "it is another text");
    Ok(())
}

fn counted(fleet: &Fleet) -> Result<()> {
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let binary = fleet.homes.join("ofs-user").join(&mark);
    let tidy = Tidy(binary.clone());
    ensure!(Command::new("cp").args([&std::env::current_exe()?, &binary]).status()?.success(), "cp");
    let line = Line::to(fleet, "here-user", COUNTED)?;
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.arg("-F").arg(&fleet.config).args(&line.options).args(["here-user", "true"]).stdin(Stdio::null());
    let mut table = Table::default();
    block_on(async {
        let router = Router::new()?;
        // Packed before, as above.
        fleet.ssh(&router, "here-user", &mark).connect().await?;
        let (login, ..) = line
            .count(0, async || {
                ensure!(ssh.status().await?.success(), "ssh gets through");
                Ok(())
            })
            .await?;
        table.add("ssh true", login, login);
        // At the moment when ssh learns of the end of `true`, it learns of the child.
        let installed = || line.ssh(fleet, &router, "here-user", &mark).binary(binary.display().to_string());
        let (count, _, there) = line.count(login, async || Ok(installed().connect().await?)).await?;
        table.add("ssh, an image that is there", count, login);
        let (count, ..) = line.count(1, async || Ok(there.call(double, (1,)).await?)).await?;
        table.add("a call", count, 1);
        // A delay that is long compared with the time for an image, however fast the connection is.
        let long = Line::to(fleet, "here-user", ROUND_TRIP)?;
        let sent = || long.ssh(fleet, &router, "here-user", &mark);
        let (count, bytes, _) = long.count(login + 2, async || Ok(sent().connect().await?)).await?;
        let windows = u32::try_from(bytes / SSH_WINDOW)?;
        table.add(&format!("ssh, with an upload of {bytes} bytes"), count, login + 1 + windows);

        let local = || router.local().remote_name(&mark).via(&there);
        let (count, ..) = line.count(1, async || Ok(local().connect().await?)).await?;
        table.add("local behind it", count, 1);
        let further = || crate::fleet::ssh(&router, "here", &fleet.user_config, &mark).via(&there);
        let (count, ..) = line.count(1, async || Ok(further().connect().await?)).await?;
        table.add("ssh behind it, with an upload from there", count, 1);

        for (alias, password) in [("nopass", None), ("asked", Some(&fleet.password))] {
            let line = Line::to(fleet, alias, COUNTED)?;
            let user = line.ssh(fleet, &router, alias, &mark).connect().await?;
            for (to, direct) in [("root", true), ("root", false), ("ofs-bash", false)] {
                let sudo = || {
                    let sudo = router.sudo().username(to).direct(direct).remote_name(&mark).via(&user);
                    match password {
                        Some(password) => sudo.password(password.as_str()),
                        None => sudo,
                    }
                };
                let (count, ..) = line.count(1, async || Ok(sudo().connect().await?)).await?;
                let with = if password.is_some() { "by a password" } else { "without a password" };
                let sent = if direct { "" } else { ", with an upload from there" };
                table.add(&format!("sudo behind it to {to}, {with}{sent}"), count, 1);
            }
        }
        router.shutdown().await;
        anyhow::Ok(())
    })?;
    drop(tidy);
    trace.expect_nothing_left(ONE_SECOND)?;
    table.is_as_promised()
}

/// The counted number, next to the promised one.
#[derive(Default)]
struct Table(Vec<(String, u32, u32)>);

impl Table {
    fn add(&mut self, what: &str, count: u32, promised: u32) {
        eprintln!("round trips: {count} of {promised} for {what}");
        self.0.push((what.to_owned(), count, promised));
    }

    fn is_as_promised(&self) -> Result<()> {
        let off = self.0.iter().filter(|(_, count, promised)| count != promised);
        let off: Vec<String> = off.map(|(what, count, promised)| format!("{what}: {count}, not {promised}")).collect();
        ensure!(off.is_empty(), "round trips: {}", off.join("; "));
        Ok(())
    }
}
