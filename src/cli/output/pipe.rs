//! Writes to stdout and stderr, and notices if they are not read any more.
//!
//! Separate threads write. So a reader that does not read blocks these threads, and never the thread that
//! handles signals and timers.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::stat::fstat;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How long to wait before a write is tried again. Terminals are shared, so another program may have set ours
/// to non-blocking.
const RETRY: Duration = Duration::from_millis(5);
/// Bytes that may wait for a slow reader before no more output of hosts is taken. This is enough that a reader
/// may pause for a moment without slowing the hosts down.
const MAX_WAITING: usize = 1 << 20;
/// How long the tool's own messages on stderr are awaited at the end. A terminal takes them at once, and a
/// reader that does not read must not delay the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of one write. A blocking write to a pipe returns only when all of it is taken, so with large writes a
/// slow reader would look like one that does not read.
const MAX_WRITE: usize = 4096;
/// If a reader takes nothing for this long while the run is about to end, it counts as one that does not read.
const UNREAD: Duration = Duration::from_secs(2);
/// That time is counted in steps of this length. If the tool is stopped for some time, that time counts as one
/// step.
const TICK: Duration = Duration::from_millis(100);

/// The outputs of the tool.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdout: Pipe,
    pub(crate) stderr: Pipe,
}

/// One output. Bytes that are written to it are queued for its thread.
#[derive(Debug)]
pub(crate) struct Pipe {
    output: Arc<Output>,
    jobs: mpsc::Sender<Job>,
}

/// An output, and the progress of its thread.
#[derive(Debug)]
struct Output {
    file: File,
    /// Bytes that were written to the output.
    taken: AtomicU64,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes in the queue.
    waiting: usize,
    /// How many jobs were queued. `done` is how many of these are done.
    queued: u64,
    done: u64,
    end: Option<Closed>,
}

/// Why the output cannot be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The reader is gone, which is not an error.
    ReaderGone,
    Failed(ErrorKind),
}

type Job = (Arc<Output>, Work);

enum Work {
    Bytes(Vec<u8>),
    /// Writes a document while it is being made, so that memory does not hold it twice.
    Document(Document),
}

/// See [`Pipe::write_document`].
pub(crate) type Document = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

impl Pipes {
    /// Starts the threads. If both outputs are the same file, there is a single thread, so that everything is
    /// written in the order in which it was queued.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread or a descriptor.
    pub(crate) fn start() -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        let (out, err) = (fstat(&stdout)?, fstat(&stderr)?);
        Self::over(stdout, stderr, (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino))
    }

    fn over(stdout: OwnedFd, stderr: OwnedFd, are_one: bool) -> io::Result<Self> {
        let jobs = writer("stdout")?;
        let stderr = Pipe::new(stderr, if are_one { jobs.clone() } else { writer("stderr")? });
        Ok(Self { stdout: Pipe::new(stdout, jobs), stderr })
    }

    /// Waits until another event may be shown. Cancel safe.
    pub(crate) async fn room(&self) {
        self.stdout.reaches(|progress| progress.waiting < MAX_WAITING).await;
        self.stderr.reaches(|progress| progress.waiting < MAX_WAITING).await;
    }

    /// Waits until the readers have taken the queued bytes: all of stdout, without a time limit, and the first
    /// `owed` jobs of stderr. The rest of stderr has one second. Cancel safe.
    pub(crate) async fn flushed(&self, owed: u64) {
        let stdout = self.stdout.queued();
        self.stdout.reaches(|progress| progress.done >= stdout).await;
        self.stderr.reaches(|progress| progress.done >= owed).await;
        let stderr = self.stderr.queued();
        let all = self.stderr.reaches(|progress| progress.done >= stderr);
        // Bytes that are not taken by then are lost; see the constant.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }

    /// Returns when one output has had something to write for [`UNREAD`], and nothing of it was taken. Cancel safe. A
    /// new call starts to count from zero.
    pub(crate) async fn unread(&self) {
        let mut stillness = self.stillness();
        while !stillness.grows(|| true).await {}
    }

    /// Starts to count how long nobody has read.
    pub(crate) fn stillness(&self) -> Stillness<'_> {
        let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Stillness { pipes: [&self.stdout, &self.stderr], ticks, still: [Duration::ZERO; 2], last: [0; 2] }
    }

    /// Waits until everything is written, or until nothing was taken for [`UNREAD`]. Cancel safe.
    pub(crate) async fn drained(&self) {
        let all = async {
            for pipe in [&self.stdout, &self.stderr] {
                let queued = pipe.queued();
                pipe.reaches(|progress| progress.done >= queued).await;
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = self.unread() => {}
        }
    }
}

/// How long the readers of the outputs have taken nothing.
pub(crate) struct Stillness<'a> {
    pipes: [&'a Pipe; 2],
    ticks: Interval,
    still: [Duration; 2],
    /// What each reader had taken at the last tick.
    last: [u64; 2],
}

impl Stillness<'_> {
    /// Waits for the next tick. Returns whether one output has had something to write for [`UNREAD`], nothing of it
    /// was taken, and `counts` returned true all the time. Cancel safe.
    pub(crate) async fn grows(&mut self, counts: impl Fn() -> bool) -> bool {
        self.ticks.tick().await;
        for (at, pipe) in self.pipes.iter().enumerate() {
            let taken = pipe.output.taken.load(Ordering::Relaxed);
            let is_still = counts() && pipe.waits() && taken == self.last[at];
            (self.still[at], self.last[at]) = (if is_still { self.still[at] + TICK } else { Duration::ZERO }, taken);
        }
        self.still.iter().any(|still| *still >= UNREAD)
    }
}

impl Pipe {
    fn new(file: OwnedFd, jobs: mpsc::Sender<Job>) -> Self {
        let output = Output { file: file.into(), taken: AtomicU64::new(0), progress: watch::Sender::default() };
        Self { output: Arc::new(output), jobs }
    }

    /// Queues bytes. Never blocks. Bytes after the end of the output are dropped.
    pub(crate) fn write(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.queue(bytes.len(), Work::Bytes(bytes));
        }
    }

    /// Queues a function that writes a document.
    pub(crate) fn write_document(&self, document: Document) {
        self.queue(0, Work::Document(document));
    }

    /// Whether something is queued that can still be written.
    pub(crate) fn waits(&self) -> bool {
        let progress = self.output.progress.borrow();
        progress.end.is_none() && progress.done < progress.queued
    }

    /// Whether the first `jobs` jobs have been written, as far as the output took them.
    pub(crate) fn has_done(&self, jobs: u64) -> bool {
        let progress = self.output.progress.borrow();
        progress.end.is_some() || progress.done >= jobs
    }

    /// How many jobs were queued so far.
    pub(crate) fn queued(&self) -> u64 {
        self.output.progress.borrow().queued
    }

    /// Why the output cannot be written any more; `None` if it can.
    pub(crate) fn end(&self) -> Option<Closed> {
        self.output.progress.borrow().end
    }

    /// Waits until the output cannot be written any more. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.reaches(|_| false).await;
    }

    /// Waits until `is_there` is true for the thread's progress, or the thread cannot write any more.
    async fn reaches(&self, is_there: impl Fn(&Progress) -> bool) {
        let mut progress = self.output.progress.subscribe();
        // The sender exists as long as `self`, so this cannot fail.
        let _ = progress.wait_for(|progress| progress.end.is_some() || is_there(progress)).await;
    }

    fn queue(&self, bytes: usize, work: Work) {
        self.output.progress.send_modify(|progress| {
            progress.waiting += bytes;
            progress.queued += 1;
        });
        // The thread exists as long as there is a pipe, so this cannot fail.
        let _ = self.jobs.send((Arc::clone(&self.output), work));
    }
}

/// Starts a thread that carries out jobs until no more can come.
fn writer(name: &str) -> io::Result<mpsc::Sender<Job>> {
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        for (output, work) in queue {
            output.carry_out(work);
        }
    })?;
    Ok(jobs)
}

impl Output {
    fn carry_out(&self, work: Work) {
        let is_open = self.progress.borrow().end.is_none();
        let mut file = Patient(&self.file, &self.taken);
        let (bytes, result) = match work {
            Work::Bytes(bytes) => (bytes.len(), if is_open { file.write_all(&bytes) } else { Ok(()) }),
            Work::Document(document) => (0, if is_open { document(&mut file) } else { Ok(()) }),
        };
        self.progress.send_modify(|progress| {
            progress.waiting -= bytes;
            progress.done += 1;
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => progress.end = Some(Closed::ReaderGone),
                Err(error) => progress.end = Some(Closed::Failed(error.kind())),
            }
        });
    }
}

/// Writes when the reader takes something, also if the descriptor is set to non-blocking, and counts the bytes.
struct Patient<'a, W>(W, &'a AtomicU64);

impl<W: Write> Write for Patient<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(&bytes[..bytes.len().min(MAX_WRITE)]) {
                Err(error) => wait(error)?,
                Ok(count) => {
                    self.1.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Err(error) = self.0.flush() {
            wait(error)?;
        }
        Ok(())
    }
}

fn wait(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => {
            std::thread::sleep(RETRY);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Returns the given results first, then takes one byte at a time.
    struct Moody {
        moods: Vec<ErrorKind>,
        written: Vec<u8>,
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(mood) = self.moods.pop() {
                return Err(mood.into());
            }
            self.written.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.moods.pop().map_or(Ok(()), |mood| Err(mood.into()))
        }
    }

    /// Runs a future that must end by itself.
    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limited = async { tokio::time::timeout(Duration::from_secs(30), work).await };
        runtime.block_on(limited).expect("it ends")
    }

    fn is_pending(work: impl Future<Output = ()>) -> bool {
        run(async { tokio::time::timeout(Duration::from_millis(50), work).await }).is_err()
    }

    /// Makes pipes, and returns their other ends.
    fn pipes() -> (Pipes, io::PipeReader, io::PipeReader) {
        let ((out, stdout), (err, stderr)) = (io::pipe().unwrap(), io::pipe().unwrap());
        (Pipes::over(stdout.into(), stderr.into(), false).unwrap(), out, err)
    }

    #[test]
    fn all_is_written_however_slowly_it_is_taken() {
        let moods = vec![ErrorKind::WouldBlock, ErrorKind::Interrupted];
        let taken = AtomicU64::new(0);
        let mut writer = Patient(Moody { moods, written: Vec::new() }, &taken);
        writer.write_all(b"hello").unwrap();
        assert_eq!((writer.0.written, taken.load(Ordering::Relaxed)), (b"hello".to_vec(), 5));
        let mut full = Patient(Moody { moods: vec![ErrorKind::StorageFull], written: Vec::new() }, &taken);
        assert_eq!(full.write_all(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_reader_that_does_not_read_fills_the_queue_and_loses_nothing() {
        let (pipes, mut out, _err) = pipes();
        let line = [b'x'; 1 << 16];
        for _ in 0..20 {
            pipes.stdout.write(line.to_vec());
        }
        assert!(is_pending(pipes.room()) && is_pending(pipes.flushed(0)), "the pipe holds less");
        pipes.stdout.write_document(Box::new(|out| out.write_all(b"the end")));
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            out.read_to_end(&mut all).unwrap();
            all
        });
        run(pipes.room());
        run(pipes.flushed(0));
        assert_eq!(pipes.stdout.end(), None);
        drop(pipes);
        let all = reader.join().unwrap();
        assert_eq!(all.len(), 20 * line.len() + 7);
        assert!(all.ends_with(b"xthe end"));
    }

    #[test]
    fn the_end_waits_for_what_is_owed_on_stderr_and_a_second_for_the_rest() {
        let (pipes, _out, mut err) = pipes();
        pipes.stderr.write(vec![b'x'; 1 << 17]);
        let owed = pipes.stderr.queued();
        pipes.stderr.write(b"a summary".to_vec());
        assert!(is_pending(pipes.flushed(owed)));
        let began = std::time::Instant::now();
        run(pipes.flushed(0));
        assert!(began.elapsed() >= LAST_WORDS);
        let mut all = vec![0; (1 << 17) + 9];
        err.read_exact(&mut all).unwrap();
        assert!(all.ends_with(b"xa summary"));
    }

    #[test]
    fn a_reader_that_takes_little_is_waited_for_and_one_that_takes_nothing_is_not() {
        let (pipes, mut out, _err) = pipes();
        pipes.stdout.write(vec![b'x'; 1 << 17]);
        let began = std::time::Instant::now();
        let slow = std::thread::spawn(move || {
            for _ in 0..6 {
                std::thread::sleep(UNREAD / 2);
                out.read_exact(&mut [0; 2 * MAX_WRITE]).unwrap();
            }
            out
        });
        run(pipes.drained());
        assert!(began.elapsed() >= UNREAD * 4, "{:?}", began.elapsed());
        assert!(pipes.stdout.waits() && !pipes.stdout.has_done(1) && pipes.stderr.has_done(0));
        let mut out = slow.join().unwrap();
        run(async {
            let mut stillness = pipes.stillness();
            for _ in 0..=UNREAD.as_millis() / TICK.as_millis() {
                assert!(!stillness.grows(|| false).await);
            }
        });
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        run(pipes.drained());
        assert!(!pipes.stdout.waits() && pipes.stdout.has_done(1));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
        let (pipes, out, _err) = pipes();
        drop(out);
        pipes.stdout.write(b"hello".to_vec());
        run(pipes.stdout.closed());
        assert_eq!(pipes.stdout.end(), Some(Closed::ReaderGone));
        pipes.stdout.write(b"again".to_vec());
        run(pipes.flushed(0));
        let full = || OwnedFd::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let pipes = Pipes::over(full(), full(), true).unwrap();
        pipes.stdout.write(b"hello".to_vec());
        run(pipes.stdout.closed());
        assert_eq!(pipes.stdout.end(), Some(Closed::Failed(ErrorKind::StorageFull)));
    }

    #[test]
    fn outputs_that_are_one_file_keep_their_order() {
        let (mut read, write) = io::pipe().unwrap();
        let pipes = Pipes::over(write.try_clone().unwrap().into(), write.into(), true).unwrap();
        for _ in 0..1000 {
            pipes.stdout.write(b"o".to_vec());
            pipes.stderr.write(b"e".to_vec());
        }
        run(pipes.flushed(1000));
        drop(pipes);
        let mut all = Vec::new();
        read.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"oe".repeat(1000));
    }
}
