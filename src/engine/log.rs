//! Log records: from every context to the master, which hands them to
//! `tracing` or to the user's hook.

mod debug;
mod file;
pub(crate) mod levels;
#[cfg(feature = "cli")]
pub(crate) mod pace;
mod relay;
mod sink;
mod source;

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{self, Attributes, Id};
use tracing::{Level, Metadata, Subscriber};

pub(crate) use debug::DebugLog;
pub(crate) use file::enable_debug;
pub use file::log_to_file;
pub(crate) use levels::Levels;
pub(crate) use relay::{emit, has_subscriber, wanted};
pub(crate) use sink::{LogSink, MasterSink, OwnEvent};
pub(crate) use source::LogSource;

use crate::wire::message::ContextId;
use crate::wire::sanitize::printable;

/// Logs on the I/O thread, which must not wait for a subscriber: in a master the
/// thread of the log makes the event; in a child an event is queued in any case.
macro_rules! log_later {
    ($io:expr, target: $target:literal, $level:ident, $($text:tt)+) => {
        if tracing::enabled!(target: $target, tracing::Level::$level) {
            let text = format!($($text)+);
            $io.log_later(text.len(), Box::new(move || tracing::event!(target: $target, tracing::Level::$level, "{text}")));
        }
    };
    ($io:expr, $level:ident, $($text:tt)+) => {
        if tracing::enabled!(tracing::Level::$level) {
            let text = format!($($text)+);
            $io.log_later(text.len(), Box::new(move || tracing::event!(tracing::Level::$level, "{text}")));
        }
    };
}
pub(crate) use log_later;

/// Bytes of one record's text: a record is one frame.
const MAX_TEXT: usize = 32 * 1024;
/// Bytes of all its other fields.
const MAX_FIELDS: usize = 16 * 1024;
/// Bytes of a target or of a field's name.
pub(crate) const MAX_NAME: usize = 255;
const CUT: &str = " [cut]";

/// A log record that was made in another context.
///
/// Its texts come from there: they are bounded, and free of control
/// characters before this process shows them. `Display` gives one line:
/// `target.[context]: message name=value`.
///
/// [`RouterBuilder`](crate::router::RouterBuilder) has an example that looks at some.
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
    room: Option<Arc<source::Room>>,
}

/// Called with each record, on a thread of its own.
pub(crate) type LogHook = Arc<dyn Fn(&Record) + Send + Sync>;

impl Record {
    pub(crate) fn new(target: &str, level: u8, message: &str) -> Self {
        Self {
            context: ContextId::MASTER,
            context_name: String::new(),
            target: cut(target, MAX_NAME),
            level,
            message: cut(message, MAX_TEXT),
            fields: Vec::new(),
            room: None,
        }
    }

    fn of_dropped(count: u64) -> Self {
        Self::new("offshoot", 2, &format!("{count} log records were dropped because they came too fast"))
    }

    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        128 + self.target.len() + self.message.len() + fields
    }

    /// The record as it arrived from `context`.
    pub(crate) fn made_by(self, context: ContextId, name: Option<String>) -> Self {
        Self { context, context_name: name.unwrap_or_else(|| format!("context {context}")), ..self }
    }

    /// The same, safe to print.
    fn escaped(self) -> Self {
        Self {
            level: self.level.clamp(1, 5),
            target: printable(&self.target),
            message: printable(&self.message),
            fields: self.fields.into_iter().map(|(name, value)| (printable(&name), printable(&value))).collect(),
            ..self
        }
    }

    /// It has left the queue.
    pub(crate) fn sent(&self) {
        if let Some(room) = &self.room {
            room.free(self.size());
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.[{}]: {}", self.target, self.context_name, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// What a [`Recorder`] hands events to.
trait Taker: 'static {
    /// Whether an event of this target and level is wanted. The answer is
    /// remembered for each place in the code.
    fn wants(&self, target: &str, level: u8) -> bool;
    /// The most verbose level of anything wanted.
    fn most(&self) -> u8;
    fn take(&self, metadata: &Metadata<'_>, level: u8, event: Event);
}

/// A whole subscriber: events with their fields, and no spans. (A registry of
/// spans would be in every image.)
pub(crate) struct Recorder<T>(pub(crate) T);

thread_local! {
    /// This thread is taking an event: what it logs meanwhile has no end.
    static TAKING: Cell<bool> = const { Cell::new(false) };
}

impl<T: Taker> Subscriber for Recorder<T> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.wants(metadata.target(), number(*metadata.level()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(levels::filter(self.0.most()))
    }

    fn event(&self, event: &tracing::Event<'_>) {
        if TAKING.replace(true) {
            return;
        }
        let mut taken = Event::default();
        event.record(&mut taken);
        let metadata = event.metadata();
        self.0.take(metadata, number(*metadata.level()), taken);
        TAKING.set(false);
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
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The text and the fields of a `tracing` event, of bounded size.
#[derive(Default)]
struct Event {
    message: String,
    fields: Vec<(String, String)>,
    /// Bytes of `fields`.
    size: usize,
}

impl Visit for Event {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = written(MAX_TEXT, format_args!("{value:?}"));
        } else if self.size < MAX_FIELDS {
            let value = written(MAX_FIELDS - self.size, format_args!("{value:?}"));
            let name = cut(field.name(), MAX_NAME);
            self.size += name.len() + value.len() + 16;
            self.fields.push((name, value));
        }
    }
}

/// `text`, cut where it gets too long.
pub(crate) fn cut(text: &str, max: usize) -> String {
    written(max, format_args!("{text}"))
}

/// What `text` says, cut where it gets too long; the rest is not even made.
fn written(max: usize, text: fmt::Arguments<'_>) -> String {
    struct Bounded(String, usize);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = self.1 - self.0.len();
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            let end = (0..=left).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            self.0.push_str(&text[..end]);
            Err(fmt::Error)
        }
    }
    let mut bounded = Bounded(String::new(), max);
    if bounded.write_fmt(text).is_err() {
        bounded.0.push_str(CUT);
    }
    bounded.0
}
