//! The side that has the files: lists them, and sends those that are wanted.
//!
//! It says what to send next and takes answers. `drive` connects it to the other side.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::content::Content;
use super::message::{BATCH, CHUNK, Options, Piece, Stop, ToSink, ToSource, UNANSWERED, Want, Watch};
use super::packing::Packing;
use super::sum::SumKind;
use super::walk::{Listed, Location, Walk};
use crate::api::receiver::Receiver;
use crate::api::sender::Sender;
use crate::sys::directory::Directory;
use crate::wire::codec::Blob;
use crate::wire::error::IoError;

/// What the source does next.
#[derive(Debug)]
pub(crate) enum Next {
    Send(ToSink),
    /// It waits for an answer.
    Await,
    Done,
}

/// The state of a source.
pub(crate) struct Source<'a> {
    walk: Walk,
    is_listed: bool,
    /// Messages that come before anything else.
    queue: VecDeque<ToSink>,
    /// The number of the next entry.
    number: u64,
    /// The files of the messages that are not answered yet, after the number of the first.
    unanswered: VecDeque<(u64, Vec<Option<Listed>>)>,
    wanted: VecDeque<(Want, Listed)>,
    content: Option<Content>,
    pieces: Vec<Piece>,
    filled: usize,
    /// The files that begin in these pieces.
    begun: usize,
    /// The directory of the last file.
    last: Option<(Rc<Location>, Directory)>,
    has_ended: bool,
    packing: Packing,
    /// How content is summed up.
    sum: SumKind,
    stop: &'a AtomicBool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(sources: &[Blob], options: &Options, stop: &'a AtomicBool) -> Self {
        Self {
            walk: Walk::new(sources, options),
            is_listed: false,
            queue: VecDeque::new(),
            number: 0,
            unanswered: VecDeque::new(),
            wanted: VecDeque::new(),
            content: None,
            pieces: Vec::new(),
            filled: 0,
            begun: 0,
            last: None,
            has_ended: false,
            packing: Packing::default(),
            sum: options.sum(),
            stop,
        }
    }

    /// Takes the answer to the oldest message with entries that has none.
    ///
    /// # Errors
    ///
    /// If it answers nothing, or wants what was not listed.
    pub(crate) fn answer(&mut self, answer: ToSource) -> Result<(), Stop> {
        let rule = || Stop::rule("the other side wants what was not offered");
        let (first, mut files) = self.unanswered.pop_front().ok_or_else(rule)?;
        for want in answer.0 {
            let index =
                want.number.checked_sub(first).and_then(|index| usize::try_from(index).ok()).ok_or_else(rule)?;
            // Each is wanted once.
            let file = files.get_mut(index).and_then(Option::take).ok_or_else(rule)?;
            self.wanted.push_back((want, file));
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Next {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Next::Send(message);
            }
            // The other side knows how many files it may have to wait for, however small they are.
            if self.filled >= CHUNK || (self.begun >= BATCH && self.content.is_none()) {
                return self.flush();
            }
            if let Some(content) = &mut self.content {
                let piece = content.next(self.stop).unwrap_or_else(|error| Piece::Broken(error.into()));
                self.push(piece);
            } else if let Some((want, file)) = self.wanted.pop_front() {
                self.open(want, &file);
            } else if !self.is_listed && self.unanswered.len() < UNANSWERED {
                self.list();
            } else if !self.pieces.is_empty() {
                return self.flush();
            } else if !self.unanswered.is_empty() {
                return Next::Await;
            } else if self.has_ended {
                return Next::Done;
            } else {
                self.has_ended = true;
                return Next::Send(ToSink::End);
            }
        }
    }

    /// Takes note that a message of this size was sent, and how long that took.
    pub(crate) fn sent(&mut self, size: usize, took: Duration) {
        self.packing.sent(size, took);
    }

    fn push(&mut self, piece: Piece) {
        if matches!(piece, Piece::End(_) | Piece::Broken(_)) {
            self.content = None;
        }
        self.begun += usize::from(matches!(piece, Piece::Begin { .. }));
        // As it is before it is packed: the other side has to write all of it.
        self.filled += piece.size();
        self.pieces.push(self.packing.pack(piece));
    }

    fn flush(&mut self) -> Next {
        (self.filled, self.begun) = (0, 0);
        Next::Send(ToSink::Pieces(std::mem::take(&mut self.pieces)))
    }

    /// Begins to send a file.
    fn open(&mut self, want: Want, file: &Listed) {
        let opened = self.directory(file).and_then(|directory| {
            let open = directory.read(&file.name, file.is_named)?;
            Content::new(open, file.size, (want.has, self.sum), self.stop)
        });
        let number = want.number;
        match opened {
            Ok(content) => {
                self.push(Piece::Begin { number, from: content.at() });
                self.content = Some(content);
            }
            Err(error) => {
                self.push(Piece::Begin { number, from: 0 });
                self.push(Piece::Broken(IoError::while_doing("cannot read it", &error)));
            }
        }
    }

    fn directory(&mut self, file: &Listed) -> io::Result<Directory> {
        if let Some((last, directory)) = &self.last
            && Rc::ptr_eq(last, &file.location)
        {
            return Ok(directory.clone());
        }
        let directory = file.location.open()?;
        self.last = Some((Rc::clone(&file.location), directory.clone()));
        Ok(directory)
    }

    /// Queues the next batch of entries.
    fn list(&mut self) {
        let Some(batch) = self.walk.next() else {
            self.is_listed = true;
            return;
        };
        self.queue.extend(batch.owners.into_iter().map(ToSink::Owner));
        self.queue.extend(batch.faults.into_iter().map(ToSink::Fault));
        if !batch.groups.is_empty() {
            self.queue.push_back(ToSink::Entries(batch.groups));
            let first = self.number;
            self.number += batch.files.len() as u64;
            self.unanswered.push_back((first, batch.files));
        }
    }
}

/// Runs a source on this thread, which may block, until all is sent.
///
/// # Errors
///
/// If the other side has gone, or does not keep to the rules.
pub(crate) fn drive(
    source: &mut Source<'_>,
    to: &Sender<ToSink>,
    answers: &Receiver<ToSource>,
    watch: Option<&dyn Watch>,
) -> Result<(), Stop> {
    loop {
        while let Some(answer) = answers.try_recv().map_err(|error| Stop::unread(&error))? {
            watch.inspect(|watch| watch.answer(&answer));
            source.answer(answer)?;
        }
        match source.next() {
            Next::Send(message) => {
                let (size, begun) = (message.size(), Instant::now());
                watch.inspect(|watch| watch.message(&message));
                to.blocking_send(message).map_err(|_| Stop::gone())?;
                source.sent(size, begun.elapsed());
            }
            Next::Await => {
                let answer = answers.blocking_recv().map_err(|error| Stop::unread(&error))?;
                watch.inspect(|watch| watch.answer(&answer));
                source.answer(answer)?;
            }
            Next::Done => return Ok(()),
        }
    }
}
