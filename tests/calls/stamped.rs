//! A child whose messages act under the authority of its parent: it stays itself, as the source of what it sends.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::Signal;
use offshoot::{Context, ContextId, Econtext, Error, Handle, Message, Receiver, Router, Sender, export};

use super::hostile::{guarded, heard};
use super::logs::Records;
use super::{Tree, block_on, eventually, pid};

/// The first of two siblings acts under the authority of the master.
fn stamped() -> (Tree, Context, Context) {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    tree.0.stamp(&one, Some(ContextId::MASTER));
    (tree, one, two)
}

/// Calls a sibling so often, and with so much, that its windows would be used up if they were not given back.
async fn call_often(sibling: Context) -> Result<(), Error> {
    for _ in 0..1500 {
        sibling.call(pid, ()).await?;
    }
    for _ in 0..30 {
        sibling.call(take, (vec![0; 100_000],)).await?;
    }
    Ok(())
}
export!(call_often);

fn take(_: Vec<u8>) {}
export!(take);

#[test]
fn it_calls_its_sibling_for_as_long_as_it_likes() {
    let (_tree, one, two) = stamped();
    one.timeout(Duration::from_secs(60)).blocking_call(call_often, (two,)).unwrap();
}

/// Says when it is dropped.
struct Tell(Sender<String>);

impl Drop for Tell {
    fn drop(&mut self) {
        drop(self.0.send("dropped".into()));
    }
}

async fn wait(to: Sender<String>) {
    let _tell = Tell(to.clone());
    to.send("begun".into()).await.ok();
    std::future::pending::<()>().await;
}
export!(concurrent wait);

/// Drops a call in a sibling, and says what that has heard of it.
async fn drop_a_call(econtext: &Econtext, sibling: Context) -> Result<[String; 2], Error> {
    let heard: Receiver<String> = Receiver::new(econtext.router());
    let call = sibling.call(wait, (heard.sender(),));
    let first = heard.recv().await?;
    drop(call);
    Ok([first, heard.recv().await?])
}
export!(drop_a_call);

#[test]
fn a_call_in_its_sibling_ends_when_it_drops_the_call() {
    let (_tree, one, two) = stamped();
    let heard = one.timeout(Duration::from_secs(10)).blocking_call(drop_a_call, (two,)).unwrap();
    assert_eq!(heard, ["begun", "dropped"]);
}

/// Calls a sibling, and waits.
async fn call_and_wait(sibling: Context, to: Sender<String>) -> Result<(), Error> {
    sibling.call(wait, (to,)).await
}
export!(call_and_wait);

#[test]
fn its_first_call_in_a_context_elsewhere_ends_when_it_is_killed() {
    let (tree, one, two) = stamped();
    for far in [tree.behind(&two), two] {
        let caller = tree.child();
        tree.0.stamp(&caller, Some(ContextId::MASTER));
        for caller in [tree.behind(&one), caller] {
            let heard: Receiver<String> = Receiver::new(&tree.0);
            let process = caller.blocking_call(pid, ()).unwrap();
            // The one that is called sends nothing to its caller.
            let call = caller.call(call_and_wait, (far.clone(), heard.sender()));
            assert_eq!(heard.blocking_recv().unwrap(), "begun");
            super::ending::kill(process, Signal::SIGKILL);
            assert_eq!(block_on(heard.recv_timeout(Duration::from_secs(10))).unwrap(), "dropped");
            assert!(block_on(call).is_err());
        }
    }
}

/// Sends a sibling a call that cannot be read. Returns the first byte of the answer.
async fn call_nothing(sibling: Context) -> Result<Option<u8>, Error> {
    let message = Message::new(sibling.id(), Handle::CALL_FUNCTION, b"\xff\xff".to_vec());
    let answer = sibling.send_async::<String>(message)?;
    Ok(answer.recv_message().await?.data.first().copied())
}
export!(call_nothing);

#[test]
fn it_hears_of_a_call_that_its_sibling_cannot_read() {
    let (_tree, one, two) = stamped();
    let answer = one.timeout(Duration::from_secs(10)).blocking_call(call_nothing, (two,)).unwrap();
    assert_eq!(answer, Some(2), "an error of the library");
}

fn fail(fails: bool) -> Result<(), String> {
    if fails { Err("on purpose".into()) } else { Ok(()) }
}
export!(fail);

/// Makes two calls in a chain in a sibling, of which the first fails. Returns what came of the second.
async fn chain(sibling: Context) -> Result<String, Error> {
    let chain = sibling.call_chain();
    let (first, second) = (chain.call(fail, (true,)), chain.call(fail, (false,)));
    drop(first.await);
    Ok(second.await.map_or_else(|error| error.to_string(), |()| "has run".into()))
}
export!(chain);

#[test]
fn nothing_is_left_of_its_chains_in_its_sibling() {
    let (_tree, one, two) = stamped();
    let said = one.blocking_call(chain, (two.clone(),)).unwrap();
    assert!(said.contains("on purpose"), "{said}");
    // The chain was dropped, so nothing of it is left.
    eventually("the end of the chain", || two.stats().blocking_recv().unwrap().chains == 0);
}

/// Calls a sibling twice. The answer to the first call makes the sibling one that hears of the caller's end.
async fn call_for_ever(sibling: Context, heard: Sender<String>) {
    drop(sibling.call(pid, ()).await);
    drop(sibling.call(wait, (heard,)).await);
}
export!(call_for_ever);

#[test]
fn statistics_name_it_as_the_caller_and_its_end_ends_its_calls_and_no_others() {
    let (tree, one, two) = stamped();
    let (of_one, of_master): (Receiver<String>, Receiver<String>) = (Receiver::new(&tree.0), Receiver::new(&tree.0));
    let process = one.blocking_call(pid, ()).unwrap();
    let _call = one.call(call_for_ever, (two.clone(), of_one.sender()));
    let _other = two.call(wait, (of_master.sender(),));
    for heard in [&of_one, &of_master] {
        assert_eq!(heard.blocking_recv().unwrap(), "begun");
    }
    let callers = || {
        let mut callers: Vec<_> = two.stats().blocking_recv().unwrap().serving.iter().map(|call| call.caller).collect();
        callers.sort_unstable();
        callers
    };
    assert_eq!(callers(), [ContextId::MASTER, one.id()]);
    // It has no time to cancel the call.
    super::ending::kill(process, Signal::SIGKILL);
    assert_eq!(of_one.blocking_recv_timeout(Duration::from_secs(10)).unwrap(), "dropped");
    eventually("the end of the call", || !callers().contains(&one.id()));
    assert_eq!(callers(), [ContextId::MASTER]);
}

/// Asks a sibling for its statistics.
async fn ask(sibling: Context) -> Result<u32, Error> {
    Ok(sibling.stats().await?.pid)
}
export!(ask);

#[test]
fn it_gets_the_statistics_of_its_sibling() {
    let (_tree, one, two) = stamped();
    let found = one.timeout(Duration::from_secs(10)).blocking_call(ask, (two.clone(),)).unwrap();
    assert_eq!(found, two.blocking_call(pid, ()).unwrap());
}

#[test]
fn contexts_can_be_started_behind_it_and_called() {
    let (tree, one, _two) = stamped();
    let below = tree.behind(&one);
    assert!(below.timeout(Duration::from_secs(10)).blocking_call(pid, ()).is_ok());
}

async fn count(to: Sender<Vec<u8>>) -> Result<(), Error> {
    for _ in 0..100 {
        to.send(vec![0; 50_000]).await?;
    }
    Ok(())
}
export!(count);

#[test]
fn what_it_sends_comes_from_it_and_never_uses_its_window_up() {
    let (tree, one, _two) = stamped();
    let receiver: Receiver<Vec<u8>> = Receiver::new(&tree.0);
    let call = one.call(count, (receiver.sender(),));
    let message = receiver.blocking_recv_message().unwrap();
    assert_eq!((message.src, message.auth), (one.id(), ContextId::MASTER));
    assert_eq!(message.source().map(|context| context.id()), Some(one.id()));
    for _ in 1..100 {
        assert_eq!(block_on(receiver.recv_from()).unwrap().0, one.id());
    }
    block_on(call).unwrap();
    // A handler takes what it gets at once.
    let (tell, told) = std::sync::mpsc::channel();
    let handler = tree.0.add_handler(move |message| {
        let _ = tell.send(message.src);
    });
    let handle = handler.build().unwrap();
    one.timeout(Duration::from_secs(20)).blocking_call(count, (Sender::new(&tree.0.myself(), handle),)).unwrap();
    for _ in 0..100 {
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), one.id());
    }
}

/// Takes some values and no more.
async fn take_some(econtext: &Econtext, ready: Sender<Sender<Vec<u8>>>, count: u32) -> Result<(), Error> {
    let receiver: Receiver<Vec<u8>> = Receiver::new(econtext.router());
    ready.send(receiver.sender()).await?;
    for _ in 0..count {
        receiver.recv().await?;
    }
    Ok(())
}
export!(take_some);

#[test]
fn it_gives_back_the_room_for_what_it_has_taken_and_says_when_it_takes_no_more() {
    let (tree, one, _two) = stamped();
    let ready: Receiver<Sender<Vec<u8>>> = Receiver::new(&tree.0);
    let call = one.call(take_some, (ready.sender(), 100));
    let to = ready.blocking_recv().unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let failed = (0..300).find_map(|number| Some((number, to.blocking_send(vec![0; 50_000]).err()?)));
        drop(done.send(failed));
    });
    block_on(call).unwrap();
    let failed = ended.recv_timeout(Duration::from_secs(20)).expect("the sender is told");
    assert!(failed.is_some_and(|(number, error)| number >= 100 && matches!(error, Error::Channel(_))));
}

#[test]
fn its_log_records_bear_its_own_name() {
    let tree = Tree::new();
    // A child learns at its start which records are wanted.
    let records = Records::of(&tree.0);
    let one = tree.child();
    tree.0.stamp(&one, Some(ContextId::MASTER));
    one.blocking_call(speak, ()).unwrap();
    let record = records.wait_for("stdout", "it is me");
    assert_eq!((record.context, &*record.context_name), (one.id(), one.name()));
}

fn speak() {
    writeln!(std::io::stdout(), "it is me").ok();
}
export!(speak);

async fn send_to(to: Sender<u8>) -> Result<(), Error> {
    to.send(1).await
}
export!(send_to);

/// Calls a sibling with a sender that leads to a handle of that sibling.
async fn lend(sibling: Context, handle: Handle) -> Result<(), Error> {
    sibling.call(send_to, (Sender::new(&sibling, handle),)).await
}
export!(lend);

#[test]
fn senders_in_its_calls_act_under_the_authority_of_the_called_context() {
    let (_tree, one, two) = stamped();
    let handle = two.blocking_call(guarded, ()).unwrap();
    one.blocking_call(lend, (two.clone(), handle)).unwrap();
    assert_eq!(two.blocking_call(heard, ()).unwrap(), 1);
}

/// Says that a command has begun here, with a standard input that leads here.
fn started(router: &Router) -> offshoot::process::Event {
    let stdin = Sender::new(&router.myself(), Handle(1_000_000));
    offshoot::process::Event::Started { pid: 1, stdin: Some(stdin), sizes: None }
}
export!(started);

#[test]
fn what_must_lead_back_to_it_may() {
    let (_tree, one, _two) = stamped();
    assert!(one.blocking_call(started, ()).is_ok());
}
