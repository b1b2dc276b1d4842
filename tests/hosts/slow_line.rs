//! How many round trips a connect takes, counted by the time that it takes over a line whose round trips are long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::{Connect, Router, Ssh};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::double;
use crate::support::{ONE_SECOND, unique};

/// Long beside all that is not waiting for the line.
const ROUND_TRIP: Duration = Duration::from_millis(300);

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("over a slow line a login takes hardly longer than that of ssh, and a call one round trip", login);
    add("over a slow line a connect behind a login takes one round trip, also by a password", behind);
    trials
}

/// A server as it is seen over a long line.
struct Line {
    options: Vec<String>,
}

impl Line {
    /// Lets bytes through to the server of this host, each as late as the line is long.
    fn to(fleet: &Fleet, alias: &str) -> Result<Self> {
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
        // It ends with this process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
                if let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) {
                    carry(near, far);
                    carry(far_too, near_too);
                }
            }
        });
        Ok(Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() })
    }

    fn ssh(&self, fleet: &Fleet, router: &Router, alias: &str, mark: &str) -> Connect<Ssh> {
        fleet.ssh(router, alias, mark).ssh_args(self.options.clone())
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let (late, arrived) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from.read(&mut buffer) {
            let end = late.send((Instant::now() + ROUND_TRIP / 2, buffer[..count].to_vec())).is_err();
            if count == 0 || end {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arrived {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                break;
            }
        }
    });
}

/// So many round trips, and not one more: what is not waiting takes less than one.
fn expect(what: &str, time: Duration, round_trips: u32) -> Result<()> {
    eprintln!("{what}: {time:?} where a round trip takes {ROUND_TRIP:?}");
    ensure!(time < ROUND_TRIP * (round_trips + 1), "{what} takes {time:?}, more than {round_trips} of {ROUND_TRIP:?}");
    Ok(())
}

fn login(fleet: &Fleet) -> Result<()> {
    let line = Line::to(fleet, "here-user")?;
    let mark = unique();
    let mut trace = fleet.trace(&mark);
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(&fleet.config).args(&line.options).args(["here-user", "true"]).stdin(Stdio::null());
    let start = Instant::now();
    ensure!(ssh.status()?.success(), "ssh gets through");
    let alone = start.elapsed();
    block_on(async {
        let router = Router::new()?;
        // Packed before, so that what is measured is the line.
        fleet.ssh(&router, "here-user", &mark).connect().await?;
        let (mut connected, mut called) = (Duration::MAX, Duration::MAX);
        // A machine that is busy takes its time as well: the quickest counts.
        for _ in 0..3 {
            let start = Instant::now();
            let context = line.ssh(fleet, &router, "here-user", &mark).connect().await?;
            connected = connected.min(start.elapsed());
            let start = Instant::now();
            context.call(double, (1,)).await?;
            called = called.min(start.elapsed());
            if connected.saturating_sub(alone) < ROUND_TRIP * 5 / 2 {
                break;
            }
        }
        // An image that is larger than the window of ssh, two megabytes, takes one more; this one is.
        expect("a connect, beyond ssh", connected.saturating_sub(alone), 2)?;
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
        let line = Line::to(fleet, "asked")?;
        let user = line.ssh(fleet, &router, "asked", &mark).connect().await?;
        user.call(double, (1,)).await?;
        let password = fleet.password.as_str();
        let start = Instant::now();
        let child = router.local().remote_name(&mark).via(&user).connect().await?;
        expect("local", start.elapsed(), 1)?;
        // Numbers for those to come were on their way before they were asked for.
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
