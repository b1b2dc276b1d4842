//! A child is hostile until shown otherwise: what it writes to its link may
//! cost it the link, and nobody else anything.

use std::io::Write;
use std::os::fd::{BorrowedFd, RawFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use offshoot::process::Event;
use offshoot::{ContextId, Error, Handle, Message, Receiver, Router, Sender, export};

use super::frame::{fragment, frame};
use super::logs::Records;
use super::{Tree, block_on, eventually, pid, reason, resident};

/// Writes bytes past the library, straight to this context's link.
pub(super) fn scribble(bytes: Vec<u8>) -> Result<(), String> {
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

#[test]
fn noise_costs_a_child_its_link_and_nobody_else_anything() {
    let tree = Tree::new();
    let records = Records::of(&tree.0);
    let (bad, good) = (tree.child(), tree.child());
    let error = bad.blocking_call(scribble, (vec![b'x'; 26],)).unwrap_err();
    assert_eq!(reason(error), "the respondent Context has disconnected");
    assert!(good.blocking_call(pid, ()).is_ok());
    // One record tells it, with the bytes. What the hop logs comes to this end.
    assert!(tree.behind(&good).blocking_call(scribble, (vec![b'x'; 26],)).is_err());
    assert!(good.blocking_call(pid, ()).is_ok());
    eventually("the record", || !records.all().is_empty());
    let told: Vec<_> = records.all().into_iter().filter(|record| record.message.contains("signature")).collect();
    let [record] = &told[..] else { panic!("{told:?}") };
    assert!(record.message.contains(&"x".repeat(26)), "{record:?}");
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
        (Handle::WAITS, b"\0\0\x03\xe8\x1b[2J"),
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
    offshoot::log::log_to_file(None, "debug").unwrap();
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

async fn tell(to: Sender<Vec<u8>>) -> Result<(), Error> {
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

/// The most kibibytes that this process has ever asked for.
fn peak() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}
export!(concurrent peak);

#[test]
fn frames_that_claim_more_than_they_hold_cost_next_to_nothing() {
    let tree = Tree::new();
    let hop = tree.child();
    let bad = tree.behind(&hop);
    let before = hop.blocking_call(peak, ()).unwrap();
    let (me, parent) = (bad.id().0, hop.id().0);
    // A text of 200 MiB of which nothing is there.
    let claim = [&[252][..], &(200_u32 << 20).to_le_bytes()].concat();
    let record = [&[0, 0][..], &claim].concat();
    let flood = [
        frame(0, [parent, me, me, Handle::GET_IMAGE.0, 0], &claim).repeat(2000),
        frame(2, [0, me, me, Handle::FORWARD_LOG.0, 0], &claim).repeat(1000),
        frame(2, [0, me, me, Handle::FORWARD_LOG.0, 0], &record).repeat(1000),
    ];
    let start = Instant::now();
    bad.blocking_call(scribble, (flood.concat(),)).unwrap();
    // What comes behind it has waited for all of it.
    bad.blocking_call(pid, ()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let grown = hop.blocking_call(peak, ()).unwrap() - before;
    assert!(grown < 64 * 1024, "{grown} KiB");
}

#[test]
fn a_child_that_leaves_messages_unfinished_loses_its_link() {
    let tree = Tree::new();
    let hop = tree.child();
    let (bad, good) = (tree.behind(&hop), tree.behind(&hop));
    let before = hop.blocking_call(resident, ()).unwrap();
    let (me, parent) = (bad.id().0, hop.id().0);
    // Some are welcome, the others are refused.
    let flood = (0..200_000).flat_map(|number| fragment(1, [parent, me, me, 50 + number, 1000], b""));
    let error = bad.blocking_call(scribble, (flood.collect(),)).unwrap_err();
    assert_eq!(reason(error), "the respondent Context has disconnected");
    assert!(good.blocking_call(pid, ()).is_ok());
    let grown = hop.blocking_call(resident, ()).unwrap().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}

#[test]
fn unfinished_messages_from_behind_a_hop_are_dropped_and_the_hop_keeps_its_link() {
    let tree = Tree::new();
    let hop = tree.child();
    let (bad, good, victim) = (tree.behind(&hop), tree.behind(&hop), tree.child());
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let (me, to) = (bad.id().0, victim.id().0);
    let before = victim.blocking_call(resident, ()).unwrap();
    let flood = (0..400_000).flat_map(|number| fragment(1, [to, me, me, 2_000_000 + number, 1000], b""));
    bad.blocking_call(scribble, (flood.collect(),)).unwrap();
    assert!(bad.blocking_call(pid, ()).is_ok());
    // Nothing tells when all of it has arrived at the far end.
    std::thread::sleep(Duration::from_secs(1));
    let grown = victim.blocking_call(resident, ()).unwrap().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    // Others' long messages arrive whole.
    good.blocking_call(tell_at_length, (heard.sender(),)).unwrap();
    assert_eq!(heard.blocking_recv().unwrap().len(), 1_000_000);
}

#[test]
fn unfinished_messages_from_behind_a_hop_cost_the_hop_nothing_where_they_arrive() {
    let tree = Tree::new();
    let hop = tree.child();
    let (bad, good) = (tree.behind(&hop), tree.behind(&hop));
    let me = bad.id().0;
    let flood = (0..50).flat_map(|number| fragment(1, [0, me, me, 2_000_000 + number, 1000], b""));
    bad.blocking_call(scribble, (flood.collect(),)).unwrap();
    // What comes behind it has waited for all of it.
    assert!(bad.blocking_call(pid, ()).is_ok());
    assert!(good.blocking_call(pid, ()).is_ok() && hop.blocking_call(pid, ()).is_ok());
}

async fn tell_at_length(to: Sender<String>) -> Result<(), Error> {
    to.send("x".repeat(1_000_000)).await
}
export!(tell_at_length);

/// Makes a sender that leads wherever the caller likes, as a hostile context
/// could.
fn sender_to(router: &Router, to: ContextId, handle: Handle) -> Sender<u8> {
    Sender::new(&router.context_by_id(to), handle)
}
export!(sender_to);

/// Says that a command has begun whose standard input is somewhere else.
fn started_elsewhere(router: &Router, to: ContextId) -> Event {
    let stdin = Sender::new(&router.context_by_id(to), Handle(1_000_000));
    Event::Started { pid: 1, stdin: Some(stdin), sizes: None }
}
export!(started_elsewhere);

static HEARD: AtomicU32 = AtomicU32::new(0);

/// A handle of this context where only contexts above may write.
pub(super) fn guarded(router: &Router) -> Result<Handle, Error> {
    let handler = router.add_handler(|message| {
        if !message.is_dead() {
            HEARD.fetch_add(1, Ordering::Relaxed);
        }
    });
    handler.policy(offshoot::policy::has_parent_authority).build()
}
export!(guarded);

pub(super) fn heard() -> u32 {
    HEARD.load(Ordering::Relaxed)
}
export!(heard);

#[test]
fn a_sender_never_leads_to_a_handle_of_the_router() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    for handle in [Handle::NONE, Handle::CALL_FUNCTION, Handle::SHUTDOWN, Handle::IS_DEAD] {
        let error = bad.blocking_call(sender_to, (good.id(), handle)).unwrap_err();
        assert!(matches!(&error, Error::Payload(text) if text.contains("handles below 1000")), "{error:?}");
        let error = Sender::<u8>::new(&good, handle).blocking_send(1).unwrap_err();
        assert!(matches!(error, Error::Handle { .. }), "{error:?}");
    }
    assert!(good.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_sender_can_do_no_more_than_the_context_that_it_came_from() {
    let tree = Tree::new();
    let (bad, good, hop) = (tree.child(), tree.child(), tree.child());
    let (lower_bad, lower_good) = (tree.behind(&hop), tree.behind(&hop));
    for (from, to, is_heard) in [
        (&bad, &good, false),
        (&bad, &lower_good, false),
        (&lower_bad, &good, false),
        (&lower_bad, &lower_good, false),
        // Its own, or of those below it.
        (&good, &good, true),
        (&lower_good, &lower_good, true),
        (&hop, &lower_good, true),
    ] {
        let handle = to.blocking_call(guarded, ()).unwrap();
        let before = to.blocking_call(heard, ()).unwrap();
        let sender = from.blocking_call(sender_to, (to.id(), handle)).unwrap();
        sender.clone().blocking_send(1).unwrap();
        // The call goes behind it.
        let heard = to.blocking_call(heard, ()).unwrap() - before;
        assert_eq!(heard, u32::from(is_heard), "by {from} to {to}");
        // This context's own authority is what it was.
        Sender::new(to, handle).blocking_send(2_u8).or_else(|_| Sender::new(to, handle).blocking_send(2)).unwrap();
        assert_eq!(to.blocking_call(self::heard, ()).unwrap() - before, heard + 1, "by {from} to {to}");
    }
}

#[test]
fn the_input_of_a_command_leads_to_where_it_runs_or_nowhere() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    assert!(bad.blocking_call(started_elsewhere, (bad.id(),)).is_ok());
    let error = bad.blocking_call(started_elsewhere, (good.id(),)).unwrap_err().to_string();
    assert!(error.contains(&format!("leads to context {}, not to context {}", good.id(), bad.id())), "{error}");
}

#[test]
fn a_child_cannot_tell_that_another_has_gone() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let below = tree.behind(&good);
    let calls = [good.call(slowly, ()), below.call(slowly, ())];
    let me = bad.id().0;
    let frames: Vec<u8> = (1000..1200).flat_map(|handle| frame(1, [0, me, me, handle, 999], b"gone")).collect();
    // Its own calls it can fail as it likes.
    let _ = bad.blocking_call(scribble, (frames,));
    for call in calls {
        call.blocking_recv().unwrap();
    }
    assert!(bad.blocking_call(pid, ()).is_ok());
}

fn slowly() {
    std::thread::sleep(Duration::from_millis(300));
}
export!(slowly);

#[test]
fn a_child_cannot_tell_that_another_behind_the_same_hop_has_gone() {
    let tree = Tree::new();
    let hop = tree.child();
    let (bad, good) = (tree.behind(&hop), tree.behind(&hop));
    let call = good.call(slowly, ());
    let me = bad.id().0;
    let frames: Vec<u8> = (1000..1200).flat_map(|handle| frame(1, [0, me, me, handle, 999], b"gone")).collect();
    let _ = bad.blocking_call(scribble, (frames,));
    call.blocking_recv().unwrap();
}

#[test]
fn a_child_cannot_tell_its_sibling_that_nobody_takes_what_that_sends() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let heard: Receiver<Vec<u8>> = Receiver::new(&tree.0);
    let (me, to) = (bad.id().0, good.id().0);
    let frames: Vec<u8> = (1000..1200).flat_map(|handle| frame(1, [to, me, me, handle, 999], b"gone")).collect();
    for _ in 0..3 {
        good.blocking_call(tell, (heard.sender(),)).unwrap();
        assert_eq!(heard.blocking_recv().unwrap(), [9]);
        bad.blocking_call(scribble, (frames.clone(),)).unwrap();
        // What comes behind it has waited for all of it.
        bad.blocking_call(pid, ()).unwrap();
    }
}
