//! What reaches a terminal or a pipe of what hosts print.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::text::offshoot;
use crate::support::tool::{Ended, Running, run, tool};

/// U+009B, DEL, U+202E, U+2066 and U+2028, as `printf` takes them, and as they are.
const PRINTED: &str = r"\302\233\177\342\200\256\342\201\246\342\200\250";
const RAW: [char; 5] = ['\u{9b}', '\u{7f}', '\u{202e}', '\u{2066}', '\u{2028}'];

/// Makes a program of these lines for sh.
fn script(path: &Path, lines: &str) -> Result<()> {
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n"))?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// The tool on a terminal, with `directory` in front on its path.
pub(crate) fn on_terminal(args: &[&str], directory: &Path) -> Result<Command> {
    let (command, _trace) = tool(&[]);
    let line = directory.join("line");
    let words: Vec<String> = args.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    script(&line, &format!("exec '{}' {}", env!("CARGO_BIN_EXE_offshoot"), words.join(" ")))?;
    let environment = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut typescript = Command::new("script");
    typescript.arg("-qec").arg(&line).arg("/dev/null").envs(environment);
    typescript.env("PATH", path(directory)?);
    Ok(typescript)
}

fn path(directory: &Path) -> Result<String> {
    Ok(format!("{}:{}", directory.display(), std::env::var("PATH")?))
}

fn raw_in(ended: &Ended) -> Vec<char> {
    let all = ended.stdout.iter().chain(&ended.stderr).flat_map(|line| line.chars());
    all.filter(|c| RAW.contains(c)).collect()
}

pub(crate) fn what_a_terminal_acts_on_goes_out_as_an_escape() -> Result<()> {
    let directory = tempfile::tempdir()?;
    script(&directory.path().join("ssh"), &format!("printf 'a{PRINTED}b\\n'; printf 'a{PRINTED}b\\n' >&2; exit 255"))?;
    let line = format!("printf 'a{PRINTED}b\\n'; printf 'a{PRINTED}b\\n' >&2; exit 3");
    let name: String = format!("/no/such/{}", RAW.iter().collect::<String>());
    for args in [
        &["run", "-w", "local1", "-s", &line][..],
        &["run", "--json", "-w", "local1", "-s", &line],
        &["run", "--jsonl", "-w", "local1", "-s", &line],
        &["run", "-w", "local1", "--", &name],
        &["run", "--json", "-w", "local1", "--", &name],
        &["run", "-vv", "-w", "local1", "--", &name],
        &["run", "-w", "web1", "--", "true"],
        &["run", "--jsonl", "-w", "web1", "--", "true"],
        &["doctor", "web1"],
        &["doctor", "--json", "web1"],
    ] {
        let ended = run(&mut on_terminal(args, directory.path())?)?;
        ensure!(raw_in(&ended).is_empty(), "{args:?} on a terminal: {ended:?}");
        let (mut command, _trace) = tool(args);
        let ended = run(command.env("PATH", path(directory.path())?))?;
        // Text of hosts goes through a pipe as it is.
        let is_text = args == ["run", "-w", "local1", "-s", &line];
        ensure!(raw_in(&ended).is_empty() != is_text, "{args:?} on a pipe: {ended:?}");
        if args.contains(&"--json") && args.contains(&"-s") {
            let document: Value = serde_json::from_str(&ended.stdout.concat())?;
            let text = format!("a{}b\n", RAW.iter().collect::<String>());
            assert_eq!(document["hosts"]["local1"]["stdout"], text, "the escapes mean the same");
        }
    }
    let shown = run(&mut on_terminal(&["run", "-w", "local1", "-s", &line], directory.path())?)?;
    let escapes = r"a\u{9b}\u{7f}\u{202e}\u{2066}\u{2028}b";
    ensure!(shown.stdout.iter().filter(|line| line.contains(escapes)).count() == 2, "{shown:?}");
    Ok(())
}

pub(crate) fn of_a_progress_bar_the_last_frame_is_shown() -> Result<()> {
    let line = r"for n in 1 50 100; do printf '\r%3d%%' $n; sleep 0.01; done; echo; printf '\r%3d%%' 7";
    let ended = offshoot(&["run", "-w", "local1", "-s", line])?;
    assert_eq!(ended.stdout, ["local1: 100%", "local1:   7%"]);
    let note = "local1: note: 2 pieces of output that end with a carriage return are not shown; --raw shows them";
    ensure!(ended.stderr.iter().any(|line| line == note), "{ended:?}");
    let raw = offshoot(&["run", "--raw", "-w", "local1", "-s", line])?.stdout.join("\n");
    ensure!(raw.contains("\r  1%\r 50%\r100%"), "{raw:?}");
    let directory = tempfile::tempdir()?;
    let shown = run(&mut on_terminal(&["run", "-w", "local1", "-s", line], directory.path())?)?.stdout.join("\n");
    ensure!(shown.contains("100%") && !shown.contains("50%") && !shown.contains("^M"), "{shown:?}");
    ensure!(!shown.contains("note: "), "a terminal shows the last frame alone as well: {shown:?}");
    Ok(())
}

pub(crate) fn a_silent_run_shows_on_a_terminal_alone_how_far_it_is() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let begun = directory.path().join("begun");
    let line = format!("mkdir {} 2>/dev/null || {{ sleep 7; echo late; }}", begun.display());
    let args = ["run", "-w", "local[1-2]", "-s", &line];
    let shown = run(on_terminal(&args, directory.path())?.env("TERM", "xterm"))?.stdout.join("\n");
    ensure!(shown.contains(" s: 1 of 2 hosts done, not local"), "{shown:?}");
    let after = shown.rsplit_once(" hosts done, not local").context("a line")?.1;
    ensure!(after[1..].starts_with("\x1b[K\r\x1b[K"), "it is erased before what comes: {after:?}");
    let ended = offshoot(&["run", "-w", "local1", "-s", "sleep 6"])?;
    ensure!(ended.stderr.iter().all(|line| !line.contains("hosts done")), "{ended:?}");
    Ok(())
}

pub(crate) fn a_long_line_is_whole_or_marked() -> Result<()> {
    let print = |bytes: usize| {
        let line = format!("head -c {bytes} /dev/zero | tr '\\0' x; echo");
        offshoot(&["run", "-w", "local1", "-s", &line]).map(|ended| ended.stdout)
    };
    assert_eq!(print(200_000)?, [format!("local1: {}", "x".repeat(200_000))]);
    let pieces = print(300_000)?;
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.matches('x').count()).collect();
    assert_eq!(lengths, [262_144, 300_000 - 262_144]);
    ensure!(pieces[0].ends_with("x [cut; the line goes on]") && pieces[1].ends_with('x'));
    Ok(())
}

/// A sudo that asks on the terminal, as the real one.
const SUDO: &str = r#"
while :; do case $1 in -p) prompt=$2; shift 2;; -u) shift 2;; --) shift; break;; -*) shift;; *) break;; esac; done
printf '%s' "$prompt" >/dev/tty; stty -echo </dev/tty
read -r password </dev/tty
printf '\nSorry, try again.\n%s' "$prompt" >/dev/tty
read -r password </dev/tty
exit 1"#;

/// Whether our mark is in the text, and not only a host whose name begins like it.
fn has_mark(text: &str) -> bool {
    text.split("offshoot-")
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()).starts_with("-password"))
}

pub(crate) fn a_password_that_is_missing_or_wrong_is_told_once_and_names_the_option() -> Result<()> {
    let directory = tempfile::tempdir()?;
    script(&directory.path().join("sudo"), SUDO)?;
    let (mut command, _trace) = tool(&["run", "-w", "local1", "-b", "--", "id"]);
    let missing = run(command.env("PATH", path(directory.path())?))?;
    let told = missing.stderr.join("\n");
    ensure!(missing.code == Some(4) && told.contains("sudo password is required") && told.contains("-K"), "{told}");
    ensure!(!has_mark(&told), "the mark is ours: {told}");
    for args in [&["run", "-w", "local1", "-bK", "--", "id"][..], &["doctor", "-K", "local1/sudo"]] {
        let mut running = Running::start(&mut on_terminal(args, directory.path())?)?;
        while !running.has_ended() {
            // What is typed before the question is thrown away.
            if let Some(stdin) = running.stdin() {
                let _ = stdin.write_all(b"wrong\n");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let told = running.finish()?.stdout.join("\n");
        let count = told.matches("is incorrect").count() + told.matches("try again").count();
        ensure!(count == 1, "{args:?} tells it once: {told}");
        ensure!(!has_mark(&told) && !told.contains("ssh -v"), "{args:?}: {told}");
    }
    Ok(())
}

pub(crate) fn the_memory_of_a_tool_that_holds_a_password_is_kept_from_others() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let seen = directory.path().join("seen");
    // What the tool has while it holds the password, and what a command gets.
    let look = format!("{{ grep 'core file' /proc/$PPID/limits; ulimit -Sc; }} >{}; exit 1", seen.display());
    script(&directory.path().join("sudo"), &look)?;
    let tool = env!("CARGO_BIN_EXE_offshoot");
    script(&directory.path().join("limited"), &format!("ulimit -Sc 1000 || exit 99; exec '{tool}' \"$@\""))?;
    let mut typescript = Command::new("script");
    let line = format!("{} run -K -w sudo:root -- true", directory.path().join("limited").display());
    typescript.arg("-qec").arg(line).arg("/dev/null").env("PATH", path(directory.path())?);
    let mut running = Running::start(&mut typescript)?;
    while !running.has_ended() {
        if let Some(stdin) = running.stdin() {
            let _ = stdin.write_all(b"secret\n");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let told = running.finish()?.stdout.join("\n");
    let seen = std::fs::read_to_string(&seen).with_context(|| told)?;
    let (limit, command) = seen.trim().split_once('\n').context("two lines")?;
    ensure!(limit.split_whitespace().nth(4) == Some("0"), "{limit}");
    assert_eq!(command, "1000");
    Ok(())
}

pub(crate) fn what_people_of_other_tools_type_is_answered_with_what_it_is_here() -> Result<()> {
    for (args, says) in [
        (&["run", "-H", "web1", "uptime"][..], "pssh; write -w HOST"),
        (&["all", "-m", "shell", "-a", "uptime"], "offshoot run -w HOSTS -s LINE"),
        (&["exec", "web1", "uptime"], "offshoot run -w HOSTS -- CMD"),
        (&["run", "web1", "uptime"], "tip: -w names the hosts"),
        (&["-w", "web1", "uptime"], "write offshoot run -w web1 -- uptime"),
        (&["run", "-w", "local1", "-b", "root", "whoami"], "write -b=root"),
        (&["run", "-b", "root", "-w", "local1", "whoami"], "tip: `root` begins the command"),
        (&["plan", "-w", "local1", "--", "uptime"], "takes no command, so leave out `uptime`"),
        (&["hosts", "-w", "local1"], "write offshoot hosts 'EXPR'"),
        (&["doctor", "-w", "local1"], "write offshoot doctor HOST"),
        (&["run", "-w", "local1", "-a", "--", "id"], "it cannot stand beside -w local1"),
        (&["run", "-w", "local1", "-K", "--", "id"], "write -b to become root"),
        (&["run", "-w", "local1", "-s", "echo", "hi"], "quote it: -s 'echo hi'"),
        (&["shell", "local1", "id"], "offshoot shell HOST -- id"),
    ] {
        let ended = offshoot(args)?;
        let told = ended.stderr.join("\n");
        ensure!(ended.code == Some(64) && told.contains(says), "{args:?}: {told}");
    }
    let directory = tempfile::tempdir()?;
    let (script, list) = (directory.path().join("p.py"), directory.path().join("prod.ini"));
    std::fs::write(&script, "exit 0\n")?;
    std::fs::write(&list, "[local1]\nlocal2 ansible_connection=local\n[web]\nweb1\n")?;
    let (script, list) = (script.to_string_lossy(), list.to_string_lossy());
    let missing = directory.path().join("*.log");
    let missing = missing.to_string_lossy();
    let into = directory.path().join("logs");
    let into = into.to_string_lossy();
    for (args, says) in [
        (&["script", "-w", "local1", &script][..], "does not begin with `#!`, so sh runs it"),
        (&["run", "-i", &list, "-w", "local1", "true"], &format!("write -I {list}, and -w '@GROUP'")),
        (&["pull", "-w", "local1", &missing, &into], "names on hosts are no patterns"),
        (
            &["run", "-w", "local1", "--", "sudo", "-n", "-u", "no-such-user", "id"],
            "-b in its place runs the command as root",
        ),
        (&["run", "--connect-timeout=1s", "-I", &list, "-w", "web", "true"], "for the group of that name write '@web'"),
    ] {
        let told = offshoot(args)?.stderr.join("\n");
        ensure!(told.contains(says), "{args:?}: {told}");
    }
    let typed = ["run", "-e", "P=hunter2", "-Sw", "local1", "--", "false"];
    let ended = offshoot(&typed)?;
    let rerun = ended.stderr.iter().find_map(|line| line.trim().strip_prefix("rerun: ")).context("a rerun")?;
    ensure!(rerun.ends_with(" run -e P -S -w local1 -- false  # export P first: its value is not shown"), "{rerun}");
    Ok(())
}
