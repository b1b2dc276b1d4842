//! One attempt to start a child: a launcher, its streams, and the dialogue with it.

mod carry;
#[cfg(feature = "cli")]
mod login_probe;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::connect::bootstrap::{Announcement, Dialogue, Nonce};
use crate::connect::methods::launch::{advice_on_files, advice_on_start, own_argv, without_stage};
use crate::connect::methods::question::Answerer;
use crate::connect::methods::{Run, Spec, packing, setns};
use crate::engine::io::Io;
use crate::image::executable::Image;
use crate::sys::blocking::on_other_thread;
use crate::sys::deadline::deadline;
use crate::sys::pipe::{Input as Reading, Stream};
use crate::sys::process::{self, Launch, Launched};
use crate::wire::error::{ConnectError, ConnectErrorKind, Phase};

/// While no file can be opened, a connect checks at this interval whether one can. It notices the end of one of
/// this router's links at once.
const FILES_POLL: Duration = Duration::from_millis(100);

/// One attempt, until the child has sent its hello.
pub(super) struct Attempt {
    pub(super) hop: String,
    pub(super) dialogue: Dialogue,
    started: Instant,
    pub(super) deadline: Instant,
    pub(super) launched: Launched,
    pub(super) stream: Stream,
    /// The launcher's stderr, or its terminal.
    pub(super) stderr: Reading,
    answerer: Option<Answerer>,
    /// Whether the command may bring the child up without an upload.
    pub(super) may_be_direct: bool,
    /// Tells whether the first stage may have given its directory a certain name. An image on the machine may get it by
    /// its stdin.
    nonce: Nonce,
    /// Checksum of the image that was sent.
    sent: Option<u64>,
}

/// Why an attempt could not start.
struct Unstarted {
    error: ConnectError,
    /// Whether there are too many open files, which may change soon.
    out_of_files: bool,
}

impl From<ConnectError> for Unstarted {
    fn from(error: ConnectError) -> Self {
        Self { error, out_of_files: false }
    }
}

impl Attempt {
    /// Starts the launcher as soon as there are descriptors for it, within the time for the connect.
    pub(super) async fn begin(io: &Rc<Io>, spec: &Spec, answerer: Option<Answerer>) -> Result<Self, ConnectError> {
        let deadline = deadline(spec.connect_timeout).into();
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
                () = io.neighbours().link_gone() => {}
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
                argv.extend(setns::arguments(&user, &ask, &command));
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
            // An image for a machine like this one is prepared during the login. If the command may bring the
            // child up without an upload, none is prepared.
            if !plan.may_be_direct {
                drop(on_other_thread(packing::prepare));
            }
            Dialogue::staged(nonce, hop.clone(), remote_name, spec.cache, interpret).with_upload(spec.may_send)
        } else {
            let phase = if is_inside { Phase::Login } else { Phase::Exec };
            Dialogue::direct(nonce, hop.clone(), phase, interpret)
        };
        let dialogue = dialogue.with_prompts(plan.prompts);
        let may_be_direct = plan.may_be_direct;
        let mut dialogue = if may_be_direct { dialogue.or_child() } else { dialogue };
        dialogue.trace().command = shown;
        let started = Instant::now();
        let deadline = deadline(spec.connect_timeout).into();
        let (nonce, sent) = (of_stage, None);
        Ok(Self { hop, dialogue, started, deadline, launched, stream, stderr, answerer, may_be_direct, nonce, sent })
    }

    /// Removes the directory from which the image was copied. This shows the sweeper that the child is up. The
    /// announcement contains the directory's name and may be false, so the name is checked.
    pub(super) fn end_copying(&mut self) {
        let announced = self.dialogue.trace().announced.last();
        let place = announced.and_then(|line| Announcement::parse(line.as_bytes())?.place);
        let is_of_stage = |place: &Path| {
            place.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.nonce.is_directory_name(name))
        };
        if let Some(place) = place.map(PathBuf::from).filter(|place| is_of_stage(place)) {
            crate::connect::child::remove(&place, true);
        }
    }

    /// Records when the dialogue has reached another phase.
    fn note_phase(&mut self) {
        let phase = self.dialogue.phase();
        let at = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let reached = &mut self.dialogue.trace().reached;
        // A first stage starts again at most once for each place.
        if reached.last().is_none_or(|(last, _)| *last != phase) && reached.len() < 100 {
            reached.push((phase, at));
        }
    }
}

fn nonce() -> io::Result<Nonce> {
    Ok(Nonce::from_bytes(process::random()?))
}
