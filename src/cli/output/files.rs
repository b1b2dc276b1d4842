//! `--outdir`: the output of each host in files, written as it comes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::output::file_name::file_name;
use crate::cli::output::report::{ErrorInfo, HostEvent, HostExit, HostIndex, Stream};
use crate::cli::output::summary::Status;
use crate::cli::substitution::{self, Values, names_host};
use crate::sys::directory::{Directory, Kind};
use crate::sys::process::is_out_of_files;

/// How long a file may wait for a descriptor. Connects take those that are free, and give them back when they have failed.
const WAIT: Duration = Duration::from_secs(10);
/// How often it is looked for one.
const LOOK: Duration = Duration::from_millis(5);

/// How many files a host has.
const SPARE: usize = 2;

/// The files of a run. A host has two, with the endings `.out` and `.err`, from its first output on. If descriptors run out,
/// those of other hosts are closed, and opened again when they have more.
#[derive(Debug)]
pub(crate) struct Files {
    /// The paths by the index of the host, without the endings.
    stems: Vec<PathBuf>,
    /// The directory that the user has named. Below it no symbolic link is followed, which another user may have made.
    base: PathBuf,
    overwrite: bool,
    /// The files that were made; `None` if they are closed.
    made: HashMap<usize, Option<Pair>>,
    /// Descriptors that are given up when none is left. One host can then write.
    spare: Vec<File>,
    /// Why output of a host is missing in its files.
    failed: HashMap<usize, String>,
}

#[derive(Debug)]
struct Pair {
    stdout: File,
    stderr: File,
}

impl Files {
    /// Prepares files for these hosts. `pattern` is a directory; or with `%h` or `%n` in it, the path of the files
    /// without the endings.
    ///
    /// # Errors
    ///
    /// If the pattern is wrong, a directory cannot be made, or a file exists and may not be replaced.
    pub(crate) fn new(pattern: &Path, overwrite: bool, hosts: &[String]) -> Result<Self, String> {
        let pattern = match names_host(pattern.as_os_str()) {
            true => pattern.to_owned(),
            false => pattern.join("%h"),
        };
        let stem = |(number, host): (usize, &String)| {
            let values = Values { host: &file_name(host), number };
            substitution::apply(pattern.as_os_str(), values).map(|path| Path::new(&path).components().collect())
        };
        let stems: Vec<PathBuf> = hosts.iter().enumerate().map(stem).collect::<Result<_, _>>()?;
        if !overwrite && let Some(file) = stems.iter().flat_map(|stem| both(stem)).find(|file| exists(file)) {
            return Err(format!(
                "{} exists already; name another directory, or write --overwrite to replace it",
                file.display()
            ));
        }
        // That of the first host tells what is wrong before anything is run.
        let base = base_of(&pattern);
        stems.first().map_or(Ok(()), |stem| make_parent(&base, stem).map(drop).map_err(|unmade| unmade.text))?;
        Ok(Self { stems, base, overwrite, made: HashMap::new(), spare: spare(), failed: HashMap::new() })
    }

    /// Writes what an event has for the files. A host whose output could not be written has failed.
    pub(crate) fn take(&mut self, event: &mut HostEvent) {
        match event {
            HostEvent::Output { host, stream, bytes } => self.write(*host, *stream, &[bytes]),
            HostEvent::Result { host, json } => self.write(*host, Stream::Stdout, &[json.as_bytes(), b"\n"]),
            // The files are about the last attempt, as the report.
            HostEvent::Retry { host, .. } => self.clear(*host),
            HostEvent::Note(_) => {}
            HostEvent::Exit { host, exit } => {
                if matches!(exit.status, Status::Ok | Status::Failed | Status::Timeout) {
                    self.write(*host, Stream::Stdout, &[]);
                }
                self.made.remove(&host.0);
                if self.spare.len() < SPARE {
                    self.spare = spare();
                }
                if let Some(why) = self.failed.remove(&host.0) {
                    fail(exit, why);
                }
            }
        }
    }

    fn write(&mut self, HostIndex(index): HostIndex, stream: Stream, parts: &[&[u8]]) {
        if self.failed.contains_key(&index) {
            return;
        }
        let written = self.pair(index).and_then(|pair| {
            let file = match stream {
                Stream::Stdout => &mut pair.stdout,
                Stream::Stderr => &mut pair.stderr,
            };
            parts.iter().try_for_each(|part| file.write_all(part)).map_err(|error| error.to_string())
        });
        self.note(index, written);
    }

    fn clear(&mut self, HostIndex(index): HostIndex) {
        if !self.made.contains_key(&index) {
            return;
        }
        let cleared = self.pair(index).and_then(|pair| {
            let files = [&pair.stdout, &pair.stderr];
            files.into_iter().try_for_each(|file| file.set_len(0)).map_err(|error| error.to_string())
        });
        self.note(index, cleared);
    }

    fn note(&mut self, index: usize, done: Result<(), String>) {
        if let Err(why) = done {
            let stem = self.stems.get(index).map(|stem| stem.display().to_string()).unwrap_or_default();
            self.failed.insert(index, format!("its output cannot be written to {stem}.out and .err: {why}"));
        }
    }

    fn pair(&mut self, index: usize) -> Result<&mut Pair, String> {
        if !matches!(self.made.get(&index), Some(Some(_))) {
            let stem = self.stems.get(index).ok_or("there is no such host")?.clone();
            let is_new = !self.made.contains_key(&index);
            let base = self.base.clone();
            let directory = self
                .patiently(|| make_parent(&base, &stem), |unmade| unmade.is_out_of_files)
                .map_err(|unmade| unmade.text)?;
            let [stdout, stderr] =
                both(&stem).map(|path| self.open(&directory, &path, is_new).map_err(|error| error.to_string()));
            let pair = Pair { stdout: stdout?, stderr: stderr? };
            self.made.insert(index, Some(pair));
        }
        self.made.get_mut(&index).and_then(Option::as_mut).ok_or_else(|| "there is no such host".into())
    }

    /// Opens a file, which was not there before if it is new. What is replaced may be a link, so it is removed and not written.
    fn open(&mut self, directory: &Directory, path: &Path, is_new: bool) -> io::Result<File> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if is_new && self.overwrite && directory.stat(name)?.is_some() {
            directory.remove(name)?;
        }
        self.patiently(|| directory.append_for_all(name, is_new), is_out_of_files)
    }

    /// Tries something that takes a descriptor. If there is none, files of other hosts are closed, and then it waits.
    fn patiently<T, E>(
        &mut self,
        attempt: impl Fn() -> Result<T, E>,
        is_out_of_files: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(error) if is_out_of_files(&error) && begun.elapsed() < WAIT => {}
                done => return done,
            }
            if self.made.values().any(Option::is_some) {
                self.made.values_mut().for_each(|pair| *pair = None);
            } else if self.spare.pop().is_none() {
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Descriptors for the two files of a host, as many as there are.
fn spare() -> Vec<File> {
    (0..SPARE).map_while(|_| File::open("/dev/null").ok()).collect()
}

fn both(stem: &Path) -> [PathBuf; 2] {
    ["out", "err"].map(|ending| {
        let mut path = OsString::from(stem);
        path.push(".");
        path.push(ending);
        path.into()
    })
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The directory that a pattern names before the first `%`.
fn base_of(pattern: &Path) -> PathBuf {
    let bytes = pattern.as_os_str().as_bytes();
    let fixed = bytes.split(|byte| *byte == b'%').next().unwrap_or_default();
    let end = fixed.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    Path::new(OsStr::from_bytes(&fixed[..end])).components().collect()
}

/// Why there is no directory for files.
struct Unmade {
    text: String,
    is_out_of_files: bool,
}

/// Makes and opens the directory of these files.
fn make_parent(base: &Path, stem: &Path) -> Result<Directory, Unmade> {
    let failed = |place: &Path, error: io::Error| {
        let text = match no_directory(place) {
            Some(file) => format!("--outdir: {} is no directory; name another place", file.display()),
            None => format!("--outdir: the directory {} cannot be made: {error}", place.display()),
        };
        Unmade { text, is_out_of_files: is_out_of_files(&error) }
    };
    let mut path = if base == Path::new("") { PathBuf::from(".") } else { base.to_owned() };
    fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
    let mut directory = Directory::open(&path).map_err(|error| failed(&path, error))?;
    let below = stem.parent().and_then(|parent| parent.strip_prefix(base).ok()).unwrap_or_else(|| Path::new(""));
    for part in below {
        let name = part.as_bytes();
        path.push(part);
        match directory.stat(name) {
            Ok(Some(stat)) if stat.kind == Kind::Link => {
                let text = format!(
                    "--outdir: {} is a symbolic link, and another user may have made it; remove it, or name the \
                     directory where it leads before the first %",
                    path.display()
                );
                return Err(Unmade { text, is_out_of_files: false });
            }
            Ok(None) => match directory.make_for_all(name) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&path, error)),
                _ => {}
            },
            _ => {}
        }
        directory = directory.below(name).map_err(|error| failed(&path, error))?;
    }
    Ok(directory)
}

/// What stands in the place of a directory and is none.
fn no_directory(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| exists(path)).filter(|path| !path.is_dir())
}

fn fail(exit: &mut HostExit, text: String) {
    if exit.error.is_none() {
        let (kind, phase) = ("outdir".into(), "command".into());
        exit.error = Some(ErrorInfo { kind, phase, text, ..ErrorInfo::default() });
        exit.status = if exit.status == Status::Ok { Status::Failed } else { exit.status };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(host: usize, stream: Stream, text: &str) -> HostEvent {
        HostEvent::Output { host: HostIndex(host), stream, bytes: text.as_bytes().to_vec() }
    }

    fn exit(host: usize, status: Status) -> HostEvent {
        HostEvent::Exit { host: HostIndex(host), exit: HostExit { status, ..HostExit::cancelled() } }
    }

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).unwrap_or_else(|error| format!("{name}: {error}"))
    }

    #[test]
    fn every_host_that_ran_has_its_output_in_two_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/logs");
        let mut files = Files::new(&path, false, &hosts(&["web1", "a/../b", "web3", "web4"])).unwrap();
        let retry = HostEvent::Retry { host: HostIndex(1), exit: HostExit::cancelled(), wait: Duration::ZERO };
        for mut event in [
            out(0, Stream::Stdout, "a\n\u{1b}"),
            out(0, Stream::Stderr, "oops"),
            out(1, Stream::Stdout, "the first attempt"),
            retry,
            out(1, Stream::Stdout, "b"),
            exit(0, Status::Ok),
            exit(1, Status::Failed),
            exit(2, Status::Ok),
            exit(3, Status::Unreachable),
        ] {
            files.take(&mut event);
        }
        assert_eq!((read(&path, "web1.out"), read(&path, "web1.err")), ("a\n\u{1b}".into(), "oops".into()));
        assert_eq!((read(&path, "a+..+b.out"), read(&path, "web3.out")), ("b".into(), String::new()));
        assert!(!path.join("web4.out").exists() && files.made.is_empty());
    }

    /// As it is if descriptors run out.
    #[test]
    fn files_that_were_closed_are_opened_again_where_they_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path(), false, &hosts(&["web1", "web2"])).unwrap();
        files.take(&mut out(0, Stream::Stdout, "a"));
        files.take(&mut out(1, Stream::Stdout, "the first attempt"));
        files.made.values_mut().for_each(|pair| *pair = None);
        files.take(&mut HostEvent::Retry { host: HostIndex(1), exit: HostExit::cancelled(), wait: Duration::ZERO });
        for mut event in [out(0, Stream::Stdout, "b"), out(1, Stream::Stdout, "c"), exit(0, Status::Ok)] {
            files.take(&mut event);
        }
        assert_eq!((read(directory.path(), "web1.out"), read(directory.path(), "web2.out")), ("ab".into(), "c".into()));
    }

    #[test]
    fn a_pattern_says_where_the_files_are() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(&directory.path().join("%n-%h/log"), false, &hosts(&["web1", "web2"])).unwrap();
        files.take(&mut out(1, Stream::Stdout, "x"));
        assert_eq!(read(directory.path(), "1-web2/log.out"), "x");
        assert!(Files::new(Path::new("logs/%d"), false, &hosts(&["a"])).unwrap_err().contains("%h for the host"));
    }

    #[test]
    fn a_file_that_exists_is_replaced_only_on_demand_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("web1.err"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let refused = Files::new(directory.path(), false, &hosts(&["web1"])).unwrap_err();
        assert!(refused.contains("web1.err exists already") && refused.contains("--overwrite"), "{refused}");
        let mut files = Files::new(directory.path(), true, &hosts(&["web1"])).unwrap();
        files.take(&mut out(0, Stream::Stderr, "new"));
        assert_eq!(
            (read(directory.path(), "target"), read(directory.path(), "web1.err")),
            ("precious".into(), "new".into())
        );
    }

    #[test]
    fn a_link_below_the_directory_that_is_named_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("logs")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("real/web2")).unwrap();
        let mut files = Files::new(&at("logs/%h/deep/log"), false, &hosts(&["web1", "web2"])).unwrap();
        let mut events = [0, 1].map(|host| (out(host, Stream::Stdout, "x"), exit(host, Status::Ok)));
        for (event, exit) in &mut events {
            files.take(event);
            files.take(exit);
        }
        // The user has named `logs`, so it is followed.
        assert_eq!(read(&at("real/web1/deep"), "log.out"), "x");
        assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 0);
        let HostEvent::Exit { exit, .. } = &events[1].1 else { panic!() };
        let why = exit.error.as_ref().map(|error| error.text.clone()).unwrap_or_default();
        assert!(exit.status == Status::Failed && why.contains("logs/web2 is a symbolic link"), "{why}");
        let refused = Files::new(&at("logs/%h/log"), false, &hosts(&["web2"])).unwrap_err();
        assert!(refused.contains("logs/web2 is a symbolic link"), "{refused}");
    }

    #[test]
    fn the_directory_that_is_named_ends_before_the_first_sign_of_a_host() {
        for (pattern, base) in [
            ("logs/%h", "logs/"),
            ("%h/log", ""),
            ("/%n", "/"),
            ("a/b%%/c-%h", "a/"),
            ("/var/log/x-%n/%h", "/var/log/"),
        ] {
            assert_eq!(base_of(Path::new(pattern)), Path::new(base), "{pattern}");
        }
    }

    #[test]
    fn a_host_whose_files_cannot_be_written_has_failed() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path(), false, &hosts(&["web1"])).unwrap();
        // It comes into being after the look at it.
        fs::create_dir(directory.path().join("web1.out")).unwrap();
        files.take(&mut out(0, Stream::Stdout, "x"));
        let mut event = exit(0, Status::Ok);
        files.take(&mut event);
        let HostEvent::Exit { exit, .. } = event else { panic!() };
        assert!(exit.status == Status::Failed && exit.error.unwrap().text.contains("cannot be written to"));
        let blocked = directory.path().join("file");
        fs::write(&blocked, "").unwrap();
        for place in [blocked.clone(), blocked.join("logs"), blocked.join("logs/%h/x")] {
            let refused = Files::new(&place, false, &hosts(&["web1"])).unwrap_err();
            assert_eq!(refused, format!("--outdir: {} is no directory; name another place", blocked.display()));
        }
    }
}
