//! Who may talk to whom, under whose authority, and by which way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use offshoot::{Context, ContextId, Error, Handle, Message, Receiver, Router, export};

use super::hostile::frame;
use super::{Tree, block_on, pid, reason};

/// Calls `pid` in a sibling, and says what came of it.
async fn call_sibling(sibling: Context) -> Result<u32, Error> {
    sibling.call(pid, ()).await
}
export!(call_sibling);

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
fn a_message_to_nobody_is_answered_by_whoever_gave_up() {
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
        assert!(matches!(block_on(tree.0.register(&context, stream, None)), Err(Error::Stream(_))), "only once");
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
fn the_end_of_a_registered_stream_is_told_to_whoever_waits() {
    let tree = Tree::new();
    let (context, mut stream) = played(&tree, None);
    let pending = context.call(pid, ());
    stream.read_exact(&mut [0; 32]).unwrap();
    drop(stream);
    assert_eq!(reason(block_on(pending).unwrap_err()), "the respondent Context has disconnected");
}
