//! Who may say what: messages are judged by the context that they are from, and by nothing else that they say.

use std::time::Duration;

use nix::sys::signal::Signal;
use offshoot::{Context, ContextId, Econtext, Error, Handle, Message, Receiver, Sender, export};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frame::frame;
use super::hostile::scribble;
use super::{Tree, block, block_on, pid};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The handles that a context gives out first.
const FIRST_HANDLES: std::ops::Range<u32> = 1000..1400;
/// Ids that the master never reaches in a test.
const FAR_IDS: std::ops::Range<u32> = 0x7000_0000..0x7000_1000;

/// Sends a message where no route leads, and returns the context that says so.
async fn ask_nobody(econtext: &Econtext, nobody: ContextId) -> Result<ContextId, String> {
    let nobody = econtext.router().context_by_id(nobody);
    let message = Message::new(nobody.id(), Handle::CALL_FUNCTION, Vec::new());
    told_by(nobody.send_await::<()>(message).await)
}
export!(ask_nobody);

fn told_by<T>(result: Result<T, Error>) -> Result<ContextId, String> {
    match result {
        Err(Error::Channel(error)) => Ok(error.context),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("an answer".into()),
    }
}

#[test]
fn a_refusal_names_the_router_that_refuses() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let by = far.timeout(PATIENCE).blocking_call(ask_nobody, (ContextId(FAR_IDS.start),)).unwrap();
    assert_eq!(by, ContextId::MASTER);
}

/// Calls a context that is then lost, and returns the context that says so.
async fn call_until_it_is_lost(next: Context) -> Result<ContextId, String> {
    told_by(next.call(block, (1000,)).await)
}
export!(call_until_it_is_lost);

#[test]
fn a_caller_learns_from_its_own_context_that_the_one_below_it_was_lost() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let process = far.blocking_call(pid, ()).unwrap();
    let call = hop.call(call_until_it_is_lost, (far,));
    std::thread::sleep(Duration::from_millis(200));
    super::ending::kill(process, Signal::SIGKILL);
    assert_eq!(call.blocking_recv().unwrap(), hop.id());
}

#[test]
fn only_the_context_that_was_called_says_what_a_call_waits_for() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let call = good.timeout(Duration::from_secs(2)).call(block, (3,));
    let claims = FIRST_HANDLES.flat_map(|handle| {
        let payload = [&handle.to_be_bytes()[..], b"forged"].concat();
        frame(0, [0, bad.id().0, bad.id().0, Handle::WAITS.0, 0], &payload)
    });
    bad.blocking_call(scribble, (claims.collect::<Vec<u8>>(),)).unwrap();
    let error = call.blocking_recv().unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && !error.to_string().contains("forged"), "{error}");
}

/// Has a receiver that nothing is taken from.
async fn hold(econtext: &Econtext, ready: Sender<Sender<Vec<u8>>>) -> Result<(), Error> {
    let receiver: Receiver<Vec<u8>> = Receiver::new(econtext.router());
    ready.send(receiver.sender()).await?;
    std::future::pending().await
}
export!(hold);

#[test]
fn a_receiver_under_another_authority_that_goes_ends_the_wait_for_its_room() {
    let tree = Tree::new();
    let one = tree.child();
    tree.0.stamp(&one, Some(ContextId::MASTER));
    let ready: Receiver<Sender<Vec<u8>>> = Receiver::new(&tree.0);
    let call = one.call(hold, (ready.sender(),));
    let to = ready.blocking_recv().unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let failed = (0..100).find_map(|_| to.blocking_send(vec![0; 50_000]).err());
        drop(done.send(failed));
    });
    assert!(ended.recv_timeout(Duration::from_millis(300)).is_err(), "there is room");
    drop(call);
    let failed = ended.recv_timeout(PATIENCE).expect("the sender is told");
    assert!(matches!(failed, Some(Error::Channel(_))), "{failed:?}");
}

#[test]
fn the_end_of_what_a_stamped_context_has_started_is_heard() {
    let tree = Tree::new();
    let one = tree.child();
    tree.0.stamp(&one, Some(ContextId::MASTER));
    let below = tree.behind(&one);
    super::ending::kill(below.blocking_call(pid, ()).unwrap(), Signal::SIGKILL);
    block_on(below.timeout(PATIENCE).closed()).unwrap();
    assert!(!tree.0.children().contains(&below) && one.blocking_call(pid, ()).is_ok());
}

/// Takes one value.
async fn hear(econtext: &Econtext, ready: Sender<Sender<Vec<u8>>>) -> Result<Vec<u8>, Error> {
    let receiver: Receiver<Vec<u8>> = Receiver::new(econtext.router());
    ready.send(receiver.sender()).await?;
    receiver.recv().await
}
export!(concurrent hear);

async fn tell(to: Sender<Vec<u8>>) -> Result<(), Error> {
    to.send(vec![9]).await
}
export!(tell);

#[test]
fn only_its_caller_writes_to_the_input_of_a_command() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    block_on(async {
        let mut cat = good.command("cat").spawn();
        cat.pid().await.unwrap();
        let ready: Receiver<Sender<Vec<u8>>> = Receiver::new(&tree.0);
        let heard = good.call(hear, (ready.sender(),));
        let to = ready.recv().await.unwrap();
        let typed = FIRST_HANDLES.filter(|handle| *handle != to.handle().0);
        // A value of four bytes.
        let frames = typed.flat_map(|handle| frame(1, [good.id().0, bad.id().0, bad.id().0, handle, 0], b"\x04evil"));
        bad.call(scribble, (frames.collect::<Vec<u8>>(),)).await.unwrap();
        // What it sends behind that arrives behind that.
        bad.call(tell, (to,)).await.unwrap();
        assert_eq!(heard.await.unwrap(), [9]);
        cat.stdin.take().unwrap().write_all(b"good").await.unwrap();
        let mut output = String::new();
        cat.stdout.take().unwrap().read_to_string(&mut output).await.unwrap();
        assert_eq!((output.as_str(), cat.wait().await.unwrap().success()), ("good", true));
    });
}

#[test]
fn only_a_parent_gives_ids() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let grant = [good.id().0, FAR_IDS.start, FAR_IDS.end].map(u32::to_be_bytes).concat();
    bad.blocking_call(scribble, (frame(0, [0, bad.id().0, bad.id().0, Handle::ALLOCATE_ID.0, 0], &grant),)).unwrap();
    bad.blocking_call(pid, ()).unwrap();
    let below = tree.behind(&good).id();
    assert!(!FAR_IDS.contains(&below.0), "{below}");
}

/// Asks the parent for ids for a context. Returns whether it gets some.
async fn ask_for_ids(econtext: &Econtext, owner: ContextId) -> bool {
    let master = econtext.router().context_by_id(ContextId::MASTER);
    let request = Message::raw(owner.0.to_be_bytes().to_vec()).to_handle(Handle::ALLOCATE_ID);
    let Ok(answer) = master.send_async::<()>(request) else { return false };
    answer.recv_message().await.is_ok_and(|message| message.data.len() == 8)
}
export!(ask_for_ids);

#[test]
fn ids_are_given_only_to_those_behind_the_link_that_asks_and_not_many() {
    let tree = Tree::new();
    let (bad, good) = (tree.child(), tree.child());
    let asked = |owner: ContextId| bad.timeout(PATIENCE).blocking_call(ask_for_ids, (owner,)).unwrap();
    assert!(!asked(good.id()) && !asked(ContextId::MASTER) && !asked(ContextId(FAR_IDS.start)));
    let given = (0..10).filter(|_| asked(bad.id())).count();
    assert!((1..=2).contains(&given), "{given} blocks");
}
