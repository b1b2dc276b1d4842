//! Streams between contexts: windows, order, ends.

use offshoot::{Blob, Econtext, Error, Handle, Receiver, Router, Sender, export};

use super::{Tree, block_on, pid, reason};

async fn count_to(to: Sender<u32>, end: u32) -> Result<String, Error> {
    for number in 0..end {
        to.send(number).await?;
    }
    to.close();
    Ok("done".into())
}
export!(count_to);

/// Sends its own receiver's sender, then returns what comes in, bytes
/// counted.
async fn swallow(econtext: &Econtext, ready: Sender<Sender<Blob>>) -> Result<u64, Error> {
    let receiver: Receiver<Blob> = Receiver::new(econtext.router());
    ready.send(receiver.sender()).await?;
    let mut total = 0;
    loop {
        match receiver.recv().await {
            Ok(blob) => total += blob.0.len() as u64,
            Err(Error::Channel(_)) => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}
export!(concurrent swallow);

async fn blast(to: Sender<Blob>, count: u32, size: usize) -> Result<(), Error> {
    for _ in 0..count {
        to.send(Blob(vec![3; size])).await?;
    }
    to.close();
    Ok(())
}
export!(concurrent blast);

#[test]
fn closing_a_sender_ends_the_stream_after_all_that_was_sent() {
    let tree = Tree::new();
    let child = tree.child();
    let numbers: Receiver<u32> = Receiver::new(&tree.0);
    let call = child.call(count_to, (numbers.sender(), 5000));
    for expected in 0..5000 {
        assert_eq!(numbers.blocking_recv().unwrap(), expected);
    }
    assert_eq!(reason(numbers.blocking_recv().unwrap_err()), "Sender was explicitly closed");
    assert_eq!(block_on(call).unwrap(), "done");
}

#[test]
fn every_hop_carries_streams_in_all_directions_at_once_without_deadlock() {
    // Two children behind one hop flood each other and the master, with
    // messages around and above the sizes of windows and fragments; every
    // receiver reads. 8 MiB held at the hop would stop it, if that could
    // happen.
    let tree = Tree::new();
    let hop = tree.child();
    let contexts = [tree.behind(&hop), tree.behind(&hop), tree.behind(&hop)];
    let ready: Receiver<Sender<Blob>> = Receiver::new(&tree.0);
    let mut swallowing = Vec::new();
    let mut blasting = Vec::new();
    let mut sent = 0u64;
    for from in &contexts {
        for to in &contexts {
            if from == to {
                continue;
            }
            swallowing.push(to.call(swallow, (ready.sender(),)));
            let sender = ready.blocking_recv().unwrap();
            let (count, size) = (300, 60_000 + 20_000 * (swallowing.len()));
            blasting.push(from.call(blast, (sender, count, size)));
            sent += u64::from(count) * size as u64;
        }
    }
    for call in blasting {
        block_on(call).unwrap();
    }
    let received: u64 = swallowing.into_iter().map(|call| block_on(call).unwrap()).sum();
    assert_eq!(received, sent);
}

#[test]
fn nothing_is_left_of_streams_that_have_ended() {
    let tree = Tree::new();
    let child = tree.child();
    let before = block_on(tree.0.stats()).unwrap();
    for _ in 0..50 {
        let numbers: Receiver<u32> = Receiver::new(&tree.0);
        let call = child.call(count_to, (numbers.sender(), 10));
        while numbers.blocking_recv().is_ok() {}
        block_on(call).unwrap();
    }
    child.blocking_call(pid, ()).unwrap();
    let after = block_on(tree.0.stats()).unwrap();
    assert_eq!((after.handles, after.windows), (before.handles, before.windows.max(1)));
    let windows = child.blocking_call(windows_here, ()).unwrap();
    assert!(windows <= 1, "{windows} windows left in the child");
}

async fn windows_here(router: &Router) -> Result<usize, Error> {
    Ok(router.stats().await?.windows)
}
export!(windows_here);

/// Sends a value to each of many handles that nobody has, and never asks what became of it.
fn send_to_nobody(econtext: &Econtext, handles: u32) -> Result<(), Error> {
    let senders = (0..handles).map(|handle| Sender::new(&econtext.caller(), Handle(1_000_000 + handle)));
    senders.into_iter().try_for_each(|to: Sender<u32>| to.blocking_send(0))
}
export!(send_to_nobody);

#[test]
fn what_was_refused_is_remembered_of_the_latest_senders_alone() {
    let tree = Tree::new();
    let child = tree.child();
    child.blocking_call(send_to_nobody, (2000,)).unwrap();
    super::eventually("the refusals of all", || child.blocking_call(windows_here, ()).unwrap() < 300);
    // Who sends again to one of them is told.
    let refused = child.blocking_call(send_twice, (1_001_999,)).unwrap_err();
    assert!(refused.to_string().contains("invalid handle"), "{refused}");
}

fn send_twice(econtext: &Econtext, handle: u32) -> Result<(), Error> {
    let to = Sender::new(&econtext.caller(), Handle(handle));
    to.blocking_send(0_u32)?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    to.blocking_send(1)
}
export!(send_twice);
