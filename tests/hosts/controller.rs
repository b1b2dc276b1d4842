//! Controllers: copies of this binary that connect and wait for a line on stdin. They can run as another
//! user, and they can be killed.

use std::future::Future;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use offshoot::Router;
use offshoot::process;

use crate::fleet::{self, Fleet};
use crate::helper::CONTROLLER;
use crate::launcher;
use crate::support::tool::{MARK, Running};
use crate::visit;

/// A limit that no trial reaches.
const WHOLE_TRIAL: Duration = Duration::from_secs(120);

/// The task of a controller.
#[derive(Debug, Clone)]
pub(crate) struct Settings<'a> {
    /// `visit`, or the connection to hold: `ssh`, `local`, `staged`, `chain`, or a container behind ssh, as
    /// `docker:app`, `podman:app` or, for a temporary one, `image:busybox`.
    pub(crate) what: &'a str,
    pub(crate) alias: &'a str,
    pub(crate) config: &'a Path,
    pub(crate) mark: &'a str,
    /// The client to run.
    pub(crate) ssh: &'a str,
    /// The argument of the `sleep` that runs while the connection is held.
    pub(crate) time: &'a str,
}

/// A running controller.
pub(crate) struct Controller {
    running: Running,
}

impl Settings<'_> {
    /// The command that becomes this controller, as this user or as the ordinary user.
    pub(crate) fn command(&self, user: Option<&Fleet>) -> Result<Command> {
        let mut command = Command::new(launcher::controller()?);
        command.arg(CONTROLLER).args([self.what, self.alias]).arg(self.config);
        command.args([self.mark, self.ssh, self.time]).env(MARK, self.mark);
        if let Some(fleet) = user {
            let user = nix::unistd::User::from_name(&fleet.user)?.context("no ordinary user")?;
            // The environment of a login, without variables of root.
            let path = std::env::var_os("PATH").unwrap_or_default();
            command.env_clear().env(MARK, self.mark).env("PATH", path).env("USER", &user.name);
            command.env("HOME", &user.dir).current_dir(&user.dir).uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(command)
    }
}

impl Controller {
    pub(crate) fn start(settings: &Settings<'_>, user: Option<&Fleet>) -> Result<Self> {
        Ok(Self { running: Running::start(&mut settings.command(user)?)? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Waits for a line from the controller.
    pub(crate) fn expect(&self, word: &str) -> Result<()> {
        let line = self.running.line()?;
        ensure!(line == word, "the controller says {line}, not {word}");
        Ok(())
    }

    /// Lets the controller go on.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        writeln!(self.running.stdin().context("it listens")?).context("the controller has gone")
    }

    /// Lets the controller end, and checks that it succeeds.
    pub(crate) fn finish(self) -> Result<()> {
        let ended = self.running.finish()?;
        ensure!(ended.code == Some(0), "the controller ended with {ended:?}");
        Ok(())
    }
}

/// Runs the task of a controller.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let [what, alias, config, mark, ssh, time] = args else {
        eprintln!("controller: {args:?} are not its arguments");
        return ExitCode::FAILURE;
    };
    let settings = Settings { what, alias, config: Path::new(config), mark, ssh, time };
    offshoot::run(async |router| match settings.what {
        "visit" => {
            let visit = visit::visit(&router, settings.alias, settings.config, settings.mark, async || {
                say("up");
                hear().await;
                Ok(())
            });
            visit.await?;
            say("done");
            hear().await;
            Ok(())
        }
        _ => hold(&router, &settings).await,
    })
}

/// Runs a command until it ends or stdin ends.
async fn hold(router: &Router, settings: &Settings<'_>) -> Result<()> {
    say("begun");
    match start(router, settings).await {
        Ok(running) => {
            say("up");
            tokio::select! {
                exit = running.exit => say(&format!("lost: {exit:?}")),
                () = hear() => return Ok(()),
            }
        }
        Err(error) => say(&format!("failed: {error:#}").replace('\n', " / ")),
    }
    hear().await;
    Ok(())
}

async fn start(router: &Router, settings: &Settings<'_>) -> Result<process::Running> {
    let ssh = || fleet::ssh(router, settings.alias, settings.config, settings.mark).ssh_path(settings.ssh);
    let local = || router.local().remote_name(settings.mark);
    let context = match settings.what {
        "ssh" => ssh().connect().await?,
        "local" => local().connect().await?,
        // By its own first stage, on this machine.
        "staged" => local().exec_prefix(["env", "-u", "XDG_RUNTIME_DIR"]).connect().await?,
        "chain" => local().via(&ssh().connect().await?).connect().await?,
        what if what.starts_with("docker:") => {
            let docker = router.docker(&what["docker:".len()..]).remote_name(settings.mark);
            docker.via(&ssh().connect().await?).connect().await?
        }
        what if what.starts_with("image:") => {
            let docker = router.docker_image(&what["image:".len()..]).remote_name(settings.mark);
            docker.via(&ssh().connect().await?).connect().await?
        }
        what if what.starts_with("podman:") => {
            let podman = router.podman(&what["podman:".len()..]).remote_name(settings.mark);
            podman.via(&ssh().connect().await?).connect().await?
        }
        other => bail!("{other} cannot be held"),
    };
    // This is used if there is no other program.
    let sleep = match settings.what.ends_with(":bare") {
        true => context.command("/busybox").arg("sleep"),
        false => context.command("sleep"),
    };
    Ok(sleep.arg(settings.time).events())
}

#[expect(clippy::print_stdout, reason = "stdout is how a controller answers")]
fn say(word: &str) {
    println!("{word}");
}

/// Waits for a line on stdin, or for its end.
async fn hear() {
    let (heard, word) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = heard.send(());
    });
    let _ = word.await;
}

/// Runs the future of a trial to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limited = async { tokio::time::timeout(WHOLE_TRIAL, future).await };
    runtime.block_on(limited).context("the trial takes too long")?
}
