//! The records that are wanted: a level for each target, by prefix.

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

/// Maximum number of targets with a level of their own.
const MAX_TARGETS: usize = 128;
/// The target of records about single frames. They are never sent to the master, because sending them would
/// cause more of them.
pub(crate) const IO: &str = "offshoot::io";
/// The target of statistics. They are sent when they are requested, and shown at any level setting.
pub(crate) const STATS: &str = "offshoot::stats";
/// The target of profiles; as [`STATS`].
pub(crate) const PROFILE: &str = "offshoot::profile";

/// The target of what launchers, such as ssh, write to stderr while their child is up, as `NAME OF THE CHILD: LINE`.
#[cfg(feature = "cli")]
pub(crate) const LAUNCHER: &str = "offshoot::launcher";

/// The most verbose level that is wanted of each target: 0 none, 1 error, 2 warn, 3 info, 4 debug, 5 trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels {
    /// The level of all targets that are not in `targets`.
    default: u8,
    /// A target applies to itself and to all targets below it, as `app` to `app::db`. The longest match is
    /// used.
    targets: Vec<(String, u8)>,
}

impl Levels {
    pub(crate) fn new(default: u8) -> Self {
        Self { default, targets: Vec::new() }
    }

    /// Sets the level of a target. Targets beyond [`MAX_TARGETS`] are ignored.
    pub(crate) fn with(mut self, target: &str, level: u8) -> Self {
        if self.targets.len() < MAX_TARGETS && target.len() <= 255 {
            self.targets.retain(|(other, _)| other != target);
            self.targets.push((target.to_owned(), level));
        }
        self
    }

    /// Parses `LEVEL` or `LEVEL,TARGET=LEVEL,...`, where LEVEL is one of `off error warn info debug trace
    /// io`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut levels: Option<Self> = None;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (target, level) = match part.split_once('=') {
                Some((target, level)) => (Some(target.trim()), level.trim()),
                None => (None, part),
            };
            let io = level.eq_ignore_ascii_case("io");
            let names = ["off", "error", "warn", "info", "debug", "trace"];
            let number = match names.iter().position(|name| level.eq_ignore_ascii_case(name)) {
                Some(number) => u8::try_from(number).unwrap_or_default(),
                None if io => 4,
                None => return Err(format!("{level} is no level; there are off error warn info debug trace io")),
            };
            let before = levels.take().unwrap_or_else(|| Self::new(0));
            levels = Some(match target {
                Some(target) => before.with(target, number),
                None => Self { default: number, ..before }.with(IO, if io { 5 } else { number.min(3) }),
            });
        }
        levels.ok_or_else(|| "a level is missing; there are off error warn info debug trace io".into())
    }

    /// The level that is wanted of `target`.
    pub(crate) fn of(&self, target: &str) -> u8 {
        let covers =
            |prefix: &str| target.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let best = self.targets.iter().filter(|(prefix, _)| covers(prefix)).max_by_key(|(prefix, _)| prefix.len());
        let level = best.map_or(self.default, |(_, level)| *level);
        if target == STATS || target == PROFILE { level.max(3) } else { level }
    }

    /// The most verbose level of any target.
    pub(crate) fn most(&self) -> u8 {
        self.targets.iter().map(|(_, level)| *level).fold(self.default, u8::max).max(3)
    }

    /// Raises the level of each target to at least `level`.
    pub(crate) fn at_least(mut self, level: u8) -> Self {
        self.default = self.default.max(level);
        self.targets.iter_mut().for_each(|(_, own)| *own = level.max(*own));
        self
    }
}

/// Converts a level number to a `tracing` filter.
pub(crate) fn filter(number: u8) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_target_that_covers_a_record_decides() {
        let levels = Levels::parse("warn,app=debug,app::db=off").unwrap();
        let of = |target| levels.of(target);
        assert_eq!(["other", "app", "app::web", "app::db", "app::db::pool", "apple"].map(of), [2, 4, 4, 0, 0, 2]);
        assert_eq!(levels.most(), 4);
    }

    #[test]
    fn frames_are_traced_only_on_demand() {
        assert_eq!(Levels::parse("trace").unwrap().of(IO), 3);
        assert_eq!(Levels::parse("IO").unwrap().of(IO), 5);
        assert_eq!(Levels::parse("Io").unwrap().of("app"), 4);
        assert_eq!(Levels::parse("error,offshoot::io=trace").unwrap().of(IO), 5);
    }

    #[test]
    fn what_was_asked_for_by_name_is_always_shown() {
        let levels = Levels::parse("off").unwrap();
        assert_eq!((levels.of(STATS), levels.of(PROFILE), levels.of("offshoot")), (3, 3, 0));
    }

    #[test]
    fn a_word_that_is_no_level_is_named() {
        assert!(Levels::parse("verbose").unwrap_err().contains("verbose"));
        assert!(Levels::parse("app=5").unwrap_err().contains('5'));
        assert!(Levels::parse(" , ").unwrap_err().contains("missing"));
    }
}
