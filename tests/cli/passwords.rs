//! Passwords without a terminal: of a file, a command, or a descriptor.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::support::AT_ONCE;
use crate::support::tool::{Ended, Running, run, tool};

/// It asks for its first argument on its terminal, as sudo asks for a password.
const ASKS: &str = "#!/bin/sh\nprintf 'The word? ' >/dev/tty\nread -r answer </dev/tty\n\
                    [ \"$answer\" = \"$1\" ] || { echo 'it is another word' >&2; exit 1; }\nshift\nexec \"$@\"\n";
const CONFIG: &str = r#"
[methods.vault]
argv = ["DIR/asks", "sesame"]
prompts = [{ says = "the word", asks = "become" }]

[methods.door]
argv = ["DIR/asks", "knock"]
prompts = [{ says = "the word", asks = "login" }]
"#;

fn project(more: &str) -> Result<TempDir> {
    let project = tempfile::tempdir()?;
    let (asks, word) = (project.path().join("asks"), project.path().join("word"));
    std::fs::write(&asks, ASKS)?;
    std::fs::set_permissions(&asks, PermissionsExt::from_mode(0o755))?;
    std::fs::write(&word, "sesame\nand more\n")?;
    std::fs::set_permissions(&word, PermissionsExt::from_mode(0o600))?;
    let config = CONFIG.replace("DIR", &project.path().to_string_lossy());
    std::fs::write(project.path().join("config.toml"), format!("{more}\n{config}"))?;
    Ok(project)
}

fn command(project: &Path, args: &[&str]) -> (Command, crate::support::trace::Trace) {
    let (mut command, trace) = tool(args);
    command.current_dir(project);
    (command, trace)
}

fn offshoot(project: &Path, args: &[&str], stdin: &str) -> Result<Ended> {
    let (mut command, mut trace) = command(project, &[&["--config", "config.toml"], args].concat());
    let mut running = Running::start(&mut command)?;
    // A tool that has ended reads nothing.
    let _ = running.stdin().context("stdin")?.write_all(stdin.as_bytes());
    let mut ended = running.finish()?;
    trace.expect_nothing_left(AT_ONCE)?;
    ended.stdout.sort_unstable();
    Ok(ended)
}

pub(crate) fn a_password_comes_from_a_file_a_command_or_a_descriptor() -> Result<()> {
    let project = project("")?;
    let place = project.path();
    for source in [
        &["--become-pass-file", "word"][..],
        &["--become-pass-command", "echo asked >>calls; cat word; echo a word of its own >&2"],
        &["--become-pass-fd", "0"],
    ] {
        let args = [&["run", "-w", "vault,local1/vault"], source, &["-s", "cat; echo in"]].concat();
        let ended = offshoot(place, &args, "sesame\nrest\n")?;
        // What stands behind the line goes to the commands.
        let mut lines = vec!["local1/vault: in", "local1/vault: rest", "vault: in", "vault: rest"];
        if source[0] != "--become-pass-fd" {
            lines.extend(["local1/vault: sesame", "vault: sesame"]);
        }
        lines.sort_unstable();
        ensure!(ended.code == Some(0) && ended.stdout == lines, "{source:?}: {ended:?}");
        let told = ended.stderr.concat();
        ensure!(told.contains("a word of its own") == (source[0] == "--become-pass-command"), "{ended:?}");
    }
    ensure!(std::fs::read_to_string(place.join("calls"))? == "asked\n", "it runs once for all hosts");
    // One descriptor has both, that of ssh first.
    let both = ["run", "-w", "door/vault", "--pass-fd", "0", "--become-pass-fd", "0", "-s", "cat"];
    let ended = offshoot(place, &both, "knock\nsesame\nrest\n")?;
    ensure!(ended.code == Some(0) && ended.stdout == ["door/vault: rest"], "{ended:?}");
    let ended = offshoot(place, &["run", "-n", "-w", "door", "--pass-command", "echo knock", "--", "id", "-u"], "")?;
    ensure!(ended.code == Some(0), "{ended:?}");
    // Neither a context nor a command has the descriptor, or the password in its arguments or its environment.
    let look = "ls -l /proc/$$/fd /proc/$PPID/fd; cat /proc/$$/environ /proc/$PPID/environ /proc/$PPID/cmdline";
    let line = format!("exec '{}' --config config.toml \"$@\" 7<word", env!("CARGO_BIN_EXE_offshoot"));
    let (tool, mut trace) = command(place, &[]);
    let mut sh = Command::new("sh");
    sh.args(["-c", &line, "sh", "run", "-n", "-w", "vault", "--become-pass-fd", "7", "-s", look]).current_dir(place);
    sh.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut sh)?;
    let all = ended.stdout.concat();
    ensure!(ended.code == Some(0) && all.contains("fd:"), "{ended:?}");
    ensure!(!all.contains("sesame") && !all.contains("/word"), "{all}");
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn a_password_that_cannot_be_had_is_told_before_anything_is_connected() -> Result<()> {
    let project = project("")?;
    let place = project.path();
    std::fs::write(place.join("open"), "sesame\n")?;
    std::fs::set_permissions(place.join("open"), PermissionsExt::from_mode(0o644))?;
    std::fs::write(place.join("empty"), "\nsesame\n")?;
    std::fs::set_permissions(place.join("empty"), PermissionsExt::from_mode(0o600))?;
    for (source, says) in [
        (&["--become-pass-file", "open"][..], "open to others than its owner (mode 644); take that away with `chmod"),
        (&["--become-pass-file", "missing"], "--become-pass-file missing: No such file"),
        (&["--become-pass-file", "empty"], "there is no password: the line is empty"),
        (&["--become-pass-file", "."], "--become-pass-file .: "),
        (&["--become-pass-file", "-"], "by --pass-fd or --become-pass-fd"),
        (&["--become-pass-command", "echo why >&2; exit 3"], "it has ended with exit code 3, so nothing was run"),
        (&["--become-pass-command", "true"], "the line is empty"),
        (&["--become-pass-fd", "99"], "--become-pass-fd 99: "),
        (&["--become-pass-fd", "0"], "the line is empty"),
        (&["-K", "--become-pass-file", "word"], "cannot be used with"),
        (&["--become-pass-command", "x", "--become-pass-file", "word"], "cannot be used with"),
        (&["--ask-pass", "--pass-fd", "0"], "cannot be used with"),
    ] {
        let args = [&["run", "-w", "vault"], source, &["--", "touch", "mark"]].concat();
        let ended = offshoot(place, &args, "")?;
        let told = ended.stderr.join("\n");
        ensure!(ended.code == Some(64) && told.contains(says), "{source:?}: {ended:?}");
        ensure!(!told.contains("sesame"), "{told}");
        ensure!(says != "it has ended" || told.contains("why"), "{told}");
        ensure!(!place.join("mark").exists(), "{source:?}");
    }
    // Where nobody can be asked, the other ways are named.
    for (option, other) in [("-K", "--become-pass-file, --become-pass-command"), ("--ask-pass", "--pass-file, ")] {
        let (tool, mut trace) =
            command(place, &["--config", "config.toml", "run", option, "-w", "vault", "--", "true"]);
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(tool.get_program()).args(tool.get_args()).current_dir(place);
        alone.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = run(&mut alone)?;
        let told = ended.stderr.concat();
        ensure!(ended.code == Some(64) && told.contains("there is no terminal (/dev/tty: "), "{ended:?}");
        ensure!(told.contains(other), "{told}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    // A program with many ssh could read the line once only.
    let ended = offshoot(place, &["with", "--become-pass-fd", "0", "local1", "--", "true"], "sesame\n")?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("read only once"), "{ended:?}");
    Ok(())
}

pub(crate) fn the_configuration_can_say_where_passwords_come_from() -> Result<()> {
    let project = project("become-pass-file = \"word\"")?;
    let place = project.path();
    let args = ["run", "-n", "-w", "vault", "--", "echo", "in"];
    let ended = offshoot(place, &args, "")?;
    ensure!(ended.code == Some(0) && ended.stdout == ["vault: in"], "{ended:?}");
    // The command line comes first, by whichever option.
    for source in [["--become-pass-command", "echo wrong"], ["--become-pass-fd", "0"]] {
        let ended = offshoot(place, &[&args[..1], &source, &args[1..]].concat(), "wrong\n")?;
        ensure!(ended.code == Some(4) && ended.stderr.concat().contains("it is another word"), "{ended:?}");
    }
    // Hosts that ask for none need no file.
    std::fs::remove_file(place.join("word"))?;
    let ended = offshoot(place, &["run", "-n", "-w", "local1", "--", "echo", "in"], "")?;
    ensure!(ended.code == Some(0) && ended.stdout == ["local1: in"], "{ended:?}");
    let ended = offshoot(place, &args, "")?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("word: No such file"), "{ended:?}");
    let config = std::fs::read_to_string(place.join("config.toml"))?;
    std::fs::write(place.join("config.toml"), format!("become-pass-command = \"echo sesame\"\n{config}"))?;
    let ended = offshoot(place, &args, "")?;
    let says = "there are become-pass-file and become-pass-command; keep one of them";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

pub(crate) fn the_command_of_each_hop_is_logged_on_demand_and_no_password() -> Result<()> {
    let project = project("")?;
    let place = project.path();
    let args = ["run", "-n", "-w", "local1/vault", "--become-pass-file", "word", "--", "true"];
    let ended = offshoot(place, &[&["-vv"], &args[..]].concat(), "")?;
    let told = ended.stderr.join("\n");
    let asks = place.join("asks").display().to_string();
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(told.contains("local.local1 is started by local: a copy of this program"), "{told}");
    ensure!(told.contains(&format!("vault is started by vault: {asks} '***'")), "{told}");
    // Not even the word that the user has written into the configuration.
    ensure!(!told.contains("sesame"), "{told}");
    let ended = offshoot(place, &[&["-v"], &args[..]].concat(), "")?;
    ensure!(!ended.stderr.concat().contains("is started by"), "{ended:?}");
    Ok(())
}
