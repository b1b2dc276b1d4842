//! What belongs to others: their names, their calls, their lives.

use std::io;

use offshoot::Handle;

use crate::attack::{Attack, BEHIND_HOP, CHILD, LARGE, LOST, Stays};
use crate::far_side::{Far, UNWANTED};
use crate::frame::frame;
use crate::kinds::{IS_DEAD, Kind};
use crate::wire::{bytes, exited, other_error, output, record, route};

pub(crate) fn all() -> Vec<Attack> {
    against_others().into_iter().chain(leaving()).collect()
}

fn against_others() -> Vec<Attack> {
    vec![
        Attack::new("frames in the name of others, and under their authority", CHILD, forged),
        Attack::new("frames in the name of others, behind a hop", BEHIND_HOP, forged),
        Attack {
            sends: &[
                Kind::Handle(Handle::CALL_FUNCTION.0),
                Kind::Handle(Handle::STATS.0),
                Kind::Handle(Handle::LOAD_IMAGE.0),
            ],
            memory: LARGE,
            ..Attack::new("orders to those above and beside it", CHILD, orders)
        },
        Attack {
            memory: LARGE,
            ..Attack::new("orders to those above and beside it, behind a hop", BEHIND_HOP, orders)
        },
        Attack {
            sends: &[Kind::Handle(Handle::CALL_SERVICE.0)],
            memory: LARGE,
            ..Attack::new("calls of services, to those above and beside it", CHILD, services)
        },
        Attack {
            memory: LARGE,
            ..Attack::new("calls of services, to those above and beside it, behind a hop", BEHIND_HOP, services)
        },
        Attack {
            sends: &[Kind::Handle(Handle::SHUTDOWN.0), Kind::Handle(Handle::CANCEL.0)],
            ..Attack::new("the end of others and of their calls", CHILD, ends)
        },
        Attack {
            sends: &[Kind::Handle(Handle::WAITS.0)],
            ..Attack::new("what its calls and those of others wait for", CHILD, waits)
        },
        Attack {
            sends: &[
                Kind::Handle(Handle::IS_DEAD.0),
                Kind::Handle(Handle::FIRST_DYNAMIC.0),
                Kind::Handle(Handle::NONE.0),
                Kind::Dead(0),
                Kind::Dead(1),
                Kind::Dead(2),
                Kind::Dead(3),
                Kind::Dead(4),
                Kind::Dead(5),
                Kind::Dead(6),
                Kind::Dead(7),
                Kind::Lane(0),
            ],
            says: &["the command was refused: gone", LOST],
            ..Attack::new("news that others have gone", CHILD, dead)
        },
        Attack {
            says: &["the command was refused: gone", LOST],
            ..Attack::new("news that others have gone, behind a hop", BEHIND_HOP, dead)
        },
        Attack {
            sends: &[Kind::Flag(2), Kind::Flag(4), Kind::Flag(8), Kind::Flag(16)],
            says: &["invalid message", LOST],
            ..Attack::new("replies and events with every flag", CHILD, flags)
        },
        Attack {
            says: &["not of type", LOST],
            ..Attack::new("output and replies for the commands of others", CHILD, replies_of_others)
        },
        Attack {
            says: &["not of type", LOST],
            ..Attack::new("output and replies for the commands of others, behind a hop", BEHIND_HOP, replies_of_others)
        },
        Attack {
            sends: &[Kind::Reply(2)],
            says: &["lied"],
            ..Attack::new("an error of another kind than functions have", CHILD, error)
        },
    ]
}

/// Its own end.
fn leaving() -> Vec<Attack> {
    vec![
        Attack {
            sends: &[Kind::Handle(Handle::DETACHING.0)],
            ..Attack::new("it leaves the tree again and again", CHILD, leaves)
        },
        Attack {
            says: &[],
            stays: Stays::ToTheEnd,
            ..Attack::new("it leaves the tree and keeps its link", CHILD, leaves_and_stays)
        },
        Attack {
            says: &[],
            stays: Stays::ToTheEnd,
            ..Attack::new("it does not end when it is told to", CHILD, |_| Ok(()))
        },
        Attack {
            says: &[],
            stays: Stays::ToTheEnd,
            ..Attack::new("it does not end when it is told to, behind a hop", BEHIND_HOP, |_| Ok(()))
        },
    ]
}

/// The contexts that others may be.
fn those_near(far: &Far) -> Vec<u32> {
    (0..8).filter(|id| *id != far.me).collect()
}

fn forged(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for other in those_near(far) {
        for (src, auth) in [(other, other), (other, me), (me, other)] {
            for dst in [0, 1, 2, 3] {
                frames.extend(frame(1, [dst, src, auth, 1_000, UNWANTED], &[7]));
                frames.extend(frame(0, [dst, src, auth, Handle::SHUTDOWN.0, 0], b""));
                frames.extend(frame(2, [0, src, auth, Handle::FORWARD_LOG.0, 0], &record("stderr", 1, "forged")));
            }
        }
    }
    far.flood(&frames, 100)?;
    far.settle()
}

fn orders(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let name = b"offshoot::builtin::process::run_process::run_process";
    let call = [&[0, name.len() as u8][..], name, &[0; 40]].concat();
    let mut frames = Vec::new();
    for to in those_near(far) {
        for (handle, payload) in [
            (Handle::CALL_FUNCTION, &call[..]),
            (Handle::STATS, b""),
            (Handle::LOAD_IMAGE, &[bytes("Linux"), bytes("x86_64"), vec![0; 100]].concat()),
            (Handle::GET_IMAGE, &[bytes("Linux"), bytes("x86_64")].concat()),
            (Handle::ADD_ROUTE, &route(me, "stolen")),
            (Handle::DEL_ROUTE, &1_u32.to_be_bytes()),
            (Handle::ALLOCATE_ID, &to.to_be_bytes()),
            (Handle::ALLOCATE_ID, &[me, 1, 1_000_000].map(u32::to_be_bytes).concat()),
        ] {
            frames.extend(frame(0, [to, me, me, handle.0, UNWANTED], payload));
        }
    }
    far.flood(&frames, 100)?;
    far.settle()
}

fn services(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for to in those_near(far) {
        for name in ["", "offshoot::builtin::process::run_process::run_process", "nobody::Service::method"] {
            let length = (name.len() as u16).to_be_bytes();
            for rest in [0, 8, 20_000] {
                let call = [&length[..], name.as_bytes(), &vec![0xff; rest]].concat();
                frames.extend(frame(1, [to, me, me, Handle::CALL_SERVICE.0, UNWANTED], &call));
                frames.extend(frame(1, [to, me, me, Handle::CALL_SERVICE.0, 0], &call));
                frames.extend(frame(1, [to, 0, 0, Handle::CALL_SERVICE.0, UNWANTED], &call));
            }
        }
    }
    far.flood(&frames, 30)?;
    far.settle()
}

fn ends(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for to in those_near(far) {
        frames.extend(frame(0, [to, me, me, Handle::SHUTDOWN.0, 0], b""));
        for handle in 1_000..1_050_u32 {
            frames.extend(frame(0, [to, me, me, Handle::CANCEL.0, 0], &handle.to_be_bytes()));
        }
    }
    far.flood(&frames, 1_000)?;
    far.settle()
}

fn waits(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for handle in 1_000..1_040_u32 {
        for name in [&b""[..], b"\x1b[31m\xff", &[b'x'; 60_000]] {
            let payload = [&handle.to_be_bytes(), name].concat();
            frames.extend(frame(0, [0, me, me, Handle::WAITS.0, 0], &payload));
        }
    }
    far.flood(&frames, 20)?;
    far.settle()
}

fn dead(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for kind in 0..8 {
        for to in [0, 1, 2, 3] {
            for handle in (1_000..1_040).chain([0, 100, 101, 106, 109, 114, 999]) {
                let mut bytes = frame(kind % 3, [to, me, me, handle, IS_DEAD], b"gone\x1b[31m");
                bytes[2] = kind << 5;
                frames.extend(bytes);
            }
        }
    }
    far.flood(&frames, 10)?;
    far.settle()
}

fn flags(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, _) = far.called()?;
    let mut frames = Vec::new();
    for flag in [2, 4, 8, 16, 30, 255] {
        for handle in (1_000..1_020).chain([reply_to, 100, 101, 102, 103, 105, 114]) {
            for payload in [&b""[..], &[0xff; 40], &[0; 20_000]] {
                let mut bytes = frame(1, [0, context, context, handle, 0], payload);
                bytes[2] = flag & !1;
                frames.extend(bytes);
            }
        }
    }
    far.flood(&frames, 3)?;
    far.settle()
}

fn replies_of_others(far: &mut Far) -> io::Result<()> {
    let me = far.me;
    let mut frames = Vec::new();
    for handle in 1_000..1_040 {
        for payload in [exited(0, [0, 0]), output(false, b"forged\n"), output(true, b"forged\n")] {
            for (src, auth) in [(me, me), (1, me), (2, 2), (far.parent, me)] {
                frames.extend(frame(1, [0, src, auth, handle, 0], &payload));
            }
        }
    }
    far.flood(&frames, 50)?;
    far.settle()
}

fn error(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, _) = far.called()?;
    far.reply(context, reply_to, &other_error("lied\u{9b}\n\u{202e}"))?;
    far.settle()
}

fn leaves_and_stays(far: &mut Far) -> io::Result<()> {
    far.send(&far.asking(Handle::DETACHING.0, b""))?;
    far.settle()
}

fn leaves(far: &mut Far) -> io::Result<()> {
    far.flood(&far.asking(Handle::DETACHING.0, b""), 10_000)?;
    far.settle()?;
    far.flood(&far.control(Handle::DETACHING.0, b""), 10)
}
