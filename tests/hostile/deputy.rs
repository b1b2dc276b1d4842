//! A program that uses the library and believes a `Sender` that a hostile context has given it.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use offshoot::{Context, ContextId, Error, Handle, Router, Sender, export, policy};

use crate::attack::{Attack, CHILD, HONEST};
use crate::far_side::{Far, PLACE};
use crate::support::A_WHILE;
use crate::support::tool::{program, run};
use crate::trial::{among_attackers, prepare};

/// The argument that makes this binary that program.
pub(crate) const ARGUMENT: &str = "deputy";

/// It returns whatever `Sender` it is asked for.
pub(crate) const ATTACK: Attack = Attack::new("a Sender to another context", CHILD, act);

fn act(far: &mut Far) -> io::Result<()> {
    loop {
        let (context, reply_to, call) = far.called()?;
        // The arguments are encoded as the `Sender` is.
        let name = usize::from(u16::from_be_bytes([call[0], call[1]]));
        far.reply(context, reply_to, &[&[0], &call[2 + name..]].concat())?;
    }
}

/// A `Sender` to a handle. The hostile context has this function too, or says so.
fn sender_to(router: &Router, to: ContextId, handle: Handle) -> Sender<u8> {
    Sender::new(&router.context_by_id(to), handle)
}
export!(sender_to);

static HEARD: AtomicU32 = AtomicU32::new(0);

/// A handle where only contexts above may write.
fn guarded(router: &Router) -> Result<Handle, Error> {
    let handler = router.add_handler(|message| {
        if !message.is_dead() {
            HEARD.fetch_add(1, Ordering::Relaxed);
        }
    });
    handler.policy(policy::has_parent_authority).build()
}
export!(guarded);

fn heard() -> u32 {
    HEARD.load(Ordering::Relaxed)
}
export!(heard);

/// The program.
pub(crate) fn main() -> ExitCode {
    match Router::new().map_err(anyhow::Error::from).and_then(|router| {
        let outcome = believe(&router);
        router.blocking_shutdown();
        outcome
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn believe(router: &Router) -> Result<()> {
    let honest: Vec<Context> = (0..HONEST).map(|_| router.local().blocking_connect()).collect::<Result<_, Error>>()?;
    let place = std::env::var_os(PLACE).unwrap_or_default();
    for number in 0..HONEST {
        std::fs::write(Path::new(&place).join(format!("up.{number}")), "")?;
    }
    let evil = router.ssh("evil1").blocking_connect()?;
    for sibling in &honest {
        for handle in [Handle::SHUTDOWN, Handle::CALL_FUNCTION, Handle::NONE, Handle::IS_DEAD] {
            let sender = evil.blocking_call(sender_to, (sibling.id(), handle));
            let is_refused = matches!(&sender, Err(Error::Payload(text)) if text.contains("handles below 1000"));
            ensure!(is_refused, "a Sender to handle {handle}: {sender:?}");
        }
        let handle = sibling.blocking_call(guarded, ())?;
        evil.blocking_call(sender_to, (sibling.id(), handle))?.blocking_send(1)?;
        ensure!(sibling.blocking_call(heard, ())? == 0, "what it sends has the authority of this context");
    }
    Ok(())
}

/// Runs the program beside the attacker.
pub(crate) fn lends_no_authority() -> Result<()> {
    let (directory, own) = (tempfile::tempdir()?, std::env::current_exe()?);
    prepare(directory.path(), ATTACK.name, &own)?;
    let (mut command, mut trace) = program(&own, &[ARGUMENT]);
    among_attackers(&mut command, directory.path())?;
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)
}
