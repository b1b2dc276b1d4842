//! Programs that join the tree of another one through a unix socket.

#![expect(clippy::print_stdout, reason = "a test that runs as another process tells the first one by stdout")]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use offshoot::error::{Closed, ConnectErrorKind};
use offshoot::{Context, ContextId, Error, Handle, Message, export, policy, unix};

use super::ending::kill;
use super::{Tree, block_on, eventually, is_alive, pid};

/// The handle at which a listener takes messages in these tests.
const DOOR: Handle = Handle(4242);

fn join(path: &Path) -> unix::Joined {
    block_on(unix::connect(path)).unwrap()
}

fn io_kind(error: Error) -> ErrorKind {
    match error {
        Error::Io(error) => error.kind(),
        other => panic!("no error of the system: {other}"),
    }
}

/// What the connects in this process fail with.
fn refused(path: &Path) -> ErrorKind {
    io_kind(block_on(unix::connect(path)).unwrap_err())
}

/// A directory for sockets.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_program_that_joins_calls_the_contexts_of_the_other_and_leaves_them() {
    let tree = Tree::new();
    let child = tree.child();
    let grandchild = tree.behind(&child);
    let listener = unix::listen(&tree.0, None).unwrap();
    let metadata = std::fs::metadata(listener.path()).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let joined = join(listener.path());
    assert_eq!(joined.listener.id(), ContextId::MASTER);
    assert_eq!(joined.router.parents().iter().map(Context::id).collect::<Vec<_>>(), [ContextId::MASTER]);
    assert!(!joined.router.is_master());
    for context in [&child, &grandchild] {
        let same = joined.router.context_by_id(context.id());
        assert_eq!(same.blocking_call(pid, ()).unwrap(), context.blocking_call(pid, ()).unwrap());
    }
    let me = joined.router.myself().id();
    eventually("the client is a child", || tree.0.children().iter().any(|child| child.id() == me));
    joined.router.blocking_shutdown();
    eventually("the client is gone", || tree.0.children().iter().all(|child| child.id() != me));
    assert!(child.blocking_call(pid, ()).is_ok() && grandchild.blocking_call(pid, ()).is_ok());
    let path = listener.path().to_owned();
    drop(listener);
    eventually("the socket is removed", || !path.exists());
}

#[test]
fn what_a_client_sends_has_its_own_id_and_the_authority_of_the_listener() {
    let tree = Tree::new();
    let (seen, messages) = mpsc::channel();
    let handler = tree.0.add_handler(move |message: Message| {
        if !message.is_dead() {
            seen.send((message.src, message.auth)).unwrap();
            let _ = message.reply(&7_u8);
        }
    });
    handler.handle(DOOR).policy(policy::has_parent_authority).build().unwrap();
    let listener = unix::listen(&tree.0, None).unwrap();
    let joined = join(listener.path());
    let below = joined.router.local().blocking_connect().unwrap();
    let question = || Message::encoded(&()).unwrap().to_handle(DOOR);
    assert_eq!(joined.listener.blocking_send_await::<u8>(question()).unwrap(), 7);
    let below_asks = below.blocking_call(ask_the_master, ()).unwrap();
    assert_eq!(below_asks, 7);
    let all: Vec<_> = messages.try_iter().collect();
    assert_eq!(all, [(joined.router.myself().id(), ContextId(0)), (below.id(), ContextId(0))]);
    joined.router.blocking_shutdown();
}

async fn ask_the_master(econtext: &offshoot::Econtext) -> Result<u8, Error> {
    let master = econtext.router().context_by_id(ContextId::MASTER);
    master.send_await(Message::encoded(&())?.to_handle(DOOR)).await
}
export!(ask_the_master);

#[test]
fn ids_never_collide_and_contexts_of_a_client_are_reached_by_all_and_end_with_it() {
    let tree = Tree::new();
    let own = tree.child();
    let listener = unix::listen(&tree.0, None).unwrap();
    let clients: Vec<_> = (0..4).map(|_| join(listener.path())).collect();
    let mut contexts: Vec<Context> = clients
        .iter()
        .flat_map(|one| [one.router.local(), one.router.local()])
        .map(|local| local.blocking_connect().unwrap())
        .collect();
    contexts.extend([tree.child(), own.clone()]);
    let ids: HashSet<_> =
        contexts.iter().map(Context::id).chain(clients.iter().map(|one| one.router.myself().id())).collect();
    assert_eq!(ids.len(), contexts.len() + clients.len());
    let (theirs, pids): (Vec<_>, Vec<_>) = contexts[..8]
        .iter()
        .map(|context| {
            let there = tree.0.context_by_id(context.id());
            (there.clone(), there.blocking_call(pid, ()).unwrap())
        })
        .unzip();
    // One client calls the contexts of another.
    let other = clients[0].router.context_by_id(contexts[7].id());
    assert_eq!(other.blocking_call(pid, ()).unwrap(), pids[7]);
    for client in clients {
        client.router.blocking_shutdown();
    }
    eventually("all their contexts end", || pids.iter().all(|pid| !is_alive(*pid)));
    for context in theirs {
        let error = context.blocking_call(pid, ()).unwrap_err();
        assert!(error.is_disconnected() || error.to_string().contains("no route"), "{error}");
    }
    assert!(own.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_context_that_is_started_by_way_of_the_listeners_contexts_stays_when_the_client_goes() {
    let tree = Tree::new();
    let child = tree.child();
    let listener = unix::listen(&tree.0, None).unwrap();
    let joined = join(listener.path());
    let there = joined.router.context_by_id(child.id());
    let started = joined.router.local().via(&there).blocking_connect().unwrap();
    let same = tree.0.context_by_id(started.id());
    let its_pid = started.blocking_call(pid, ()).unwrap();
    joined.router.blocking_shutdown();
    assert_eq!(same.blocking_call(pid, ()).unwrap(), its_pid);
}

#[test]
fn a_client_ends_with_the_program_that_listens() {
    let tree = Tree::new();
    let listener = unix::listen(&tree.0, None).unwrap();
    let (joined, second) = (join(listener.path()), join(listener.path()));
    let below = joined.router.local().blocking_connect().unwrap();
    let its_pid = below.blocking_call(pid, ()).unwrap();
    let path = listener.path().to_owned();
    let began = Instant::now();
    tree.0.blocking_shutdown();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    eventually("the context of the client ends", || !is_alive(its_pid));
    for router in [&joined.router, &second.router] {
        eventually("the client ends", || {
            matches!(router.route(Message::raw("").to_handle(DOOR)), Err(Error::Closed(_)))
        });
        assert!(router.local().blocking_connect().is_err());
    }
    assert!(!path.exists());
    assert_eq!(refused(&path), ErrorKind::NotFound);
    assert!(matches!(unix::listen(&tree.0, None), Err(Error::Closed(Closed::Router))));
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_and_another_file_are_not() {
    let (tree, directory) = (Tree::new(), directory());
    let path = directory.path().join("door");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(refused(&path), ErrorKind::ConnectionRefused);
    let listener = unix::listen(&tree.0, Some(&path)).unwrap();
    assert_eq!(io_kind(unix::listen(&tree.0, Some(&path)).unwrap_err()), ErrorKind::AddrInUse);
    let joined = join(&path);
    assert!(joined.router.local().blocking_connect().is_ok());
    drop(listener);
    eventually("the socket is removed", || !path.exists());
    // A program that has joined stays.
    assert!(joined.router.local().blocking_connect().is_ok());
    std::fs::write(&path, "kept").unwrap();
    assert_eq!(io_kind(unix::listen(&tree.0, Some(&path)).unwrap_err()), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
    assert!(unix::listen(&tree.0, Some(&long)).is_err());
    joined.router.blocking_shutdown();
}

#[test]
fn silent_and_hostile_clients_hold_up_nobody_and_are_dropped() {
    let tree = Tree::new();
    let child = tree.child();
    let listener = unix::listen(&tree.0, None).unwrap();
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(listener.path()).unwrap()).collect();
    let greeting = |version: u16, length: u32| {
        [&b"\x89OFS\r\n\x1a\n"[..], &version.to_be_bytes(), &length.to_be_bytes(), &[0xff; 64]].concat()
    };
    for (sent, told) in [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "first bytes"),
        (greeting(999, 64), "version"),
        (greeting(1, u32::MAX), "4294967295 bytes"),
        (greeting(1, 64), "cannot be read"),
    ] {
        let mut client = UnixStream::connect(listener.path()).unwrap();
        client.write_all(&sent).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer[0] == 1 && text.contains(told), "{told}: {text}");
    }
    let began = Instant::now();
    let joined = join(listener.path());
    let there = joined.router.context_by_id(child.id());
    assert!(there.blocking_call(pid, ()).is_ok());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for mut one in silent {
        one.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(one.read(&mut [0]), Ok(0)), "it is closed");
    }
    joined.router.blocking_shutdown();
}

#[test]
fn a_socket_on_which_nobody_answers_or_answers_nonsense_gives_a_clear_error() {
    let directory = directory();
    let path = directory.path().join("nonsense");
    let server = UnixListener::bind(&path).unwrap();
    let answers = std::thread::spawn(move || {
        for answer in [
            &b"HTTP/1.1 400"[..],
            b"",
            &[0, 0, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
            &[1, 0, 9, b't', b'o', b'o', b' ', 0x1b, b'[', b'2', b'J', b'x'],
        ] {
            let mut client = server.accept().unwrap().0;
            let _ = client.read(&mut [0; 4096]);
            client.write_all(answer).unwrap();
        }
    });
    let error = |path: &Path| block_on(unix::connect(path)).unwrap_err();
    assert_eq!(io_kind(error(&path)), ErrorKind::InvalidData);
    assert_eq!(io_kind(error(&path)), ErrorKind::UnexpectedEof);
    let too_long = error(&path).to_string();
    assert!(too_long.contains("welcome of 4294967295 bytes"), "{too_long}");
    match error(&path) {
        Error::Connect(error) => {
            assert_eq!(error.kind, ConnectErrorKind::Mismatch);
            assert!(error.text.contains("refuses: too ") && !error.text.contains('\x1b'), "{error}");
        }
        other => panic!("{other}"),
    }
    answers.join().unwrap();
}

/// Names what the process of [`another_process`] does.
const ROLE: &str = "OFFSHOOT_TEST_UNIX";

/// Runs a test of this binary as another process, which does what `role` says.
fn another_process(test: &str, role: &str) -> Child {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn calls_and_contexts_of_a_client_that_is_killed_end() {
    let test = "unix::calls_and_contexts_of_a_client_that_is_killed_end";
    if let Some(path) = std::env::var_os(ROLE) {
        let joined = join(Path::new(&path));
        let below = joined.router.local().blocking_connect().unwrap();
        println!("its context: {}", below.blocking_call(pid, ()).unwrap());
        std::thread::sleep(Duration::from_secs(60));
    }
    let tree = Tree::new();
    let listener = unix::listen(&tree.0, None).unwrap();
    let mut client = another_process(test, listener.path().to_str().unwrap());
    let mut printed = std::io::BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("its context: ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut printed, &mut line).unwrap() > 0);
    }
    let below: u32 = line.rsplit(": ").next().unwrap().trim().parse().unwrap();
    assert_eq!(tree.0.children().len(), 1);
    kill(client.id(), Signal::SIGKILL);
    client.wait().unwrap();
    eventually("its context ends", || !is_alive(below) && tree.0.children().is_empty());
}

/// Needs root, to become another user.
#[test]
fn another_user_cannot_join() {
    let test = "unix::another_user_cannot_join";
    if let Some(path) = std::env::var_os(ROLE) {
        let nobody = nix::unistd::Uid::from_raw(65534);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        let error = block_on(unix::connect(Path::new(&path))).unwrap_err();
        println!("refused: {:?}, {error}", io_kind(error.clone()));
        // A program of theirs need not ask who listens.
        let mut client = UnixStream::connect(&path).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        println!("answered: {} bytes", answer.len());
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: another_user_cannot_join needs root");
        return;
    }
    let (tree, directory) = (Tree::new(), directory());
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.path().join("door");
    let _listener = unix::listen(&tree.0, Some(&path)).unwrap();
    // With its own mode the system refuses already.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let output = another_process(test, path.to_str().unwrap()).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("refused: PermissionDenied") && text.contains("answered: 0 bytes"), "{text}");
    assert!(tree.0.children().is_empty());
}
