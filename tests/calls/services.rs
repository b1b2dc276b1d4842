//! Services: who may call them, how their calls run, how they begin and end.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offshoot::error::ChannelErrorKind;
use offshoot::service::{Allow, Invoker, Pool, Service};
use offshoot::{Context, ContextId, Econtext, Error, Handle, Message, Receiver, Router, Sender, export, policy};

use super::{Tree, block_on, eventually, kind, pid};

/// Adds numbers up. It knows who has called it last.
#[derive(Default)]
struct Sum {
    sum: AtomicU64,
    last: Mutex<Option<ContextId>>,
}

impl Sum {
    fn add(&self, econtext: &Econtext, number: u64) -> u64 {
        *self.last.lock().unwrap() = Some(econtext.caller().id());
        self.sum.fetch_add(number, Ordering::SeqCst) + number
    }
    async fn last(&self) -> Option<ContextId> {
        *self.last.lock().unwrap()
    }
    fn reset(&self) {
        self.sum.store(0, Ordering::SeqCst);
    }
    fn fail(&self, text: String) -> Result<(), String> {
        Err(text)
    }
    fn near(&self) -> u8 {
        7
    }
    fn unreachable(&self) {}
    fn panics(&self) {
        panic!("on purpose");
    }
    async fn send_to(&self, to: Sender<u32>) -> Result<(), Error> {
        to.send(1).await
    }
    fn unlisted(&self) {}
}
impl Service for Sum {
    fn activate(_: &Router) -> Option<Self> {
        Some(Self { sum: AtomicU64::new(1000), last: Mutex::default() })
    }
}
offshoot::service!(Sum {
    add: Allow::Any,
    last: Allow::Any,
    reset: Allow::Parents,
    fail: Allow::Any,
    near: Allow::If(policy::is_immediate_child),
    unreachable: Allow::If(|_, _| panic!("on purpose")),
    panics: Allow::Any,
    send_to: Allow::Any,
});

/// Counts how many of its calls run at once, and how often it runs at all.
#[derive(Default)]
struct Busy<const KIND: u8> {
    now: AtomicU32,
    most: AtomicU32,
    runs: AtomicU32,
}

impl<const KIND: u8> Busy<KIND> {
    fn work(&self, number: u32) -> u32 {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        self.now.fetch_sub(1, Ordering::SeqCst);
        2 * number
    }
    fn works_later(&self, number: u32) -> Result<u32, String> {
        let runs = self.runs.fetch_add(1, Ordering::SeqCst);
        if runs == 0 { Err("not yet".into()) } else { Ok(number + runs) }
    }
    async fn begins(&self, ready: Sender<u32>) -> Result<u32, Error> {
        let runs = self.runs.fetch_add(1, Ordering::SeqCst);
        ready.send(runs).await?;
        if runs == 0 { std::future::pending().await } else { Ok(runs) }
    }
    fn counted(&self, _unlike_others: u32) -> [u32; 2] {
        [self.most.load(Ordering::SeqCst), self.runs.load(Ordering::SeqCst)]
    }
}
impl<const KIND: u8> Service for Busy<KIND> {
    const INVOKER: Invoker = [Invoker::Concurrent, Invoker::Serialized, Invoker::Deduplicated][KIND as usize];

    fn activate(_: &Router) -> Option<Self> {
        Some(Self::default())
    }
}
type Concurrent = Busy<0>;
type Serialized = Busy<1>;
type Deduplicated = Busy<2>;
offshoot::service!(Concurrent { work: Allow::Any, counted: Allow::Any });
offshoot::service!(Serialized { work: Allow::Any, counted: Allow::Any });
offshoot::service!(Deduplicated { work: Allow::Any, works_later: Allow::Any, begins: Allow::Any, counted: Allow::Any });

/// Says when it ends.
struct Ends(Sender<u32>, Arc<AtomicBool>);
impl Ends {
    async fn wait(&self, ready: Sender<u32>) -> Result<(), Error> {
        ready.send(1).await?;
        std::future::pending().await
    }
    fn nap(&self, ready: Sender<u32>) -> Result<u32, Error> {
        ready.blocking_send(1)?;
        std::thread::sleep(Duration::from_millis(100));
        Ok(5)
    }
}
impl Service for Ends {
    fn on_shutdown(&self) {
        self.1.store(true, Ordering::SeqCst);
        self.0.blocking_send(99).ok();
    }
}
offshoot::service!(Ends { wait: Allow::Any, nap: Allow::Any });

/// Blocks in its call and at its end, each time until it is told to go on or its patience is over. Then its end panics.
struct Stubborn(Mutex<std::sync::mpsc::Receiver<()>>);
impl Stubborn {
    fn wait(&self, ready: Sender<u32>) -> Result<u32, Error> {
        ready.blocking_send(1)?;
        let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(5));
        Ok(7)
    }
}
impl Service for Stubborn {
    fn on_shutdown(&self) {
        let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(5));
        panic!("on purpose");
    }
}
offshoot::service!(Stubborn { wait: Allow::Any });

/// Has no result.
struct Endless;
impl Endless {
    async fn run(&self) {
        std::future::pending::<()>().await;
    }
}
impl Service for Endless {}
offshoot::service!(Endless { run: Allow::Any });

/// What functions of a child do with a service of another context.
async fn add_there(there: Context, number: u64) -> Result<u64, Error> {
    there.call_service(Sum::add, (number,)).await
}
async fn reset_there(there: Context) -> Result<(), Error> {
    there.call_service(Sum::reset, ()).await
}
async fn near_there(there: Context) -> Result<u8, Error> {
    there.call_service(Sum::near, ()).await
}
fn begin_to_end(econtext: &Econtext, told: Sender<u32>) -> Result<(), Error> {
    Pool::new(econtext.router()).add(Ends(told, Arc::default())).map(drop)
}
export!(add_there, reset_there, near_there, begin_to_end);

fn message(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Call(error)) => error.message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_calls_a_service_of_the_master_as_its_policies_allow() {
    let tree = Tree::new();
    let (child, myself) = (tree.child(), tree.0.myself());
    assert!(message(child.blocking_call(add_there, (myself.clone(), 1))).contains("invalid handle"), "no pool");
    Pool::new(&tree.0).add(Sum::default()).unwrap();
    assert_eq!(child.blocking_call(add_there, (myself.clone(), 1)).unwrap(), 1);
    assert_eq!(myself.blocking_call_service(Sum::add, (2,)).unwrap(), 3);
    assert_eq!(child.blocking_call(add_there, (myself.clone(), 3)).unwrap(), 6);
    assert_eq!(myself.blocking_call_service(Sum::last, ()).unwrap(), Some(child.id()));
    // Only the master itself may reset it, and only neighbours may ask whether they are near.
    assert!(message(child.blocking_call(reset_there, (myself.clone(),))).contains("not authorized"));
    assert_eq!(child.blocking_call(near_there, (myself.clone(),)).unwrap(), 7);
    // A policy that panics allows nothing.
    assert!(kind(myself.blocking_call_service(Sum::unreachable, ()).unwrap_err()) == ChannelErrorKind::Refused);
    let far = tree.behind(&child);
    assert!(message(far.blocking_call(near_there, (myself.clone(),))).contains("not authorized"));
    myself.blocking_call_service(Sum::reset, ()).unwrap();
    assert_eq!(far.blocking_call(add_there, (myself, 1)).unwrap(), 1);
}

#[test]
fn a_service_begins_with_the_first_call_of_a_context_above() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    assert!(message(two.blocking_call(add_there, (one.clone(), 1))).contains("refused by policy"), "no pool yet");
    assert_eq!(one.blocking_call_service(Concurrent::counted, (0,)).unwrap(), [0, 0]);
    let said = message(two.blocking_call(add_there, (one.clone(), 1)));
    assert!(said.contains("Sum is not yet activated in this context"), "{said}");
    assert_eq!(one.blocking_call_service(Sum::add, (1,)).unwrap(), 1001);
    assert_eq!(two.blocking_call(add_there, (one.clone(), 1)).unwrap(), 1002);
    assert_eq!(one.blocking_call_service(Sum::last, ()).unwrap(), Some(two.id()));
    // What cannot begin by itself says so.
    let ready: Receiver<u32> = Receiver::new(&tree.0);
    let said = message(one.blocking_call_service(Ends::nap, (ready.sender(),)));
    assert!(said.contains("is not registered in this context"), "{said}");
}

#[test]
fn errors_and_panics_of_a_method_are_those_of_a_function() {
    let tree = Tree::new();
    let child = tree.child();
    assert_eq!(message(child.blocking_call_service(Sum::fail, ("no".into(),))), "no");
    let Err(Error::Call(error)) = child.blocking_call_service(Sum::panics, ()) else { panic!("no panic") };
    assert!(error.type_name == "panic" && error.function.ends_with("Sum::panics") && error.context == child.name());
    assert_eq!(child.blocking_call_service(Sum::add, (0,)).unwrap(), 1000);
    let error = Pool::new(&tree.0).add(Sum::default()).unwrap().add(Sum::default()).unwrap_err();
    assert!(error.to_string().contains("Sum already registered"), "{error}");
    // Nothing is sent for a method that is not listed.
    let error = child.blocking_call_service(Sum::unlisted, ()).unwrap_err();
    assert!(error.to_string().contains("list it in `offshoot::service!`"), "{error}");
    // A call without an answer is carried out.
    child.call_service_no_reply(Sum::reset, ()).unwrap();
    eventually("the reset", || child.blocking_call_service(Sum::add, (0,)).unwrap() == 0);
    let late = child.timeout(Duration::from_millis(20)).blocking_call_service(Concurrent::work, (1,));
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
}

fn work(child: &Context, number: impl Fn(u32) -> u32) -> [[u32; 2]; 3] {
    let concurrent: Vec<_> = (0..6).map(|n| child.call_service(Concurrent::work, (number(n),))).collect();
    let serialized: Vec<_> = (0..6).map(|n| child.call_service(Serialized::work, (number(n),))).collect();
    let deduplicated: Vec<_> = (0..6).map(|n| child.call_service(Deduplicated::work, (number(n),))).collect();
    for calls in [concurrent, serialized, deduplicated] {
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.blocking_recv().unwrap(), 2 * number(n));
        }
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    [
        child.blocking_call_service(Concurrent::counted, (n,)).unwrap(),
        child.blocking_call_service(Serialized::counted, (n,)).unwrap(),
        child.blocking_call_service(Deduplicated::counted, (n,)).unwrap(),
    ]
}

#[test]
fn calls_run_at_once_or_one_at_a_time_or_once_for_equal_arguments() {
    let tree = Tree::new();
    let child = tree.child();
    let [concurrent, serialized, deduplicated] = work(&child, |n| n / 3);
    assert!(concurrent[0] > 1 && concurrent[1] == 6, "{concurrent:?}");
    assert_eq!(serialized, [1, 6]);
    assert_eq!(deduplicated[1], 2, "two different arguments");
    let [.., deduplicated] = work(&child, |n| n / 3);
    assert_eq!(deduplicated[1], 2, "the results are kept");
}

#[test]
fn a_pool_runs_no_more_calls_at_once_than_its_size() {
    let tree = Tree::new();
    Pool::with_size(&tree.0, 1);
    let [concurrent, serialized, deduplicated] = work(&tree.0.myself(), |n| n);
    assert_eq!((concurrent, serialized, deduplicated), ([1, 6], [1, 6], [1, 6]));
}

#[test]
fn a_pool_becomes_smaller_and_larger_while_it_runs() {
    let tree = Tree::new();
    let myself = tree.0.myself();
    let pool = Pool::new(&tree.0);
    let [concurrent, ..] = work(&myself, |n| n);
    assert!(concurrent[0] > 1, "{concurrent:?}");
    pool.blocking_stop();
    let pool = Pool::with_size(&tree.0, 1);
    let [concurrent, ..] = work(&myself, |n| n);
    assert_eq!(concurrent, [1, 6]);
    pool.blocking_stop();
    Pool::with_size(&tree.0, 8);
    let [concurrent, ..] = work(&myself, |n| n);
    assert!(concurrent[0] > 1, "{concurrent:?}");
}

#[test]
fn a_service_that_cannot_begin_by_itself_can_be_added_later() {
    let tree = Tree::new();
    let child = tree.child();
    let ready: Receiver<u32> = Receiver::new(&tree.0);
    let said = message(child.blocking_call_service(Ends::nap, (ready.sender(),)));
    assert!(said.contains("is not registered in this context: add it to a Pool"), "{said}");
    child.blocking_call(begin_to_end, (ready.sender(),)).unwrap();
    assert_eq!(child.blocking_call_service(Ends::nap, (ready.sender(),)).unwrap(), 5);
}

#[test]
fn an_error_of_a_deduplicating_service_is_not_kept_and_a_cancelled_call_is_not_shared() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    assert_eq!(message(one.blocking_call_service(Deduplicated::works_later, (4,))), "not yet");
    assert_eq!(one.blocking_call_service(Deduplicated::works_later, (4,)).unwrap(), 5);
    assert_eq!(one.blocking_call_service(Deduplicated::works_later, (4,)).unwrap(), 5, "the result is kept");
    let ready: Receiver<u32> = Receiver::new(&tree.0);
    let first = two.call_service(Deduplicated::begins, (ready.sender(),));
    assert_eq!(ready.blocking_recv().unwrap(), 0);
    let second = two.call_service(Deduplicated::begins, (ready.sender(),));
    drop(first);
    assert_eq!(second.blocking_recv().unwrap(), 1);
}

#[test]
fn a_service_may_block_and_panic_at_its_end() {
    let tree = Tree::new();
    let (go_on, told) = std::sync::mpsc::channel();
    let pool = Pool::new(&tree.0);
    pool.add(Stubborn(Mutex::new(told))).unwrap().add(Sum::default()).unwrap();
    let (myself, ready) = (tree.0.myself(), Receiver::new(&tree.0));
    let last = myself.call_service(Stubborn::wait, (ready.sender(),));
    ready.blocking_recv().unwrap();
    let mut stop = pin!(pool.stop());
    block_on(std::future::poll_fn(|cx| {
        assert!(stop.as_mut().poll(cx).is_pending(), "it has waited on the thread of the program");
        std::task::Poll::Ready(())
    }));
    eventually("the end of the other service", || myself.blocking_call_service(Sum::add, (1,)).is_err());
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    block_on(stop);
    assert_eq!(last.blocking_recv().unwrap(), 7, "the panic is not that of the call");
    Pool::new(&tree.0).add(Sum::default()).unwrap();
    assert_eq!(myself.blocking_call_service(Sum::add, (4,)).unwrap(), 4);
}

/// A call with this name, and arguments that are none.
fn forged(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    [&length.to_be_bytes()[..], name.as_bytes(), &[0xff; 9]].concat()
}

/// Sends payloads to the handle of services, and says what came of each.
async fn forge(there: Context, payloads: Vec<Vec<u8>>) -> Vec<String> {
    let mut answers = Vec::new();
    for payload in payloads {
        let message = Message::new(there.id(), Handle::CALL_SERVICE, payload);
        let answer = there.send_async::<u8>(message).unwrap().recv_message().await;
        answers.push(format!("{:?}", answer.map(|answer| String::from_utf8_lossy(&answer.data).into_owned())));
    }
    answers
}
export!(forge);

#[test]
fn what_is_no_call_of_a_listed_method_is_answered_and_does_nothing() {
    let tree = Tree::new();
    Pool::new(&tree.0).add(Sum::default()).unwrap();
    let add = std::any::type_name_of_val(&Sum::add);
    let payloads = ["", "nobody", std::any::type_name_of_val(&pid), std::any::type_name_of_val(&Sum::unlisted), add];
    let mut payloads: Vec<_> = payloads.map(forged).into();
    payloads.extend([vec![], vec![0x3f], vec![0xff; 40], vec![0; 100_000]]);
    let answers = tree.child().blocking_call(forge, (tree.0.myself(), payloads)).unwrap();
    let (known, unknown) = (&answers[4], answers[1..4].iter());
    assert!(known.contains("the arguments are not of type (u64,)"), "{known}");
    for answer in unknown {
        assert!(answer.contains("no such method"), "{answer}");
    }
    assert_eq!(tree.0.myself().blocking_call_service(Sum::add, (1,)).unwrap(), 1);
}

/// Makes calls without waiting for room, and counts how many of the last 1,000 were refused for that.
async fn flood(there: Context, times: u32) -> usize {
    let name = std::any::type_name_of_val(&Endless::run);
    let payload = [&u16::try_from(name.len()).unwrap().to_be_bytes()[..], name.as_bytes()].concat();
    let call = |_| there.send_async::<u8>(Message::new(there.id(), Handle::CALL_SERVICE, payload.clone())).unwrap();
    let mut refused = 0;
    for call in (0..times).map(call).collect::<Vec<_>>().into_iter().rev().take(1_000) {
        refused += usize::from(call.recv().await.is_err_and(|error| error.to_string().contains("window exceeded")));
    }
    refused
}
export!(flood);

#[test]
fn a_caller_cannot_have_more_calls_wait_than_its_window_allows() {
    let tree = Tree::new();
    Pool::with_size(&tree.0, 1).add(Endless).unwrap();
    assert_eq!(tree.child().blocking_call(flood, (tree.0.myself(), 3_000)).unwrap(), 1_000);
}

#[test]
fn a_dropped_call_is_cancelled_and_frees_its_place() {
    let tree = Tree::new();
    let ends: Receiver<u32> = Receiver::new(&tree.0);
    let pool = Pool::with_size(&tree.0, 1);
    pool.add(Ends(ends.sender(), Arc::default())).unwrap();
    let ready: Receiver<u32> = Receiver::new(&tree.0);
    let call = tree.0.myself().call_service(Ends::wait, (ready.sender(),));
    ready.blocking_recv().unwrap();
    drop(call);
    assert_eq!(tree.0.myself().blocking_call_service(Ends::nap, (ready.sender(),)).unwrap(), 5);
}

#[test]
fn a_pool_that_stops_waits_for_the_last_call_and_ends_its_services() {
    let tree = Tree::new();
    let ends: Receiver<u32> = Receiver::new(&tree.0);
    let pool = Pool::new(&tree.0);
    let has_ended = Arc::new(AtomicBool::new(false));
    pool.add(Ends(ends.sender(), Arc::clone(&has_ended))).unwrap();
    let ready: Receiver<u32> = Receiver::new(&tree.0);
    let myself = tree.0.myself();
    let last = myself.call_service(Ends::nap, (ready.sender(),));
    ready.blocking_recv().unwrap();
    assert!(ends.is_empty());
    block_on(pool.stop());
    assert!(has_ended.load(Ordering::SeqCst), "it has waited for the end");
    assert_eq!(ends.blocking_recv().unwrap(), 99);
    assert_eq!(last.blocking_recv().unwrap(), 5, "it was under way");
    let error = myself.blocking_call_service(Ends::nap, (ready.sender(),)).unwrap_err();
    assert_eq!(kind(error), ChannelErrorKind::InvalidHandle);
    // Another pool begins anew.
    Pool::new(&tree.0).add(Sum::default()).unwrap();
    assert_eq!(myself.blocking_call_service(Sum::add, (4,)).unwrap(), 4);
}

#[test]
fn services_end_with_their_context() {
    let tree = Tree::new();
    let child = tree.child();
    let told: Receiver<u32> = Receiver::new(&tree.0);
    child.blocking_call(begin_to_end, (told.sender(),)).unwrap();
    child.blocking_shutdown();
    assert_eq!(told.blocking_recv_timeout(Duration::from_secs(10)).unwrap(), 99);
}

#[test]
fn a_caller_that_is_refused_can_ask_again_without_end() {
    let tree = Tree::new();
    Pool::new(&tree.0).add(Sum::default()).unwrap();
    let child = tree.child();
    for _ in 0..5 {
        assert!(message(child.blocking_call(ask_often, (tree.0.myself(), 300))).contains("not authorized"));
    }
    assert_eq!(child.blocking_call(add_there, (tree.0.myself(), 1)).unwrap(), 1);
}

async fn ask_often(there: Context, times: u32) -> Result<(), Error> {
    for _ in 1..times {
        assert!(there.call_service(Sum::reset, ()).await.unwrap_err().is_refused());
    }
    there.call_service(Sum::reset, ()).await
}
export!(ask_often);
