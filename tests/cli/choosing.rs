//! How hosts are chosen: groups of inventories, wildcards, what is left out, and the last run.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::support::AT_ONCE;
use crate::support::tool::{Ended, run, tool};

/// Hosts that are children of this machine.
const HOSTS: &str = "\
[web]
web1
web2
web3
[db]
db1
[all:vars]
ansible_connection=local
";

/// A directory that is the current one and the home of a tool, with these files.
fn project(files: &[(&str, &str)]) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().context("a directory")?)?;
        std::fs::write(&path, text)?;
        if text.starts_with("#!") {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(directory)
}

fn prepare(command: &mut Command, project: &Path) {
    command.current_dir(project).env("HOME", project).env("XDG_STATE_HOME", project.join("state"));
    for variable in
        ["OFFSHOOT_INVENTORY", "ANSIBLE_INVENTORY", "ANSIBLE_CONFIG", "XDG_CONFIG_HOME", "CLUSTERSHELL_CFGDIR"]
    {
        command.env_remove(variable);
    }
}

fn offshoot(project: &TempDir, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    prepare(&mut command, project.path());
    let mut ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    ended.stdout.sort_unstable();
    Ok(ended)
}

pub(crate) fn groups_wildcards_and_exclusions_choose_hosts() -> Result<()> {
    let project = project(&[("hosts", HOSTS)])?;
    for (args, hosts) in [
        (&["-w", "@web", "-x", "web2"][..], &["web1", "web3"][..]),
        (&["-w", "@web!web[1-2],d*"], &["db1", "web3"]),
        (&["-a", "-x", "@web&web[1-2]"], &["db1", "web3"]),
        (&["-I", "hosts", "-w", "db1"], &["db1"]),
    ] {
        let ended = offshoot(&project, &[&["run"], args, &["--", "echo", "hi"]].concat())?;
        let expected: Vec<String> = hosts.iter().map(|host| format!("{host}: hi")).collect();
        ensure!(ended.stdout == expected && ended.code == Some(0), "{args:?}: {ended:?}");
    }
    let ended = offshoot(&project, &["run", "-a", "--pick", "2", "--", "echo", "hi"])?;
    ensure!(ended.stdout.len() == 2, "{ended:?}");
    Ok(())
}

pub(crate) fn an_inventory_selects_nobody() -> Result<()> {
    let project = project(&[("hosts", HOSTS)])?;
    let ended = offshoot(&project, &["run", "-I", "hosts", "--", "true"])?;
    ensure!(ended.code == Some(64) && ended.stderr.iter().any(|line| line.contains("-w")), "{ended:?}");
    // A name without `@` does not read an inventory that was not named. So this one is no obstacle.
    std::fs::write(project.path().join("hosts"), "[broken\n")?;
    let ended = offshoot(&project, &["run", "-w", "local1", "--", "true"])?;
    ensure!(ended.code == Some(0) && ended.stderr.len() == 1, "{ended:?}");
    Ok(())
}

pub(crate) fn two_hosts_at_one_address_are_two_children() -> Result<()> {
    let hosts = "one ansible_connection=local ansible_host=x\ntwo ansible_connection=local ansible_host=x\n\
                 three offshoot_path=one/local:inner\n";
    let project = project(&[("hosts", hosts)])?;
    let ended = offshoot(&project, &["run", "-f1", "-w", "@all", "-s", "echo $PPID"])?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 3, "{ended:?}");
    let mut parents: Vec<_> = ended.stdout.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    parents.dedup();
    ensure!(parents.len() == 3, "{ended:?}");
    Ok(())
}

pub(crate) fn ssh_gets_what_the_inventory_says_of_a_host() -> Result<()> {
    const SSH: &str =
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"${0%/*}/args\"\nfor command; do :; done\nexec sh -c \"$command\"\n";
    let hosts = "web1 ansible_host=10.0.0.1 ansible_port=2222 ansible_user=amy ansible_ssh_private_key_file=/k \
                 ansible_ssh_common_args='-o Compression=yes' ansible_password=x\n";
    let project = project(&[("hosts", hosts), ("ssh", SSH)])?;
    let (mut command, mut trace) = tool(&["run", "-F", "none", "-l", "bob", "-a", "--", "echo", "hi"]);
    prepare(&mut command, project.path());
    command.env("PATH", format!("{}:{}", project.path().display(), std::env::var("PATH")?));
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    ensure!(ended.stdout == ["web1: hi"], "{ended:?}");
    let note = |line: &String| line.starts_with("note: ansible_password of web1 is not used: ");
    ensure!(ended.stderr.iter().any(note), "{ended:?}");
    let args = std::fs::read_to_string(project.path().join("args"))?;
    let at = |what: &str| args.find(what).with_context(|| format!("{what} in {args}"));
    // ssh takes the first value of an option.
    ensure!(at("-l amy")? < at("-l bob")?, "{args}");
    for what in ["-p 2222", "-i /k", "-o Compression=yes", " 10.0.0.1 "] {
        at(what)?;
    }
    Ok(())
}

pub(crate) fn the_hosts_that_failed_are_chosen_again() -> Result<()> {
    let project = project(&[("hosts", HOSTS), ("token", "")])?;
    let ended = offshoot(&project, &["hosts", "@failed"])?;
    ensure!(ended.stderr.iter().any(|line| line.contains("no run has been kept yet")), "{ended:?}");
    // One host alone can take it away.
    let line = format!("mv '{0}/token' '{0}/taken'", project.path().display());
    let ended = offshoot(&project, &["run", "-f1", "-w", "@web", "-s", &line])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    // The names are those of the inventory of that run, wherever the tool is now.
    let (mut command, _) = tool(&["run", "-w", "@failed", "-x", "web3", "--", "echo", "again"]);
    prepare(&mut command, project.path());
    let ended = run(command.current_dir("/"))?;
    ensure!(ended.stdout == ["web2: again"] && ended.code == Some(0), "{ended:?}");
    ensure!(ended.stderr.iter().any(|line| line.contains("@failed is of the run that ended")), "{ended:?}");
    let ended = offshoot(&project, &["hosts", "@failed"])?;
    ensure!(ended.code == Some(66), "{ended:?}");
    let (mut command, _) = tool(&["hosts", "@failed"]);
    prepare(&mut command, project.path());
    let ended = run(command.env_remove("HOME").env_remove("XDG_STATE_HOME"))?;
    ensure!(ended.stderr.iter().any(|line| line.contains("neither XDG_STATE_HOME nor HOME is set")), "{ended:?}");
    Ok(())
}

pub(crate) fn the_rerun_names_the_inventory_that_was_found() -> Result<()> {
    let project = project(&[("hosts", HOSTS)])?;
    let ended = offshoot(&project, &["run", "-a", "-x", "db1", "-s", "exit 4"])?;
    let rerun = ended.stderr.iter().find_map(|line| line.trim().strip_prefix("rerun: ")).context("there is a rerun")?;
    let path = project.path().join("hosts").canonicalize()?;
    let expected = format!("{} run -w 'web[1-3]' -I {} -s 'exit 4'", env!("CARGO_BIN_EXE_offshoot"), path.display());
    ensure!(rerun == expected, "{rerun}");
    let mut shell = Command::new("sh");
    shell.args(["-c", rerun]).env("XDG_STATE_HOME", project.path()).current_dir("/");
    let again = run(&mut shell)?;
    ensure!(
        again.code == Some(2) && again.stderr.iter().any(|line| line == "web2: exited with return code 4"),
        "{again:?}"
    );
    Ok(())
}

pub(crate) fn a_program_that_prints_an_inventory_is_run() -> Result<()> {
    let program = "#!/bin/sh\necho '{\"web\": {\"hosts\": [\"c1\", \"c2\"], \"vars\": {\"ansible_connection\": \"local\"}}, \
                   \"_meta\": {\"hostvars\": {}}}'\n";
    let project = project(&[("cloud", program), ("hosts", program)])?;
    let ended = offshoot(&project, &["run", "-I", "cloud", "-w", "@web", "--", "echo", "hi"])?;
    ensure!(ended.stdout == ["c1: hi", "c2: hi"], "{ended:?}");
    // One that was only found is not.
    let ended = offshoot(&project, &["hosts", "@web"])?;
    ensure!(ended.code != Some(0) && ended.stdout.is_empty(), "{ended:?}");
    Ok(())
}

pub(crate) fn what_an_expression_stands_for_is_explained() -> Result<()> {
    let project = project(&[("hosts", HOSTS), ("group_vars/db.yml", "ansible_become: true\n")])?;
    let ended = offshoot(&project, &["-v", "hosts", "--explain", "@db,web1,other/x"])?;
    let expected = [
        "db1: local:db1/sudo:root; ./hosts, line 6; in @db",
        "other/x: other/x",
        "web1: local:web1; ./hosts, line 2; in @web",
    ];
    ensure!(ended.stdout == expected, "{ended:?}");
    let told = "note: inventories read: ./hosts; hosts with names of their own: 4, groups: 2";
    ensure!(ended.stderr == [told], "{ended:?}");
    let ended = offshoot(&project, &["hosts", "--split", "2", "@all"])?;
    ensure!(ended.stdout == ["db1,web3", "web[1-2]"], "{ended:?}");
    Ok(())
}

pub(crate) fn a_variable_of_pdsh_names_a_file_of_hosts() -> Result<()> {
    let project = project(&[("my hosts", "local[1-2]\n")])?;
    for (args, hosts) in [(&[][..], "local[1-2]"), (&["local7"], "local7"), (&["-x", "local1"], "local2")] {
        let (mut command, _) = tool(&[&["hosts", "-f"], args].concat());
        prepare(&mut command, project.path());
        let ended = run(command.env("WCOLL", project.path().join("my hosts")))?;
        ensure!(ended.stdout == [hosts], "{ended:?}");
    }
    Ok(())
}

pub(crate) fn a_user_that_no_login_takes_is_told() -> Result<()> {
    let project = project(&[(".config/offshoot/config.toml", "login = \"bob\"\n"), ("hosts", "[web]\nweb1\nweb2\n")])?;
    let ended = offshoot(&project, &["run", "-l", "amy", "-w", "local1", "--", "true"])?;
    let says = "no hop to local1 is by ssh; to become amy there, write local1/sudo:amy";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    let ended = offshoot(&project, &["plan", "-F", "none", "-l", "amy", "-w", "web1,local1"])?;
    ensure!(ended.code == Some(0) && ended.stderr.concat().contains("note: -l is the user"), "{ended:?}");
    ensure!(!ended.stderr.concat().contains("known as a host"), "{ended:?}");
    for (login, hosts) in [("web1", "web1,web2"), ("web", "@web"), ("web2", "@web")] {
        let ended = offshoot(&project, &["plan", "-F", "none", "-l", login, "-w", hosts])?;
        let says = format!("{login} is known as a host or group; to choose hosts, write -w");
        ensure!(ended.code == Some(0) && ended.stderr.concat().contains(&says), "{ended:?}");
    }
    // A default is for the hosts that it concerns.
    let ended = offshoot(&project, &["run", "-w", "local1", "--", "true"])?;
    ensure!(ended.code == Some(0) && !ended.stderr.concat().contains("note"), "{ended:?}");
    let ended = offshoot(&project, &["plan", "-F", "none", "-w", "amy@local1"])?;
    let says = "for this user on this machine, write local1/sudo:amy";
    ensure!(ended.stdout.concat().contains("ssh.local1") && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

pub(crate) fn groups_are_listed_with_their_hosts() -> Result<()> {
    let config = "[groups]\neu = \"web1,other\"\n";
    let project = project(&[("hosts", HOSTS), (".config/offshoot/config.toml", config)])?;
    let ended = offshoot(&project, &["hosts", "--groups"])?;
    ensure!(ended.stdout == ["@db: db1", "@eu: other,web1", "@web: web[1-3]"], "{ended:?}");
    let ended = offshoot(&project, &["hosts", "--groups", "--json"])?;
    let text = ended.stdout.concat();
    ensure!(text.contains(r#"{"group":"db","hosts":["db1"]}"#) && text.contains(r#""v":1"#), "{ended:?}");
    let ended = offshoot(&project, &["hosts", "--json", "@web!web2"])?;
    ensure!(ended.stdout == [r#"{"hosts":["web1","web3"],"v":1}"#], "{ended:?}");
    let ended = offshoot(&project, &["hosts", "--groups", "-I", "nowhere"])?;
    ensure!(ended.code != Some(0) && ended.stderr.concat().contains("nowhere"), "{ended:?}");
    Ok(())
}

pub(crate) fn what_cannot_be_chosen_is_told() -> Result<()> {
    let project = project(&[("hosts", HOSTS), ("empty/x", ""), ("odd/a.py", "import re,io\n[web]\n")])?;
    for (args, code, says) in [
        (&["@wbe"][..], None, "there is no group @wbe; read: ./hosts; did you mean @web?"),
        (&["x*"], Some(66), "no known host matches `x*`; read: ./hosts"),
        (&["web[1-3]*"], Some(64), "either wildcards or numbers"),
        (&["@web", "-x", "web[1-3]"], Some(66), "no host is left: -x takes away all that `@web` names"),
        (&["-I", "nowhere", "@web"], None, "nowhere: No such file"),
        (&["-I", "odd", "@web"], None, "the inventory odd is a directory, so each file in it is read as one"),
        (&["web:&db"], Some(64), "`:&` is of Ansible's patterns; write `&` without the colon"),
        (&["@web:!web1"], Some(64), "`:!` is of Ansible's patterns"),
    ] {
        let ended = offshoot(&project, &[&["hosts"], args].concat())?;
        let is_it = ended.code != Some(0) && code.is_none_or(|code| ended.code == Some(code));
        ensure!(is_it && ended.stderr.iter().any(|line| line.contains(says)), "{args:?}: {ended:?}");
    }
    // A host that cannot be reached as its inventory says ends the run before anything is done.
    std::fs::write(project.path().join("hosts"), "web1 ansible_host='{{ x }}'\nweb2 ansible_connection=local\n")?;
    let ended = offshoot(&project, &["run", "-a", "--", "echo", "hi"])?;
    let told = |line: &String| line.contains("ansible_host of the host web1: it is a template");
    ensure!(ended.code == Some(64) && ended.stdout.is_empty() && ended.stderr.iter().any(told), "{ended:?}");
    Ok(())
}
