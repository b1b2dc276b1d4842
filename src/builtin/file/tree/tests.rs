//! A source and a sink on this machine, and a sink whose source is hostile.
//!
//! - `safety`: what is neither deleted nor replaced nor mixed

mod safety;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::draft::{Drafts, KEPT_FROM};
use super::message::{
    BATCH, CHUNK, Change, Destination, Entry, Fault, Group, Note, Options, Piece, Place, Reason, Stop, Tally, ToSink,
    ToSource, Want, What,
};
use super::sink::{MOST_ENTRIES, Sink};
use super::source::{Next, Source};
use super::sum::{Sum, SumKind};
use super::system::System;
use super::target::Target;
use crate::sys::directory::{Directory, Stat};
use crate::wire::codec::Blob;

fn blob(text: impl AsRef<[u8]>) -> Blob {
    Blob(text.as_ref().to_vec())
}

fn bytes(path: &Path) -> Blob {
    use std::os::unix::ffi::OsStrExt;
    blob(path.as_os_str().as_bytes())
}

/// A place with a source and a target, and what the sink has told.
struct World {
    place: TempDir,
    options: Options,
    notes: Arc<Mutex<Vec<Note>>>,
    drafts: Drafts,
    /// What is taken for the root of the system.
    root: Option<std::path::PathBuf>,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("from")).unwrap();
        fs::create_dir(place.path().join("to")).unwrap();
        Self { place, options: Options::default(), notes: Arc::default(), drafts: Drafts::default(), root: None }
    }

    fn from(&self, path: &str) -> std::path::PathBuf {
        self.place.path().join("from").join(path)
    }

    fn to(&self, path: &str) -> std::path::PathBuf {
        self.place.path().join("to").join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.from(path).parent().unwrap()).unwrap();
        fs::write(self.from(path), text).unwrap();
    }

    fn sink(&self, place: Place, path: &Path, most: u64) -> Result<Sink, Stop> {
        let notes = Arc::clone(&self.notes);
        let tell = Box::new(move |note| notes.lock().unwrap().push(note));
        let destination = Destination { path: bytes(path), place };
        let (drafts, options) = (self.drafts.clone(), self.options.clone());
        let mut target = Target::open(destination, options, (drafts, 3), (tell, Arc::default()))?;
        if let Some(root) = &self.root {
            target.system = System::at(root);
        }
        Ok(Sink::new(target, most))
    }

    /// Copies the content of the source to the target.
    fn copy(&self) -> Result<Tally, Stop> {
        self.copy_as(&["from/"], Place::Inside, "to", |_| ())
    }

    fn copy_as(&self, sources: &[&str], place: Place, to: &str, mut see: impl FnMut(&ToSink)) -> Result<Tally, Stop> {
        let mut sink = self.sink(place, &self.place.path().join(to), MOST_ENTRIES)?;
        let named = |name: &&str| blob(format!("{}/{name}", self.place.path().display()));
        let sources: Vec<Blob> = sources.iter().map(named).collect();
        let stop = AtomicBool::new(false);
        let mut source = Source::new(&sources, &self.options, &stop);
        let mut answers = std::collections::VecDeque::new();
        loop {
            match source.next() {
                Next::Send(message) => {
                    let (size, begun) = (message.size(), Instant::now());
                    see(&message);
                    source.sent(size, begun.elapsed());
                    let (answer, _) = sink.take(message)?;
                    answers.extend(answer);
                    // Answers are late, as on a long way.
                    if answers.len() > 2 {
                        source.answer(answers.pop_front().unwrap())?;
                    }
                }
                Next::Await => source.answer(answers.pop_front().expect("an answer"))?,
                Next::Done => return Ok(sink.tally()),
            }
        }
    }

    fn told(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    /// All paths below the target, with what they are.
    fn all(&self) -> Vec<String> {
        fn add(place: &Path, prefix: &str, all: &mut Vec<String>) {
            for entry in fs::read_dir(place).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type().unwrap().is_dir() {
                    all.push(format!("{path}/"));
                    add(&entry.path(), &format!("{path}/"), all);
                } else {
                    all.push(path);
                }
            }
        }
        let mut all = Vec::new();
        add(&self.to(""), "", &mut all);
        all.sort();
        all
    }
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_tree_is_copied_with_all_that_it_is() {
    let world = World::new();
    world.write("a/b/file", "hello");
    world.write("empty", "");
    world.write("odd \u{1b}[2J\nname", "x");
    fs::hard_link(world.from("a/b/file"), world.from("other")).unwrap();
    symlink("../nowhere", world.from("a/link")).unwrap();
    fs::create_dir(world.from("bare")).unwrap();
    fs::set_permissions(world.from("empty"), PermissionsExt::from_mode(0o751)).unwrap();
    age(&world.from("empty"), 1_000_000_000);
    fs::set_permissions(world.from("bare"), PermissionsExt::from_mode(0o500)).unwrap();
    age(&world.from("bare"), 1_000_000_001);
    age(&world.from("a"), 1_000_000_002);
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.made, tally.failed), (3, 5, 0), "{tally:?}");
    assert_eq!(world.all(), ["a/", "a/b/", "a/b/file", "a/link", "bare/", "empty", "odd \u{1b}[2J\nname", "other"]);
    assert_eq!(fs::read(world.to("a/b/file")).unwrap(), b"hello");
    assert_eq!(fs::read_link(world.to("a/link")).unwrap(), Path::new("../nowhere"));
    let known = |path: &str| fs::symlink_metadata(world.to(path)).unwrap();
    assert_eq!(known("a/b/file").ino(), known("other").ino());
    assert_eq!((known("empty").mode() & 0o7777, known("empty").mtime()), (0o751, 1_000_000_000));
    assert_eq!((known("bare").mode() & 0o7777, known("bare").mtime()), (0o500, 1_000_000_001));
    assert_eq!(known("a").mtime(), 1_000_000_002);
    let again = world.copy().unwrap();
    assert_eq!(again, Tally { unchanged: 5, ..Tally::default() });
    assert_eq!(world.told(), []);
}

#[test]
fn root_gives_copies_to_the_users_of_the_same_names() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let Ok(Some(nobody)) = nix::unistd::User::from_name("nobody") else { return };
    let (user, group) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let mut world = World::new();
    for name in ["known", "unknown"] {
        world.write(name, name);
    }
    // No account has this number.
    let strange = 3_999_999_999;
    std::os::unix::fs::chown(world.from("known"), Some(user), Some(group)).unwrap();
    std::os::unix::fs::chown(world.from("unknown"), Some(strange), Some(strange)).unwrap();
    world.options.owners = true;
    world.copy().unwrap();
    let owner = |name: &str| fs::metadata(world.to(name)).map(|known| (known.uid(), known.gid())).unwrap();
    assert_eq!((owner("known"), owner("unknown")), ((user, group), (0, 0)));
    // A program that ran as a user who is not known here would run as root.
    let mode = |name: &str| fs::metadata(world.to(name)).unwrap().mode() & 0o7777;
    for name in ["known", "unknown"] {
        fs::set_permissions(world.from(name), PermissionsExt::from_mode(0o6755)).unwrap();
    }
    world.copy().unwrap();
    assert_eq!((mode("known"), mode("unknown")), (0o6755, 0o755));
    assert_eq!(world.copy().unwrap().adjusted, 0);
    // A file that is replaced keeps its owner if that of the source is not known.
    std::os::unix::fs::chown(world.to("unknown"), Some(user), Some(group)).unwrap();
    world.write("unknown", "changed");
    world.copy().unwrap();
    assert_eq!(owner("unknown"), (user, group));
}

#[test]
fn only_what_differs_is_sent_and_the_rest_is_adjusted() {
    let world = World::new();
    for name in ["same", "changed", "touched", "moded"] {
        world.write(name, name);
    }
    world.copy().unwrap();
    fs::write(world.to("changed"), "xhanged").unwrap();
    age(&world.from("touched"), 1_000_000_000);
    fs::set_permissions(world.from("moded"), PermissionsExt::from_mode(0o600)).unwrap();
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.bytes, tally.adjusted, tally.unchanged), (2, 14, 1, 1), "{tally:?}");
    assert_eq!(fs::read(world.to("changed")).unwrap(), b"changed");
    assert_eq!(fs::metadata(world.to("moded")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn with_checksums_equal_content_is_not_sent_and_other_content_is() {
    let mut world = World::new();
    world.options.checksum = true;
    world.write("touched", "touched");
    world.write("hidden", "hidden");
    world.copy().unwrap();
    age(&world.from("touched"), 1_000_000_000);
    fs::write(world.to("hidden"), "HIDDEN").unwrap();
    let modified = fs::metadata(world.from("hidden")).unwrap().modified().unwrap();
    File::open(world.to("hidden")).unwrap().set_modified(modified).unwrap();
    // The content is compared, and nothing is written.
    world.options.dry_run = true;
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.adjusted, tally.failed), (1, 1, 0), "{tally:?}");
    let would = |change, name: &str| Note::Would(change, blob(name));
    let mut told = world.told();
    told.sort_by_key(|note| format!("{note:?}"));
    assert_eq!(told, [would(Change::Adjust, "touched"), would(Change::Write, "hidden")]);
    assert_eq!(fs::read(world.to("hidden")).unwrap(), b"HIDDEN");
    assert_eq!(world.all(), ["hidden", "touched"]);
    world.options.dry_run = false;
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.bytes, tally.adjusted), (1, 6, 1), "{tally:?}");
    assert_eq!(fs::read(world.to("hidden")).unwrap(), b"hidden");
    assert_eq!(fs::metadata(world.to("touched")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn what_the_source_does_not_have_is_deleted_if_that_is_asked_for() {
    let mut world = World::new();
    world.write("d/kept", "");
    world.write("d/left.o", "");
    world.copy().unwrap();
    fs::create_dir_all(world.to("gone/deep")).unwrap();
    fs::write(world.to("gone/deep/file"), "").unwrap();
    fs::write(world.to("d/gone"), "").unwrap();
    fs::write(world.to("d/mine.o"), "").unwrap();
    assert_eq!(world.copy().unwrap().deleted, 0);
    world.options.delete = true;
    world.options.exclude = vec!["*.o".into()];
    world.options.dry_run = true;
    assert_eq!(world.copy().unwrap().deleted, 2);
    let would = |note: &Note| matches!(note, Note::Would(Change::Delete, path) if [&b"gone"[..], b"d/gone"].contains(&&*path.0));
    let told = world.told();
    assert_eq!(told.iter().filter(|note| would(note)).count(), 2, "{told:?}");
    assert!(world.to("d/gone").exists());
    world.options.dry_run = false;
    assert_eq!(world.copy().unwrap().deleted, 2);
    assert_eq!(world.all(), ["d/", "d/kept", "d/left.o", "d/mine.o"]);
    // Beside what the user has named, nothing is deleted.
    fs::create_dir(world.to("beside")).unwrap();
    let tally = world.copy_as(&["from/d"], Place::Inside, "to", |_| ()).unwrap();
    assert_eq!((tally.deleted, world.to("beside").exists()), (0, true));
}

#[test]
fn a_dry_run_tells_all_and_changes_nothing() {
    let mut world = World::new();
    world.write("a/b", "b");
    world.write("c", "c");
    fs::hard_link(world.from("c"), world.from("d")).unwrap();
    world.options.dry_run = true;
    let tally = world.copy_as(&["from/"], Place::Inside, "missing", |_| ()).unwrap();
    assert_eq!((tally.written, tally.made, tally.failed, tally.bytes), (2, 3, 0, 0), "{tally:?}");
    assert_eq!(world.told().len(), 4);
    assert!(!world.place.path().join("missing").exists());
}

#[test]
fn the_place_is_as_the_user_has_said() {
    let world = World::new();
    world.write("file", "x");
    world.write("tree/inside", "y");
    fs::set_permissions(world.from("tree"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::create_dir(world.to("there")).unwrap();
    let copy = |source: &str, place, to: &str| world.copy_as(&[source], place, to, |_| ());
    copy("from/file", Place::Named, "to/name").unwrap();
    copy("from/file", Place::Named, "to/there").unwrap();
    let stat = Stat::of(File::open(world.from("tree")).unwrap()).unwrap();
    let entry = Entry {
        name: blob("tree"),
        what: What::Directory,
        mode: stat.mode,
        modified: stat.modified,
        user: 0,
        group: 0,
    };
    copy("from/tree/", Place::Copy(entry), "to/copy").unwrap();
    copy("from/tree", Place::Inside, "to/new").unwrap();
    symlink(world.from("tree"), world.from("link")).unwrap();
    copy("from/link", Place::Inside, "to/new").unwrap();
    assert_eq!(
        world.all(),
        [
            "copy/",
            "copy/inside",
            "name",
            "new/",
            "new/link/",
            "new/link/inside",
            "new/tree/",
            "new/tree/inside",
            "there/",
            "there/file"
        ]
    );
    assert_eq!(fs::metadata(world.to("copy")).unwrap().mode() & 0o777, 0o711);
    let stop = copy("from/file", Place::Named, "to/no/such/file").unwrap_err();
    assert_eq!(stop.reason, Reason::NotFound, "{stop:?}");
    let stop = copy("from/file", Place::Inside, "to/name/x").unwrap_err();
    assert_eq!(stop.reason, Reason::NotADirectory, "{stop:?}");
    let tally = copy("from/missing", Place::Inside, "to").unwrap();
    assert!(
        tally.failed == 1
            && matches!(&world.told()[..], [Note::Fault(Fault { why, .. })] if why.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn holes_stay_holes() {
    let world = World::new();
    let size = 64 << 20;
    let file = File::create(world.from("sparse")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 32 << 20).unwrap();
    file.set_len(size).unwrap();
    let tally = world.copy().unwrap();
    let copied = fs::metadata(world.to("sparse")).unwrap();
    assert!(copied.len() == size && copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    assert!(tally.bytes < 1 << 20, "{tally:?}");
    assert!(fs::read(world.to("sparse")).unwrap() == fs::read(world.from("sparse")).unwrap());
}

#[test]
fn many_small_files_take_few_messages() {
    let world = World::new();
    for number in 0..3000 {
        world.write(&format!("d{}/f{number}", number % 300), number.to_string());
    }
    let (mut messages, mut entries) = (0, 0);
    let tally = world
        .copy_as(&["from/"], Place::Inside, "to", |message| {
            messages += 1;
            entries += usize::from(matches!(message, ToSink::Entries(_)));
        })
        .unwrap();
    assert_eq!((tally.written, tally.failed), (3000, 0));
    assert!(messages < 50 && entries < 30, "{messages} messages, {entries} of them with entries");
}

#[test]
fn a_source_that_has_to_wait_packs_what_it_sends() {
    let world = World::new();
    let text: String = (0..150_000).map(|number| format!("line {number}\n")).collect();
    world.write("text", &text);
    let (mut sent, mut packed) = (0, 0);
    let tally = world
        .copy_as(&["from/"], Place::Inside, "to", |message| {
            let ToSink::Pieces(pieces) = message else { return };
            packed += pieces.iter().filter(|piece| matches!(piece, Piece::Packed { .. })).count();
            sent += message.size();
            std::thread::sleep(Duration::from_millis(20));
        })
        .unwrap();
    assert!(packed > 10 && sent < text.len() / 2, "{packed} pieces are packed, and {sent} bytes sent");
    assert_eq!((tally.written, tally.bytes as usize), (1, text.len()));
    assert!(fs::read(world.to("text")).unwrap() == text.as_bytes());
}

#[test]
fn an_interrupted_copy_goes_on_within_a_large_file() {
    let world = World::new();
    let size = 3 * KEPT_FROM as usize;
    let content: Vec<u8> = (0_u32..).flat_map(u32::to_be_bytes).take(size).collect();
    world.write("large", &content);
    world.write("small", "small");
    // The connection ends in the middle of it.
    let mut seen = 0;
    let interrupted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.copy_as(&["from/large"], Place::Inside, "to", |message| {
            seen += message.size();
            assert!(seen < 2 * size / 3, "cut");
        })
    }));
    assert!(interrupted.is_err());
    assert_eq!(world.all(), [".large.offshoot-part"]);
    let tally = world.copy().unwrap();
    assert!((tally.bytes as usize) < size / 2 && tally.written == 2, "{tally:?}");
    assert!(fs::read(world.to("large")).unwrap() == content);
    // What was kept of another file is of no use.
    fs::write(world.to(".large.offshoot-part"), vec![7; KEPT_FROM as usize]).unwrap();
    fs::remove_file(world.to("large")).unwrap();
    let tally = world.copy().unwrap();
    assert_eq!(tally.bytes as usize, size, "{tally:?}");
    assert!(fs::read(world.to("large")).unwrap() == content);
    assert_eq!(world.all(), ["large", "small"]);
}

#[test]
fn links_at_the_target_are_not_followed() {
    let world = World::new();
    world.write("d/file", "x");
    world.write("plain", "y");
    fs::create_dir(world.place.path().join("outside")).unwrap();
    fs::write(world.place.path().join("outside/precious"), "precious").unwrap();
    symlink("../outside", world.to("d")).unwrap();
    symlink("../outside/precious", world.to("plain")).unwrap();
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.failed), (1, 2), "{tally:?}");
    assert_eq!(fs::read(world.place.path().join("outside/precious")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(world.place.path().join("outside")).unwrap().count(), 1);
    assert!(fs::symlink_metadata(world.to("plain")).unwrap().is_file());
}

#[test]
fn a_file_that_shrinks_or_goes_is_told_and_the_others_arrive() {
    let world = World::new();
    for name in ["a", "gone", "shorter", "z"] {
        world.write(name, name);
    }
    let mut is_first = true;
    let tally = world
        .copy_as(&["from/"], Place::Inside, "to", |message| {
            if matches!(message, ToSink::Entries(_)) && std::mem::take(&mut is_first) {
                fs::remove_file(world.from("gone")).unwrap();
                fs::write(world.from("shorter"), "s").unwrap();
            }
        })
        .unwrap();
    assert_eq!((tally.written, tally.failed, world.all()), (2, 2, vec!["a".into(), "z".into()]));
    let told = format!("{:?}", world.told());
    assert!(told.contains("No such file") && told.contains("became shorter"), "{told}");
}

#[test]
fn a_file_that_grows_is_copied_as_it_was_listed() {
    let world = World::new();
    world.write("log", "one");
    world.copy_as(&["from/"], Place::Inside, "to", |_| fs::write(world.from("log"), "one two").unwrap()).unwrap();
    assert_eq!(fs::read(world.to("log")).unwrap(), b"one");
}

#[test]
fn pipes_are_counted_and_what_has_their_name_is_not_deleted() {
    let mut world = World::new();
    world.write("a", "a");
    nix::unistd::mkfifo(&world.from("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(world.to("pipe"), "there").unwrap();
    world.options.delete = true;
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.left_out, tally.failed, tally.deleted), (1, 1, 0, 0), "{tally:?}");
    assert_eq!(world.all(), ["a", "pipe"]);
}

#[test]
fn a_directory_too_deep_to_name_is_told_and_the_rest_arrives() {
    let world = World::new();
    world.write("a", "a");
    let name = vec![b'd'; 200];
    let mut deep = Directory::open(&world.from("")).unwrap();
    for _ in 0..22 {
        deep.make(&name).unwrap();
        deep = deep.below(&name).unwrap();
    }
    let tally = world.copy().unwrap();
    // 20 names of 200 bytes and what separates them have 4,019 bytes.
    assert_eq!((tally.written, tally.made, tally.failed), (1, 20, 1), "{tally:?}");
    let told = format!("{:?}", world.told());
    assert!(told.contains("more than 4095 bytes"), "{told}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_with_content_and_no_size_is_told() {
    let world = World::new();
    let source = [blob("/proc/self/status")];
    let mut sink = world.sink(Place::Inside, &world.to(""), MOST_ENTRIES).unwrap();
    let stop = AtomicBool::new(false);
    let mut source = Source::new(&source, &world.options, &stop);
    loop {
        match source.next() {
            Next::Send(message) => match sink.take(message).unwrap() {
                (_, true) => break,
                (answer, _) => answer.into_iter().for_each(|answer| source.answer(answer).unwrap()),
            },
            next => panic!("{next:?}"),
        }
    }
    assert_eq!((sink.tally().written, sink.tally().failed), (0, 1));
    let told = format!("{:?}", world.told());
    assert!(told.contains("content and no size"), "{told}");
}

/// What a hostile source sends.
fn listed(directory: &str, name: impl AsRef<[u8]>, what: What) -> ToSink {
    let entry = Entry { name: blob(name), what, mode: 0o6777, modified: (0, 0), user: 0, group: 0 };
    ToSink::Entries(vec![Group { directory: blob(directory), entries: vec![entry], is_first: true, is_complete: true }])
}

/// Sends messages to a sink with this limit, and returns why it has stopped.
fn attack(world: &World, most: u64, messages: impl IntoIterator<Item = ToSink>) -> Result<Tally, Stop> {
    let mut sink = world.sink(Place::Inside, &world.to(""), most)?;
    for message in messages {
        sink.take(message)?;
    }
    Ok(sink.tally())
}

#[test]
fn a_hostile_source_writes_nothing_outside() {
    let world = World::new();
    let outside = world.place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let file = || What::File { size: 1 };
    for (directory, name) in [("", "../x"), ("", ".."), ("", "/etc/x"), ("..", "x"), ("a/../..", "x"), ("/", "x")] {
        let stop = attack(&world, 10, [listed(directory, name, file())]).unwrap_err();
        assert_eq!(stop.reason, Reason::Protocol, "{directory} {name} {stop:?}");
    }
    // A link is planted first, and then used as a directory, as a file, and as what a hard link leads to.
    let plant = || listed("", "link", What::Symlink(blob("../outside")));
    let content = |number| ToSink::Pieces(vec![Piece::Begin { number, from: 0 }, Piece::Bytes(blob("x")), end(b"x")]);
    for next in [
        listed("link", "x", file()),
        listed("", "link", file()),
        listed("", "copy", What::HardLink(blob("link"), blob("x"))),
        listed("", "copy", What::HardLink(blob(""), blob("link"))),
    ] {
        let _ = attack(&world, 10, [plant(), next, content(1), ToSink::End]);
    }
    let _ = attack(&world, 10, [listed("", "d", What::Directory), listed("", "d", What::Symlink(blob("/etc")))]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(world.to("d").symlink_metadata().unwrap().is_dir());
    assert!(world.all().iter().all(|path| !path.ends_with(".offshoot-part")), "{:?}", world.all());
}

fn end(content: &[u8]) -> Piece {
    let mut sum = Sum::new(SumKind::Quick);
    sum.update(content);
    Piece::End(sum.digest())
}

#[test]
fn a_hostile_source_is_stopped_where_it_breaks_a_rule() {
    let packed = |size, blocks| Piece::Packed { size: u32::try_from(size).unwrap(), blocks: blob(blocks) };
    let begin = |number, from| Piece::Begin { number, from };
    let pieces = |pieces: Vec<Piece>| ToSink::Pieces(pieces);
    let small = || listed("", "a", What::File { size: 3 });
    for (messages, says) in [
        (vec![small(), pieces(vec![begin(0, 0), Piece::Bytes(blob("xxxx"))])], "more of a than there was"),
        (vec![small(), pieces(vec![begin(0, 0), Piece::Zeros(u64::MAX), Piece::Zeros(9)])], "than there was"),
        (vec![small(), pieces(vec![begin(0, 2)])], "in the middle"),
        (vec![small(), pieces(vec![begin(1, 0)])], "not wanted now"),
        (vec![pieces(vec![begin(0, 0)])], "not wanted now"),
        (vec![pieces(vec![Piece::Bytes(blob("x"))])], "without a file"),
        (vec![pieces(vec![packed(CHUNK, ""); 3])], "more at once"),
        (vec![small(), pieces(vec![begin(0, 0), packed(3, "xxx")])], "cannot be unpacked"),
        (vec![small(), pieces(vec![begin(0, 0), begin(0, 0)])], "before the end of another"),
        (vec![small(), ToSink::End], "not sent all"),
        (vec![small(), listed("", "b", What::Directory), listed("", "c", What::Directory)], "more than 2 names"),
    ] {
        let world = World::new();
        let stop = attack(&world, 2, messages).unwrap_err();
        assert!(stop.reason == Reason::Protocol && stop.text.contains(says), "{stop:?} and not {says}");
        assert!(world.all().iter().all(|path| path.ends_with('/')), "{:?}", world.all());
    }
    let endless = (0_u64..).map(|number| listed("", number.to_string(), What::File { size: 1 }));
    let stop = attack(&World::new(), MOST_ENTRIES, endless).unwrap_err();
    assert!(stop.text.contains("lists files, and sends none"), "{stop:?}");
    let long = vec![Group { directory: blob(""), entries: vec![], is_first: true, is_complete: true }; BATCH + 1];
    assert!(attack(&World::new(), 9, [ToSink::Entries(long)]).unwrap_err().text.contains("more at once"));
}

#[test]
fn many_small_files_arrive_however_late_the_answers_are() {
    let world = World::new();
    for number in 0..6000 {
        world.write(&format!("{number}"), "");
    }
    assert_eq!(world.copy().unwrap().written, 6000);
}

#[test]
fn what_is_left_out_is_not_deleted_in_a_directory_either() {
    let mut world = World::new();
    world.write("a", "a");
    for path in ["old/deep/x.keep", "old/deep/y", "old/z", "gone/y", "x.keep"] {
        fs::create_dir_all(world.to(path).parent().unwrap()).unwrap();
        fs::write(world.to(path), "").unwrap();
    }
    world.options.delete = true;
    world.options.exclude = vec!["*.keep".into()];
    assert_eq!(world.copy().unwrap().deleted, 3, "{:?}", world.all());
    assert_eq!(world.all(), ["a", "old/", "old/deep/", "old/deep/x.keep", "x.keep"]);
}

#[test]
fn the_directory_of_a_host_is_made_and_is_no_symbolic_link() {
    let world = World::new();
    world.write("a", "a");
    let host = |world: &World| world.copy_as(&["from/"], Place::Below(blob("web1")), "to", |_| ());
    assert_eq!(host(&world).unwrap().made, 1);
    assert_eq!(host(&world).unwrap().unchanged, 1);
    assert_eq!(world.all(), ["web1/", "web1/a"]);
    fs::create_dir(world.place.path().join("elsewhere")).unwrap();
    fs::remove_dir_all(world.to("web1")).unwrap();
    symlink(world.place.path().join("elsewhere"), world.to("web1")).unwrap();
    let stop = host(&world).unwrap_err();
    assert!(stop.text.contains("to/web1"), "{stop:?}");
    assert_eq!(fs::read_dir(world.place.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn damaged_content_never_gets_the_name_and_no_file_gets_bits_that_set_the_user() {
    let world = World::new();
    let file = |name: &str| listed("", name, What::File { size: 1 });
    let content = |number, end| ToSink::Pieces(vec![Piece::Begin { number, from: 0 }, Piece::Bytes(blob("x")), end]);
    let short = ToSink::Pieces(vec![Piece::Begin { number: 2, from: 0 }, end(b"")]);
    let messages = [file("a"), file("b"), file("c"), content(0, end(b"y")), content(1, end(b"x")), short, ToSink::End];
    let tally = attack(&world, 9, messages).unwrap();
    assert_eq!((tally.written, tally.failed, world.all()), (1, 2, vec!["b".into()]));
    assert_eq!(fs::metadata(world.to("b")).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn a_source_refuses_wants_that_it_has_not_offered() {
    let world = World::new();
    world.write("a", "a");
    fs::create_dir(world.from("d")).unwrap();
    let stop = AtomicBool::new(false);
    let fresh = || {
        let mut source = Source::new(&[bytes(&world.from(""))], &world.options, &stop);
        while !matches!(source.next(), Next::Await) {}
        source
    };
    let want = |number| ToSource(vec![Want { number, has: None }]);
    let is_file = |number| fresh().answer(want(number)).is_ok();
    assert_ne!(is_file(0), is_file(1), "one of them is a directory");
    assert!(!is_file(2) && !is_file(u64::MAX));
    let mut source = fresh();
    while source.answer(ToSource(vec![])).is_ok() {}
    assert!(matches!(source.next(), Next::Send(ToSink::End)), "all is answered");
}
