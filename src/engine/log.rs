//! Log records. Every context sends them to the master, which passes them to `tracing` or to the user's hook.

mod debug;
mod file;
pub(crate) mod levels;
#[cfg(feature = "cli")]
pub(crate) mod rate_limit;
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
pub use file::log_to_file;
pub(crate) use file::{enable_debug, levels_of_environment};
pub(crate) use levels::Levels;
pub(crate) use relay::{emit, has_subscriber, wanted};
pub(crate) use sink::{LogSink, MasterSink, OwnEvent};
pub(crate) use source::LogSource;

use crate::wire::message::ContextId;
use crate::wire::sanitize::printable;
use crate::wire::text::beginning;

/// Logs from the I/O thread, which must not wait for a subscriber. In a master, the log's thread creates the
/// event. In a child, an event is queued in any case.
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

/// Maximum size of the text of a record, in bytes. A record fits into one frame.
const MAX_TEXT: usize = 32 * 1024;
/// Maximum size of all other fields of a record, in bytes.
const MAX_FIELDS: usize = 16 * 1024;
/// Maximum size of a target or a field name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
const CUT: &str = " [cut]";

/// A log record that was made in another context.
///
/// The other context supplies the texts. Their size is limited, and control characters are removed before
/// this process shows them. `Display` writes one line: `target.[context]: message name=value`.
///
/// [`RouterBuilder`](crate::router::RouterBuilder) has an example that reads records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The id of the context that made the record.
    pub context: ContextId,
    /// The name of that context.
    pub context_name: String,
    /// The origin of the record in that context: a module path, or `stdout` or `stderr` for output.
    pub target: String,
    /// The level: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub level: u8,
    /// The text, without control characters.
    pub message: String,
    /// The other fields of a `tracing` event.
    pub fields: Vec<(String, String)>,
    /// The queue in which the record occupies room until it has been sent.
    #[serde(skip)]
    room: Option<Arc<source::Room>>,
}

/// A function that is called with each record, on a separate thread.
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

    /// Sets the context that the record came from.
    pub(crate) fn made_by(self, context: ContextId, name: Option<String>) -> Self {
        Self { context, context_name: name.unwrap_or_else(|| format!("context {context}")), ..self }
    }

    /// Returns the record with texts that are safe to print.
    fn escaped(self) -> Self {
        Self {
            level: self.level.clamp(1, 5),
            // The name of the context comes behind it, so it must look like no other name, and must not hide that one.
            target: beginning(&self.target, MAX_NAME).replace(|c| !is_of_target(c), "_"),
            message: printable(&self.message),
            fields: self.fields.into_iter().map(|(name, value)| (printable(&name), printable(&value))).collect(),
            ..self
        }
    }

    /// Frees the room of the record, because it has left the queue.
    pub(crate) fn sent(&self) {
        if let Some(room) = &self.room {
            room.free(self.size());
        }
    }
}

/// Whether a character is one of those of which the paths of modules, and the names of outputs, consist.
fn is_of_target(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:.-".contains(c)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.[{}]: {}", self.target, self.context_name, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The receiver of the events of a [`Recorder`].
trait Taker: 'static {
    /// Whether an event with this target and level is wanted. `tracing` remembers the answer for each place
    /// in the code.
    fn wants(&self, target: &str, level: u8) -> bool;
    /// The most verbose level that is wanted of any target.
    fn most(&self) -> u8;
    fn take(&self, metadata: &Metadata<'_>, level: u8, event: Event);
}

/// A complete subscriber. It records events with their fields, and no spans. (A registry of spans would
/// enlarge every image.)
pub(crate) struct Recorder<T>(pub(crate) T);

thread_local! {
    /// Whether this thread is handling an event. Events that it logs meanwhile are ignored, since they would
    /// cause an endless recursion.
    static TAKING: Cell<bool> = const { Cell::new(false) };
}

/// Says on drop that the thread no longer handles an event.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        TAKING.set(false);
    }
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
        // Also if what is logged panics while it is formatted.
        let _taken = Taken;
        let mut taken = Event::default();
        event.record(&mut taken);
        let metadata = event.metadata();
        self.0.take(metadata, number(*metadata.level()), taken);
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

/// Returns `text`, cut at the maximum size.
pub(crate) fn cut(text: &str, max: usize) -> String {
    written(max, format_args!("{text}"))
}

/// Formats `text`, cut at the maximum size. The rest is not formatted.
fn written(max: usize, text: fmt::Arguments<'_>) -> String {
    struct Bounded(String, usize);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = self.1 - self.0.len();
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(beginning(text, left));
            Err(fmt::Error)
        }
    }
    let mut bounded = Bounded(String::new(), max);
    if bounded.write_fmt(text).is_err() {
        bounded.0.push_str(CUT);
    }
    bounded.0
}
