//! The functions that run a source or a sink in another context.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::draft::Drafts;
use super::message::{Destination, Note, Options, Outcome, Reason, Stop, Tally, ToSink, ToSource};
use super::source::Source;
use super::target::Target;
use super::{sink, source};
use crate::api::econtext::Econtext;
use crate::api::function::Value;
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::sys::blocking::on_other_thread;
use crate::wire::codec::Blob;

/// The files that are brought to the disk at once. Most systems allow 1,024 open files.
const READY: usize = 128;

impl Value for Outcome {}

/// Ends a copy that runs on another thread when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) drafts: Drafts,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.drafts.end();
    }
}

/// Closes a receiver when it is dropped, so that a thread that waits for a value goes on.
#[derive(Debug)]
pub(crate) struct Closing<T>(pub(crate) Receiver<T>);

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Writes what the caller sends by the sender that it gets through `ready`.
pub(crate) async fn receive_tree(
    econtext: &Econtext,
    (destination, options): (Destination, Options),
    answers: Sender<ToSource>,
    notes: Sender<Note>,
    ready: Sender<Sender<ToSink>>,
) -> Outcome {
    let messages: Receiver<ToSink> = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
    let (running, closing) = (Running::default(), Closing(messages.clone()));
    let (drafts, stop) = (running.drafts.clone(), Arc::clone(&running.stop));
    if ready.send(messages.sender()).await.is_err() {
        return Outcome { tally: Tally::default(), stopped: Some(Stop::gone()) };
    }
    let work = move || {
        // If nobody hears it any more, the copy ends soon by itself.
        let tell = Box::new(move |note| drop(notes.blocking_send(note)));
        let target = Target::open(destination, options, (drafts, READY), (tell, stop));
        sink::drive(target, &messages, &answers, None)
    };
    let outcome = on_other_thread(work).await;
    drop((running, closing));
    outcome.unwrap_or_else(|_| panicked())
}
crate::export!(bound receive_tree);

/// Sends trees to the caller, who gets the sender for the answers through `ready`.
pub(crate) async fn send_tree(
    econtext: &Econtext,
    (sources, options): (Vec<Blob>, Options),
    messages: Sender<ToSink>,
    ready: Sender<Sender<ToSource>>,
) -> Outcome {
    let answers: Receiver<ToSource> = Receiver::from_context(econtext.shared(), econtext.caller_id(), true);
    let (running, closing) = (Running::default(), Closing(answers.clone()));
    let stop = Arc::clone(&running.stop);
    if ready.send(answers.sender()).await.is_err() {
        return Outcome { tally: Tally::default(), stopped: Some(Stop::gone()) };
    }
    let work = move || {
        let mut source = Source::new(&sources, &options, &stop);
        let stopped = source::drive(&mut source, &messages, &answers, None).err();
        Outcome { tally: Tally::default(), stopped }
    };
    let outcome = on_other_thread(work).await;
    drop((running, closing));
    outcome.unwrap_or_else(|_| panicked())
}
crate::export!(bound send_tree);

pub(crate) fn panicked() -> Outcome {
    let text = "a fault of this program: the copy panicked";
    Outcome { tally: Tally::default(), stopped: Some(Stop::new(Reason::Io, text)) }
}
