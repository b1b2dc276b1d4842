//! Connections of ssh that outlive a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::support::tool::{Ended, run, tool};
use crate::support::trace::Trace;
use crate::support::{ONE_SECOND, PATIENCE, wait_for};

pub(crate) fn trials() -> Vec<OnHosts> {
    // Others would log in to the same servers.
    vec![("a later run uses kept connections of ssh and logs in nowhere (alone)".into(), Box::new(later))]
}

/// What the runs have in common: a keeper, and an ssh that notes each of its starts.
struct User<'a> {
    fleet: &'a Fleet,
    home: tempfile::TempDir,
}

impl<'a> User<'a> {
    fn new(fleet: &'a Fleet) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let ssh = home.path().join("ssh");
        fs::write(
            &ssh,
            format!("#!/bin/sh\necho $$ >>{}\nexec /usr/bin/ssh \"$@\"\n", home.path().join("started").display()),
        )?;
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755))?;
        Ok(Self { fleet, home })
    }

    fn offshoot(&self, args: &[&str]) -> Result<(Ended, Trace)> {
        let (mut command, trace) = tool(args);
        let path = format!("{}:{}", self.home.path().display(), std::env::var("PATH")?);
        command.env("XDG_RUNTIME_DIR", self.home.path()).env("PATH", path);
        let mut ended = run(&mut command)?;
        ended.stdout.sort();
        ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
        Ok((ended, trace.with_places(&self.fleet.places)))
    }

    /// How often ssh was started here, and how many logins all servers have seen.
    fn connects(&self) -> Result<(usize, usize)> {
        let lines = |path: PathBuf| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let started = lines(self.home.path().join("started"))?.lines().count();
        let logs = fs::read_dir(&self.fleet.logs)?.map(|entry| Ok(lines(entry?.path())?));
        let logs = logs.collect::<Result<Vec<_>>>()?;
        let accepted = logs.iter().flat_map(|log| log.lines()).filter(|line| line.starts_with("Accepted ")).count();
        Ok((started, accepted))
    }
}

fn later(fleet: &Fleet) -> Result<()> {
    let user = User::new(fleet)?;
    let config = fleet.config.display().to_string();
    let hosts = "web[1-3],shell-dash,web4/shell-bash,nopass/sudo";
    let keeping = ["run", "-F", &config, "--keep", "10m", "-w", hosts, "-s", "echo $PPID"];
    let (_, before) = (fs::write(user.home.path().join("started"), "")?, user.connects()?.1);
    let (first, mut trace) = user.offshoot(&keeping)?;
    let (started, accepted) = user.connects()?;
    // The one behind web4 is started there.
    ensure!(
        started >= 6 && accepted == before + 7,
        "{started} starts of ssh, {before} and {accepted} logins: {first:?}"
    );
    for args in [&keeping[..], &["run", "-F", &config, "-w", hosts, "-s", "echo $PPID"]] {
        let (again, mut trace) = user.offshoot(args)?;
        ensure!(again.stdout == first.stdout && first.stdout.len() == 6, "{first:?} {again:?}");
        ensure!(user.connects()? == (started, accepted), "{args:?}: nothing is connected again");
        trace.expect_nothing_left(ONE_SECOND)?;
    }
    user.offshoot(&["kept", "end"])?;
    let contexts: Vec<&str> = first.stdout.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    let are_gone = || contexts.iter().all(|pid| !Path::new("/proc").join(pid).exists()).then_some(());
    wait_for(PATIENCE, are_gone).context("a context is left on a host")?;
    let is_empty = || (!user.home.path().join("offshoot").exists()).then_some(());
    wait_for(Duration::from_secs(5), is_empty).context("the socket is left")?;
    trace.expect_nothing_left(ONE_SECOND)
}
