//! Finds out what keeps the first stage from coming: a warning after some silence, and a probe shortly before the
//! deadline. Images, which have to be small, do without.

use std::time::Duration;

use tokio::time::Instant;

use super::Attempt;
use crate::connect::bootstrap::{Action, Closing, Input};
use crate::connect::methods::Spec;
use crate::engine::io::Io;
use crate::engine::log::log_later;
use crate::wire::error::Phase;

/// If the first stage has not come when this part of the time is left, but at most [`MAX_PROBE`], the launcher's
/// stdin is closed. How the other side reacts shows what reads it.
const PROBE: u32 = 20;
/// A reaction takes a round trip.
const MAX_PROBE: Duration = Duration::from_millis(500);
/// If a login shell has printed something and then nothing for this long, that is logged.
const STALLED: Duration = Duration::from_secs(10);

impl Attempt {
    /// Tells that the launcher has logged in. Without a first stage that is not known before the child is up.
    pub(super) fn tell_login(&self, spec: &Spec) {
        if let Some(logged_in) = &spec.logged_in
            && spec.binary.is_none()
            && self.dialogue.phase() > Phase::Login
        {
            logged_in.cancel();
        }
    }

    /// Sets when to look at the launcher next, at the beginning and after output. On a terminal, the input may be
    /// that of a question, so it is never closed.
    pub(super) fn look_later(&self, spec: &Spec, next: &mut Option<Instant>) {
        if self.launched.terminal().is_none() && self.dialogue.awaits_first_stage() {
            *next = Some(self.probe_at(spec).min(Instant::now() + STALLED));
        }
    }

    /// Warns of a login shell that has stopped, or closes the launcher's stdin.
    pub(super) fn look(&mut self, io: &Io, spec: &Spec, next: &mut Option<Instant>) -> Vec<Action> {
        let probe_at = self.probe_at(spec);
        *next = None;
        if !self.dialogue.awaits_first_stage() {
            return Vec::new();
        }
        if Instant::now() < probe_at {
            *next = Some(probe_at);
            if let Some(text) = self.dialogue.stalled(STALLED) {
                log_later!(io, WARN, "{}: {text}", self.hop);
            }
            return Vec::new();
        }
        match self.stream.output.end() {
            true => {
                let limit = spec.limit();
                self.dialogue.input(Input::StdinClosed(Closing { at: limit.saturating_sub(left(spec)), limit }))
            }
            false => Vec::new(),
        }
    }

    fn probe_at(&self, spec: &Spec) -> Instant {
        self.deadline - left(spec)
    }
}

/// The time that is left for the reaction.
fn left(spec: &Spec) -> Duration {
    MAX_PROBE.min(spec.connect_timeout / PROBE)
}
