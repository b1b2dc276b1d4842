//! What this context is doing, for whoever asks.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::engine::dispatch::Dispatcher;
use crate::engine::io::{Io, State, Target};
use crate::engine::log::cut;
use crate::engine::log::levels::{PROFILE, STATS};
use crate::engine::log::log_later;
use crate::engine::log::{MAX_NAME, Record};
use crate::engine::stats::{BlockedSender, PendingCall, ReceiverStats, Stats, WaitsFor};
use crate::engine::task_set;
use crate::routing::table::LinkId;
use crate::wire::call_payload;
use crate::wire::error::DeadReason;
use crate::wire::message::{Handle, Lane, Message};

impl Io {
    pub(super) fn stats(&self) -> Stats {
        let state = self.state.borrow();
        let mut stats = Stats {
            context: self.shared.me,
            name: cut(&self.shared.name, MAX_NAME),
            pid: std::process::id(),
            links: state.links.len(),
            routes: state.routing.known().len(),
            handles: state.handles.len(),
            windows: state.windows.len(),
            queued_bytes: state.links.queued_bytes(),
            waiting: state.windows.waiting().map(|(_, message)| usize::from(!message.is_dead())).sum(),
            chains: self.dispatcher.as_ref().map_or(0, Dispatcher::chains),
            tasks: self.tasks.len(),
            ..Stats::default()
        };
        stats.neighbours = stats.list(state.links.stats(&state.routing));
        stats.pending = stats.list(state.pending());
        stats.serving = stats.list(self.dispatcher.as_ref().map(Dispatcher::serving).unwrap_or_default());
        stats.receivers = stats.list(state.receivers());
        stats.blocked = stats.list(state.blocked());
        stats
    }

    /// Another context asks; it has been let through as a parent.
    pub(super) fn on_stats(self: &Rc<Self>, message: &Message, from: Option<LinkId>) {
        if !message.wants_reply() {
            return;
        }
        match call_payload::encode_ok(&self.stats()) {
            Ok(data) => self.send(Message { lane: Lane::Control, ..Message::new(message.src, message.reply_to, data) }),
            Err(why) => self.refuse(message, &DeadReason::refused(why), from),
        }
    }

    /// Logs what this context is doing.
    pub(super) fn dump(self: &Rc<Self>) {
        self.tell(STATS, self.stats().to_string().lines());
    }

    /// Does so on each SIGUSR2, as long as the router lives, however often it
    /// is told to.
    pub(super) fn dump_on_signal(self: &Rc<Self>) {
        if std::mem::replace(&mut self.state.borrow_mut().dumps_on_signal, true) {
            return;
        }
        let mut signals = match signal(SignalKind::user_defined2()) {
            Ok(signals) => signals,
            Err(error) => return log_later!(self, WARN, "SIGUSR2 cannot be handled: {error}"),
        };
        let io = Rc::clone(self);
        // Not one of the tasks that hold up the end: it ends by it.
        task_set::spawn(async move {
            while let Some(Some(())) = io.stop.run_until_cancelled(signals.recv()).await {
                io.dump();
            }
        });
    }

    /// Logs where the time has gone, if anybody wants to know.
    pub(super) fn tell_profile(self: &Rc<Self>) {
        let whose = format!("context {} {}", self.shared.me, self.shared.name);
        self.shared.profile(self.shared.profile_clock(), |profile, _| self.tell(PROFILE, profile.lines(&whose)));
    }

    /// Logs what somebody has asked for, line by line.
    fn tell(self: &Rc<Self>, target: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        for line in lines {
            let name = Some(self.shared.name.clone());
            self.forward_log(Record::new(target, 3, line.as_ref()).made_by(self.shared.me, name));
        }
    }
}

impl State {
    fn pending(&self) -> Vec<PendingCall> {
        let now = Instant::now();
        let no_room: HashSet<Handle> = self.windows.waiting().map(|(_, message)| message.reply_to).collect();
        let mut all: Vec<_> = self
            .handles
            .iter()
            .filter_map(|(handle, registration)| {
                let Target::Reply { asked, .. } = &registration.sink else { return None };
                let waits_for = if no_room.contains(&handle) { WaitsFor::Room } else { WaitsFor::Answer };
                Some(PendingCall {
                    context: registration.respondent,
                    function: cut(asked.function, MAX_NAME),
                    age: now.saturating_duration_since(asked.since),
                    waits_for,
                })
            })
            .collect();
        all.sort_unstable_by_key(|call| std::cmp::Reverse(call.age));
        all
    }

    fn receivers(&self) -> Vec<ReceiverStats> {
        let queues = self.queues.iter().filter_map(|(handle, queue)| Some((*handle, queue.upgrade()?)));
        let one = |(handle, queue): (Handle, Arc<crate::engine::queue::Queue>)| ReceiverStats {
            handle,
            messages: queue.latch.len(),
            bytes: queue.bytes(),
        };
        let mut all: Vec<_> = queues.map(one).filter(|receiver| receiver.messages > 0).collect();
        all.sort_unstable_by_key(|receiver| receiver.handle);
        all
    }

    /// Calls without room are among those that are pending.
    fn blocked(&self) -> Vec<BlockedSender> {
        let mut all: Vec<BlockedSender> = Vec::new();
        for ((context, handle), _) in self.windows.waiting().filter(|((_, handle), _)| *handle != Handle::CALL_FUNCTION)
        {
            match all.last_mut() {
                Some(last) if (last.context, last.handle) == (context, handle) => last.messages += 1,
                _ => all.push(BlockedSender { context, handle, messages: 1 }),
            }
        }
        all.sort_unstable_by_key(|blocked| (blocked.context, blocked.handle));
        all
    }
}
