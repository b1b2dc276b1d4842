//! The state of a context: its counters, links, calls and queues.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::message::{ContextId, Handle};

/// Maximum number of entries of each list in [`Stats`]. Further entries are counted in [`Stats::omitted`].
pub(crate) const MAX_LISTED: usize = 128;

/// The state of one context at one moment. [`Router::stats`](crate::Router::stats) returns that of this
/// context, [`Context::stats`](crate::Context::stats) that of another one.
///
/// `Display` writes lines for people, one per entry. The I/O thread collects the state, so it is available
/// even while functions block. It makes a deadlock visible, for example if a function calls back into a
/// context that waits for it. It then contains a call that runs, a call that is queued behind it, and a call
/// that waits.
///
/// ```
/// use offshoot::{Econtext, Error, Router, export};
///
/// /// Runs until the call is cancelled.
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
///     // The request may overtake the call.
///     let there = loop {
///         let stats = child.stats().blocking_recv()?;
///         if !stats.serving.is_empty() {
///             break stats;
///         }
///     };
///     assert!(there.serving[0].function.ends_with("endless") && there.neighbours[0].is_parent);
///     println!("{there}");
///     drop(call);
///     // Logs the state of this process. The second line logs it after each SIGUSR2.
///     router.dump()?;
///     router.dump_on_sigusr2()?;
///     router.blocking_shutdown();
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The context that this state belongs to.
    pub context: ContextId,
    /// The name of the context, as the context knows it.
    pub name: String,
    /// The process id of the context on its machine.
    pub pid: u32,
    /// Number of directly attached neighbours.
    pub links: usize,
    /// Number of contexts to which a route leads.
    pub routes: usize,
    /// Number of registered handles, including one per pending call.
    pub handles: usize,
    /// Number of windows to other contexts.
    pub windows: usize,
    /// Payload bytes that wait to leave, over all links.
    pub queued_bytes: usize,
    /// Number of messages that wait for room in a window.
    pub waiting: usize,
    /// Number of call chains to this context that have failed or are in progress.
    pub chains: usize,
    /// Number of tasks of the I/O side.
    pub tasks: usize,
    /// The links, each with its traffic and its queue.
    pub neighbours: Vec<LinkStats>,
    /// Calls that were made here and have no answer yet, the oldest first.
    pub pending: Vec<PendingCall>,
    /// Calls that run here or are queued, in the order of arrival.
    pub serving: Vec<ServedCall>,
    /// Receivers of this context in which messages wait.
    pub receivers: Vec<ReceiverStats>,
    /// Receivers for which messages wait here, because their windows have no room.
    pub blocked: Vec<BlockedSender>,
    /// Number of entries that were left out. Each list has at most 128 entries.
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
    /// Number of frames that arrived.
    pub frames_in: u64,
    /// The same in bytes, with headers.
    pub bytes_in: u64,
    /// Number of frames that left.
    pub frames_out: u64,
    /// The same in bytes, with headers.
    pub bytes_out: u64,
    /// Payload bytes that wait to leave.
    pub queued_bytes: usize,
    /// Bytes that arrived on this link and wait in the queues of other links. Above 8 MiB, this link is not
    /// read.
    pub held_bytes: usize,
    /// Frames with a forged source, which were dropped.
    pub forged: u64,
    /// Log records that arrived too fast and were dropped.
    pub logs_dropped: u64,
}

/// A call that was made here and has no answer yet.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingCall {
    /// The context that is to run the call; `None` if no route led to it.
    pub context: Option<ContextId>,
    /// The name of the function, or of the request in capitals.
    pub function: String,
    /// The time since the call was made.
    pub age: Duration,
    /// What the call waits for.
    pub waits_for: WaitsFor,
}

/// The event that a pending call waits for.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Room: the call has not been sent, because the maximum number of calls, or of bytes, already waits in
    /// the called context.
    Room,
    /// The answer.
    Answer,
}

/// A call that runs here, or is queued.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServedCall {
    /// The context that made the call.
    pub caller: ContextId,
    /// The name of the function.
    pub function: String,
    /// The time since the call arrived.
    pub age: Duration,
    /// Whether the function has begun to run.
    pub running: bool,
}

/// A receiver in which messages wait.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// The handle of the receiver.
    pub handle: Handle,
    /// Number of messages that have not been taken yet.
    pub messages: usize,
    /// Payload bytes of these messages.
    pub bytes: usize,
}

/// Messages that wait in this context, because the window of their receiver has no room.
///
/// [`Context::stats`](crate::Context::stats) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockedSender {
    /// The context of the receiver.
    pub context: ContextId,
    /// The handle of the receiver in its context.
    pub handle: Handle,
    /// Number of messages that wait.
    pub messages: usize,
}

impl Stats {
    /// Cuts a list to [`MAX_LISTED`] entries, and counts the rest.
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

/// A time in seconds, in a readable form.
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
