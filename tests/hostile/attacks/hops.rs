//! A hop that lies about what is behind it.

use std::io;

use offshoot::Handle;

use crate::attack::{Attack, BEHIND_HOP, CHILD, HOP, LARGE, LOST};
use crate::far_side::Far;
use crate::frame::frame;
use crate::kinds::{ADD_ROUTE, ALLOCATE_ID, DEL_ROUTE, Kind};
use crate::wire::{call_error, connected, record, route};

pub(crate) fn all() -> Vec<Attack> {
    let lies = |name, act| Attack { says: &["says that it has started context"], ..Attack::new(name, HOP, act) };
    vec![
        Attack { sends: &[Kind::Reply(0)], ..lies("a hop gives away a sibling as its child", sibling) },
        lies("a hop gives away itself as its child", itself),
        lies("a hop gives away the controller as its child", controller),
        lies("a hop gives away a child that it has not announced", unannounced),
        Attack {
            hosts: "evil1/local7,evil1/local8",
            says: &["says that it has started context", LOST],
            ..lies("a hop gives away one child twice", twice)
        },
        Attack {
            hosts: "evil1/local7,evil1/local6,evil1/local8",
            fanout: "5",
            says: &["says that it has started context", LOST, "lied"],
            ..lies("a hop gives away a child that was there before", there_before)
        },
        Attack {
            says: &["(max 262144)"],
            memory: 416,
            ..Attack::new("a hop answers a connect with 120 million empty texts", HOP, empty_texts)
        },
        // The answers fill the queue of the link. However long it goes on, it takes no more than 36 MiB.
        Attack {
            sends: &[Kind::Handle(Handle::ALLOCATE_ID.0)],
            memory: LARGE,
            ..Attack::new("ids are asked for without end", CHILD, ids)
        },
        Attack { memory: LARGE, ..Attack::new("ids are asked for without end, behind a hop", BEHIND_HOP, ids) },
        Attack {
            sends: &[Kind::Handle(Handle::ADD_ROUTE.0), Kind::Handle(Handle::DEL_ROUTE.0)],
            ..Attack::new("routes come and go without end", "evil1", come_and_go)
        },
        Attack::new("routes come and go without end, behind a hop", BEHIND_HOP, come_and_go),
        Attack {
            memory: LARGE,
            ..Attack::new("ids are asked of a hop whose parent is slow", BEHIND_HOP, ids_meanwhile)
        },
        Attack::new("a context takes back the route to itself", CHILD, own_route),
        Attack {
            memory: LARGE,
            ..Attack::new("routes come and go at a hop whose parent is slow", BEHIND_HOP, come_and_go_meanwhile)
        },
        Attack { memory: 96, ..Attack::new("as many routes as may be, with long names", "evil1", many_routes) },
        Attack {
            never_said: &["ssh.local1", "local1", "offshoot"],
            ..Attack::new("a context announces another's name and logs under it", "evil1", names)
        },
    ]
}

/// Answers the first request for a child with an id.
fn answer(far: &mut Far, id: u32) -> io::Result<()> {
    let (me, reply_to, _) = far.called()?;
    far.reply(me, reply_to, &connected(id))?;
    far.settle()
}

fn sibling(far: &mut Far) -> io::Result<()> {
    // The honest hosts have the lowest ids.
    let id = if far.me == 1 { 2 } else { 1 };
    answer(far, id)
}

fn itself(far: &mut Far) -> io::Result<()> {
    answer(far, far.me)
}

fn controller(far: &mut Far) -> io::Result<()> {
    answer(far, 0)
}

fn unannounced(far: &mut Far) -> io::Result<()> {
    let id = far.given_ids()?;
    answer(far, id)
}

fn twice(far: &mut Far) -> io::Result<()> {
    let id = far.given_ids()?;
    far.send(&far.control(ADD_ROUTE, &route(id, "local7")))?;
    answer(far, id)?;
    answer(far, id)
}

fn there_before(far: &mut Far) -> io::Result<()> {
    let id = far.given_ids()?;
    for id in id..id + 3 {
        far.send(&far.control(ADD_ROUTE, &route(id, "local7")))?;
    }
    // Requests that were made before it are answered as they should be. One command fails at once, so that a place becomes free
    // and one more child is asked for.
    let me = far.me;
    let mut given = 0;
    while given < 3 {
        let (context, reply_to, _) = far.called()?;
        if context == me {
            far.reply(me, reply_to, &connected(id + given))?;
            given += 1;
        } else if given < 3 {
            far.reply(context, reply_to, &call_error("lied"))?;
            // It is told to end now.
            far.send(&far.control(DEL_ROUTE, &context.to_be_bytes()))?;
        }
    }
    far.settle()
}

fn empty_texts(far: &mut Far) -> io::Result<()> {
    let (me, reply_to, _) = far.called()?;
    let zeros = vec![0; 120 << 20];
    far.reply(me, reply_to, &[&[0, 1][..], &zeros].concat())?;
    far.settle()
}

fn ids(far: &mut Far) -> io::Result<()> {
    let asks =
        [far.asking(ALLOCATE_ID, &far.me.to_be_bytes()), far.asking(ALLOCATE_ID, &77_u32.to_be_bytes())].concat();
    far.flood(&asks, 20_000)?;
    far.settle()
}

fn ids_meanwhile(far: &mut Far) -> io::Result<()> {
    far.halt_controller()?;
    far.flood(&far.asking(ALLOCATE_ID, &far.me.to_be_bytes()), 200_000)?;
    far.settle()
}

fn come_and_go(far: &mut Far) -> io::Result<()> {
    let frames = routes(far)?;
    far.flood(&frames, 3_000)?;
    far.settle()
}

fn come_and_go_meanwhile(far: &mut Far) -> io::Result<()> {
    let frames = routes(far)?;
    far.halt_controller()?;
    far.flood(&frames, 60_000)?;
    far.settle()
}

/// Once it has taken back the route to itself, nothing that it sends counts.
fn own_route(far: &mut Far) -> io::Result<()> {
    let frames = [far.control(DEL_ROUTE, &route(far.me, "")), far.control(ADD_ROUTE, &route(far.me, "name"))];
    far.flood(&frames.concat(), 10_000)
}

/// Routes that are added and removed.
fn routes(far: &mut Far) -> io::Result<Vec<u8>> {
    let Some(first) = far.ask_for_ids()? else { return Err(io::Error::other("no ids")) };
    let mut frames = Vec::new();
    for id in [first, first + 1, first + 999, first + 1_000, 0, 1, 2] {
        for handle in [ADD_ROUTE, DEL_ROUTE] {
            frames.extend(far.control(handle, &route(id, if handle == ADD_ROUTE { "name" } else { "" })));
        }
    }
    Ok(frames)
}

fn many_routes(far: &mut Far) -> io::Result<()> {
    let name = "x".repeat(255);
    let mut announced = 0;
    while announced < 66_000 {
        let Some(first) = far.ask_for_ids()? else { break };
        let frames: Vec<u8> = (first..first + 1_000).flat_map(|id| far.control(ADD_ROUTE, &route(id, &name))).collect();
        far.send(&frames)?;
        announced += 1_000;
    }
    // Each of them is a source that may have messages unfinished.
    far.settle()
}

fn names(far: &mut Far) -> io::Result<()> {
    let Some(first) = far.ask_for_ids()? else { return Err(io::Error::other("no ids")) };
    for (id, name) in (first..).zip(["ssh.local1", "local1", "ssh.evil1", "offshoot", "\n ssh.local1", ".ssh.local1"]) {
        far.send(&far.control(ADD_ROUTE, &route(id, name)))?;
        for level in 1..=3 {
            for target in ["stderr", "offshoot", "\nlocal1", ""] {
                far.send(&frame(2, [0, id, id, Handle::FORWARD_LOG.0, 0], &record(target, level, "\nlocal1: forged")))?;
            }
        }
    }
    far.settle()
}
