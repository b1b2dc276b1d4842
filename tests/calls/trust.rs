//! Who may talk to whom, under whose authority, and by which way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use offshoot::{Context, ContextId, Error, Handle, Message, Receiver, Router, export};

use super::frame::{self, frame};
use super::{Tree, block_on, pid, reason};

/// Calls `pid` in a sibling, and says what came of it.
async fn call_sibling(sibling: Context) -> Result<u32, Error> {
    sibling.call(pid, ()).await
}
export!(call_sibling);

/// Calls `pid` in a sibling more often than calls can be under way, and counts the refusals.
async fn call_sibling_often(sibling: Context) -> u32 {
    let mut refused = 0;
    for _ in 0..1500 {
        refused += u32::from(sibling.call(pid, ()).await.is_err_and(|error| error.is_refused()));
    }
    refused
}
export!(call_sibling_often);

/// Sends one byte to a handle of a sibling, which nobody has registered.
async fn write_to_sibling(sibling: Context) -> Result<(), Error> {
    sibling.send_await::<()>(Message::new(sibling.id(), Handle(77_777), vec![1])).await
}
export!(write_to_sibling);

fn largest_message(router: &Router) -> u64 {
    router.max_message_size()
}
export!(largest_message);

fn parents(econtext: &offshoot::Econtext) -> Vec<ContextId> {
    econtext.parent_ids().to_vec()
}
export!(parents);

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Call(error)) => error.message.clone(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_context_runs_only_what_its_connect_allows_for_every_caller() {
    use offshoot::{connect, facts, file, net, process};

    let tree = Tree::new();
    let few = block_on(tree.0.local().allow(pid).allow(call_sibling).connect()).unwrap();
    let beside = tree.child();
    assert!(few.blocking_call(pid, ()).is_ok());
    let error = few.blocking_call(largest_message, ()).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("largest_message"), "{error}");
    assert!(block_on(few.command("id").output()).unwrap_err().is_refused());
    assert!(block_on(few.read_file("/dev/null")).unwrap_err().is_refused());
    assert!(block_on(few.connect_tcp("localhost:1")).unwrap_err().is_refused());
    assert!(block_on(few.facts()).unwrap_err().is_refused());
    assert!(block_on(tree.0.local().via(&few).connect()).is_err());
    // Nor does it take room if nobody waits for the answer: there is room for 1,024 calls.
    (0..3_000).for_each(|_| few.call_no_reply(largest_message, ()).unwrap());
    assert!(few.timeout(Duration::from_secs(20)).blocking_call(pid, ()).is_ok());
    // Functions do not have to be called by the parent to be refused, and what is refused costs nothing.
    assert!(few.blocking_call(call_sibling, (beside.clone(),)).is_err(), "siblings may not call each other anyway");
    assert!(few.blocking_call(pid, ()).is_ok() && beside.blocking_call(largest_message, ()).is_ok());

    let hop = tree.0.local().allow(connect::CHILDREN).allow(process::COMMANDS).allow(pid);
    let hop = block_on(hop.connect()).unwrap();
    let far = tree.behind(&hop);
    assert!(far.blocking_call(pid, ()).is_ok() && block_on(far.command("true").status()).unwrap().success());
    assert!(far.blocking_call(largest_message, ()).unwrap_err().is_refused(), "a child may no more than its parent");
    let wider = block_on(tree.0.local().via(&hop).allow(largest_message).allow(pid).connect()).unwrap();
    assert!(wider.blocking_call(largest_message, ()).unwrap_err().is_refused());
    assert!(wider.blocking_call(pid, ()).is_ok());
    assert!(block_on(wider.command("true").status()).unwrap_err().is_refused());

    let all = tree.0.local().allow(facts::host_facts).allow(file::FILES).allow(net::SOCKETS).on_start(nothing);
    let all = block_on(all.connect()).unwrap();
    assert!(block_on(all.facts()).is_ok() && block_on(all.read_file("/dev/null")).unwrap().is_empty());
    let error = block_on(all.connect_tcp("localhost:1")).unwrap_err();
    assert!(!error.to_string().contains("allows"), "{error}");
}

fn nothing() {}
export!(nothing);

#[test]
fn a_call_ten_hops_deep_knows_all_its_parents() {
    let tree = Tree::new();
    let mut chain = vec![tree.child()];
    for _ in 1..10 {
        chain.push(tree.behind(chain.last().unwrap()));
    }
    let mut expected: Vec<ContextId> = chain[..9].iter().rev().map(Context::id).collect();
    expected.push(ContextId::MASTER);
    assert_eq!(chain[9].blocking_call(parents, ()).unwrap(), expected);
}

#[test]
fn a_message_to_nobody_is_answered_by_the_context_that_gave_up() {
    let tree = Tree::new();
    let error = tree.0.context_by_id(ContextId(1234)).blocking_call(pid, ()).unwrap_err();
    assert_eq!(reason(error), "no route to 1234, my ID is 0");
    let child = tree.child();
    child.blocking_shutdown();
    let error = child.blocking_call(pid, ()).unwrap_err();
    assert_eq!(reason(error), format!("no route to {}, my ID is 0", child.id()));
}

#[test]
fn siblings_may_exchange_messages_but_not_call_functions() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    assert_eq!(text(one.blocking_call(write_to_sibling, (two.clone(),))), "invalid handle");
    assert_eq!(text(one.blocking_call(call_sibling, (two,))), "refused by policy");
}

#[test]
fn calls_that_are_refused_take_no_room_from_those_that_follow() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    let refused = one.timeout(Duration::from_secs(60)).blocking_call(call_sibling_often, (two,));
    assert_eq!(refused.unwrap(), 1500);
}

#[test]
fn a_stamped_child_may_call_functions_in_its_siblings() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    tree.0.stamp(&one, Some(ContextId::MASTER));
    let found = one.blocking_call(call_sibling, (two.clone(),)).unwrap();
    assert_eq!(found, two.blocking_call(pid, ()).unwrap());
    tree.0.stamp(&one, None);
    assert_eq!(text(one.blocking_call(call_sibling, (two,))), "refused by policy");
}

#[test]
fn a_unidirectional_tree_keeps_siblings_apart_at_every_level() {
    let tree = Tree(Router::builder().unidirectional(true).build().unwrap());
    let (one, two) = (tree.child(), tree.child());
    let refused = |from: &Context, to: &Context, hop: ContextId| {
        format!(
            "routing mode prevents forward of message from context {} to context {} via context {hop}",
            from.id(),
            to.id()
        )
    };
    let said = text(one.blocking_call(write_to_sibling, (two.clone(),)));
    assert_eq!(said, refused(&one, &two, ContextId::MASTER));
    let (three, four) = (tree.behind(&one), tree.behind(&one));
    let said = text(three.blocking_call(write_to_sibling, (four.clone(),)));
    assert_eq!(said, refused(&three, &four, one.id()), "inherited by a child's children");
    // With this context's authority it may talk, and is refused by nobody.
    tree.0.stamp(&one, Some(ContextId::MASTER));
    assert_eq!(text(one.blocking_call(write_to_sibling, (two,))), "invalid handle");
}

#[test]
fn a_context_that_refuses_says_so_in_the_log_and_less_often_the_more_it_refuses() {
    let tree = Tree(Router::builder().unidirectional(true).build().unwrap());
    let records = super::logs::Records::of(&tree.0);
    let refusals = |by: &Context, what: &str| {
        let is_one = |record: &offshoot::log::Record| record.level == 1 && record.message.contains(what);
        records.all().into_iter().filter(|record| is_one(record) && record.context == by.id()).count()
    };
    let one = tree.child();
    let (three, four) = (tree.behind(&one), tree.behind(&one));
    for _ in 0..100 {
        // The caller waits for an answer, and gets one.
        let said = text(three.blocking_call(write_to_sibling, (four.clone(),)));
        assert!(said.starts_with("routing mode prevents forward"), "{said}");
    }
    let mode = format!("message of {} for handle 77777 of {}: routing mode prevents", three.id(), four.id());
    super::eventually("seven log records", || refusals(&one, &mode) >= 7);
    assert_eq!(refusals(&one, &mode), 7, "the first, second, fourth and so on to the 64th");
}

#[test]
fn a_call_that_policy_refuses_is_in_the_log_of_who_refuses() {
    let tree = Tree::new();
    let records = super::logs::Records::of(&tree.0);
    let (one, two) = (tree.child(), tree.child());
    assert_eq!(text(one.blocking_call(call_sibling, (two.clone(),))), "refused by policy");
    let what = format!("message of {} for handle 101 of {}: refused by policy", one.id(), two.id());
    let found = || records.all().into_iter().find(|record| record.message.contains(&what));
    super::eventually("a log record", || found().is_some());
    let record = found().unwrap();
    assert_eq!((record.level, record.context), (1, two.id()));
}

#[test]
fn the_largest_message_is_the_same_in_the_whole_tree() {
    let tree = Tree(Router::builder().max_message_size(100_000).build().unwrap());
    let child = tree.child();
    let grandchild = tree.behind(&child);
    for context in [child, grandchild] {
        assert_eq!(context.blocking_call(largest_message, ()).unwrap(), 100_000);
    }
}

/// Waits until what was registered before can be written to.
fn registered(tree: &Tree) {
    block_on(tree.0.stats()).unwrap();
}

/// A context that this test plays itself, by frames.
fn played(tree: &Tree, authority: Option<ContextId>) -> (Context, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let id = block_on(tree.0.allocate_id()).unwrap();
    let context = tree.0.context_by_id(id);
    block_on(tree.0.register(&context, theirs, authority)).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (context, ours)
}

#[test]
fn a_registered_stream_is_a_neighbour_under_the_authority_that_it_was_given() {
    let tree = Tree::new();
    for authority in [None, Some(ContextId::MASTER)] {
        let (context, mut stream) = played(&tree, authority);
        let (tell, told) = mpsc::channel();
        let handler = tree.0.add_handler(move |message: Message| {
            let _ = tell.send((message.src, message.auth));
        });
        let handle = handler.build().unwrap();
        registered(&tree);
        let me = context.id().0;
        stream.write_all(&frame(1, [0, me, me, handle.0, 0], b"hello")).unwrap();
        let came = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(came, (context.id(), authority.unwrap_or_else(|| context.id())));
        // What goes to it comes out of its stream.
        context.send(Message::new(context.id(), Handle(5), b"back".to_vec())).unwrap();
        let mut bytes = [0; 36];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..], frame(1, [me, 0, 0, 5, 0], b"back")[..]);
        assert!(matches!(block_on(tree.0.register(&context, stream, None)), Err(Error::Connect(_))), "only once");
    }
}

#[test]
fn forged_sources_are_dropped_and_answered_by_nobody() {
    let tree = Tree::new();
    let (bad, mut stream) = played(&tree, None);
    let good = tree.child();
    let receiver: Receiver<u8> = Receiver::new(&tree.0);
    let handle = receiver.handle().0;
    registered(&tree);
    let (me, other) = (bad.id().0, good.id().0);
    for forged in [[0, me, other, handle, 1000], [0, other, me, handle, 1000], [0, 0, 0, handle, 1000]] {
        stream.write_all(&frame(1, forged, &[7])).unwrap();
    }
    stream.write_all(&frame(1, [0, me, me, handle, 1000], &[8])).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap(), 8, "the honest one comes, and none before it");
    assert!(receiver.is_empty());
}

#[test]
fn an_answer_longer_than_the_largest_message_ends_the_wait_for_it() {
    let tree = Tree(Router::builder().max_message_size(100_000).build().unwrap());
    let (context, mut stream) = played(&tree, None);
    let pending = context.call(pid, ());
    let ([.., reply_to], _) = frame::read(&mut stream).unwrap();
    let me = context.id().0;
    for _ in 0..3 {
        stream.write_all(&frame::fragment(1, [0, me, me, reply_to, 0], &[0; 50_000])).unwrap();
    }
    let said = block_on(pending).unwrap_err().to_string();
    assert!(said.contains("100000"), "{said}");
}

#[test]
fn routes_by_hand_lead_where_they_say_until_they_are_taken_back() {
    let tree = Tree::new();
    let (near, mut stream) = played(&tree, None);
    let far = ContextId(4_000_000);
    let neighbour = || block_on(tree.0.stream_by_id(far)).unwrap().map(|context| context.id());
    assert_eq!(neighbour(), None);
    block_on(tree.0.add_route(far, &near)).unwrap();
    assert_eq!(neighbour(), Some(near.id()));
    assert!(block_on(tree.0.add_route(far, &near)).is_err(), "there is one already");
    let nobody = tree.0.context_by_id(ContextId(9_999));
    assert!(block_on(tree.0.add_route(ContextId(4_000_001), &nobody)).is_err(), "no neighbour");
    let pending = tree.0.context_by_id(far).call(pid, ());
    let mut header = [0; 32];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[4..8], far.0.to_be_bytes());
    tree.0.del_route(far);
    assert_eq!(reason(block_on(pending).unwrap_err()), "the respondent Context has disconnected");
    assert_eq!(neighbour(), None);
    tree.0.del_route(far);
}

#[test]
fn the_end_of_a_registered_stream_is_told_to_those_who_wait() {
    let tree = Tree::new();
    let (context, mut stream) = played(&tree, None);
    let pending = context.call(pid, ());
    stream.read_exact(&mut [0; 32]).unwrap();
    drop(stream);
    assert_eq!(reason(block_on(pending).unwrap_err()), "the respondent Context has disconnected");
}

/// A hop that answers a connect behind it with whatever it likes.
struct Liar {
    context: Context,
    stream: UnixStream,
    /// The first of the ids that it was given.
    first_id: u32,
}

impl Liar {
    fn new(tree: &Tree) -> Self {
        let (context, stream) = played(tree, None);
        Self { context, stream, first_id: 0 }
    }

    fn read(&mut self) -> ([u32; 5], Vec<u8>) {
        frame::read(&mut self.stream).unwrap()
    }

    fn announce(&mut self, id: u32) {
        let me = self.context.id().0;
        let payload = [&id.to_be_bytes()[..], b"announced"].concat();
        self.stream.write_all(&frame(0, [0, me, me, Handle::ADD_ROUTE.0, 0], &payload)).unwrap();
    }

    /// Where the answer goes to what it is asked next.
    fn asked(&mut self) -> u32 {
        loop {
            let ([.., handle, reply_to], payload) = self.read();
            if Handle(handle) == Handle::ALLOCATE_ID {
                self.first_id = u32::from_be_bytes(payload[4..8].try_into().unwrap());
            } else if [Handle::CALL_FUNCTION, Handle::STATS].contains(&Handle(handle)) {
                return reply_to;
            }
        }
    }

    /// Answers with these bytes, in as many frames as they take.
    fn say(&mut self, to: u32, reply_to: u32, payload: &[u8]) {
        let me = self.context.id().0;
        let mut parts = payload.chunks(60_000).peekable();
        while let Some(part) = parts.next() {
            let mut bytes = frame(1, [0, me, me, to, reply_to], part);
            bytes[2] = u8::from(parts.peek().is_some());
            self.stream.write_all(&bytes).unwrap();
        }
    }

    /// Says that the child of a connect is context `id`.
    fn answer(&mut self, to: u32, id: u32) {
        let me = self.context.id().0;
        // A value, of the first variant: an id of four bytes, a name, a trail
        // of four empty lists.
        let payload = [&[0, 0, 252][..], &id.to_le_bytes(), b"\x04name\0\0\0\0"].concat();
        self.stream.write_all(&frame(1, [0, me, me, to, 0], &payload)).unwrap();
    }
}

/// Asks for a child behind a context, in a thread of its own.
fn ask_for_child(tree: &Tree, via: &Context) -> std::thread::JoinHandle<Result<Context, Error>> {
    let connect = tree.0.local().via(via);
    std::thread::spawn(|| connect.blocking_connect())
}

#[test]
fn a_hop_can_give_nobody_away_but_a_new_child_of_its_own() {
    let tree = Tree::new();
    let mut liar = Liar::new(&tree);
    let sibling = tree.child();
    let nephew = tree.behind(&sibling);
    // Once it tells the truth.
    let connect = ask_for_child(&tree, &liar.context);
    let to = liar.asked();
    liar.announce(liar.first_id);
    liar.answer(to, liar.first_id);
    let child = connect.join().unwrap().unwrap();
    assert_eq!(child.id().0, liar.first_id);
    // But it cannot give it another's name.
    assert_eq!(child.name(), format!("{}.announced", liar.context.name()));
    liar.announce(liar.first_id + 1);
    for (id, why) in [
        (sibling.id().0, "another link leads"),
        (nephew.id().0, "another link leads"),
        (liar.context.id().0, "not its to give"),
        (0, "no route leads"),
        (liar.first_id + 500, "no route leads"),
        (liar.first_id, "there before"),
        (liar.first_id + 1, "there before"),
    ] {
        let connect = ask_for_child(&tree, &liar.context);
        let to = liar.asked();
        liar.answer(to, id);
        match connect.join().unwrap() {
            Err(Error::Connect(error)) => {
                assert!(error.text.contains(why), "{id}: {error}");
                assert_eq!(error.hop, format!("{}.local", liar.context.name()));
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    // Whom it has named has been neither taken over nor ended.
    assert!(sibling.blocking_call(pid, ()).is_ok() && nephew.blocking_call(pid, ()).is_ok());
}

#[test]
fn two_connects_never_get_the_same_child() {
    let tree = Tree::new();
    let mut liar = Liar::new(&tree);
    let connects = [ask_for_child(&tree, &liar.context), ask_for_child(&tree, &liar.context)];
    let asked = [liar.asked(), liar.asked()];
    let id = liar.first_id;
    liar.announce(id);
    asked.into_iter().for_each(|to| liar.answer(to, id));
    let results = connects.map(|connect| connect.join().unwrap());
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
}

#[test]
fn a_request_that_fits_a_frame_is_refused_in_several() {
    let tree = Tree::new();
    let mut liar = Liar::new(&tree);
    let me = liar.context.id().0;
    for handle in [Handle::GET_IMAGE, Handle::ADD_ROUTE, Handle::DEL_ROUTE, Handle::ALLOCATE_ID, Handle::FORWARD_LOG] {
        let mut first = frame(0, [0, me, me, handle.0, 1000], b"first");
        first[2] = 1;
        liar.stream.write_all(&first).unwrap();
        liar.stream.write_all(&frame(0, [0, me, me, handle.0, 1000], b"last")).unwrap();
        let ([.., reply_to], payload) = liar.read();
        assert_eq!((Handle(reply_to), &payload[..]), (Handle::IS_DEAD, &b"message too large for its handle"[..]));
    }
}

#[test]
fn an_answer_that_is_too_large_for_its_kind_is_not_even_read() {
    let tree = Tree::new();
    let mut liar = Liar::new(&tree);
    let context = liar.context.clone();
    // As many empty texts as there are bytes, or nearly so.
    let many = |head: &[u8], bytes: usize| [head, &vec![0; bytes][..]].concat();
    let connect = ask_for_child(&tree, &context);
    let to = liar.asked();
    liar.say(to, 0, &many(&[0, 1], 300_000));
    assert!(connect.join().unwrap().unwrap_err().to_string().contains("(max 262144)"));
    for kind in [1, 2] {
        let call = context.call(pid, ());
        let to = liar.asked();
        liar.say(to, 0, &many(&[kind], 1_100_000));
        assert!(block_on(call).unwrap_err().to_string().contains("(max 1048576)"));
    }
    let stats = context.stats();
    let to = liar.asked();
    liar.say(to, 0, &many(&[0], 1_100_000));
    assert!(block_on(stats).unwrap_err().to_string().contains("(max 1048576)"));
    let call = context.call(pid, ());
    let to = liar.asked();
    liar.say(to, Handle::IS_DEAD.0, &[b'x'; 60_000]);
    assert_eq!(reason(block_on(call).unwrap_err()), "x".repeat(4 * 1024));
    let call = context.call(pid, ());
    let to = liar.asked();
    liar.say(to, Handle::IS_DEAD.0, &[b'x'; 1_000_000]);
    assert_eq!(reason(block_on(call).unwrap_err()), "message too large (max 4096 bytes)");
}

#[test]
fn the_end_of_a_command_counts_even_if_the_connection_is_lost_right_after_it() {
    let tree = Tree::new();
    for _ in 0..20 {
        let mut far = Liar::new(&tree);
        let context = far.context.clone();
        let output = std::thread::spawn(move || block_on(context.command("true").output()));
        let to = far.asked();
        // Exit code 3, no signal, nothing open, and no output.
        far.say(to, 0, &[0, 1, 6, 0, 0, 0, 0]);
        drop(far);
        assert_eq!(output.join().unwrap().unwrap().exit.code, Some(3));
    }
}
