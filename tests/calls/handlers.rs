//! Messages and the handlers behind handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use offshoot::error::{ChannelError, ChannelErrorKind};
use offshoot::{Context, Econtext, Error, Handle, Message, Receiver, Router, Sender, export};

use super::{Tree, pid, reason};

/// A handler's messages, as they come.
fn heard(router: &Router) -> (Handle, mpsc::Receiver<Message>) {
    let (tell, told) = mpsc::channel();
    let handle = router.add_handler(move |message| tell.send(message).unwrap_or_default()).build().unwrap();
    (handle, told)
}

/// Sends itself the message as it stands, and what comes back.
fn ask(router: &Router, message: Message) -> Result<u32, Error> {
    router.myself().blocking_send_await(message)
}

fn say_to(to: Context, handle: Handle, text: String) -> Result<(), Error> {
    to.send(Message::encoded(&text)?.to_handle(handle))
}
export!(say_to);

fn ask_there(to: Context, handle: Handle) -> Result<u32, Error> {
    to.blocking_send_await(Message::encoded("what is it?")?.to_handle(handle))
}
export!(ask_there);

/// Becomes a respondent: answers each message to the sender with its double.
fn serve(econtext: &Econtext) -> Result<Handle, Error> {
    econtext.router().add_handler(|message| drop(message.decode::<u32>().map(|n| message.reply(&(n * 2))))).build()
}
export!(serve);

/// Sends to a handle over and over, as fast as it goes.
async fn pelt(to: Sender<u32>, count: u32) -> Result<(), Error> {
    for number in 0..count {
        to.send(number).await?;
    }
    Ok(())
}
export!(pelt);

#[test]
fn a_message_to_a_handle_from_1000_on_is_received_with_source_and_authority() {
    let tree = Tree::new();
    let child = tree.child();
    let (handle, told) = heard(&tree.0);
    assert!(handle >= Handle::FIRST_DYNAMIC);
    child.blocking_call(say_to, (tree.0.myself(), handle, "hello".into())).unwrap();
    let message = told.recv().unwrap();
    assert_eq!((message.src, message.auth), (child.id(), child.id()));
    assert_eq!(message.decode::<String>().unwrap(), "hello");
}

#[test]
fn a_sender_cannot_claim_to_be_another() {
    let tree = Tree::new();
    let (handle, told) = heard(&tree.0);
    let mut message = Message::encoded(&1u8).unwrap().to_handle(handle);
    (message.src, message.auth) = (offshoot::ContextId(7), offshoot::ContextId(8));
    tree.0.myself().send(message).unwrap();
    let message = told.recv().unwrap();
    assert_eq!((message.src.0, message.auth.0), (0, 0));
}

#[test]
fn a_reply_goes_to_the_context_that_asked() {
    let tree = Tree::new();
    let child = tree.child();
    let handler = tree.0.add_handler(|message| message.reply(&message.src.0).unwrap()).build().unwrap();
    assert_eq!(child.blocking_call(ask_there, (tree.0.myself(), handler)).unwrap(), child.id().0);
    let there = child.blocking_call(serve, ()).unwrap();
    let question = Message::encoded(&21u32).unwrap().to_handle(there);
    assert_eq!(child.blocking_send_await::<u32>(question).unwrap(), 42);
}

#[test]
fn a_prebuilt_reply_is_used_as_it_is() {
    let tree = Tree::new();
    let (back, told) = heard(&tree.0);
    let handler = tree.0.add_handler(move |message| {
        let mut answer = Message::raw(&b"as it is"[..]);
        answer.reply_to = back;
        message.reply_message(answer).unwrap();
    });
    let handle = handler.build().unwrap();
    let answer = tree.0.myself().send_async::<()>(Message::raw(&b""[..]).to_handle(handle)).unwrap();
    let answer = answer.blocking_recv_message().unwrap();
    assert_eq!((&answer.data[..], answer.raw, answer.reply_to), (&b"as it is"[..], true, back));
    // And so it can be answered in turn.
    answer.reply(&"thanks").unwrap();
    assert_eq!(told.recv().unwrap().decode::<String>().unwrap(), "thanks");
}

#[test]
fn a_reply_to_a_message_that_wants_none_is_dropped_silently() {
    let tree = Tree::new();
    let (tell, told) = mpsc::channel();
    let handler = tree.0.add_handler(move |message| tell.send(message.reply(&1u8)).unwrap_or_default());
    tree.0.myself().send(Message::encoded(&1u8).unwrap().to_handle(handler.build().unwrap())).unwrap();
    assert_eq!(told.recv().unwrap(), Ok(()));
}

#[test]
fn a_reply_too_large_to_be_sent_still_ends_the_wait_for_it() {
    let tree = Tree(Router::builder().max_message_size(1 << 20).build().unwrap());
    let handler = tree.0.add_handler(|message| message.reply(&vec![7u8; 2 << 20]).unwrap());
    let error = ask(&tree.0, Message::raw(&b""[..]).to_handle(handler.build().unwrap())).unwrap_err();
    assert_eq!(reason(error), "message too large (max 1048576 bytes)");
}

#[test]
fn replies_of_any_number_come_in_order() {
    let tree = Tree::new();
    let handler = tree.0.add_handler(|message| (0..100u32).for_each(|n| message.reply(&n).unwrap()));
    let question = Message::raw(&b""[..]).to_handle(handler.build().unwrap());
    let answers: Receiver<u32> = tree.0.myself().send_stream(question).unwrap();
    let got: Result<Vec<u32>, Error> = answers.iter().take(100).collect();
    assert_eq!(got.unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_handle_cannot_be_registered_twice_and_again_once_it_is_given_up() {
    let tree = Tree::new();
    let add = |handle| tree.0.add_handler(|_| {}).handle(handle).build();
    let handle = tree.0.add_handler(|_| {}).build().unwrap();
    let error = add(handle).unwrap_err();
    assert!(error.to_string().ends_with("cannot register a handle that already exists"), "{error}");
    tree.0.del_handler(handle).unwrap();
    assert!(matches!(tree.0.del_handler(handle), Err(Error::Handle { .. })), "it is unknown now");
    assert_eq!(add(handle).unwrap(), handle);
    let receiver: Result<Receiver<u8>, Error> = Receiver::builder(&tree.0).handle(handle).build();
    assert_eq!(receiver.unwrap_err(), error);
    for own in [Handle::CALL_FUNCTION, Handle::ADD_ROUTE, Handle::IS_DEAD, Handle::NONE] {
        assert!(matches!(add(own), Err(Error::Handle { .. })), "{own}");
        assert!(tree.0.del_handler(own).is_err());
    }
    assert!(tree.child().blocking_call(pid, ()).is_ok());
}

#[test]
fn who_overwrites_a_handle_gets_what_is_sent_to_it_from_then_on() {
    let tree = Tree::new();
    let old: Receiver<u8> = Receiver::new(&tree.0);
    let sender = old.sender();
    sender.blocking_send(1).unwrap();
    let new: Receiver<u8> = Receiver::builder(&tree.0).handle(old.handle()).overwrite(true).build().unwrap();
    assert_eq!(old.blocking_recv().unwrap(), 1);
    assert!(matches!(old.blocking_recv(), Err(Error::Closed(_))));
    drop(old);
    sender.blocking_send(2).unwrap();
    assert_eq!(new.blocking_recv().unwrap(), 2);
}

#[test]
fn a_handler_that_does_not_persist_takes_one_message() {
    let tree = Tree::new();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let handler = tree.0.add_handler(move |message| message.reply(&counted.fetch_add(1, Ordering::SeqCst)).unwrap());
    let handle = handler.persist(false).build().unwrap();
    let question = || Message::raw(&b""[..]).to_handle(handle);
    assert_eq!(ask(&tree.0, question()).unwrap(), 0);
    assert_eq!(reason(ask(&tree.0, question()).unwrap_err()), "invalid handle");
    assert!(tree.0.del_handler(handle).is_err(), "it has been given up");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refusing_policy_tells_the_caller_and_delivers_nothing() {
    let tree = Tree::new();
    let child = tree.child();
    let (tell, told) = mpsc::channel::<()>();
    let handler = tree.0.add_handler(move |_| tell.send(()).unwrap_or_default());
    let me = tree.0.myself().id();
    let handle = handler.policy(move |message, peer| message.src == me && peer.me == me).build().unwrap();
    tree.0.myself().send(Message::raw(&b""[..]).to_handle(handle)).unwrap();
    told.recv().unwrap();
    let error = child.blocking_call(ask_there, (tree.0.myself(), handle)).unwrap_err();
    assert!(error.to_string().contains("refused by policy"), "{error}");
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err());
    let panicking = tree.0.add_handler(|_| {}).policy(|_, _| panic!("on purpose")).build().unwrap();
    let error = ask(&tree.0, Message::raw(&b""[..]).to_handle(panicking)).unwrap_err();
    assert_eq!(reason(error), "refused by policy", "a policy that panics has refused");
}

#[test]
fn what_is_for_nobody_is_refused_as_an_invalid_handle_by_that_context() {
    let tree = Tree::new();
    let child = tree.child();
    let question = Message::raw(&b""[..]).to_handle(Handle(99_999));
    let error = child.blocking_send_await::<u8>(question).unwrap_err();
    assert_eq!(error, ChannelError::new(child.id(), ChannelErrorKind::InvalidHandle, "invalid handle").into());
}

#[test]
fn only_the_respondent_is_heard_and_its_end_is_told_once() {
    let tree = Tree::new();
    let (one, two) = (tree.child(), tree.child());
    let (tell, told) = mpsc::channel();
    let handler = tree.0.add_handler(move |message| tell.send(message).unwrap_or_default());
    let handle = handler.respondent(one.id()).build().unwrap();
    let error = two.blocking_call(ask_there, (tree.0.myself(), handle)).unwrap_err();
    assert!(error.to_string().contains("reply from unexpected context"), "{error}");
    one.blocking_call(say_to, (tree.0.myself(), handle, "me".into())).unwrap();
    assert_eq!(told.recv().unwrap().decode::<String>().unwrap(), "me");
    one.blocking_shutdown();
    assert_eq!(told.recv().unwrap().reason().unwrap(), "the respondent Context has disconnected");
    assert!(told.recv().is_err(), "the handler is gone");
    assert!(tree.0.del_handler(handle).is_err());
}

#[test]
fn each_handler_hears_once_that_the_router_ends() {
    let router = Router::new().unwrap();
    let (_, told) = heard(&router);
    let receiver: Receiver<u8> = Receiver::new(&router);
    let call = router.myself().send_async::<u8>(Message::raw(&b""[..]).to_handle(receiver.handle())).unwrap();
    router.blocking_shutdown();
    assert_eq!(told.recv().unwrap().reason().unwrap(), "Broker has exitted");
    assert!(told.recv().is_err());
    assert!(receiver.blocking_recv_message().is_ok(), "what had come is still there");
    assert_eq!(reason(receiver.blocking_recv().unwrap_err()), "Broker has exitted");
    assert!(matches!(receiver.blocking_recv(), Err(Error::Closed(_))));
    assert_eq!(reason(call.blocking_recv().unwrap_err()), "Broker has exitted");
}

#[test]
fn a_handler_that_panics_takes_nobody_down() {
    let tree = Tree::new();
    let handle = tree.0.add_handler(|_| panic!("on purpose")).build().unwrap();
    tree.0.myself().send(Message::raw(&b""[..]).to_handle(handle)).unwrap();
    assert!(tree.child().blocking_call(pid, ()).is_ok());
}

#[test]
fn a_handler_gives_room_back_as_it_takes_messages() {
    let tree = Tree::new();
    let child = tree.child();
    let sum = Arc::new(AtomicU32::new(0));
    let added = Arc::clone(&sum);
    let handler = tree.0.add_handler(move |message| {
        added.fetch_add(message.decode().unwrap_or(0), Ordering::SeqCst);
    });
    // More than goes into a window without credit.
    let to = Sender::new(&tree.0.myself(), handler.build().unwrap());
    child.blocking_call(pelt, (to, 10_000)).unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 49_995_000);
}

#[test]
fn a_handler_that_would_block_the_io_thread_fails_instead() {
    let tree = Tree::new();
    let child = tree.child();
    let (tell, told) = mpsc::channel();
    let there = child.clone();
    let handler = tree.0.add_handler(move |_| {
        let _tell = DropTell(tell.clone());
        drop(there.blocking_call(pid, ()));
    });
    tree.0.myself().send(Message::raw(&b""[..]).to_handle(handler.build().unwrap())).unwrap();
    assert!(told.recv_timeout(Duration::from_secs(10)).unwrap(), "it has panicked");
    assert!(child.blocking_call(pid, ()).is_ok());
}

/// Tells whether it is dropped by a panic.
struct DropTell(mpsc::Sender<bool>);

impl Drop for DropTell {
    fn drop(&mut self) {
        self.0.send(std::thread::panicking()).unwrap_or_default();
    }
}
