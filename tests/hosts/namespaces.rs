//! `setns`: into containers of every kind that there is here, by their namespaces, and into one that trials
//! make themselves and can end at any moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::connect::{Connect, Setns, SetnsKind};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::{Context, Error};
use serde_json::Value;
use tempfile::TempDir;

use crate::OnHosts;
use crate::boxes::{by, expect};
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::{double, identity, live_alone, pid, surroundings};
use crate::stage::Stage;
use crate::support::process::{Process, below};
use crate::support::tool::{run, tool};
use crate::support::{ONE_SECOND, PATIENCE, THREE_SECONDS, promised, wait_for};
use crate::via::stream_error;

const ALL: [&str; 4] = ["lxc", "lxd", "incus", "machinectl"];

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("setns: {name}"), Box::new(trial)));
    add("it leads into containers of every kind, as root of theirs", every_kind);
    add("it leads into containers of docker and podman, also where there is no shell", docker_and_podman);
    add("it makes any user there, with all ids, groups and a home", any_user);
    add("each way to fail is told apart", failures);
    add("it works behind ssh, sudo and others, and others behind it", in_any_order);
    add("a command in front of the child runs in there", with_prefix);
    add("the image cannot be had by who is root in there", sealed);
    add("of any one process that is killed nothing is left, nor of a container that ends (alone)", killed);
    add("a child that detaches lives on in there (alone)", detached);
    add("a container that ends while it is entered is named", gone);
    add("it comes up within a tenth of a second", soon);
    add("doctor and run know it", by_tool);
    trials
}

fn setns(stage: &Stage<'_>, kind: &str, container: &str, via: &Context) -> Connect<Setns> {
    let kind = match kind {
        "docker" => SetnsKind::Docker,
        "podman" => SetnsKind::Podman,
        "lxc" => SetnsKind::Lxc,
        "lxd" => SetnsKind::Lxd,
        "incus" => SetnsKind::Incus,
        _ => SetnsKind::Machinectl,
    };
    by!(stage, stage.router.setns(container, kind), via)
}

fn every_kind(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &ALL)?;
        let host = stage.ssh("boxes").await?;
        for (kind, container) in
            [("lxc", "whole"), ("lxc", "mapped"), ("lxd", "plain"), ("incus", "plain"), ("machinectl", "box")]
        {
            let context = setns(&stage, kind, container, &host).connect().await;
            let context = context.with_context(|| format!("{kind} {container}"))?;
            ensure!(context.name() == format!("ssh.boxes.setns.{container}"), "it is called {context}");
            expect(&context, container).await?;
            let (uids, gids, groups, place) = context.call(identity, ()).await?;
            ensure!(uids == [0, 0, 0] && gids == [0, 0, 0] && groups == [0], "{kind}: {uids:?} {gids:?} {groups:?}");
            ensure!(place == "/root", "{kind}: in {place}");
            let (argv, environment) = context.call(surroundings, ()).await?;
            ensure!(argv[0] == format!("offshoot:{}", stage.mark), "it is called {argv:?}");
            let value = |name: &str| environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
            ensure!(value("HOME") == Some("/root") && value("SHELL") == Some("/bin/sh"), "{environment:?}");
            ensure!(value("USER") == Some("root") && value("LOGNAME") == Some("root"), "{environment:?}");
            ensure!(value("SSH_CONNECTION").is_none(), "{environment:?}");
            // A process of its pid namespace, where pids are small.
            ensure!(context.call(pid, ()).await? < 1000, "{kind}: it has another pid namespace");
        }
        stage.end().await
    })
}

fn docker_and_podman(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let host = stage.ssh("engines").await?;
        for (kind, container) in
            [("docker", "app"), ("docker", "bare"), ("docker", "readonly"), ("podman", "app"), ("podman", "bare")]
        {
            let mut ask = Command::new(fleet.engines.join(kind));
            let said = ask.args(["inspect", "--format", "{{.Config.Hostname}}", container]).output()?.stdout;
            let context = setns(&stage, kind, container, &host).connect().await;
            let context = context.with_context(|| format!("{kind} {container}"))?;
            expect(&context, String::from_utf8_lossy(&said).trim()).await?;
            let (uids, gids, groups, _) = context.call(identity, ()).await?;
            ensure!(uids == [0, 0, 0] && gids == [0, 0, 0] && groups == [0], "{kind}: {uids:?} {gids:?} {groups:?}");
        }
        let user = nix::unistd::User::from_name(&fleet.user)?.context("no such user")?;
        let other = setns(&stage, "docker", "app", &host).username(&fleet.user).connect().await?;
        let (uids, gids, _, place) = other.call(identity, ()).await?;
        ensure!(uids == [user.uid.as_raw(); 3] && gids == [user.gid.as_raw(); 3], "{uids:?} {gids:?}");
        ensure!(place == "/home/ofs-user", "in {place}");
        let error = stream_error(setns(&stage, "docker", "stopped", &host).connect().await)?;
        ensure!(error.text_with_advice() == "the container stopped is not running; start it", "{error}");
        let error = stream_error(setns(&stage, "docker", "no-such", &host).connect().await)?;
        ensure!(
            error.text_with_advice().contains("docker exitted with status 1")
                && error.text_with_advice().contains("No such object: no-such"),
            "{error}"
        );
        stage.end().await
    })
}

fn any_user(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &ALL)?;
        let host = stage.ssh("boxes").await?;
        for (kind, container) in [("lxc", "whole"), ("lxc", "mapped"), ("lxd", "plain"), ("machinectl", "box")] {
            let amy = setns(&stage, kind, container, &host).username("amy").connect().await?;
            expect(&amy, container).await?;
            let (uids, gids, mut groups, place) = amy.call(identity, ()).await?;
            groups.sort_unstable();
            ensure!(uids == [1000; 3] && gids == [1000; 3] && groups == [29, 44, 1000], "{kind}: {uids:?} {groups:?}");
            ensure!(place == "/home/amy", "{kind}: in {place}");
            let (_, environment) = amy.call(surroundings, ()).await?;
            for (name, value) in [("HOME", "/home/amy"), ("USER", "amy"), ("LOGNAME", "amy"), ("SHELL", "/bin/ash")] {
                ensure!(environment.contains(&(name.to_owned(), value.to_owned())), "{environment:?}");
            }
        }
        let lost = setns(&stage, "lxc", "whole", &host).username("lost").connect().await?;
        let (uids, _, _, place) = lost.call(identity, ()).await?;
        ensure!(uids == [1001; 3] && place == "/", "without a home one is in {place}");
        stage.end().await
    })
}

fn failures(fleet: &Fleet) -> Result<()> {
    use ConnectErrorKind::{Auth, Start};
    block_on(async {
        let stage = Stage::with(fleet, &ALL)?;
        let (host, user) = (stage.ssh("boxes").await?, stage.ssh("boxes-user").await?);
        let of = |kind: &str, container: &str| setns(&stage, kind, container, &host);
        for (error, kind, phase, words) in [
            (
                of("lxc", "none").connect().await,
                Start,
                Phase::Login,
                "lxc-info exitted with status 1: none doesn't exist",
            ),
            (of("lxd", "none").connect().await, Start, Phase::Login, "Instance not found"),
            (of("incus", "none").connect().await, Start, Phase::Login, "Instance not found"),
            (of("machinectl", "none").connect().await, Start, Phase::Login, "No machine 'none' known"),
            (of("lxc", "stopped").connect().await, Start, Phase::Login, "could not find PID from lxc-info output"),
            (of("lxd", "stopped").connect().await, Start, Phase::Login, "could not find PID from lxc output"),
            (of("incus", "stopped").connect().await, Start, Phase::Login, "STOPPED"),
            (of("lxc", "whole").username("bob").connect().await, Auth, Phase::Login, "no user bob in whole"),
            (
                of("lxc", "whole").lxc_info_path("/nonexistent/lxc-info").connect().await,
                Start,
                Phase::Login,
                "could not execute \"/nonexistent/lxc-info\": No such file",
            ),
            (
                of("docker", "x").docker_path("false").connect().await,
                Start,
                Phase::Login,
                "false exitted with status 1",
            ),
            (
                of("docker", "x").docker_path("echo").connect().await,
                Start,
                Phase::Login,
                "could not find PID from echo output (inspect --format={{.State.Pid}} x)",
            ),
            (
                setns(&stage, "lxc", "whole", &user).connect().await,
                Auth,
                Phase::Login,
                "setns needs root; become root first",
            ),
        ] {
            let error = stream_error(error).context(words)?;
            ensure!((error.kind, error.phase) == (kind, phase), "{error:?}");
            ensure!(error.text_with_advice().contains(words), "{words:?} is not in {error}");
            ensure!(error.hop.starts_with("ssh.boxes") && error.hop.contains(".setns."), "{error:?}");
        }
        stage.end().await
    })
}

fn in_any_order(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &ALL)?;
        let user = stage.ssh("boxes-user").await?;
        let local = by!(stage, stage.router.local(), &user).connect().await?;
        let root = by!(stage, stage.router.sudo(), &local).connect().await?;
        let inside = setns(&stage, "lxd", "plain", &root).connect().await?;
        ensure!(inside.name().ends_with(".sudo.root.setns.plain"), "it is called {inside}");
        expect(&inside, "plain").await?;
        let deeper = by!(stage, stage.router.local(), &inside).connect().await?;
        expect(&deeper, "plain").await?;
        // By sudo the image is that of root's child, which has no file.
        let here = stage.ssh("here").await?;
        let host = fleet.ssh(&stage.router, "boxes", &stage.mark).via(&here).connect().await?;
        let many = (0..4).map(|_| setns(&stage, "lxc", "mapped", &host).username("amy").connect());
        for context in futures_of(many).await {
            expect(&context?, "mapped").await?;
        }
        stage.end().await
    })
}

/// All of them at the same time.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

fn with_prefix(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &["lxc"])?;
        let host = stage.ssh("boxes").await?;
        let connect = setns(&stage, "lxc", "mapped", &host).username("amy").exec_prefix(["env", "OFS_PREFIX=yes"]);
        let context = connect.connect().await?;
        expect(&context, "mapped").await?;
        let (_, environment) = context.call(surroundings, ()).await?;
        ensure!(environment.contains(&("OFS_PREFIX".into(), "yes".into())), "{environment:?}");
        let error = setns(&stage, "lxc", "whole", &host).exec_prefix(["/nonexistent"]).connect().await;
        let error = stream_error(error)?;
        ensure!(error.text_with_advice().contains("cannot execute /nonexistent in whole: No such file"), "{error}");
        stage.end().await
    })
}

/// A container of this machine that consists only of namespaces, and a client that knows it.
struct Handmade {
    unshare: Child,
    directory: TempDir,
}

impl Handmade {
    fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ofs-test").tempdir()?;
        let ready = directory.path().join("ready");
        let script = format!("hostname handmade; : >{}; exec sleep 100000", ready.display());
        let mut command = Command::new("unshare");
        command.args(["--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let unshare = command.args(["sh", "-c", &script]).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut handmade = Self { unshare, directory };
        wait_for(PATIENCE, || ready.exists().then_some(())).context("there is no container")?;
        let pid = handmade.leader().context("no first process")?;
        handmade.says(&format!("echo {pid}"))?;
        Ok(handmade)
    }

    fn leader(&mut self) -> Option<i32> {
        let all = Process::all();
        let unshare = i32::try_from(self.unshare.id()).ok()?;
        all.iter().find(|process| process.parent == unshare).map(|process| process.pid)
    }

    fn client(&self) -> String {
        self.directory.path().join("docker").display().to_string()
    }

    /// Sets what the client does when it is asked.
    fn says(&self, line: &str) -> Result<()> {
        let client = self.directory.path().join("docker");
        fs::write(&client, format!("#!/bin/sh\n{line}\n"))?;
        Ok(fs::set_permissions(&client, fs::Permissions::from_mode(0o755))?)
    }

    fn connect(&self, stage: &Stage<'_>) -> Connect<Setns> {
        stage.router.setns("handmade", SetnsKind::Docker).docker_path(self.client()).remote_name(&stage.mark)
    }
}

impl Drop for Handmade {
    fn drop(&mut self) {
        // Kills everything in it too.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn sealed(fleet: &Fleet) -> Result<()> {
    let handmade = Handmade::start()?;
    block_on(async {
        let mut stage = Stage::new(fleet)?;
        let context = handmade.connect(&stage).connect().await?;
        expect(&context, "handmade").await?;
        let inside = child_of(&mut stage)?;
        let image = format!("/proc/{}/exe", inside.pid);
        let name = fs::read_link(&image)?.display().to_string();
        ensure!(name.starts_with("/memfd:offshoot"), "it is {name}");
        // Something that can be opened after its end, by a process that has kept it open.
        let kept = fs::File::open(&image)?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
        context.shutdown().await;
        let copy = fs::OpenOptions::new().write(true).open(Path::new(&path));
        let written = copy.and_then(|mut copy| std::io::Write::write_all(&mut copy, b"x"));
        ensure!(written.is_err(), "the image can be written to");
        stage.end().await
    })
}

/// The two processes after entering: the one that waits outside, and the one inside.
fn pair_of(stage: &mut Stage<'_>) -> Result<(Process, Process)> {
    let own = i32::try_from(std::process::id())?;
    wait_for(PATIENCE, || {
        let all = stage.trace.look();
        let outside = all.iter().find(|process| process.parent == own && process.is_context(&stage.mark))?;
        let inside = below(outside.pid, &all).into_iter().find(|process| process.is_context(&stage.mark))?;
        Some((outside.clone(), inside.clone()))
    })
    .context("there are no two processes")
}

fn child_of(stage: &mut Stage<'_>) -> Result<Process> {
    pair_of(stage).map(|(_, inside)| inside)
}

fn killed(fleet: &Fleet) -> Result<()> {
    block_on(async {
        for victim in ["who waits", "the child", "the container"] {
            let mut handmade = Handmade::start()?;
            let mut stage = Stage::new(fleet)?;
            let context = handmade.connect(&stage).connect().await?;
            ensure!(context.call(double, (1,)).await? == 2, "it works");
            let (outside, inside) = pair_of(&mut stage)?;
            match victim {
                "who waits" => outside.signal(Signal::SIGKILL)?,
                "the child" => inside.signal(Signal::SIGKILL)?,
                _ => kill(Pid::from_raw(handmade.leader().context("it runs")?), Signal::SIGKILL)?,
            }
            // It may take a moment until all of them have ended.
            let limit = Instant::now() + promised(THREE_SECONDS);
            while context.timeout(promised(THREE_SECONDS)).call(double, (1,)).await.is_ok() {
                ensure!(Instant::now() < limit, "{victim}: the child lives on");
            }
            let lost = context.call(double, (1,)).await;
            ensure!(matches!(lost, Err(Error::Channel(_))), "{victim}: {lost:?}");
            stage.trace.expect_nothing_left(THREE_SECONDS).context(victim)?;
            let zombies = Process::all().into_iter().filter(|process| process.pid == outside.pid).count();
            ensure!(zombies == 0, "{victim}: who waits was not reaped");
            stage.end().await?;
        }
        // The context that starts it: here a child of its own.
        let handmade = Handmade::start()?;
        let mut stage = Stage::new(fleet)?;
        let local = stage.router.local().remote_name(&stage.mark).connect().await?;
        let inside = handmade.connect(&stage).via(&local).connect().await?;
        ensure!(inside.call(double, (1,)).await? == 2, "it works");
        let parent = i32::try_from(local.call(pid, ()).await?)?;
        stage.trace.look();
        kill(Pid::from_raw(parent), Signal::SIGKILL)?;
        stage.trace.expect_nothing_left(THREE_SECONDS).context("the one who starts it")?;
        // A client that does not answer, and is given up.
        handmade.says("sleep 100000; echo 1")?;
        let connect = handmade.connect(&stage).connect_timeout(Duration::from_millis(300));
        let error = stream_error(connect.connect().await)?;
        ensure!((error.kind, error.phase) == (ConnectErrorKind::Timeout, Phase::Login), "{error:?}");
        stage.trace.expect_nothing_left(THREE_SECONDS).context("a client that does not answer")?;
        stage.end().await
    })
}

fn detached(fleet: &Fleet) -> Result<()> {
    let handmade = Handmade::start()?;
    block_on(async {
        let mut stage = Stage::new(fleet)?;
        let context = handmade.connect(&stage).connect().await?;
        let (outside, inside) = pair_of(&mut stage)?;
        let stop = handmade.directory.path().join("stop");
        let lost = context.call(live_alone, (stop.display().to_string(),)).await;
        ensure!(matches!(lost, Err(Error::Channel(_))), "it has left the tree: {lost:?}");
        let lives = |process: &Process| Process::of(process.pid).is_some_and(|now| now.started == process.started);
        ensure!(lives(&inside), "the child has ended");
        fs::write(&stop, "")?;
        // A process that waits for it ends with it.
        let gone = wait_for(promised(THREE_SECONDS), || (!lives(&inside) && !lives(&outside)).then_some(()));
        gone.context("one of them lives on")?;
        stage.end().await
    })
}

fn gone(fleet: &Fleet) -> Result<()> {
    let mut handmade = Handmade::start()?;
    block_on(async {
        let stage = Stage::new(fleet)?;
        let leader = handmade.leader().context("it runs")?;
        handmade.says("echo 0")?;
        let error = stream_error(handmade.connect(&stage).connect().await)?;
        ensure!(error.text_with_advice() == "the container handmade is not running; start it", "{error}");
        ensure!(error.hop == "setns.handmade", "{error:?}");
        // It ends between the answer and the entry.
        handmade.says(&format!("kill -9 {leader}; while [ -e /proc/{leader}/root/. ]; do :; done; echo {leader}"))?;
        let error = stream_error(handmade.connect(&stage).connect().await)?;
        ensure!(error.text_with_advice().contains("the container handmade has gone: its first process"), "{error}");
        stage.end().await
    })
}

fn soon(fleet: &Fleet) -> Result<()> {
    let handmade = Handmade::start()?;
    block_on(async {
        let stage = Stage::new(fleet)?;
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let context = handmade.connect(&stage).connect().await?;
            context.call(double, (1,)).await?;
            best = best.min(start.elapsed());
        }
        eprintln!("setns: connect and first call in {best:?}");
        ensure!(best < promised(Duration::from_millis(100)), "it takes {best:?}");
        stage.end().await
    })
}

fn by_tool(fleet: &Fleet) -> Result<()> {
    Stage::with(fleet, &ALL)?;
    let config = fleet.config.display().to_string();
    let hosts = "boxes-user/sudo/setns:amy@lxc:mapped,boxes/setns:machinectl:box";
    let (mut command, trace) = tool(&["run", "-F", &config, "-w", hosts, "-s", "echo $(id -un) in $(hostname)"]);
    let mut trace = trace.with_places(&fleet.places);
    let mut ended = run(&mut command)?;
    ended.stdout.sort();
    let expected = ["boxes-user/sudo/setns:amy@lxc:mapped: amy in mapped", "boxes/setns:machinectl:box: root in box"];
    ensure!(ended.code == Some(0) && ended.stdout == expected, "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)?;
    for (host, got, advice) in [
        ("boxes/setns:lxc:none", "none doesn't exist", "is there such a container?"),
        ("boxes/setns:lxd:stopped", "STOPPED", "is the container running?"),
        ("boxes/setns:bob@lxc:whole", "no user bob in whole", "/etc/passwd has the names"),
        ("boxes-user/setns:lxc:whole", "setns needs root", "become root first, by sudo"),
        ("boxes/setns:docker:none", "docker", ""),
    ] {
        let (mut command, mut trace) = tool(&["doctor", "--json", "-F", &config, host]);
        let ended = run(&mut command)?;
        let document: Value = serde_json::from_str(&ended.stdout.concat()).with_context(|| format!("{ended:?}"))?;
        let steps = document["hops"].as_array().and_then(|hops| hops.last()).context("a hop")?["steps"].clone();
        let failed =
            steps.as_array().into_iter().flatten().find(|step| step["status"] == "failed").context("a fault")?;
        let has = |name: &str, part: &str| failed[name].as_str().is_some_and(|text| text.contains(part));
        ensure!(failed["step"] == "login" && has("got", got) && has("do", advice), "{host}: {failed}");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    Ok(())
}
