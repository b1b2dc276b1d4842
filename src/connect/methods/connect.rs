//! One connect: launches what the method says, carries the bootstrap dialogue
//! between the launcher and its pure core, and attaches the link.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use zeroize::Zeroizing;

use crate::connect::bootstrap::is_helpless;
use crate::connect::bootstrap::{Action, Announcement, Dialogue, Input, Nonce};
use crate::connect::handshake::{Hello, Welcome};
use crate::connect::methods::question::{Answerer, Answering};
use crate::connect::methods::{Connected, Run, Spec, Unclaimed, Variant};
use crate::engine::io::{Io, Missing};
use crate::engine::link::LastWords;
use crate::engine::log::log_later;
use crate::image::bundle::Bundle;
use crate::image::executable::{self, Compression, Image, Packed};
use crate::routing::table::MAX_NAME;
use crate::sys::blocking::on_other_thread;
use crate::sys::pipe::{Input as Reading, Stream};
use crate::sys::process::{self, Launch, Launched};
use crate::sys::pty;
use crate::wire::call_payload;
use crate::wire::codec::Secret;
use crate::wire::error::{ConnectError, ConnectErrorKind, Error, Phase, joined};
use crate::wire::message::{ContextId, Handle, Message};

/// What a launcher still says on stderr is awaited for this long after its
/// end.
const STDERR_GRACE: Duration = Duration::from_millis(100);
/// A launcher that has closed its stdout has this long to exit.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// A launcher that has said nothing on its terminal for this long may wait
/// for an answer.
const QUIET: Duration = Duration::from_millis(300);
/// Whoever reads a secret from a terminal has switched its echo off this long
/// after asking; some do it a moment before, some a moment after. The second
/// is for those that might read it from stdin, and then do not care.
const ECHO_OFF: Duration = Duration::from_secs(1);
const ECHO_OFF_OR_STDIN: Duration = Duration::from_millis(80);
/// While no file can be opened, a connect looks this often whether one can; the
/// end of a link of this router is noticed at once.
const FILES_POLL: Duration = Duration::from_millis(100);
/// Less time than this for the settings of ssh is not taken from that for the
/// connect.
const NOTICED: Duration = Duration::from_millis(100);
/// How often the echo is looked at.
const ECHO_POLL: Duration = Duration::from_millis(2);

/// Starts a child of this context.
pub(crate) async fn connect(io: &Rc<Io>, mut spec: Spec, answerer: Option<Answerer>) -> Result<Unclaimed, Error> {
    io.stock_ids();
    process::raise_open_files();
    if let Variant::Ssh(ssh) = &mut spec.method
        && ssh.keepalive.is_none()
    {
        let begun = Instant::now();
        ssh.keepalive = tokio::select! {
            keepalive = ssh.default_keepalive(spec.connect_timeout) => keepalive,
            () = io.stop.cancelled() => None,
        };
        if begun.elapsed() >= NOTICED {
            spec.connect_timeout = spec.connect_timeout.saturating_sub(begun.elapsed());
        }
    }
    // Why no first stage could run, where copying is the second way.
    let mut helpless: Option<ConnectError> = None;
    loop {
        let started = Instant::now();
        let mut attempt = Attempt::begin(io, &spec, answerer.clone()).await?;
        let mut error = match attempt.carry(io, &spec).await {
            Ok((hello, rest)) => {
                if spec.copied {
                    attempt.end_copying();
                }
                return attempt.attach(io, spec, &hello, rest).await;
            }
            Err(error) => error,
        };
        if error.trace.command.is_empty() {
            *error.trace = std::mem::take(attempt.dialogue.trail());
        }
        let was_direct = attempt.may_be_direct;
        // The end of its link ends whatever we had started; the rest is
        // only to leave no zombie.
        let Attempt { mut launched, stream, stderr, .. } = attempt;
        drop((stream, stderr));
        launched.hang_up();
        io.tasks.spawn(async move {
            launched.reap().await;
        });
        if was_direct && spec.sends_from_now_on(&error) {
            log_later!(io, DEBUG, "{}: the parent's own image did not come up, so one is sent: {error}", error.hop);
            spec.connect_timeout = spec.connect_timeout.saturating_sub(started.elapsed());
            continue;
        }
        if !spec.copies_from_now_on(&error) {
            if let Some(mut first) = helpless {
                first.text = format!("{}; nor can it be copied in: {}", first.text, error.text);
                first.advice = joined(&first.advice, &error.advice);
                error = first;
            }
            spec.annotate(&mut error);
            return Err(error.into());
        }
        helpless = is_helpless(&error).then_some(error);
        spec.connect_timeout = spec.connect_timeout.saturating_sub(started.elapsed());
    }
}

/// A secret to be typed when the terminal does not show it, or at the limit.
struct Typing {
    secret: Secret,
    by_stdin: bool,
    /// When to look next.
    next: Instant,
    limit: Instant,
}

/// An image that is being packed, and its digest.
type Packing = Pin<Box<dyn Future<Output = Result<(Packed, [u8; 32]), ConnectError>>>>;

struct Attempt {
    hop: String,
    dialogue: Dialogue,
    started: Instant,
    deadline: Instant,
    launched: Launched,
    stream: Stream,
    /// Its stderr, or its terminal.
    stderr: Reading,
    answerer: Option<Answerer>,
    /// The command may bring the child up without an upload.
    may_be_direct: bool,
    /// Tells what the first stage may have called the directory that it makes.
    nonce: Nonce,
    /// Digest of the image that was sent.
    sent: Option<[u8; 32]>,
}

/// Why an attempt was not started.
struct Unstarted {
    error: ConnectError,
    /// There are too many open files, which may be otherwise in a moment.
    out_of_files: bool,
}

impl From<ConnectError> for Unstarted {
    fn from(error: ConnectError) -> Self {
        Self { error, out_of_files: false }
    }
}

impl Attempt {
    /// Starts it as soon as there are descriptors for it, if that is within
    /// the time for the connect.
    async fn begin(io: &Rc<Io>, spec: &Spec, answerer: Option<Answerer>) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + spec.connect_timeout;
        loop {
            match Self::start(spec, answerer.clone()) {
                Ok(attempt) => return Ok(Self { deadline, ..attempt }),
                Err(Unstarted { error, out_of_files }) => {
                    if !out_of_files || Instant::now() >= deadline || io.stop.is_cancelled() {
                        return Err(error);
                    }
                }
            }
            let next = deadline.min(Instant::now() + FILES_POLL);
            tokio::select! {
                () = io.link_has_gone() => {}
                () = io.stop.cancelled() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn start(spec: &Spec, answerer: Option<Answerer>) -> Result<Self, Unstarted> {
        let hop = spec.hop();
        let fail = |kind, text: String| ConnectError::new(kind, Phase::Start, hop.clone(), text);
        let unopened = |kind, what: &str, error: &io::Error| {
            let failed = fail(kind, format!("{what}: {error}")).with_advice(advice_on_files(error).unwrap_or_default());
            Unstarted { error: failed, out_of_files: process::is_out_of_files(error) }
        };
        let remote_name = spec.remote_name().map_err(|why| fail(ConnectErrorKind::Start, why))?;
        let nonce = nonce().map_err(|error| unopened(ConnectErrorKind::Start, "no random bytes", &error))?;
        let plan = spec.plan(&nonce, &remote_name, answerer.is_some());
        let plan = plan.map_err(|why| fail(ConnectErrorKind::Start, why))?;
        let is_command = match &plan.run {
            Run::OwnImage => false,
            Run::Inside { command, .. } => !command.is_empty(),
            Run::Command(_) => true,
        };
        let is_inside = matches!(plan.run, Run::Inside { .. });
        let staged = is_command && spec.binary.is_none();
        let own_image = |argv| {
            let image = Image::own().map_err(|why| fail(ConnectErrorKind::Image, why))?;
            let image =
                image.descriptor().map_err(|error| unopened(ConnectErrorKind::Image, "the own image", &error))?;
            Ok::<_, Unstarted>(Launch::Image { image, argv })
        };
        let own_name = "the own image".to_owned();
        let (launch, command, shown) = match plan.run {
            Run::OwnImage => (own_image(own_argv(&nonce, &remote_name))?, own_name.clone(), vec![own_name]),
            Run::Inside { user, ask, command } => {
                let mut argv = own_argv(&nonce, &remote_name);
                argv.extend(crate::connect::methods::setns::arguments(&user, &ask, &command));
                (own_image(argv)?, own_name, ask)
            }
            Run::Command(argv) => {
                let shown = without_stage(&argv, &nonce);
                (Launch::Tool(argv), shown.first().cloned().unwrap_or_default(), shown)
            }
        };
        let (launched, stream, stderr) = process::launch(launch, plan.stdio).map_err(|error| {
            let (text, advice) = match error.raw_os_error() {
                Some(code) => {
                    let reason = nix::errno::Errno::from_raw(code).desc();
                    let advice = advice_on_start(&error, &command);
                    (format!("Child start failed: [Errno {code}] {reason}: {command}"), advice)
                }
                None => (format!("{error} (to start {command})"), String::new()),
            };
            let out_of_files = process::is_out_of_files(&error);
            let mut error = fail(ConnectErrorKind::Start, text).with_advice(advice);
            error.trace.command.clone_from(&shown);
            Unstarted { error, out_of_files }
        })?;
        let interpret = plan.interpret;
        let of_stage = nonce.clone();
        let dialogue = if staged {
            // The usual case is prepared while the login is under way; where it
            // is that nothing is sent, there is nothing to prepare.
            if !plan.may_be_direct {
                drop(on_other_thread(prepare));
            }
            Dialogue::staged(nonce, hop.clone(), remote_name, spec.cache, interpret)
        } else {
            let phase = if is_inside { Phase::Login } else { Phase::Exec };
            Dialogue::direct(nonce, hop.clone(), phase, interpret)
        };
        let dialogue = dialogue.with_prompts(plan.prompts);
        let may_be_direct = plan.may_be_direct;
        let mut dialogue = if may_be_direct { dialogue.or_child() } else { dialogue };
        dialogue.trail().command = shown;
        let started = Instant::now();
        let deadline = started + spec.connect_timeout;
        let (nonce, sent) = (of_stage, None);
        Ok(Self { hop, dialogue, started, deadline, launched, stream, stderr, answerer, may_be_direct, nonce, sent })
    }

    /// Carries bytes and events to the dialogue and its actions out, until
    /// the child has said hello.
    async fn carry(&mut self, io: &Rc<Io>, spec: &Spec) -> Result<(Hello, Vec<u8>), ConnectError> {
        let (mut buffer, mut errors) = (vec![0; 32 * 1024], vec![0; 4 * 1024]);
        let mut unsent: VecDeque<Bytes> = VecDeque::new();
        let (mut stdout_open, mut stderr_open) = (true, true);
        let mut exit: Option<ExitStatus> = None;
        let mut packing: Option<Packing> = None;
        // When the launcher counts as ended, whatever is still open.
        let mut end: Option<Instant> = None;
        let mut typing: Option<Typing> = None;
        let mut answering: Option<Answering> = None;
        // When a silent launcher with a terminal counts as waiting.
        let mut waiting: Option<Instant> = None;
        let stop = io.stop.clone();
        loop {
            let actions = tokio::select! {
                count = self.stream.input.read(&mut buffer), if stdout_open => {
                    match count.unwrap_or(0) {
                        0 => {
                            stdout_open = false;
                            Vec::new()
                        }
                        count => self.dialogue.input(Input::Stdout(&buffer[..count])),
                    }
                }
                count = self.stderr.read(&mut errors), if stderr_open => {
                    match count.unwrap_or(0) {
                        0 => {
                            stderr_open = false;
                            Vec::new()
                        }
                        count => {
                            waiting = self.launched.terminal().map(|_| Instant::now() + QUIET);
                            self.dialogue.input(Input::Stderr(&errors[..count]))
                        }
                    }
                }
                () = sleep_until(waiting), if typing.is_none() && answering.is_none() => {
                    waiting = None;
                    self.dialogue.input(Input::Waiting { echoes: self.launched.terminal().is_none_or(pty::echoes) })
                }
                () = sleep_until(typing.as_ref().map(|typing| typing.next)), if typing.is_some() => {
                    let shown = self.launched.terminal().is_some_and(pty::echoes);
                    match typing.take() {
                        Some(soon) if shown && soon.next < soon.limit => {
                            typing = Some(Typing { next: soon.next + ECHO_POLL, ..soon });
                        }
                        Some(now) => self.type_in(&now).await,
                        None => {}
                    }
                    Vec::new()
                }
                answer = answered(&mut answering), if answering.is_some() => {
                    answering = None;
                    self.dialogue.input(Input::Answer(answer.as_ref()))
                }
                count = write_front(&self.stream, &unsent), if !unsent.is_empty() => {
                    advance(&mut unsent, count);
                    if unsent.is_empty() { self.dialogue.input(Input::Sent) } else { Vec::new() }
                }
                packed = finished(&mut packing) => {
                    packing = None;
                    self.sent = packed.as_ref().ok().map(|(_, digest)| *digest);
                    self.dialogue.input(Input::Image(packed))
                }
                status = self.launched.wait(), if exit.is_none() => {
                    exit = Some(status.unwrap_or_default());
                    Vec::new()
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    self.dialogue.input(Input::Deadline(spec.connect_timeout))
                }
                () = sleep_until(end) => {
                    let lingered = exit.is_none();
                    if lingered {
                        self.launched.kill();
                        exit = self.launched.wait().await.ok();
                    }
                    let status = exit.map_or_else(|| "ended".into(), process::describe);
                    self.dialogue.input(Input::Ended { status, code: exit.and_then(|exit| exit.code()), lingered })
                }
                () = stop.cancelled() => self.dialogue.input(Input::Cancelled),
            };
            self.note_phase();
            if !stdout_open && end.is_none() && exit.is_none() {
                end = Some(Instant::now() + EXIT_GRACE);
            }
            if !stdout_open && exit.is_some() {
                let now = Instant::now();
                let grace = if stderr_open { STDERR_GRACE } else { Duration::ZERO };
                end = Some(end.map_or(now + grace, |end| end.min(now + grace)));
            }
            for action in actions {
                match action {
                    Action::Write(bytes) => unsent.push_back(bytes),
                    Action::Type { secret, by_stdin } => {
                        let limit = if by_stdin { ECHO_OFF_OR_STDIN } else { ECHO_OFF };
                        let now = Instant::now();
                        typing = Some(Typing { secret, by_stdin, next: now, limit: now + limit });
                    }
                    Action::Ask(question) => {
                        answering = self.answerer.clone().map(|answerer| answerer.ask(question));
                    }
                    Action::ChooseImage(offer) => packing = Some(self.choose(io, &offer)),
                    Action::Hello { hello, rest } => {
                        let hello = Hello::check(&hello, self.sent, spec.binary.is_some(), &self.hop)?;
                        return Ok((hello, rest));
                    }
                    Action::Fail(error) => return Err(error),
                    Action::Note(line) => log_later!(io, DEBUG, "{}: {line}", self.hop),
                }
            }
        }
    }

    /// Takes away the directory from which the image was copied, which tells
    /// the sweeper that the child is up. The name was said by others, and may
    /// be a lie.
    fn end_copying(&mut self) {
        let announced = self.dialogue.trail().announced.last();
        let place = announced.and_then(|line| Announcement::parse(line.as_bytes())?.place);
        let is_of_stage = |place: &Path| {
            place.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.nonce.is_directory_name(name))
        };
        if let Some(place) = place.map(PathBuf::from).filter(|place| is_of_stage(place)) {
            crate::connect::child::remove(&place, true);
        }
    }

    /// Keeps when the dialogue has come to another phase.
    fn note_phase(&mut self) {
        let phase = self.dialogue.phase();
        let at = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let reached = &mut self.dialogue.trail().reached;
        // A first stage begins anew at most once for each place.
        if reached.last().is_none_or(|(last, _)| *last != phase) && reached.len() < 100 {
            reached.push((phase, at));
        }
    }

    /// Types a secret where it is read, which is never where it is shown.
    async fn type_in(&self, typing: &Typing) {
        let mut line = Zeroizing::new(Vec::with_capacity(typing.secret.expose().len() + 1));
        line.extend_from_slice(typing.secret.expose().as_bytes());
        line.push(b'\n');
        let Some(terminal) = self.launched.terminal() else { return };
        let shown = pty::echoes(terminal);
        let reader = if typing.by_stdin && shown { &self.stream.output } else { terminal };
        if shown {
            pty::silence(terminal);
        }
        // A reader that has gone says why by its end; one that does not read
        // is a matter of the deadline.
        let _ = tokio::time::timeout_at(self.deadline, reader.write_all(&line)).await;
    }

    /// Starts to find and pack an image for the machine.
    fn choose(&self, io: &Rc<Io>, offer: &Announcement) -> Packing {
        let (io, hop) = (Rc::clone(io), self.hop.clone());
        let (system, machine, compression) = (offer.system.clone(), offer.machine.clone(), offer.compression);
        Box::pin(async move {
            let fail = |kind, text| ConnectError::new(kind, Phase::FirstStage, hop.clone(), text);
            let image = io.image_for(&system, &machine).await.map_err(|missing| match missing {
                Missing::Unknown(known) => {
                    let known = known.join(", ");
                    let text = format!("there is no image for {system} {machine}: this program carries {known}");
                    fail(ConnectErrorKind::Unsupported, text).with_advice(MAKE_ONE)
                }
                Missing::Broken(why) => fail(ConnectErrorKind::Image, why),
            })?;
            on_other_thread(move || pack(&image, compression))
                .await
                .unwrap_or_else(|_| Err("packing the image has panicked".into()))
                .map_err(|why| fail(ConnectErrorKind::Image, why))
        })
    }

    async fn attach(mut self, io: &Rc<Io>, spec: Spec, hello: &Hello, rest: Vec<u8>) -> Result<Unclaimed, Error> {
        let timed_out = |phase: Phase| {
            let text = format!("Connection timed out after {:?}, in phase {phase}", spec.connect_timeout);
            Error::from(ConnectError::new(ConnectErrorKind::Timeout, phase, self.hop.clone(), text))
        };
        let id = tokio::time::timeout_at(self.deadline, io.allocate_id()).await;
        let id = id.map_err(|_| timed_out(Phase::Handshake))??;
        // A local child is known by its launcher's pid, which is its own.
        let name = behind(io, &spec.context_name(self.launched.pid().unwrap_or(hello.pid)));
        let mut parent_ids = vec![io.shared.me];
        parent_ids.extend_from_slice(&io.shared.parent_ids());
        let welcome = Welcome {
            id,
            parent_ids,
            name: name.clone(),
            levels: spec.levels.clone().unwrap_or_else(|| io.shared.wanted_levels()),
            debug: spec.debug.unwrap_or_else(|| io.shared.debugs()),
            profiling: spec.profiling.unwrap_or_else(|| io.shared.profile.is_some()),
            unidirectional: spec.unidirectional.unwrap_or(io.shared.unidirectional),
            max_message_size: io.shared.max_message_size,
            descendants: spec.descendants.or_else(|| io.shared.descendants()).unwrap_or_default(),
        };
        let fail = |text: String| ConnectError::new(ConnectErrorKind::Eof, Phase::Handshake, self.hop.clone(), text);
        let welcome = welcome.encode().map_err(fail)?;
        let written = tokio::time::timeout_at(self.deadline, self.stream.output.write_all(&welcome)).await;
        written
            .map_err(|_| timed_out(Phase::Handshake))?
            .map_err(|error| fail(format!("the child has gone during the handshake: {error}")))?;
        if !spec.copied {
            self.launched.settle();
        }
        let words = Rc::<LastWords>::default();
        io.tasks.spawn(drain(Rc::clone(io), self.stderr, name.clone(), Rc::clone(&words)));
        io.attach_child(id, &name, self.stream, rest, self.launched, words);
        log_later!(io, DEBUG, "context {id} is up: {name}");
        let connected = Connected { id, name, trail: std::mem::take(self.dialogue.trail()) };
        let connected = Unclaimed::new(&io.shared, connected);
        if let Some(function) = &spec.on_start {
            run_on_start(io, id, function, self.deadline).await?;
        }
        Ok(connected)
    }
}

/// A child's name, with that of this context in front, unless it is the
/// master. What is too long to be announced loses its beginning.
fn behind(io: &Io, name: &str) -> String {
    let whole = match io.shared.parent_ids().first() {
        Some(_) => format!("{}.{name}", io.shared.name),
        None => name.to_owned(),
    };
    let mut cut = whole.len().saturating_sub(MAX_NAME);
    while !whole.is_char_boundary(cut) {
        cut += 1;
    }
    whole[cut..].to_owned()
}

/// A command as it is shown: what carries the nonce is ours.
fn without_stage(argv: &[String], nonce: &Nonce) -> Vec<String> {
    let [half, _] = nonce.halves();
    argv.iter().map(|word| if word.contains(half) { "...".into() } else { word.clone() }).collect()
}

/// The arguments of a child that is executed directly.
fn own_argv(nonce: &Nonce, remote_name: &str) -> Vec<OsString> {
    let argv0 = format!("offshoot:{remote_name}");
    let argument = nonce.child_argument();
    let words: Vec<&str> = match crate::connect::child::test_path() {
        // The test harness runs the one test that becomes the child; it takes
        // our argument for the name of another test.
        Some(path) => vec![&argv0, path, &argument, "--exact", "--nocapture", "--test-threads=1"],
        None => vec![&argv0, &argument, "", "", "{fd}"],
    };
    words.into_iter().map(OsString::from).collect()
}

/// What to do where there is no image for a machine.
const MAKE_ONE: &str = "make a bundle with an image for it (make bundle TARGETS=..., offshoot bundle)";

/// What to do if this is about too many open files.
fn advice_on_files(error: &io::Error) -> Option<String> {
    let limit = process::open_files_limit().map(|limit| format!(" of {limit}")).unwrap_or_default();
    process::is_out_of_files(error).then(|| {
        format!(
            "the limit{limit} open files was reached and stayed so; raise it (`ulimit -n`), or have fewer \
             children at once (`-f` of the tool)"
        )
    })
}

/// What to do if a command could not be started.
fn advice_on_start(error: &io::Error, command: &str) -> String {
    if let Some(advice) = advice_on_files(error) {
        return advice;
    }
    match error.kind() {
        io::ErrorKind::NotFound if command.contains('/') => {
            "see that it is there, and what its first line names".into()
        }
        io::ErrorKind::NotFound => "is it installed and in PATH?".into(),
        io::ErrorKind::PermissionDenied => "see that this user may execute it".into(),
        // What fork says where there are too many processes.
        io::ErrorKind::WouldBlock => {
            "no more processes can be started here: raise the limit (`ulimit -u`, TasksMax, pids.max), or have \
             fewer children at once (`-f` of the tool)"
                .into()
        }
        _ => String::new(),
    }
}

fn nonce() -> io::Result<Nonce> {
    Ok(Nonce::from_bytes(process::random()?))
}

/// Packs an image. Blocks.
fn pack(image: &Image, compression: Compression) -> Result<(Packed, [u8; 32]), String> {
    let packed = image.pack(compression).map_err(|error| format!("the image cannot be packed: {error}"))?;
    let digest = image.digest().map_err(|error| format!("the image cannot be read: {error}"))?;
    Ok((packed, digest))
}

/// Packs what a machine like this one would get. Blocks.
fn prepare() {
    let (system, processor) = executable::own_machine();
    let image = match Bundle::own().and_then(|bundle| bundle.find(system, processor)) {
        Ok(Some(image)) => Ok(image),
        _ => Image::own(),
    };
    // If it fails, it fails again when it is needed, and is reported then.
    let _ = image.and_then(|image| pack(&image, Compression::Zstd));
}

async fn write_front(stream: &Stream, unsent: &VecDeque<Bytes>) -> io::Result<usize> {
    match unsent.front() {
        Some(bytes) => stream.output.write(bytes).await,
        None => Ok(0),
    }
}

/// Takes off what was written. A write that failed ends the upload: why it
/// did is learnt from stdout, stderr or the exit status.
fn advance(unsent: &mut VecDeque<Bytes>, written: io::Result<usize>) {
    let (Ok(count), Some(front)) = (written, unsent.front_mut()) else {
        return unsent.clear();
    };
    bytes::Buf::advance(front, count);
    if front.is_empty() {
        unsent.pop_front();
    }
}

async fn finished(packing: &mut Option<Packing>) -> Result<(Packed, [u8; 32]), ConnectError> {
    match packing {
        Some(packing) => packing.await,
        None => std::future::pending().await,
    }
}

async fn answered(answering: &mut Option<Answering>) -> Option<Secret> {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Reads what a launcher says while its child is up, so that it never blocks.
async fn drain(io: Rc<Io>, stderr: Reading, name: String, words: Rc<LastWords>) {
    let _ended = words.ended.clone().drop_guard();
    let mut buffer = [0; 4096];
    loop {
        let count = tokio::select! {
            count = stderr.read(&mut buffer) => count.unwrap_or(0),
            () = io.stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        for line in String::from_utf8_lossy(&buffer[..count]).lines() {
            let line = crate::wire::sanitize::printable(line);
            if !line.trim().is_empty() {
                words.push(&line);
            }
            log_later!(io, DEBUG, "{name}: {line}");
        }
    }
}

/// Calls what is to run before everything else. It is on its way before anyone
/// has heard of the child.
async fn run_on_start(io: &Rc<Io>, child: ContextId, function: &str, deadline: Instant) -> Result<(), Error> {
    let data = call_payload::encode_call(function, &(), 0, Handle::NONE).map_err(Error::Payload)?;
    let (reply, answer) = oneshot::channel();
    let reply_to = io.shared.next_handle();
    let message = Message { reply_to, ..Message::new(child, Handle::CALL_FUNCTION, data) };
    let limit = deadline.saturating_duration_since(Instant::now());
    io.call(message, reply, Some(limit), "on_start");
    let answer = answer.await.map_err(|_| match io.stop.is_cancelled() {
        true => Error::router_ended(io.shared.me),
        false => Error::Timeout { after: limit, what: format!("{function}, which is to run at the start of {child}") },
    })?;
    if answer.is_dead() {
        return Err(answer.dead_error(io.shared.me));
    }
    call_payload::decode_reply(&answer.data).map(drop)
}
