//! Calls that send values before they end.

use std::time::{Duration, Instant};

use offshoot::{Blob, Context, Econtext, Error, Sender, export};

use super::Tree;

const LIMIT: Duration = Duration::from_millis(200);

fn count(from: u32, to: u32, numbers: Sender<u32>) -> Result<String, Error> {
    (from..to).try_for_each(|number| numbers.blocking_send(number))?;
    Ok(format!("counted to {to}"))
}

/// Awaits nothing: all values but the first few wait in this context when the
/// function ends.
fn pour(values: u32, to: Sender<Blob>) -> Result<u32, Error> {
    (0..values).for_each(|value| drop(to.send(Blob(vec![value.to_le_bytes()[0]; 10_000]))));
    Ok(values)
}

fn count_and_fail(to: u32, numbers: Sender<u32>) -> Result<(), String> {
    (0..to).try_for_each(|number| numbers.blocking_send(number)).map_err(|error| error.to_string())?;
    Err("out of numbers".into())
}

fn count_and_die(to: u32, numbers: Sender<u32>) -> Result<(), Error> {
    (0..to).try_for_each(|number| numbers.blocking_send(number))?;
    std::thread::sleep(LIMIT);
    std::process::abort()
}

fn count_and_panic(to: u32, numbers: Sender<u32>) {
    (0..to).for_each(|number| numbers.blocking_send(number).unwrap());
    panic!("at {to}");
}

fn close_first(numbers: Sender<u32>) -> Result<u8, Error> {
    numbers.blocking_send(1)?;
    numbers.close();
    std::thread::sleep(LIMIT);
    Ok(7)
}

async fn for_ever(numbers: Sender<u32>) -> Result<(), Error> {
    for number in 0.. {
        numbers.send(number).await?;
    }
    Ok(())
}

fn wait_for_end(econtext: &Econtext, ready: Sender<()>) -> Result<(), Error> {
    ready.blocking_send(())?;
    while !econtext.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Passes on what a context below streams.
async fn relay(below: Context, to: u32, numbers: Sender<u32>) -> Result<String, Error> {
    let mut stream = below.stream(count, |numbers| (0, to, numbers));
    while let Some(number) = stream.next().await {
        numbers.send(number?).await?;
    }
    stream.result().await
}

/// Sends a value, has a context below send some, and stays.
async fn share(below: Context, numbers: Sender<u32>) -> Result<(), Error> {
    numbers.send(1).await?;
    below.call(count, (2, 4, numbers)).await?;
    std::future::pending().await
}

/// Sends to all that it can, until it is told not to.
fn intrude(to: Sender<u32>) -> Result<(), Error> {
    (0..1000).try_for_each(|_| {
        std::thread::sleep(Duration::from_millis(1));
        to.blocking_send(666)
    })
}
export!(share, intrude);
export!(count, pour, count_and_fail, count_and_die, count_and_panic, close_first, for_ever, wait_for_end);
export!(concurrent relay);

#[test]
fn a_stream_ends_with_its_call_and_gives_the_result() {
    let tree = Tree::new();
    let child = tree.child();
    let mut stream = child.stream(count, |numbers| (10, 99, numbers));
    assert_eq!((stream.context(), stream.function().ends_with("::count")), (&child, true));
    let numbers: Result<Vec<u32>, Error> = (&mut stream).into_iter().collect();
    assert_eq!(numbers.unwrap(), (10..99).collect::<Vec<_>>());
    assert_eq!(stream.blocking_next(), None, "it stays ended");
    for _ in 0..2 {
        assert_eq!(stream.blocking_result().unwrap(), "counted to 99");
    }
}

#[test]
fn values_that_nobody_awaited_come_before_the_end() {
    let tree = Tree::new();
    for context in [tree.child(), tree.behind(&tree.child())] {
        let mut stream = context.stream(pour, |to| (300, to));
        std::thread::sleep(LIMIT);
        let values: Result<Vec<Blob>, Error> = (&mut stream).into_iter().collect();
        let firsts: Vec<u8> = values.unwrap().iter().map(|value| value.0[0]).collect();
        assert_eq!(firsts, (0..300u32).map(|value| value.to_le_bytes()[0]).collect::<Vec<_>>());
        assert_eq!(stream.blocking_result().unwrap(), 300);
    }
}

#[test]
fn the_error_of_the_call_is_the_last_item_and_the_result() {
    let tree = Tree::new();
    let child = tree.child();
    let mut stream = child.stream(count_and_fail, |numbers| (3, numbers));
    let mut items: Vec<_> = (&mut stream).into_iter().collect();
    let error = items.pop().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Call(call) if call.message == "out of numbers"), "{error:?}");
    assert_eq!(items, [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(stream.blocking_next(), None);
    assert_eq!(stream.blocking_result().unwrap_err(), error);
    assert_eq!(stream.blocking_result().unwrap_err(), error);
    let items: Vec<_> = child.stream(count_and_panic, |numbers| (2, numbers)).into_iter().collect();
    assert!(matches!(&items[..], [Ok(0), Ok(1), Err(Error::Call(_))]), "{items:?}");
}

#[test]
fn the_death_of_the_child_is_the_last_item() {
    let tree = Tree::new();
    let mut stream = tree.child().stream(count_and_die, |numbers| (3, numbers));
    let begun = Instant::now();
    let items: Vec<_> = (&mut stream).into_iter().collect();
    assert!(matches!(&items[..], [Ok(0), Ok(1), Ok(2), Err(Error::Channel { .. })]), "{items:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(matches!(stream.blocking_result(), Err(Error::Channel { .. })));
}

#[test]
fn a_function_that_closes_its_sender_goes_on_to_its_result() {
    let tree = Tree::new();
    let mut stream = tree.child().stream(close_first, |numbers| (numbers,));
    assert_eq!(stream.blocking_next(), Some(Ok(1)));
    assert_eq!(stream.blocking_next(), None);
    assert_eq!(stream.blocking_result().unwrap(), 7);
}

#[test]
fn the_result_can_be_had_without_the_values() {
    let tree = Tree::new();
    let mut stream = tree.child().stream(count, |numbers| (0, 100_000, numbers));
    assert_eq!(stream.blocking_result().unwrap(), "counted to 100000");
}

#[test]
fn a_dropped_stream_cancels_its_call() {
    let tree = Tree::new();
    let child = tree.child();
    let mut stream = child.stream(wait_for_end, |ready| (ready,));
    assert_eq!(stream.blocking_next(), Some(Ok(())));
    drop(stream);
    // Or this one would wait for it.
    child.timeout(Duration::from_secs(10)).blocking_call(super::pid, ()).unwrap();
    let mut stream = child.stream(for_ever, |numbers| (numbers,));
    assert_eq!(stream.blocking_next(), Some(Ok(0)));
    drop(stream);
    child.timeout(Duration::from_secs(10)).blocking_call(super::pid, ()).unwrap();
}

#[test]
fn a_limit_ends_a_stream() {
    let tree = Tree::new();
    let child = tree.child();
    let mut stream = child.timeout(LIMIT).stream(for_ever, |numbers| (numbers,));
    let (mut next, mut last) = (0, None);
    for item in &mut stream {
        match item {
            Ok(number) => next += u32::from(number == next),
            Err(error) => last = Some(error),
        }
    }
    assert!(next > 0 && matches!(last, Some(Error::Timeout { .. })), "{next} {last:?}");
    assert!(matches!(stream.blocking_result(), Err(Error::Timeout { .. })));
}

#[test]
fn a_stream_passes_through_a_function_that_streams_itself() {
    let tree = Tree::new();
    let child = tree.child();
    let below = tree.behind(&child);
    let mut stream = child.stream(relay, |numbers| (below, 1000, numbers));
    let numbers: Result<Vec<u32>, Error> = (&mut stream).into_iter().collect();
    assert_eq!(numbers.unwrap(), (0..1000).collect::<Vec<_>>());
    assert_eq!(stream.blocking_result().unwrap(), "counted to 1000");
}

#[test]
fn a_stream_of_what_cannot_run_ends_with_why() {
    let tree = Tree::new();
    let child = tree.child();
    child.blocking_shutdown();
    let items: Vec<_> = child.stream(count, |numbers| (0, 3, numbers)).into_iter().collect();
    assert!(matches!(&items[..], [Err(Error::Channel { .. })]), "{items:?}");
}

#[test]
fn a_stream_takes_values_of_the_called_context_and_of_those_below_it_alone() {
    let tree = Tree::new();
    let (child, other) = (tree.child(), tree.child());
    let below = tree.behind(&child);
    let mut known = None;
    let mut stream = child.stream(share, |numbers: Sender<u32>| {
        known = Some(numbers.clone());
        (below, numbers)
    });
    let mut next = || stream.blocking_next().unwrap();
    assert_eq!([next(), next(), next()], [Ok(1), Ok(2), Ok(3)]);
    let refused = other.blocking_call(intrude, (known.unwrap(),)).unwrap_err();
    assert!(refused.to_string().contains("reply from unexpected context"), "{refused}");
    child.blocking_shutdown();
    let rest: Vec<_> = stream.into_iter().collect();
    assert!(matches!(&rest[..], [Err(Error::Channel(_))]), "{rest:?}");
}
