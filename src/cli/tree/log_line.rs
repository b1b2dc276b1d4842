//! Lines of the log from the thread that serves the hosts. A write to stderr lasts as long as nobody reads it, and that
//! thread must not wait.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;

/// Lines that may wait. Further ones are lost.
const WAITING: usize = 1024;

/// Has a thread of its own write a line, in the order of the calls.
pub(super) fn debug(line: String) {
    static LINES: OnceLock<Option<SyncSender<String>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let (lines, written) = sync_channel::<String>(WAITING);
        let write = move || written.iter().for_each(|line| tracing::debug!("{line}"));
        Builder::new().name("offshoot-log".into()).spawn(write).ok().map(|_| lines)
    });
    // What cannot be written is of use to nobody.
    let _ = lines.as_ref().map(|lines| lines.try_send(line));
}
