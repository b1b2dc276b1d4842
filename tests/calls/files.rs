//! `FileService` and `PushFileService`: who gets which file, whole or not at all, and what is left behind.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::{Duration, SystemTime};

use offshoot::error::FileErrorKind;
use offshoot::service::files::FileMetadata;
use offshoot::service::{FileService, Pool, PushFileService};
use offshoot::{Context, ContextId, Econtext, Error, export};
use tempfile::TempDir;

use super::{Tree, block_on, eventually, kind, resident};

/// Bytes that do not repeat.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// The kind of an error about a file, through a call or not.
fn file_kind<T: std::fmt::Debug>(result: Result<T, Error>) -> FileErrorKind {
    match result {
        Err(Error::File(error)) => error.kind,
        other => panic!("not an error about a file: {other:?}"),
    }
}

/// How a fetch in a child has ended, as it can be sent.
type Fetched = Result<FileMetadata, Error>;

/// Fetches a file to a path.
async fn save(host: Context, from: PathBuf, to: PathBuf) -> Result<Fetched, Error> {
    Ok(FileService::get(&host, from).keep_mode().keep_times().save(to).await)
}

/// Fetches a file into memory.
async fn read(host: Context, from: PathBuf) -> Result<Result<Vec<u8>, Error>, Error> {
    Ok(FileService::get(&host, from).read().await.map(|(content, _)| content))
}

/// Fetches many files at once. Returns how many have arrived as they are at the host.
async fn save_all(host: Context, from: Vec<PathBuf>, to: PathBuf) -> Result<usize, Error> {
    let mut fetches = tokio::task::JoinSet::new();
    for (number, path) in from.into_iter().enumerate() {
        let (host, place) = (host.clone(), to.join(number.to_string()));
        fetches.spawn(async move {
            FileService::get(&host, path.clone()).save(place.clone()).await.unwrap();
            std::fs::read(path).unwrap() == std::fs::read(place).unwrap()
        });
    }
    Ok(fetches.join_all().await.into_iter().filter(|is_same| *is_same).count())
}

/// Takes some bytes, and then no more.
struct Stuck(usize);

impl tokio::io::AsyncWrite for Stuck {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Task<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Asks for a file `count` times and takes nothing.
async fn take_nothing(host: Context, path: PathBuf, count: usize) -> Result<(), Error> {
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..count {
        let request = FileService::get(&host, path.clone());
        fetches.spawn(async move { request.copy_to(Stuck(1)).await.map(drop) });
    }
    fetches.join_all().await;
    Ok(())
}
export!(save, read, save_all, take_nothing);

/// A tree whose root gives files out of a directory.
struct Host {
    tree: Tree,
    files: FileService,
    place: TempDir,
}

impl Host {
    fn new() -> Self {
        let (tree, files, place) = (Tree::new(), FileService::new(), tempfile::tempdir().unwrap());
        Pool::new(&tree.0).add(files.clone()).unwrap();
        Self { tree, files, place }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, child: &Context, path: impl Into<PathBuf>) -> Result<Vec<u8>, Error> {
        child.blocking_call(read, (self.tree.0.myself(), path.into())).unwrap()
    }

    fn save(&self, child: &Context, from: &Path, to: &Path) -> Result<FileMetadata, Error> {
        child.blocking_call(save, (self.tree.0.myself(), from.into(), to.into())).unwrap()
    }

    /// How many descriptors of this process lead to a path in the place.
    fn open_files(&self) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(self.place.path()))).count()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(directory)).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_is_fetched_only_if_it_is_registered() {
    let host = Host::new();
    let child = host.tree.child();
    let path = host.file("a", "content");
    let error = host.read(&child, &path).unwrap_err();
    assert!(error.to_string().contains("is not registered with FileService"), "{error}");
    assert_eq!(file_kind(Err::<(), _>(error)), FileErrorKind::NotRegistered);
    host.files.register(path.clone()).unwrap();
    assert_eq!(host.read(&child, &path).unwrap(), b"content");
    host.files.unregister(path.clone()).unwrap();
    assert_eq!(file_kind(host.read(&child, &path)), FileErrorKind::NotRegistered);
    // A relative path, and one that is none.
    assert_eq!(file_kind(host.read(&child, "a")), FileErrorKind::NotRegistered);
    assert_eq!(file_kind(host.read(&child, "")), FileErrorKind::NotRegistered);
    assert!(matches!(host.files.register("a".into()), Err(Error::Misuse(_))));
    // The context itself has authority over its service.
    assert_eq!(block_on(FileService::get(&host.tree.0.myself(), &path).read()).unwrap().0, b"content");
}

#[test]
fn a_registered_directory_opens_what_is_beneath_it_and_nothing_else() {
    let host = Host::new();
    let child = host.tree.child();
    std::fs::create_dir_all(host.at("etc/app")).unwrap();
    host.file("etc/app/conf", "conf");
    host.file("secret", "secret");
    symlink("app/conf", host.at("etc/link")).unwrap();
    symlink("../secret", host.at("etc/out")).unwrap();
    symlink(host.at("etc/app"), host.at("etc/absolute")).unwrap();
    host.files.register_prefix(host.at("etc")).unwrap();
    for path in ["etc/app/conf", "etc/./app/../link", "etc/../etc/app/conf"] {
        assert_eq!(host.read(&child, host.at(path)).unwrap(), b"conf", "{path}");
    }
    for path in ["secret", "etc/../secret", "etc/out", "etc/app/../../secret", "etc/absolute/conf", "etcetera"] {
        assert_eq!(file_kind(host.read(&child, host.at(path))), FileErrorKind::NotRegistered, "{path}");
    }
    assert_eq!(file_kind(host.read(&child, host.at("etc/app"))), FileErrorKind::NotAFile);
    assert_eq!(file_kind(host.read(&child, host.at("etc/none"))), FileErrorKind::Unreadable);
    assert_eq!(file_kind(host.read(&child, "/etc/passwd")), FileErrorKind::NotRegistered);
    host.files.register_prefix("/".into()).unwrap();
    assert_eq!(host.read(&child, "/etc/passwd").unwrap(), std::fs::read("/etc/passwd").unwrap());
    assert_eq!(host.read(&child, host.at("etc/absolute/conf")).unwrap(), b"conf");
}

#[test]
fn contexts_above_get_any_file_of_a_child_and_others_do_not() {
    let host = Host::new();
    let path = host.file("a", "content");
    let (child, sibling) = (host.tree.child(), host.tree.child());
    // Nobody has added a service there: the first call of a context above begins it.
    let ask = |asker: &Context| asker.blocking_call(read, (child.clone(), path.clone())).unwrap();
    assert!(ask(&sibling).unwrap_err().is_refused());
    assert_eq!(block_on(FileService::get(&child, &path).read()).unwrap().0, b"content");
    assert_eq!(file_kind(ask(&sibling)), FileErrorKind::NotRegistered);
    child.blocking_call_service(FileService::register, (path.clone(),)).unwrap();
    assert_eq!(ask(&sibling).unwrap(), b"content");
    let register = async |asker: &Context| asker.call(register_at, (child.clone(), path.clone())).await.unwrap();
    assert!(block_on(register(&sibling)), "only contexts above may register");
}

/// Whether the context refuses to register a file.
async fn register_at(host: Context, path: PathBuf) -> Result<bool, Error> {
    Ok(host.call_service(FileService::register, (path,)).await.is_err_and(|error| error.is_refused()))
}
export!(register_at);

/// The name of a number in `/etc/passwd` or `/etc/group`.
fn name(file: &str, id: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields[2] == id.to_string()).map(|fields| fields[0].to_owned())
}

#[test]
fn metadata_come_from_the_host_and_are_kept_on_request() {
    let host = Host::new();
    let child = host.tree.child();
    let path = host.file("a", "12345");
    // Root can give a file to others.
    let _ = std::os::unix::fs::chown(&path, Some(1), Some(2));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4751)).unwrap();
    let [old, older] = [1_000_000_001, 1_000_000_000].map(|seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, 5));
    let times = std::fs::FileTimes::new().set_modified(old).set_accessed(older);
    std::fs::File::open(&path).unwrap().set_times(times).unwrap();
    host.files.register(path.clone()).unwrap();
    let to = host.at("copy");
    let metadata = host.save(&child, &path, &to).unwrap();
    assert_eq!((metadata.size, metadata.mode, metadata.modified()), (5, 0o4751, old));
    assert_eq!(metadata.accessed(), older);
    let stat = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.owner_id, metadata.group_id), (stat.uid(), stat.gid()));
    assert_eq!(metadata.owner, name("/etc/passwd", stat.uid()));
    assert_eq!(metadata.group, name("/etc/group", stat.gid()));
    let copy = std::fs::metadata(&to).unwrap();
    assert_eq!((copy.mode() & 0o7777, copy.modified().unwrap()), (0o751, old), "not the bit that sets the user");
    // Without a request, a new file is private, and a file that is replaced keeps its mode.
    let myself = host.tree.0.myself();
    let plain = || block_on(FileService::get(&myself, &path).save(host.at("plain"))).unwrap();
    let mode = || std::fs::metadata(host.at("plain")).unwrap().mode() & 0o7777;
    plain();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(host.at("plain"), std::fs::Permissions::from_mode(0o640)).unwrap();
    plain();
    assert_eq!(mode(), 0o640);
    block_on(FileService::get(&myself, &path).mode(0o604).save(host.at("plain"))).unwrap();
    assert_eq!(mode(), 0o604);
    assert_eq!(host.names(""), ["a", "copy", "plain"]);
}

#[test]
fn a_name_that_is_not_utf_8_is_fetched() {
    use std::os::unix::ffi::OsStrExt;
    let host = Host::new();
    let path = host.place.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(&path, "content").unwrap();
    let myself = host.tree.0.myself();
    assert_eq!(block_on(FileService::get(&myself, path).read()).unwrap().0, b"content");
}

#[test]
fn what_cannot_be_written_or_is_too_large_is_told() {
    let host = Host::new();
    let path = host.file("a", "12345");
    let myself = host.tree.0.myself();
    let save = |to: PathBuf| file_kind(block_on(FileService::get(&myself, &path).save(to)));
    assert_eq!(save(host.at("none/copy")), FileErrorKind::Unwritable);
    assert_eq!(save(host.at("")), FileErrorKind::Unwritable);
    assert_eq!(save(host.at("a/..")), FileErrorKind::Unwritable);
    let limited = |most| block_on(FileService::get(&myself, &path).at_most(most).read());
    assert_eq!(file_kind(limited(4)), FileErrorKind::TooLarge);
    assert_eq!(limited(5).unwrap().0, b"12345");
    let stuck = FileService::get(&myself, &path).timeout(Duration::from_millis(50)).copy_to(Stuck(1));
    assert!(block_on(stuck).unwrap_err().is_timeout());
    assert_eq!(host.names(""), ["a"]);
}

#[test]
fn a_sparse_file_stays_sparse() {
    let host = Host::new();
    let child = host.tree.child();
    let path = host.at("sparse");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"in the middle", 32 << 20).unwrap();
    host.files.register(path.clone()).unwrap();
    let to = host.at("copy");
    let before = bytes_out(&host.tree, &child);
    host.save(&child, &path, &to).unwrap();
    assert!(bytes_out(&host.tree, &child) - before < 1 << 20, "holes do not travel");
    let copy = std::fs::metadata(&to).unwrap();
    assert!(copy.len() == 64 << 20 && copy.blocks() * 512 < 1 << 20, "{copy:?}");
    assert!(std::fs::read(&to).unwrap() == std::fs::read(&path).unwrap());
    assert!(host.read(&child, &path).unwrap() == std::fs::read(&path).unwrap());
}

/// The bytes that have left on the link to a child.
fn bytes_out(tree: &Tree, child: &Context) -> u64 {
    let stats = tree.0.myself().stats().blocking_recv().unwrap();
    stats.neighbours.iter().find(|link| link.context == child.id()).unwrap().bytes_out
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_was() {
    let host = Host::new();
    let child = host.tree.child();
    let content = noise(24 << 20);
    let path = host.file("large", &content);
    host.files.register(path.clone()).unwrap();
    std::fs::create_dir(host.at("to")).unwrap();
    let (to, part) = (host.at("to/copy"), host.at("to/.copy.offshoot-part"));
    // The future is dropped while the file arrives.
    let size = || std::fs::metadata(&part).map_or(0, |part| part.len());
    let interrupt = || {
        let call = child.call(save, (host.tree.0.myself(), path.clone(), to.clone()));
        eventually("a part", || size() > 8 << 20 || to.exists());
        drop(call);
        eventually("the end", || host.open_files() == 0 && open_below(&child, "to").blocking_recv().unwrap() == 0);
    };
    interrupt();
    if !to.exists() {
        assert_eq!(host.names("to"), [".copy.offshoot-part"]);
    }
    let kept = size();
    let before = bytes_out(&host.tree, &child);
    host.save(&child, &path, &to).unwrap();
    let sent = bytes_out(&host.tree, &child) - before;
    assert!(sent < content.len() as u64 - kept + (1 << 20), "{sent} bytes after {kept}");
    assert!(std::fs::read(&to).unwrap() == content);
    assert_eq!(host.names("to"), ["copy"]);
    // A part of another content is not kept.
    std::fs::write(&part, noise(5 << 20).iter().map(|byte| !byte).collect::<Vec<_>>()).unwrap();
    host.save(&child, &path, &to).unwrap();
    assert!(std::fs::read(&to).unwrap() == content);
    assert_eq!(host.names("to"), ["copy"]);
}

/// How many descriptors of a child lead to a path with this part.
fn open_below(child: &Context, part: &str) -> offshoot::Call<u64> {
    child.call(open_here, (format!("/{part}/"),))
}

fn open_here(part: String) -> u64 {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let leads =
        |fd: &std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains(&part));
    links.filter(leads).count() as u64
}
export!(concurrent open_here);

#[test]
fn a_file_that_grows_while_it_is_sent_is_an_error_and_leaves_nothing() {
    let host = Host::new();
    let child = host.tree.child();
    let path = host.file("growing", noise(16 << 20));
    host.files.register(path.clone()).unwrap();
    std::fs::create_dir(host.at("to")).unwrap();
    // One writer that never pauses: whenever the file is opened, it grows before it is sent.
    let (stop, writes) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            while writes.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                file.write_all(b"more").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    assert_eq!(file_kind(host.save(&child, &path, &host.at("to/copy"))), FileErrorKind::Changed);
    drop(stop);
    writer.join().unwrap();
    assert_eq!(host.names("to"), [""; 0]);
    host.save(&child, &path, &host.at("to/copy")).unwrap();
    eventually("the file is closed", || host.open_files() == 0);
}

#[test]
fn ten_files_at_once_go_to_three_children() {
    let host = Host::new();
    let paths: Vec<_> = (0..10).map(|number| host.file(&format!("f{number}"), noise(number << 18))).collect();
    host.files.register_prefix(host.place.path().into()).unwrap();
    let children = [host.tree.child(), host.tree.child(), host.tree.child()];
    let mut calls = Vec::new();
    for (number, child) in children.iter().enumerate() {
        let to = host.at(&format!("to{number}"));
        std::fs::create_dir(&to).unwrap();
        calls.push(child.call(save_all, (host.tree.0.myself(), paths.clone(), to)));
    }
    for call in calls {
        assert_eq!(call.blocking_recv().unwrap(), 10);
    }
    eventually("all files are closed", || host.open_files() == 0);
}

#[test]
fn an_asker_that_ends_or_gives_up_frees_its_files() {
    let host = Host::new();
    let path = host.file("large", noise(4 << 20));
    host.files.register(path.clone()).unwrap();
    let (child, other) = (host.tree.child(), host.tree.child());
    let far = host.tree.behind(&child);
    for asker in [&child, &far] {
        let call = asker.call(take_nothing, (host.tree.0.myself(), path.clone(), 100));
        eventually("32 files are open", || host.open_files() == 32);
        // Others are served meanwhile.
        assert_eq!(host.read(&other, &path).unwrap().len(), 4 << 20);
        drop(call);
        eventually("all files are closed", || host.open_files() == 0);
    }
    let _call = far.call(take_nothing, (host.tree.0.myself(), path.clone(), 100));
    eventually("32 files are open", || host.open_files() == 32);
    child.blocking_shutdown();
    eventually("all files are closed", || host.open_files() == 0);
    let stats = || host.tree.0.myself().stats().blocking_recv().unwrap();
    eventually("no call is left", || stats().serving.is_empty());
}

#[test]
fn ten_thousand_requests_of_one_asker_are_bounded() {
    let host = Host::new();
    let path = host.file("large", noise(4 << 20));
    host.files.register(path.clone()).unwrap();
    let (hostile, honest) = (host.tree.child(), host.tree.child());
    let call = hostile.call(take_nothing, (host.tree.0.myself(), path.clone(), 10_000));
    eventually("32 files are open", || host.open_files() == 32);
    let served = || {
        let stats = host.tree.0.myself().stats().blocking_recv().unwrap();
        stats.serving.len() + stats.omitted
    };
    eventually("many requests wait", || served() > 500);
    for _ in 0..3 {
        assert_eq!(host.read(&honest, &path).unwrap().len(), 4 << 20);
        assert!(host.open_files() <= 33 && served() <= 1100, "{} files, {} calls", host.open_files(), served());
    }
    drop(call);
    eventually("all files are closed", || host.open_files() == 0);
}

#[test]
fn a_large_file_takes_little_memory() {
    let host = Host::new();
    let path = host.at("large");
    let mut file = std::fs::File::create(&path).unwrap();
    let block = noise(1 << 20);
    for _ in 0..512 {
        file.write_all(&block).unwrap();
    }
    host.files.register(path.clone()).unwrap();
    let child = host.tree.child();
    let (here, there) = (resident().unwrap(), child.blocking_call(resident, ()).unwrap());
    host.save(&child, &path, &host.at("copy")).unwrap();
    let (here, there) = (resident().unwrap().saturating_sub(here), child.blocking_call(resident, ()).unwrap() - there);
    // Other tests run in this process, so only the child is measured closely.
    assert!(there < 12 << 10 && here < 200 << 10, "{here} KiB here and {there} KiB there");
    assert_eq!(std::fs::metadata(host.at("copy")).unwrap().len(), 512 << 20);
}

/// Waits for a file that is pushed, and returns its first bytes, its size and the name of its owner.
async fn pushed(econtext: &Econtext, path: PathBuf, wait: u64) -> Result<(Vec<u8>, u64, Option<String>), Error> {
    let file = PushFileService::get_within(econtext.router(), path, Duration::from_millis(wait)).await?;
    let mut begin = Vec::new();
    file.open()?.take(4).read_to_end(&mut begin)?;
    let size = file.open()?.seek(SeekFrom::End(0))?;
    Ok((begin, size, file.metadata().owner.clone()))
}

async fn save_pushed(econtext: &Econtext, path: PathBuf, to: PathBuf) -> Result<(), Error> {
    PushFileService::get(econtext.router(), path).await?.save(to).await
}
export!(concurrent pushed, save_pushed);

/// The bytes that came in from the parent.
fn bytes_in(context: &Context) -> u64 {
    let stats = context.stats().blocking_recv().unwrap();
    stats.neighbours.iter().find(|link| link.is_parent).unwrap().bytes_in
}

#[test]
fn a_pushed_file_crosses_each_link_once() {
    const SIZE: usize = 3 << 20;
    let host = Host::new();
    let push = PushFileService::new();
    Pool::new(&host.tree.0).add(push.clone()).unwrap();
    let path = host.file("pushed", [b"abcd", &noise(SIZE)[4..]].concat());
    let hop = host.tree.child();
    let middle = host.tree.behind(&hop);
    let below: Vec<_> = (0..3).map(|_| host.tree.behind(&middle)).collect();
    let wait = below[0].call(pushed, (path.clone(), 60_000));
    let before = [&hop, &middle, &below[0]].map(bytes_in);
    for _ in 0..2 {
        let results = block_on(push.push_to_all(&path, &below)).unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    // The same content under another path does not travel again.
    let other = host.at("other");
    std::fs::rename(&path, &other).unwrap();
    block_on(push.push(&other, &below[0])).unwrap();
    // One that is new to some contexts comes from where it is now.
    let late = host.tree.child();
    block_on(push.push(&other, &late)).unwrap();
    let after = [&hop, &middle, &below[0]].map(bytes_in);
    for (before, after) in before.into_iter().zip(after) {
        let bytes = after - before;
        assert!((SIZE as u64..SIZE as u64 * 5 / 4).contains(&bytes), "{bytes} bytes for {SIZE}");
    }
    let (begin, size, owner) = wait.blocking_recv().unwrap();
    assert_eq!((&begin[..], size), (&b"abcd"[..], SIZE as u64));
    assert_eq!(owner, name("/etc/passwd", std::fs::metadata(&other).unwrap().uid()));
    for context in [&hop, &middle, &below[2]] {
        assert_eq!(context.blocking_call(pushed, (path.clone(), 10_000)).unwrap().1, SIZE as u64);
    }
    below[0].blocking_call(save_pushed, (other.clone(), host.at("saved"))).unwrap();
    assert!(std::fs::read(host.at("saved")).unwrap() == std::fs::read(&other).unwrap());
}

#[test]
fn a_pushed_file_that_has_changed_replaces_the_first_and_a_forgotten_one_is_gone() {
    let host = Host::new();
    let push = PushFileService::new();
    Pool::new(&host.tree.0).add(push.clone()).unwrap();
    let child = host.tree.child();
    let path = host.file("pushed", "one!");
    let late = child.blocking_call(pushed, (path.clone(), 20));
    assert!(late.unwrap_err().to_string().contains("did not finish within"));
    let unnamed = || child.blocking_call(open_here, ("(deleted)".into(),)).unwrap();
    let before = unnamed();
    for text in ["one!", "two!"] {
        std::fs::write(&path, text).unwrap();
        block_on(push.push(&path, &child)).unwrap();
        assert_eq!(child.blocking_call(pushed, (path.clone(), 1000)).unwrap().0, text.as_bytes());
    }
    assert_eq!(unnamed() - before, 1, "the first one is closed");
    child.blocking_call_service(PushFileService::forget, (path.clone(),)).unwrap();
    assert!(child.blocking_call(pushed, (path.clone(), 20)).is_err());
    assert_eq!(unnamed(), before);
    // A context that is not below this one, and a file that does not exist.
    assert!(matches!(block_on(push.push(&path, &host.tree.0.myself())), Err(Error::Misuse(_))));
    assert_eq!(file_kind(block_on(push.push(host.at("none"), &child))), FileErrorKind::Unreadable);
    let nobody = host.tree.0.context_by_id(ContextId(999));
    assert!(block_on(push.push(&path, &nobody)).unwrap_err().is_disconnected());
}

#[test]
fn a_file_is_pushed_under_another_path() {
    let host = Host::new();
    let push = PushFileService::new();
    Pool::new(&host.tree.0).add(push.clone()).unwrap();
    let (source, path) = (host.file("source", b"abcd"), host.at("elsewhere"));
    let child = host.tree.child();
    for result in block_on(push.push_as(&source, &path, std::slice::from_ref(&child))).unwrap() {
        result.unwrap();
    }
    let (begin, size, _) = child.blocking_call(pushed, (path.clone(), 10_000)).unwrap();
    assert_eq!((&begin[..], size, path.exists()), (&b"abcd"[..], 4, false));
}

#[test]
fn a_sibling_cannot_take_a_pushed_file() {
    let host = Host::new();
    let push = PushFileService::new();
    Pool::new(&host.tree.0).add(push.clone()).unwrap();
    let path = host.file("pushed", "secret");
    let (child, sibling) = (host.tree.child(), host.tree.child());
    block_on(push.push(&path, &child)).unwrap();
    let forgets = |asker: &Context| asker.blocking_call(forget_at, (child.clone(), path.clone())).unwrap();
    assert!(forgets(&sibling));
    assert!(sibling.blocking_call(pushed, (path, 20)).is_err());
}

/// Whether the context refuses to forget a file.
async fn forget_at(host: Context, path: PathBuf) -> Result<bool, Error> {
    Ok(host.call_service(PushFileService::forget, (path,)).await.is_err_and(|error| error.is_refused()))
}
export!(forget_at);

#[test]
fn a_context_without_services_says_so() {
    let tree = Tree::new();
    let myself = tree.0.myself();
    let error = block_on(FileService::get(&myself, "/etc/passwd").read()).unwrap_err();
    assert_eq!(kind(error), offshoot::error::ChannelErrorKind::InvalidHandle);
}
