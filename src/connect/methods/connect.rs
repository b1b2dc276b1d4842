//! One connect: attempts until a child is up. Each attempt uses what the one before has shown.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::connect::bootstrap::is_helpless;
use crate::connect::methods::attach::attach;
use crate::connect::methods::attempt::Attempt;
use crate::connect::methods::question::Answerer;
use crate::connect::methods::{Spec, Unclaimed, Variant};
use crate::engine::io::Io;
use crate::engine::log::log_later;
use crate::sys::process;
use crate::wire::error::{ConnectError, Error, joined};

/// `ssh -G` may take this long. If it takes longer, its time counts for the connect.
const NOTICED: Duration = Duration::from_millis(100);

/// Starts a child of this context.
pub(crate) async fn connect(io: &Rc<Io>, mut spec: Spec, answerer: Option<Answerer>) -> Result<Unclaimed, Error> {
    io.ids().stock(io);
    process::raise_open_files();
    if let Variant::Ssh(ssh) = &mut spec.method
        && ssh.keepalive.is_none()
        && !ssh.is_asked
    {
        let begun = Instant::now();
        ssh.keepalive = tokio::select! {
            keepalive = ssh.default_keepalive(spec.connect_timeout) => keepalive,
            () = io.stop.cancelled() => None,
        };
        if begun.elapsed() >= NOTICED {
            spec.spend(begun.elapsed());
        }
    }
    // Why no first stage could run, if copying is tried next.
    let mut helpless: Option<ConnectError> = None;
    loop {
        let started = Instant::now();
        let mut attempt = Attempt::begin(io, &spec, answerer.clone()).await?;
        let mut error = match attempt.carry(io, &spec).await {
            Ok((hello, rest)) => {
                if spec.copied {
                    attempt.end_copying();
                }
                return attach(io, spec, attempt, &hello, rest).await;
            }
            Err(error) => error,
        };
        if error.trace.command.is_empty() {
            *error.trace = std::mem::take(attempt.dialogue.trace());
        }
        let was_direct = attempt.may_be_direct;
        // The end of its link ends everything that we have started. Reaping only avoids a zombie.
        let Attempt { mut launched, stream, stderr, .. } = attempt;
        drop((stream, stderr));
        launched.hang_up();
        io.tasks.spawn(async move {
            launched.reap(Box::new(|_| {})).await;
        });
        if was_direct && spec.sends_from_now_on(&error) {
            log_later!(io, DEBUG, "{}: the parent's own image did not come up, so one is sent: {error}", error.hop);
            spec.spend(started.elapsed());
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
        spec.spend(started.elapsed());
    }
}
