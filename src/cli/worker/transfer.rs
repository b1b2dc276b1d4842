//! The copies of `push` and `pull` on one host. The side that is here runs on a thread where it may block.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::Worker;
use super::failure::failed;
use crate::builtin::file::tree::message::{
    Destination, Fault, Note, Outcome, Place, Reason, Stop, Tally, ToSink, ToSource, Watch,
};
use crate::builtin::file::tree::pace::Pace;
use crate::builtin::file::tree::remote::{Closing, Running, panicked, receive_tree, send_tree};
use crate::builtin::file::tree::source::Source;
use crate::builtin::file::tree::target::Target;
use crate::builtin::file::tree::{sink, source};
use crate::cli::hosts::path::{HostPath, Method};
use crate::cli::output::file_name::file_name;
use crate::cli::output::report::{HostEvent, HostExit, Stream};
use crate::cli::output::summary::Status;
use crate::cli::output::visible;
use crate::cli::transfer::meter::Meter;
use crate::cli::transfer::{Transfer, Way, in_json, in_words, would};
use crate::sys::blocking::on_other_thread;
use crate::{Blob, Context, Error, Receiver, Sender};

/// Notes of a sink that wait until they are shown.
const WAITING: usize = 64;
/// The files of one host that are brought to the disk at once: with 32 hosts at a time, all have 512 open.
const READY: usize = 16;
/// The most faults that are told of one host. All are counted.
const TOLD: u64 = 100;

/// What was told of a host that was not copied.
#[derive(Default)]
struct Told {
    count: u64,
    /// Whether the user there may not do that.
    denied: bool,
    /// Whether a name is missing that looks like a pattern.
    is_pattern: bool,
    /// Whether something is mounted in the place of a file.
    is_busy: bool,
}

impl Told {
    /// What to do about it.
    fn advice(&self, host: &HostPath) -> &'static str {
        let is_become = host.hops.last().is_some_and(|hop| Method::BECOMING.contains(&hop.method));
        match self {
            Self { is_pattern: true, .. } => "names on hosts are no patterns; name the directory, and take --exclude",
            Self { denied: true, .. } if !is_become => "-b copies as root",
            Self { is_busy: true, .. } => {
                "what is mounted there can be neither replaced nor deleted; \
                 `offshoot run ... -s 'cat > FILE' < FILE` writes into a file that is mounted"
            }
            _ => "",
        }
    }
}

impl Worker {
    /// Copies to or from the host, and tells the result.
    pub(super) async fn transfer(
        &self,
        context: &Context,
        transfer: &Transfer,
        host: &HostPath,
    ) -> Result<HostExit, Error> {
        let mut told = Told::default();
        let outcome = match &transfer.way {
            Way::Push(destination) => self.push(context, transfer, destination, &mut told).await?,
            Way::Pull(directory) => self.pull(context, transfer, (directory, file_name(&host.text)), &mut told).await?,
        };
        let Outcome { tally, stopped } = outcome;
        if tally != Tally::default() || stopped.is_none() {
            let event = match transfer.is_json {
                true => HostEvent::Result { host: self.host, json: in_json(&tally) },
                false => self.line(Stream::Stdout, &in_words(&tally, transfer.options.dry_run, transfer.is_push())),
            };
            // An error means that the report is gone.
            let _ = self.events.send(event).await;
        }
        let fail = |kind, text| failed(Status::Failed, kind, "copy", context.name(), text);
        Ok(match stopped {
            Some(Stop { reason: Reason::Gone, text }) => {
                failed(Status::Unreachable, "disconnect", "copy", context.name(), text)
            }
            Some(Stop { reason, text }) => {
                let mut exit = fail(reason.as_str(), text);
                if let (Reason::NotFound, Way::Push(_), Some(info)) = (reason, &transfer.way, &mut exit.error) {
                    info.advice =
                        "push makes the last directory only; make those before it by `offshoot run ... -- mkdir -p`"
                            .into();
                }
                exit
            }
            None if tally.failed > 0 => {
                let what = if tally.failed == 1 { "1 file or directory was" } else { "several were" };
                let count = if tally.failed == 1 { String::new() } else { format!(" ({})", tally.failed) };
                let mut exit = fail("files", format!("{what} not copied{count}; the reasons are above"));
                exit.error.iter_mut().for_each(|info| info.advice = told.advice(host).into());
                exit
            }
            None => HostExit { status: Status::Ok, ..HostExit::cancelled() },
        })
    }

    async fn push(
        &self,
        context: &Context,
        transfer: &Transfer,
        destination: &Destination,
        told: &mut Told,
    ) -> Result<Outcome, Error> {
        let (shared, id) = (context.shared(), context.id());
        let answers: Receiver<ToSource> = Receiver::from_context(shared, id, true);
        let notes: Receiver<Note> = Receiver::from_context(shared, id, true);
        let ready: Receiver<Sender<ToSink>> = Receiver::from_context(shared, id, true);
        let what = (destination.clone(), transfer.options.clone());
        let mut call = context.call(receive_tree, (what, answers.sender(), notes.sender(), ready.sender()));
        let to = tokio::select! {
            // What was sent before the end of the call counts, also if both are here.
            biased;
            to = ready.recv() => to?,
            outcome = &mut call => return outcome,
        };
        let (running, closing) = (Running::default(), Closing(answers.clone()));
        let (stop, watch) = (Arc::clone(&running.stop), self.watch(transfer, &running));
        let (sources, options) = (transfer.named(), transfer.options.clone());
        let mut sending = on_other_thread(move || {
            let mut source = Source::new(&sources, &options, &stop);
            source::drive(&mut source, &to, &answers, Some(&watch))
        });
        let mut is_sent = false;
        let outcome = loop {
            tokio::select! {
                biased;
                note = notes.recv() => match note {
                    Ok(note) => self.note(told, note).await,
                    Err(error @ Error::Payload(_)) => {
                        break Ok(Outcome { tally: Tally::default(), stopped: Some(Stop::unread(&error)) });
                    }
                    // The call tells why.
                    Err(_) => break call.await,
                },
                outcome = &mut call => break outcome,
                sent = &mut sending, if !is_sent => match sent {
                    Ok(Err(stop)) if stop.reason != Reason::Gone => {
                        break Ok(Outcome { tally: Tally::default(), stopped: Some(stop) });
                    }
                    // What the sink says of it counts.
                    Ok(_) => is_sent = true,
                    Err(_) => break Ok(panicked()),
                },
            }
        };
        drop((running, closing));
        // What was sent before the end of the call has arrived before it.
        while let Ok(Some(note)) = notes.try_recv() {
            self.note(told, note).await;
        }
        outcome
    }

    async fn pull(
        &self,
        context: &Context,
        transfer: &Transfer,
        (directory, name): (&Path, String),
        told: &mut Told,
    ) -> Result<Outcome, Error> {
        let own = directory.join(&name);
        let path = Blob(directory.as_os_str().as_encoded_bytes().to_vec());
        let destination = Destination { path, place: Place::Below(Blob(name.into_bytes())) };
        let (shared, id) = (context.shared(), context.id());
        let messages: Receiver<ToSink> = Receiver::from_context(shared, id, true);
        let ready: Receiver<Sender<ToSource>> = Receiver::from_context(shared, id, true);
        let what = (transfer.named(), transfer.options.clone());
        let mut call = context.call(send_tree, (what, messages.sender(), ready.sender()));
        let answers = tokio::select! {
            // A host that has nothing to send has ended by now, and its faults are still to be taken.
            biased;
            answers = ready.recv() => answers?,
            outcome = &mut call => return outcome,
        };
        let (running, closing) = (Running::default(), Closing(messages.clone()));
        let (stop, drafts) = (Arc::clone(&running.stop), running.drafts.clone());
        let (watch, options) = (self.watch(transfer, &running), transfer.options.clone());
        let (tell, mut notes) = mpsc::channel(WAITING);
        let mut writing: oneshot::Receiver<Outcome> = on_other_thread(move || {
            let tell = Box::new(move |note| drop(tell.blocking_send(note)));
            let is_new = own.symlink_metadata().is_err();
            let target = Target::open(destination, options, (drafts, READY), (tell, Arc::clone(&stop)));
            let mut outcome = sink::drive(target, &messages, &answers, Some(&watch));
            let has_failed = outcome.stopped.is_some() || outcome.tally.failed > 0;
            // A directory that is not empty stays.
            if is_new && has_failed && std::fs::remove_dir(own).is_ok() {
                outcome.tally.made = outcome.tally.made.saturating_sub(1);
            }
            outcome
        });
        let mut far = None;
        let outcome = loop {
            tokio::select! {
                biased;
                Some(note) = notes.recv() => self.note(told, note).await,
                outcome = &mut writing => break outcome.unwrap_or_else(|_| panicked()),
                ended = &mut call, if far.is_none() => {
                    if !matches!(&ended, Ok(Outcome { stopped: None, .. })) {
                        closing.0.close();
                    }
                    far = Some(ended);
                }
            }
        };
        drop((running, closing));
        while let Some(note) = notes.recv().await {
            self.note(told, note).await;
        }
        let is_gone = outcome.stopped.as_ref().is_some_and(|stop| stop.reason == Reason::Gone);
        match far {
            Some(Err(error)) if is_gone => Err(error),
            Some(Ok(Outcome { stopped: Some(stop), .. })) if is_gone => Ok(Outcome { stopped: Some(stop), ..outcome }),
            // The call ends with an error when the connection is lost, and that may arrive later.
            None if is_gone => call.await.map(|_| outcome),
            _ => Ok(outcome),
        }
    }

    fn watch(&self, transfer: &Transfer, running: &Running) -> Watching {
        let (meter, pace) = (transfer.meters.begin(self.host), transfer.pace.clone());
        Watching { meter, pace, stop: Arc::clone(&running.stop) }
    }

    /// Tells a note of a sink.
    async fn note(&self, told: &mut Told, note: Note) {
        let event = match note {
            Note::Would(change, Blob(path)) => {
                self.line(Stream::Stdout, &format!("{} {}", would(change), shown(&path)))
            }
            Note::Fault(Fault { path, why }) => {
                told.count += 1;
                match why.kind() {
                    ErrorKind::PermissionDenied => told.denied = true,
                    ErrorKind::ResourceBusy => told.is_busy = true,
                    ErrorKind::NotFound => told.is_pattern |= path.0.iter().any(|byte| b"*?[".contains(byte)),
                    _ => {}
                }
                if told.count > TOLD {
                    return;
                }
                self.line(Stream::Stderr, &format!("{}: {}", shown(&path.0), visible::word(why.text())))
            }
        };
        // An error means that the report is gone.
        let _ = self.events.send(event).await;
    }

    fn line(&self, stream: Stream, text: &str) -> HostEvent {
        HostEvent::Output { host: self.host, stream, bytes: format!("{text}\n").into_bytes() }
    }
}

/// Counts what is copied, and keeps to the rate.
struct Watching {
    meter: Arc<Mutex<Meter>>,
    pace: Option<Arc<Pace>>,
    stop: Arc<AtomicBool>,
}

impl Watching {
    fn meter(&self) -> std::sync::MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Watching {
    fn message(&self, message: &ToSink) {
        self.pace.iter().for_each(|pace| pace.wait(message.size(), &self.stop));
        self.meter().message(message);
    }

    fn answer(&self, answer: &ToSource) {
        self.meter().answer(answer);
    }
}

/// A path as it is shown. The root has no name.
fn shown(path: &[u8]) -> String {
    let mut shown = Vec::new();
    visible::line(if path.is_empty() { b"." } else { path }, &mut shown);
    // A path may have characters that end a line.
    String::from_utf8_lossy(&shown).replace(['\r', '\t'], "?")
}
