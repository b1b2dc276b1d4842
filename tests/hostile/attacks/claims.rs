//! Messages that claim much, and messages that never end.

use std::io;

use offshoot::Handle;

use crate::attack::{Attack, BEHIND_HOP, CHILD, LARGE, LOST};
use crate::far_side::Far;
use crate::frame::{fragment, frame};
use crate::kinds::{ADD_ROUTE, CALL_FUNCTION, FORWARD_LOG, IS_DEAD, Kind};
use crate::wire::{events_of, number, route};

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack {
            sends: &[Kind::Handle(Handle::GET_IMAGE.0), Kind::Handle(Handle::FORWARD_LOG.0), Kind::Lane(2)],
            ..Attack::new("payloads claim texts of 256 MiB", CHILD, texts)
        },
        Attack::new("payloads claim texts of 256 MiB, behind a hop", BEHIND_HOP, texts),
        Attack::new("payloads of every length, to every control handle", CHILD, lengths),
        Attack::new("payloads of every length, to every control handle of a hop", BEHIND_HOP, lengths),
        Attack {
            sends: &[Kind::Flag(1), Kind::Lane(1)],
            ..Attack::new("messages are begun and not ended", CHILD, unfinished)
        },
        Attack::new("messages are begun and not ended, behind a hop", BEHIND_HOP, unfinished),
        Attack {
            memory: LARGE,
            ..Attack::new("messages are begun by thousands of contexts", CHILD, unfinished_of_many)
        },
        Attack {
            memory: 320,
            cpu: 20,
            says: &["too large", LOST],
            ..Attack::new("a message has no end", CHILD, endless)
        },
        Attack {
            memory: 320,
            cpu: 20,
            says: &["too large", LOST],
            ..Attack::new("a message to every handle has no end, behind a hop", BEHIND_HOP, endless)
        },
        Attack {
            says: &["malformed reply", "not of type"],
            ..Attack::new("the reply to a call claims more than it holds", CHILD, reply_claims)
        },
        Attack {
            says: &["invalid message", "not of type"],
            ..Attack::new("events of a command claim more than they hold", CHILD, event_claims)
        },
    ]
}

/// A claim of 256 MiB.
fn claim() -> Vec<u8> {
    number(256 << 20)
}

fn texts(far: &mut Far) -> io::Result<()> {
    let record = [&[0, 0][..], &claim()].concat();
    let frames = [far.control(Handle::GET_IMAGE.0, &claim()), far.log(&claim()), far.log(&record)].concat();
    far.flood(&frames, 1_500)?;
    far.settle()
}

/// The control handles.
pub(super) const CONTROL: [Handle; 14] = [
    Handle::NONE,
    Handle::GET_IMAGE,
    Handle::CALL_FUNCTION,
    Handle::FORWARD_LOG,
    Handle::ADD_ROUTE,
    Handle::DEL_ROUTE,
    Handle::ALLOCATE_ID,
    Handle::SHUTDOWN,
    Handle::LOAD_IMAGE,
    Handle::CREDIT,
    Handle::CANCEL,
    Handle::STATS,
    Handle::IS_DEAD,
    Handle::FIRST_DYNAMIC,
];

fn lengths(far: &mut Far) -> io::Result<()> {
    let mut frames = Vec::new();
    for handle in CONTROL.map(|handle| handle.0) {
        for length in (0..40).chain([255, 4_096, 65_536]) {
            for byte in [0, 0xff] {
                frames.extend(far.asking(handle, &vec![byte; length]));
            }
        }
    }
    far.flood(&frames, 2)?;
    far.settle()
}

fn unfinished(far: &mut Far) -> io::Result<()> {
    let (parent, me) = (far.parent, far.me);
    for reply_to in [0, 1_000] {
        let frames: Vec<u8> =
            (0..100_000).flat_map(|number| fragment(1, [parent, me, me, 50 + number, reply_to], b"")).collect();
        far.flood(&frames, 1)?;
    }
    far.settle()
}

fn unfinished_of_many(far: &mut Far) -> io::Result<()> {
    let mut announced = 0;
    while announced < 20_000 {
        let Some(first) = far.ask_for_ids()? else { break };
        let mut frames = Vec::new();
        for id in first..first + 1_000 {
            frames.extend(far.control(ADD_ROUTE, &route(id, "x")));
            frames.extend((0..12).flat_map(|number| fragment(1, [0, id, id, 1_000 + number, 0], &[0; 100])));
        }
        far.send(&frames)?;
        announced += 1_000;
    }
    far.settle()
}

fn endless(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, call) = far.called()?;
    let events = events_of(&call).unwrap_or(0);
    let part = vec![0; 65_536];
    for handle in [reply_to, events, CALL_FUNCTION, FORWARD_LOG, Handle::LOAD_IMAGE.0, 1_000, 1_001] {
        let bytes = fragment(1, [0, context, context, handle, 0], &part);
        let times = if handle == reply_to { 2_300 } else { 200 };
        far.flood(&bytes, times)?;
    }
    far.settle()
}

fn reply_claims(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, _) = far.called()?;
    far.reply(context, reply_to, &[&[1][..], &claim()].concat())?;
    far.settle()
}

fn event_claims(far: &mut Far) -> io::Result<()> {
    let (context, _, call) = far.called()?;
    let events = events_of(&call).ok_or_else(|| io::Error::other("no call of a command"))?;
    let event = [number(1), claim()].concat();
    let frames =
        [frame(1, [0, context, context, events, 0], &event), frame(1, [0, context, context, events, IS_DEAD], &event)];
    far.flood(&frames.concat(), 1_500)?;
    far.settle()
}
