//! `offshoot push` and `offshoot pull`: files and trees of files to hosts and from hosts.
//!
//! - `meter`: how far they are

pub(crate) mod meter;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::Blob;
use crate::builtin::file::tree::message::{Change, Destination, Entry, Options, Place, Tally, What};
use crate::builtin::file::tree::pace::Pace;
use crate::builtin::file::tree::walk::means_content;
use crate::cli::args::copying::{CopyingArgs, PullArgs, PushArgs};
use crate::cli::args::{Cli, OutputArgs, ReachArgs};
use crate::cli::complaint::fail;
use crate::cli::exit::Exit;
use crate::cli::hosts::path::HostPath;
use crate::cli::output::visible::word as visible;
use crate::cli::run::carry_out;
use crate::cli::transfer::meter::Meters;
use crate::cli::worker::{Job, Stdin, Work};
use crate::sys::directory::Stat;

/// A copy to hosts or from hosts.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) sources: Vec<Blob>,
    pub(super) way: Way,
    pub(super) options: Options,
    pub(super) pace: Option<Arc<Pace>>,
    pub(super) meters: Arc<Meters>,
    /// Whether results are JSON.
    pub(super) is_json: bool,
}

#[derive(Debug)]
pub(super) enum Way {
    Push(Destination),
    /// Into a directory for each host in this one.
    Pull(PathBuf),
}

/// Copies to all hosts and reports.
pub(crate) fn push(cli: &Cli, args: &PushArgs) -> Exit {
    let Some((to, sources)) = args.paths.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return fail(
            Exit::Usage,
            &"name the files or directories here, and then the place on the hosts; only one path is there",
        );
    };
    // A variable of a shell that is not set must not stand for the home directory.
    if to.is_empty() {
        return fail(Exit::Usage, &"the destination is empty; name a path on the hosts, or . for the home directory");
    }
    if let Some(why) = tilde(std::slice::from_ref(to)) {
        return fail(Exit::Usage, &why);
    }
    let place = match check(sources, to, args.copying.delete).and_then(|()| place(sources, to)) {
        Ok(place) => place,
        Err(why) => return fail(Exit::Usage, &why),
    };
    let way = Way::Push(Destination { path: blob(to), place });
    let options = Options { owners: !args.no_owner, ..options(&args.copying) };
    carry_out(cli, job(&args.copying, (sources, way, options), &args.reach, args.output))
}

/// Copies from all hosts and reports.
pub(crate) fn pull(cli: &Cli, args: &PullArgs) -> Exit {
    let Some((to, sources)) = args.paths.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return fail(
            Exit::Usage,
            &"name the files or directories on the hosts, and then a directory here; only one path is there",
        );
    };
    if let Some(why) = tilde(sources).or_else(|| twice(sources)) {
        return fail(Exit::Usage, &why);
    }
    let to = PathBuf::from(to);
    if to.exists() && !to.is_dir() {
        return fail(Exit::Usage, &format!("{} is not a directory; name one for the hosts", shown(to.as_os_str())));
    }
    let made: Vec<PathBuf> = to.ancestors().take_while(|place| is_missing(place)).map(Path::to_owned).collect();
    if !args.copying.dry_run
        && let Err(error) = std::fs::create_dir_all(&to)
    {
        return fail(Exit::Usage, &format!("cannot make the directory {}: {error}", shown(to.as_os_str())));
    }
    // A host could have any file belong to anyone, and run as anyone. So the copies belong to who runs the tool.
    let options = options(&args.copying);
    let exit = carry_out(cli, job(&args.copying, (sources, Way::Pull(to), options), &args.reach, args.output));
    // If no host gave anything. A directory that is not empty stays.
    let _ = made.iter().try_for_each(std::fs::remove_dir);
    exit
}

fn is_missing(place: &Path) -> bool {
    // An empty path is the directory in which the tool runs.
    place != Path::new("") && std::fs::symlink_metadata(place).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn job(
    args: &CopyingArgs,
    (sources, way, options): (&[OsString], Way, Options),
    reach: &ReachArgs,
    output: OutputArgs,
) -> Job {
    let sources = sources.iter().map(|source| blob(source)).collect();
    let pace = args.bwlimit.map(|rate| Arc::new(Pace::new(rate)));
    let transfer =
        Transfer { sources, way, options, pace, meters: Arc::default(), is_json: output.json || output.jsonl };
    Job {
        work: Work::Transfer(Rc::new(transfer)),
        reach: reach.clone(),
        running: args.running(),
        output,
        timeout: args.timeout,
        substitutes: false,
        is_shell: false,
        stdin: Stdin::Unread,
        shown: None,
    }
}

fn options(args: &CopyingArgs) -> Options {
    let CopyingArgs { delete, dry_run, exclude, checksum, .. } = args.clone();
    Options { exclude, checksum, delete, dry_run, owners: false }
}

fn blob(text: &OsStr) -> Blob {
    Blob(text.as_bytes().to_vec())
}

fn shown(path: &OsStr) -> String {
    visible(&path.to_string_lossy())
}

/// Checks what would not give what is meant.
///
/// # Errors
///
/// What is wrong, and what to write instead.
fn check(sources: &[OsString], to: &OsStr, delete: bool) -> Result<(), String> {
    // All that the hosts have would go, or all that is beside a directory. Other spellings are refused there.
    let mut parts = Path::new(to).components().rev().filter(|part| *part != Component::CurDir);
    if delete && matches!(parts.next(), Some(Component::ParentDir | Component::RootDir)) {
        return Err(format!(
            "with --delete, {} would lose all that the source does not have; name a directory in it",
            shown(to)
        ));
    }
    twice(sources).map_or(Ok(()), Err)
}

/// What is wrong if a path on hosts begins with the sign that a shell replaces by the home directory.
fn tilde(paths: &[OsString]) -> Option<String> {
    let path = paths.iter().find(|path| *path == "~" || path.as_bytes().starts_with(b"~/"))?;
    let rest = path.as_bytes().strip_prefix(b"~/").filter(|rest| !rest.is_empty()).unwrap_or(b".");
    Some(format!(
        "no shell reads {} on the hosts; a relative path begins at the home directory there, so write {}",
        shown(path),
        shown(OsStr::from_bytes(rest))
    ))
}

/// What is wrong if two sources have the same name, of which one copy would replace the other.
fn twice(sources: &[OsString]) -> Option<String> {
    let mut seen = HashSet::new();
    let named = sources.iter().filter(|source| !means_content(source.as_bytes()));
    let mut names = named.filter_map(|source| Path::new(source).file_name());
    let name = names.find(|name| !seen.insert(*name))?;
    Some(format!("two sources have the name {}; copy them one after the other", shown(name)))
}

/// What the place on the hosts means. If it ends with `/`, or if there are several sources, it is the directory that
/// gets them. Otherwise it is the name of the copy.
///
/// # Errors
///
/// If a source cannot be read.
fn place(sources: &[OsString], to: &OsStr) -> Result<Place, String> {
    let mut only = None;
    for source in sources {
        // A pipe without a writer does not hold it up. It is refused later, with all that is no file.
        let stat = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(Path::new(source));
        let stat = stat.and_then(Stat::of);
        only = Some(stat.map_err(|error| format!("cannot read {}: {error}", shown(source)))?);
    }
    let [source] = sources else { return Ok(Place::Inside) };
    let Some(stat) = only.filter(|_| !to.as_bytes().ends_with(b"/")) else { return Ok(Place::Inside) };
    if !Path::new(source).is_dir() {
        return Ok(Place::Named);
    }
    let (mode, modified, user, group) = (stat.mode, stat.modified, stat.user, stat.group);
    Ok(Place::Copy(Entry { name: Blob(b".".to_vec()), what: What::Directory, mode, modified, user, group }))
}

impl Transfer {
    pub(super) fn is_push(&self) -> bool {
        matches!(self.way, Way::Push(_))
    }

    /// What is wrong if a path on the hosts begins with one of them, as scp and rsync want it.
    pub(super) fn check_hosts(&self, hosts: &[HostPath]) -> Result<(), String> {
        let paths = match &self.way {
            Way::Push(Destination { path, .. }) => std::slice::from_ref(path),
            Way::Pull(_) => &self.sources,
        };
        let host_of = |path: &Blob| {
            let text = String::from_utf8_lossy(&path.0).into_owned();
            let (host, rest) = text.split_once(':').map(|(host, rest)| (host.to_owned(), rest.to_owned()))?;
            hosts.iter().any(|known| known.text == host).then_some((text, rest))
        };
        let Some((path, rest)) = paths.iter().find_map(host_of) else { return Ok(()) };
        Err(format!(
            "{} would be a path in the home directory of each host, since -w names the hosts; write {} for the path, or \
             ./{} if it has that name",
            visible(&path),
            visible(if rest.is_empty() { "." } else { &rest }),
            visible(&path)
        ))
    }

    /// The sources as they are sent. What becomes a copy under another name is its content.
    pub(super) fn named(&self) -> Vec<Blob> {
        let is_content = matches!(&self.way, Way::Push(Destination { place: Place::Copy(_), .. }));
        let content = |source: &Blob| match is_content && !means_content(&source.0) {
            true => Blob([&source.0[..], b"/"].concat()),
            false => source.clone(),
        };
        self.sources.iter().map(content).collect()
    }
}

/// The word before a path that would change.
pub(super) fn would(change: Change) -> &'static str {
    match change {
        Change::Write => "write",
        Change::Make => "make",
        Change::Adjust => "adjust",
        Change::Delete => "delete",
    }
}

/// A result in words.
pub(super) fn in_words(tally: &Tally, is_dry: bool, is_push: bool) -> String {
    let Tally { written, bytes, made, adjusted, unchanged, deleted, failed, left_out } = *tally;
    let file = |count: u64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let mut words = vec![format!("{} {}", file(written), if is_dry { "to write" } else { "written" })];
    words
        .extend((!is_dry && bytes > 0).then(|| format!("{bytes} bytes {}", if is_push { "sent" } else { "received" })));
    for (count, what) in [(made, "made"), (adjusted, "adjusted"), (deleted, "deleted")] {
        words.extend((count > 0).then(|| format!("{count} {}{what}", if is_dry { "to be " } else { "" })));
    }
    for (count, what) in [(failed, "failed"), (left_out, "left out (pipes, sockets, devices)")] {
        words.extend((count > 0).then(|| format!("{count} {what}")));
    }
    words.push(format!("{unchanged} unchanged"));
    words.join(", ")
}

/// A result as JSON on one line.
pub(super) fn in_json(tally: &Tally) -> String {
    let Tally { written, bytes, made, adjusted, unchanged, deleted, failed, left_out } = tally;
    format!(
        "{{\"written\":{written},\"bytes\":{bytes},\"made\":{made},\"adjusted\":{adjusted},\"unchanged\":{unchanged},\
         \"deleted\":{deleted},\"failed\":{failed},\"left_out\":{left_out}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_name_of_the_copy_or_the_directory_that_gets_it() {
        let place_of = |sources: &[&str], to: &str| {
            let sources: Vec<OsString> = sources.iter().map(OsString::from).collect();
            place(&sources, to.as_ref())
        };
        assert_eq!(place_of(&["Cargo.toml"], "x"), Ok(Place::Named));
        assert_eq!(place_of(&["Cargo.toml"], "x/"), Ok(Place::Inside));
        assert_eq!(place_of(&["Cargo.toml", "src"], "x"), Ok(Place::Inside));
        assert_eq!(place_of(&["src"], "x/"), Ok(Place::Inside));
        assert!(matches!(place_of(&["src"], "x"), Ok(Place::Copy(_))));
        assert!(place_of(&["no-such-file"], "x").unwrap_err().contains("cannot read no-such-file"));
    }

    #[test]
    fn what_would_replace_or_delete_too_much_is_refused() {
        let checked = |sources: &[&str], to: &str, delete| {
            let sources: Vec<OsString> = sources.iter().map(OsString::from).collect();
            check(&sources, to.as_ref(), delete)
        };
        for to in ["/", "//", "/.", "/./"] {
            assert!(checked(&["x/"], to, true).is_err(), "{to}");
            assert_eq!(checked(&["x/"], to, false), Ok(()));
        }
        for to in ["..", "../", "../..", "./..", "/..", "/srv/site/..", "x/../..", "x/../", "x/.././"] {
            assert!(checked(&["x/"], to, true).unwrap_err().contains(to), "{to}");
        }
        for to in [".", "./", "/srv", "x", "../x", "x..", "x/../y", "x/.", "..."] {
            assert_eq!(checked(&["x/"], to, true), Ok(()), "{to}");
        }
        assert!(checked(&["a/x", "b/x"], "d", false).unwrap_err().contains("the name x"));
        assert_eq!(checked(&["a/x", "b/y", "a/", "b/"], "d", false), Ok(()));
    }

    #[test]
    fn results_are_told_in_words_and_numbers() {
        let tally = Tally { written: 1, bytes: 5, unchanged: 7, deleted: 2, failed: 1, ..Tally::default() };
        assert_eq!(in_words(&tally, false, true), "1 file written, 5 bytes sent, 2 deleted, 1 failed, 7 unchanged");
        assert_eq!(in_words(&tally, true, true), "1 file to write, 2 to be deleted, 1 failed, 7 unchanged");
        let left = Tally { left_out: 3, ..Tally::default() };
        assert_eq!(in_words(&left, false, false), "0 files written, 3 left out (pipes, sockets, devices), 0 unchanged");
        let value: serde_json::Value = serde_json::from_str(&in_json(&tally)).unwrap();
        assert_eq!((&value["bytes"], &value["failed"]), (&5.into(), &1.into()));
    }
}
