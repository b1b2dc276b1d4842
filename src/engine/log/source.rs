//! A child's end of the log. It passes the log events and the output of the child to its I/O side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracing::Metadata;

use crate::engine::log::file::{self, line};
use crate::engine::log::levels::{IO, Levels};
use crate::engine::log::{DebugLog, Event, Record, Taker};
use crate::engine::shared::{Request, Shared};
use crate::routing::outbox::MAX_LOG_BYTES;

/// The amount of log records that may wait for the I/O side.
#[derive(Debug, Default)]
pub(crate) struct Room {
    queued: AtomicUsize,
    dropped: AtomicU64,
}

impl Room {
    pub(super) fn free(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Adds the records of a child to the queue to its I/O side, and drops records that exceed the limit. Records
/// that are queued before the link exists are sent, in order, when it exists.
#[derive(Debug, Clone)]
pub(crate) struct LogSource {
    shared: Arc<Shared>,
    room: Arc<Room>,
    levels: Arc<Levels>,
    debug: Option<Arc<DebugLog>>,
}

impl LogSource {
    /// Creates the source. `levels` are the levels that the master shows. `debug` gets all records.
    pub(crate) fn new(shared: Arc<Shared>, levels: Levels, debug: Option<DebugLog>) -> Self {
        Self { shared, room: Arc::default(), levels: Arc::new(levels), debug: debug.map(Arc::new) }
    }

    /// Logs a line of output.
    pub(crate) fn line(&self, stream: &str, line: &[u8]) {
        let wanted = self.levels.of(stream) >= 3;
        if wanted || self.debug.is_some() || file::wants(stream, 3) {
            let text = String::from_utf8_lossy(line);
            self.note(stream, 3, &text, &[]);
            if wanted {
                self.push(Record::new(stream, 3, &text));
            }
        }
    }

    /// Writes a record to the log files of this context, if there are any.
    fn note(&self, target: &str, level: u8, message: &str, fields: &[(String, String)]) {
        file::write_own(target, level, message, fields);
        if let Some(debug) = self.debug.as_ref().filter(|_| DebugLog::wants(target, level)) {
            debug.write(&line(target, None, level, message, fields));
        }
    }

    fn push(&self, mut record: Record) {
        let size = record.size();
        if self.room.queued.fetch_add(size, Ordering::Relaxed) + size > MAX_LOG_BYTES {
            self.room.free(size);
            self.room.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.room.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.shared.request(Request::Log(Record::of_dropped(dropped)));
        }
        record.room = Some(Arc::clone(&self.room));
        self.shared.request(Request::Log(record));
    }

    /// Whether to send a record to the master. Records that sending would cause again are never sent.
    fn forwards(&self, target: &str, level: u8) -> bool {
        !target.starts_with(IO) && self.levels.of(target) >= level
    }
}

impl Taker for LogSource {
    fn wants(&self, target: &str, level: u8) -> bool {
        self.forwards(target, level)
            || (self.debug.is_some() && DebugLog::wants(target, level))
            || file::wants(target, level)
    }

    fn most(&self) -> u8 {
        if self.debug.is_some() { 5 } else { self.levels.most().max(file::most()) }
    }

    fn take(&self, metadata: &Metadata<'_>, level: u8, event: Event) {
        self.note(metadata.target(), level, &event.message, &event.fields);
        if self.forwards(metadata.target(), level) {
            let fields = event.fields;
            self.push(Record { fields, ..Record::new(metadata.target(), level, &event.message) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::log::Recorder;
    use crate::engine::mailbox;
    use crate::engine::shared::Settings;
    use crate::wire::message::ContextId;

    fn source(levels: &str) -> (LogSource, mailbox::Receiver<Request>) {
        let parents = vec![ContextId::MASTER];
        let levels = Levels::parse(levels).unwrap();
        let settings = Settings {
            max_message_size: 1 << 20,
            unidirectional: false,
            allowed: None,
            levels: crate::engine::shared::Levels::Copied(levels.clone()),
            debug: false,
            profiling: false,
        };
        let (shared, queue) = Shared::new(ContextId(1), "local.1".into(), parents, settings);
        (LogSource::new(shared, levels, None), queue)
    }

    fn records(queue: &mut mailbox::Receiver<Request>) -> Vec<Record> {
        let record = |request| match request {
            Request::Log(record) => Some(record),
            _ => None,
        };
        queue.taken().into_iter().flatten().filter_map(record).collect()
    }

    #[test]
    fn records_wait_for_the_stream_in_their_order() {
        let (source, mut queue) = source("info");
        source.line("stdout", b"first");
        tracing::subscriber::with_default(Recorder(source.clone()), || tracing::info!(target: "app", "second"));
        source.line("stderr", b"third");
        let texts: Vec<_> = records(&mut queue).into_iter().map(|record| (record.target, record.message)).collect();
        let expected = [("stdout", "first"), ("app", "second"), ("stderr", "third")];
        assert_eq!(texts, expected.map(|(target, text)| (target.to_owned(), text.to_owned())));
    }

    #[test]
    fn what_the_master_does_not_show_is_not_even_queued() {
        let (source, mut queue) = source("warn,app=debug");
        source.line("stdout", b"unheard");
        tracing::subscriber::with_default(Recorder(source), || {
            tracing::debug!(target: "app::db", "shown");
            tracing::trace!(target: "app", "too fine");
            tracing::info!(target: "other", "unheard");
        });
        let texts: Vec<_> = records(&mut queue).into_iter().map(|record| record.message).collect();
        assert_eq!(texts, ["shown"]);
    }

    #[test]
    fn frames_are_never_told_by_frames() {
        let (source, mut queue) = source("trace,offshoot::io=trace");
        tracing::subscriber::with_default(Recorder(source), || tracing::trace!(target: "offshoot::io", "a frame"));
        assert!(records(&mut queue).is_empty());
    }

    #[test]
    fn a_value_that_logs_while_it_is_logged_does_so_once() {
        struct Loud;
        impl std::fmt::Debug for Loud {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                tracing::info!(value = ?self, "of me");
                f.write_str("Loud")
            }
        }
        let (source, mut queue) = source("info");
        tracing::subscriber::with_default(Recorder(source), || tracing::info!(value = ?Loud, "outer"));
        let records = records(&mut queue);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].fields, [("value".to_owned(), "Loud".to_owned())]);
    }

    #[test]
    fn a_record_is_one_frame_however_much_was_logged() {
        let (source, mut queue) = source("info");
        let long = "x".repeat(1 << 20);
        tracing::subscriber::with_default(Recorder(source.clone()), || {
            tracing::info!(a = %long, b = %long, c = %long, "{long}");
        });
        source.line("stdout", long.as_bytes());
        for record in records(&mut queue) {
            let size = crate::wire::codec::encode(&record).unwrap().len();
            assert!(size > 32 * 1024 && size < crate::wire::frame::MAX_PAYLOAD, "{size}");
            assert!(record.message.ends_with("[cut]"));
        }
    }

    #[test]
    fn what_comes_too_fast_is_dropped_and_counted() {
        let (source, mut queue) = source("info");
        for _ in 0..200 {
            source.line("stdout", &[b'x'; 16 * 1024]);
        }
        let kept = records(&mut queue);
        assert!(kept.len() < 70, "{}", kept.len());
        kept.iter().for_each(Record::sent);
        source.line("stdout", b"again");
        let after: Vec<_> = records(&mut queue).into_iter().map(|record| record.message).collect();
        let dropped = 200 - kept.len();
        assert_eq!(after, [format!("{dropped} log records were dropped because they came too fast"), "again".into()]);
    }
}
