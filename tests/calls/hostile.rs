//! A child is hostile until shown otherwise: what it writes to its link may
//! cost it the link, and nobody else anything.

use std::io::Write;
use std::os::fd::{BorrowedFd, RawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use offshoot::{Handle, Message, Receiver, Sender, export};

use super::{Tree, block_on, pid, reason, resident};

/// Writes bytes past the library, straight to this context's link.
fn scribble(bytes: Vec<u8>) -> Result<(), String> {
    let link = link().ok_or("no link found")?;
    #[expect(unsafe_code, reason = "to misbehave, one must reach behind the library")]
    // SAFETY: the descriptor is the link's, which lives as long as we do.
    let link = unsafe { BorrowedFd::borrow_raw(link) };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match nix::unistd::write(link, rest) {
            Ok(count) => rest = &rest[count..],
            Err(nix::errno::Errno::EAGAIN) => std::thread::yield_now(),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
export!(concurrent scribble);

/// The first socket among the descriptors that the library has moved up.
fn link() -> Option<RawFd> {
    let fds = std::fs::read_dir("/proc/self/fd").ok()?;
    let mut sockets: Vec<RawFd> = fds
        .flatten()
        .filter(|entry| entry.path().read_link().is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= 20)
        .collect();
    sockets.sort_unstable();
    sockets.first().copied()
}

/// A frame as the wire has it.
pub(crate) fn frame(lane: u8, addresses: [u32; 5], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x4f, 0x53, 0, lane];
    for field in addresses {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn noise_costs_a_child_its_link_and_nobody_else_anything() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let error = bad.blocking_call(scribble, (vec![b'x'; 26],)).unwrap_err();
    assert_eq!(reason(error), "the respondent Context has disconnected");
    assert!(good.blocking_call(pid, ()).is_ok());
}

#[test]
fn an_endless_frame_costs_a_child_its_link() {
    let tree = Tree::new();
    let bad = tree.child();
    let mut bytes = frame(1, [0, 1, 1, 1000, 0], b"");
    bytes[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(bad.blocking_call(scribble, (bytes,)).is_err());
}

#[test]
fn forged_frames_are_dropped_and_the_child_goes_on() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let heard: Receiver<u8> = Receiver::new(&tree.0);
    let handle = heard.handle().0;
    let (me, other) = (bad.id().0, good.id().0);
    // Another's authority, another's name, the master's own.
    for (src, auth) in [(other, other), (other, me), (me, other), (0, 0), (me, 0)] {
        bad.blocking_call(scribble, (frame(1, [0, src, auth, handle, 0], &[7]),)).unwrap();
    }
    bad.blocking_call(scribble, (frame(1, [0, me, me, handle, 0], &[8]),)).unwrap();
    assert_eq!(heard.blocking_recv().unwrap(), 8);
    assert!(heard.is_empty());
    assert!(good.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_child_can_neither_call_its_parent_nor_end_it_nor_steal_routes() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let me = bad.id().0;
    let stolen = [&good.id().0.to_be_bytes()[..], b"stolen"].concat();
    for (handle, payload) in [
        (Handle::CALL_FUNCTION, &b"\0\x01x"[..]),
        (Handle::SHUTDOWN, b""),
        (Handle::ADD_ROUTE, &stolen),
        (Handle::ADD_ROUTE, b"\0\0\x27\x10far away"),
        (Handle::DEL_ROUTE, &good.id().0.to_be_bytes()),
        (Handle::CREDIT, &[0xff; 16]),
        (Handle::CANCEL, b"\0\0\x03\xe8"),
        (Handle::FORWARD_LOG, b"nonsense"),
        (Handle::ALLOCATE_ID, b"\0\0\0\x02"),
        (Handle::STATS, b""),
        (Handle(999_999), b"nobody is there"),
    ] {
        bad.blocking_call(scribble, (frame(0, [0, me, me, handle.0, 0], payload),)).unwrap();
    }
    assert!(bad.blocking_call(pid, ()).is_ok());
    assert!(good.blocking_call(pid, ()).is_ok());
    assert_eq!(block_on(tree.0.stats()).unwrap().routes, 2);
}

#[test]
fn what_is_beyond_the_window_is_dropped_and_nobody_else_notices() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let heard: Receiver<Vec<u8>> = Receiver::new(&tree.0);
    let me = bad.id().0;
    let mut payload = vec![251, 0xe8, 0x03];
    payload.extend_from_slice(&[1; 1000]);
    let flood = frame(1, [0, me, me, heard.handle().0, 0], &payload).repeat(2000);
    bad.blocking_call(scribble, (flood,)).unwrap();
    bad.blocking_call(pid, ()).unwrap();
    assert!(heard.len() > 10 && heard.len() < 100, "{}", heard.len());
    good.blocking_call(tell, (heard.sender(),)).unwrap();
    assert_eq!(heard.blocking_recv().unwrap(), vec![1; 1000]);
}

/// In a process of its own, whose log goes to a stderr that nobody reads.
#[test]
fn a_child_that_floods_the_log_holds_up_nobody_where_the_log_is_not_read() {
    let name = "hostile::a_child_that_floods_the_log_holds_up_nobody_where_the_log_is_not_read";
    if std::env::var_os(UNREAD).is_some() {
        return flood_the_log();
    }
    let (_unread, mut stderr) = std::io::pipe().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&stderr, FcntlArg::F_GETFL).unwrap());
    fcntl(&stderr, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while stderr.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&stderr, FcntlArg::F_SETFL(flags)).unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(UNREAD, "1").stderr(stderr);
    let mut program = program.stdout(Stdio::null()).spawn().unwrap();
    let (began, mut ended) = (Instant::now(), None);
    while ended.is_none() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
        ended = program.try_wait().unwrap();
    }
    let _ = program.kill();
    let _ = program.wait();
    assert!(ended.expect("it ends").success());
}

const UNREAD: &str = "OFFSHOOT_TEST_UNREAD";

fn flood_the_log() {
    offshoot::log_to_file(None, "debug").unwrap();
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let me = bad.id().0;
    let stolen = [&good.id().0.to_be_bytes()[..], b"stolen"].concat();
    let mut flood = Vec::new();
    for (handle, payload) in [(Handle::FORWARD_LOG, &b"nonsense"[..]), (Handle::ADD_ROUTE, &stolen)] {
        flood.extend(frame(0, [0, me, me, handle.0, 0], payload));
        flood.extend(frame(0, [0, good.id().0, me, handle.0, 0], payload));
    }
    bad.blocking_call(scribble, (flood.repeat(20_000),)).unwrap();
    assert!(good.blocking_call(pid, ()).is_ok());
}

async fn tell(to: Sender<Vec<u8>>) -> Result<(), offshoot::Error> {
    to.send(vec![9]).await
}
export!(tell);

#[test]
fn a_child_that_provokes_refusals_does_not_make_its_parent_grow() {
    let tree = Tree::new();
    let hop = tree.child();
    let bad = tree.behind(&hop);
    let before = hop.blocking_call(resident, ()).unwrap();
    // Each frame asks for an answer to a handle that is not there.
    let (me, parent) = (bad.id().0, hop.id().0);
    let flood = frame(1, [parent, me, me, 5000, 1000], b"").repeat(300_000);
    bad.blocking_call(scribble, (flood,)).unwrap();
    let grown = hop.blocking_call(resident, ()).unwrap().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB");
}

#[test]
fn a_malformed_call_is_answered_with_an_error_and_the_child_goes_on() {
    let tree = Tree::new();
    let child = tree.child();
    for payload in [&b""[..], b"\xff\xff", b"\0\x03abc", b"\0\x05no::x"] {
        let message = Message::new(child.id(), Handle::CALL_FUNCTION, payload.to_vec());
        let answer = block_on(child.send_async::<String>(message).unwrap().recv_message());
        assert_eq!(answer.unwrap().data.first(), Some(&2), "an error of the library");
    }
    // The right function with wrong arguments: a Vec that claims 2^60 elements.
    let name = std::any::type_name_of_val(&scribble);
    let mut payload = u16::try_from(name.len()).unwrap().to_be_bytes().to_vec();
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(&[253, 0, 0, 0, 0, 0, 0, 0, 16]);
    let message = Message::new(child.id(), Handle::CALL_FUNCTION, payload);
    let answer = block_on(child.send_async::<String>(message).unwrap().recv_message()).unwrap();
    assert_eq!(answer.data.first(), Some(&1), "a CallError");
    assert!(String::from_utf8_lossy(&answer.data).contains("arguments are not of type"));
    assert!(child.blocking_call(pid, ()).is_ok());
}
