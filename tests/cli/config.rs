//! The configuration: its defaults, groups, commands and hosts.

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::support::AT_ONCE;
use crate::support::tool::{Ended, run, tool};

/// A home with this configuration.
fn home(text: &str) -> Result<TempDir> {
    let home = tempfile::tempdir()?;
    std::fs::create_dir_all(home.path().join(".config/offshoot"))?;
    std::fs::write(home.path().join(".config/offshoot/config.toml"), text)?;
    Ok(home)
}

fn offshoot(home: &TempDir, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    command.env_remove("XDG_CONFIG_HOME").env("HOME", home.path()).env("XDG_STATE_HOME", home.path().join("state"));
    command.env_remove("OFFSHOOT_INVENTORY").env_remove("ANSIBLE_INVENTORY").current_dir(home.path());
    let mut ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    ended.stdout.sort_unstable();
    Ok(ended)
}

pub(crate) fn groups_commands_and_hosts_of_the_configuration_are_used() -> Result<()> {
    let home = home(
        "[groups]\npair = [\"local1\", \"local2\"]\nnested = \"@pair!local1\"\n[commands]\ngreet = \"echo hello | cat\"\n\
         [hosts]\ninner = \"local1/local2\"\nouter = \"inner/local3\"\n",
    )?;
    for (args, expected) in [
        (&["greet", "-w", "@pair"][..], &["local1: hello", "local2: hello"][..]),
        (&["-v", "hosts", "@nested,@pair"], &["local1", "local2"]),
        (&["run", "-w", "outer,@nested", "--", "echo", "hi"], &["local2: hi", "outer: hi"]),
        (&["hosts", "--explain", "outer"], &["outer: local:local1/local:local2/local:local3"]),
        (&["hosts", "out*"], &["outer"]),
    ] {
        let ended = offshoot(&home, args)?;
        ensure!(ended.code == Some(0) && ended.stdout == expected, "{args:?}: {ended:?}");
    }
    // The line for a rerun works without the configuration's command.
    std::fs::write(home.path().join(".config/offshoot/config.toml"), "[commands]\nlose = \"exit 3\"\n")?;
    let ended = offshoot(&home, &["lose", "-w", "local1"])?;
    let rerun = ended.stderr.iter().find(|line| line.contains("rerun: ")).context("a rerun")?;
    ensure!(ended.code == Some(2) && rerun.ends_with("run -s 'exit 3' -w local1"), "{ended:?}");
    let ended = offshoot(&home, &["lose", "-w", "local1", "more"])?;
    ensure!(ended.code == Some(64), "{ended:?}");
    // What follows `--` are its arguments.
    std::fs::write(home.path().join(".config/offshoot/config.toml"), "[commands]\nsay = 'echo $# \"$2\"'\n")?;
    let ended = offshoot(&home, &["say", "-w", "local1", "--", "-w", "it's $HOME"])?;
    ensure!(ended.code == Some(0) && ended.stdout == ["local1: 2 it's $HOME"], "{ended:?}");
    Ok(())
}

pub(crate) fn the_command_line_comes_before_the_configuration() -> Result<()> {
    let home = home("via = \"local9\"\ntimeout = \"1s\"\ninventory = \"../lists/web\"\n")?;
    std::fs::create_dir(home.path().join(".config/lists"))?;
    std::fs::write(home.path().join(".config/lists/web"), "[web]\nweb1 ansible_connection=local\n")?;
    // The process of the hop is between the tool and the child.
    let ended = offshoot(&home, &["run", "-w", "@web", "-s", "sleep 60"])?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("timed out"), "{ended:?}");
    let ended = offshoot(&home, &["run", "-w", "local1", "-t", "60", "--via", "", "-s", "sleep 2"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let ended = offshoot(&home, &["--config", "none", "hosts", "@web"])?;
    ensure!(ended.code != Some(0), "{ended:?}");
    std::fs::write(home.path().join("other.toml"), "[groups]\nweb = \"local7\"\n")?;
    let ended = offshoot(&home, &["hosts", "@web", "--config", "other.toml"])?;
    ensure!(ended.stdout == ["local7"], "{ended:?}");
    Ok(())
}

pub(crate) fn a_configuration_that_is_wrong_is_refused_where_it_is_wrong() -> Result<()> {
    let home = home("fanout = 3\nfanuot = 4\n")?;
    let ended = offshoot(&home, &["run", "-w", "local1", "--", "true"])?;
    let says = ".config/offshoot/config.toml, line 2: there is no key `fanuot`; did you mean `fanout`?";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    // What needs no host needs no configuration.
    for args in [&["--help"][..], &["help", "config"], &["functions"], &["--config", "none", "hosts", "a"]] {
        ensure!(offshoot(&home, args)?.code == Some(0), "{args:?}");
    }
    let ended = offshoot(&home, &["--config", "nowhere.toml", "hosts", "a"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("nowhere.toml cannot be read"), "{ended:?}");
    for (hosts, says) in [
        ("x = \"y\"\ny = \"b/x/sudo\"\n", "loop.toml, line 2: the path of x leads through itself: x > y > x"),
        (
            "a = \"x\"\nx = \"y\"\ny = \"z\"\nz = \"y\"\n",
            "loop.toml, line 4: the path of y leads through itself: y > z > y",
        ),
        ("x = \"b/x\"\ny = \"amy@x\"\nz = \"y/x\"\n", ""),
    ] {
        std::fs::write(home.path().join("loop.toml"), format!("[hosts]\n{hosts}"))?;
        let ended = offshoot(&home, &["--config", "loop.toml", "hosts", "x"])?;
        let is_refused = ended.code == Some(64);
        ensure!(is_refused != says.is_empty() && ended.stderr.concat().contains(says), "{ended:?}");
    }
    std::fs::write(home.path().join("none.toml"), "retries = 0\n")?;
    let ended = offshoot(&home, &["--config", "none.toml", "run", "-w", "local1", "--", "true"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let (mut command, _) = tool(&["hosts", "a"]);
    let ended = run(command.env_remove("HOME").env_remove("XDG_CONFIG_HOME"))?;
    ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "without a home there is none: {ended:?}");
    Ok(())
}

pub(crate) fn a_configuration_that_everyone_may_write_is_not_read() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = home("")?;
    let path = home.path().join(".config/offshoot/config.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    let ended = offshoot(&home, &["hosts", "a"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("everyone may write it"), "{ended:?}");
    let ended = offshoot(&home, &["hosts", "a", "--config", &path.to_string_lossy()])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
