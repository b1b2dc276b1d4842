//! When which login to one sshd begins: decisions without I/O.
//!
//! An sshd refuses connections while too many have not logged in yet. By default it begins at 10 and refuses all from
//! 100 on (MaxStartups 10:30:100). Since OpenSSH 9.8 it also refuses an address for a while after it has misbehaved
//! (PerSourcePenalties). So logins begin with few at a time. Logins that succeed allow more, as far as no login is
//! refused. A refusal halves the number. A refused login begins again after a wait, before those that have not begun.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Logins at the same time in the beginning. From 10 on, an sshd with its default settings may refuse some, and others
/// may be logging in, too.
const FIRST: usize = 8;
/// When a number of logins was refused, this many times as many have to succeed before more are tried again.
const CAUTION: usize = 8;
/// The wait of a login that was refused once. It doubles with each refusal.
const WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// While the server refuses this address, one login asks at about this interval whether it still does.
const BAN_POLL: Duration = Duration::from_secs(5);

/// The number of a login.
pub(crate) type Ticket = u64;

/// What happens to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It wants to begin.
    Ask(Ticket),
    /// It is complete.
    In(Ticket),
    /// It has failed, or is not wanted any more.
    Out(Ticket),
    /// The server has refused it before it could authenticate, and it begins again after this wait.
    Refused(Ticket, Refusal, Duration),
    /// Time has passed.
    Tick,
}

/// Why a server has refused a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many were logging in at the same time, or the server has not said why.
    Busy,
    /// It refuses this address for a while.
    Banned,
}

impl Refusal {
    /// The wait before a login begins again that was refused `times`. `chance` is from 0 to 1. It spreads logins that
    /// were refused together.
    pub(crate) fn wait(self, times: u32, chance: f64) -> Duration {
        let wait = match self {
            Self::Busy => (WAIT * 2u32.saturating_pow(times.saturating_sub(1).min(10))).min(MAX_WAIT),
            Self::Banned => BAN_POLL,
        };
        wait.mul_f64(0.5 + chance)
    }
}

/// The logins to one sshd.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How many may be in flight.
    window: usize,
    /// Up to this many, nothing was refused lately.
    ceiling: usize,
    /// Whether anything was refused so far.
    has_refused: bool,
    /// Logins that have succeeded since the window last grew.
    good: usize,
    /// Counts the times that the window has shrunk.
    shrunk: u32,
    /// The logins in flight, with `shrunk` at their beginning.
    in_flight: HashMap<Ticket, u32>,
    fresh: VecDeque<Ticket>,
    /// Refused logins, and when they may begin.
    again: Vec<(Duration, Ticket)>,
    /// Set while the server refuses this address: until then no login begins, and then one.
    banned_until: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: FIRST,
            ceiling: FIRST,
            has_refused: false,
            good: 0,
            shrunk: 0,
            in_flight: HashMap::new(),
            fresh: VecDeque::new(),
            again: Vec::new(),
            banned_until: None,
        }
    }
}

impl Pace {
    /// Takes what has happened at `now`, and returns the logins that begin.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> Vec<Ticket> {
        match input {
            Input::Ask(ticket) => self.fresh.push_back(ticket),
            Input::In(ticket) => {
                if self.in_flight.remove(&ticket).is_some() {
                    self.banned_until = None;
                    // If fewer were in flight, nothing shows that as many could be.
                    if self.in_flight.len() + 1 >= self.window {
                        self.grow();
                    }
                }
            }
            Input::Out(ticket) => self.forget(ticket),
            Input::Refused(ticket, refusal, wait) => {
                if let Some(begun) = self.in_flight.remove(&ticket) {
                    self.refused(now, begun, refusal);
                    self.again.push((now + wait, ticket));
                }
            }
            Input::Tick => {}
        }
        std::iter::from_fn(|| self.begin(now)).collect()
    }

    /// Whether the server was last seen to refuse this address.
    pub(crate) fn is_banned(&self) -> bool {
        self.banned_until.is_some()
    }

    /// How many logins may be in flight.
    fn limit(&self, now: Duration) -> usize {
        match self.banned_until {
            Some(until) if now < until => 0,
            Some(_) => 1,
            None => self.window,
        }
    }

    /// The next login that begins.
    fn begin(&mut self, now: Duration) -> Option<Ticket> {
        if self.in_flight.len() >= self.limit(now) {
            return None;
        }
        let due = (0..self.again.len()).filter(|&nth| self.again[nth].0 <= now).min_by_key(|&nth| self.again[nth]);
        let ticket = match due {
            Some(nth) => self.again.swap_remove(nth).1,
            None => self.fresh.pop_front()?,
        };
        self.in_flight.insert(ticket, self.shrunk);
        Some(ticket)
    }

    fn grow(&mut self) {
        self.good += 1;
        // Below the ceiling it grows quickly. Above, each step may cost a refusal.
        let needed = match (self.window < self.ceiling, self.has_refused) {
            (true, _) => 1,
            (false, false) => self.window,
            (false, true) => self.window * CAUTION,
        };
        if self.good >= needed {
            self.good = 0;
            self.window += 1;
            self.ceiling = self.ceiling.max(self.window);
        }
    }

    /// `begun` is how often the window had shrunk when the refused login began. Logins that were refused together
    /// shrink it once.
    fn refused(&mut self, now: Duration, begun: u32, refusal: Refusal) {
        if refusal == Refusal::Banned || self.is_banned() {
            self.banned_until = Some(now + BAN_POLL / 2);
        } else if begun == self.shrunk {
            // Without the refused login there were this many, which may be right.
            self.ceiling = self.in_flight.len().clamp(1, self.window);
            self.window = (self.window / 2).clamp(1, self.ceiling);
            self.shrunk += 1;
            self.has_refused = true;
            self.good = 0;
        }
    }

    fn forget(&mut self, ticket: Ticket) {
        if self.in_flight.remove(&ticket).is_none() {
            self.fresh.retain(|other| *other != ticket);
            self.again.retain(|(_, other)| *other != ticket);
        }
    }
}

#[cfg(test)]
mod tests;
