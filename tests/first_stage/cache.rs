//! Images that a machine has kept: requested by digest, hashed at every use, and never trusted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::stage::{Launch, Outcome, Stage, check, probe, tools};
use super::{NEEDED, home};
use crate::support::ONE_SECOND;

/// The name under which the probe would be kept.
fn digest() -> Outcome<String> {
    Ok(Sha256::digest(&probe()?.bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn kept(home: &Path) -> Outcome<PathBuf> {
    Ok(home.join(".cache/offshoot").join(digest()?))
}

/// Brings the stage up as a controller does. Returns whether the image had to be sent.
fn come_up(launch: &Launch, shell: &[&str]) -> Outcome<bool> {
    let mut stage = launch.start(shell, false)?;
    let announced = stage.announcement()?;
    let digest = digest()?;
    let packed = announced.split(' ').nth(2).context("a decompressor")?;
    let (packed, asks) = packed.strip_suffix('+').map_or((packed, false), |packed| (packed, true));
    let whole = probe()?.request(packed, &format!("@{digest} offshoot:x"))?;
    let whole = String::from_utf8_lossy(&whole[..whole.iter().position(|byte| *byte == b'\n').context("a line")?])
        .replace("offshoot:@", "");
    let (_, rest) = whole.split_once(' ').context("a size")?;
    let send_all = |stage: &mut Stage| -> Outcome {
        let mut request = probe()?.request(packed, "x")?;
        let end = request.iter().position(|byte| *byte == b'\n').context("a line")?;
        request.splice(..end, whole.bytes());
        stage.send(&request);
        Ok(())
    };
    let mut sent = false;
    if asks {
        stage.send(format!("0 {rest}\n").as_bytes());
        // The next line comes from the image, or from the stage again.
        let line = stage.line()?;
        sent = line != "PROBE";
        if sent {
            let again = line.strip_prefix(&launch.token()).with_context(|| line.clone())?;
            check(
                !again.contains("+ ") && again.contains(&format!(" {packed} ")),
                &format!("no more asking: {again}"),
            )?;
            send_all(&mut stage)?;
            check(stage.line()? == "PROBE", "it comes up")?;
        }
    } else {
        send_all(&mut stage)?;
        check(stage.line()? == "PROBE", "it comes up")?;
    }
    let lines: Vec<String> = (0..4).map(|_| stage.line()).collect::<Outcome<_>>()?;
    check(lines[3] == "clean", &format!("{lines:?}"))?;
    let (status, _, stderr) = stage.finish()?;
    check(status.success() && stderr.is_empty(), &format!("it ends well: {status}, {stderr:?}"))?;
    launch.expect_nothing_left(ONE_SECOND)?;
    Ok(sent || !asks)
}

/// The image is kept once and used afterwards. Whatever happens to the file, the image is then sent again and
/// the file is replaced.
pub(super) fn in_a_shell(shell: &str) -> Outcome {
    let words: Vec<&str> = shell.split(' ').collect();
    let home = home()?;
    let spaced = home.path().join("a  home $(touch x)");
    fs::create_dir(&spaced)?;
    let launch = || Ok::<_, anyhow::Error>(Launch::new(&spaced)?.with_cache());
    let file = kept(&spaced)?;
    check(come_up(&launch()?, &words)?, "the first time it is sent")?;
    let whole = fs::read(&file).context("it is kept")?;
    check(whole == probe()?.bytes, "all of it is kept")?;
    check(fs::metadata(&file)?.mode() & 0o777 == 0o600, "it is nobody else's")?;
    check(!come_up(&launch()?, &words)?, "the second time it is not sent")?;

    let other = spaced.join("other");
    fs::write(&other, b"#!/bin/sh\necho PROBE; echo evil\n")?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o777))?;
    let damages: [(&str, &dyn Fn() -> std::io::Result<()>); 6] = [
        ("half-written", &|| fs::write(&file, &whole[..whole.len() / 2])),
        ("longer", &|| fs::write(&file, [&whole[..], b"x"].concat())),
        ("another file of that name", &|| fs::rename(&other, &file)),
        ("a link to something", &|| fs::remove_file(&file).and_then(|()| std::os::unix::fs::symlink("/bin/sh", &file))),
        ("a fifo", &|| {
            fs::remove_file(&file)?;
            nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).map_err(std::io::Error::from)
        }),
        ("gone", &|| fs::remove_file(&file)),
    ];
    for (what, damage) in damages {
        damage().with_context(|| what.to_owned())?;
        let sent = come_up(&launch()?, &words).with_context(|| what.to_owned())?;
        // A longer file begins with the image. Only as many bytes as the image has are read.
        check(sent || what == "longer", &format!("it is sent again: {what}"))?;
        if what != "longer" {
            check(fs::symlink_metadata(&file)?.is_file() && fs::read(&file)? == whole, &format!("put right: {what}"))?;
        }
    }
    // Every user may write to it, and the result is the same.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    check(!come_up(&launch()?, &words)?, "others may write to it")
}

pub(super) fn with_each_hasher() -> Outcome {
    for hasher in ["sha256sum", "shasum", "openssl", "perl", ""] {
        let home = home()?;
        let names: Vec<&str> = NEEDED.iter().copied().chain(["mv", "ls", "wc", "sleep", hasher]).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
        let path = tools(home.path(), &names)?;
        let launch = || Ok::<_, anyhow::Error>(Launch::new(home.path())?.with_cache().with_path(&path));
        check(come_up(&launch()?, &["/bin/sh"])?, hasher)?;
        let again = come_up(&launch()?, &["/bin/sh"]).with_context(|| hasher.to_owned())?;
        check(again == hasher.is_empty(), &format!("without a hasher nothing is kept: {hasher}"))?;
        check(kept(home.path())?.exists() != hasher.is_empty(), hasher)?;
    }
    Ok(())
}

pub(super) fn is_bounded() -> Outcome {
    let home = home()?;
    let file = kept(home.path())?;
    let directory = file.parent().context("a directory")?;
    fs::create_dir_all(directory)?;
    for n in 0..9_u64 {
        let old = fs::File::create(directory.join(format!("old-{n}")))?;
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(n + 1))?;
    }
    check(come_up(&Launch::new(home.path())?.with_cache(), &["sh"])?, "it is sent")?;
    let mut names: Vec<String> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().display().to_string())).collect::<Outcome<_>>()?;
    names.sort();
    check(names[1..] == ["old-6", "old-7", "old-8"] && names[0] == digest()?, &format!("{names:?}"))
}

pub(super) fn two_at_once() -> Outcome {
    let home = home()?;
    for _ in 0..4 {
        let _ = fs::remove_file(kept(home.path())?);
        let came_up: Vec<Outcome<bool>> = std::thread::scope(|scope| {
            let begin = || Launch::new(home.path()).and_then(|launch| come_up(&launch.with_cache(), &["sh"]));
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panic")))).collect()
        });
        came_up.into_iter().collect::<Outcome<Vec<_>>>()?;
        check(fs::read(kept(home.path())?)? == probe()?.bytes, "it is whole")?;
        let left = fs::read_dir(home.path().join(".cache/offshoot"))?.count();
        check(left == 1, &format!("one file is kept, not {left}"))?;
    }
    Ok(())
}

pub(super) fn without_a_home() -> Outcome {
    let home = home()?;
    let mut launch = Launch::new(home.path())?.with_cache();
    launch.home = "/".into();
    launch = launch.with_prefix(&["env", "-u", "HOME"]);
    check(come_up(&launch, &["sh"])?, "it is sent")?;
    check(!Path::new("/.cache/offshoot").exists(), "nothing is kept in the root directory")
}
