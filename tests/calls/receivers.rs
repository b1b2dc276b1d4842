//! Receivers, senders and channels: who gets what, and how it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_core::Stream;
use offshoot::error::ChannelError;
use offshoot::{Blob, Channel, Context, Error, Handle, Message, Receiver, Router, Sender, export};

use super::{Tree, block_on, eventually, reason};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

fn five_and_close(to: Sender<u32>) -> Result<u32, Error> {
    (0..5).try_for_each(|number| to.blocking_send(number))?;
    to.close();
    Ok(5)
}
export!(five_and_close);

fn one_later(to: Sender<u32>) -> Result<(), Error> {
    std::thread::sleep(2 * SHORT);
    to.blocking_send(7)
}
export!(one_later);

/// The other end of a channel: sends back what comes, twice.
async fn other_end(router: &Router, to: Context, dst_handle: Handle, ready: Sender<Handle>) -> Result<(), Error> {
    let channel: Channel<String> = Channel::new(router, &to, dst_handle);
    ready.send(channel.handle()).await?;
    while let Ok(text) = channel.recv().await {
        channel.send(text.repeat(2)).await?;
    }
    channel.close();
    Ok(())
}
export!(concurrent other_end);

#[test]
fn closing_a_sender_ends_the_iteration_after_all_that_was_sent() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let call = child.call(five_and_close, (receiver.sender(),));
    let got: Result<Vec<u32>, Error> = receiver.iter().collect();
    assert_eq!(got.unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(call.blocking_recv().unwrap(), 5, "the call's own value still arrives");
    // The receiver is not closed by that.
    assert_eq!(child.blocking_call(five_and_close, (receiver.sender(),)).unwrap(), 5);
    assert_eq!(receiver.blocking_recv().unwrap(), 0);
}

#[test]
fn closing_a_receiver_wakes_one_and_five_who_wait() {
    let tree = Tree::new();
    for count in [1, 5] {
        let receiver: Receiver<u32> = Receiver::new(&tree.0);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..count)
                .map(|_| {
                    let receiver = receiver.clone();
                    scope.spawn(move || receiver.blocking_recv().unwrap_err().to_string())
                })
                .collect();
            std::thread::sleep(SHORT);
            receiver.close();
            receiver.close();
            for thread in waiting {
                assert_eq!(thread.join().unwrap(), "the Receiver has been closed");
            }
        });
        assert!(matches!(receiver.blocking_recv(), Err(Error::Closed(_))));
        assert!(receiver.is_empty());
    }
}

#[test]
fn a_closed_receiver_throws_away_what_it_holds_and_its_handle_is_invalid() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let sender = receiver.sender();
    sender.blocking_send(1).unwrap();
    eventually("the value", || receiver.len() == 1);
    receiver.close();
    assert_eq!(receiver.len(), 0);
    assert!(receiver.try_recv().is_err());
    let question = Message::raw(&b""[..]).to_handle(receiver.handle());
    let error = tree.0.myself().blocking_send_await::<u8>(question).unwrap_err();
    assert_eq!(reason(error), "invalid handle");
}

#[test]
fn a_remote_close_wakes_one_of_those_who_wait() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let woken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                if let Err(Error::Channel(ChannelError { reason, .. })) = receiver.blocking_recv() {
                    assert_eq!(reason, "Sender was explicitly closed");
                    woken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        receiver.sender().close();
        eventually("the end of one wait", || woken.load(Ordering::SeqCst) == 1);
        std::thread::sleep(SHORT);
        assert_eq!(woken.load(Ordering::SeqCst), 1, "the other waits on");
        receiver.close();
    });
}

#[test]
fn who_has_waited_longest_gets_the_next_value() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(receiver.recv())).collect();
    // Each takes its place.
    block_on(std::future::poll_fn(|cx| {
        assert!(waiting.iter_mut().all(|wait| wait.as_mut().poll(cx).is_pending()));
        std::task::Poll::Ready(())
    }));
    (0..5).for_each(|number| receiver.sender().blocking_send(number).unwrap());
    eventually("the values", || receiver.len() == 5);
    assert_eq!(receiver.try_recv().unwrap(), None, "all are owed to somebody");
    for (number, wait) in waiting.into_iter().enumerate().rev() {
        assert_eq!(block_on(wait).unwrap() as usize, number);
    }
}

#[test]
fn a_wait_that_is_given_up_costs_no_value() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    for number in 0..100 {
        let error = receiver.blocking_recv_timeout(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
        let error = block_on(receiver.recv_timeout(Duration::from_micros(number))).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
    }
    receiver.sender().blocking_send(1).unwrap();
    assert_eq!(receiver.blocking_recv_timeout(LONG).unwrap(), 1);
}

#[test]
fn a_timeout_ends_in_time_and_a_late_value_can_still_be_had() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let call = child.call(one_later, (receiver.sender(),));
    let start = Instant::now();
    let error = receiver.blocking_recv_timeout(SHORT).unwrap_err();
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    assert!(matches!(error, Error::Timeout { after, .. } if after == SHORT));
    assert_eq!(block_on(receiver.recv_timeout(LONG)).unwrap(), 7);
    call.blocking_recv().unwrap();
}

#[test]
fn a_call_that_is_late_can_be_asked_again() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let mut call = child.call(one_later, (receiver.sender(),));
    assert!(matches!(call.blocking_recv_timeout(SHORT), Err(Error::Timeout { .. })));
    assert!(matches!(block_on(call.recv_timeout(Duration::ZERO)), Err(Error::Timeout { .. })));
    call.blocking_recv_timeout(LONG).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), Some(7));
}

#[test]
fn a_receiver_that_does_not_persist_takes_one_message() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::builder(&tree.0).persist(false).build().unwrap();
    receiver.sender().blocking_send(1).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap(), 1);
    assert!(matches!(receiver.blocking_recv(), Err(Error::Closed(_))), "nothing can follow");
    eventually("the refusal", || receiver.sender().blocking_send(2).is_err());
}

#[test]
fn the_end_of_the_respondent_ends_its_receiver() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::builder(&tree.0).respondent(child.id()).build().unwrap();
    child.blocking_call(five_and_close, (receiver.sender(),)).unwrap();
    assert_eq!(receiver.iter().count(), 5);
    child.blocking_shutdown();
    assert_eq!(reason(receiver.blocking_recv().unwrap_err()), "the respondent Context has disconnected");
    assert!(matches!(receiver.blocking_recv(), Err(Error::Closed(_))));
}

#[test]
fn notify_is_called_after_each_message_and_may_panic() {
    let tree = Tree::new();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let receiver: Receiver<u32> = Receiver::builder(&tree.0)
        .notify(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        })
        .build()
        .unwrap();
    for number in 1..=3 {
        receiver.sender().blocking_send(number).unwrap();
        eventually("the bell", || count.load(Ordering::SeqCst) == number);
        assert_eq!(receiver.len(), number as usize, "it is there already");
    }
}

#[test]
fn several_threads_share_what_comes() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    let sum = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Ok(number) = receiver.blocking_recv() {
                    sum.fetch_add(number, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..20 {
            (0..100).for_each(|number| receiver.sender().blocking_send(number).unwrap());
        }
        child.blocking_call(five_and_close, (receiver.sender(),)).unwrap();
        eventually("the sum", || sum.load(Ordering::SeqCst) == 20 * 4950 + 10);
        receiver.close();
    });
}

#[test]
fn what_is_not_of_the_type_is_an_error_and_the_next_is_fine() {
    let tree = Tree::new();
    let receiver: Receiver<bool> = Receiver::new(&tree.0);
    let wrong: Sender<String> = Sender::new(&tree.0.myself(), receiver.handle());
    wrong.blocking_send("text".into()).unwrap();
    receiver.sender().blocking_send(true).unwrap();
    let error = receiver.blocking_recv().unwrap_err();
    assert!(matches!(&error, Error::Payload(text) if text.starts_with("invalid message: ")), "{error:?}");
    assert!(receiver.blocking_recv().unwrap());
}

#[test]
fn a_sender_without_a_handle_is_refused_where_it_arrives() {
    let tree = Tree::new();
    let receiver: Receiver<Sender<u32>> = Receiver::new(&tree.0);
    let raw: Sender<(u32, u32)> = Sender::new(&tree.0.myself(), receiver.handle());
    raw.blocking_send((0, 0)).unwrap();
    let error = receiver.blocking_recv().unwrap_err();
    assert!(error.to_string().contains("handle 0 cannot be sent to by a Sender"), "{error}");
    raw.blocking_send((3, 1234)).unwrap();
    let sender = receiver.blocking_recv().unwrap();
    assert_eq!((sender.context().0, sender.handle().0), (3, 1234));
}

#[test]
fn a_channel_knows_its_ends_and_carries_both_ways() {
    let tree = Tree::new();
    let child = tree.child();
    let ready: Receiver<Handle> = Receiver::new(&tree.0);
    let fixed = Handle(4_000_000_001);
    let call = child.call(other_end, (tree.0.myself(), fixed, ready.sender()));
    let there = ready.blocking_recv().unwrap();
    let channel: Channel<String> = Channel::with_handle(&tree.0, &child, there, fixed).unwrap();
    assert_eq!((channel.context(), channel.dst_handle(), channel.handle()), (child.id(), there, fixed));
    channel.blocking_send("ab".into()).unwrap();
    assert_eq!(channel.blocking_recv().unwrap(), "abab");
    channel.close();
    assert!(matches!(channel.blocking_recv(), Err(Error::Closed(_))));
    call.blocking_recv().unwrap();
}

#[test]
fn a_large_answer_needs_no_window_and_leaves_none() {
    let tree = Tree::new();
    let handler = tree.0.add_handler(|message| message.reply(&Blob(vec![1; 4 << 20])).unwrap());
    let handle = handler.build().unwrap();
    for _ in 0..3 {
        let question = Message::raw(&b""[..]).to_handle(handle);
        assert_eq!(tree.0.myself().blocking_send_await::<Blob>(question).unwrap().0.len(), 4 << 20);
    }
    assert_eq!(block_on(tree.0.stats()).unwrap().windows, 0);
}

#[test]
fn a_disconnect_is_one_item_and_then_the_iteration_is_over() {
    let tree = Tree::new();
    let child = tree.child();
    let receiver: Receiver<u32> = Receiver::builder(&tree.0).respondent(child.id()).build().unwrap();
    child.blocking_call(five_and_close, (receiver.sender(),)).unwrap();
    assert_eq!(receiver.iter().count(), 5, "a closed sender ends it without a further item");
    child.blocking_shutdown();
    let mut items = receiver.iter();
    assert!(matches!(items.next(), Some(Err(Error::Channel { .. }))));
    assert_eq!((items.next(), items.next()), (None, None));
    assert_eq!(receiver.iter().next(), None);
}

#[test]
fn an_iteration_ends_with_an_error_even_if_more_comes() {
    let tree = Tree::new();
    let numbers: Receiver<u32> = Receiver::new(&tree.0);
    let send = |message: Message| tree.0.myself().send(message.to_handle(numbers.handle())).unwrap();
    for number in [1, 2] {
        send(Message::dead("not now"));
        send(Message::encoded(&number).unwrap());
        let mut items = numbers.iter();
        assert!(matches!(items.next(), Some(Err(Error::Channel(_)))));
        assert_eq!((items.next(), items.next()), (None, None));
        assert_eq!(numbers.blocking_recv().unwrap(), number, "it is still there");
    }
    // The same for a stream.
    send(Message::dead("not now"));
    send(Message::encoded(&3).unwrap());
    let mut stream = numbers.clone();
    let mut next = || block_on(std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)));
    assert!(matches!(next(), Some(Err(Error::Channel(_)))));
    assert_eq!((next(), next()), (None, None));
}

#[test]
fn a_receiver_can_be_told_later_whom_to_notify() {
    let tree = Tree::new();
    let receiver: Receiver<u32> = Receiver::new(&tree.0);
    receiver.sender().blocking_send(1).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    receiver
        .notify(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1, "one waits already");
    receiver.sender().blocking_send(2).unwrap();
    eventually("the second", || count.load(Ordering::SeqCst) == 2);
    assert!(matches!(receiver.notify(|| {}), Err(Error::Select(_))), "there is one already");
}
