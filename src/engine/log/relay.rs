//! Converts records of other contexts to `tracing` events of this process, and finds out which records this
//! process shows.
//!
//! In `tracing`, each event has a static place in the code, which defines its target and level. The target of
//! a record is known only at run time, so a place is created for each target and level. A place cannot be
//! removed, so their number is limited.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::callsite::{Callsite, Identifier};
use tracing::field::{FieldSet, Value, display};
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, dispatcher};

use crate::engine::log::file;
use crate::engine::log::{Levels, Record};

/// Maximum number of created places. Records of further targets have [`OTHER`] as their target.
const MAX_PLACES: usize = 512;
const OTHER: &str = "offshoot::remote";
const FIELDS: &[&str] = &["message", "context", "origin", "fields"];

/// A place for events that do not come from this code.
struct Place(OnceLock<Metadata<'static>>);

impl Callsite for Place {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get_or_init(|| describe(OTHER, Level::TRACE, Kind::EVENT, Identifier(&PROBE)))
    }
}

/// The place for queries about what is shown. It makes no events.
static PROBE: Place = Place(OnceLock::new());

fn describe(target: &str, level: Level, kind: Kind, place: Identifier) -> Metadata<'_> {
    Metadata::new("record", target, level, None, None, None, FieldSet::new(FIELDS, place), kind)
}

/// Passes a record to the log of this process: to a file, or to `tracing` with its own target and level and
/// the fields `context` and `fields`.
pub(crate) fn emit(record: &Record) {
    if !file::write_record(record) {
        to_tracing(record);
    }
}

fn to_tracing(record: &Record) {
    let level = level(record.level);
    let (metadata, known) = place(&record.target, level);
    dispatcher::get_default(|subscriber| {
        if !subscriber.enabled(metadata) {
            return;
        }
        let text: Vec<String> = record.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = text.join(" ");
        let (message, text) = (display(&record.message), display(text));
        let values: [Option<&dyn Value>; 4] = [
            Some(&message),
            Some(&record.context_name),
            if known { None } else { Some(&record.target) },
            if record.fields.is_empty() { None } else { Some(&text) },
        ];
        let values = metadata.fields().value_set_all(&values);
        subscriber.event(&Event::new(metadata, &values));
    });
}

/// Returns the place for a target and level. The flag is false if the place has [`OTHER`] as its target
/// instead.
fn place(target: &str, level: Level) -> (&'static Metadata<'static>, bool) {
    static PLACES: OnceLock<Mutex<HashMap<(String, Level), &'static Metadata<'static>>>> = OnceLock::new();
    let mut places = PLACES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metadata) = places.get(&(target.to_owned(), level)) {
        return (metadata, true);
    }
    let known = places.len() < MAX_PLACES;
    let target = if known { target } else { OTHER };
    let make = || {
        let place: &'static Place = Box::leak(Box::new(Place(OnceLock::new())));
        let target: &'static str = Box::leak(target.into());
        place.0.get_or_init(|| describe(target, level, Kind::EVENT, Identifier(place)))
    };
    (*places.entry((target.to_owned(), level)).or_insert_with(make), known)
}

/// Whether this process has a log that accepts records of other contexts: a file, or a `tracing` subscriber.
pub(crate) fn has_subscriber() -> bool {
    file::takes_records().unwrap_or_else(dispatcher::has_been_set)
}

/// The levels of records that this process shows. Other contexts send no more than these.
///
/// A subscriber does not list its rules; it only answers for single targets. So it is queried for the empty
/// target, for the targets of this crate, and for `modules`.
pub(crate) fn wanted<'a>(hooked: bool, modules: impl IntoIterator<Item = &'a str>) -> Levels {
    let levels = file::levels().unwrap_or_else(|| probe(modules));
    if hooked { levels.at_least(3) } else { levels }
}

fn probe<'a>(modules: impl IntoIterator<Item = &'a str>) -> Levels {
    let mut levels = Levels::new(shown(""));
    for target in ["offshoot", "stdout", "stderr"].into_iter().chain(modules) {
        let level = shown(target);
        if level != levels.of(target) {
            levels = levels.with(target, level);
        }
    }
    levels
}

/// The most verbose level of `target` that is shown.
fn shown(target: &str) -> u8 {
    dispatcher::get_default(|subscriber| {
        let enabled =
            |number: &u8| subscriber.enabled(&describe(target, level(*number), Kind::HINT, Identifier(&PROBE)));
        (1..=5).rev().find(enabled).unwrap_or(0)
    })
}

fn level(number: u8) -> Level {
    match number {
        0 | 1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::Arc;

    use tracing::field::{Field, Visit};
    use tracing::{Id, Subscriber, span};

    use super::*;
    use crate::wire::message::ContextId;

    /// Shows all of `app` and errors of all else.
    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }

    impl Subscriber for Shown {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("app") || *metadata.level() == Level::ERROR
        }

        fn event(&self, event: &Event<'_>) {
            let metadata = event.metadata();
            let mut line = Line(format!("{} {}:", metadata.level(), metadata.target()));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn record(target: &str, level: u8) -> Record {
        Record::new(target, level, "text").made_by(ContextId(1), Some("web".into()))
    }

    #[test]
    fn a_record_becomes_an_event_of_its_own_target_and_level_for_the_filter_to_judge() {
        let shown = Shown::default();
        tracing::subscriber::with_default(shown.clone(), || {
            to_tracing(&record("app::db", 5));
            to_tracing(&record("other", 4));
            to_tracing(&Record { fields: vec![("a".into(), "1".into())], ..record("other", 1) });
        });
        let expected =
            ["TRACE app::db: message=text context=\"web\"", "ERROR other: message=text context=\"web\" fields=a=1"];
        assert_eq!(*shown.0.lock().unwrap(), expected);
    }

    #[test]
    fn there_is_a_bound_on_targets_that_others_can_invent() {
        let shown = Shown::default();
        tracing::subscriber::with_default(shown.clone(), || {
            (0..2 * MAX_PLACES).for_each(|n| to_tracing(&record(&format!("invented{n}"), 1)));
        });
        let shown = shown.0.lock().unwrap();
        assert_eq!(shown.len(), 2 * MAX_PLACES);
        assert!(shown.last().unwrap().starts_with("ERROR offshoot::remote:"), "{:?}", shown.last());
        assert!(shown.last().unwrap().contains(&format!("origin=\"invented{}\"", 2 * MAX_PLACES - 1)));
    }

    #[test]
    fn a_subscriber_is_asked_what_it_shows() {
        let levels = tracing::subscriber::with_default(Shown::default(), || probe([]));
        assert_eq!((levels.of("other"), levels.of("stdout"), levels.of("offshoot")), (1, 1, 1));
    }
}
