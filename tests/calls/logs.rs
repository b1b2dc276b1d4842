//! What children print and log.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use offshoot::log::Record;
use offshoot::{Context, Error, Router, export};

use super::{Tree, eventually, pid};

/// The records that have arrived so far.
#[derive(Clone, Default)]
pub(super) struct Records(Arc<Mutex<Vec<Record>>>);

impl Records {
    pub(super) fn of(router: &Router) -> Self {
        let records = Self::default();
        let kept = records.clone();
        router.on_log(move |record| kept.0.lock().unwrap().push(record.clone()));
        records
    }

    pub(super) fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn texts(&self, target: &str) -> Vec<String> {
        self.all().into_iter().filter(|record| record.target == target).map(|record| record.message).collect()
    }

    pub(super) fn wait_for(&self, target: &str, text: &str) -> Record {
        let find = || self.all().into_iter().find(|record| record.target == target && record.message.contains(text));
        eventually(&format!("{text:?} from {target}"), || find().is_some());
        find().unwrap()
    }
}

fn speak() {
    let mut out = std::io::stdout();
    writeln!(out, "a line\nanother").ok();
    write!(out, "no end").ok();
    out.flush().ok();
    writeln!(std::io::stderr(), "to stderr \x1b[31mred").ok();
    std::process::Command::new("sh").args(["-c", "echo from a subprocess; echo and its stderr >&2"]).status().ok();
}
export!(speak);

#[test]
fn what_a_function_and_its_subprocesses_print_arrives_line_by_line() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let child = tree.child();
    child.blocking_call(speak, ()).unwrap();
    child.blocking_shutdown();
    // The third line had no end, so the next one of that stream completes it.
    records.wait_for("stdout", "no endfrom a subprocess");
    records.wait_for("stderr", "and its stderr");
    assert_eq!(records.texts("stdout"), ["a line", "another", "no endfrom a subprocess"]);
    assert_eq!(records.texts("stderr"), ["to stderr \\u{1b}[31mred", "and its stderr"]);
    let records = records.all();
    let printed = records.iter().filter(|record| record.target.starts_with("std"));
    assert!(printed.clone().all(|record| record.level == 3 && record.context == child.id()));
    assert!(printed.clone().all(|record| record.context_name == child.name()));
}

fn mumble(bytes: Vec<u8>) {
    std::io::stdout().write_all(&bytes).ok();
    std::io::stdout().flush().ok();
}
export!(mumble);

#[test]
fn the_last_line_needs_no_end() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let child = tree.child();
    child.blocking_call(mumble, (b"unfinished".to_vec(),)).unwrap();
    child.blocking_shutdown();
    records.wait_for("stdout", "unfinished");
}

#[test]
fn a_line_that_is_no_utf_8_arrives_with_marks_and_a_long_one_in_pieces() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let child = tree.child();
    child.blocking_call(mumble, (b"caf\xe9\n".to_vec(),)).unwrap();
    records.wait_for("stdout", "caf\u{fffd}");
    child.blocking_call(mumble, ([&[b'x'; 100_000][..], b"\nafter\n"].concat(),)).unwrap();
    records.wait_for("stdout", "after");
    let pieces: Vec<usize> = records.texts("stdout").iter().map(String::len).filter(|len| *len > 10).collect();
    assert_eq!(pieces.iter().sum::<usize>(), 100_000);
    assert!(pieces.len() > 5 && pieces.iter().all(|len| *len <= 16 * 1024), "{pieces:?}");
}

/// Writes as those do who ignore short writes: 1 MiB at once.
fn gush() -> Result<usize, String> {
    let written = nix::unistd::write(std::io::stdout(), &[b'\n'; 1 << 20]);
    written.map_err(|error| error.to_string())
}
export!(gush);

fn blocking_fds() -> Result<Vec<bool>, String> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let is_blocking = |fd: std::os::fd::BorrowedFd<'_>| {
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(|error| error.to_string())?;
        Ok(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
    };
    use std::os::fd::AsFd;
    [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()]
        .map(is_blocking)
        .into_iter()
        .collect()
}
export!(blocking_fds);

#[test]
fn a_mebibyte_is_written_to_stdout_in_one_write_since_its_descriptors_block() {
    let tree = Tree::new();
    let child = tree.child();
    assert_eq!(child.blocking_call(blocking_fds, ()).unwrap(), [true; 3]);
    assert_eq!(child.blocking_call(gush, ()).unwrap(), 1 << 20);
}

fn log(text: String) {
    tracing::warn!(target: "my::target", answer = 42, name = ?"quoted", "{text}");
    tracing::debug!(target: "my::target", "nobody has asked for this");
}
export!(log);

#[test]
fn an_event_arrives_with_target_level_fields_and_context_over_any_number_of_hops() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let near = tree.child();
    let middle = tree.behind(&near);
    let far = tree.behind(&middle);
    for child in [&near, &far] {
        child.blocking_call(log, (format!("at {}", child.id()),)).unwrap();
        let event = records.wait_for("my::target", &format!("at {}", child.id()));
        assert_eq!((event.level, event.context), (2, child.id()));
        assert_eq!(event.context_name, child.name());
        let fields =
            [("answer", "42"), ("name", "\"quoted\"")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(event.fields, fields);
    }
    assert!(records.all().iter().all(|record| record.level <= 3));
}

fn fail() -> Result<(), String> {
    Err("it cannot be done".into())
}
export!(fail);

#[test]
fn a_call_that_nobody_awaits_fails_in_the_log() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let child = tree.child();
    child.call_no_reply(fail, ()).unwrap();
    let record = records.wait_for("offshoot::engine::dispatch", "No-reply function call failed");
    assert!(record.message.contains("it cannot be done"), "{}", record.message);
    assert_eq!((record.level, record.context_name.as_str()), (1, child.name()));
}

fn chatter() -> u64 {
    let line = [b'c'; 4095].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    let start = std::time::Instant::now();
    let mut lines = 0;
    while start.elapsed().as_millis() < 1500 {
        std::io::stdout().write_all(&line).ok();
        lines += 1;
    }
    lines
}
export!(chatter);

#[test]
fn a_flood_of_lines_delays_no_call_and_is_counted_where_it_was_cut() {
    let tree = Tree::new();
    let records = Arc::new(Mutex::new((0_u64, 0_u64)));
    let kept = Arc::clone(&records);
    tree.0.on_log(move |record| {
        let mut seen = kept.lock().unwrap();
        if record.target == "stdout" {
            seen.0 += 1;
        } else if let Some(count) = record.message.split(' ').next().and_then(|word| word.parse::<u64>().ok()) {
            seen.1 += count;
        }
    });
    let hop = tree.child();
    let loud = tree.behind(&hop);
    let flood = loud.call(chatter, ());
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..100 {
        let start = std::time::Instant::now();
        hop.blocking_call(pid, ()).unwrap();
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest.as_millis() < 1000, "{slowest:?}");
    let lines = super::block_on(flood).unwrap();
    loud.blocking_shutdown();
    let arrived = *records.lock().unwrap();
    assert!(lines > 0 && arrived.0 > 0 && arrived.0 <= lines, "{lines} lines, {arrived:?}");
}

/// A subscriber that shows what its rules say, and keeps it.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Shown {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let level = match metadata.target() {
            target if target.starts_with("calls::logs") => tracing::Level::DEBUG,
            "stdout" => tracing::Level::INFO,
            _ => tracing::Level::WARN,
        };
        *metadata.level() <= level
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

fn log_at_all_levels() {
    tracing::debug!(n = 1, "mine, fine");
    tracing::trace!("mine, too fine");
    tracing::info!(target: "other", "unheard");
    tracing::warn!(target: "other", "heard");
    writeln!(std::io::stdout(), "printed").ok();
    writeln!(std::io::stderr(), "unread").ok();
}
export!(log_at_all_levels);

#[test]
fn children_send_what_the_master_shows_and_it_keeps_their_targets() {
    let shown = Shown::default();
    // Levels are copied on this thread, records are shown on that of the log.
    let guard = tracing::subscriber::set_default(shown.clone());
    let tree = Tree::new();
    let child = tree.child();
    drop(guard);
    assert_eq!(levels_of(&tree, &child), [3, 2, 4, 2]);
}

/// What a child was told to send of `stdout`, `stderr`, this module, and all
/// others, found by trying.
fn levels_of(tree: &Tree, child: &Context) -> [u8; 4] {
    let records = Records::of(&tree.0);
    child.blocking_call(log_at_all_levels, ()).unwrap();
    child.blocking_shutdown();
    records.wait_for("other", "heard");
    let has = |text: &str| records.all().iter().any(|record| record.message == text);
    let mine = if has("mine, too fine") {
        5
    } else if has("mine, fine") {
        4
    } else {
        3
    };
    let other = if has("unheard") { 3 } else { 2 };
    [if has("printed") { 3 } else { 2 }, if has("unread") { 3 } else { 2 }, mine, other]
}

fn keep_log(path: PathBuf) -> Result<(), Error> {
    offshoot::log::log_to_file(Some(&path), "debug").map_err(|error| Error::Payload(error.to_string()))?;
    tracing::debug!(answer = 42, "of the function");
    Ok(())
}
export!(keep_log);

#[test]
fn a_child_writes_a_log_file_of_its_own_and_its_master_hears_no_less() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let child = tree.child();
    child.blocking_call(keep_log, (path.clone(),)).unwrap();
    child.blocking_call(speak, ()).unwrap();
    records.wait_for("stdout", "a line");
    let written = || std::fs::read_to_string(&path).unwrap();
    eventually("what was printed", || written().contains(" I stdout: a line\n"));
    assert!(written().contains(" D calls::logs: of the function answer=42\n"), "{}", written());
    assert!(!directory.path().join("other").exists());
}
