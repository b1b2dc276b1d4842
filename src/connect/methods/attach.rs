//! How the process that has sent its hello becomes a context: its id, its name, the welcome, its link.

use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connect::handshake::{Hello, Welcome};
use crate::connect::methods::attempt::Attempt;
use crate::connect::methods::{Connected, Spec, Unclaimed};
use crate::engine::io::{Io, Neighbour};
use crate::engine::last_words::LastWords;
use crate::engine::log::log_later;
use crate::engine::shared::Shared;
use crate::routing::table::MAX_NAME;
use crate::sys::pipe::Input as Reading;
use crate::wire::call_payload;
use crate::wire::error::{ConnectError, ConnectErrorKind, Error, Phase};
use crate::wire::message::{ContextId, Handle, Message};

/// Makes the child of an attempt a context of this router: gives it an id and a name, sends the welcome,
/// attaches its link and runs the function that has to run first in it.
pub(super) async fn attach(
    io: &Rc<Io>,
    spec: Spec,
    mut attempt: Attempt,
    hello: &Hello,
    rest: Vec<u8>,
) -> Result<Unclaimed, Error> {
    let timed_out = |phase: Phase| {
        let text = format!("Connection timed out after {:?}, in phase {phase}", spec.limit());
        Error::from(ConnectError::new(ConnectErrorKind::Timeout, phase, attempt.hop.clone(), text))
    };
    let id = tokio::time::timeout_at(attempt.deadline, io.ids().allocate(io)).await;
    let id = id.map_err(|_| timed_out(Phase::Handshake))??;
    // A local child is named by its launcher's pid, which is its own pid.
    let name = full_name(io, &spec.context_name(attempt.launched.pid().unwrap_or(hello.pid)));
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
        allowed: allowed(&io.shared, &spec),
        max_message_size: io.shared.max_message_size,
        descendants: spec.descendants.or_else(|| io.shared.descendants()).unwrap_or_default(),
    };
    let fail = |text: String| ConnectError::new(ConnectErrorKind::Eof, Phase::Handshake, attempt.hop.clone(), text);
    let welcome = welcome.encode().map_err(fail)?;
    let written = tokio::time::timeout_at(attempt.deadline, attempt.stream.output.write_all(&welcome)).await;
    written
        .map_err(|_| timed_out(Phase::Handshake))?
        .map_err(|error| fail(format!("the child has gone during the handshake: {error}")))?;
    if !spec.copied {
        attempt.launched.settle();
    }
    let words = Rc::<LastWords>::default();
    io.tasks.spawn(drain(Rc::clone(io), attempt.stderr, name.clone(), Rc::clone(&words)));
    let (stream, process) = (attempt.stream, Some((attempt.launched, words)));
    io.neighbours().attach(io, Neighbour { context: id, name: &name, authority: None, stream, rest, process });
    if io.stop.is_cancelled() {
        // The children that were there when the end began have been told already.
        io.neighbours().order_shutdown(io, id);
    }
    log_later!(io, DEBUG, "context {id} is up: {name}");
    let connected = Connected { id, name, trace: std::mem::take(attempt.dialogue.trace()) };
    let connected = Unclaimed::new(&io.shared, connected);
    if let Some(function) = &spec.on_start {
        run_on_start(io, id, function, attempt.deadline).await?;
    }
    Ok(connected)
}

/// The functions that the child runs. What may not run here may not run in a child of this context, either.
fn allowed(shared: &Shared, spec: &Spec) -> Option<Vec<String>> {
    let mut allowed = spec.allowed.clone().or_else(|| shared.allowed.clone())?;
    allowed.extend(spec.on_start.clone());
    allowed.retain(|name| shared.allows(name));
    Some(allowed)
}

/// A child's full name: this context's name comes first, unless this context is the master. If the name is too
/// long to be announced, its beginning is cut off.
pub(crate) fn full_name(io: &Io, name: &str) -> String {
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

/// Reads the launcher's output while its child is up, so that the launcher never blocks.
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
            #[cfg(feature = "cli")]
            if !line.trim().is_empty() {
                words.push(&line);
            }
            log_later!(io, target: "offshoot::launcher", DEBUG, "{name}: {line}");
        }
    }
}

/// Calls the function that has to run before everything else. The call is sent before any other context knows
/// the child.
async fn run_on_start(io: &Rc<Io>, child: ContextId, function: &str, deadline: Instant) -> Result<(), Error> {
    let data = call_payload::encode_call(function, &(), 0, Handle::NONE).map_err(Error::Payload)?;
    let (reply, answer) = oneshot::channel();
    let reply_to = io.shared.next_handle();
    let message = Message { reply_to, ..Message::new(child, Handle::CALL_FUNCTION, data) };
    let limit = deadline.saturating_duration_since(Instant::now());
    io.outgoing().call(io, message, reply, Some(limit), "on_start");
    let answer = answer.await.ok().filter(|answer| answer.handle != Handle::WAITS);
    let answer = answer.ok_or_else(|| match io.stop.is_cancelled() {
        true => Error::router_ended(io.shared.me),
        false => Error::Timeout { after: limit, what: format!("{function}, which is to run at the start of {child}") },
    })?;
    if answer.is_dead() {
        return Err(answer.dead_error(io.shared.me));
    }
    call_payload::decode_reply(&answer.data).map(drop)
}
