//! Reports the state of this context on request.

use std::cell::Cell;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};

use crate::engine::dispatch::Dispatcher;
use crate::engine::io::Io;
use crate::engine::log::levels::{PROFILE, STATS};
use crate::engine::log::{MAX_NAME, cut, log_later};
use crate::engine::stats::Stats;
use crate::engine::task_set;
use crate::routing::table::LinkId;
use crate::wire::call_payload;
use crate::wire::error::DeadReason;
use crate::wire::message::{Lane, Message};

/// Sends and logs the state of this context.
#[derive(Default)]
pub(crate) struct Observer {
    /// Whether SIGUSR2 is already handled.
    heeds_signal: Cell<bool>,
}

impl Observer {
    pub(super) fn stats(&self, io: &Io) -> Stats {
        let mut stats = Stats {
            context: io.shared.me,
            name: cut(&io.shared.name, MAX_NAME),
            pid: std::process::id(),
            tasks: io.tasks.len(),
            ..Stats::default()
        };
        if let Some(dispatcher) = &io.dispatcher {
            stats.chains = dispatcher.chains();
        }
        stats.serving = stats.list(io.dispatchers().flat_map(Dispatcher::serving).collect());
        io.describe(&mut stats);
        io.outgoing().describe(io, &mut stats);
        stats
    }

    /// Handles the request of another context. The policy has already checked that it is above this one.
    pub(super) fn on_stats(&self, io: &Rc<Io>, message: &Message, from: Option<LinkId>) {
        if !message.wants_reply() {
            return;
        }
        match call_payload::encode_ok(&self.stats(io)) {
            Ok(data) => io.send(Message { lane: Lane::Control, ..Message::new(message.src, message.reply_to, data) }),
            Err(why) => io.refuse(message, &DeadReason::refused(why), from),
        }
    }

    /// Logs the state of this context.
    pub(super) fn dump(&self, io: &Rc<Io>) {
        io.logs().tell(io, STATS, self.stats(io).to_string().lines());
    }

    /// Logs the state on each SIGUSR2, as long as the router lives. Repeated calls have no further effect.
    pub(super) fn dump_on_signal(&self, io: &Rc<Io>) {
        if self.heeds_signal.replace(true) {
            return;
        }
        let mut signals = match signal(SignalKind::user_defined2()) {
            Ok(signals) => signals,
            Err(error) => return log_later!(io, WARN, "SIGUSR2 cannot be handled: {error}"),
        };
        let io = Rc::clone(io);
        // The end of the router does not wait for this task, which ends with it.
        task_set::spawn(async move {
            while let Some(Some(())) = io.stop.run_until_cancelled(signals.recv()).await {
                io.observer().dump(&io);
            }
        });
    }

    /// Logs the profile, if there is one.
    pub(super) fn tell_profile(&self, io: &Rc<Io>) {
        let whose = format!("context {} {}", io.shared.me, io.shared.name);
        let began = io.shared.profile_clock();
        io.shared.profile(began, |profile, _| io.logs().tell(io, PROFILE, profile.lines(&whose)));
    }
}
