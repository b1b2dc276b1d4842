//! The log of a process as lines of a file.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Metadata;

use crate::engine::log::debug::DebugLog;
use crate::engine::log::{Event, Levels, LogSource, Record, Recorder, Taker};
use crate::wire::message::ContextId;
use crate::wire::sanitize::printable;

/// The environment variable that replaces the levels that a program has set.
const LOG_LEVEL: &str = "OFFSHOOT_LOG_LEVEL";

/// Writes the log of this process, and the records of other contexts, to a file or to stderr. For programs
/// that have no `tracing` subscriber.
///
/// `levels` is one of `off error warn info debug trace io`. Levels of targets may follow, for example
/// `warn,my_app=debug`. A target applies to itself and to all targets below it; the longest match is used.
/// `io` is `debug`, plus a line for each frame that arrives or leaves. If the environment variable
/// `OFFSHOOT_LOG_LEVEL` is set and not empty, it replaces `levels`.
///
/// Children send the records that are shown here; this is decided when they connect. A child may call this
/// function, too. Its own records and output then go to the file, and also to the master while it has one.
///
/// Each record is written immediately, as one line:
///
/// ```text
/// 14:03:07.123456 I my_app::db: opened path=/srv/db
/// 14:03:07.234567 I stdout.[ssh.web1]: what a function printed
/// ```
///
/// The time is UTC, and the letter is the first letter of the level. For a record of another context, the
/// name of the context follows the target. Control characters are escaped.
///
/// The file `path` is created if it does not exist; lines are appended to it. `None` means stderr. A further
/// call replaces the file and the levels. Blocks until the file is open. If writing to the file is slow, the
/// threads that log are slowed down.
///
/// ```
/// let path = std::env::temp_dir().join("offshoot-doc.log");
/// offshoot::log::log_to_file(Some(&path), "warn,my_app=debug")?;
/// tracing::debug!(target: "my_app", answer = 42, "it is known");
/// assert!(std::fs::read_to_string(&path)?.contains(" D my_app: it is known answer=42\n"));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// An error if `levels` or the variable is invalid, if the file cannot be opened, or if another `tracing`
/// subscriber already receives the log of this process. An error changes nothing.
pub fn log_to_file(path: Option<&Path>, levels: &str) -> io::Result<()> {
    let levels = levels_of_environment().unwrap_or_else(|| Levels::parse(levels));
    let levels = levels.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let file = match path {
        // (`std` opens files with close-on-exec.)
        Some(path) => Some(Arc::new(OpenOptions::new().append(true).create(true).open(path)?)),
        None => None,
    };
    install(|state| {
        state.levels = levels;
        state.output = Some(file);
    })
}

/// The levels that the user of the program has set, or what is wrong with them.
pub(crate) fn levels_of_environment() -> Option<Result<Levels, String>> {
    let value = std::env::var(LOG_LEVEL).ok().filter(|value| !value.is_empty())?;
    Some(Levels::parse(&value).map_err(|why| format!("{LOG_LEVEL}: {why}")))
}

/// Opens the debug log of this process, once. Returns `None` if another subscriber receives its log.
pub(crate) fn enable_debug(me: ContextId, name: &str) -> io::Result<Option<PathBuf>> {
    let path = || LOGGER.get()?.read(|state| state.debug.as_ref().map(|debug| debug.path().to_owned()));
    if let Some(path) = path() {
        return Ok(Some(path));
    }
    if LOGGER.get().is_none() && tracing::dispatcher::has_been_set() {
        return Ok(None);
    }
    let debug = DebugLog::create(me, name)?;
    install(|state| state.debug = Some(Arc::new(debug)))?;
    Ok(path())
}

/// The receiver of the log of this process, after [`log_to_file`] was called.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Each writer clones the `Arc`, so the lock is never held while a write blocks.
struct Logger(RwLock<Arc<State>>);

#[derive(Clone)]
struct State {
    levels: Levels,
    /// The outer option is set by [`log_to_file`]. The inner one is a file, or `None` for stderr.
    output: Option<Option<Arc<File>>>,
    debug: Option<Arc<DebugLog>>,
}

/// Changes the destination of the log. If this process has no subscriber yet, installs one.
fn install(change: impl FnOnce(&mut State)) -> io::Result<()> {
    static FIRST: Mutex<()> = Mutex::new(());
    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if LOGGER.get().is_none() && !forwards() {
        tracing::subscriber::set_global_default(Recorder(ToFile)).map_err(|_| {
            let text = "another tracing subscriber has the log of this process; set up only one of them";
            io::Error::new(io::ErrorKind::AlreadyExists, text)
        })?;
    }
    let none = || Logger(RwLock::new(Arc::new(State { levels: Levels::new(0), output: None, debug: None })));
    let logger = LOGGER.get_or_init(none);
    change(Arc::make_mut(&mut logger.0.write().unwrap_or_else(PoisonError::into_inner)));
    drop(first);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// Whether the subscriber of this process forwards to the master. That subscriber also writes to the file.
fn forwards() -> bool {
    tracing::dispatcher::get_default(|subscriber| subscriber.is::<Recorder<LogSource>>())
}

/// The wanted levels, if [`log_to_file`] was called.
pub(super) fn levels() -> Option<Levels> {
    LOGGER.get().map(|logger| logger.read(|state| state.levels.clone()))
}

/// Whether the log goes to the destination of [`log_to_file`] (true) or only to the debug log (false). `None`
/// if there is neither.
pub(super) fn takes_records() -> Option<bool> {
    LOGGER.get().map(|logger| logger.read(|state| state.output.is_some()))
}

/// Writes a record of another context, if [`log_to_file`] was called. Returns whether it was.
pub(super) fn write_record(record: &Record) -> bool {
    let Some(logger) = LOGGER.get() else { return false };
    logger.read(|state| {
        if state.wants(&record.target, record.level) {
            let (target, fields) = (&record.target, &record.fields);
            let line = line(target, Some(&record.context_name), record.level, &record.message, fields);
            state.write(target, record.level, Some(&record.context_name), &line);
        }
    });
    true
}

impl Logger {
    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        let state = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        f(&state)
    }
}

impl State {
    fn wants(&self, target: &str, level: u8) -> bool {
        self.levels.of(target) >= level || (self.debug.is_some() && DebugLog::wants(target, level))
    }

    /// Writes one line. `context` is the name of the context that logged it, if it is another one.
    fn write(&self, target: &str, level: u8, context: Option<&str>, line: &str) {
        if let Some(debug) = &self.debug {
            debug.write(line);
        }
        if self.levels.of(target) >= level {
            // An error cannot be reported anywhere.
            let _ = match &self.output {
                Some(Some(file)) => (&**file).write_all(line.as_bytes()),
                Some(None) => write_to_stderr(context, line),
                None => Ok(()),
            };
        }
    }
}

#[cfg(not(feature = "cli"))]
fn write_to_stderr(_context: Option<&str>, line: &str) -> io::Result<()> {
    io::stderr().write_all(line.as_bytes())
}

#[cfg(feature = "cli")]
use super::rate_limit::write_to_stderr;

/// Writes a record of this context, if [`log_to_file`] was called and wants it.
pub(super) fn write_own(target: &str, level: u8, message: &str, fields: &[(String, String)]) {
    if let Some(logger) = LOGGER.get() {
        logger.read(|state| {
            if state.wants(target, level) {
                state.write(target, level, None, &line(target, None, level, message, fields));
            }
        });
    }
}

/// Whether [`log_to_file`] was called and wants records with this target and level.
pub(super) fn wants(target: &str, level: u8) -> bool {
    LOGGER.get().is_some_and(|logger| logger.read(|state| state.wants(target, level)))
}

/// The most verbose level that [`log_to_file`] wants of any target; 0 if it was not called.
pub(super) fn most() -> u8 {
    let most = |state: &State| if state.debug.is_some() { 5 } else { state.levels.most() };
    LOGGER.get().map_or(0, |logger| logger.read(most))
}

/// The subscriber of a process that logs to a file.
struct ToFile;

impl Taker for ToFile {
    fn wants(&self, target: &str, level: u8) -> bool {
        wants(target, level)
    }

    fn most(&self) -> u8 {
        most()
    }

    fn take(&self, metadata: &Metadata<'_>, level: u8, event: Event) {
        write_own(metadata.target(), level, &event.message, &event.fields);
    }
}

/// Length of the time at the beginning of a [`line`].
#[cfg(any(feature = "cli", test))]
pub(super) const TIME: usize = "hh:mm:ss.uuuuuu".len();

/// Formats a record as one line.
pub(super) fn line(
    target: &str,
    context: Option<&str>,
    level: u8,
    message: &str,
    fields: &[(String, String)],
) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (time, micros) = (now.as_secs(), now.subsec_micros());
    let (hour, minute, second) = (time / 3600 % 24, time / 60 % 60, time % 60);
    let letter = char::from(b"-EWIDT"[usize::from(level.min(5))]);
    let mut line = format!("{hour:02}:{minute:02}:{second:02}.{micros:06} {letter} {target}");
    if let Some(context) = context {
        line.push_str(".[");
        line.push_str(context);
        line.push(']');
    }
    line.push_str(": ");
    line.push_str(&printable(message));
    for (name, value) in fields {
        // Writing to a string does not fail.
        let _ = write!(line, " {name}={}", printable(value));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_time_level_target_and_context() {
        let text = line("stdout", Some("ssh.web1"), 3, "hello", &[("a".into(), "1\n2".into())]);
        let (time, rest) = text.split_at(TIME);
        assert_eq!(rest, " I stdout.[ssh.web1]: hello a=1\\n2\n");
        let digits = |at: usize| time.as_bytes()[at].is_ascii_digit();
        assert!((0..15).all(|at| digits(at) || [2, 5, 8].contains(&at)), "{time}");
        assert_eq!((&time[2..3], &time[5..6], &time[8..9]), (":", ":", "."));
    }

    /// In a process of its own, since a process has one log.
    #[test]
    fn a_repeated_call_replaces_file_and_levels() {
        if std::env::var_os("OFFSHOOT_TEST_LOG").is_none() {
            let name = "log::file::tests::a_repeated_call_replaces_file_and_levels";
            let mut program = std::process::Command::new(std::env::current_exe().unwrap());
            let ended = program.args([name, "--exact", "--nocapture"]).env("OFFSHOOT_TEST_LOG", "1").output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let lines = |name| std::fs::read_to_string(path(name)).unwrap();
        log_to_file(Some(&path("first")), "info,file_test=debug").unwrap();
        tracing::debug!(target: "file_test", n = 1, "one");
        tracing::trace!(target: "file_test", "too fine");
        log_to_file(Some(&path("second")), "warn").unwrap();
        // The same place in the code as before, which is now not wanted.
        for level in ["warn", "warn,file_test=info"] {
            log_to_file(Some(&path("second")), level).unwrap();
            tracing::info!(target: "file_test", "two\nlines");
        }
        assert!(log_to_file(Some(&path("third")), "loud").is_err());
        assert!(log_to_file(Some(directory.path()), "warn").is_err());
        tracing::warn!(target: "file_test", "three");
        let first: Vec<_> = lines("first").lines().map(|line| line[15..].to_owned()).collect();
        assert!(first.contains(&" D file_test: one n=1".to_owned()), "{first:?}");
        assert!(!first.iter().any(|line| line.contains("two") || line.contains("too fine")));
        let second: Vec<_> =
            lines("second").lines().filter(|l| l.contains("file_test")).map(|l| l[15..].to_owned()).collect();
        assert_eq!(second, [" I file_test: two\\nlines", " W file_test: three"]);
        assert!(!path("third").exists());
        let remote = Record { context_name: "web".into(), ..Record::new("file_test", 3, "from afar") };
        assert!(write_record(&remote));
        assert!(lines("second").ends_with(" I file_test.[web]: from afar\n"));
        assert_eq!(crate::engine::log::wanted(false, []).of("file_test::db"), 3);
        assert_eq!(
            (crate::engine::log::wanted(false, []).of("other"), crate::engine::log::wanted(true, []).of("other")),
            (2, 3)
        );
    }
}
