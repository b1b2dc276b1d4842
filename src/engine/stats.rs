//! What a context is doing: its counters, links, calls and queues.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::message::{ContextId, Handle};

/// Entries of each list in [`Stats`]; what is beyond it is counted in
/// [`Stats::omitted`].
pub(crate) const MAX_LISTED: usize = 128;

/// What one context is doing, at one moment: by
/// [`Router::stats`](crate::Router::stats) of this one, by
/// [`Context::stats`](crate::Context::stats) of another one.
///
/// `Display` gives it as lines for people, one per entry. It comes from the
/// I/O thread, so it can be had whatever functions are doing: a function that
/// calls back into a context that waits for it, and so waits for ever, shows
/// as a call that runs, one that is queued behind it, and one that waits.
///
/// ```
/// use offshoot::{Econtext, Error, Router, export};
///
/// /// Runs until nobody waits for it any more.
/// async fn endless(econtext: &Econtext) {
///     econtext.cancelled().await;
/// }
/// export!(endless);
///
/// fn main() -> Result<(), Error> {
///     offshoot::child();
///     let router = Router::new()?;
///     let child = router.local().blocking_connect()?;
///     let call = child.call(endless, ());
///     // The request overtakes the call.
///     let there = loop {
///         let stats = child.stats().blocking_recv()?;
///         if !stats.serving.is_empty() {
///             break stats;
///         }
///     };
///     assert!(there.serving[0].function.ends_with("endless") && there.neighbours[0].is_parent);
///     println!("{there}");
///     drop(call);
///     // That of this process as log records; the second line does the same after SIGUSR2.
///     router.dump()?;
///     router.dump_on_sigusr2()?;
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The context that this is about.
    pub context: ContextId,
    /// Its name, as it knows it.
    pub name: String,
    /// Its process id there.
    pub pid: u32,
    /// Directly attached neighbours.
    pub links: usize,
    /// Contexts that a route leads to.
    pub routes: usize,
    /// Registered handles, among them one per pending call.
    pub handles: usize,
    /// Windows to other contexts.
    pub windows: usize,
    /// Payload bytes waiting to leave, over all links.
    pub queued_bytes: usize,
    /// Messages that wait for room in a window.
    pub waiting: usize,
    /// Chains of calls made to this context that have failed or are under
    /// way.
    pub chains: usize,
    /// Tasks of the I/O side.
    pub tasks: usize,
    /// Each link with its traffic and its queue.
    pub neighbours: Vec<LinkStats>,
    /// Calls that were made here and have no answer yet, the oldest first.
    pub pending: Vec<PendingCall>,
    /// Calls that run here or are queued to, in the order in which they came.
    pub serving: Vec<ServedCall>,
    /// Receivers here that have something waiting.
    pub receivers: Vec<ReceiverStats>,
    /// Receivers elsewhere that have no room for what is to be sent there.
    pub blocked: Vec<BlockedSender>,
    /// Entries that are left out, since each of the lists ends after 128.
    pub omitted: usize,
}

/// One link of a context.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkStats {
    /// The neighbour.
    pub context: ContextId,
    /// Its name.
    pub name: String,
    /// Whether it is the parent.
    pub is_parent: bool,
    /// Frames that came in.
    pub frames_in: u64,
    /// The same in bytes, with headers.
    pub bytes_in: u64,
    /// Frames that left.
    pub frames_out: u64,
    /// The same in bytes, with headers.
    pub bytes_out: u64,
    /// Payload bytes that wait to leave.
    pub queued_bytes: usize,
    /// Bytes that came in by this link and wait in the queues of others; over
    /// 8 MiB it is not read.
    pub held_bytes: usize,
    /// Frames that claimed to come from somewhere else, and were dropped.
    pub forged: u64,
    /// Log records that came too fast to be passed on.
    pub logs_dropped: u64,
}

/// A call that was made here and has no answer yet.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingCall {
    /// The context that is to run it; `None` if there never was a way to it.
    pub context: Option<ContextId>,
    /// The function, or the request in capitals.
    pub function: String,
    /// How long ago it was made.
    pub age: Duration,
    /// What it waits for.
    pub waits_for: WaitsFor,
}

/// What a pending call waits for.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WaitsFor {
    /// For room: it has not left, since as many calls as may wait there do, or
    /// as many bytes.
    Room,
    /// For the answer.
    Answer,
}

/// A call that runs here, or is queued to.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServedCall {
    /// The context that made it.
    pub caller: ContextId,
    /// The function.
    pub function: String,
    /// How long ago it came in.
    pub age: Duration,
    /// Whether it has begun.
    pub running: bool,
}

/// A receiver with something in it.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// Its handle.
    pub handle: Handle,
    /// Messages that nobody has taken yet.
    pub messages: usize,
    /// Their payload.
    pub bytes: usize,
}

/// Messages that wait here for room at their receiver.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockedSender {
    /// The receiver's context.
    pub context: ContextId,
    /// Its handle there.
    pub handle: Handle,
    /// How many messages wait.
    pub messages: usize,
}

impl Stats {
    /// Cuts a list to what may be told.
    pub(crate) fn list<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        self.omitted += all.len().saturating_sub(MAX_LISTED);
        all.truncate(MAX_LISTED);
        all
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context, name, pid, links, routes, handles, windows, queued_bytes, tasks, .. } = self;
        write!(f, "context {context} {name}, pid {pid}: {links} links, {routes} routes, {handles} handles, ")?;
        write!(f, "{windows} windows, {tasks} tasks, {queued_bytes} bytes queued")?;
        for link in &self.neighbours {
            let LinkStats { context, name, frames_in, bytes_in, frames_out, bytes_out, .. } = link;
            let kind = if link.is_parent { "parent" } else { "child" };
            write!(f, "\n  link to {kind} {context} {name}: in {frames_in} frames {bytes_in} bytes, ")?;
            write!(f, "out {frames_out} frames {bytes_out} bytes, queued {} bytes, ", link.queued_bytes)?;
            write!(f, "held {} bytes", link.held_bytes)?;
            for (count, what) in [(link.forged, "frames forged"), (link.logs_dropped, "log records dropped")] {
                if count > 0 {
                    write!(f, ", {count} {what}")?;
                }
            }
        }
        for call in &self.serving {
            let state = if call.running { "running" } else { "queued" };
            write!(f, "\n  {state}: {} for context {}, {}", call.function, call.caller, Age(call.age))?;
        }
        for call in &self.pending {
            write!(f, "\n  pending: {} ", call.function)?;
            match call.context {
                Some(context) => write!(f, "in context {context}")?,
                None => f.write_str("nowhere")?,
            }
            let what = match call.waits_for {
                WaitsFor::Room => "room",
                WaitsFor::Answer => "the answer",
            };
            write!(f, ", waits for {what}, {}", Age(call.age))?;
        }
        for ReceiverStats { handle, messages, bytes } in &self.receivers {
            write!(f, "\n  receiver {handle}: {messages} messages, {bytes} bytes")?;
        }
        for BlockedSender { context, handle, messages } in &self.blocked {
            write!(f, "\n  no room: {messages} messages to handle {handle} of context {context}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n  and {} more", self.omitted)?;
        }
        Ok(())
    }
}

/// Time in seconds, for people.
pub(crate) struct Age(pub(crate) Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0.as_secs(), self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_context_does_is_told_line_by_line() {
        let age = Duration::from_millis(1234);
        let stats = Stats {
            context: ContextId(3),
            name: "ssh.web1".into(),
            serving: vec![ServedCall { caller: ContextId(0), function: "app::outer".into(), age, running: true }],
            pending: vec![PendingCall {
                context: Some(ContextId(3)),
                function: "app::inner".into(),
                age,
                waits_for: WaitsFor::Answer,
            }],
            omitted: 7,
            ..Stats::default()
        };
        let text = stats.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("context 3 ssh.web1, pid 0: 0 links"), "{text}");
        assert_eq!(lines[1], "  running: app::outer for context 0, 1.234 s");
        assert_eq!(lines[2], "  pending: app::inner in context 3, waits for the answer, 1.234 s");
        assert_eq!(lines[3], "  and 7 more");
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut stats = Stats::default();
        stats.receivers = stats.list(vec![ReceiverStats { handle: Handle(1000), messages: 1, bytes: 1 }; 1000]);
        assert_eq!((stats.receivers.len(), stats.omitted), (MAX_LISTED, 1000 - MAX_LISTED));
    }
}
