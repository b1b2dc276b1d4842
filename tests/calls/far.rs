//! Calls through hops: how they end, what their errors say, and where.

use std::time::Duration;

use offshoot::error::ConnectErrorKind;
use offshoot::{Context, Econtext, Error, Message, Receiver, Sender, Value, export};
use serde::{Deserialize, Serialize};

use super::{Tree, block_on, pid, reason};

/// Says when it is dropped.
struct Tell(Sender<String>);

impl Drop for Tell {
    fn drop(&mut self) {
        drop(self.0.send("dropped".into()));
    }
}

async fn linger(to: Sender<String>) -> Result<(), Error> {
    // Before it says so: who hears it may cancel at once.
    let _tell = Tell(to.clone());
    to.send("begun".into()).await?;
    std::future::pending().await
}
export!(linger);

/// Calls on, and waits for it.
async fn relay(next: Context, to: Sender<String>) -> Result<(), Error> {
    let _tell = Tell(to.clone());
    next.call(linger, (to,)).await
}
export!(relay);

fn exit_process(code: i32) {
    #[expect(clippy::disallowed_methods, reason = "what a function does in spite of all advice")]
    std::process::exit(code);
}
export!(exit_process);

fn abort_process() {
    std::process::abort();
}
export!(abort_process);

fn fail_there() -> Result<(), std::io::Error> {
    Err(std::io::Error::other("the far end has had enough\x1b[2J"))
}
export!(fail_there);

async fn fail_through(next: Context) -> Result<(), Error> {
    next.call(fail_there, ()).await
}
export!(fail_through);

/// Starts a child by a tool that is not there.
async fn connect_badly(econtext: &Econtext) -> Result<String, Error> {
    let connect = econtext.router().local().exec_prefix(["/nonexistent/tool"]);
    connect.connect().await.map(|child| child.to_string())
}
export!(connect_badly);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Odd {
    #[serde(serialize_with = "refuse_to_serialize")]
    value: u32,
}
impl Value for Odd {}

fn refuse_to_serialize<S: serde::Serializer>(_: &u32, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("some things cannot be said"))
}

fn odd() -> Odd {
    Odd { value: 1 }
}
fn take_odd(odd: Odd) -> u32 {
    odd.value
}
export!(odd, take_odd);

struct Arithmetic;

impl Arithmetic {
    fn add(a: u32, b: u32) -> u32 {
        a + b
    }
}
export!(Arithmetic::add);

#[test]
fn a_function_of_a_type_can_be_called() {
    let tree = Tree::new();
    assert_eq!(tree.child().blocking_call(Arithmetic::add, (1, 2)).unwrap(), 3);
}

#[test]
fn dropping_a_call_cancels_what_it_has_called_through_all_hops() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&tree.behind(&hop));
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let call = hop.call(relay, (far.clone(), heard.sender()));
    assert_eq!(heard.blocking_recv().unwrap(), "begun");
    drop(call);
    assert_eq!([heard.blocking_recv().unwrap(), heard.blocking_recv().unwrap()], ["dropped", "dropped"]);
    assert!(far.blocking_call(pid, ()).is_ok());
}

#[test]
fn a_deadline_stops_the_work_at_the_far_end() {
    let tree = Tree::new();
    let far = tree.behind(&tree.behind(&tree.child()));
    let heard: Receiver<String> = Receiver::new(&tree.0);
    let limit = Duration::from_millis(300);
    let error = far.timeout(limit).blocking_call(linger, (heard.sender(),)).unwrap_err();
    assert!(
        matches!(&error, Error::Timeout { after, what } if *after == limit && what.contains(far.name())),
        "{error}"
    );
    assert_eq!([heard.blocking_recv().unwrap(), heard.blocking_recv().unwrap()], ["begun", "dropped"]);
}

#[test]
fn a_deadline_is_kept_at_the_far_end_also_if_nobody_reminds_it() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    let heard: Receiver<String> = Receiver::new(&tree.0);
    // A call by hand, whose caller never cancels.
    let mut data = u16::try_from(std::any::type_name_of_val(&linger).len()).unwrap().to_be_bytes().to_vec();
    data.extend_from_slice(std::any::type_name_of_val(&linger).as_bytes());
    data.extend_from_slice(&Message::encoded(&heard.sender()).unwrap().data);
    let mut call = Message::raw(data).to_handle(offshoot::Handle::CALL_FUNCTION);
    call.deadline = Some(std::time::Instant::now() + Duration::from_millis(200));
    let _answer: Receiver<()> = far.send_async(call).unwrap();
    assert_eq!([heard.blocking_recv().unwrap(), heard.blocking_recv().unwrap()], ["begun", "dropped"]);
}

#[test]
fn a_function_that_ends_its_process_is_a_lost_context() {
    let tree = Tree::new();
    let hop = tree.child();
    for (far, exits) in [(tree.behind(&hop), true), (tree.behind(&hop), false)] {
        let waiting = far.call(pid, ());
        waiting.blocking_recv().unwrap();
        let error = if exits {
            far.blocking_call(exit_process, (0,)).unwrap_err()
        } else {
            far.blocking_call(abort_process, ()).unwrap_err()
        };
        assert_eq!(reason(error), "the respondent Context has disconnected");
    }
    assert!(hop.blocking_call(pid, ()).is_ok(), "nobody else is concerned");
}

#[test]
fn what_cannot_be_encoded_is_an_error_at_either_end_and_the_child_lives_on() {
    let tree = Tree::new();
    let child = tree.child();
    let Err(Error::Call(error)) = child.blocking_call(odd, ()) else { panic!("no call error") };
    assert!(error.message.contains("far::Odd cannot be sent: ") && error.context == child.name(), "{error}");
    assert!(error.message.contains("some things cannot be said"), "{error}");
    let Err(Error::Payload(why)) = child.blocking_call(take_odd, (Odd { value: 1 },)) else { panic!("no error") };
    assert!(why.contains("the arguments of") && why.contains("take_odd"), "{why}");
    assert!(child.blocking_call(pid, ()).is_ok());
}

#[test]
fn an_error_that_was_passed_on_names_each_context_it_came_through() {
    let tree = Tree::new();
    let hop = tree.child();
    let far = tree.behind(&hop);
    let error = hop.blocking_call(fail_through, (far.clone(),)).unwrap_err().to_string();
    let (hop_at, far_at) = (error.rfind(hop.name()).unwrap(), error.find("the far end has had enough").unwrap());
    assert!(far_at < hop_at && error.contains("fail_there") && error.contains("fail_through"), "{error}");
    assert!(!error.contains('\x1b'), "{error:?}");
}

#[test]
fn an_error_keeps_its_type_through_via_and_within_a_call_its_text() {
    let tree = Tree::new();
    let hop = tree.behind(&tree.child());
    let connect = tree.0.local().exec_prefix(["/nonexistent/tool"]).via(&hop);
    let Err(Error::Connect(error)) = block_on(connect.connect()) else { panic!("no stream error") };
    assert_eq!(error.kind, ConnectErrorKind::Start);
    assert!(error.hop.starts_with(hop.name()), "{}", error.hop);
    let Err(Error::Call(error)) = hop.blocking_call(connect_badly, ()) else { panic!("no call error") };
    assert!(error.message.contains("Child start failed") && hop.name().ends_with(&error.context), "{error}");
}
