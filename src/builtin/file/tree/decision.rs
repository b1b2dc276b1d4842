//! What is to be done with an entry: decisions without I/O.

use super::message::{Entry, MAX_NAME, MAX_PATH, What};
use crate::sys::directory::{Kind, Stat, is_name};

/// The bit of a mode by which a program runs as the user that owns it, and that for the group.
pub(crate) const SET_USER: u32 = 0o4000;
pub(crate) const SET_GROUP: u32 = 0o2000;
/// Why something else than a file is not replaced: it may be what all programs of the system use, as /dev/null.
pub(crate) const NO_FILE: &str = "a device, a pipe or a socket is in its place; name another place";

/// What is to be done at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The content is the same. Mode, owner and time may differ.
    Keep,
    /// A directory or a link is made, over what is there.
    Make,
    /// The content is fetched.
    Fetch,
    /// The content is compared, and fetched if it differs.
    Compare,
    /// Nothing can be done, and why.
    Refuse(&'static str),
    /// The same, unless what is there is deleted first.
    Replace(&'static str),
}

/// What is at the target in place of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) stat: &'a Stat,
    /// Where it leads, if it is a symbolic link.
    pub(crate) target: Option<&'a [u8]>,
}

/// Decides about an entry. `found` is what has its name.
pub(crate) fn decide(entry: &Entry, found: Option<Found<'_>>, checksum: bool) -> Step {
    let kind = found.map(|found| found.stat.kind);
    match (&entry.what, kind) {
        (What::Directory, Some(Kind::Directory)) => Step::Keep,
        (What::Directory, Some(Kind::Link)) => {
            Step::Refuse("a symbolic link is in the place of the directory; remove it, or copy to where it leads")
        }
        (_, Some(Kind::Other)) => Step::Refuse(NO_FILE),
        (What::Directory, Some(_)) => {
            Step::Replace("a file is in the place of the directory; remove it, or copy the tree with --delete")
        }
        (_, Some(Kind::Directory)) => {
            Step::Replace("a directory is in its place; remove it, or copy the tree with --delete")
        }
        (What::Directory, None) => Step::Make,
        (What::Symlink(target), _) => match found.and_then(|found| found.target) {
            Some(there) if there == target.0 => Step::Keep,
            _ => Step::Make,
        },
        (What::HardLink(..) | What::Other, _) => Step::Make,
        (What::File { size }, Some(Kind::File)) => match found.map(|found| found.stat) {
            Some(stat) if stat.size != *size => Step::Fetch,
            Some(_) if checksum => Step::Compare,
            Some(stat) if is_same_time(entry.modified, stat.modified) => Step::Keep,
            _ => Step::Fetch,
        },
        (What::File { .. }, _) => Step::Fetch,
    }
}

/// Whether a file was modified when the source says. A file system that keeps no parts of a second has zero there.
pub(crate) fn is_same_time(source: (i64, u32), here: (i64, u32)) -> bool {
    source.0 == here.0 && (source.1 == here.1 || here.1 == 0)
}

/// The mode that a copy gets. `owned` says whether the user and the group that own it are those of the source. If
/// another one owns the copy, a program that runs as its owner would run as somebody who was not meant.
pub(crate) fn mode(entry: &Entry, owned: (bool, bool)) -> u32 {
    let mut mode = entry.mode & 0o7777;
    if !owned.0 {
        mode &= !SET_USER;
    }
    // In a directory, it only says which group new files get.
    if !owned.1 && !matches!(entry.what, What::Directory) {
        mode &= !SET_GROUP;
    }
    mode
}

/// Checks what the other side says of names, which lead nowhere but below the root.
///
/// # Errors
///
/// What is wrong with them.
pub(crate) fn check(directory: &[u8], entry: &Entry) -> Result<(), String> {
    let is_fine = |name: &[u8]| is_name(name) && name.len() <= MAX_NAME;
    check_path(directory)?;
    if !is_fine(&entry.name.0) {
        return Err(format!("\"{}\" is not the name of a file", entry.name.0.escape_ascii()));
    }
    match &entry.what {
        What::HardLink(directory, name) if !is_fine(&name.0) || check_path(&directory.0).is_err() => {
            Err(format!("a link to \"{}\" leads out of the directory", name.0.escape_ascii()))
        }
        What::Symlink(target) if target.0.len() > MAX_PATH || target.0.is_empty() || target.0.contains(&0) => {
            Err("a symbolic link leads to what is not a path".into())
        }
        _ => Ok(()),
    }
}

/// Checks the path of a directory below the root.
pub(crate) fn check_path(path: &[u8]) -> Result<(), String> {
    let is_fine = path.len() <= MAX_PATH
        && (path.is_empty() || path.split(|byte| *byte == b'/').all(|name| is_name(name) && name.len() <= MAX_NAME));
    if is_fine { Ok(()) } else { Err(format!("\"{}\" leads out of the directory", path.escape_ascii())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Blob;

    fn entry(what: What) -> Entry {
        Entry { name: Blob(b"a".to_vec()), what, mode: 0o4755, modified: (10, 5), user: 0, group: 0 }
    }

    fn stat(kind: Kind, size: u64, modified: (i64, u32)) -> Stat {
        Stat { kind, size, mode: 0o644, modified, user: 0, group: 0, identity: (1, 1), links: 1, is_sparse: false }
    }

    #[test]
    fn only_what_differs_is_fetched() {
        let file = entry(What::File { size: 3 });
        for (found, by_time, by_content) in [
            (None, Step::Fetch, Step::Fetch),
            (Some(stat(Kind::File, 3, (10, 5))), Step::Keep, Step::Compare),
            (Some(stat(Kind::File, 3, (10, 0))), Step::Keep, Step::Compare),
            (Some(stat(Kind::File, 3, (10, 6))), Step::Fetch, Step::Compare),
            (Some(stat(Kind::File, 3, (11, 5))), Step::Fetch, Step::Compare),
            (Some(stat(Kind::File, 4, (10, 5))), Step::Fetch, Step::Fetch),
            (Some(stat(Kind::Link, 3, (10, 5))), Step::Fetch, Step::Fetch),
        ] {
            let found = found.as_ref().map(|stat| Found { stat, target: None });
            assert_eq!(decide(&file, found, false), by_time, "{found:?}");
            assert_eq!(decide(&file, found, true), by_content, "{found:?}");
        }
    }

    #[test]
    fn a_directory_is_never_taken_for_a_link_nor_replaced() {
        let at = |what, kind| decide(&entry(what), Some(Found { stat: &stat(kind, 0, (0, 0)), target: None }), false);
        let says = |step| match step {
            Step::Refuse(why) | Step::Replace(why) => why,
            step => panic!("{step:?}"),
        };
        assert_eq!(at(What::Directory, Kind::Directory), Step::Keep);
        assert!(says(at(What::Directory, Kind::Link)).contains("symbolic link"));
        assert!(says(at(What::Directory, Kind::File)).contains("a file is in the place"));
        for what in [What::File { size: 0 }, What::Symlink(Blob(b"x".to_vec()))] {
            assert!(says(at(what, Kind::Directory)).contains("a directory is in its place"));
        }
    }

    #[test]
    fn what_is_neither_a_file_nor_a_link_is_not_replaced() {
        let link = What::HardLink(Blob(Vec::new()), Blob(b"b".to_vec()));
        for what in [What::File { size: 0 }, What::Symlink(Blob(b"x".to_vec())), link, What::Directory] {
            let stat = stat(Kind::Other, 0, (10, 5));
            for checksum in [false, true] {
                let step = decide(&entry(what.clone()), Some(Found { stat: &stat, target: None }), checksum);
                assert!(matches!(step, Step::Refuse(why) if why.contains("a device, a pipe or a socket")), "{step:?}");
            }
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_made_anew() {
        let link = entry(What::Symlink(Blob(b"there".to_vec())));
        let stat = stat(Kind::Link, 5, (0, 0));
        let found = |target| Some(Found { stat: &stat, target: Some(target) });
        assert_eq!(decide(&link, found(b"there"), false), Step::Keep);
        assert_eq!(decide(&link, found(b"where"), false), Step::Make);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "/", "/etc/passwd", "a\0", &long] {
            let entry = Entry { name: Blob(name.into()), ..entry(What::Directory) };
            assert!(check(b"", &entry).is_err(), "{name}");
        }
        for path in ["..", "a/..", "/", "/etc", "a/", "a//b", "./a"] {
            assert!(check(path.as_bytes(), &entry(What::Directory)).is_err(), "{path}");
            assert!(check(b"", &entry(What::HardLink(Blob(path.into()), Blob(b"a".to_vec())))).is_err(), "{path}");
        }
        assert!(check(b"", &entry(What::HardLink(Blob(vec![]), Blob(b"..".to_vec())))).is_err());
        for name in ["a", "...", ".x", "a b", "\u{1b}[2J", "-rf"] {
            let entry = Entry { name: Blob(name.into()), ..entry(What::HardLink(Blob(vec![]), Blob(b"b".to_vec()))) };
            assert_eq!(check(b"a/..b/c", &entry), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_program_that_runs_as_its_owner_does_so_only_if_the_owner_is_the_same() {
        let with = |what| Entry { mode: 0o6755, ..entry(what) };
        let file = with(What::File { size: 0 });
        let modes = [(true, true), (true, false), (false, true), (false, false)].map(|owned| mode(&file, owned));
        assert_eq!(modes, [0o6755, 0o4755, 0o2755, 0o755]);
        assert_eq!(mode(&with(What::Directory), (false, false)), 0o2755);
    }
}
