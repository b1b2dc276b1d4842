//! Runs the first stage with every shell that this machine has.
//!
//! A trial whose shell is not there, or that needs root and does not have it, is reported as [`Missing`].

mod cache;
mod others;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::support::{A_WHILE, Missing, ONE_SECOND, THREE_SECONDS, promised};
use stage::{Image, Input, Launch, Outcome, check, probe, tools, which};

/// A trial: its name and its function.
pub(crate) type Trial = (String, Box<dyn Fn() -> Outcome + Send>);

/// Login shells, which get `sh -c 'LINE'`.
const LOGIN_SHELLS: [&str; 11] =
    ["bash", "rbash", "dash", "zsh", "ksh93", "mksh", "yash", "busybox ash", "tcsh", "bsd-csh", "fish"];
/// Shells that can run the line themselves.
const STAGE_SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh93", "mksh", "yash", "busybox sh"];
const ALL_PACKED: [&str; 3] = ["zstd", "gzip", "-"];
/// The programs that the line always needs. `sh` is for interpreters.
const NEEDED: [&str; 7] = ["sh", "uname", "mkdir", "rmdir", "chmod", "rm", "head"];

/// All trials of this file.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    let mut add = |name: String, trial: fn(&str) -> Outcome, shell: &'static str| {
        trials.push((name, Box::new(move || with_shell(shell, trial))));
    };
    for shell in LOGIN_SHELLS {
        add(format!("{shell} as a login shell brings up an image"), as_login_shell, shell);
    }
    for shell in STAGE_SHELLS {
        add(format!("{shell} brings up an image, strict options or not"), as_stage_shell, shell);
        add(format!("{shell} runs an image from memory where there is no place"), from_memory, shell);
        add(format!("{shell} ends when its input does"), ends_with_its_input, shell);
        add(format!("{shell} says why an upload failed"), says_why, shell);
        add(format!("{shell} reads a pipe of 4 KiB, and one that does not wait does it no harm"), odd_pipes, shell);
        add(format!("{shell} keeps an image, and believes nothing but its hash"), cache::in_a_shell, shell);
        add(format!("{shell} takes the next place where one is full"), next_place, shell);
        add(format!("{shell} leaves nothing when it is killed (alone)"), leaves_nothing_when_killed, shell);
        add(format!("{shell} takes the next place where one has gone"), others::gone, shell);
        add(format!("{shell} says that it has no input"), others::no_input, shell);
        add(format!("{shell} ends at a request that is none"), others::no_request, shell);
    }
    // busybox runs its own applets, whatever is in PATH.
    for shell in STAGE_SHELLS.into_iter().filter(|shell| *shell != "busybox sh") {
        add(format!("{shell} removes nothing that another user has made first"), others::made_first, shell);
        add(format!("{shell} removes nothing behind a link that has taken its place"), others::behind_a_link, shell);
    }
    for shell in ["sh", "busybox sh"] {
        add(format!("{shell}: a user who watches and is quick loses nothing"), others::quick, shell);
    }
    add("input that ends at any byte leaves nothing".into(), |_| ends_at_any_byte(), "sh");
    add("a home directory may have spaces in it".into(), |_| home_with_spaces(), "sh");
    add("noise before the announcement does no harm".into(), |_| noisy_environment(), "bash");
    add("few tools are enough".into(), |_| few_tools(), "sh");
    add("an image takes eight programs".into(), |_| takes_eight_programs(), "sh");
    add("an image that is killed before it tidies up is tidied up after (alone)".into(), |_| killed_image(), "sh");
    add(
        "any of four programs hashes what is kept, and without one nothing is".into(),
        |_| cache::with_each_hasher(),
        "sh",
    );
    add("three images are kept beside a new one".into(), |_| cache::is_bounded(), "sh");
    add("an image is kept whole, even if another run keeps it at the same time".into(), |_| cache::two_at_once(), "sh");
    add("without a home nothing is kept".into(), |_| cache::without_a_home(), "sh");
    for (name, trial) in [
        ("noexec everywhere: the image runs from memory", noexec_everywhere as fn() -> Outcome),
        ("a system that demands MFD_EXEC gets it", demands_exec_flag),
        ("places that are full, all of them, are reported", full_places),
        ("busybox alone, without /proc, brings up an image", busybox_alone),
    ] {
        trials.push((name.into(), Box::new(move || as_root(trial))));
    }
    trials
}

fn as_login_shell(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    for packed in ALL_PACKED {
        let home = home()?;
        let launch = Launch::new(home.path())?;
        come_up(&launch, &words, true, packed, "web1 (op@laptop:1)").with_context(|| packed.to_string())?;
    }
    Ok(())
}

fn as_stage_shell(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let strict: Vec<&str> = words.iter().copied().chain(["-euxC"]).collect();
    for mask in ["022", "077", "000", "777"] {
        let home = home()?;
        let mut launch = Launch::new(home.path())?;
        launch = launch.with_prefix(&["sh", "-c", &format!("umask {mask}; exec \"$@\""), "sh"]);
        come_up(&launch, &words, false, "zstd", "a").with_context(|| format!("umask {mask}"))?;
    }
    for packed in ALL_PACKED {
        let home = home()?;
        // PATH is not exported, and HOME is not set.
        let launch = Launch::new(home.path())?.with_prefix(&["env", "-u", "HOME"]);
        come_up(&launch, &strict, false, packed, "offshoot:b").with_context(|| format!("strict, {packed}"))?;
    }
    Ok(())
}

fn from_memory(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    for interpreter in ["perl", "python3"] {
        let home = home()?;
        let mut names = NEEDED.to_vec();
        names.extend(["zstd", "gzip", "sleep", interpreter]);
        let path = tools(home.path(), &names)?;
        let shell = absolute(&words)?;
        let words: Vec<&str> = shell.iter().map(String::as_str).collect();
        for packed in ALL_PACKED {
            let launch = Launch::new(home.path())?.with_places("").with_path(&path);
            let start = Instant::now();
            let announced =
                come_up(&launch, &words, false, packed, "c").with_context(|| format!("{interpreter}, {packed}"))?;
            check(announced == format!("Linux {} zstd head {interpreter} |none", machine()?), &announced)?;
            check(start.elapsed() < promised(A_WHILE), "it is quick")?;
        }
        // The image is cut short, or its size is wrong.
        for (request, size) in
            [(probe()?.request("-", "d")?, "12"), (lying_request()?, &probe()?.bytes.len().to_string())]
        {
            let launch = Launch::new(home.path())?.with_places("").with_path(&path);
            let mut stage = launch.start(&words, false)?;
            stage.announcement()?;
            let header = request.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
            stage.send(if size == "12" { &request[..header + 12] } else { &request });
            let (status, said, _) = stage.finish()?;
            check(!status.success(), "a failed upload is an error")?;
            check(said == [format!("{} failed {size}", launch.token())], &format!("{interpreter}: {said:?}"))?;
            launch.expect_nothing_left(ONE_SECOND)?;
        }
    }
    Ok(())
}

fn ends_with_its_input(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let image = Image { bytes: probe()?.bytes[..2000].to_vec() };
    let mut cut = Vec::new();
    for packed in ALL_PACKED {
        let request = image.request(packed, "e")?;
        let header = request.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
        for at in [0, 1, header - 1, header, header + 1, header + 100, request.len() - 1] {
            let launch = cut_off(&words, &request[..at]);
            cut.push(launch.with_context(|| format!("{packed}, cut at {at}"))?);
        }
    }
    // Ended before it has begun.
    let home = home()?;
    let launch = Launch::new(home.path())?;
    let (status, _, _) = launch.start(&words, false)?.finish()?;
    check(!status.success(), "no input is an error")?;
    cut.push(launch);
    cut.iter().try_for_each(|launch| launch.expect_nothing_left(ONE_SECOND * 2))
}

/// Whether a shell and `head` can read a non-blocking pipe: they find its end at once, or wait all the same.
fn odd_pipes(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    for packed in ALL_PACKED {
        let home = home()?;
        let mut launch = Launch::new(home.path())?;
        launch.stdin = Input::Narrow;
        come_up(&launch, &words, false, packed, "n").with_context(|| packed.to_owned())?;
        launch.stdin = Input::Impatient;
        let mut stage = launch.start(&words, false)?;
        stage.announcement()?;
        stage.send(&probe()?.request(packed, "i")?);
        let (status, said, _) = stage.finish()?;
        let is_up = said.first().is_some_and(|line| line == "PROBE");
        check(is_up || !status.success(), &format!("it comes up or fails: {status}, {said:?}"))?;
        launch.expect_nothing_left(ONE_SECOND * 2)?;
    }
    Ok(())
}

fn says_why(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let whole = probe()?;
    let mut damaged = whole.request("gzip", "f")?;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    let lying = lying_request()?;
    for (request, complaint) in [(damaged, Some("gzip: ")), (lying, None)] {
        let home = home()?;
        let launch = Launch::new(home.path())?;
        let mut stage = launch.start(&words, false)?;
        stage.announcement()?;
        stage.send(&request);
        let mut complaints = Vec::new();
        let failed = loop {
            let line = stage.line()?;
            match line.strip_prefix(&format!("{} failed", launch.token())) {
                Some(rest) => break rest.to_owned(),
                None => complaints.push(line),
            }
        };
        match complaint {
            Some(start) => check(complaints.iter().any(|line| line.contains(start)), &format!("{complaints:?}"))?,
            None => {
                check(failed == format!(" {}", whole.bytes.len()), &format!("it names the size it got: {failed}"))?;
                check(complaints.is_empty(), &format!("nothing else: {complaints:?}"))?;
            }
        }
        let (status, _, _) = stage.finish()?;
        check(!status.success(), "a failed upload is an error")?;
        check(launch.left_directories().is_empty(), "the directory went with the stage")?;
        launch.expect_nothing_left(ONE_SECOND * 2)?;
    }
    foreign_image(&words)
}

/// A file that looks like a program and is none, like a program for another processor.
fn foreign_image(shell: &[&str]) -> Outcome {
    let home = home()?;
    let launch = Launch::new(home.path())?;
    let image = Image { bytes: [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 200]].concat() };
    let mut stage = launch.start(shell, false)?;
    stage.announcement()?;
    stage.send(&image.request("-", "p")?);
    // The parent is still there, so the stage has to end by itself.
    let status = stage.ends_within(ONE_SECOND)?;
    check(!status.success(), "it is an error")?;
    launch.expect_nothing_left(ONE_SECOND * 2)
}

fn leaves_nothing_when_killed(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let request = probe()?.request("zstd", "g")?;
    let home = home()?;
    let mut killed = Vec::new();
    for round in 0..24_u64 {
        let launch = Launch::new(home.path())?;
        let mut stage = launch.start(&words, false)?;
        if round % 3 == 2 {
            // In the middle of an upload, with more to come.
            stage.announcement()?;
            stage.send(&request[..request.len() / 2]);
        } else {
            std::thread::sleep(Duration::from_micros(round * 700));
        }
        stage.kill()?;
        killed.push((stage, Instant::now()));
    }
    for (mut stage, since) in killed {
        stage.close_stdin();
        stage.launch.expect_nothing_left_by(since + THREE_SECONDS)?;
    }
    Ok(())
}

fn ends_at_any_byte() -> Outcome {
    let image = Image { bytes: b"#!/bin/sh\necho this must not run\n".to_vec() };
    let request = image.request("-", "h")?;
    let mut cut = Vec::new();
    for at in 0..request.len() {
        cut.push(cut_off(&["sh"], &request[..at]).with_context(|| format!("cut at {at}"))?);
    }
    cut.iter().try_for_each(|launch| launch.expect_nothing_left(ONE_SECOND * 2))
}

fn home_with_spaces() -> Outcome {
    let home = home()?;
    let spaced = home.path().join("a  home; with $(touch x) 'quotes'");
    std::fs::create_dir(&spaced)?;
    for shell in STAGE_SHELLS.iter().filter(|shell| need(shell).is_ok()) {
        let words: Vec<&str> = shell.split(' ').collect();
        let launch = Launch::new(&spaced)?.with_places("/nonexistent \"${HOME-}\"");
        let announced = come_up(&launch, &words, false, "gzip", "i")?;
        check(announced.contains("/nonexistent|") && announced.contains("|/nonexistent|"), &announced)?;
        let left = std::fs::read_dir(&spaced)?.count();
        check(left == 0, &format!("nothing was made in {}", spaced.display()))?;
    }
    Ok(())
}

/// BASH_ENV makes output, and SHELLOPTS sets options.
fn noisy_environment() -> Outcome {
    let home = home()?;
    let profile = home.path().join("profile");
    std::fs::write(&profile, "echo Welcome; echo Oops >&2; printf 'no newline'; set +o posix\n")?;
    let mut launch = Launch::new(home.path())?;
    launch.env.insert("BASH_ENV".into(), profile.into());
    launch.env.insert("SHELLOPTS".into(), "errexit:noclobber:noglob:nounset:verbose:xtrace".into());
    launch.env.insert("GZIP".into(), "-9".into());
    come_up(&launch, &["bash"], false, "zstd", "j").map(drop)
}

fn few_tools() -> Outcome {
    // Without sleep the watcher gives up. Without wc the size is not checked.
    let bare =
        [NEEDED.to_vec(), [&NEEDED[..6], &["dd"]].concat(), [&NEEDED[..6], &["dd", "gzip", "wc", "sleep"]].concat()];
    for names in bare {
        let home = home()?;
        let path = tools(home.path(), &names)?;
        let packed = if names.contains(&"gzip") { "gzip" } else { "-" };
        let launch = Launch::new(home.path())?.with_path(&path);
        let announced = come_up(&launch, &["sh"], false, packed, "k").with_context(|| format!("{names:?}"))?;
        let reader = if names.contains(&"head") { "head" } else { "dd" };
        check(announced.contains(&format!(" {packed} {reader} none |/dev/shm/")), &announced)?;
    }
    Ok(())
}

/// Every program costs each host about a millisecond.
fn takes_eight_programs() -> Outcome {
    let home = home()?;
    let names = [&NEEDED[1..], &["zstd", "wc", "sleep", "od", "dd", "cat"]].concat();
    let (real, log) = (tools(home.path(), &names)?, home.path().join("log"));
    let logging = home.path().join("logging");
    std::fs::create_dir(&logging)?;
    for name in names {
        let script = format!("#!/bin/sh\necho {name} >>{}\nexec {}/{name} \"$@\"\n", log.display(), real.display());
        let file = logging.join(name);
        std::fs::write(&file, script)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    come_up(&Launch::new(home.path())?.with_path(&logging), &["/bin/sh"], false, "zstd", "few")?;
    let log = std::fs::read_to_string(log)?;
    let mut taken: Vec<&str> = log.lines().collect();
    taken.sort_unstable();
    // The first `head` tests the place. `/proc` gives random text.
    let expected = ["chmod", "chmod", "head", "head", "mkdir", "sleep", "uname", "zstd"];
    check(taken == expected, &format!("it takes {taken:?}"))
}

fn killed_image() -> Outcome {
    let home = home()?;
    let launch = Launch::new(home.path())?;
    let mut stage = launch.start(&["sh"], false)?;
    stage.announcement()?;
    stage.send(&probe()?.request("zstd", "stays")?);
    stage.check_probe(probe()?, "stays", false)?;
    // At least one round of the watcher. It must not remove the directory.
    std::thread::sleep(ONE_SECOND * 2);
    check(launch.left_directories().len() == 1, "the directory is there while the image runs")?;
    stage.kill()?;
    launch.expect_nothing_left(THREE_SECONDS)
}

fn noexec_everywhere() -> Outcome {
    for interpreter in ["perl", "python3"] {
        let home = home()?;
        let mut names = NEEDED.to_vec();
        names.extend(["gzip", "zstd", "sleep", "wc", interpreter]);
        let path = tools(home.path(), &names)?;
        let noexec = home.path().join("noexec");
        std::fs::create_dir(&noexec)?;
        // The programs are in /tmp, which is covered too, so they are bound elsewhere first.
        let script = format!(
            "mkdir -p /mnt && mount --bind '{}' /mnt && for d in /dev/shm /var/tmp '{}';do mount -t tmpfs -o noexec,mode=1777 none \"$d\"||exit 9;done;mount --bind '{}' '{}'&&cd '{}'&&mount -t tmpfs -o noexec,mode=1777 none /tmp;PATH=/mnt exec \"$@\"",
            path.display(),
            noexec.display(),
            noexec.display(),
            noexec.display(),
            noexec.display()
        );
        let mut launch = Launch::new(home.path())?.with_prefix(&["unshare", "-m", "sh", "-c", &script, "sh"]);
        launch.env.insert("XDG_RUNTIME_DIR".into(), "/nonexistent".into());
        let announced = come_up(&launch, &["sh"], false, "zstd", "l")?;
        check(announced.contains(&format!(" {interpreter} |none|/nonexistent|mkdir: ")), &announced)?;
        for place in ["/dev/shm", "/tmp", "/var/tmp", "."] {
            let refused = announced.split('|').skip_while(|part| *part != place).nth(1).unwrap_or_default();
            check(refused.ends_with("Permission denied"), &format!("{place}: {announced}"))?;
        }
    }
    Ok(())
}

fn demands_exec_flag() -> Outcome {
    if !Path::new("/proc/sys/vm/memfd_noexec").exists() {
        return Err(Missing("this kernel does not know vm.memfd_noexec".into()).into());
    }
    let script = "echo 1 >/proc/sys/vm/memfd_noexec && exec \"$@\"";
    for interpreter in ["perl", "python3"] {
        let home = home()?;
        let mut names = NEEDED.to_vec();
        names.extend(["zstd", "gzip", interpreter]);
        let path = tools(home.path(), &names)?;
        let launch = Launch::new(home.path())?.with_places("");
        let path = format!("PATH={}", path.display());
        let launch = launch.with_prefix(&["unshare", "-fpm", "--mount-proc", "sh", "-c", script, "sh", "env", &path]);
        come_up(&launch, &["/bin/sh"], false, "gzip", "m").with_context(|| interpreter.to_string())?;
    }
    Ok(())
}

/// The line takes the next directory, and after the last one memory, in whatever format the image is packed.
fn next_place(shell: &str) -> Outcome {
    let words = absolute(&shell.split(' ').collect::<Vec<_>>())?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for packed in ALL_PACKED {
        for last in ["", "/dev/shm"] {
            let home = home()?;
            let (launch, small) = with_small(home.path(), last)?;
            let mut stage = launch.start(&words, false)?;
            let announced = stage.announcement()?;
            check(announced.contains(&format!("|{small}/")), &announced)?;
            stage.send(&probe()?.request(packed, "n")?);
            let again = stage.announcement()?;
            let goes_on = if last.is_empty() { "|none|" } else { "|/dev/shm/.offshoot-" };
            let says_why = ["No space left on device", "I/O error"].iter().any(|why| again.trim_end().ends_with(why));
            check(again.contains(goes_on) && says_why, &again)?;
            check(again.contains(&format!("|{small}|")), &again)?;
            stage.send(&probe()?.request(packed, "n")?);
            stage.check_probe(probe()?, "n", last.is_empty()).with_context(|| format!("{packed} {last}"))?;
            check(stage.line()? == "clean", "it has tidied up")?;
            let (status, _, _) = stage.finish()?;
            check(status.success(), "it ends well")?;
            launch.expect_nothing_left(ONE_SECOND)?;
        }
    }
    Ok(())
}

/// A run with one small directory, and a last one that is large enough.
fn with_small(home: &Path, last: &str) -> Outcome<(Launch, String)> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root".into()).into());
    }
    let small = home.join("small");
    std::fs::create_dir_all(&small)?;
    let small = small.display().to_string();
    let script = format!("mount -t tmpfs -o size=64k none '{small}' && exec \"$@\"");
    let launch = Launch::new(home)?.with_prefix(&["unshare", "-m", "sh", "-c", &script, "sh"]);
    Ok((launch.with_places(&format!("'{small}' {last}").replace('\'', "\"")), small))
}

fn full_places() -> Outcome {
    for packed in ALL_PACKED {
        let home = home()?;
        let path = tools(home.path(), &[&NEEDED[..], &["cat", "zstd", "gzip", "wc", "sleep"]].concat())?;
        let (launch, small) = with_small(home.path(), "")?;
        let path = format!("PATH={}", path.display());
        let mut launch = launch;
        launch.prefix.extend(["env".into(), path.into()]);
        let mut stage = launch.start(&["/bin/sh"], false)?;
        stage.announcement()?;
        stage.send(&probe()?.request(packed, "n")?);
        let again = stage.announcement()?;
        check(again.contains(&format!(" none |none|{small}|")), &again)?;
        let (status, said, _) = stage.finish()?;
        check(!status.success(), &format!("nobody has an answer to that: {said:?}"))?;
        launch.expect_nothing_left(ONE_SECOND)?;
    }
    Ok(())
}

fn busybox_alone() -> Outcome {
    need("busybox")?;
    let root = home()?;
    let make = |name: &str| std::fs::create_dir_all(root.path().join(name));
    for directory in ["bin", "dev", "tmp"] {
        make(directory)?;
    }
    let busybox = which("busybox").context("busybox has gone")?;
    std::fs::copy(busybox, root.path().join("bin/busybox"))?;
    for applet in ["sh", "uname", "mkdir", "rmdir", "chmod", "rm", "head", "gzip", "wc", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet))?;
    }
    let path = root.path().display().to_string();
    let script = format!("touch '{path}/dev/null' && mount --bind /dev/null '{path}/dev/null' && exec \"$@\"");
    let chroot = which("chroot").context("no chroot here")?.display().to_string();
    for packed in ["gzip", "-"] {
        let prefix = ["unshare", "-m", "sh", "-c", &script, "sh", "env", "-i", "PATH=/bin", &chroot, &path];
        let launch = Launch::new(root.path())?.with_prefix(&prefix);
        let announced = come_up(&launch, &["/bin/sh"], false, packed, "o")?;
        check(announced.contains(" gzip head none |/tmp/"), &announced)?;
    }
    Ok(())
}

/// Starts an image, and checks that it has tidied up and reads its stdin. Returns the announcement.
fn come_up(launch: &Launch, shell: &[&str], login: bool, packed: &str, name: &str) -> Outcome<String> {
    let mut stage = launch.start(shell, login)?;
    let announced = stage.announcement()?;
    stage.send(&probe()?.request(packed, name)?);
    stage.check_probe(probe()?, name, announced.contains("|none"))?;
    let clean = stage.line()?;
    check(clean == "clean", &clean)?;
    check(launch.left_directories().is_empty(), "the directory is gone while the image runs")?;
    if !login {
        launch.expect_only_the_image()?;
    }
    stage.send(b"after the image");
    let (status, said, stderr) = stage.finish()?;
    check(status.success(), &format!("it ends well: {status}, {stderr:?}"))?;
    check(said == ["stdin=15"], &format!("all of stdin arrives: {said:?}"))?;
    launch.expect_nothing_left(ONE_SECOND)?;
    Ok(announced)
}

/// Gives a stage a part of what it expects. Its watcher may still be there afterwards.
fn cut_off(shell: &[&str], part: &[u8]) -> Outcome<Launch> {
    let home = home()?;
    let launch = Launch::new(home.path())?;
    let mut stage = launch.start(shell, false)?;
    stage.announcement()?;
    stage.send(part);
    let start = Instant::now();
    let (status, said, _) = stage.finish()?;
    check(start.elapsed() < promised(ONE_SECOND), &format!("it ends within a second, not {:?}", start.elapsed()))?;
    check(!status.success(), "half an image is an error")?;
    check(!said.iter().any(|line| line.contains("PROBE") || line.contains("must not run")), &format!("{said:?}"))?;
    check(launch.left_directories().is_empty(), "the directory went with the stage")?;
    Ok(launch)
}

/// Sends the whole probe, and a size that is one byte larger.
fn lying_request() -> Outcome<Vec<u8>> {
    let probe = probe()?;
    let length = probe.bytes.len();
    let mut request = format!("{length} - 319 {} offshoot:x\n", length + 1).into_bytes();
    request.extend_from_slice(&probe.bytes);
    Ok(request)
}

fn with_shell(shell: &str, trial: fn(&str) -> Outcome) -> Outcome {
    need(shell)?;
    trial(shell)
}

/// Whether a shell is there.
fn need(shell: &str) -> Outcome {
    let program = shell.split(' ').next().unwrap_or(shell);
    match which(program) {
        Some(_) => Ok(()),
        None => Err(Missing(format!("{program} is not installed")).into()),
    }
}

fn as_root(trial: fn() -> Outcome) -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root".into()).into());
    }
    trial()
}

fn absolute(words: &[&str]) -> Outcome<Vec<String>> {
    let program = which(words[0]).with_context(|| format!("no {} here", words[0]))?;
    Ok([program.display().to_string()].into_iter().chain(words[1..].iter().map(|word| (*word).to_owned())).collect())
}

fn machine() -> Outcome<String> {
    output_of("uname", "-m")
}

fn output_of(program: &str, argument: &str) -> Outcome<String> {
    let output = std::process::Command::new(program).arg(argument).output();
    let output = output.with_context(|| program.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn home() -> Outcome<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("first-stage").tempdir()?)
}
