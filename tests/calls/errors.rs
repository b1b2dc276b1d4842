//! Errors by their kinds, as programs match on them.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use offshoot::error::{CallError, ChannelErrorKind, Closed};
use offshoot::{Econtext, Error, Handle, Message, Receiver, Router, Sender, export};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Tree, block, block_on, kind, pid, reason};

fn leave() {
    nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL).ok();
}
export!(leave);

fn fails() -> Result<(), Outer> {
    Err(Outer(io::Error::new(io::ErrorKind::NotFound, "no such disk")))
}
export!(fails);

fn panics() {
    panic!("on purpose");
}
export!(panics);

/// Whether this process is to take backtraces.
fn takes_backtraces() -> bool {
    let wanted = std::env::var_os("RUST_LIB_BACKTRACE").or_else(|| std::env::var_os("RUST_BACKTRACE"));
    wanted.is_some_and(|wanted| wanted != "0")
}
export!(takes_backtraces);

/// What the parent answers.
async fn ask_parent(econtext: &Econtext, handle: u32) -> Result<u32, Error> {
    let parent = econtext.parent().ok_or_else(|| Error::Misuse("no parent".into()))?;
    parent.send_await(Message::encoded(&7u32)?.to_handle(Handle(handle))).await
}
export!(ask_parent);

#[derive(Debug)]
struct Outer(io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot mount")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_context_that_dies_is_disconnected_and_then_has_no_route() {
    let tree = Tree::new();
    let child = tree.child();
    let error = child.blocking_call(leave, ()).unwrap_err();
    assert!(error.is_disconnected() && !error.is_refused() && !error.is_timeout());
    let Error::Channel(error) = error else { panic!("{error:?}") };
    assert_eq!((format!("{:?}", error.kind).as_str(), error.context), ("Disconnected", tree.0.myself().id()));
    let error = child.blocking_call(pid, ()).unwrap_err();
    assert!(error.is_disconnected());
    assert_eq!(format!("{:?}", kind(error)), "NoRoute");
    let error = block_on(Sender::<u32>::new(&child, Handle(5000)).send(1)).unwrap_err();
    assert_eq!(kind(error), ChannelErrorKind::NoRoute);
}

#[test]
fn what_a_policy_refuses_is_refused_and_what_nobody_holds_is_an_invalid_handle() {
    let tree = Tree::new();
    let child = tree.child();
    let refusing = tree.0.add_handler(|_| {}).policy(|_, _| false).build().unwrap();
    let error = tree.0.myself().blocking_send_await::<u32>(Message::raw(&b""[..]).to_handle(refusing)).unwrap_err();
    assert!(error.is_refused() && !error.is_disconnected());
    assert_eq!(format!("{:?}", kind(error)), "Refused");
    // The same over a link, where the kind is in the header of the dead message.
    let error = child.blocking_call(ask_parent, (refusing.0,)).unwrap_err();
    let Error::Call(error) = error else { panic!("{error:?}") };
    assert!(error.message.contains("refused by policy"), "{error}");
    let error = child.blocking_send_await::<u32>(Message::raw(&b""[..]).to_handle(Handle(5000)));
    let Err(Error::Channel(error)) = error else { panic!("{error:?}") };
    assert_eq!((format!("{:?}", error.kind).as_str(), error.context), ("InvalidHandle", child.id()));
    let closed = tree.0.add_handler(|message| drop(message.reply_message(Message::dead("not today")))).build().unwrap();
    let error = tree.0.myself().blocking_send_await::<u32>(Message::raw(&b""[..]).to_handle(closed)).unwrap_err();
    assert!(error.is_refused() && reason(error) == "not today");
}

#[test]
fn a_context_that_outlives_its_router_says_that_the_router_has_ended() {
    let router = Router::new().unwrap();
    let child = router.local().blocking_connect().unwrap();
    let call = child.call(block, (1000,));
    child.call_no_reply(pid, ()).unwrap();
    let sender = Sender::<u32>::new(&child, Handle(5000));
    router.blocking_shutdown();
    let later = [
        block_on(call).unwrap_err(),
        child.blocking_call(pid, ()).unwrap_err(),
        child.call_no_reply(pid, ()).unwrap_err(),
        child.send(Message::raw(&b""[..]).to_handle(Handle(5000))).unwrap_err(),
        block_on(sender.send(1)).unwrap_err(),
        block_on(child.stats()).unwrap_err(),
    ];
    for error in later {
        assert!(error.is_disconnected() && !error.to_string().contains("respondent"), "{error}");
        assert_eq!(format!("{:?}", kind(error)), "RouterEnded");
    }
    assert_eq!(block_on(router.stats()).unwrap_err(), Error::Closed(Closed::Router));
    assert!(Error::Closed(Closed::Router).is_disconnected());
}

#[test]
fn a_receiver_is_told_by_kind_why_nothing_more_comes() {
    let tree = Tree::new();
    let numbers = Receiver::<u32>::new(&tree.0);
    numbers.sender().close();
    assert_eq!(kind(numbers.blocking_recv().unwrap_err()), ChannelErrorKind::SenderClosed);
    let other = Receiver::<u32>::new(&tree.0);
    tree.0.blocking_shutdown();
    assert_eq!(kind(other.blocking_recv().unwrap_err()), ChannelErrorKind::RouterEnded);
    numbers.close();
    assert_eq!(numbers.blocking_recv().unwrap_err(), Error::Closed(Closed::Receiver));
}

#[test]
fn what_is_too_large_and_what_exceeds_its_window_have_kinds_of_their_own() {
    let tree = Tree(Router::builder().max_message_size(1 << 20).build().unwrap());
    let handler = tree.0.add_handler(|message| message.reply(&vec![7u8; 2 << 20]).unwrap());
    let question = Message::raw(&b""[..]).to_handle(handler.build().unwrap());
    let error = tree.0.myself().blocking_send_await::<Vec<u8>>(question).unwrap_err();
    assert_eq!(format!("{:?}", kind(error)), "TooLarge");

    let crowded = Receiver::<u32>::new(&tree.0);
    let send = || {
        let message = Message::raw(vec![0; 60 << 10]).to_handle(crowded.handle());
        tree.0.myself().send_async::<u32>(message).unwrap()
    };
    let (_first, second) = (send(), send());
    assert_eq!(format!("{:?}", kind(second.blocking_recv().unwrap_err())), "WindowExceeded");
}

#[test]
fn a_local_file_that_fails_is_an_io_error() {
    struct Broken;
    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Task<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::StorageFull.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Task<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
    }
    let tree = Tree::new();
    let child = tree.child();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "text").unwrap();
    let Err(Error::Io(error)) = block_on(child.copy_from(&path, Broken)) else { panic!("no error") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().starts_with("cannot store the file: "), "{error}");
    let written = block_on(child.copy_to(Broken, &path, 0o600));
    let Err(Error::Io(error)) = written else { panic!("{written:?}") };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    // What fails there is the error of the call.
    let error = block_on(child.copy_from(directory.path().join("none"), Vec::new())).unwrap_err();
    assert!(matches!(error, Error::Call(_)), "{error:?}");

    fn own(path: &std::path::Path) -> Result<String, Error> {
        Ok(std::fs::read_to_string(path)?)
    }
    let Err(Error::Io(error)) = own(&directory.path().join("none")) else { panic!("there is no such file") };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_error_of_a_call_has_its_sources_and_where_asked_for_a_backtrace() {
    let tree = Tree::new();
    let child = tree.child();
    let wanted = child.blocking_call(takes_backtraces, ()).unwrap();
    let error = child.blocking_call(fails, ()).unwrap_err();
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no such disk"));
    let Error::Call(error) = error else { panic!("{error:?}") };
    assert_eq!((error.message.as_str(), error.chain.len()), ("cannot mount", 1));
    assert_eq!(error.backtrace.is_some(), wanted);
    let Err(Error::Call(error)) = child.blocking_call(panics, ()) else { panic!("no panic") };
    assert_eq!((error.type_name.as_str(), error.backtrace.is_some()), ("panic", wanted));
    assert!(!error.to_string().contains("stack") && error.backtrace.is_none_or(|trace| trace.len() <= 65 << 10));
}

#[test]
fn an_answer_can_be_an_error_of_any_type() {
    let tree = Tree::new();
    let own = tree.0.add_handler(|message| message.reply_error(&Outer(io::Error::other("worn out"))).unwrap());
    let own = own.build().unwrap();
    let question = || Message::encoded(&1u32).unwrap();
    let error = tree.0.myself().blocking_send_await::<u32>(question().to_handle(own)).unwrap_err();
    let Error::Call(error) = error else { panic!("{error:?}") };
    assert!(error.type_name.ends_with("::Outer") && error.chain == ["worn out"], "{error:?}");
    assert_eq!((error.function, error.context), (format!("handle {own}"), "context 0".to_owned()));

    let late = Error::Timeout { after: Duration::from_secs(1), what: "the disk".into() };
    let answer = late.clone();
    let ours = tree.0.add_handler(move |message| message.reply_error(&answer).unwrap()).build().unwrap();
    let error = tree.0.myself().blocking_send_await::<u32>(question().to_handle(ours)).unwrap_err();
    assert!(error == late && error.is_timeout());
    // A child that asks its parent gets it by its link.
    let error = tree.child().blocking_call(ask_parent, (ours.0,)).unwrap_err();
    let Error::Call(error) = error else { panic!("{error:?}") };
    assert_eq!(error.message, late.to_string());

    let call = CallError::new("my::Error", "no");
    let answer = call.clone();
    let called = tree.0.add_handler(move |message| message.reply_error(&answer).unwrap()).build().unwrap();
    let error = tree.0.myself().blocking_send_await::<u32>(question().to_handle(called)).unwrap_err();
    assert_eq!(error, call.into());
}
