//! What one context does must not disturb the others.

use std::time::{Duration, Instant};

use offshoot::{Context, Error, Receiver, Router, Sender, export};

use super::{Tree, block, block_on, pid, reason, resident};

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}
export!(spin);

/// Writes `count` lines to stderr as fast as it can.
fn flood_stderr(count: u64) {
    use std::io::Write;
    let line = [b'x'; 120];
    for _ in 0..count {
        let mut err = std::io::stderr().lock();
        err.write_all(&line).ok();
        err.write_all(b"\n").ok();
    }
}
export!(flood_stderr);

fn write_mebibyte() -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(&vec![b'a'; 1 << 20])?;
    out.flush()
}
export!(write_mebibyte);

fn quick() -> u32 {
    7
}
export!(concurrent quick);

async fn pour(to: Sender<Vec<u64>>, count: u32) -> Result<(), Error> {
    for _ in 0..count {
        to.send(vec![1; 8 * 1024]).await?;
    }
    Ok(())
}
export!(pour);

fn call_sibling(sibling: Context) -> Result<u32, Error> {
    sibling.blocking_call(pid, ())
}
export!(call_sibling);

/// Median time of a call, in microseconds.
fn latency(context: &Context) -> u128 {
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            context.blocking_call(quick, ()).unwrap();
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Calls to `other` while `busy` does its worst: within five times of what
/// they took before, and of a millisecond, since the processor is shared.
fn undisturbed(other: &Context, before: u128, what: &str) {
    let now = latency(other);
    assert!(now < before.max(1000) * 5, "{what}: {now} us instead of {before} us");
}

#[test]
fn a_function_that_blocks_or_spins_delays_nobody_else() {
    let tree = Tree::new();
    let (busy, other) = (tree.child(), tree.child());
    let behind = tree.behind(&busy);
    let before = latency(&other);
    let hung = [busy.call(block, (1000,)), busy.call(spin, ())];
    undisturbed(&other, before, "beside a blocked function");
    undisturbed(&behind, before, "behind a blocked function");
    assert_eq!(busy.blocking_call(quick, ()).unwrap(), 7, "a concurrent function does not queue");
    drop(hung);
    let spinning = tree.child();
    let behind = tree.behind(&spinning);
    let hung = spinning.call(spin, ());
    undisturbed(&other, before, "beside a spinning function");
    undisturbed(&behind, before, "behind a spinning function");
    drop(hung);
}

#[test]
fn a_function_that_floods_stderr_delays_nobody_and_fills_no_memory() {
    let tree = Tree::new();
    let (busy, other) = (tree.child(), tree.child());
    let before = latency(&other);
    let flood = busy.call(flood_stderr, (2_000_000,));
    undisturbed(&other, before, "beside a flood");
    assert_eq!(busy.blocking_call(quick, ()).unwrap(), 7);
    assert!(busy.blocking_call(resident, ()).unwrap() < 40 * 1024);
    block_on(flood).unwrap();
}

#[test]
fn a_mebibyte_on_stdout_is_no_trouble() {
    let tree = Tree::new();
    let child = tree.child();
    child.blocking_call(write_mebibyte, ()).unwrap();
    assert!(child.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_sender_waits_for_a_slow_reader_and_no_hop_grows() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let before = (hop.blocking_call(resident, ()).unwrap(), far.blocking_call(resident, ()).unwrap());
    let slow: Receiver<Vec<u64>> = Receiver::new(&tree.0);
    // 256 messages of 8 KiB would go into no window; each u64 takes a byte.
    let call = far.call(pour, (slow.sender(), 20_000));
    // Nothing is read, and all is quiet.
    let latency_before = latency(&hop);
    std::thread::sleep(Duration::from_millis(200));
    let grown = |context: &Context, before: u64| context.blocking_call(resident, ()).unwrap().saturating_sub(before);
    assert!(slow.len() < 200, "{} messages came without credit", slow.len());
    assert!(grown(&hop, before.0) < 8 * 1024 && grown(&far, before.1) < 8 * 1024);
    undisturbed(&hop, latency_before, "beside a waiting sender");
    for _ in 0..20_000 {
        slow.blocking_recv().unwrap();
    }
    block_on(call).unwrap();
    assert!(grown(&hop, before.0) < 16 * 1024 && grown(&far, before.1) < 16 * 1024);
}

#[test]
fn a_sender_whose_receiver_has_gone_is_told() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let receiver: Receiver<Vec<u64>> = Receiver::new(&tree.0);
    let call = far.call(pour, (receiver.sender(), 1_000_000));
    receiver.blocking_recv().unwrap();
    drop(receiver);
    let error = block_on(call).unwrap_err();
    assert!(error.to_string().contains("invalid handle"), "{error}");
}

#[test]
fn siblings_may_not_call_each_other() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    let error = one.blocking_call(call_sibling, (two.clone(),)).unwrap_err();
    assert!(error.to_string().contains("refused by policy"), "{error}");
    let below = tree.behind(&two);
    let error = below.blocking_call(call_sibling, (two,)).unwrap_err();
    assert!(error.to_string().contains("refused by policy"), "children may not call their parents: {error}");
}

#[test]
fn unidirectional_routing_is_inherited() {
    let tree = Tree(Router::builder().unidirectional(true).build().unwrap());
    let hop = tree.child();
    let (one, two) = (tree.behind(&hop), tree.behind(&hop));
    let error = one.blocking_call(call_sibling, (two,)).unwrap_err();
    assert!(error.to_string().contains("routing mode prevents forward of message"), "{error}");
}

#[test]
fn two_routers_in_one_process_do_not_see_each_other() {
    let (first, second) = (Tree::new(), Tree::new());
    let (one, two) = (first.child(), second.child());
    assert_eq!(one.id(), two.id());
    assert_ne!(one, two);
    assert_ne!(one.blocking_call(pid, ()).unwrap(), two.blocking_call(pid, ()).unwrap());
    let stranger = first.0.context_by_id(offshoot::ContextId(1234));
    assert_eq!(reason(stranger.blocking_call(pid, ()).unwrap_err()), "no route to 1234, my ID is 0");
}
