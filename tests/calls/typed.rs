//! Arguments, results and errors of calls.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use offshoot::{Blob, Context, ContextId, Econtext, Error, Receiver, Router, Sender, Value, export};
use serde::{Deserialize, Serialize};

use super::{Tree, block_on, pid};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    name: String,
    sizes: Vec<(u64, Option<String>)>,
}
impl Value for Facts {}

fn describe(facts: Facts, scale: u64) -> Facts {
    Facts { name: facts.name + "!", sizes: facts.sizes.into_iter().map(|(size, text)| (size * scale, text)).collect() }
}
export!(describe);

async fn who(econtext: &Econtext, router: &Router) -> (ContextId, Vec<ContextId>, ContextId) {
    (econtext.myself().id(), econtext.parent_ids().to_vec(), router.myself().id())
}
export!(who);

fn echo_context(context: Context) -> Context {
    context
}
export!(echo_context);

async fn send_through(sender: Sender<String>, text: String) -> Result<Sender<String>, Error> {
    sender.send(text).await?;
    Ok(sender)
}
export!(send_through);

fn read_missing() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let error = std::fs::read_to_string("/nonexistent/file").unwrap_err();
    Err(Box::new(Outer(error)))
}
export!(read_missing);

#[derive(Debug, thiserror::Error)]
#[error("the settings cannot be read")]
struct Outer(#[source] std::io::Error);

fn settings() -> Result<(), Outer> {
    Err(Outer(std::io::Error::other("the disk is on fire")))
}
export!(settings);

fn panics(text: String) {
    panic!("{text}");
}
export!(panics);

async fn panics_later() {
    tokio::task::yield_now().await;
    panic!("later");
}
export!(panics_later);

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Untellable {
    One { a: u8 },
}
impl Value for Untellable {}

fn untellable() -> Untellable {
    Untellable::One { a: 1 }
}
export!(untellable);

fn large(size: usize) -> Blob {
    Blob(vec![1; size])
}
export!(large);

fn take(blob: Blob) -> usize {
    blob.0.len()
}
export!(take);

fn never_exported() {}

#[test]
fn arguments_and_results_keep_their_types() {
    let tree = Tree::new();
    let child = tree.child();
    let facts = Facts { name: "x".into(), sizes: vec![(1, None), (2, Some("y".into()))] };
    let answer = child.blocking_call(describe, (facts, 3)).unwrap();
    assert_eq!(answer, Facts { name: "x!".into(), sizes: vec![(3, None), (6, Some("y".into()))] });
}

#[test]
fn econtext_and_router_are_injected() {
    let tree = Tree::new();
    let child = tree.child();
    let grandchild = tree.behind(&child);
    let (me, parents, mine) = grandchild.blocking_call(who, ()).unwrap();
    assert_eq!((me, mine), (grandchild.id(), grandchild.id()));
    assert_eq!(parents, [child.id(), ContextId::MASTER]);
}

#[test]
fn ids_are_given_in_blocks() {
    let tree = Tree::new();
    let first = tree.child();
    let ids = [first.id(), tree.behind(&first).id(), tree.behind(&first).id(), tree.child().id()];
    assert_eq!(ids.map(|id| id.0), [1, 2, 3, 1002]);
}

#[test]
fn contexts_and_senders_travel_as_arguments_and_results() {
    let tree = Tree::new();
    let (child, other) = (tree.child(), tree.child());
    assert_eq!(child.blocking_call(echo_context, (other.clone(),)).unwrap(), other);
    let receiver: Receiver<String> = Receiver::new(&tree.0);
    let sender = child.blocking_call(send_through, (receiver.sender(), "hello".into())).unwrap();
    assert_eq!(sender, receiver.sender());
    assert_eq!(receiver.blocking_recv().unwrap(), "hello");
}

#[test]
fn an_error_comes_with_its_type_its_causes_and_its_place() {
    let tree = Tree::new();
    let child = tree.child();
    let Err(Error::Call(error)) = child.blocking_call(settings, ()) else { panic!("no call error") };
    assert!(error.type_name.ends_with("typed::Outer"), "{error:?}");
    assert_eq!(error.message, "the settings cannot be read");
    assert_eq!(error.chain, ["the disk is on fire"]);
    assert_eq!(error.context, child.name());
    assert!(error.function.ends_with("typed::settings"));
    let Err(Error::Call(error)) = child.blocking_call(read_missing, ()) else { panic!("no call error") };
    assert!(error.chain[0].contains("No such file"), "{error:?}");
    assert!(child.blocking_call(pid, ()).is_ok(), "the child lives on");
}

#[test]
fn a_panic_is_an_error_with_its_place_and_the_child_lives_on() {
    let tree = Tree::new();
    let child = tree.child();
    let Err(Error::Call(error)) = child.blocking_call(panics, ("on purpose".into(),)) else { panic!("no call error") };
    assert_eq!(error.type_name, "panic");
    assert!(error.message.starts_with("on purpose, at ") && error.message.contains("typed.rs:"), "{error}");
    let Err(Error::Call(error)) = child.blocking_call(panics_later, ()) else { panic!("no call error") };
    assert!(error.message.starts_with("later, at "), "{error}");
    assert!(child.blocking_call(pid, ()).is_ok());
}

#[test]
fn what_is_not_exported_is_refused_before_anything_is_sent() {
    let tree = Tree::new();
    let child = tree.child();
    let error = child.blocking_call(never_exported, ()).unwrap_err();
    assert!(matches!(&error, Error::NotExported { function, .. } if function.ends_with("typed::never_exported")));
    assert!(error.to_string().contains("offshoot::export!(never_exported)"), "{error}");
}

#[test]
fn a_result_that_cannot_be_sent_is_an_error_that_names_it() {
    let tree = Tree::new();
    let child = tree.child();
    // What is tagged inside can be written by position, but not read.
    let error = child.blocking_call(untellable, ()).err().map(|error| error.to_string()).unwrap();
    assert!(error.contains("untellable") || error.contains("Untellable"), "{error}");
    assert!(child.blocking_call(pid, ()).is_ok());
}

#[test]
fn what_is_too_large_is_refused_at_either_end_and_the_child_lives_on() {
    let router = Router::builder().max_message_size(1 << 20).build().unwrap();
    let tree = Tree(router);
    let child = tree.child();
    let grandchild = tree.behind(&child);
    for context in [&child, &grandchild] {
        let error = context.blocking_call(large, (2 << 20,)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { max, .. } if max == 1 << 20), "{error:?}");
        let error = context.blocking_call(take, (Blob(vec![0; 2 << 20]),)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
        assert_eq!(context.blocking_call(take, (Blob(vec![0; 1 << 19]),)).unwrap(), 1 << 19);
    }
}

#[test]
fn large_messages_cross_in_both_directions() {
    let tree = Tree::new();
    let child = tree.child();
    let grandchild = tree.behind(&child);
    for context in [&child, &grandchild] {
        assert_eq!(context.blocking_call(large, (40 << 20,)).unwrap().0.len(), 40 << 20);
        assert_eq!(context.blocking_call(take, (Blob(vec![0; 40 << 20]),)).unwrap(), 40 << 20);
    }
}

static NOTED: std::sync::Mutex<Vec<u32>> = std::sync::Mutex::new(Vec::new());

fn note(number: u32) {
    NOTED.lock().unwrap().push(number);
}

fn noted() -> Vec<u32> {
    NOTED.lock().unwrap().clone()
}
export!(note, noted);

#[test]
fn five_calls_at_once_return_in_order_and_two_threads_get_their_own() {
    let tree = Tree::new();
    let child = tree.child();
    let calls: Vec<_> = (0..5).map(|size| child.call(take, (Blob(vec![0; size]),))).collect();
    for (size, call) in calls.into_iter().enumerate() {
        assert_eq!(block_on(call).unwrap(), size);
    }
    // The order of their results would be the same in any case; this is the order in which they ran.
    let calls: Vec<_> = (0..5).map(|number| child.call(note, (number,))).collect();
    calls.into_iter().for_each(|call| block_on(call).unwrap());
    assert_eq!(child.blocking_call(noted, ()).unwrap(), [0, 1, 2, 3, 4]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let child = &child;
            scope.spawn(move || {
                for round in 0..200 {
                    let size = thread * 1000 + round;
                    assert_eq!(child.blocking_call(take, (Blob(vec![0; size]),)).unwrap(), size);
                }
            });
        }
    });
}

#[test]
fn an_exported_function_can_be_started_as_its_child_begins() {
    fn path_of(_: PathBuf) {}
    let _ = path_of;
    let tree = Tree::new();
    let child = block_on(tree.0.fork().on_start(remember).connect()).unwrap();
    assert_eq!(child.blocking_call(remembered, ()).unwrap(), 1);
    let error = block_on(tree.0.fork().on_start(refuse).connect()).unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
}

static STARTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn remember() {
    STARTED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}
export!(remember);

fn remembered() -> u32 {
    STARTED.load(std::sync::atomic::Ordering::SeqCst)
}
export!(remembered);

fn refuse() -> Result<(), String> {
    Err("not today".into())
}
export!(refuse);

fn address() -> [u8; 4] {
    [127, 0, 0, 1]
}

fn of_std(text: Arc<String>) -> (Arc<String>, NonZeroU32, Cow<'static, str>) {
    (text, NonZeroU32::MIN, "borrowed".into())
}

fn span() -> Range<u8> {
    1..9
}
export!(address, of_std, span);

#[test]
fn functions_return_arrays_and_the_types_of_std() {
    let tree = Tree::new();
    let child = tree.child();
    assert_eq!(child.blocking_call(address, ()).unwrap(), [127, 0, 0, 1]);
    let text = Arc::new("shared".to_owned());
    let all = child.blocking_call(of_std, (Arc::clone(&text),)).unwrap();
    assert_eq!(all, (text, NonZeroU32::MIN, "borrowed".into()));
    assert_eq!(child.blocking_call(span, ()).unwrap(), 1..9);
}

fn caller_of(econtext: &Econtext) -> Context {
    // A clone can go to a thread of its own.
    let econtext = econtext.clone();
    std::thread::spawn(move || econtext.caller()).join().unwrap()
}
export!(caller_of);

#[test]
fn a_function_that_takes_an_econtext_can_be_called_directly() {
    let tree = Tree::new();
    let econtext = Econtext::new(&tree.0);
    assert_eq!(caller_of(&econtext), tree.0.myself());
    assert!(econtext.deadline().is_none() && !econtext.is_cancelled());
    assert_eq!(tree.child().blocking_call(caller_of, ()).unwrap(), tree.0.myself());
}

#[test]
fn a_call_can_be_asked_without_waiting() {
    let tree = Tree::new();
    let child = tree.child();
    let mut call = child.call(pid, ());
    assert_eq!((call.context(), call.function().ends_with("::pid")), (&child, true));
    super::eventually("the end of the call", || call.is_finished());
    assert!(call.try_recv().unwrap().is_some());
    assert_eq!(call.try_recv().unwrap(), None, "it was taken");
}

#[test]
fn a_router_knows_whether_it_is_the_root_and_who_is_above() {
    fn place(router: &Router) -> (bool, Vec<Context>) {
        (router.is_master(), router.parents())
    }
    export!(place);
    let tree = Tree::new();
    assert_eq!(place(&tree.0), (true, Vec::new()));
    let child = tree.child();
    let below = tree.behind(&child);
    assert_eq!(below.blocking_call(place, ()).unwrap(), (false, vec![child, tree.0.myself()]));
}
