//! Frames that chance has changed, and frames in an order that chance has chosen.

use std::io;

use offshoot::Handle;

use crate::attack::Attack;
use crate::far_side::{Far, UNWANTED};
use crate::frame::{HEADER, frame, word};
use crate::kinds::{CALL_FUNCTION, IS_DEAD};
use crate::random::Random;
use crate::wire::{bytes, call_error, connected, events_of, exited, other_error, output, record, route};

use super::claims::CONTROL;

/// Frames that each attacker sends.
const FRAMES: u32 = 10_000;
/// Frames that go out in one write.
const BATCH: usize = 50;

pub(crate) fn all() -> Vec<Attack> {
    let row = |name, hosts, act| Attack { memory: 128, cpu: 30, says: &[], ..Attack::new(name, hosts, act) };
    vec![
        row("frames to all control handles, in any order", "evil[1-3]", any_order as _),
        row("frames with payloads that chance has changed", "evil[1-3]", payloads),
        row("frames with payloads that chance has changed, behind a hop", "local9/evil[1-3]", payloads),
        row("a frame with a header that chance has changed", "evil[1-8]", headers),
        row("a hop that says what chance has chosen", "evil1/local[7-9],evil2/local[7-9]", hop),
    ]
}

/// What an honest context could have sent.
fn valid(far: &Far, answers: &[u32]) -> Vec<Vec<u8>> {
    let (me, parent) = (far.me, far.parent);
    let credit = [answers.first().copied().unwrap_or(1_000), 65_536, 1, 131_072].map(u32::to_be_bytes).concat();
    let mut frames = vec![
        far.control(Handle::GET_IMAGE.0, &[bytes("Linux"), bytes("x86_64")].concat()),
        far.log(&record("stderr", 2, "a message")),
        far.control(Handle::ADD_ROUTE.0, &route(me + 1_000, "name")),
        far.control(Handle::DEL_ROUTE.0, &(me + 1_000).to_be_bytes()),
        far.asking(Handle::ALLOCATE_ID.0, &me.to_be_bytes()),
        far.control(Handle::CREDIT.0, &credit),
        far.control(Handle::CANCEL.0, &1_000_u32.to_be_bytes()),
        far.asking(Handle::STATS.0, b""),
        frame(1, [parent, me, me, 999_999, UNWANTED], b"nobody"),
    ];
    let payloads = [
        exited(0, [0, 0]),
        output(false, b"text\n"),
        output(true, b"text\n"),
        call_error("text"),
        other_error("text"),
        connected(me + 1_000),
    ];
    for answer in answers {
        frames.extend(payloads.iter().map(|payload| frame(1, [0, me, me, *answer, 0], payload)));
        frames.push(frame(1, [0, me, me, *answer, IS_DEAD], b"reason"));
    }
    frames
}

/// The handles at which this context is expected to answer, once it was called.
fn answers(far: &mut Far) -> io::Result<Vec<u32>> {
    let (_, reply_to, call) = far.called()?;
    Ok([Some(reply_to), events_of(&call)].into_iter().flatten().collect())
}

fn any_order(far: &mut Far) -> io::Result<()> {
    let handles = CONTROL.map(|handle| handle.0);
    let me = far.me;
    for _ in 0..FRAMES / 50 * far.rounds {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let random = &mut far.random;
            let handle = match random.below(4) {
                0 => 1_000 + random.below(40) as u32,
                _ => random.pick(&handles),
            };
            let to = random.pick(&[0, 0, 0, 1, 2, 3, me]);
            let reply_to = random.pick(&[0, 0, UNWANTED, IS_DEAD, 1_000]);
            let payload: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
            let lane = random.below(3) as u8;
            let mut bytes = frame(lane, [to, me, me, handle, reply_to], &payload);
            bytes[2] = random.pick(&[0, 0, 0, 2, 4, 8, 16, 0xe0]);
            batch.extend(bytes);
        }
        far.send(&batch)?;
    }
    far.settle()
}

/// Changes some bytes of a payload, or its length.
fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = HEADER + random.below((bytes.len() - HEADER).max(1) as u64) as usize;
        match (random.below(5), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << random.below(8),
            (1, Some(byte)) => *byte = random.pick(&[0, 1, 0x7f, 0x80, 250, 251, 252, 253, 254, 255]),
            (2, Some(_)) => bytes.truncate(at),
            (3, Some(_)) => drop(bytes.remove(at)),
            _ => bytes.insert(at.min(bytes.len()), random.below(256) as u8),
        }
    }
    let length = u32::try_from(bytes.len() - HEADER).unwrap_or(0);
    bytes[24..28].copy_from_slice(&length.to_be_bytes());
}

fn payloads(far: &mut Far) -> io::Result<()> {
    let answers = answers(far)?;
    let valid = valid(far, &answers);
    for _ in 0..FRAMES / 50 * far.rounds {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let mut bytes = valid[far.random.below(valid.len() as u64) as usize].clone();
            if far.random.below(8) > 0 {
                change(&mut far.random, &mut bytes);
            }
            batch.extend(bytes);
        }
        far.send(&batch)?;
    }
    far.settle()
}

fn headers(far: &mut Far) -> io::Result<()> {
    let answers = answers(far)?;
    let valid = valid(far, &answers);
    let mut bytes = Vec::new();
    for _ in 0..20 * far.rounds {
        let mut one = valid[far.random.below(valid.len() as u64) as usize].clone();
        // Seldom the magic and the length, which cost the link at once.
        let at = match far.random.below(100) {
            0 => far.random.below(HEADER as u64),
            _ => 4 + far.random.below(20),
        };
        one[at as usize] = far.random.below(256) as u8;
        // A large length is right: the payload is there.
        let length = word(&one, 24).min(65_536) as usize;
        one.resize(HEADER + length, 0);
        bytes.extend(one);
    }
    far.send(&bytes)?;
    far.settle()
}

/// Answers each request with something.
fn hop(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let first = far.given_ids()?;
    for _ in 0..3 {
        let ([dst, .., reply_to], _) = far.wait(|[_, _, _, handle, _], _| handle == CALL_FUNCTION)?;
        for _ in 0..far.random.below(20) {
            let id = far.random.pick(&[0, 1, 2, 3, me, first, first + 1, first + 2, first + 999]);
            let bytes = match far.random.below(4) {
                0 => far.control(Handle::ADD_ROUTE.0, &route(id, "name")),
                1 => far.control(Handle::DEL_ROUTE.0, &id.to_be_bytes()),
                2 => frame(2, [0, id, id, Handle::FORWARD_LOG.0, 0], &record("stderr", 1, "text")),
                _ => frame(1, [0, id, id, 1_000 + far.random.below(60) as u32, 0], &connected(id)),
            };
            far.send(&bytes)?;
        }
        let id = far.random.pick(&[0, 1, 2, 3, me, first, first + 1, first + 2, first + 999]);
        far.reply(dst, reply_to, &connected(id))?;
    }
    far.settle()
}
