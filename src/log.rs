//! Log records: from every context to the master, which hands them to
//! `tracing` or to the user's hook.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{self, Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::message::{ContextId, printable};
use crate::outbox::MAX_LOG_BYTES;
use crate::router::{Command, Shared};

/// Bytes of one record's text: a record is one frame.
const MAX_TEXT: usize = 32 * 1024;
/// Records that wait for a slow reader of the master's log.
const MAX_WAITING: usize = 4096;

/// A log record that was made in another context.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The context that made it, by id.
    pub context: ContextId,
    /// The same by name.
    pub context_name: String,
    /// What in the context made it: a module path, or `stdout` or `stderr`
    /// for what was printed.
    pub target: String,
    /// 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub level: u8,
    /// The text, without control characters.
    pub message: String,
    /// The other fields of a `tracing` event.
    pub fields: Vec<(String, String)>,
    /// The queue that it takes room in until it has left.
    #[serde(skip)]
    room: Option<Arc<LogRoom>>,
}

/// Called with each record, on a thread of its own.
pub type LogHook = Arc<dyn Fn(&Record) + Send + Sync>;

/// How much of a context's log may be on its way.
#[derive(Debug, Default)]
pub(crate) struct LogRoom {
    queued: AtomicUsize,
    dropped: AtomicU64,
}

impl Record {
    fn new(target: &str, level: u8, message: &str) -> Self {
        Self {
            context: ContextId::MASTER,
            context_name: String::new(),
            target: target.to_owned(),
            level,
            message: cut(message),
            fields: Vec::new(),
            room: None,
        }
    }

    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        64 + self.target.len() + self.message.len() + fields
    }

    /// The record as it arrived from `context`, made safe to print.
    pub(crate) fn made_by(self, context: ContextId, name: Option<String>) -> Self {
        Self {
            context,
            context_name: name.unwrap_or_else(|| format!("context {context}")),
            target: printable(&self.target),
            message: printable(&self.message),
            fields: self.fields.into_iter().map(|(name, value)| (printable(&name), printable(&value))).collect(),
            ..self
        }
    }

    /// It has left the queue.
    pub(crate) fn sent(&self) {
        if let Some(room) = &self.room {
            room.queued.fetch_sub(self.size(), Ordering::Relaxed);
        }
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{} [cut]", &text[..end])
}

/// Puts the records of a child into the queue to its I/O side, and drops what
/// is too much.
#[derive(Debug, Clone)]
pub(crate) struct LogSource {
    shared: Arc<Shared>,
    room: Arc<LogRoom>,
    level: LevelFilter,
}

impl LogSource {
    /// `level` is the most verbose one that the parent wants, 0 to 5.
    pub(crate) fn new(shared: Arc<Shared>, level: u8) -> Self {
        Self { shared, room: Arc::default(), level: filter(level) }
    }

    /// A line that was printed.
    pub(crate) fn line(&self, stream: &str, line: &[u8]) {
        if self.level >= LevelFilter::INFO {
            self.push(Record::new(stream, 3, &String::from_utf8_lossy(line)));
        }
    }

    fn push(&self, mut record: Record) {
        let size = record.size();
        if self.room.queued.fetch_add(size, Ordering::Relaxed) + size > MAX_LOG_BYTES {
            self.room.queued.fetch_sub(size, Ordering::Relaxed);
            self.room.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.room.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} log records were dropped because they came too fast");
            self.shared.command(Command::Log(Record::new("offshoot", 2, &text)));
        }
        record.room = Some(Arc::clone(&self.room));
        self.shared.command(Command::Log(record));
    }
}

/// The whole subscriber of a child: events go to the master, spans are not
/// kept. (A registry of spans would be in every image.)
impl Subscriber for LogSource {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= &self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = number(*event.metadata().level());
        let mut record = Record::new(event.metadata().target(), level, &text.message);
        record.fields = text.fields;
        self.push(record);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The number of a level, 1 error to 5 trace.
pub(crate) fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn filter(number: u8) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// The most verbose level that anyone here listens to; at least what children
/// print is wanted.
pub(crate) fn current_level() -> u8 {
    LevelFilter::current().into_level().map_or(0, number).max(3)
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = cut(&format!("{value:?}"));
        if field.name() == "message" {
            self.message = value;
        } else if self.fields.len() < 32 && self.fields.iter().map(|field| field.1.len()).sum::<usize>() < MAX_TEXT / 2
        {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}

/// The master's end: a thread that hands records on, so that a slow terminal
/// cannot stop the I/O thread.
#[derive(Default)]
pub(crate) struct LogSink {
    hook: Arc<Mutex<Option<LogHook>>>,
    thread: RefCell<Option<(SyncSender<Record>, JoinHandle<()>)>>,
    dropped: Cell<u64>,
}

impl LogSink {
    pub(crate) fn set_hook(&self, hook: LogHook) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    pub(crate) fn emit(&self, mut record: Record) {
        let mut thread = self.thread.borrow_mut();
        if thread.is_none() {
            let (queue, records) = sync_channel::<Record>(MAX_WAITING);
            let hook = Arc::clone(&self.hook);
            let spawned = std::thread::Builder::new().name("offshoot-log".into()).spawn(move || {
                for record in records {
                    let hook = hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    match hook {
                        Some(hook) => hook(&record),
                        None => to_tracing(&record),
                    }
                }
            });
            *thread = spawned.ok().map(|thread| (queue, thread));
        }
        let Some((queue, _)) = &*thread else { return };
        let dropped = self.dropped.get();
        if dropped > 0 {
            record.fields.push(("dropped_before".into(), dropped.to_string()));
        }
        if queue.try_send(record).is_ok() {
            self.dropped.set(0);
        } else {
            self.dropped.set(dropped + 1);
        }
    }

    /// Lets what is queued be handed on, for a second at most.
    pub(crate) fn close(&self) {
        let Some((queue, thread)) = self.thread.borrow_mut().take() else {
            return;
        };
        drop(queue);
        for _ in 0..100 {
            if thread.is_finished() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn to_tracing(record: &Record) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "offshoot::remote",
                Level::$level,
                context = %record.context_name,
                origin = %record.target,
                fields = ?record.fields,
                "{}",
                record.message
            )
        };
    }
    match record.level {
        1 => event!(ERROR),
        2 => event!(WARN),
        3 => event!(INFO),
        4 => event!(DEBUG),
        _ => event!(TRACE),
    }
}
