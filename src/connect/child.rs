//! What a child context does, from its first instruction to its last.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::api::function::LocalFunctions;
use crate::api::router::Router;
use crate::connect::bootstrap::{self, Nonce};
use crate::connect::handshake::{Hello, Welcome};
#[cfg(target_os = "linux")]
use crate::connect::methods::setns::{ADVICE, FAILED};
#[cfg(target_os = "linux")]
use crate::connect::namespace_entry::NamespaceEntry;
#[cfg(feature = "fakessh")]
use crate::connect::ssh_stand_in;
use crate::engine::broker::Broker;
use crate::engine::descendants::Descendants;
use crate::engine::dispatch::{Dispatcher, Invocation};
use crate::engine::io::{Parent, Role, Setup};
use crate::engine::log::{DebugLog, LogSource, Recorder};
use crate::engine::mailbox;
use crate::engine::shared::{Levels, Request, Settings, Shared};
use crate::engine::task_set;
use crate::image::executable::Image;
use crate::sys::allocator::Cached;
use crate::sys::panic::exit_with;
use crate::sys::pipe::{Input, Output, Stream};
use crate::sys::process;
use crate::wire::message::Handle;

/// An orphan that this process has adopted is reaped this long after its end.
const REAP_AFTER: Duration = Duration::from_millis(500);
/// The descriptor on which a first stage opens the image.
const STAGED_IMAGE: RawFd = 9;

/// Stack size of a thread that replaces the main thread: the size of the main thread's stack on most systems.
/// The stack takes memory only where it is used.
const STACK: usize = 8 << 20;

/// The exit code of a child that has panicked, where that ends it.
const PANICKED: i32 = 101;

/// The prefix of the argument that asks for another name.
const AGAIN_AS: &str = "as:";

/// Whether this process has checked whether it is a child.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// The arguments of a process that has to become a child.
struct Arguments {
    nonce: Nonce,
    /// The directory that the first stage has made. `watcher` is the process that watches over it.
    directory: Option<PathBuf>,
    watcher: Option<i32>,
    /// The descriptor on which the image is open.
    image: Option<RawFd>,
    /// The process was executed under another name. It has to execute its image again under this name.
    again_as: Option<String>,
    /// The functions that it runs, if it does not run all, whatever its parent says.
    only: Option<Vec<String>>,
    /// The process has to enter a container first.
    #[cfg(target_os = "linux")]
    namespace_entry: Option<NamespaceEntry>,
}

impl Arguments {
    /// Reads the arguments; the environment does not matter. `None` if this process is not a child.
    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let first = args.next()?;
        if first == bootstrap::ONLY {
            return Self::only(args.map(|name| name.to_string_lossy().into_owned()).collect());
        }
        let nonce = Nonce::parse_child_argument(first.to_str()?)?;
        let mut next = || args.next().filter(|arg| !arg.is_empty());
        let directory = next().map(PathBuf::from);
        let watcher = next().and_then(|pid| pid.to_str()?.parse().ok());
        let (image, again_as) = match next() {
            Some(word) => match word.to_str().and_then(|word| word.strip_prefix(AGAIN_AS)) {
                Some(name) => (None, Some(name.to_owned())),
                None => (word.to_str().and_then(|fd| fd.parse().ok()), None),
            },
            None => (Some(STAGED_IMAGE), None),
        };
        Some(Self {
            nonce,
            directory,
            watcher,
            image,
            again_as,
            only: None,
            #[cfg(target_os = "linux")]
            namespace_entry: NamespaceEntry::parse(args),
        })
    }

    /// The arguments of an image that was installed here, which runs these functions only. Its token comes by stdin.
    fn only(names: Vec<String>) -> Option<Self> {
        let nonce = Nonce::read_child_line(&mut File::from(process::dup_high(0).ok()?))?;
        Some(Self {
            nonce,
            directory: None,
            watcher: None,
            image: None,
            again_as: None,
            only: Some(names),
            #[cfg(target_os = "linux")]
            namespace_entry: None,
        })
    }

    fn staged(&self) -> bool {
        self.image == Some(STAGED_IMAGE)
    }
}

/// Turns this process into the child if it was started as one, and then never returns. Otherwise returns at
/// once.
///
/// Call it first in `main`, in programs that do not use [`run`](crate::run()): a child that continues after
/// this call would be a second controller. If the program of a child does not call it, the connect fails with
/// an error that names the cause.
///
/// ```
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), offshoot::Error> {
///     offshoot::child();
///     let router = offshoot::Router::new()?;
///     let child = router.local().await?;
///     println!("{child} is up");
///     router.shutdown().await;
///     Ok(())
/// }
/// ```
///
/// Unlike [`run`](crate::run()), such a program shows nothing of its children by itself: what they print and log is
/// dropped, unless the program has a `tracing` subscriber or a hook ([`Router::on_log`]), or calls
/// [`log_to_file(None, "info")`](crate::log::log_to_file), before it connects.
///
/// It may be called inside a runtime, as in the example. Then the child serves on a thread of its own. Two
/// features need a process without other threads, so they need `child` before the runtime starts:
/// [`Router::setns`], and [`Descendants::Supervise`](crate::connect::Descendants::Supervise). If the supervisor
/// is asked for in a process with other threads, the child runs without it and logs a warning.
pub fn child() {
    CLAIMED.store(true, Ordering::Relaxed);
    #[cfg(feature = "fakessh")]
    ssh_stand_in::stand_in(&mut std::env::args_os().skip(1));
    let Some(arguments) = Arguments::parse(std::env::args_os().skip(1)) else { return };
    if tokio::runtime::Handle::try_current().is_err() {
        live(&arguments, false);
    }
    // The setting is that of a thread, of this one.
    process::die_in_order_with_parent();
    let thread = std::thread::Builder::new().name("offshoot-main".into()).stack_size(STACK);
    if let Err(error) = thread.spawn(move || live(&arguments, true)) {
        eprintln!("offshoot: cannot start a thread for the child: {error}");
        process::exit_now(1);
    }
    loop {
        // The other thread ends the process.
        std::thread::park();
    }
}

/// Turns this run of a test binary into the child if it was started as one. For [`testing!`](crate::testing).
#[doc(hidden)]
pub fn test_child() {
    CLAIMED.store(true, Ordering::Relaxed);
    // The options for the test harness come before --, and then the path of the test.
    #[cfg(feature = "fakessh")]
    ssh_stand_in::stand_in(&mut std::env::args_os().skip(5));
    // The first argument is for the test harness.
    let mut args = std::env::args_os().skip(2).take(1);
    if let Some(mut arguments) = Arguments::parse(&mut args) {
        arguments.image = None;
        live(&arguments, false);
    }
}

/// Whether this process was started as a child and has not checked that yet.
pub(crate) fn is_unclaimed() -> bool {
    let is_child = |arg: OsString| arg.to_str().is_some_and(|arg| Nonce::parse_child_argument(arg).is_some());
    !CLAIMED.load(Ordering::Relaxed) && std::env::args_os().skip(1).take(2).any(is_child)
}

/// Reports to the parent that this process makes a router instead of becoming the child. It writes the token on
/// stdout, where the parent expects only the child's first line.
pub(crate) fn tell_unclaimed() {
    let nonce = std::env::args_os().skip(1).take(2).find_map(|arg| Nonce::parse_child_argument(arg.to_str()?));
    if let Some(nonce) = nonce {
        let mut line = nonce.token().into_bytes();
        line.extend([bootstrap::UNCLAIMED, b'\n']);
        let mut stdout = std::io::stdout().lock();
        // If this fails, the error of the caller still reports the cause.
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}

/// A test that becomes the child, by its path in the test binary.
#[doc(hidden)]
#[derive(Debug)]
pub struct TestEntry {
    /// The output of `module_path!()`, with the test's name.
    pub path: &'static str,
}

inventory::collect!(TestEntry);

/// The test to run in a copy of this test binary; `None` if this is not a test binary.
pub(crate) fn test_path() -> Option<&'static str> {
    let entry = inventory::iter::<TestEntry>.into_iter().next()?;
    // The test harness leaves out the name of the crate.
    Some(entry.path.split_once("::").map_or(entry.path, |(_, path)| path))
}

/// Lets the `#[test]`s of this binary start [`local`](crate::Router::local) and [`fork`](crate::Router::fork)
/// children. Use it once per test binary, at the top of a module:
///
/// ```
/// offshoot::testing!();
/// ```
///
/// It adds a test `offshoot_child`, which does nothing in a normal run. In a child, this test serves the parent.
#[macro_export]
macro_rules! testing {
    () => {
        #[cfg(test)]
        #[test]
        fn offshoot_child() {
            $crate::__private::test_child();
        }
        #[cfg(test)]
        const _: () = {
            $crate::__private::inventory::submit! {
                $crate::__private::TestEntry { path: concat!(module_path!(), "::offshoot_child") }
            }
        };
    };
}

/// The last argument of a process that is executed from the image of another process and has to be named
/// `remote_name`.
pub(crate) fn again_argument(remote_name: &str) -> String {
    format!("{AGAIN_AS}{remote_name}")
}

/// Executes the own image once more to give the process its name.
fn again(arguments: &Arguments, name: &str) -> Result<(), String> {
    let image = Image::own()?.descriptor().map_err(|error| error.to_string())?;
    let mut fd = "{fd}".to_owned();
    if arguments.directory.is_some() {
        // The image has travelled, like an image that a first stage has opened.
        process::replace(&image, STAGED_IMAGE).map_err(|error| error.to_string())?;
        fd = STAGED_IMAGE.to_string();
    }
    let argv = [format!("offshoot:{name}"), arguments.nonce.child_argument(), String::new(), String::new(), fd];
    let exec = process::Program::image(image, &argv.map(OsString::from)).map_err(|error| error.to_string())?;
    Err(format!("cannot execute the own image again: {}", exec.exec()))
}

/// `is_threaded`: whether the program had threads before it checked whether it is a child.
fn live(arguments: &Arguments, is_threaded: bool) -> ! {
    exit_with(PANICKED);
    #[cfg(target_os = "linux")]
    process::spare(bootstrap::holds_first_stage);
    if let Err(why) = try_live(arguments, is_threaded) {
        // stderr still belongs to the launcher, so the parent shows this.
        eprintln!("offshoot: {why}");
    }
    process::exit_now(1);
}

fn try_live(arguments: &Arguments, is_threaded: bool) -> Result<(), String> {
    if let Some(name) = &arguments.again_as {
        if arguments.directory.is_none() {
            // The shell executed the image through this descriptor.
            drop(process::adopt(STAGED_IMAGE));
        }
        // The image is opened before its file is removed.
        Image::own()?;
        leave_no_trace(arguments);
        again(arguments, name)?;
    }
    leave_no_trace(arguments);
    #[cfg(target_os = "linux")]
    if let Some(namespace_entry) = &arguments.namespace_entry {
        if is_threaded {
            return Err(format!(
                "{FAILED}namespaces cannot be joined with threads\n{ADVICE}call offshoot::child() before the runtime"
            ));
        }
        return Err(namespace_entry.enter(&arguments.nonce));
    }
    let io_error = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let hello = Hello::own(arguments.staged())?;
    let mut input = File::from(process::dup_high(0).map_err(io_error("stdin"))?);
    let mut output = File::from(process::dup_high(1).map_err(io_error("stdout"))?);
    hello.write(&arguments.nonce, &mut output).map_err(io_error("cannot say hello"))?;
    let mut welcome = Welcome::read(&mut input).map_err(io_error("the parent has gone"))?;
    if let Some(mut only) = arguments.only.clone() {
        only.retain(|name| welcome.allowed.as_ref().is_none_or(|allowed| allowed.contains(name)));
        welcome.allowed = Some(only);
    }
    drop((input, output));
    let is_supervised = welcome.descendants == Descendants::Supervise;
    if is_supervised && !is_threaded {
        process::supervise().map_err(io_error("cannot start a supervisor"))?;
    }
    let fds = process::take_stdio().map_err(io_error("cannot set up stdio"))?;
    serve(welcome, fds, is_supervised && is_threaded)
}

/// Removes what the first stage has made: the file, its directory, the watcher, and the entry in PATH.
fn leave_no_trace(arguments: &Arguments) {
    let image = arguments.image.and_then(|fd| process::adopt(fd).ok());
    // A copy that an engine's client has made here may belong to another user.
    let is_own = image.is_some();
    if let Some(fd) = image {
        Image::adopt(fd);
    }
    if let Some(directory) = &arguments.directory {
        remove(directory, is_own);
        // The directory of a copied image is not in PATH; then this changes nothing.
        if let Some(path) = std::env::var_os("PATH")
            && let rest = std::env::split_paths(&path).filter(|element| element != directory)
            && let Ok(rest) = std::env::join_paths(rest)
        {
            process::set_variable("PATH", &rest);
        }
    }
    if let Some(watcher) = arguments.watcher {
        // The directory is gone, so the watcher is not needed any more.
        process::end_child(watcher);
    }
}

/// Removes a directory of a first stage and the files in it. It does not follow a link in place of the
/// directory. With `own`, it does not empty a directory that belongs to another user.
pub(crate) fn remove(directory: &Path, own: bool) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(mut opened) = Dir::open(directory, flags, Mode::empty()) else { return };
    if own && !fstat(&opened).is_ok_and(|status| status.st_uid == geteuid().as_raw()) {
        return;
    }
    let names: Vec<CString> = opened.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
    for name in names {
        // `.` and `..` cannot be removed, which is right.
        let _ = unlinkat(&opened, name.as_c_str(), UnlinkatFlags::NoRemoveDir);
    }
    let _ = std::fs::remove_dir(directory);
}

fn serve(welcome: Welcome, fds: process::ChildFds, lacks_supervisor: bool) -> Result<(), String> {
    // From now on there is something to put in order, as files that are half written.
    process::die_in_order_with_parent();
    process::ignore_file_limit();
    let settings = Settings {
        max_message_size: welcome.max_message_size,
        unidirectional: welcome.unidirectional,
        allowed: welcome.allowed,
        levels: Levels::Copied(welcome.levels.clone()),
        debug: welcome.debug,
        profiling: welcome.profiling,
    };
    let (shared, queue) = Shared::new(welcome.id, welcome.name, welcome.parent_ids, settings);
    shared.set_descendants(welcome.descendants);
    let ends_descendants = welcome.descendants != Descendants::Leave && process::adopt_orphans();
    let debug = welcome.debug.then(|| DebugLog::create(shared.me, &shared.name)).transpose();
    let (debug, no_debug) = debug.map_or_else(|error| (None, Some(error)), |debug| (debug, None));
    let log = LogSource::new(Arc::clone(&shared), welcome.levels, debug);
    // If the program has set its own subscriber before, that one stays.
    let _ = tracing::subscriber::set_global_default(Recorder(log.clone()));
    if let Some(error) = no_debug {
        tracing::warn!("no debug log: {error}");
    }
    if lacks_supervisor {
        tracing::warn!("there is no supervisor, which threads forbid; call offshoot::child() before the runtime");
    }
    let broker = Broker::of_child().map_err(|error| error.to_string())?;
    let router = Router::from_parts(Arc::clone(&shared), broker.thread());
    let (dispatcher, calls) = Dispatcher::new(Box::new(LocalFunctions(router)), Handle::CALL_FUNCTION);
    let (ended, has_ended) = oneshot::channel();
    broker
        .add_router(move || {
            let pipes = Input::new(fds.input).and_then(|input| Ok(Stream { input, output: Output::new(fds.output)? }));
            let lines = Input::new(fds.stdout).and_then(|stdout| Ok([stdout, Input::new(fds.stderr)?]));
            let (Ok(stream), Ok([stdout, stderr])) = (pipes, lines) else {
                process::exit_now(1);
            };
            let printed = vec![(stdout, "stdout", log.clone()), (stderr, "stderr", log)];
            let parent = Parent { stream, dispatcher, printed, ended, ends_descendants };
            task_set::spawn(heed_signals(Arc::clone(&shared)));
            // The first process of a container adopts orphans as well.
            if ends_descendants || std::process::id() == 1 {
                task_set::spawn(reap_orphans());
            }
            task_set::spawn(async move {
                // The process ends here, whatever the other threads do.
                let _ = has_ended.await;
                process::exit_now(0);
            });
            Setup { shared, queue, role: Role::Child(Box::new(parent)) }
        })
        .map_err(|error| error.to_string())?;
    run_calls(calls)
}

/// Runs the calls that need the main thread. Returns only if it has no runtime.
pub(super) fn run_calls(mut calls: mailbox::Receiver<Invocation>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no event queue for the main thread: {error}"))?;
    let _cached = Cached::here();
    let mut batch = Vec::new();
    while runtime.block_on(calls.take(&mut batch)) {
        batch.drain(..).for_each(|call| call.run_here(&runtime));
    }
    // No more calls come. The I/O thread ends the process when its last frames are written.
    loop {
        std::thread::park();
    }
}

/// SIGINT, SIGTERM and SIGHUP shut the context down in order.
async fn heed_signals(shared: Arc<Shared>) {
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    loop {
        let is_hangup = tokio::select! {
            _ = int.recv() => false,
            _ = term.recv() => false,
            _ = hup.recv() => true,
        };
        // A context that is detached has no terminal, so it ignores SIGHUP.
        if !is_hangup || shared.parent().is_some() {
            shared.request(Request::Shutdown { done: None });
        }
    }
}

/// Reaps orphans that became children of this process and have ended.
async fn reap_orphans() {
    let Ok(mut ended) = signal(SignalKind::child()) else { return };
    while ended.recv().await.is_some() {
        // This reaps several at once, and leaves time to the code that waits for its own children.
        tokio::time::sleep(REAP_AFTER).await;
        process::reap_orphans();
    }
}

/// The line of the first stage, for tests only.
#[doc(hidden)]
pub fn first_stage_for_tests(a: &str, b: &str, cache: bool) -> String {
    Nonce::parse_child_argument(&format!("offshoot-child:{a}:{b}"))
        .map(|nonce| bootstrap::first_stage(&nonce, cache, None))
        .unwrap_or_default()
}
