//! Containers of LXC, LXD and Incus by their clients, on a host that has them, and a program in place of
//! jexec.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context as _, Result, ensure};
use offshoot::connect::{Connect, Incus, Lxc, Lxd};
use offshoot::error::{ConnectErrorKind, Phase};
use offshoot::facts::host_facts;
use offshoot::{Context, Error};

use crate::OnHosts;
use crate::controller::block_on;
use crate::fleet::Fleet;
use crate::functions::{double, surroundings};
use crate::stage::Stage;
use crate::support::tool::{run, tool};
use crate::support::{Missing, ONE_SECOND};
use crate::via::stream_error;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add =
        |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((format!("boxes: {name}"), Box::new(trial)));
    add("lxc, lxd and incus lead into their containers", into_containers);
    add("what lxc, lxd and incus complain of is told apart", failures);
    add("an end without a reason comes with the hint of old", hint);
    add("containers are reached through two hosts, and users are changed there", in_between);
    add("jail runs jexec with what it wants", jail);
    add("the tool reaches containers by hops", by_tool);
    add("a step in a job of slurm is a hop like any other", by_slurm);
    trials
}

/// A connect of this stage, made by another context.
macro_rules! by {
    ($stage:expr, $connect:expr, $via:expr) => {
        $connect.remote_name(&$stage.mark).connect_timeout($crate::fleet::CONNECT).via($via)
    };
}
pub(crate) use by;

impl<'a> Stage<'a> {
    /// `engines`: the engines that must be up.
    pub(crate) fn with(fleet: &'a Fleet, engines: &[&str]) -> Result<Self> {
        for engine in engines {
            if !fleet.boxes.split_whitespace().any(|up| up == *engine) {
                return Err(Missing(format!("{engine} is not there, or did not come up: see scripts/hosts up")).into());
            }
        }
        Self::new(fleet)
    }

    fn lxc(&self, name: &str, via: &Context) -> Connect<Lxc> {
        by!(self, self.router.lxc(name), via)
    }

    fn lxd(&self, name: &str, via: &Context) -> Connect<Lxd> {
        by!(self, self.router.lxd(name), via)
    }

    fn incus(&self, name: &str, via: &Context) -> Connect<Incus> {
        by!(self, self.router.incus(name), via)
    }
}

/// Checks that the child works, and that it is in this container.
pub(crate) async fn expect(context: &Context, container: &str) -> Result<()> {
    let facts = context.call(host_facts, ()).await.with_context(|| context.to_string())?;
    ensure!(facts.hostname == container, "{context} is not in {container}: {facts:?}");
    ensure!(context.call(double, (21,)).await? == 42, "{context} works");
    Ok(())
}

fn into_containers(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &["lxc", "lxd", "incus"])?;
        let host = stage.ssh("boxes").await?;
        let (whole, mapped, lxd, incus) = tokio::join!(
            stage.lxc("whole", &host).connect(),
            stage.lxc("mapped", &host).connect(),
            stage.lxd("plain", &host).connect(),
            stage.incus("plain", &host).connect(),
        );
        for (context, method, container) in
            [(whole, "lxc", "whole"), (mapped, "lxc", "mapped"), (lxd, "lxd", "plain"), (incus, "incus", "plain")]
        {
            let context = context.with_context(|| format!("{method} {container}"))?;
            ensure!(context.name() == format!("ssh.boxes.{method}.{container}"), "it is called {context}");
            expect(&context, container).await?;
            let (argv, _) = context.call(surroundings, ()).await?;
            ensure!(argv[0] == format!("offshoot:{}", stage.mark), "{context} is called {argv:?}");
        }
        stage.end().await
    })
}

fn failures(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &["lxc", "lxd", "incus"])?;
        let (host, user) = (stage.ssh("boxes").await?, stage.ssh("boxes-user").await?);
        let lxc = |name: &str| stage.lxc(name, &host).connect();
        let lxd = |name: &str| stage.lxd(name, &host).connect();
        let incus = |name: &str| stage.incus(name, &host).connect();
        use ConnectErrorKind::{Auth, Start};
        for (what, error, kind, phase, words) in [
            ("lxc none", lxc("none").await, Start, Phase::Login, "is not running, or there is none of that name"),
            ("lxc stopped", lxc("stopped").await, Start, Phase::Login, "is not running"),
            ("lxd none", lxd("none").await, Start, Phase::Login, "no such container"),
            ("lxd stopped", lxd("stopped").await, Start, Phase::Login, "the container is not running"),
            ("incus none", incus("none").await, Start, Phase::Login, "no such container"),
            ("incus stopped", incus("stopped").await, Start, Phase::Login, "the container is not running"),
            (
                "lxd as another",
                stage.lxd("plain", &user).connect().await,
                Auth,
                Phase::Login,
                "permission denied on the engine's socket",
            ),
            (
                "incus as another",
                stage.incus("plain", &user).connect().await,
                Auth,
                Phase::Login,
                "permission denied on the engine's socket",
            ),
            (
                "lxc-attach that is not there",
                stage.lxc("whole", &host).lxc_attach_path("/nonexistent/lxc-attach").connect().await,
                Start,
                Phase::Start,
                "[Errno 2] No such file or directory: /nonexistent/lxc-attach",
            ),
            (
                "lxc without its daemon",
                stage.lxd("plain", &host).lxc_path("/var/lib/no-lxd").connect().await,
                Start,
                Phase::Start,
                "[Errno 2]",
            ),
        ] {
            let error = stream_error(error).with_context(|| what.to_owned())?;
            ensure!((error.kind, error.phase) == (kind, phase), "{what}: {error:?}");
            ensure!(error.text_with_advice().contains(words), "{what}: {error}");
            ensure!(error.hop.starts_with("ssh.boxes"), "{what}: {error:?}");
        }
        stage.end().await
    })
}

fn hint(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &["lxc", "lxd", "incus"])?;
        let host = stage.ssh("boxes").await?;
        for (error, engine) in [
            (stage.lxc("whole", &host).shell("false").connect().await, "LXC"),
            (stage.lxd("plain", &host).shell("false").connect().await, "LXC"),
            (stage.incus("plain", &host).shell("false").connect().await, "Incus"),
        ] {
            let error = stream_error(error)?;
            let hint = format!("Note: many versions of {engine} do not report program execution failure meaningfully.");
            ensure!(error.kind == ConnectErrorKind::Eof && error.text_with_advice().contains(&hint), "{error:?}");
            ensure!(error.text.starts_with("EOF on stream; last 100 lines received:"), "{error}");
        }
        stage.end().await
    })
}

fn in_between(fleet: &Fleet) -> Result<()> {
    block_on(async {
        let stage = Stage::with(fleet, &["lxc"])?;
        let first = stage.ssh("here").await?;
        // The middle context reads the configuration that this one names.
        let host = fleet.ssh(&stage.router, "boxes", &stage.mark).via(&first).connect().await?;
        let inside = stage.lxc("mapped", &host).connect().await?;
        ensure!(inside.name() == "ssh.here.ssh.boxes.lxc.mapped", "it is called {inside}");
        expect(&inside, "mapped").await?;
        let deeper = by!(stage, stage.router.local(), &inside).connect().await?;
        expect(&deeper, "mapped").await?;
        let user = stage.ssh("boxes-user").await?;
        let root = by!(stage, stage.router.sudo(), &user).connect().await?;
        expect(&stage.lxc("whole", &root).connect().await?, "whole").await?;
        stage.end().await
    })
}

/// A script that writes down its arguments, one per line, and runs the command that it was given.
const JEXEC: &str = r#"#!/bin/sh
for word; do printf '%s\n' "$word"; done >"$0.argv"
[ "$1" != -U ] || shift 2
[ "$1" = web ] || { echo "jexec: jail \"$1\" not found" >&2; exit 1; }
shift
exec "$@"
"#;

fn jail(fleet: &Fleet) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("ofs-test").tempdir()?;
    let jexec = directory.path().join("jexec");
    fs::write(&jexec, JEXEC)?;
    fs::set_permissions(&jexec, fs::Permissions::from_mode(0o755))?;
    let program = jexec.display().to_string();
    block_on(async {
        let stage = Stage::new(fleet)?;
        let local = stage.router.local().remote_name(&stage.mark).connect().await?;
        for (via, user) in [(None, None), (None, Some("bob")), (Some(&local), None)] {
            let mut connect = stage.router.jail("web").jexec_path(&program).remote_name(&stage.mark);
            if let Some(via) = via {
                connect = connect.via(via);
            }
            if let Some(user) = user {
                connect = connect.username(user);
            }
            let context = connect.connect().await?;
            ensure!(context.name().ends_with("jail.web"), "it is called {context}");
            ensure!(context.call(double, (21,)).await? == 42, "{context} works");
            let argv = fs::read_to_string(format!("{program}.argv"))?;
            let expected = if user.is_some() { "-U\nbob\nweb\nsh\n-c\n" } else { "web\nsh\n-c\n" };
            ensure!(argv.starts_with(expected), "{argv}");
        }
        let error = stage.router.jail("other").jexec_path(&program).connect().await;
        let error = stream_error(error)?;
        ensure!(error.kind == ConnectErrorKind::Start && error.text.starts_with("no such container"), "{error:?}");
        let error: Result<Context, Error> = stage.router.jail("web").jexec_path("/nonexistent/jexec").connect().await;
        ensure!(stream_error(error)?.text.contains("[Errno 2]"), "it is not there");
        stage.end().await
    })
}

/// The method of the guide's recipe.
const SRUN: &str = r#"
[methods.srun]
argv = ["srun", "--jobid={target}", "--overlap", "--quiet", "--unbuffered", "{user}", "{command}"]
user = ["--uid={user}"]
texts = [{ says = "invalid job id", kind = "auth", advice = "`squeue` lists the jobs" }]
"#;

fn by_slurm(fleet: &Fleet) -> Result<()> {
    Stage::with(fleet, &["slurm"])?;
    let job = fleet.job.as_deref().context("a job")?;
    let directory = tempfile::tempdir()?;
    let methods = directory.path().join("config.toml");
    fs::write(&methods, SRUN)?;
    let (config, methods) = (fleet.config.display().to_string(), methods.display().to_string());
    let (step, none) = (format!("boxes-user/srun:{job}"), "boxes-user/srun:99999");
    let hosts = format!("{step},{step}/sudo,{step}/sudo/local1,{none}");
    let line = "echo $(id -un) $SLURM_JOB_ID; cat";
    let (mut command, trace) = tool(&["--config", &methods, "run", "-F", &config, "-w", &hosts, "-n", "-s", line]);
    let mut trace = trace.with_places(&fleet.places);
    let mut ended = run(&mut command)?;
    ended.stdout.sort();
    let mut expected =
        [format!("{step}: ofs-nopass {job}"), format!("{step}/sudo/local1: root"), format!("{step}/sudo: root")];
    expected.sort();
    ensure!(ended.code == Some(4) && ended.stdout == expected, "{ended:?}");
    ensure!(ended.stderr.concat().contains("`squeue` lists the jobs"), "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)?;
    // Much data of any kind goes both ways.
    let bytes: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::write(&from, &bytes)?;
    let (mut command, trace) = tool(&["--config", &methods, "rsh", "-F", &config, &step, "cat"]);
    let mut trace = trace.with_places(&fleet.places);
    let status = command.stdin(fs::File::open(&from)?).stdout(fs::File::create(&to)?).status()?;
    ensure!(status.success() && fs::read(&to)? == bytes, "{status}");
    trace.expect_nothing_left(ONE_SECOND)
}

fn by_tool(fleet: &Fleet) -> Result<()> {
    Stage::with(fleet, &["lxc", "lxd", "incus"])?;
    let config = fleet.config.display().to_string();
    let hosts = "boxes/lxc:mapped,boxes/lxd:plain,boxes/incus:plain,boxes/lxc:none";
    let (mut command, trace) = tool(&["run", "-F", &config, "-w", hosts, "--", "hostname"]);
    let mut trace = trace.with_places(&fleet.places);
    let mut ended = run(&mut command)?;
    ended.stdout.sort();
    let expected = ["boxes/incus:plain: plain", "boxes/lxc:mapped: mapped", "boxes/lxd:plain: plain"];
    ensure!(ended.code == Some(4) && ended.stdout == expected, "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.contains("or there is none")), "{ended:?}");
    trace.expect_nothing_left(ONE_SECOND)
}
