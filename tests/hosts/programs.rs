//! Programs that start ssh, through `offshoot rsh`: rsync, scp, sftp, git and Ansible reach root behind ssh and sudo, and a
//! container, by the names that the configuration gives these hosts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::OnHosts;
use crate::copies::tree::noise;
use crate::fleet::Fleet;
use crate::support::tool::{Ended, Running, tool};
use crate::support::{A_WHILE, Missing, PATIENCE, unique};

const TOOL: &str = env!("CARGO_BIN_EXE_offshoot");
/// The hosts, as programs name them that split a name at a slash.
const HOSTS: [&str; 2] = ["root", "tools"];
const CONFIGURATION: &str = "
[hosts]
root = \"nopass/sudo\"
tools = \"engines/docker:tools\"
box = \"engines/docker:app\"
shell-less = \"engines/docker:bare\"
";

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for (name, trial) in [
        ("rsync", rsync as fn(&Desk, &str) -> Result<()>),
        ("scp, by its old protocol and by sftp,", scp),
        ("sftp", sftp),
        ("git", git),
    ] {
        for host in HOSTS {
            let name = format!("programs: what {name} takes to `{host}` of the configuration comes back the same");
            let body = move |fleet: &Fleet| {
                let desk = Desk::new(fleet)?;
                let result = trial(&desk, host);
                desk.run(TOOL, &["rsh", host, "rm", "-rf", &desk.there])?;
                result
            };
            trials.push((name, Box::new(body)));
        }
    }
    for host in BARE {
        let name = format!("programs: scp and sftp need no server on `{host}`, which has none");
        trials.push((name, Box::new(move |fleet| without_server(fleet, host))));
    }
    trials.push(("programs: Ansible pings, commands and copies as root behind ssh and sudo".into(), Box::new(ansible)));
    trials
}

/// Hosts without a server of sftp: nothing but a busybox, a user there, a container, and one without a shell.
const BARE: [&str; 4] = ["bare", "bare-user", "box", "shell-less"];

/// A directory here with files to copy, the link `offshoot-rsh` and the configuration, and a name for a directory there.
struct Desk {
    here: TempDir,
    there: String,
}

impl Desk {
    fn new(fleet: &Fleet) -> Result<Self> {
        let here = tempfile::tempdir()?;
        let desk = Self { here, there: format!("/tmp/offshoot-programs-{}", unique()) };
        symlink(TOOL, desk.path("offshoot-rsh"))?;
        fs::create_dir(desk.path("offshoot"))?;
        let configuration = format!("ssh-config = \"{}\"\n{CONFIGURATION}", fleet.config.display());
        fs::write(desk.path("offshoot/config.toml"), configuration)?;
        for nth in 0..50_usize {
            let directory = desk.path("from").join(format!("d{}", nth % 5)).join("deeper");
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(format!("file {nth}")), noise(nth * 1000))?;
        }
        fs::write(desk.path("from/large"), noise(3_000_001))?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn ssh(&self) -> String {
        self.text("offshoot-rsh")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("XDG_CONFIG_HOME", self.here.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_SSH", self.ssh()).env("GIT_SSH_VARIANT", "ssh").current_dir(self.here.path());
        command
    }

    /// Runs a program to its end, which is a success and leaves nothing.
    fn run(&self, program: &str, args: &[&str]) -> Result<Ended> {
        self.finish(self.command(program).args(args))
    }

    fn finish(&self, command: &mut Command) -> Result<Ended> {
        let name = command.get_program().to_string_lossy().into_owned();
        if !name.contains('/') && Command::new(&name).arg("--version").output().is_err() {
            return Err(Missing(format!("{name} is not installed")).into());
        }
        let (prepared, mut trace) = tool(&[]);
        let mark = prepared.get_envs().filter(|(name, _)| *name == crate::support::tool::MARK);
        command.envs(mark.filter_map(|(name, value)| Some((name, value?))));
        let ended = Running::start(command)?.finish_within(4 * PATIENCE)?;
        ensure!(ended.code == Some(0), "{command:?}: {ended:?}");
        trace.expect_nothing_left(A_WHILE)?;
        Ok(ended)
    }

    /// Fails unless this is a copy of `from`.
    fn expect_copy(&self, name: &str) -> Result<()> {
        let output = Command::new("diff").arg("-r").args([self.path("from"), self.path(name)]).output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }
}

fn rsync(desk: &Desk, host: &str) -> Result<()> {
    let (rsh, there) = (format!("{TOOL} rsh"), format!("{host}:{}/", desk.there));
    desk.run("rsync", &["-a", "-e", &rsh, "from/", &there])?;
    desk.run("rsync", &["-a", "-e", &rsh, &there, "back"])?;
    desk.expect_copy("back")?;
    let again = desk.run("rsync", &["-ai", "-e", &rsh, "from/", &there])?;
    ensure!(again.stdout.is_empty(), "nothing is copied again: {again:?}");
    Ok(())
}

fn scp(desk: &Desk, host: &str) -> Result<()> {
    let rsh = desk.ssh();
    for (options, name) in [(&["-O"][..], "old"), (&[], "new")] {
        let there = format!("{host}:{}-{name}", desk.there);
        let copied = desk.run("scp", &[options, &["-rpq", "-S", &rsh, "from", &there]].concat());
        let copied = copied.and_then(|_| desk.run("scp", &[options, &["-rpq", "-S", &rsh, &there, name]].concat()));
        desk.run(TOOL, &["rsh", host, "rm", "-rf", &format!("{}-{name}", desk.there)])?;
        copied?;
        desk.expect_copy(name)?;
    }
    Ok(())
}

fn sftp(desk: &Desk, host: &str) -> Result<()> {
    let there = &desk.there;
    let batch = format!(
        "mkdir {there}\nput -r from {there}/copy\nrename {there}/copy {there}/moved\nchmod 750 {there}/moved/large\n\
         get -rp {there}/moved back\nls -l {there}/moved/large\nput from/large {there}/again\nrm {there}/again\n"
    );
    fs::write(desk.path("batch"), batch)?;
    let ended = desk.run("sftp", &["-q", "-S", &desk.ssh(), "-b", "batch", host])?;
    ensure!(ended.stdout.iter().any(|line| line.starts_with("-rwxr-x---")), "{ended:?}");
    desk.expect_copy("back")
}

fn without_server(fleet: &Fleet, host: &str) -> Result<()> {
    let desk = Desk::new(fleet)?;
    // Not every one of these has /tmp.
    let there = format!("./offshoot-{}", unique());
    let rsh = desk.ssh();
    let batch = format!(
        "mkdir {there}\nput -rp from {there}/copy\nrename {there}/copy {there}/moved\nchmod 750 {there}/moved/large\n\
         ln -s moved {there}/link\nget -rp {there}/moved back\nls -l {there}/moved/large\nls {there}/link\npwd\n"
    );
    fs::write(desk.path("batch"), batch)?;
    let copied = desk.run("sftp", &["-q", "-S", &rsh, "-b", "batch", host]).and_then(|ended| {
        ensure!(ended.stdout.iter().any(|line| line.starts_with("-rwxr-x---")), "{ended:?}");
        desk.expect_copy("back")?;
        desk.run("scp", &["-rpq", "-S", &rsh, "from", &format!("{host}:{there}/again")])?;
        desk.run("scp", &["-rpq", "-S", &rsh, &format!("{host}:{there}/again"), "again"])?;
        desk.expect_copy("again")
    });
    let mut list = format!("rm {there}/link\n-rm {there}/*/large\n");
    for name in ["moved", "again"] {
        for nth in 0..5 {
            list += &format!(
                "-rm {there}/{name}/d{nth}/deeper/*\n-rmdir {there}/{name}/d{nth}/deeper\n-rmdir {there}/{name}/d{nth}\n"
            );
        }
        list += &format!("-rmdir {there}/{name}\n");
    }
    // It fails unless the directory is empty by then.
    fs::write(desk.path("batch"), list + &format!("rmdir {there}\n"))?;
    let removed = desk.run("sftp", &["-q", "-S", &rsh, "-b", "batch", host]);
    copied?;
    // What cannot be done is told as such.
    fs::write(desk.path("batch"), "-get /no/such/file\nmkdir /no/such/directory\n")?;
    let ended = Running::start(desk.command("sftp").args(["-q", "-S", &rsh, "-b", "batch", host]))?.finish()?;
    let said = ended.stderr.join("\n");
    ensure!(ended.code == Some(1) && said.contains("not found") && said.contains("remote mkdir"), "{ended:?}");
    removed.map(drop)
}

fn git(desk: &Desk, host: &str) -> Result<()> {
    let git =
        |args: &[&str]| desk.run("git", &[&["-c", "user.name=amy", "-c", "user.email=amy@example.com"], args].concat());
    git(&["init", "-q", "-b", "main", "from"])?;
    git(&["-C", "from", "add", "."])?;
    git(&["-C", "from", "commit", "-qm", "first"])?;
    desk.run(TOOL, &["rsh", host, "git", "init", "-q", "--bare", "-b", "main", &desk.there])?;
    let url = format!("{host}:{}", desk.there);
    git(&["-C", "from", "push", "-q", &url, "main"])?;
    git(&["clone", "-q", &url, "back"])?;
    let [from, back] = ["from", "back"].map(|name| git(&["-C", name, "rev-parse", "main"]));
    assert_eq!(from?.stdout, back?.stdout);
    for name in ["from", "back"] {
        fs::remove_dir_all(desk.path(name).join(".git"))?;
    }
    desk.expect_copy("back")
}

fn ansible(fleet: &Fleet) -> Result<()> {
    let desk = Desk::new(fleet)?;
    let installed = &fleet.ansible;
    ensure!(installed.join("bin/ansible").exists(), "{} has no Ansible", installed.display());
    let inventory = format!("root ansible_ssh_executable={} ansible_python_interpreter=/usr/bin/python3\n", desk.ssh());
    fs::write(desk.path("inventory"), inventory)?;
    let run = |method: &str, args: &[&str]| {
        let mut command = desk.command("python3");
        command.arg(installed.join("bin/ansible")).args(["all", "-i", "inventory"]).args(args);
        command.env("PYTHONPATH", installed).env("HOME", desk.here.path()).env("ANSIBLE_NOCOLOR", "1");
        // A connection that ssh itself shares must not stay after the trial for long.
        command.env("ANSIBLE_SSH_ARGS", "-C -o ControlMaster=auto -o ControlPersist=1s");
        // Its scp and sftp do not know the stand-in by themselves.
        // In one word: Ansible takes a program for ssh if a word of its command line is the path of that.
        let stand_in = format!("-S{}", desk.ssh());
        command.env("ANSIBLE_SCP_EXTRA_ARGS", &stand_in).env("ANSIBLE_SFTP_EXTRA_ARGS", &stand_in);
        desk.finish(command.env("ANSIBLE_SSH_TRANSFER_METHOD", method))
    };
    let copied = (|| {
        let ended = run("smart", &["-m", "ping"])?;
        ensure!(ended.stdout.concat().contains("\"ping\": \"pong\""), "{ended:?}");
        let ended = run("smart", &["-m", "command", "-a", "id -un"])?;
        assert_eq!(ended.stdout.last().map(String::as_str), Some("root"), "{ended:?}");
        for (method, privilege) in [("sftp", None), ("scp", None), ("piped", None), ("sftp", Some("-b"))] {
            let to = format!("{}-{method}{}", desk.there, privilege.unwrap_or_default());
            let what = format!("src={} dest={to}", desk.text("from/large"));
            let args = ["-m", "copy", "-a", &what].into_iter().chain(privilege).collect::<Vec<_>>();
            let ended = run(method, &args)?;
            ensure!(ended.stdout.concat().contains("\"changed\": true"), "{ended:?}");
            // This host has the files of this machine.
            ensure!(fs::read(&to)? == fs::read(desk.path("from/large"))?, "{method}: the copy differs");
        }
        Ok(())
    })();
    let remove = format!("rm -rf {}*", desk.there);
    desk.run(TOOL, &["rsh", "root", &remove]).context("nothing is removed")?;
    copied
}
