//! A tree with all that can be copied, and what a copy of it has to have.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::unistd::User;
use sha2::{Digest, Sha256};

use crate::fleet::Fleet;
use crate::random::Random;

/// The size of the file with holes.
pub(crate) const HOLES: u64 = 32 << 20;
/// A user that no machine has.
const STRANGER: u32 = 54_321;

/// Makes the tree.
pub(crate) fn make(root: &Path, fleet: &Fleet) -> Result<()> {
    let user = User::from_name(&fleet.user)?.context("the user")?;
    fs::create_dir_all(root.join("deep/er/and/deeper"))?;
    fs::create_dir(root.join("empty"))?;
    let name = std::ffi::OsStr::from_bytes(b"odd \x1b[2J\n\xff'\"* name");
    for (name, size, mode, owner) in [
        ("nothing".as_ref(), 0, 0o644, 0),
        ("secret".as_ref(), 100, 0o600, user.uid.as_raw()),
        ("a name".as_ref(), 70_000, 0o640, 0),
        (name, 3, 0o444, 0),
        ("deep/er/and/deeper/file".as_ref(), 300_001, 0o755, 0),
        ("suid-root".as_ref(), 10, 0o4755, 0),
        ("suid-user".as_ref(), 10, 0o4755, user.uid.as_raw()),
        ("suid-stranger".as_ref(), 10, 0o4755, STRANGER),
        ("sgid".as_ref(), 10, 0o2755, 0),
    ] {
        let path = root.join(name);
        fs::write(&path, noise(size))?;
        chown(&path, Some(owner), None)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
    }
    fs::hard_link(root.join("deep/er/and/deeper/file"), root.join("deep/other"))?;
    symlink("no/such/place", root.join("link"))?;
    symlink("../deep", root.join("empty/directory"))?;
    lchown(root.join("empty/directory"), Some(user.uid.as_raw()), None)?;
    let mut holes = File::create(root.join("holes"))?;
    for at in [0, HOLES / 2 + 1] {
        holes.seek(SeekFrom::Start(at))?;
        holes.write_all(b"something")?;
    }
    holes.set_len(HOLES)?;
    fs::set_permissions(root.join("deep"), PermissionsExt::from_mode(0o2750))?;
    fs::set_permissions(root.join("deep/er"), PermissionsExt::from_mode(0o700))?;
    chown(root.join("deep/er"), Some(user.uid.as_raw()), None)?;
    // The deepest first, since what is made in a directory changes its time.
    for (nth, path) in ["deep/er/and/deeper/file", "deep/er/and", "deep", "nothing", "empty", "."].iter().enumerate() {
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + nth as u64, 123_456_789);
        File::open(root.join(path))?.set_modified(time)?;
    }
    Ok(())
}

/// Bytes that cannot be made smaller.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let (mut random, _) = Random::new("noise");
    (0..size).map(|_| random.below(256) as u8).collect()
}

/// What is known of a file, a directory or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// Where it leads, or the digest of its content.
    content: String,
    /// The first name of the same file.
    first: PathBuf,
}

impl Item {
    /// Whether it has the same kind and the same content.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        self.mode & 0o170_000 == other.mode & 0o170_000 && self.content == other.content
    }

    /// Changes it into what root gets if the owner is not copied. `got` has the group.
    pub(crate) fn belongs_to_root(&mut self, got: &Self) {
        self.owner = (0, got.owner.1);
        let is_file = self.mode & 0o170_000 == 0o100_000;
        self.mode &= if is_file { !0o6000 } else { !0o4000 };
    }
}

/// Everything below a directory, and the directory.
pub(crate) fn manifest(root: &Path) -> Result<BTreeMap<PathBuf, Item>> {
    let (mut items, mut firsts) = (BTreeMap::new(), BTreeMap::new());
    let mut paths = vec![PathBuf::new()];
    while let Some(path) = paths.pop() {
        let whole = root.join(&path);
        let metadata = whole.symlink_metadata().with_context(|| whole.display().to_string())?;
        let content = if metadata.is_dir() {
            for entry in fs::read_dir(&whole)? {
                paths.push(path.join(entry?.file_name()));
            }
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&whole)?.display().to_string()
        } else {
            digest_of(&whole)?
        };
        let identity = (metadata.dev(), metadata.ino());
        let first: &mut PathBuf = firsts.entry(identity).or_insert_with(|| path.clone());
        // By the order of the names, not by that of the directory.
        *first = path.clone().min(first.clone());
        items.insert(
            path,
            (
                identity,
                Item {
                    mode: metadata.mode(),
                    owner: (metadata.uid(), metadata.gid()),
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    content,
                    first: PathBuf::new(),
                },
            ),
        );
    }
    let named = |(path, (identity, item)): (PathBuf, ((u64, u64), Item))| {
        let first = firsts.get(&identity).cloned().unwrap_or_default();
        (path, Item { first, ..item })
    };
    Ok(items.into_iter().map(named).collect())
}

fn digest_of(path: &Path) -> Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        digest.update(&buffer[..count]);
    }
}

/// Fails at the first item that differs.
pub(crate) fn compare(wanted: &BTreeMap<PathBuf, Item>, got: &BTreeMap<PathBuf, Item>) -> Result<()> {
    let names = |items: &BTreeMap<PathBuf, Item>| items.keys().cloned().collect::<Vec<_>>();
    ensure!(names(wanted) == names(got), "wanted {:?}, got {:?}", names(wanted), names(got));
    for (path, item) in wanted {
        ensure!(got.get(path) == Some(item), "{}: wanted {item:?}, got {:?}", path.display(), got.get(path));
    }
    Ok(())
}
