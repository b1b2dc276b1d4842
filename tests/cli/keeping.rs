//! Connections that outlive a run: `--keep` and `offshoot kept`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::shell::Typist;
use crate::support::process::Process;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::trace::Trace;
use crate::support::{AT_ONCE, long_time, promised, wait_for};

/// A method that notes each of its connects.
const ENTER: &str = "#!/bin/sh\necho \"$1\" >>DIR/entered\nshift\nexec \"$@\"\n";

/// A user with a configuration and a keeper of its own. The keeper ends with it.
struct User {
    home: TempDir,
    /// What the first run has started, and so the keeper.
    first: Option<Trace>,
}

impl User {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir()?;
        let (enter, shown) = (home.path().join("enter"), home.path().display().to_string());
        std::fs::write(&enter, ENTER.replace("DIR", &shown))?;
        std::fs::set_permissions(&enter, std::fs::Permissions::from_mode(0o755))?;
        let config = format!("[methods.enter]\nargv = [\"{}\", \"{{target}}\", \"{{command}}\"]\n", enter.display());
        std::fs::write(home.path().join("config.toml"), config)?;
        Ok(Self { home, first: None })
    }

    fn command(&mut self, args: &[&str]) -> std::process::Command {
        let config = self.home.path().join("config.toml");
        let (mut command, trace) = tool(&[&["--config", &config.to_string_lossy()], args].concat());
        command.env("XDG_RUNTIME_DIR", self.home.path());
        self.first.get_or_insert(trace);
        command
    }

    fn offshoot(&mut self, args: &[&str]) -> Result<Ended> {
        let mut ended = run(&mut self.command(args))?;
        ended.stdout.sort_unstable();
        Ok(ended)
    }

    /// The connects since the last time.
    fn connects(&self) -> Vec<String> {
        let path = self.home.path().join("entered");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        let mut connects: Vec<_> = text.lines().map(str::to_owned).collect();
        connects.sort_unstable();
        connects
    }

    fn sockets(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.path().join("offshoot"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Ends the keeper, and sees that nothing is left.
    fn end(mut self) -> Result<()> {
        let ended = self.offshoot(&["kept", "end"])?;
        ensure!(ended.code == Some(0), "{ended:?}");
        self.expect_nothing_left()
    }

    fn expect_nothing_left(&mut self) -> Result<()> {
        let directory = self.home.path().join("offshoot");
        wait_for(Duration::from_secs(5), || (!directory.exists()).then_some(())).context("the socket is removed")?;
        self.first.as_mut().context("a run")?.expect_nothing_left(AT_ONCE)
    }
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

pub(crate) fn later_commands_use_what_a_run_has_kept() -> Result<()> {
    let mut user = User::new()?;
    let hosts = "enter:a,enter:b/local1,local2";
    let keeping = ["run", "--keep", "60s", "-w", hosts, "-s", "echo $PPID"];
    let first = user.offshoot(&keeping)?;
    ensure!(first.code == Some(0) && first.stdout.len() == 3, "{first:?}");
    ensure!(user.connects() == ["a", "b"], "each is connected once");
    let [socket] = &user.sockets()[..] else { anyhow::bail!("one socket") };
    use std::os::unix::fs::MetadataExt as _;
    ensure!(std::fs::metadata(socket)?.mode() & 0o777 == 0o600, "{socket:?}");
    let second = user.offshoot(&keeping)?;
    ensure!(second.code == Some(0) && second.stdout[..2] == first.stdout[..2], "{first:?} {second:?}");
    // A child of this machine has the directory and the environment of its run.
    ensure!(second.stdout[2] != first.stdout[2], "{second:?}");
    for args in [
        &["run", "-w", "enter:a", "--", "true"][..],
        &["rsh", "enter:b/local1", "true"],
        &["call", "-w", "enter:a", "host_facts"],
        &["push", "-w", "enter:a,enter:b/local1", "/etc/hostname", &user.home.path().join("copy").to_string_lossy()],
    ] {
        let ended = user.offshoot(args)?;
        ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
    }
    ensure!(user.connects().is_empty(), "nothing is connected again");
    let listed = user.offshoot(&["kept"])?;
    let paths: Vec<_> = listed.stdout.iter().filter_map(|line| line.split(' ').next()).collect();
    ensure!(paths == ["enter:a", "enter:b", "enter:b/local:local1"], "{listed:?}");
    // The keeper hears a moment later that a command has ended.
    let unused = || {
        let listed = user.offshoot(&["kept", "--json"]).ok()?;
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout.concat()).ok()?;
        listed["kept"].as_array()?.iter().all(|one| one["users"] == 0).then_some(listed)
    };
    let listed = wait_for(Duration::from_secs(5), unused).context("nobody uses them")?;
    crate::cli::schema::check(&listed)?;
    let kept = listed["kept"].as_array().context("a list")?;
    ensure!(kept.iter().map(|one| &one["path"]).eq(paths.iter()), "{listed}");
    for one in kept {
        let number = |key: &str| one[key].as_f64().unwrap_or(-1.0);
        ensure!(number("idle") >= 0.0 && number("left") > 0.0 && number("left") <= 60.0, "{listed}");
    }
    let ended = user.offshoot(&["kept", "end", "enter:b"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let left =
        wait_for(Duration::from_secs(5), || user.offshoot(&["kept"]).ok().filter(|ended| ended.stdout.len() == 1));
    ensure!(left.context("one is left")?.stdout[0].starts_with("enter:a "), "what is behind b ends with it");
    let unknown = user.offshoot(&["kept", "end", "nowhere"])?;
    ensure!(unknown.code == Some(64) && unknown.stderr.concat().contains("nothing is kept at nowhere"), "{unknown:?}");
    user.end()
}

pub(crate) fn a_kept_connection_that_was_lost_is_made_again() -> Result<()> {
    let mut user = User::new()?;
    let keeping = ["run", "--keep", "60s", "-w", "enter:a", "-s", "echo $PPID"];
    let pid = |ended: &Ended| ended.stdout[0].rsplit(' ').next().unwrap_or_default().to_owned();
    let first = user.offshoot(&keeping)?;
    let old = pid(&first);
    Process::of(old.parse()?).context("the context")?.signal(Signal::SIGKILL)?;
    let second = user.offshoot(&keeping)?;
    ensure!(second.code == Some(0) && pid(&second) != old, "{second:?}");
    // One that does not answer, as behind a network that is gone.
    Process::of(pid(&second).parse()?).context("the context")?.signal(Signal::SIGSTOP)?;
    let third = user.offshoot(&keeping)?;
    ensure!(third.code == Some(0) && pid(&third) != pid(&second), "{third:?}");
    ensure!(user.connects() == ["a", "a", "a"]);
    user.end()
}

pub(crate) fn the_commands_of_a_run_that_is_stopped_end_and_its_connections_stay() -> Result<()> {
    let mut user = User::new()?;
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let time = long_time();
        let line = format!("echo $PPID; exec sleep {time}");
        let running = Running::start(&mut user.command(&["run", "--keep", "60s", "-w", "enter:a", "-s", &line]))?;
        let shown = running.line()?;
        running.signal(signal)?;
        let ended = running.finish()?;
        let code = if signal == Signal::SIGINT { Some(130) } else { None };
        ensure!(ended.code == code, "{ended:?}");
        let sleeps = || Process::all().iter().any(|process| process.mentions(&time) && !process.is_zombie());
        let gone = wait_for(Duration::from_secs(3), || (!sleeps()).then_some(()));
        ensure!(gone.is_some(), "{signal}: the command goes on");
        let context = shown.rsplit(' ').next().unwrap_or_default();
        ensure!(is_alive(context), "{signal}: the connection has ended");
    }
    ensure!(user.connects() == ["a"], "the second run has used what the first one has left");
    user.end()
}

pub(crate) fn kept_connections_end_when_their_time_is_over() -> Result<()> {
    let mut user = User::new()?;
    let ended = user.offshoot(&["run", "--keep", "1s", "-w", "enter:a/local1", "--", "true"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    user.expect_nothing_left()?;
    // Without a keeper, nothing of it is needed.
    let ended = user.offshoot(&["run", "-w", "enter:a", "--", "true"])?;
    ensure!(ended.code == Some(0) && user.connects() == ["a", "a"], "{ended:?}");
    let ended = user.offshoot(&["kept"])?;
    ensure!(ended.code == Some(0) && ended.stdout.is_empty() && ended.stderr.concat().contains("nothing is kept"));
    Ok(())
}

pub(crate) fn a_keeper_that_is_stopped_is_gone_on_without() -> Result<()> {
    let mut user = User::new()?;
    let keeping = ["run", "--keep", "60s", "-w", "enter:a", "--", "true"];
    let first = user.offshoot(&keeping)?;
    ensure!(first.code == Some(0) && user.connects() == ["a"], "{first:?}");
    let started = user.first.as_mut().context("a run")?.look();
    let keeper = started.iter().find(|process| process.argv.iter().any(|word| word == "__keep")).context("a keeper")?;
    keeper.signal(Signal::SIGSTOP)?;
    let commands =
        [(&keeping[..], 0), (&["run", "-w", "enter:a", "--", "true"], 0), (&["kept"], 2), (&["kept", "end"], 2)];
    for (args, code) in commands {
        let ended = user.offshoot(args)?;
        ensure!(!ended.stderr.concat().contains("nothing is kept"), "{args:?}: {ended:?}");
        ensure!(ended.code == Some(code) && ended.elapsed < promised(Duration::from_secs(4)), "{args:?}: {ended:?}");
        let note = format!("note: the process (pid {}) that keeps connections does not answer within 2s", keeper.pid);
        ensure!(ended.stderr.iter().any(|line| line.starts_with(&note)), "{args:?}: {ended:?}");
    }
    ensure!(user.connects() == ["a", "a"], "both runs connect by themselves");
    keeper.signal(Signal::SIGCONT)?;
    let again = user.offshoot(&keeping)?;
    ensure!(again.code == Some(0) && user.connects().is_empty() && again.stderr.len() == 1, "{again:?}");
    for command in ["tree", "plan"] {
        let refused = user.offshoot(&[command, "--keep", "1m", "-w", "enter:a"])?;
        ensure!(refused.code == Some(64) && refused.stderr.concat().contains("--keep does not apply"), "{refused:?}");
    }
    user.end()
}

pub(crate) fn a_shell_uses_a_kept_connection() -> Result<()> {
    let mut user = User::new()?;
    let first = user.offshoot(&["run", "--keep", "60s", "-w", "enter:a", "--", "true"])?;
    ensure!(first.code == Some(0) && user.connects() == ["a"], "{first:?}");
    let mut command = user.command(&["shell", "enter:a", "--", "sh", "-c", "echo in a shell; exit 7"]);
    let (_, trace) = tool(&[]);
    let mut typist = Typist::start_command(&mut command, trace)?;
    typist.expect("in a shell")?;
    ensure!(typist.finish(AT_ONCE)? == 7);
    ensure!(user.connects().is_empty(), "it is connected again");
    user.end()
}

pub(crate) fn a_kept_connection_that_stalls_is_left_to_those_who_use_it() -> Result<()> {
    let mut user = User::new()?;
    let go_on = user.home.path().join("go-on");
    let line = format!("echo $PPID; until [ -e {} ]; do sleep .1; done; echo done", go_on.display());
    let running = Running::start(&mut user.command(&["run", "--keep", "60s", "-w", "enter:a", "-s", &line]))?;
    let shown = running.line()?;
    let context = Process::of(shown.rsplit(' ').next().unwrap_or_default().parse()?).context("the context")?;
    context.signal(Signal::SIGSTOP)?;
    let second = user.offshoot(&["run", "--keep", "60s", "-w", "enter:a", "-s", "echo $PPID"])?;
    ensure!(second.code == Some(0) && user.connects() == ["a", "a"], "{second:?}");
    context.signal(Signal::SIGCONT)?;
    std::fs::write(go_on, "")?;
    let ended = running.finish()?;
    ensure!(ended.code == Some(0) && ended.stdout.iter().any(|line| line.ends_with("done")), "{ended:?}");
    let gone = wait_for(Duration::from_secs(5), || (!is_alive(&context.pid.to_string())).then_some(()));
    ensure!(gone.is_some(), "nobody uses the first connection any more");
    user.end()
}

pub(crate) fn a_keeper_inherits_nothing_of_its_run() -> Result<()> {
    let mut user = User::new()?;
    let lock = user.home.path().join("lock");
    let tool = user.command(&["run", "--keep", "60s", "-w", "enter:a", "--", "true"]);
    let words: Vec<_> = std::iter::once(tool.get_program()).chain(tool.get_args()).collect();
    let mut locked = std::process::Command::new("sh");
    locked.args(["-c", "exec 9>\"$0\"; flock -n 9 || exit 90; \"$@\""]).arg(&lock).args(words);
    locked.env("XDG_RUNTIME_DIR", user.home.path());
    let status = locked.status()?;
    ensure!(status.success() && user.sockets().len() == 1, "{status}");
    let free = std::process::Command::new("flock").arg("-n").arg(&lock).arg("true").status()?;
    ensure!(free.success(), "the keeper holds the lock of the script that has started it");
    user.end()
}

pub(crate) fn without_a_place_for_a_keeper_a_run_goes_on_alone() -> Result<()> {
    let mut user = User::new()?;
    // As another user may do it in a directory for all.
    std::fs::write(user.home.path().join("offshoot"), "")?;
    let ended = user.offshoot(&["run", "--keep", "60s", "-w", "enter:a", "--", "echo", "yes"])?;
    ensure!(ended.code == Some(0) && ended.stdout == ["enter:a: yes"], "{ended:?}");
    let says = ended.stderr.concat();
    ensure!(says.contains("connections are not kept") && says.contains("XDG_RUNTIME_DIR"), "{ended:?}");
    user.first.as_mut().context("a run")?.expect_nothing_left(AT_ONCE)
}
