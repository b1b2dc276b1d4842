//! Connections to sockets, made by other contexts.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use offshoot::net::RemoteStream;
use offshoot::{Context, Error, Router, export};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ending::kill;
use super::{Tree, block_on, eventually, pid, resident};

/// More than all windows and buffers on the way have room for.
const MUCH: usize = 64 << 20;
/// What windows and buffers of sockets on the way may hold, with room to spare.
const UNDER_WAY: u64 = 24 << 20;

/// Windows that a context may keep: to the caller, and of the latest 64 receivers that have refused.
const REMEMBERED: usize = 65;

/// Serves each connection of a TCP port by a thread, and returns the address.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (each, stream) = (Arc::clone(&each), stream.unwrap());
            thread::spawn(move || each(stream));
        }
    });
    address
}

/// Reads all there is, and then sends it back.
fn answer(mut stream: impl Read + Write) {
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).is_ok() {
        let _ = stream.write_all(&all);
    }
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_be_bytes).collect()
}

/// Sends `sent`, ends that direction, and returns what comes.
async fn exchange(stream: RemoteStream, sent: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    to.write_all(sent).await.unwrap();
    to.shutdown().await.unwrap();
    let mut got = Vec::new();
    from.read_to_end(&mut got).await.unwrap();
    assert_eq!(to.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    got
}

/// Handles, windows and calls of a context, and its open files.
async fn kept(router: &Router) -> Result<(usize, usize, usize, usize), Error> {
    let stats = router.stats().await?;
    let files = std::fs::read_dir("/proc/self/fd")?.count();
    Ok((stats.handles, stats.windows, stats.serving.len(), files))
}
export!(concurrent kept);

/// Waits until a context has what it had.
fn expect_nothing_left(context: &Context, before: (usize, usize, usize, usize)) {
    let mut now = before;
    let is_gone = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        now = context.blocking_call(kept, ()).unwrap();
        // The latest receivers that are gone are remembered.
        (now.0, now.2, now.3) == (before.0, before.2, before.3) && now.1 <= REMEMBERED
    });
    assert!(is_gone, "handles, windows, calls and files are {now:?} and not {before:?}");
}

#[test]
fn bytes_go_both_ways_and_each_direction_ends_by_itself() {
    let tree = Tree::new();
    let hop = tree.child();
    let directory = tempfile::tempdir().unwrap();
    let (path, address, sent) = (directory.path().join("socket"), serve(answer), bytes(5_000_000));
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap())));
    for context in [tree.behind(&hop), hop] {
        let before = context.blocking_call(kept, ()).unwrap();
        for _ in 0..3 {
            assert!(block_on(exchange(block_on(context.connect_tcp(&address)).unwrap(), &sent)) == sent);
            assert!(block_on(exchange(block_on(context.connect_unix(&path)).unwrap(), &sent)) == sent);
        }
        expect_nothing_left(&context, before);
    }
}

#[test]
fn many_connections_work_at_once() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let (address, sent) = (serve(answer), bytes(100_000));
    let open: Vec<_> = (0..100).map(|_| block_on(far.connect_tcp(&address)).unwrap()).collect();
    let before = far.blocking_call(kept, ()).unwrap();
    assert!(before.2 >= 100, "{before:?}");
    for stream in open {
        assert!(block_on(exchange(stream, &sent)) == sent);
    }
}

#[test]
fn a_connection_that_cannot_be_made_says_why() {
    let tree = Tree::new();
    let child = tree.child();
    let before = child.blocking_call(kept, ()).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (address, kind, says) in [
        (closed.as_str(), ErrorKind::ConnectionRefused, "refused"),
        ("no-such-host.invalid:80", ErrorKind::NotFound, "no such host: "),
        ("localhost", ErrorKind::InvalidInput, "write HOST:PORT"),
        ("localhost:99999", ErrorKind::InvalidInput, "write HOST:PORT"),
        ("255.255.255.255:80", ErrorKind::NetworkUnreachable, "unreachable"),
    ] {
        let error = block_on(child.connect_tcp(address)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot connect to {address}: ")), "{text}");
        assert!(text.contains(says) && text.ends_with(&format!(" (in {})", child.name())), "{text}");
        let Error::Io(error) = error else { panic!("{error:?}") };
        assert_eq!(error.kind(), kind, "{text}");
    }
    // What comes back from the other side is not trusted.
    let text = block_on(child.connect_unix("/no/\u{1b}[2Jsuch")).unwrap_err().to_string();
    assert!(text.contains(r"/no/\u{1b}[2Jsuch") && !text.contains('\u{1b}'), "{text}");
    let error = block_on(child.connect_unix("/no/such/socket")).unwrap_err();
    assert!(matches!(&error, Error::Io(error) if error.kind() == ErrorKind::NotFound), "{error:?}");
    expect_nothing_left(&child, before);
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up_and_leaves_nothing() {
    let tree = Tree::new();
    let child = tree.child();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // Nobody accepts, so the queue is full at some time.
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let before = child.blocking_call(kept, ()).unwrap();
    let mut open = Vec::new();
    let error = loop {
        match block_on(child.timeout(Duration::from_millis(300)).connect_unix(&path)) {
            Ok(stream) => open.push(stream),
            Err(error) => break error,
        }
        assert!(open.len() < 10, "the queue takes all");
    };
    assert!(error.is_timeout(), "{error:?}");
    open.clear();
    expect_nothing_left(&child, before);
}

#[test]
fn a_slow_reader_stops_the_writer_and_nobody_else() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let floods = serve(move |mut stream| {
        while let Ok(count_of_one) = stream.write(&[7; 65536]) {
            count.fetch_add(count_of_one as u64, Ordering::Relaxed);
        }
    });
    let memory = |context: &Context| context.blocking_call(resident, ()).unwrap();
    let before = memory(&hop) + memory(&far);
    let mut unread = block_on(far.connect_tcp(&floods)).unwrap();
    let mut last = 0;
    eventually("the writer's stop", || {
        thread::sleep(Duration::from_millis(200));
        let now = written.load(Ordering::Relaxed);
        now > 0 && std::mem::replace(&mut last, now) == now
    });
    assert!(last < UNDER_WAY, "{last} bytes are under way");
    let sent = bytes(3_000_000);
    assert!(block_on(exchange(block_on(far.connect_tcp(serve(answer))).unwrap(), &sent)) == sent);
    // The other way: nobody reads what this end writes.
    let deaf = serve(|stream| {
        thread::park();
        drop(stream);
    });
    let mut stuck = block_on(far.connect_tcp(deaf)).unwrap();
    let chunk = vec![1; MUCH];
    let writing = async { stuck.write_all(&chunk).await };
    let limit = far.timeout(Duration::from_secs(2));
    let all = block_on(async {
        tokio::select! {
            done = writing => Some(done),
            _ = limit.closed() => None,
        }
    });
    assert!(all.is_none(), "all is written to what nobody reads");
    let grown = (memory(&hop) + memory(&far)).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    // It continues when it is read.
    let mut all = vec![0; 4 * usize::try_from(last).unwrap()];
    block_on(unread.read_exact(&mut all)).unwrap();
    assert!(all.iter().all(|byte| *byte == 7));
}

#[test]
fn a_dropped_connection_passes_on_what_was_written_and_closes_the_socket() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let (told, got) = std::sync::mpsc::channel();
    let address = serve(move |mut stream| {
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all).map(|_| all);
        told.send(read).unwrap();
    });
    let before = far.blocking_call(kept, ()).unwrap();
    let sent = bytes(600_000);
    for written in [&sent[..], b""] {
        let mut stream = block_on(far.connect_tcp(&address)).unwrap();
        block_on(stream.write_all(written)).unwrap();
        drop(stream);
        assert!(got.recv_timeout(Duration::from_secs(10)).unwrap().unwrap() == written);
    }
    for _ in 0..2 * REMEMBERED {
        drop(block_on(far.connect_tcp(&address)).unwrap());
    }
    expect_nothing_left(&far, before);
}

#[test]
fn a_connection_breaks_with_a_hop_at_both_ends() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let (told, got) = std::sync::mpsc::channel();
    let address = serve(move |mut stream| told.send(stream.read(&mut [0; 10]).unwrap_or(0)).unwrap());
    let mut stream = block_on(far.connect_tcp(&address)).unwrap();
    kill(hop.blocking_call(pid, ()).unwrap(), Signal::SIGKILL);
    let error = block_on(stream.read(&mut [0; 10])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
    assert_eq!(got.recv_timeout(Duration::from_secs(10)).unwrap(), 0);
    let writing = async { while stream.write_all(&[1; 65536]).await.is_ok() {} };
    block_on(writing);
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    let tree = Tree::new();
    let child = tree.child();
    let address = serve(|mut stream| {
        stream.write_all(b"half").unwrap();
        let _ = stream.read(&mut [0]);
        setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    });
    let mut stream = block_on(child.connect_tcp(&address)).unwrap();
    let mut half = [0; 4];
    block_on(stream.read_exact(&mut half)).unwrap();
    block_on(stream.write_all(b"!")).unwrap();
    let error = block_on(stream.read(&mut half)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error:?}");
    let writing = async { while stream.write_all(&[1; 65536]).await.is_ok() {} };
    block_on(writing);
}
