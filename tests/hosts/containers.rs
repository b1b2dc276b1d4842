//! Containers by docker, podman, buildah and kubectl: real engines on the host `engines`, with containers that run,
//! are stopped or paused, can be written to or not, and have a shell or none.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::connect::{self, Connect};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;
use offshoot::{Context, Error};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::{CONNECT, Fleet};
use crate::functions::{double, surroundings};
use crate::stage::Stage;
use crate::support::tool::{run, tool};
use crate::support::{A_WHILE, ONE_SECOND, promised};
use crate::via::stream_error;

/// How many connect at once.
const CROWD: u32 = 20;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for hop in ["docker:app", "docker:ofs-user@app", "docker:app-user", "docker:readonly", "podman:app", "kubectl:web"]
    {
        trials.push((format!("containers: {hop} is visited from here"), Box::new(move |fleet| visit(fleet, &[], hop))));
    }
    for hop in
        ["docker:ofs-user@app", "podman:ofs-user@app", "buildah:app-work", "buildah:ofs-user@app-work", "kubectl:web"]
    {
        trials.push((
            format!("containers: {hop} is visited behind ssh"),
            Box::new(move |fleet| visit(fleet, &["engines"], hop)),
        ));
    }
    for hop in ["docker:app", "podman:app", "kubectl:web"] {
        trials.push((
            format!("containers: {hop} is visited by an ordinary user"),
            Box::new(move |fleet| visit(fleet, &["engines-user"], hop)),
        ));
    }
    for hop in ["docker:app", "podman:app"] {
        trials.push((
            format!("containers: {hop} is visited behind sudo"),
            Box::new(move |fleet| visit(fleet, &["engines-nopass", "sudo"], hop)),
        ));
    }
    for (way, hop) in [
        (&[][..], "docker:bare"),
        (&["engines"], "docker:bare-user"),
        (&["engines"], "docker:0@bare-user"),
        (&["engines-user"], "docker:2000:3000@bare"),
        (&["engines"], "podman:bare"),
        (&["engines"], "podman:1000@bare"),
        (&["engines"], "buildah:bare-work"),
        (&["engines-nopass", "sudo"], "docker:bare"),
        // Read-only, but for a volume or for what podman adds.
        (&["engines"], "docker:1000@bare-volume"),
        (&["engines"], "podman:bare-readonly"),
        (&["engines"], "podman:1000@bare-readonly"),
        // A shell and no more, or not enough.
        (&["engines"], "docker:fewer"),
        (&["engines"], "docker:1000@few"),
    ] {
        trials.push((
            format!("containers: {hop} is not enough for a first stage, and has a copy for a moment (by {way:?})"),
            Box::new(move |fleet| without_shell(fleet, way, hop)),
        ));
    }
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("containers: {name}"), Box::new(trial)));
    add("a temporary container goes when its context does", temporary);
    add("each way to fail is told apart, in words", failures);
    add("five hops lead through ssh, sudo, a container and su", chain);
    add("many connect through one context at once", at_once);
    add("the tool runs commands in them", by_tool);
    trials
}

/// A connect by way of another context, if there is one.
macro_rules! behind {
    ($connect:expr, $via:expr) => {
        match $via {
            Some(via) => $connect.via(via).connect().await,
            None => $connect.connect().await,
        }
    };
}

impl Stage<'_> {
    /// What lies at the end of hops, the last of which may be `ENGINE:USER@NAME`.
    async fn open(&self, way: &[&str], hop: &str) -> Result<Context, Error> {
        let mut via = None;
        for alias in way {
            via = Some(match *alias {
                "sudo" => {
                    let sudo = self.router.sudo().remote_name(&self.mark).connect_timeout(CONNECT);
                    behind!(sudo, via.as_ref())?
                }
                alias => behind!(self.fleet.ssh(&self.router, alias, &self.mark), via.as_ref())?,
            });
        }
        self.enter(via.as_ref(), hop).await
    }

    async fn enter(&self, via: Option<&Context>, hop: &str) -> Result<Context, Error> {
        let (engine, name) = hop.split_once(':').unwrap_or((hop, ""));
        let (user, name) = match name.split_once('@') {
            Some((user, name)) => (Some(user), name),
            None => (None, name),
        };
        let client = |name: &str| match via {
            Some(_) => name.to_owned(),
            None => self.fleet.engines.join(name).display().to_string(),
        };
        macro_rules! enter {
            ($method:ident, $path:ident) => {
                enter!($method, $path, |connect| connect)
            };
            ($method:ident, $path:ident, $user:expr) => {{
                let connect = self.router.$method(name).$path(client(stringify!($method)));
                let connect = connect.remote_name(&self.mark).connect_timeout(CONNECT);
                behind!($user(connect), via)
            }};
        }
        match engine {
            "docker" => enter!(docker, docker_path, |connect: Connect<connect::Docker>| match user {
                Some(user) => connect.username(user),
                None => connect,
            }),
            "podman" => enter!(podman, podman_path, |connect: Connect<connect::Podman>| match user {
                Some(user) => connect.username(user),
                None => connect,
            }),
            "buildah" => enter!(buildah, buildah_path, |connect: Connect<connect::Buildah>| match user {
                Some(user) => connect.username(user),
                None => connect,
            }),
            _ => enter!(kubectl, kubectl_path),
        }
    }
}

/// The child works, as that user, and so does one that it starts.
async fn works(stage: &Stage<'_>, context: &Context, is_root: bool) -> Result<()> {
    let facts = context.call(host_facts, ()).await?;
    ensure!((facts.uid == 0) == is_root, "{context} is {facts:?}");
    ensure!(context.call(double, (21,)).await? == 42, "{context} works");
    let (argv, environment) = context.call(surroundings, ()).await?;
    ensure!(argv[0] == format!("offshoot:{}", stage.mark), "{context} is called {argv:?}");
    ensure!(!environment.iter().any(|(_, value)| value.contains(".offshoot")), "{environment:?}");
    let output = context.shell("cat; exit 3").stdin("in").output().await?;
    ensure!(output.stdout == b"in" && output.exit.code == Some(3), "{output:?}");
    let below = stage.router.local().via(context).remote_name(&stage.mark).connect().await?;
    ensure!(below.call(double, (4,)).await? == 8, "{below} works");
    Ok(())
}

fn visit(fleet: &Fleet, way: &[&str], hop: &str) -> Result<()> {
    way.first().map(|alias| fleet.login(alias)).transpose()?;
    block_on(async {
        let stage = Stage::new(fleet)?;
        let there = stage.open(way, hop).await?;
        let name: Vec<&str> = hop.split([':', '@']).collect();
        let name = format!("{}.{}", name[0], name[name.len() - 1]);
        ensure!(there.name().ends_with(&name), "it is called {there}");
        works(&stage, &there, !hop.contains("user")).await?;
        ensure!(stage.trace.directories().is_empty(), "left: {:?}", stage.trace.directories());
        stage.end().await
    })
}

fn without_shell(fleet: &Fleet, way: &[&str], hop: &str) -> Result<()> {
    block_on(async {
        let mut stage = Stage::new(fleet)?;
        let there = stage.open(way, hop).await?;
        let facts = there.call(host_facts, ()).await?;
        let user = hop.rsplit_once('@').map(|(way, _)| way.split(':').nth(1).unwrap_or_default());
        let own = if hop.ends_with("-user") { "1000" } else { "0" };
        let uid: u32 = user.unwrap_or(own).parse()?;
        ensure!(facts.uid == uid, "{there} is {facts:?}");
        let (argv, environment) = there.call(surroundings, ()).await?;
        ensure!(argv[0] == format!("offshoot:{}", stage.mark), "{there} is called {argv:?}");
        ensure!(!environment.iter().any(|(_, value)| value.contains(".offshoot")), "{environment:?}");
        let below = stage.router.local().via(&there).remote_name(&stage.mark).connect().await?;
        ensure!(below.call(double, (4,)).await? == 8, "{below} works");
        ensure!(!stage.trace.look().is_empty(), "there is something to be seen");
        let swept = crate::support::wait_for(promised(A_WHILE), || stage.trace.directories().is_empty().then_some(()));
        swept.with_context(|| format!("while {there} is up there is {:?}", stage.trace.directories()))?;
        stage.end_within(A_WHILE).await
    })
}

/// How many containers of this image there are, in whatever state.
fn containers(fleet: &Fleet, image: &str) -> Result<usize> {
    let output = Command::new(fleet.engines.join("docker")).args(["ps", "--all", "--format={{.Image}}"]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().filter(|line| *line == image).count())
}

fn temporary(fleet: &Fleet) -> Result<()> {
    const IMAGE: &str = "busybox:temporary";
    block_on(async {
        let stage = Stage::new(fleet)?;
        let docker = fleet.engines.join("docker").display().to_string();
        let connect = |image: &str| {
            let docker = stage.router.docker_image(image).docker_path(&docker);
            docker.remote_name(&stage.mark).connect_timeout(CONNECT)
        };
        let there = connect(IMAGE).connect().await?;
        ensure!(there.name() == format!("docker.{IMAGE}"), "it is called {there}");
        works(&stage, &there, true).await?;
        let user = connect(IMAGE).username("ofs-user").connect().await?;
        works(&stage, &user, false).await?;
        ensure!(containers(fleet, IMAGE)? == 2, "there are two containers");
        let docker = stage.router.docker("").docker_path(&docker).remote_name(&stage.mark);
        let error = stream_error(docker.connect().await)?;
        ensure!(error.text == "docker needs the name of a container", "{error:?}");
        let error = stream_error(connect("nosuch").connect().await)?;
        ensure!(error.text.starts_with("no such image"), "{error:?}");
        stage.end().await
    })?;
    let gone = crate::support::wait_for(promised(A_WHILE), || (containers(fleet, IMAGE).ok()? == 0).then_some(()));
    gone.context("a container is left")
}

fn failures(fleet: &Fleet) -> Result<()> {
    use ConnectErrorKind::{Auth, NoPlace, Start, Unsupported};
    block_on(async {
        let stage = Stage::new(fleet)?;
        let ssh = async |alias: &str| stage.fleet.ssh(&stage.router, alias, &stage.mark).connect().await;
        let (here, other) = (ssh("engines").await?, ssh("engines-other").await?);
        for (way, hop, kind, says) in [
            (&here, "docker:nosuch", Start, "no such container"),
            (&here, "docker:stopped", Start, "the container is not running"),
            (&here, "docker:paused", Start, "the container is paused"),
            (&here, "docker:nobody2@app", Auth, "no such user in the container"),
            (&here, "docker:noexec", NoPlace, "/tmp does not allow execution"),
            (&other, "docker:app", Auth, "permission denied on the engine's socket"),
            (&here, "podman:nosuch", Start, "no such container"),
            (&here, "podman:stopped", Start, "the container is not running"),
            (&here, "podman:paused", Start, "the container is not running"),
            (&here, "podman:nobody2@app", Auth, "no such user in the container"),
            // Each user of podman has containers of its own.
            (&other, "podman:app", Start, "no such container"),
            (&here, "buildah:nosuch", Start, "no such container"),
            (&here, "buildah:nobody2@app-work", Auth, "no such user in the container"),
            (&here, "kubectl:nosuch", Start, "no such container"),
            (&here, "kubectl:done", Start, "the container is not running"),
            (&here, "kubectl:stopped", Start, "the container is not running"),
            (&here, "kubectl:bare", Unsupported, "there is no shell in the container"),
            (&here, "docker:crowded", Start, "sh: can't fork: Resource temporarily unavailable"),
            (&here, "docker:bare-readonly", NoPlace, "the container is read-only"),
        ] {
            let start = Instant::now();
            let error = stream_error(stage.enter(Some(way), hop).await).with_context(|| hop.to_owned())?;
            ensure!(error.kind == kind && error.text_with_advice().contains(says), "{hop} from {way}: {error:?}");
            ensure!(error.hop.starts_with(&format!("{way}.")), "{error:?}");
            ensure!(error.phase == Phase::Login || kind == NoPlace, "{error:?}");
            ensure!(start.elapsed() < promised(Duration::from_secs(5)), "{hop}: {:?}", start.elapsed());
        }
        let locked = stage.router.kubectl("web").kubectl_args(["-n", "locked"]).via(&here).connect().await;
        let locked = stream_error(locked)?;
        ensure!(locked.kind == Auth && locked.text.contains("the API server refuses"), "{locked:?}");
        ensure!(locked.hop == "ssh.engines.kubectl.web[-n locked]", "{locked:?}");
        let nowhere = stage.router.kubectl("web").kubectl_args(["-s", "http://127.0.0.9:1"]).via(&here).connect().await;
        let nowhere = stream_error(nowhere)?;
        ensure!(nowhere.kind == Start && nowhere.text.contains("the engine is not running"), "{nowhere:?}");
        let bare = ssh("bare").await?;
        let missing = stream_error(stage.router.docker("app").via(&bare).connect().await)?;
        let says = "Child start failed: [Errno 2] No such file or directory: docker";
        ensure!(missing.kind == Start && missing.text.starts_with(says), "{missing:?}");
        stage.end().await
    })
}

fn chain(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let container = stage.open(&["engines-nopass", "sudo"], "docker:app").await?;
        let su = stage.router.su().username("ofs-user").remote_name(&stage.mark).connect_timeout(CONNECT);
        let user = su.via(&container).connect().await?;
        works(&stage, &user, false).await?;
        let last = stage.router.local().via(&user).name("last").remote_name(&stage.mark).connect().await?;
        let name = "ssh.engines-nopass.sudo.root.docker.app.su.ofs-user.last";
        ensure!(last.name() == name, "it is called {last}");
        ensure!(last.call(double, (8,)).await? == 16, "{last} works");
        stage.end().await
    })
}

fn at_once(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::new(fleet)?;
        let here = stage.fleet.ssh(&stage.router, "engines", &stage.mark).connect().await?;
        let start = Instant::now();
        stage.enter(Some(&here), "docker:app").await?.shutdown().await;
        let one = start.elapsed();
        let start = Instant::now();
        let tasks = tokio_util::task::TaskTracker::new();
        let connect = || stage.router.docker("app").remote_name(&stage.mark).connect_timeout(CONNECT).via(&here);
        let connects: Vec<_> = (0..CROWD).map(|_| tasks.spawn(connect().connect())).collect();
        let mut all = Vec::new();
        for connect in connects {
            all.push(connect.await??);
        }
        let many = start.elapsed();
        ensure!(many < promised(one * CROWD * 3 / 4), "one took {one:?}, {CROWD} took {many:?}");
        for context in &all {
            ensure!(context.call(double, (1,)).await? == 2, "{context} works");
        }
        stage.end().await
    })
}

fn by_tool(fleet: &Fleet) -> Result<()> {
    let config = fleet.config.display().to_string();
    let hosts = "engines/docker:app,engines/docker:ofs-user@app,engines/podman:app,engines/buildah:app-work,\
        engines/kubectl:web,engines-nopass/sudo/docker:app";
    let (command, trace) = tool(&["run", "-F", &config, "-w", &hosts.replace(' ', ""), "--", "id", "-un"]);
    let (mut command, mut trace) = (command, trace.with_places(&fleet.places));
    let ended = run(&mut command)?;
    let mut lines = ended.stdout.clone();
    lines.sort();
    let expected = [
        "engines-nopass/sudo/docker:app: root",
        "engines/buildah:app-work: root",
        "engines/docker:app: root",
        "engines/docker:ofs-user@app: ofs-user",
        "engines/kubectl:web: root",
        "engines/podman:app: root",
    ];
    ensure!(ended.code == Some(0) && lines == expected, "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}
