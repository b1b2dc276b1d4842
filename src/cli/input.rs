//! The standard input of the tool, which goes to all hosts, each at its own pace.
//!
//! stdin is read at the pace of the fastest host. Bytes that slower hosts have not taken yet wait in memory, up
//! to [`BUFFER`], and then in one file without a name, up to [`MAX_SPOOL`]. A host that is farther behind gets
//! an error.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::sys::patient::Patient;
use crate::sys::unnamed_file::unnamed_file;
use crate::{Blob, Sender};

/// Bytes that are read ahead of the fastest host: enough that a host never waits for a disk or a pipe.
const BUFFER: u64 = 64 * 1024;
/// Bytes of one read and of one message; the same as for the output of commands.
const CHUNK: usize = 32 * 1024;
/// Size of the file for slow hosts, in bytes: a temporary directory can be expected to hold it.
const MAX_SPOOL: u64 = 1 << 30;

/// The input of all hosts.
#[derive(Debug)]
pub(crate) struct Input {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    /// Wakes the reader when a host has taken something.
    taken: Condvar,
    /// Wakes the hosts when the reader has read something.
    arrived: Notify,
    max_spool: u64,
}

/// The bytes that were read, by their offset from the beginning.
#[derive(Debug)]
struct Log {
    /// The offset of each host; `None` if the host takes no more.
    hosts: Vec<Option<u64>>,
    /// The newest bytes in chunks, and the offset of the first chunk.
    chunks: VecDeque<Arc<[u8]>>,
    start: u64,
    end: u64,
    is_complete: bool,
    /// Why stdin could not be read to its end.
    unread: Option<String>,
    spool: Option<Arc<File>>,
    /// The spool holds the bytes from this offset to `start`.
    spooled_from: u64,
    /// Why bytes are missing in the spool, if the reason is not its size.
    fault: Option<String>,
}

/// The next piece of input for a host.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Bytes(Vec<u8>),
    Wait,
    End,
    Lost(String),
}

impl Input {
    /// Starts to read stdin for this many hosts. Returns `None` if there is nothing to read: stdin is a
    /// terminal or `/dev/null`.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub(crate) fn of_stdin(hosts: usize) -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if stdin.is_terminal() || is_null(Path::new("/dev/stdin")) {
            return Ok(None);
        }
        Self::start(Patient(stdin), hosts, MAX_SPOOL).map(Some)
    }

    fn start(from: impl Read + Send + 'static, hosts: usize, max_spool: u64) -> io::Result<Self> {
        let log = Log {
            hosts: vec![Some(0); hosts],
            chunks: VecDeque::new(),
            start: 0,
            end: 0,
            is_complete: false,
            unread: None,
            spool: None,
            spooled_from: 0,
            fault: None,
        };
        let (log, taken, arrived) = (Mutex::new(log), Condvar::new(), Notify::new());
        let shared = Arc::new(Shared { log, taken, arrived, max_spool });
        let reader = Arc::clone(&shared);
        std::thread::Builder::new().name("stdin".into()).spawn(move || reader.read(from))?;
        Ok(Self { shared })
    }

    /// Whether stdin had anything in it so far.
    pub(crate) fn has_content(&self) -> bool {
        self.shared.log().end > 0
    }

    /// Sends all input to a host. It is not an error if the host takes no more.
    ///
    /// # Errors
    ///
    /// Why the host cannot get the rest.
    pub(crate) async fn feed(&self, host: usize, stdin: &Sender<Blob>) -> Result<(), String> {
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            match self.shared.next(host) {
                Next::Bytes(bytes) => {
                    let count = bytes.len() as u64;
                    if stdin.send(Blob(bytes)).await.is_err() {
                        break;
                    }
                    self.shared.advance(host, count);
                }
                Next::Wait => arrived.await,
                Next::End => {
                    stdin.close();
                    break;
                }
                Next::Lost(why) => {
                    self.leave(host);
                    return Err(why);
                }
            }
        }
        self.leave(host);
        Ok(())
    }

    /// Notes that a host takes no more.
    pub(crate) fn leave(&self, host: usize) {
        if let Some(at) = self.shared.log().hosts.get_mut(host) {
            *at = None;
        }
        self.shared.taken.notify_all();
    }
}

/// Whether this is the null device, as it is if a shell runs the tool in the background.
fn is_null(stdin: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| (meta.mode() & 0o170_000, meta.rdev())).ok();
    device(stdin).is_some_and(|stdin| Some(stdin) == device(Path::new("/dev/null")))
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end, or until all hosts take no more.
    fn read(&self, mut from: impl Read) {
        loop {
            let mut log = self.log();
            loop {
                match log.hosts.iter().flatten().max() {
                    None => return,
                    Some(fastest) if log.end < fastest + BUFFER => break,
                    Some(_) => log = self.taken.wait(log).unwrap_or_else(PoisonError::into_inner),
                }
            }
            drop(log);
            let mut chunk = vec![0; CHUNK];
            let count = match from.read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.log().unread = Some(format!("stdin cannot be read: {error}"));
                    0
                }
            };
            self.add(&chunk[..count]);
            self.arrived.notify_waiters();
            if count == 0 {
                return;
            }
        }
    }

    /// Adds bytes that were read; no bytes mean the end. Only the reader calls this.
    fn add(&self, bytes: &[u8]) {
        let mut log = self.log();
        log.is_complete = bytes.is_empty();
        if !bytes.is_empty() {
            log.chunks.push_back(bytes.into());
            log.end += bytes.len() as u64;
        }
        while log.end - log.start > BUFFER
            && let Some(oldest) = log.chunks.front().map(Arc::clone)
        {
            let (at, after) = (log.start, log.start + oldest.len() as u64);
            let is_needed = log.hosts.iter().flatten().any(|host| *host < after);
            let mut written = Ok(());
            if is_needed {
                // The offset changes before the bytes are overwritten, so that a host never reads wrong bytes.
                log.spooled_from = log.spooled_from.max(after.saturating_sub(self.max_spool));
                let spool = log.spool.clone().map_or_else(|| unnamed_file("stdin").map(Arc::new), Ok);
                drop(log);
                written = spool
                    .and_then(|spool| {
                        write_around(&spool, self.max_spool, at, &oldest)?;
                        Ok(spool)
                    })
                    .map(|spool| self.log().spool = Some(spool));
                log = self.log();
            }
            if let Err(error) = &written {
                log.fault = Some(format!("cannot keep stdin for slow hosts in a file: {error}"));
            }
            if !is_needed || written.is_err() {
                log.spooled_from = after;
            }
            log.chunks.pop_front();
            log.start = after;
        }
    }

    fn next(&self, host: usize) -> Next {
        let log = self.log();
        let Some(at) = log.hosts.get(host).copied().flatten() else { return Next::End };
        if at >= log.end {
            return match &log.unread {
                _ if !log.is_complete => Next::Wait,
                None => Next::End,
                Some(why) => Next::Lost(why.clone()),
            };
        }
        if at >= log.start {
            let mut begin = log.start;
            for chunk in &log.chunks {
                let skip = at - begin;
                if skip < chunk.len() as u64 {
                    return Next::Bytes(chunk[skip as usize..].to_vec());
                }
                begin += chunk.len() as u64;
            }
            return Next::Wait;
        }
        let Some(spool) = log.spool.as_ref().filter(|_| at >= log.spooled_from) else {
            let behind = log.end - at;
            return Next::Lost(log.fault.clone().unwrap_or_else(|| {
                format!(
                    "the host is {behind} bytes of stdin behind the fastest host, and at most {} are kept for slow hosts; \
                     put the input in a file on the host, or run the command on slow hosts separately",
                    self.max_spool,
                )
            }));
        };
        // Reads up to the end of the file. After that, the spool continues at its beginning.
        let place = at % self.max_spool;
        let count = (log.start - at).min(CHUNK as u64).min(self.max_spool - place);
        let mut bytes = vec![0; count as usize];
        // The lock is held, so that these bytes are not overwritten. They were just written, so they are mostly
        // in memory.
        match spool.read_exact_at(&mut bytes, place) {
            Ok(()) => Next::Bytes(bytes),
            Err(error) => Next::Lost(format!("cannot read what was kept of stdin for slow hosts: {error}")),
        }
    }

    fn advance(&self, host: usize, count: u64) {
        if let Some(Some(at)) = self.log().hosts.get_mut(host) {
            *at += count;
        }
        self.taken.notify_all();
    }
}

/// Writes at an offset into a file that is used as a ring.
fn write_around(file: &File, size: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
    let place = at % size;
    let (first, rest) = bytes.split_at(bytes.len().min((size - place) as usize));
    file.write_all_at(first, place)?;
    file.write_all_at(rest, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence of numbers, so that the bytes at each position differ.
    fn text(bytes: usize) -> Vec<u8> {
        (0_u64..).flat_map(u64::to_be_bytes).take(bytes).collect()
    }

    /// Everything that a host gets without waiting.
    fn take(input: &Input, host: usize, most: usize) -> (Vec<u8>, Next) {
        let mut all = Vec::new();
        loop {
            match input.shared.next(host) {
                Next::Bytes(bytes) => {
                    input.shared.advance(host, bytes.len() as u64);
                    all.extend(bytes);
                    if all.len() >= most {
                        return (all, Next::Wait);
                    }
                }
                Next::Wait => std::thread::yield_now(),
                end => return (all, end),
            }
        }
    }

    #[test]
    fn hosts_get_all_at_any_pace_from_memory_and_from_the_file() {
        let all = text(1_000_003);
        let input = Input::start(io::Cursor::new(all.clone()), 3, MAX_SPOOL).unwrap();
        assert!(take(&input, 0, usize::MAX) == (all.clone(), Next::End), "the fast one");
        let mut slow = take(&input, 1, 300_001).0;
        let rest = take(&input, 1, usize::MAX);
        slow.extend(rest.0);
        assert!(slow == all && rest.1 == Next::End, "the slow one");
        assert!(take(&input, 2, usize::MAX) == (all, Next::End), "one that begins when all is over");
    }

    #[test]
    fn an_input_that_cannot_be_read_on_is_not_taken_for_its_end() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 -= 1;
                if self.0 == 0 { Err(io::Error::other("a bad sector")) } else { Ok(buffer.len()) }
            }
        }
        let input = Input::start(Broken(3), 1, MAX_SPOOL).unwrap();
        let (bytes, end) = take(&input, 0, usize::MAX);
        assert_eq!((bytes.len(), end), (2 * CHUNK, Next::Lost("stdin cannot be read: a bad sector".into())));
    }

    #[test]
    fn nothing_is_read_far_ahead_of_the_fastest_host() {
        let (pipe, mut end) = io::pipe().unwrap();
        let input = Input::start(pipe, 2, MAX_SPOOL).unwrap();
        let writer = std::thread::spawn(move || io::Write::write_all(&mut end, &text(1 << 20)));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(input.shared.log().end <= BUFFER + CHUNK as u64 && !writer.is_finished());
        assert!(input.shared.log().spool.is_none());
        input.leave(0);
        assert_eq!(take(&input, 1, usize::MAX).0.len(), 1 << 20);
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_host_that_is_too_far_behind_is_told_so_and_others_are_not_held_up() {
        let all = text(500_000);
        let input = Input::start(io::Cursor::new(all.clone()), 2, 100_000).unwrap();
        assert!(take(&input, 0, usize::MAX) == (all.clone(), Next::End));
        let Next::Lost(why) = take(&input, 1, usize::MAX).1 else { panic!("it has all") };
        assert!(why.contains("500000 bytes of stdin behind") && why.contains("100000 are kept"), "{why}");
        // The file wraps around, and it still holds the bytes that were read.
        let input = Input::start(io::Cursor::new(all.clone()), 2, 100_000).unwrap();
        let mut got = [Vec::new(), Vec::new()];
        while got[1].len() < all.len() {
            got[0].extend(take(&input, 0, 40_000.min(all.len() - got[0].len()).max(1)).0);
            got[1].extend(take(&input, 1, 40_000).0);
        }
        assert!(got[0] == all && got[1] == all);
    }

    #[test]
    fn hosts_that_have_gone_are_not_kept_for() {
        let input = Input::start(io::Cursor::new(text(500_000)), 2, MAX_SPOOL).unwrap();
        input.leave(1);
        take(&input, 0, usize::MAX);
        let log = input.shared.log();
        assert!(log.spool.is_none() && log.start == log.spooled_from);
    }
}
