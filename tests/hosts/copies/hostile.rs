//! A push by root into a directory of a user who changes it in the meantime.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::User;

use super::Site;
use super::killed::WAY;
use super::tree::{compare, manifest};
use crate::OnHosts;
use crate::fleet::Fleet;
use crate::random::rounds;
use crate::support::{PATIENCE, wait_for};

/// What the user does as fast as possible: a directory of the copy, and files in it, become symbolic links to a directory
/// and files of root, and what they were before. The names for what is not complete yet are taken as well.
const ATTACK: &str = r"
import os, sys
copy, outside = sys.argv[1], sys.argv[2]
mark = sys.argv[3]
def attempt(what, *args):
    try:
        what(*args)
    except OSError:
        pass
nth = 0
while True:
    nth += 1
    sub = copy + '/d%d' % (nth % 5)
    attempt(os.rename, sub, sub + '.away')
    attempt(os.symlink, outside, sub)
    attempt(os.unlink, sub)
    attempt(os.rename, sub + '.away', sub)
    for name in ('f%d' % (nth % 20), '.f%d.offshoot-part' % (nth % 20)):
        attempt(os.unlink, sub + '/' + name)
        attempt(os.symlink, outside + '/f%d' % (nth % 20), sub + '/' + name)
    if nth == 50:
        open(mark, 'w').close()
";

pub(super) fn trials() -> Vec<OnHosts> {
    let name = "copies: a user who swaps directories and links during a push by root leads nothing elsewhere";
    vec![(name.into(), Box::new(swaps))]
}

/// A process that is killed in the end.
struct Attacker(Child);

impl Attacker {
    fn start(user: &User, copy: &Path, outside: &Path, mark: &Path) -> Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", ATTACK]).args([copy, outside, mark]).current_dir("/").stdin(Stdio::null());
        Ok(Self(command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).spawn()?))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of root that everybody may look into, with files of the same names as those that are copied.
fn outside(root: &Path) -> Result<PathBuf> {
    let outside = root.join("outside");
    fs::create_dir(&outside)?;
    for nth in 0..20 {
        let file = outside.join(format!("f{nth}"));
        fs::write(&file, format!("of root {nth}"))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    }
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755))?;
    Ok(outside)
}

fn swaps(fleet: &Fleet) -> Result<()> {
    let user = User::from_name(&fleet.user)?.context("no such user")?;
    let mut site = Site::new(fleet, WAY)?;
    // The user reaches this directory. It is that of the host as well, which is this machine.
    let place = tempfile::tempdir()?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
    let (copy, outside) = (place.path().join("copy"), outside(place.path())?);
    site.path = copy.display().to_string();
    let (from, owner) = (site.here("from"), (Some(user.uid.as_raw()), Some(user.gid.as_raw())));
    for directory in (0..5).map(|nth| from.join(format!("d{nth}"))) {
        fs::create_dir_all(&directory)?;
        for nth in 0..20 {
            fs::write(directory.join(format!("f{nth}")), format!("new {nth}").repeat(100))?;
        }
    }
    let wanted = manifest(&outside)?;
    for round in 0..rounds(12) {
        fs::create_dir(&copy)?;
        chown(&copy, owner.0, owner.1)?;
        for nth in 0..5 {
            fs::create_dir(copy.join(format!("d{nth}")))?;
            chown(copy.join(format!("d{nth}")), owner.0, owner.1)?;
        }
        let mark = copy.join("mark");
        let attackers = [(); 2].map(|()| Attacker::start(&user, &copy, &outside, &mark));
        wait_for(PATIENCE, || mark.exists().then_some(())).context("the user does nothing")?;
        // The directories stay those of the user, as they do if a push has no right to change owners.
        let ended = site.push("from", &["--no-owner"])?;
        drop(attackers);
        // Nothing in there has changed: neither a content nor a mode, an owner or a time.
        compare(&wanted, &manifest(&outside)?).with_context(|| format!("round {round}: {ended:?}"))?;
        match ended.code {
            Some(0) => {}
            // A fault names what is wrong and where.
            Some(2) => {
                let names = |line: &String| {
                    // What is done with a directory itself fails in one of the last three ways.
                    let reasons = [
                        "/f",
                        "directory",
                        "cannot make it: File exists",
                        "cannot look at it: ",
                        "cannot change mode, owner or time of it: ",
                    ];
                    line.starts_with("nopass: d") && reasons.iter().any(|reason| line.contains(reason))
                };
                ensure!(ended.stderr.iter().any(names), "round {round}: {ended:?}");
            }
            _ => ensure!(false, "round {round}: {ended:?}"),
        }
        fs::remove_dir_all(&copy)?;
    }
    Ok(())
}
