//! Log records. Each context sends its records to the master. The master passes all records to its log.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::io::Io;
#[cfg(feature = "cli")]
use crate::engine::last_words::FarWords;
use crate::engine::links::Fault;
#[cfg(feature = "cli")]
use crate::engine::log::levels::LAUNCHER;
use crate::engine::log::{LogHook, LogSink, OwnEvent, Record, log_later};
use crate::routing::table::LinkId;
use crate::wire::codec;
use crate::wire::message::{ContextId, Handle, Lane, Message};

/// Time for the last records to be passed on.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// The destination of log records.
pub(crate) struct Logs {
    /// The log of the master. All other contexts have none.
    sink: Option<Box<dyn LogSink>>,
    /// What launchers of other contexts wrote.
    #[cfg(feature = "cli")]
    pub(super) far_words: FarWords,
}

impl Logs {
    pub(super) fn new(sink: Option<Box<dyn LogSink>>) -> Self {
        Self {
            sink,
            #[cfg(feature = "cli")]
            far_words: FarWords::default(),
        }
    }

    /// Logs an event of the I/O thread; see [`log_later`].
    pub(super) fn own(&self, bytes: usize, event: OwnEvent) {
        match &self.sink {
            Some(sink) => sink.own(bytes, event),
            None => event(),
        }
    }

    pub(super) fn set_hook(&self, hook: LogHook) {
        if let Some(sink) = &self.sink {
            sink.set_hook(hook);
        }
    }

    /// Sends a record of this context to the master.
    pub(super) fn forward(&self, io: &Rc<Io>, record: Record) {
        if let Some(sink) = &self.sink {
            return sink.emit(record);
        }
        // A context that has detached has no master.
        if !io.detaching().has_left()
            && let Ok(data) = codec::encode(&record)
        {
            let data = Bytes::from(data);
            io.send(Message { lane: Lane::Log, ..Message::new(ContextId::MASTER, Handle::FORWARD_LOG, data) });
        }
        record.sent();
    }

    /// Logs information that was requested, one record per line.
    pub(super) fn tell(&self, io: &Rc<Io>, target: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        for line in lines {
            let name = Some(io.shared.name.clone());
            self.forward(io, Record::new(target, 3, line.as_ref()).made_by(io.shared.me, name));
        }
    }

    /// Handles a record of another context, in the master.
    pub(super) fn on_record(&self, io: &Io, message: &Message, from: Option<LinkId>) {
        match codec::decode::<Record>(&message.data, None) {
            Ok(record) => {
                let name = io.with_routing(|routing| routing.name(message.src).map(str::to_owned));
                #[cfg(feature = "cli")]
                if record.target == LAUNCHER
                    && let Some(name) = &name
                {
                    self.far_words.note(name, &record.message);
                }
                if let Some(sink) = &self.sink {
                    sink.emit(record.made_by(message.src, name));
                }
            }
            Err(why) if io.may_complain(from, Fault::Record) => {
                log_later!(io, WARN, "bad log record from context {}: {why}", message.src);
            }
            Err(_) => {}
        }
    }

    /// Waits until the last records have been passed on. The wait has a time limit, so a blocked reader does
    /// not prevent the end.
    pub(super) async fn close(&self) {
        if let Some(sink) = &self.sink {
            let _ = tokio::time::timeout(LAST_RECORDS, sink.close()).await;
        }
    }
}
