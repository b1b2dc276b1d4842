//! Methods of the user's own, by programs of this machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::support::tool::{Ended, run, tool};
use crate::support::{AT_ONCE, Missing};

/// A program that is told whom it serves, and runs what it is given: words, or a line for a shell.
const ENTER: &str = "#!/bin/sh\nexport ENTERED=\"$1\"\nshift\nexec \"$@\"\n";
const DIAL: &str = "#!/bin/sh\nexport ENTERED=\"$1\"\ncase $1 in nobody) echo 'no such box: nobody' >&2; exit 9;; esac\nexec sh -c \"$2\"\n";
/// It asks on its terminal, as ssh does.
const GATE: &str = "#!/bin/sh\nprintf 'Open the gate (y/n)? ' >/dev/tty\nread -r answer </dev/tty\n\
                    [ \"$answer\" = y ] || { echo 'the gate stays shut' >&2; exit 1; }\nexec \"$@\"\n";
const CONFIG: &str = r#"
[methods.enter]
argv = ["DIR/enter", "{user@}{target}", "{command}"]

[methods.dial]
argv = ["DIR/dial", "{target}", "exec {command}"]
passes = "string"
texts = [{ says = "No such box", kind = "auth", advice = "`boxes` lists them" }]

[methods.gate]
argv = ["DIR/gate"]
prompts = [{ says = "open the gate", answer = "y" }]

[methods.missing]
argv = ["no-such-program", "{target}", "{command}"]

[methods.shut]
argv = ["DIR/gate"]
prompts = [{ says = "open the gate", asks = "become" }]
"#;

fn project() -> Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let project = tempfile::tempdir()?;
    for (name, text) in [("enter", ENTER), ("dial", DIAL), ("gate", GATE)] {
        let path = project.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    let config = CONFIG.replace("DIR", &project.path().to_string_lossy());
    std::fs::write(project.path().join("config.toml"), config)?;
    Ok(project)
}

fn offshoot(project: &Path, args: &[&str]) -> Result<Ended> {
    let config = project.join("config.toml");
    let (mut command, mut trace) = tool(&[&["--config", &config.to_string_lossy()], args].concat());
    let mut ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    ended.stdout.sort_unstable();
    Ok(ended)
}

fn entered(project: &Path, hosts: &str) -> Result<Ended> {
    offshoot(project, &["run", "-w", hosts, "-s", "echo $ENTERED"])
}

pub(crate) fn a_method_of_the_configuration_is_a_hop_wherever_it_stands() -> Result<()> {
    let project = project()?;
    let ended = entered(project.path(), "enter:amy@a[1-2],dial:b/local1,local2/dial:c,gate/enter:d")?;
    let expected =
        ["dial:b/local1: b", "enter:amy@a1: amy@a1", "enter:amy@a2: amy@a2", "gate/enter:d: d", "local2/dial:c: c"];
    ensure!(ended.code == Some(0) && ended.stdout == expected, "{ended:?}");
    Ok(())
}

pub(crate) fn what_a_method_prints_has_the_meaning_that_the_configuration_gives() -> Result<()> {
    let project = project()?;
    let ended = offshoot(project.path(), &["doctor", "local1/dial:nobody"])?;
    let told = ended.stdout.concat();
    ensure!(ended.code == Some(4) && told.contains("no such box: nobody"), "{ended:?}");
    ensure!(told.contains("do: `boxes` lists them"), "{ended:?}");
    let ended = entered(project.path(), "shut")?;
    let told = ended.stderr.join("\n");
    ensure!(ended.code == Some(4) && told.contains("shut asks a question that has no answer"), "{ended:?}");
    let ended = entered(project.path(), "diall:x")?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("did you mean dial?"), "{ended:?}");
    let ended = offshoot(project.path(), &["run", "-w", "local1/missing:x", "--", "true"])?;
    let says = "`no-such-program` is the program of the method missing, as the configuration says: is it installed";
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

/// A root with a mark, in a mount namespace of its own, which ends with the process.
const ROOT: &str = r#"
mount --make-rprivate / && mount -t tmpfs none "$1" && cd "$1" || exit 1
for part in bin sbin usr lib lib64 proc dev tmp etc; do
    [ -e "/$part" ] || continue
    mkdir "$part" && mount --rbind "/$part" "$part" || exit 1
done
echo inside >mark
echo ready
exec sleep 600
"#;

pub(crate) fn nsenter_and_chroot_are_methods() -> Result<()> {
    use std::io::BufRead as _;
    if !nix::unistd::Uid::effective().is_root() {
        return Err(Missing("needs root".into()).into());
    }
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("root");
    std::fs::create_dir(&root)?;
    let config = "[methods.nsenter]\nargv = [\"nsenter\", \"--target\", \"{target}\", \"--mount\", \"--\"]\n\
                  texts = [{ says = \"no such file\", advice = \"the process has ended\" }]\n\
                  [methods.chroot]\nargv = [\"chroot\", \"{target}\"]\n";
    std::fs::write(directory.path().join("config.toml"), config)?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", ROOT, "sh"]).arg(&root).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut namespace = Ending(unshare.spawn()?);
    let mut line = String::new();
    std::io::BufReader::new(namespace.0.stdout.take().context("a pipe")?).read_line(&mut line)?;
    if line != "ready\n" {
        return Err(Missing("nothing can be mounted here".into()).into());
    }
    ensure!(!root.join("mark").exists(), "the mark is in the other namespace only");
    let (pid, root) = (namespace.0.id(), root.display());
    let inside = format!("nsenter:{pid}/chroot:{{{root}}}");
    let hosts = format!("{inside},local1/{inside},nsenter:{pid}");
    let ended = offshoot(directory.path(), &["run", "-w", &hosts, "-s", &format!("cat /mark || cat {root}/mark")])?;
    let mut expected =
        [format!("{inside}: inside"), format!("local1/{inside}: inside"), format!("nsenter:{pid}: inside")];
    expected.sort_unstable();
    ensure!(ended.code == Some(0) && ended.stdout == expected, "{ended:?}");
    drop(namespace);
    let ended = offshoot(directory.path(), &["run", "-w", &format!("nsenter:{pid}"), "--", "true"])?;
    ensure!(ended.code == Some(4) && ended.stderr.concat().contains("the process has ended"), "{ended:?}");
    Ok(())
}

/// A process that ends with the trial.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
