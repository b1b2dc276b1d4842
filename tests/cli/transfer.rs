//! `offshoot push` and `offshoot pull`: files to hosts and from hosts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::shell::Typist;

use crate::random::{Random, rounds};
use crate::support::process::{Process, below};
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::{A_WHILE, AT_ONCE, PATIENCE, wait_for};

/// Runs the tool in a directory.
fn at(place: &Path, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    let ended = run(command.current_dir(place))?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The names in a directory, in order.
fn names(place: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(place)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A directory with a tree in `from`, and the path of `to` in it.
fn tree() -> Result<(TempDir, String)> {
    let place = tempfile::tempdir()?;
    fs::create_dir_all(place.path().join("from/a/b"))?;
    fs::write(place.path().join("from/a/b/file"), "hello\n")?;
    fs::write(place.path().join("from/run"), "#!/bin/sh\n")?;
    fs::set_permissions(place.path().join("from/run"), PermissionsExt::from_mode(0o755))?;
    symlink("run", place.path().join("from/link"))?;
    let to = place.path().join("to").to_string_lossy().into_owned();
    Ok((place, to))
}

pub(crate) fn a_tree_is_pushed_and_then_only_what_differs() -> Result<()> {
    let (place, to) = tree()?;
    let ended = at(place.path(), &["push", "-w", "local1/local2", "from", &to])?;
    let wanted = "local1/local2: 2 files written, 16 bytes sent, 4 made, 0 unchanged";
    ensure!(ended.code == Some(0) && ended.stdout == [wanted], "{ended:?}");
    ensure!(text(&place.path().join("to/a/b/file"))? == "hello\n");
    ensure!(fs::metadata(place.path().join("to/run"))?.mode() & 0o777 == 0o755);
    ensure!(fs::read_link(place.path().join("to/link"))? == Path::new("run"));
    fs::write(place.path().join("from/a/b/file"), "hello, again\n")?;
    fs::write(place.path().join("to/extra"), "")?;
    let dry = at(place.path(), &["push", "-w", "local1", "--delete", "--dry-run", "from", &to])?;
    ensure!(dry.stdout.contains(&"local1: write a/b/file".into()), "{dry:?}");
    ensure!(dry.stdout.contains(&"local1: delete extra".into()), "{dry:?}");
    ensure!(text(&place.path().join("to/a/b/file"))? == "hello\n" && place.path().join("to/extra").exists());
    let ended = at(place.path(), &["push", "-w", "local1", "--delete", "from/", &to])?;
    ensure!(ended.stdout.concat().starts_with("local1: 1 file written, 13 bytes sent, "), "{ended:?}");
    ensure!(names(&place.path().join("to"))? == ["a", "link", "run"]);
    ensure!(text(&place.path().join("to/a/b/file"))? == "hello, again\n");
    Ok(())
}

pub(crate) fn each_host_is_pulled_into_a_directory_of_its_own() -> Result<()> {
    let (place, _) = tree()?;
    let from = place.path().join("from").to_string_lossy().into_owned();
    let ended = at(place.path(), &["pull", "-w", "local1,local1/local2", "--exclude", "run", &from, "out"])?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 2, "{ended:?}");
    for host in ["local1", "local1+local2"] {
        let host = place.path().join("out").join(host).join("from");
        ensure!(text(&host.join("a/b/file"))? == "hello\n" && names(&host)? == ["a", "link"]);
    }
    // The link that the user names is followed.
    symlink(place.path().join("from/a"), place.path().join("named"))?;
    let named = place.path().join("named").to_string_lossy().into_owned();
    at(place.path(), &["pull", "-w", "local1", &named, "out"])?;
    ensure!(text(&place.path().join("out/local1/named/b/file"))? == "hello\n");
    Ok(())
}

pub(crate) fn what_cannot_be_copied_is_told_and_the_rest_arrives() -> Result<()> {
    let (place, to) = tree()?;
    fs::create_dir_all(place.path().join("to/run"))?;
    let ended = at(place.path(), &["push", "-w", "local1", "from", &to])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    let told = "local1: run: a directory is in its place; remove it, or copy the tree with --delete";
    ensure!(ended.stderr.contains(&told.into()), "{ended:?}");
    ensure!(text(&place.path().join("to/a/b/file"))? == "hello\n");
    let ended = at(place.path(), &["push", "-w", "local1", "--json", "from/run", &format!("{to}/no/such/name")])?;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout.concat())?;
    let error = &json["hosts"]["local1"]["error"];
    ensure!(ended.code == Some(2) && error["kind"] == "not_found" && error["phase"] == "copy", "{json}");
    let ended = at(place.path(), &["push", "-w", "local1", "missing", &to])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("cannot read missing"), "{ended:?}");
    let ended = at(place.path(), &["pull", "-w", "local1", "/no/such/file", "/etc/hostname", "out"])?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("No such file"), "{ended:?}");
    ensure!(place.path().join("out/local1/hostname").exists(), "the other one arrives");
    fs::create_dir_all(place.path().join("before/local1"))?;
    for out in ["new/for/hosts", "before"] {
        let ended = at(place.path(), &["pull", "-w", "local1", "/no/such/file", out])?;
        ensure!(
            ended.code == Some(2) && ended.stdout == ["local1: 0 files written, 1 failed, 0 unchanged"],
            "{ended:?}"
        );
    }
    ensure!(!place.path().join("new").exists(), "a directory without a copy is not left");
    ensure!(place.path().join("before/local1").exists(), "a directory of the user stays");
    Ok(())
}

pub(crate) fn a_full_disk_ends_the_copy_with_its_name() -> Result<()> {
    let (place, _) = tree()?;
    let full = place.path().join("full");
    fs::create_dir(&full)?;
    // In a mount namespace of its own the directory is a file system of one page, if the system lets us.
    let script = "mount -t tmpfs -o size=4096 tmpfs \"$1\" && exec \"$0\" push -w local1 --json big \"$1/big\"";
    fs::write(place.path().join("big"), vec![1; 100_000])?;
    let (tool, _) = tool(&[]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]).arg(tool.get_program()).arg(&full);
    let ended = run(command.current_dir(place.path()))?;
    if ended.stdout.is_empty() {
        // Only root may mount.
        ensure!(!nix::unistd::geteuid().is_root(), "{ended:?}");
        return Ok(());
    }
    let json: serde_json::Value = serde_json::from_str(&ended.stdout.concat())?;
    let error = &json["hosts"]["local1"]["error"];
    ensure!(ended.code == Some(2) && error["kind"] == "no_space", "{json}");
    ensure!(error["text"].as_str().is_some_and(|text| text.contains("cannot write big")), "{json}");
    // What has arrived whole stays. A file that is mounted cannot be replaced.
    let script = "mount -t tmpfs -o size=8192 tmpfs \"$1\" && { \"$0\" push -qw local1 small big \"$1/\" >&2; \
                  cat \"$1/small\"; mount --bind \"$1/small\" \"$1/small\" && echo more > small && \
                  exec \"$0\" push -w local1 small \"$1/small\"; }";
    fs::write(place.path().join("small"), "small\n")?;
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]).arg(tool.get_program()).arg(&full);
    let ended = run(command.current_dir(place.path()))?;
    ensure!(ended.code == Some(2) && ended.stdout.first().is_some_and(|line| line == "small"), "{ended:?}");
    ensure!(ended.stderr.concat().contains("neither replaced nor deleted"), "{ended:?}");
    Ok(())
}

pub(crate) fn what_is_mounted_and_other_systems_lose_nothing() -> Result<()> {
    let (place, _) = tree()?;
    let at = |path: &str| place.path().join(path);
    for directory in ["empty", "data", "to/inside/mounted", "root/proc/self", "root/etc"] {
        fs::create_dir_all(at(directory))?;
    }
    fs::write(at("data/kept"), "")?;
    fs::write(at("to/gone"), "")?;
    let (tool, _) = tool(&[]);
    // The directory is mounted a second time, so that it has the same device.
    let script = "mount --bind data to/inside/mounted && exec \"$0\" push -w local1 --delete empty/ to";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]).arg(tool.get_program());
    let ended = run(command.current_dir(place.path()))?;
    let may_mount = nix::unistd::geteuid().is_root();
    ensure!(ended.code == Some(2) || !may_mount, "{ended:?}");
    ensure!(at("data/kept").exists() && (!at("to/gone").exists() || !may_mount), "{ended:?}");
    // As the root of a container that runs has it.
    let root = at("root").display().to_string();
    let ended = self::at(place.path(), &["push", "-w", "local1", "--delete", "empty/", &root])?;
    ensure!(
        ended.code == Some(2) && ended.stderr.concat().contains("it is the root of a system that runs"),
        "{ended:?}"
    );
    ensure!(at("root/etc").exists());
    Ok(())
}

/// Runs the tool in a directory that belongs to an ordinary user, as that user.
fn as_user(place: &Path, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY).env("HOME", place);
    }
    let ended = run(command.current_dir(place))?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

/// A user without permissions of its own.
const NOBODY: u32 = 65534;

pub(crate) fn a_read_only_directory_is_updated_by_its_owner_and_stays_so() -> Result<()> {
    let (place, to) = tree()?;
    let at = |path: &str| place.path().join(path);
    fs::create_dir_all(at("from/a/gone"))?;
    fs::write(at("from/a/gone/file"), "")?;
    if nix::unistd::geteuid().is_root() {
        let paths = ["", "from", "from/run", "from/a", "from/a/b", "from/a/b/file", "from/a/gone", "from/a/gone/file"];
        paths.iter().try_for_each(|path| std::os::unix::fs::chown(at(path), Some(NOBODY), Some(NOBODY)))?;
    }
    let permit = |mode| {
        let paths = ["from", "from/a", "from/a/b", "from/a/gone"].into_iter().filter(|path| at(path).exists());
        paths.into_iter().try_for_each(|path| fs::set_permissions(at(path), PermissionsExt::from_mode(mode)))
    };
    permit(0o555)?;
    let ended = as_user(place.path(), &["push", "-w", "local1", "from", &to])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    permit(0o755)?;
    fs::write(at("from/a/b/file"), "changed\n")?;
    fs::write(at("from/new"), "new")?;
    fs::remove_dir_all(at("from/a/gone"))?;
    permit(0o555)?;
    let ended = as_user(place.path(), &["push", "-w", "local1", "--delete", "from", &to])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(text(&at("to/a/b/file"))? == "changed\n" && names(&at("to/a"))? == ["b"] && at("to/new").exists());
    for path in ["to", "to/a", "to/a/b"] {
        ensure!(fs::metadata(at(path))?.mode() & 0o777 == 0o555, "{path}");
    }
    let again = as_user(place.path(), &["push", "-w", "local1", "--delete", "from", &to])?;
    ensure!(again.stdout.concat().starts_with("local1: 0 files written, ") && again.code == Some(0), "{again:?}");
    ensure!(!again.stdout.concat().contains("adjusted"), "{again:?}");
    // A directory that is no copy keeps its mode, and what it says.
    let ended = as_user(place.path(), &["push", "-w", "local1", "from/new", &format!("{to}/a/other")])?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("Permission denied"), "{ended:?}");
    for path in ["from", "to"].into_iter().flat_map(|top| ["", "/a", "/a/b"].map(|path| format!("{top}{path}"))) {
        fs::set_permissions(at(&path), PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

pub(crate) fn a_copy_that_nobody_can_mean_is_refused() -> Result<()> {
    let (place, to) = tree()?;
    symlink("/", place.path().join("link"))?;
    let link = place.path().join("link").to_string_lossy().into_owned();
    // Nothing is ever deleted here: not without the guard, either.
    for (root, code) in [("/usr/..", 64), ("/usr/bin/../../", 64), (&*link, 2), ("/proc/self/root", 2)] {
        let ended = at(place.path(), &["push", "-w", "local1", "--delete", "--dry-run", "from/", root])?;
        let told = ended.stderr.concat();
        ensure!(ended.code == Some(code) && told.contains("with --delete, ") && ended.stdout.is_empty(), "{ended:?}");
    }
    for args in
        [["push", "-w", "local1", "from/run", "local1:run"], ["pull", "-w", "local1", "local1:/etc/hostname", "out"]]
    {
        let ended = at(place.path(), &args)?;
        ensure!(ended.code == Some(64) && ended.stderr.concat().contains("-w names the hosts"), "{ended:?}");
    }
    let ended = at(place.path(), &["push", "-w", "local1", &to])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("only one path"), "{ended:?}");
    // Options may be between the paths.
    let ended = at(place.path(), &["push", "from", "-w", "local1", &to])?;
    ensure!(ended.code == Some(0) && text(&place.path().join("to/a/b/file"))? == "hello\n", "{ended:?}");
    fs::create_dir_all(place.path().join("elsewhere"))?;
    fs::create_dir_all(place.path().join("logs"))?;
    symlink("../elsewhere", place.path().join("logs/local1"))?;
    let ended = at(place.path(), &["run", "-w", "local1", "--outdir", "logs/%h/log", "--", "echo", "x"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("logs/local1 is a symbolic link"), "{ended:?}");
    ensure!(names(&place.path().join("elsewhere"))?.is_empty());
    Ok(())
}

pub(crate) fn a_copy_keeps_to_its_rate() -> Result<()> {
    let (place, to) = tree()?;
    // Nothing that could be packed: the rate is that of the link.
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(300_000).collect();
    fs::write(place.path().join("large"), noise)?;
    let start = Instant::now();
    let ended = at(place.path(), &["push", "-w", "local1", "--bwlimit", "200K", "large", &to])?;
    ensure!(ended.code == Some(0) && start.elapsed() > Duration::from_millis(900), "{ended:?}");
    // A copy that is stopped does not wait until all has been sent.
    let ended = at(place.path(), &["push", "-w", "local1", "-t", "1s", "--bwlimit", "1K", "large", &format!("{to}2")])?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("timed out"), "{ended:?}");
    ensure!(names(place.path())? == ["from", "large", "to"], "{:?}", names(place.path()));
    Ok(())
}

/// The lines of a screen after this output. No line is longer than the screen is wide.
fn screen(output: &str) -> Vec<String> {
    let (mut lines, mut column) = (vec![Vec::new()], 0);
    let mut rest = output.chars();
    while let Some(c) = rest.next() {
        let line = lines.last_mut().expect("a line");
        match c {
            '\r' => column = 0,
            '\n' => lines.push(Vec::new()),
            '\x1b' if rest.as_str().starts_with("[K") => {
                line.truncate(column);
                rest.nth(1);
            }
            c => {
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

pub(crate) fn a_copy_shows_on_a_terminal_alone_how_far_it_is() -> Result<()> {
    let (place, to) = tree()?;
    let from = place.path().join("large");
    fs::write(&from, vec![7; 600_000])?;
    let copy = |options: &[&str], name: &str| {
        let (from, out) = (from.display().to_string(), format!("{to}.{name}"));
        let words = [options, &["-w", "local[1-2]", "--bwlimit", "300K", &from, &out]].concat();
        tool(&[&["pull"], &words[..]].concat())
    };
    let (mut command, trace) = copy(&[], "shown");
    let mut typist = Typist::start_command(&mut command, trace)?;
    typist.expect("\roffshoot: [")?;
    typist.expect("] ")?;
    typist.expect(" of 1.14 MiB, ")?;
    typist.expect("/s, ")?;
    typist.expect("s left, 0 of 2 files, not local")?;
    typist.resize("20", "40")?;
    let wide = typist.shown().len();
    let is_narrow = || {
        let shown = String::from_utf8_lossy(&typist.shown()[wide..]).into_owned();
        let mut frames = shown.split("\roffshoot: ").skip(1);
        frames.any(|frame| frame.starts_with(|c: char| c.is_ascii_digit())).then_some(())
    };
    wait_for(PATIENCE, is_narrow).context("no line for the narrow terminal")?;
    let shown = String::from_utf8(finished(typist)?)?;
    // The frame that was being drawn has the old width.
    for frame in
        shown[wide..].split("\r").skip(2).filter(|frame| frame.starts_with("offshoot: ") && frame.contains("/s"))
    {
        ensure!(frame.trim_end_matches("\x1b[K").chars().count() < 40, "{frame:?}");
    }
    let rest = screen(&shown);
    ensure!(rest.iter().all(|line| !line.contains("/s") && !line.contains(" left")), "{rest:#?}");
    ensure!(rest.iter().any(|line| line.starts_with("offshoot: 2 hosts: 2 ok")), "{rest:#?}");
    for (nth, option) in ["-q", "--json", "--jsonl", "-v"].into_iter().enumerate() {
        let (mut command, trace) = copy(&[option], &nth.to_string());
        let shown = String::from_utf8(finished(Typist::start_command(&mut command, trace)?)?)?;
        ensure!(!shown.contains("/s, ") && !shown.contains("\x1b[K"), "{option}: {shown}");
    }
    let (mut command, _trace) = copy(&[], "piped");
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0) && ended.stderr.len() == 1, "{ended:?}");
    Ok(())
}

/// What a copy that succeeds has shown on its terminal.
fn finished(typist: Typist) -> Result<Vec<u8>> {
    let shown = typist.shared_output();
    ensure!(typist.finish(PATIENCE)? == 0, "{}", shown().escape_ascii());
    Ok(shown())
}

pub(crate) fn ten_thousand_small_files_take_a_moment() -> Result<()> {
    let (place, to) = tree()?;
    for directory in 0..100 {
        fs::create_dir(place.path().join(format!("from/d{directory}")))?;
        for file in 0..100 {
            fs::write(place.path().join(format!("from/d{directory}/f{file}")), format!("{directory} {file}"))?;
        }
    }
    let ended = at(place.path(), &["push", "-w", "local1/local2", "from", &to])?;
    ensure!(ended.stdout.concat().contains("10002 files written"), "{ended:?}");
    ensure!(text(&place.path().join("to/d99/f98"))? == "99 98");
    let ended = at(place.path(), &["push", "-w", "local1/local2", "from", &to])?;
    ensure!(ended.stdout.concat().contains("0 files written, 10003 unchanged"), "{ended:?}");
    Ok(())
}

pub(crate) fn a_push_that_is_killed_leaves_the_old_file_or_the_new_one() -> Result<()> {
    kill_pushes(rounds(12))
}

/// Kills the child or the tool at random moments of as many pushes.
pub(crate) fn kill_pushes(rounds: u32) -> Result<()> {
    let place = tempfile::tempdir()?;
    let (new, target) = (place.path().join("new"), place.path().join("there/target"));
    let content = |byte: u8| vec![byte; 24 << 20];
    fs::create_dir(place.path().join("there"))?;
    fs::write(&new, content(2))?;
    fs::write(&target, content(1))?;
    let (mut random, seed) = Random::new("push");
    let mut replaced = 0;
    for round in 0..rounds {
        let (mut command, mut trace) = tool(&["push", "-w", "local1", "--checksum", "new", "there/target"]);
        let mut running = Running::start(command.current_dir(place.path()))?;
        let tool = i32::try_from(running.pid)?;
        std::thread::sleep(random.time(Duration::from_millis(400)));
        if random.below(2) == 0 {
            running.signal(Signal::SIGKILL)?;
        } else {
            for child in below(tool, &Process::all()) {
                // It may have ended in the meantime.
                let _ = child.signal(Signal::SIGKILL);
            }
        }
        wait_for(PATIENCE, || running.has_ended().then_some(())).context("it does not end")?;
        trace.expect_nothing_left(A_WHILE).with_context(|| format!("round {round}, {seed}"))?;
        let there = fs::read(&target)?;
        let is_new = there == content(2);
        ensure!(is_new || there == content(1), "round {round}, {seed}: a file of {} bytes is neither", there.len());
        if is_new {
            replaced += 1;
            fs::write(&target, content(1))?;
        }
        let rest = names(&place.path().join("there"))?;
        let is_known = |name: &String| matches!(name.as_str(), "target" | ".target.offshoot-part");
        ensure!(rest.iter().all(is_known), "round {round}, {seed}: {rest:?}");
    }
    // What a killed copy has left is used or removed by the next one.
    let ended = at(place.path(), &["push", "-w", "local1", "new", "there/target"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(names(&place.path().join("there"))? == ["target"], "{seed}, {replaced} rounds were complete");
    ensure!(fs::read(&target)? == content(2));
    Ok(())
}

pub(crate) fn a_copy_that_is_interrupted_leaves_no_drafts_of_small_files() -> Result<()> {
    for (signal, path) in [(Signal::SIGINT, "local1"), (Signal::SIGKILL, "local1"), (Signal::SIGKILL, "local1/local2")]
    {
        let (place, to) = tree()?;
        fs::write(place.path().join("from/slow"), vec![7; 1 << 20])?;
        let (mut command, mut trace) = tool(&["push", "-w", path, "--bwlimit", "100K", "from", &to]);
        let mut running = Running::start(command.current_dir(place.path()))?;
        let to = Path::new(&to);
        let has_draft = || names(to).is_ok_and(|names| names.iter().any(|name| name.ends_with(".offshoot-part")));
        wait_for(PATIENCE, || has_draft().then_some(())).context("no draft")?;
        running.signal(signal)?;
        wait_for(PATIENCE, || running.has_ended().then_some(())).context("it does not end")?;
        trace.expect_nothing_left(A_WHILE)?;
        ensure!(!has_draft() && !to.join("slow").exists(), "{signal} {path}: {:?}", names(to));
    }
    Ok(())
}

/// A limit of the size of files is an error of that file, and the others arrive.
pub(crate) fn a_file_above_the_limit_of_its_size_is_told() -> Result<()> {
    let (place, to) = tree()?;
    fs::write(place.path().join("from/large"), vec![7; 3 << 20])?;
    let (command, mut trace) = tool(&["push", "-w", "local1", "from", &to]);
    let mut limited = std::process::Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let ended = limited.current_dir(place.path()).output()?;
    let text = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(2) && text.contains("large: cannot write it: File too large"), "{ended:?}");
    ensure!(!names(Path::new(&to))?.contains(&"large".to_owned()) && names(Path::new(&to))?.len() > 1);
    trace.expect_nothing_left(A_WHILE)
}
