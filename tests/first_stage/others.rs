//! Other users, who can change a public directory at any time, and directories that disappear.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{Uid, chown};

use super::stage::{Launch, Outcome, Stage, check, probe, tools, which};
use super::{NEEDED, home};
use crate::support::{A_WHILE, Missing, ONE_SECOND};

/// A user other than the one that runs the test.
const OTHER: u32 = 65_534;
/// How often a user tries to be faster than the stage.
const TRIES: u64 = 6;

/// A directory `tools` in which one tool is a script of the test. In the script, `real` runs the tool itself.
fn with_tool(parent: &Path, name: &str, script: &str) -> Outcome<PathBuf> {
    let others: Vec<&str> =
        NEEDED.iter().copied().chain(["zstd", "gzip", "wc", "sleep", "touch", "chown", "mv", "ln"]).collect();
    let path = tools(parent, &others)?;
    let real = which(name).with_context(|| format!("no {name} here"))?;
    let file = path.join(name);
    fs::remove_file(&file)?;
    fs::write(&file, format!("#!/bin/sh\nreal() {{ '{}' \"$@\"; }}\n{script}\n", real.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn absolute(shell: &str) -> Outcome<Vec<String>> {
    super::absolute(&shell.split(' ').collect::<Vec<_>>())
}

fn finishes(mut stage: Stage, name: &str, place: &Path) -> Outcome {
    let announced = stage.announcement()?;
    check(announced.contains(&format!("|{}/.offshoot-", place.display())), &announced)?;
    stage.send(&probe()?.request("zstd", name)?);
    stage.check_probe(probe()?, name, false)?;
    check(stage.line()? == "clean", "it has tidied up")?;
    let (status, _, _) = stage.finish()?;
    check(status.success(), "it ends well")
}

/// Another user makes the directory before `mkdir` does, whatever its name is.
pub(super) fn made_first(shell: &str) -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root".into()).into());
    }
    let words = absolute(shell)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for is_killed in [false, true] {
        let home = home()?;
        let (public, own) = (home.path().join("public"), home.path().join("own"));
        fs::create_dir(&public)?;
        fs::create_dir(&own)?;
        let script = format!(
            "case $3 in '{}'/*)real \"$3\"&&touch \"$3/theirs\"&&chown -R {OTHER} \"$3\";;esac\nreal \"$@\"",
            public.display()
        );
        let path = with_tool(home.path(), "mkdir", &script)?;
        let places = format!("\"{}\" \"{}\"", public.display(), own.display());
        let launch = Launch::new(home.path())?.with_places(&places).with_path(&path);
        let mut stage = launch.start(&words, false)?;
        if is_killed {
            let announced = stage.announcement()?;
            check(announced.contains("/own/.offshoot-"), &announced)?;
            stage.kill()?;
            stage.close_stdin();
        } else {
            finishes(stage, "others", &own)?;
        }
        launch.expect_nothing_left(A_WHILE)?;
        check(fs::read_dir(&own)?.count() == 0, "what it has made is gone")?;
        let theirs = fs::read_dir(&public)?.next().context("their directory is there")??.path();
        check(theirs.join("theirs").exists(), "and what is in it")?;
    }
    Ok(())
}

/// In a directory that others may write to, another user replaces the directory of the stage by a link to a
/// directory of this user.
pub(super) fn behind_a_link(shell: &str) -> Outcome {
    let words = absolute(shell)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for is_killed in [false, true] {
        let home = home()?;
        let make = |name: &str| fs::create_dir(home.path().join(name)).map(|()| home.path().join(name));
        let (public, own, victim) = (make("public")?, make("own")?, make("victim")?);
        fs::write(victim.join("t"), "precious")?;
        let script = format!(
            "case $2 in '{}'/*)d=${{2%/*}};mv \"$d\" '{}/moved'&&ln -s '{}' \"$d\"&&exit 1;;esac\nreal \"$@\"",
            public.display(),
            home.path().display(),
            victim.display()
        );
        let path = with_tool(home.path(), "chmod", &script)?;
        let places = format!("\"{}\" \"{}\"", public.display(), own.display());
        let launch = Launch::new(home.path())?.with_places(&places).with_path(&path);
        let mut stage = launch.start(&words, false)?;
        if is_killed {
            stage.announcement()?;
            stage.kill()?;
            stage.close_stdin();
        } else {
            finishes(stage, "link", &own)?;
        }
        launch.expect_nothing_left(A_WHILE)?;
        check(fs::read_dir(&own)?.count() == 0, "what it has made is gone")?;
        check(fs::read(victim.join("t"))? == b"precious", "the file behind the link is there")?;
        let link = fs::read_dir(&public)?.next().context("the link is there")??;
        check(link.file_type()?.is_symlink(), "the link is what it was")?;
    }
    Ok(())
}

/// Another user removes the directory, or the whole place, before the image comes.
pub(super) fn gone(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    for packed in ["zstd", "-"] {
        for whole in [false, true] {
            let home = home()?;
            let (first, second) = (home.path().join("first"), home.path().join("second"));
            fs::create_dir(&first)?;
            fs::create_dir(&second)?;
            let places = format!("\"{}\" \"{}\"", first.display(), second.display());
            let launch = Launch::new(home.path())?.with_places(&places);
            let mut stage = launch.start(&words, false)?;
            let announced = stage.announcement()?;
            let place = announced.split('|').nth(1).context("a place")?.trim().to_owned();
            check(place.starts_with(&first.display().to_string()), &announced)?;
            fs::remove_dir_all(if whole { &first } else { Path::new(&place) })?;
            stage.send(&probe()?.request(packed, "gone")?);
            let again = stage.announcement()?;
            check(again.contains(&format!("|{}/.offshoot-", second.display())), &again)?;
            check(again.contains(&format!("|{}|", first.display())), &again)?;
            stage.send(&probe()?.request(packed, "gone")?);
            stage.check_probe(probe()?, "gone", false)?;
            check(stage.line()? == "clean", "it has tidied up")?;
            let (status, _, stderr) = stage.finish()?;
            check(status.success() && stderr.is_empty(), &format!("it ends well: {stderr:?}"))?;
            launch.expect_nothing_left(ONE_SECOND)?;
        }
    }
    Ok(())
}

pub(super) fn no_input(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let home = home()?;
    let launch = Launch::new(home.path())?;
    let mut stage = launch.start(&words, false)?;
    stage.close_stdin();
    stage.announcement()?;
    let said = stage.line()?;
    check(said == format!("{} failed eof", launch.token()), &said)?;
    let (status, _, _) = stage.finish()?;
    check(!status.success(), "no input is an error")?;
    launch.expect_nothing_left(ONE_SECOND)
}

/// Request lines with too few words or with words that are not numbers, and bytes of an image.
pub(super) fn no_request(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    for places in [super::stage::PLACES, ""] {
        for request in
            ["\n", "7\n", "7 - 319\n", "7 - 319 7\n", "x - 319 7 offshoot:x\n", "7 - 319 y offshoot:x\n", "\u{7f}ELF\n"]
        {
            let home = home()?;
            let launch = Launch::new(home.path())?.with_places(places);
            let mut stage = launch.start(&words, false)?;
            stage.announcement()?;
            stage.send(request.as_bytes());
            stage.send(&[b'a'; 100]);
            let (status, said, stderr) = stage.finish()?;
            check(
                !status.success() && said.is_empty() && stderr.is_empty(),
                &format!("{request:?}: {said:?}, {stderr:?}"),
            )?;
            launch.expect_nothing_left(ONE_SECOND)?;
        }
    }
    Ok(())
}

/// An attacker that reads every command line, and takes each name in each place as soon as the name can be
/// known.
pub(super) fn quick(shell: &str) -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root".into()).into());
    }
    let words: Vec<&str> = shell.split(' ').collect();
    let home = home()?;
    let places = [home.path().join("a"), home.path().join("b"), home.path().join("c")];
    for place in &places {
        fs::create_dir(place)?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o1777))?;
    }
    let victim = home.path().join("victim");
    fs::create_dir(&victim)?;
    fs::write(victim.join("t"), "precious")?;
    let quoted: Vec<String> = places.iter().map(|place| format!("\"{}\"", place.display())).collect();
    for number in 0..TRIES {
        let launch = Launch::new(home.path())?.with_places(&quoted.join(" "));
        let (done, halves) = (AtomicBool::new(false), launch.halves.clone());
        let made = std::thread::scope(|scope| -> Outcome<BTreeSet<PathBuf>> {
            let attacker = scope.spawn(|| attack(&halves, &places, &victim, &done));
            std::thread::sleep(Duration::from_millis(20));
            let stage = launch.start(&words, false);
            let outcome = stage.and_then(|mut stage| {
                // The attacker may have taken all public places.
                let announced = stage.announcement()?;
                if number % 2 == 0 && !announced.contains("|none") {
                    stage.send(&probe()?.request("zstd", "quick")?);
                    stage.check_probe(probe()?, "quick", false)?;
                } else {
                    stage.kill()?;
                }
                stage.close_stdin();
                stage.ends_within(ONE_SECOND).map(drop)
            });
            // The watcher has had enough time.
            std::thread::sleep(ONE_SECOND * 2);
            done.store(true, Ordering::Relaxed);
            let made = attacker.join().unwrap_or_default();
            outcome.map(|()| made)
        })?;
        check(!made.is_empty(), "the attacker was there")?;
        for path in &made {
            let metadata = path.symlink_metadata().with_context(|| format!("{} was removed", path.display()))?;
            check(metadata.uid() == OTHER, &format!("{} is still theirs", path.display()))?;
            check(!metadata.is_dir() || path.join("theirs").exists(), &format!("{} was emptied", path.display()))?;
            if metadata.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        check(fs::read(victim.join("t"))? == b"precious", "the file behind the links is there")?;
        let left = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten()).count();
        check(left == 0, "what it has made is gone")?;
    }
    Ok(())
}

/// The directories that the attacker has made.
fn attack(halves: &[String; 2], places: &[PathBuf], victim: &Path, done: &AtomicBool) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::from([format!(".offshoot-{}-{}", halves[0], halves[1])]);
    let (mut tried, mut made) = (BTreeSet::new(), BTreeSet::new());
    while !done.load(Ordering::Relaxed) {
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_string_lossy().into_owned();
            let argv = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let argv = String::from_utf8_lossy(&argv);
            if pid.parse::<u32>().is_ok() && argv.contains(&halves[0]) {
                names.insert(format!(".offshoot-{}-{pid}", halves[0]));
            }
            for word in argv.split('\0').filter(|word| word.len() < 300) {
                let name = word.split('/').find(|part| part.starts_with(&format!(".offshoot-{}-", halves[0])));
                names.extend(name.map(str::to_owned));
            }
        }
        for name in names.difference(&tried.clone()) {
            tried.insert(name.clone());
            for (number, place) in places.iter().enumerate() {
                let path = place.join(name);
                let is_made = if number % 2 == 0 {
                    let theirs = || fs::create_dir(&path).and_then(|()| fs::write(path.join("theirs"), ""));
                    theirs().is_ok()
                } else {
                    symlink(victim, &path).is_ok()
                };
                if is_made {
                    let owner = Some(Uid::from_raw(OTHER));
                    let _ = nix::unistd::fchownat(
                        nix::fcntl::AT_FDCWD,
                        &path,
                        owner,
                        None,
                        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
                    );
                    let _ = chown(&path.join("theirs"), owner, None);
                    made.insert(path);
                }
            }
        }
    }
    made
}
