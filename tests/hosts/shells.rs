//! Interactive terminals on hosts.

use anyhow::{Result, ensure};

use crate::OnHosts;
use crate::cli::shell::Typist;
use crate::fleet::Fleet;
use crate::launcher::Launcher;
use crate::support::tool::tool;
use crate::support::{ONE_SECOND, THREE_SECONDS, long_time};

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("a terminal over ssh, hops and sudo has the size of the one here", sizes);
    add("what stands on a terminal over ssh ends with a tool that is killed (alone)", killed);
    trials
}

fn on(fleet: &Fleet, args: &[&str]) -> Result<(Typist, Launcher)> {
    let config = fleet.config.display().to_string();
    let (mut command, trace) = tool(&[&["shell", "-F", &config], args].concat());
    let launcher = Launcher::that_notes()?;
    launcher.lead(&mut command);
    let trace = trace.with_places(&fleet.places).with_notes(launcher.notes());
    Ok((Typist::start_command(&mut command, trace)?, launcher))
}

fn sizes(fleet: &Fleet) -> Result<()> {
    for (args, user) in [
        (&["web1"][..], None),
        (&["web1/local1"], None),
        (&["nopass/sudo"], Some("root")),
        (&["nopass", "-b"], Some("root")),
    ] {
        // The login shell, with its rc files.
        let (mut typist, _launcher) = on(fleet, args)?;
        typist.type_text("stty size; echo \"$TERM\" is h\"\"ere as $(id -un); exit 9\r")?;
        typist.expect("33 99\r\n")?;
        typist.expect("vt100 is here as ")?;
        if let Some(user) = user {
            typist.expect(user)?;
        }
        let code = typist.finish(ONE_SECOND)?;
        ensure!(code == 9, "{args:?}: {code}");
    }
    Ok(())
}

fn killed(fleet: &Fleet) -> Result<()> {
    for host in ["web1", "nopass/sudo"] {
        let (mut typist, _launcher) = on(fleet, &[host, "--", "sh", "-i"])?;
        let (sleep, is_there) = (long_time(), "up\r\n");
        typist.type_text(&format!("echo u\"\"p; sleep {sleep}\r"))?;
        typist.expect(is_there)?;
        typist.kill()?;
        typist.trace.expect_nothing_left(THREE_SECONDS)?;
    }
    Ok(())
}
