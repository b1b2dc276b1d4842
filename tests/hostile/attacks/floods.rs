//! More of something than anybody can want.

use std::io::{self, Write};

use offshoot::Handle;

use crate::attack::{Attack, BEHIND_HOP, CHILD, LARGE, Stays};
use crate::attacks::claims::CONTROL;
use crate::far_side::{Far, UNWANTED};
use crate::frame::frame;
use crate::kinds::{ADD_ROUTE, CALL_FUNCTION, Kind};
use crate::wire::{bytes, call_error, events_of, output, record, route};

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack {
            // Which of them is seen first is chance.
            says: &["the connection was lost or not of type"],
            ..Attack::new("empty frames", CHILD, empty)
        },
        Attack::new("empty frames, to every control handle of a hop", BEHIND_HOP, empty),
        Attack {
            sends: &[Kind::Handle(Handle::CREDIT.0)],
            ..Attack::new("room in windows, for others too", CHILD, credit)
        },
        Attack { memory: LARGE, ..Attack::new("log records", CHILD, logs) },
        Attack { memory: LARGE, ..Attack::new("log records with thousands of fields", CHILD, fields) },
        Attack { memory: LARGE, ..Attack::new("log records, behind a hop", BEHIND_HOP, logs) },
        Attack {
            memory: LARGE,
            cpu: 20,
            says: &[],
            stays: Stays::ToTheEnd,
            is_unread: true,
            ..Attack::new("warnings, where nobody reads the stderr", CHILD, warnings)
        },
        Attack::new("text without end on stderr", CHILD, stderr),
        Attack { memory: LARGE, ..Attack::new("output that no window has room for", CHILD, output_without_room) },
        Attack {
            memory: 96,
            ..Attack::new("data for another context that does not read", "evil[1-2]", for_a_deaf_one)
        },
        Attack { memory: LARGE, ..Attack::deaf("questions whose answers are not read", CHILD, unread) },
        Attack { memory: LARGE, ..Attack::deaf("questions to a hop whose answers are not read", BEHIND_HOP, unread) },
        Attack { memory: LARGE, ..Attack::deaf("images are asked for and not read", CHILD, images) },
        Attack { memory: LARGE, ..Attack::deaf("images are asked of a hop and not read", BEHIND_HOP, images) },
        Attack { memory: LARGE, ..Attack::new("images for machines that nobody has", BEHIND_HOP, unknown_images) },
        Attack {
            sends: &[Kind::Reply(1)],
            memory: LARGE,
            says: &["[cut]"],
            ..Attack::new("an error of a megabyte of escapes", CHILD, long_error)
        },
        Attack { says: &["lied"], ..Attack::new("replies and events after the end of a call", CHILD, late) },
    ]
}

fn empty(far: &mut Far) -> io::Result<()> {
    let frames: Vec<u8> = CONTROL.iter().flat_map(|handle| far.control(handle.0, b"")).collect();
    far.flood(&frames, 20_000)?;
    far.settle()
}

fn credit(far: &mut Far) -> io::Result<()> {
    let (me, parent) = (far.me, far.parent);
    let mut frames = Vec::new();
    for handle in [CALL_FUNCTION, 1_000, 1_001, 1_002, 77_777] {
        for [bytes, messages, size] in [[u32::MAX; 3], [0, 0, 0], [1, 1, 1], [0, u32::MAX, 1 << 20]] {
            let grant: Vec<u8> = [handle, bytes, messages, size].iter().flat_map(|n| n.to_be_bytes()).collect();
            for to in [parent, 1, 2, 3, me] {
                frames.extend(frame(0, [to, me, me, Handle::CREDIT.0, 0], &grant));
            }
        }
    }
    far.flood(&frames, 1_000)?;
    far.settle()
}

fn logs(far: &mut Far) -> io::Result<()> {
    let mut frames = Vec::new();
    for target in ["stdout", "stderr", "offshoot", "made up"] {
        for level in [0, 1, 2, 5, 255] {
            frames.extend(far.log(&record(target, level, &"\u{1b}[31m".repeat(200))));
        }
    }
    far.flood(&frames, 500)?;
    for number in 0..3_000 {
        far.send(&far.log(&record(&format!("made up {number}"), 1, "x")))?;
    }
    far.settle()
}

fn fields(far: &mut Far) -> io::Result<()> {
    // Fields of two empty texts each.
    let record = [&[0, 0, 0, 1, 0][..], &[251, 0xff, 0x7f], &vec![0; 2 * 0x7fff]].concat();
    far.flood(&far.log(&record), 500)?;
    far.settle()
}

fn warnings(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let frames = [
        far.control(ADD_ROUTE, &route(1, "stolen")),
        far.control(ADD_ROUTE, &route(me + 50_000, "bad")),
        far.log(b"nonsense"),
        far.log(&record("stderr", 1, "noise")),
        frame(0, [0, 1, me, 1_000, 0], b"forged"),
        far.asking(Handle::STATS.0, b""),
        // The first one is as it should be, so all others are refused.
        far.asking(Handle::DETACHING.0, b""),
    ];
    far.flood(&frames.concat(), 40_000)?;
    far.settle()
}

fn stderr(far: &mut Far) -> io::Result<()> {
    for text in ["x", "\u{1b}]0;evil\u{7}\n", "\n"] {
        let text = text.repeat(65_536 / text.len());
        (0..50 * far.rounds).try_for_each(|_| io::stderr().write_all(text.as_bytes()))?;
    }
    far.settle()
}

fn output_without_room(far: &mut Far) -> io::Result<()> {
    let (context, _, call) = far.called()?;
    let events = events_of(&call).ok_or_else(|| io::Error::other("no call of a command"))?;
    let line = [&vec![b'x'; 32_000][..], b"\n"].concat();
    far.flood(&frame(1, [0, context, context, events, 0], &output(false, &line)), 1_500)?;
    far.settle()
}

/// One of two attackers does not read. The other one sends to it. Each payload keeps the buffer that it was read into.
fn for_a_deaf_one(far: &mut Far) -> io::Result<()> {
    if far.number() == 1 {
        far.stop_reading();
        return far.wait_for("evil2");
    }
    let me = far.me;
    let others: Vec<u32> = (1..8).filter(|id| *id != me).collect();
    far.stop_reading();
    for _ in 0..200 {
        for to in &others {
            let one = [frame(1, [*to, me, me, 2_000, 0], &vec![0; 16 * 1024]), far.control(1_000, &vec![0; 60_000])];
            match far.send(&one.concat()) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
                other => other?,
            }
        }
    }
    Ok(())
}

fn unread(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let asks = [
        far.asking(Handle::STATS.0, b""),
        far.asking(Handle::ALLOCATE_ID.0, &me.to_be_bytes()),
        far.asking(Handle::CALL_FUNCTION.0, b"\0\x01x"),
        frame(1, [0, me, me, 999_999, UNWANTED], b""),
        frame(1, [77_777, me, me, 999_999, UNWANTED], b""),
    ];
    far.flood(&asks.concat(), 50_000)
}

fn images(far: &mut Far) -> io::Result<()> {
    let asks: Vec<u8> = ["x86_64", "amd64", "i686", "i586", "i486", "i386", "aarch64", "AMD64"]
        .iter()
        .flat_map(|machine| far.control(Handle::GET_IMAGE.0, &[bytes("Linux"), bytes(machine)].concat()))
        .collect();
    far.flood(&asks, 3_000)
}

fn unknown_images(far: &mut Far) -> io::Result<()> {
    for number in 0..3_000 {
        let machine = [bytes("Linux"), bytes(format!("{number:0100}"))].concat();
        far.send(&far.control(Handle::GET_IMAGE.0, &machine))?;
    }
    far.settle()
}

fn long_error(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, _) = far.called()?;
    far.reply(context, reply_to, &call_error(&"\u{1b}".repeat(170_000)))?;
    far.settle()
}

fn late(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, call) = far.called()?;
    let events = events_of(&call).ok_or_else(|| io::Error::other("no call of a command"))?;
    far.reply(context, reply_to, &call_error("lied"))?;
    let frames = [
        frame(1, [0, context, context, events, 0], &output(true, b"late\n")),
        frame(1, [0, context, context, reply_to, 0], &call_error("late")),
    ];
    far.flood(&frames.concat(), 5_000)?;
    far.settle()
}
