//! The dialogue that turns a login into a child, from the first byte to the hello.
//!
//! [`Dialogue`] decides and does no I/O: bytes and events go in, actions come out. A connection takes these
//! steps:
//!
//! ```text
//! login       noise, then the first stage's announcement   -> ChooseImage
//! first stage the caller chooses an image                  -> Write, Write
//! upload      bytes are on their way
//! exec        the machine unpacks and executes
//! handshake   token, magic, version, length, hello         -> Hello
//! ```
//!
//! The parent sends nothing after the image until the hello has arrived, because some tools read more bytes
//! than they were asked to.

pub(crate) mod advice;
mod announcement;
mod diagnosis;
mod failure;
mod first_stage;
mod hello_parser;
mod nonce;
mod output_tail;
mod prompt;
#[cfg(test)]
mod tests;
pub(crate) mod tool_words;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::announcement::Announcement;
use self::announcement::Reader;
pub(crate) use self::diagnosis::{Diagnosis, Interpret};
#[cfg(target_os = "linux")]
pub(crate) use self::first_stage::holds_first_stage;
pub(crate) use self::first_stage::{first_stage, login_command};
use self::hello_parser::SplitHello;
pub(crate) use self::hello_parser::{append_hello, hello_bytes};
pub(crate) use self::nonce::{Nonce, ONLY, only};
use self::output_tail::{OutputTail, Source};
use self::prompt::Reply;
pub(crate) use self::prompt::{Answer, Ask, GIVE_ONE, Prompts, Sign};
use crate::image::executable::Packed;
use crate::wire::codec::Secret;
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{ConnectCause, ConnectError, ConnectErrorKind, Phase};
use crate::wire::sanitize::stripped;

/// Version of the protocol, from the handshake on.
pub(crate) const VERSION: u16 = 1;
/// What a child writes after its token. These bytes are not text, so a terminal or a transfer in text mode
/// damages them.
pub(crate) const MAGIC: [u8; 8] = [0x89, 0x4f, 0x46, 0x53, 0x0d, 0x0a, 0x1a, 0x0a];
/// Longest hello of a child, in bytes.
pub(crate) const MAX_HELLO: usize = 4096;

/// Whether a first stage has run and has reported that it cannot start an image.
pub(crate) fn is_helpless(error: &ConnectError) -> bool {
    error.phase == Phase::FirstStage && (error.kind == ConnectErrorKind::NoPlace || error.cause == ConnectCause::NoTool)
}

/// An event for the dialogue.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Bytes from the launcher's stdout, in pieces of any size.
    Stdout(&'a [u8]),
    /// Bytes from the launcher's stderr or terminal, in pieces of any size.
    Stderr(&'a [u8]),
    /// The launcher has a terminal and has printed nothing there for a while.
    Waiting {
        /// The terminal shows what is typed.
        echoes: bool,
    },
    /// The answer to [`Action::Ask`], if there is one.
    Answer(Option<&'a Secret>),
    /// The answer to [`Action::ChooseImage`]: an image and its digest.
    Image(Result<(Packed, [u8; 32]), ConnectError>),
    /// Everything that [`Action::Write`] gave has been written.
    Sent,
    /// The launcher has exited, and its output is at end of file.
    Ended {
        /// Such as `exited with return code 1` or `exited due to signal 9 (SIGKILL)`.
        status: String,
        /// The exit code, if it has one.
        code: Option<i32>,
        /// The launcher closed its output but did not exit, so it was killed.
        lingered: bool,
    },
    /// The launcher's stdin was closed, because the time allowed for the whole connect has nearly passed and the
    /// first stage has not come. What reads that input goes on or ends, and so shows itself. Images, which have to be
    /// small, do without.
    #[cfg(feature = "cli")]
    StdinClosed(Closing),
    /// The time allowed for the whole connect has passed.
    Deadline(Duration),
    /// The router has begun to shut down.
    Cancelled,
}

/// When the launcher's stdin was closed.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closing {
    /// Time since the start of the connect.
    pub(crate) at: Duration,
    /// The time allowed for the whole connect.
    pub(crate) limit: Duration,
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find an image for this machine and give it as [`Input::Image`].
    ChooseImage(Announcement),
    /// Write this to the launcher's stdin, after what was given before. It is not an error yet if the other end
    /// is closed: the reason follows on stdout or with the exit status.
    Write(Bytes),
    /// Type this and a newline as soon as the terminal's echo is off. If the echo stays on and `by_stdin` is
    /// true, write it to the launcher's stdin instead, because then the launcher does not read the secret from
    /// the terminal.
    Type { secret: Secret, by_stdin: bool },
    /// Have a question of the launcher answered, by [`Input::Answer`].
    Ask(String),
    /// The child is up.
    Hello {
        /// Its hello, still encoded.
        hello: Vec<u8>,
        /// The bytes after the hello. They belong to the next layer.
        rest: Vec<u8>,
    },
    /// The connection has failed. No more actions follow.
    Fail(ConnectError),
    /// A line for the debug log.
    Note(String),
}

/// One connection, until its child is up or it fails.
#[derive(Debug)]
pub(crate) struct Dialogue {
    token: Vec<u8>,
    hop: String,
    remote_name: String,
    /// Whether the first stage may keep the image.
    cache: bool,
    /// Whether the image may be sent.
    may_send: bool,
    interpret: Interpret,
    prompts: Prompts,
    phase: Phase,
    expect: Expect,
    /// Bytes of stdout that are not interpreted yet. While the dialogue looks for a mark, the buffer holds at
    /// most a line or the beginning of a token.
    buffer: Vec<u8>,
    /// How many bytes of stdout were not part of the protocol.
    noise: usize,
    tail: OutputTail,
    trace: ConnectTrace,
    /// Set once the launcher's stdin was closed.
    #[cfg(feature = "cli")]
    stdin_closed: Option<Closing>,
}

/// What must come next.
#[derive(Debug)]
enum Expect {
    /// The announcement of the first stage. With `or_child`, the child's token may come instead, without an
    /// upload.
    Announcement { or_child: bool },
    /// The caller's choice of an image.
    Image { announcement: Box<Announcement> },
    /// The end of a first stage that could not identify its machine. The complaints of its shell may come on
    /// another stream than the announcement. All of them have arrived when the launcher has ended.
    Reason,
    /// The child's token, or a failure that the first stage reports.
    Child { upload: Option<Box<Upload>> },
    /// The bytes after the child's token.
    SplitHello,
    /// Nothing: the hello or an error has been passed on.
    Nothing,
}

/// What was sent. A later error needs it.
#[derive(Debug)]
struct Upload {
    announcement: Announcement,
    image: Packed,
    digest: [u8; 32],
    /// The machine was asked for an image that it may have kept.
    kept: bool,
    /// Position in the tail where the upload began.
    since: u64,
}

/// A token and what follows it, which decides its meaning.
enum Mark {
    /// `TOKEN text newline`, from the first stage. Holds the text.
    Line(Vec<u8>),
    /// `TOKEN newline`, from the child.
    Child,
}

impl Dialogue {
    /// A dialogue with a first stage, which then becomes the child.
    ///
    /// `remote_name` becomes the name of a file and stands at the end of a line: it has no slash, no control
    /// character, no space at either end, and at most 200 bytes. `cache` must be the value that the first stage
    /// was made with.
    pub(crate) fn staged(nonce: Nonce, hop: String, remote_name: String, cache: bool, interpret: Interpret) -> Self {
        let dialogue = Self::new(nonce, hop, interpret, Phase::Login, Expect::Announcement { or_child: false });
        Self { remote_name, cache, ..dialogue }
    }

    /// A dialogue with a child that is executed without a first stage. It begins in `phase`.
    pub(crate) fn direct(nonce: Nonce, hop: String, phase: Phase, interpret: Interpret) -> Self {
        Self::new(nonce, hop, interpret, phase, Expect::Child { upload: None })
    }

    /// Also accepts a child that comes up in place of the first stage.
    pub(crate) fn or_child(mut self) -> Self {
        if let Expect::Announcement { or_child } = &mut self.expect {
            *or_child = true;
        }
        self
    }

    /// `may_send`: whether the image is sent to a machine that has none.
    pub(crate) fn with_upload(self, may_send: bool) -> Self {
        Self { may_send, ..self }
    }

    /// Answers the launcher's questions by `prompts`.
    pub(crate) fn with_prompts(mut self, prompts: Prompts) -> Self {
        self.prompts = prompts;
        self
    }

    /// The phase that the connection has reached.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether nothing has come from the first stage yet.
    #[cfg(feature = "cli")]
    pub(crate) fn awaits_first_stage(&self) -> bool {
        matches!(self.expect, Expect::Announcement { .. })
    }

    /// What was seen during the connect. Every error carries it, too.
    pub(crate) fn trace(&mut self) -> &mut ConnectTrace {
        &mut self.trace
    }

    /// Takes an event and returns what to do about it, in order.
    ///
    /// After [`Action::Hello`] or [`Action::Fail`] it always returns nothing.
    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if matches!(self.expect, Expect::Nothing) {
            return actions;
        }
        let result = match input {
            Input::Stdout(bytes) => {
                self.buffer.extend_from_slice(bytes);
                let advanced = self.advance(&mut actions);
                advanced.and_then(|()| self.reply(&mut actions, |prompts| prompts.input(true, bytes)))
            }
            Input::Stderr(bytes) => {
                note(&mut actions, self.tail.push(Source::Stderr, bytes));
                self.reply(&mut actions, |prompts| prompts.input(false, bytes))
            }
            Input::Waiting { echoes } => self.reply(&mut actions, |prompts| prompts.waiting(echoes)),
            Input::Answer(answer) => self.reply(&mut actions, |prompts| Some(prompts.answer(answer))),
            Input::Image(Ok((image, digest))) => self.take_image(image, digest, &mut actions),
            Input::Image(Err(mut error)) => {
                if error.hop.is_empty() {
                    error.hop.clone_from(&self.hop);
                }
                Err(error)
            }
            Input::Sent => {
                if self.phase == Phase::Upload {
                    self.phase = Phase::Exec;
                }
                Ok(())
            }
            Input::Ended { .. } if matches!(self.expect, Expect::Reason) => Err(self.does_not_say(&mut actions)),
            Input::Ended { status, code, lingered } => Err(self.ended(&status, code, lingered, &mut actions)),
            #[cfg(feature = "cli")]
            Input::StdinClosed(closing) => {
                self.stdin_closed = Some(closing);
                Ok(())
            }
            Input::Deadline(_) if matches!(self.expect, Expect::Reason) => Err(self.does_not_say(&mut actions)),
            Input::Deadline(after) => Err(self.timeout(after, &mut actions)),
            Input::Cancelled => Err(self.error(ConnectErrorKind::Cancelled, CANCELLED)),
        };
        if let Err(mut error) = result {
            *error.trace = std::mem::take(&mut self.trace);
            self.expect = Expect::Nothing;
            self.buffer = Vec::new();
            actions.push(Action::Fail(error));
        }
        actions
    }

    fn new(nonce: Nonce, hop: String, interpret: Interpret, phase: Phase, expect: Expect) -> Self {
        Self {
            token: nonce.into_token().into_bytes(),
            hop,
            remote_name: String::new(),
            cache: false,
            may_send: true,
            interpret,
            prompts: Prompts::default(),
            phase,
            expect,
            buffer: Vec::new(),
            noise: 0,
            tail: OutputTail::default(),
            trace: ConnectTrace::default(),
            #[cfg(feature = "cli")]
            stdin_closed: None,
        }
    }

    /// Passes on what the prompts decide. Once the first stage or the child runs, the launcher asks nothing
    /// more. What looks like a question then is not the launcher's, so it is ignored.
    fn reply(
        &mut self,
        actions: &mut Vec<Action>,
        reply: impl FnOnce(&mut Prompts) -> Option<Reply>,
    ) -> Result<(), ConnectError> {
        if !matches!(self.expect, Expect::Announcement { .. } | Expect::Child { upload: None }) {
            return Ok(());
        }
        match reply(&mut self.prompts) {
            None => Ok(()),
            Some(Reply::Type(secret)) => {
                actions.push(Action::Type { secret, by_stdin: self.prompts.by_stdin });
                Ok(())
            }
            Some(Reply::Ask(question)) => {
                actions.push(Action::Ask(question));
                Ok(())
            }
            Some(Reply::Fail(diagnosis)) => {
                self.flush(actions);
                self.phase = Phase::Login;
                Err(self.diagnosed(diagnosis))
            }
        }
    }

    /// Advances as far as the buffered bytes allow.
    fn advance(&mut self, actions: &mut Vec<Action>) -> Result<(), ConnectError> {
        loop {
            match &self.expect {
                Expect::Announcement { .. } | Expect::Child { .. } => {
                    let Some(mark) = self.next_mark(actions)? else {
                        return Ok(());
                    };
                    self.take_mark(mark, actions)?;
                }
                // Other output, or the end of the first stage. Other output is interpreted when the image is
                // being sent.
                Expect::Image { .. } => {
                    let no_input = [&self.token[..], NO_INPUT.as_bytes()].concat();
                    if find(&self.buffer, &no_input).is_some() {
                        return Err(self.no_input());
                    }
                    return self.check_noise(self.buffer.len());
                }
                Expect::SplitHello => {
                    let split = hello_parser::split(&self.buffer);
                    let Some(SplitHello { hello, rest }) = split.map_err(|diagnosis| self.diagnosed(diagnosis))? else {
                        return Ok(());
                    };
                    self.buffer = Vec::new();
                    self.expect = Expect::Nothing;
                    actions.push(Action::Hello { hello, rest });
                }
                Expect::Reason => return self.drop_noise(self.buffer.len(), actions),
                Expect::Nothing => return Ok(()),
            }
        }
    }

    /// Finds the next mark that this point of the dialogue allows, and treats everything before it as noise.
    ///
    /// A token that is followed by anything but a space or a newline is noise, too, such as a file name that
    /// contains the token.
    fn next_mark(&mut self, actions: &mut Vec<Action>) -> Result<Option<Mark>, ConnectError> {
        loop {
            let Some(start) = find(&self.buffer, &self.token) else {
                let keep = self.buffer.len() - overlap(&self.buffer, &self.token);
                self.drop_noise(keep, actions)?;
                return Ok(None);
            };
            self.drop_noise(start, actions)?;
            let rest = &self.buffer[self.token.len()..];
            match (rest, &self.expect) {
                ([] | [b'\r'], _) => return Ok(None),
                ([b' ', ..], Expect::Announcement { .. } | Expect::Child { upload: Some(_) }) => {
                    let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                        return if rest.len() > MAX_LINE {
                            let text = format!("the first stage's line is longer than {MAX_LINE} bytes");
                            Err(self.error(ConnectErrorKind::Oversize, text))
                        } else {
                            Ok(None)
                        };
                    };
                    let line = rest[..length].to_vec();
                    self.buffer.drain(..self.token.len() + length + 1);
                    return Ok(Some(Mark::Line(line)));
                }
                ([b'\n', ..] | [b'\r', b'\n', ..], Expect::Child { .. } | Expect::Announcement { or_child: true }) => {
                    let newline = if rest[0] == b'\n' { 1 } else { 2 };
                    self.buffer.drain(..self.token.len() + newline);
                    return Ok(Some(Mark::Child));
                }
                ([UNCLAIMED, ..], Expect::Child { .. } | Expect::Announcement { or_child: true }) => {
                    let (text, advice) = advice::UNCLAIMED;
                    return Err(self.error(ConnectErrorKind::Mismatch, text).with_advice(advice));
                }
                _ => self.drop_noise(1, actions)?,
            }
        }
    }

    fn take_mark(&mut self, mark: Mark, actions: &mut Vec<Action>) -> Result<(), ConnectError> {
        #[cfg(feature = "cli")]
        if let Some(closing) = self.stdin_closed {
            return Err(self.came_late(closing));
        }
        match (mark, std::mem::replace(&mut self.expect, Expect::Nothing)) {
            (Mark::Child, _) => {
                self.phase = Phase::Handshake;
                self.expect = Expect::SplitHello;
                Ok(())
            }
            (Mark::Line(line), Expect::Announcement { .. }) => {
                self.phase = Phase::FirstStage;
                if line.ends_with(b"\r") {
                    return Err(self
                        .error(ConnectErrorKind::Corrupt, advice::TERMINAL_BETWEEN.0)
                        .with_advice(advice::TERMINAL_BETWEEN.1));
                }
                self.take_announcement(&line, actions)
            }
            (Mark::Line(line), Expect::Child { upload: Some(upload) }) => {
                if line.starts_with(NO_INPUT.as_bytes()) {
                    return Err(self.no_input());
                }
                if let Some(rest) = stripped(&line).strip_prefix(" failed") {
                    return Err(self.upload_failed(rest, &upload, actions));
                }
                match Announcement::parse(&line).filter(|announcement| upload.is_news(announcement)) {
                    Some(announcement) => self.begin_again(&line, announcement, *upload, actions),
                    None => {
                        self.expect = Expect::Child { upload: Some(upload) };
                        Ok(())
                    }
                }
            }
            (Mark::Line(_), expect) => {
                self.expect = expect;
                Ok(())
            }
        }
    }

    fn take_announcement(&mut self, line: &[u8], actions: &mut Vec<Action>) -> Result<(), ConnectError> {
        let Some(announcement) = Announcement::parse(line) else {
            let text = format!("cannot read what the first stage announced: {}", stripped(line).trim());
            return Err(self.error(ConnectErrorKind::Corrupt, text));
        };
        self.announced(line, &announcement, actions);
        if announcement.machine == "-" {
            // An empty request ends the first stage.
            actions.push(Action::Write(Bytes::from_static(b"\n")));
            self.expect = Expect::Reason;
            return Ok(());
        }
        if announcement.reader == Reader::Missing {
            let text = "the machine has neither `head -c` nor `dd` to receive the image with";
            return Err(self.lacks_tool(text, "put one of them on its PATH"));
        }
        if !announcement.has_route() {
            return Err(self.no_place(&announcement, "", announcement.no_place()));
        }
        actions.push(Action::ChooseImage(announcement.clone()));
        self.expect = Expect::Image { announcement: Box::new(announcement) };
        Ok(())
    }

    fn announced(&mut self, line: &[u8], announcement: &Announcement, actions: &mut Vec<Action>) {
        self.trace.announced.push(stripped(line));
        actions.push(Action::Note(announcement.to_string()));
    }

    /// The first stage cannot hold the image in the place that it announced, or it does not have the kept
    /// image.
    fn begin_again(
        &mut self,
        line: &[u8],
        announcement: Announcement,
        upload: Upload,
        actions: &mut Vec<Action>,
    ) -> Result<(), ConnectError> {
        self.phase = Phase::FirstStage;
        self.announced(line, &announcement, actions);
        if !announcement.has_route() {
            return Err(self.no_place(&announcement, "", announcement.no_place()));
        }
        self.send(announcement, upload.image, upload.digest, actions)
    }

    fn take_image(&mut self, image: Packed, digest: [u8; 32], actions: &mut Vec<Action>) -> Result<(), ConnectError> {
        match std::mem::replace(&mut self.expect, Expect::Nothing) {
            Expect::Image { announcement } => self.send(*announcement, image, digest, actions)?,
            // An image that was not asked for.
            other => self.expect = other,
        }
        self.advance(actions)
    }

    /// Sends the image, or first asks for one that the machine may have kept.
    fn send(
        &mut self,
        announcement: Announcement,
        image: Packed,
        digest: [u8; 32],
        actions: &mut Vec<Action>,
    ) -> Result<(), ConnectError> {
        let kept = announcement.caches && announcement.place.is_some();
        if !kept && !self.may_send {
            let (text, advice) = advice::NO_UPLOAD;
            return Err(self.error(ConnectErrorKind::Image, text).with_advice(advice));
        }
        let request = announcement.request(&image, kept, self.cache.then_some(&digest), &self.remote_name);
        actions.push(Action::Write(request.into()));
        if kept {
            self.trace.sent.push((0, image.unpacked));
        } else {
            self.trace.sent.push((image.bytes.len() as u64, image.unpacked));
            actions.push(Action::Write(image.bytes.clone()));
        }
        self.phase = Phase::Upload;
        let since = self.tail.position();
        self.expect = Expect::Child { upload: Some(Box::new(Upload { announcement, image, digest, kept, since })) };
        Ok(())
    }

    /// Treats the rest of the buffer as noise. Called only before an error.
    fn flush(&mut self, actions: &mut Vec<Action>) {
        let buffer = std::mem::take(&mut self.buffer);
        note(actions, self.tail.push(Source::Stdout, &buffer));
        note(actions, self.tail.finish());
    }

    fn drop_noise(&mut self, length: usize, actions: &mut Vec<Action>) -> Result<(), ConnectError> {
        note(actions, self.tail.push(Source::Stdout, &self.buffer[..length]));
        self.buffer.drain(..length);
        self.noise += length;
        self.check_noise(0)
    }

    fn check_noise(&self, more: usize) -> Result<(), ConnectError> {
        if self.noise + more <= MAX_NOISE {
            return Ok(());
        }
        let text = format!("more than {MAX_NOISE} bytes of other output in phase {}", self.phase);
        let advice = "does a profile or the login shell print without end?";
        Err(self.error(ConnectErrorKind::Oversize, text).with_advice(advice))
    }
}

impl Upload {
    /// Whether an announcement differs from the one that this upload answers. Each new one has refused more
    /// places than the one before, and the number of places is small, so this ends.
    fn is_news(&self, announcement: &Announcement) -> bool {
        self.kept && !announcement.caches || announcement.refused.len() > self.announcement.refused.len()
    }
}

fn note(actions: &mut Vec<Action>, lines: Vec<String>) {
    actions.extend(lines.into_iter().map(Action::Note));
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Length of the longest suffix of `haystack` that is a prefix of `needle`.
fn overlap(haystack: &[u8], needle: &[u8]) -> usize {
    let longest = haystack.len().min(needle.len().saturating_sub(1));
    (0..=longest).rev().find(|length| haystack.ends_with(&needle[..*length])).unwrap_or(0)
}

/// The exit code of ssh for its own failures, as opposed to failures of the command.
const SSH_FAILED: i32 = 255;
/// What follows the token if the program has not become a child.
pub(crate) const UNCLAIMED: u8 = b'!';
/// What follows the token if the first stage had no input.
const NO_INPUT: &str = " failed eof";
/// The error text of a connect whose router shuts down.
pub(crate) const CANCELLED: &str = "Connection cancelled because the associated Broker began to shut down.";
/// Most bytes of other output before the child is up.
const MAX_NOISE: usize = 1 << 20;
/// Longest line of a first stage, in bytes.
const MAX_LINE: usize = 16 * 1024;
