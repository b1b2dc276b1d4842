//! `offshoot shell`: an interactive terminal on a host.
//!
//! - `terminal`: the terminal here; `escape`: what is typed for the tool itself
//! - `relay`: both directions, until one end is over

pub(crate) mod escape;
pub(crate) mod relay;
pub(crate) mod terminal;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use self::relay::{Over, Relay};
use self::terminal::Raw;
use crate::builtin::process::run_process::{CommandLine, Input};
use crate::cli::args::shell::ShellArgs;
use crate::cli::args::{Cli, ReachArgs};
use crate::cli::complaint::{complain, fail};
use crate::cli::ending::Signals;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::path::HostPath;
use crate::cli::run::{expand_one, start};
use crate::cli::session::{Session, connected, unreachable};
use crate::cli::tree::Tree;
use crate::{Error, Router};

/// Added to the number of a signal, as shells do it.
const SIGNALLED: i32 = 128;

/// What becomes the login shell of the user. Its name is asked of the system there, as `SHELL` may be that of
/// another user. A text in UTF-8 has letters of several bytes, which the terminal must know to delete one.
const LOGIN: &str = "case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[Uu][Tt][Ff]*) stty iutf8 2>/dev/null;; esac
u=$(id -u) s=
if l=$(getent passwd \"$u\" 2>/dev/null); then s=${l##*:}
elif [ -r /etc/passwd ]; then while IFS=: read -r a b i c d e f; do [ \"$i\" != \"$u\" ] || { s=$f; break; }; done </etc/passwd
fi
[ -x \"$s\" ] || s=${SHELL:-}
[ -x \"$s\" ] || s=/bin/sh
export SHELL=\"$s\"
exec \"$s\" -l";

/// Why there is no shell without a terminal.
const NO_TERMINAL: &str = "stdin and stdout have to be a terminal for a shell; to run a command without one write \
                           offshoot run -w HOST -- CMD ARG..., and for a script offshoot script -w HOST FILE";

/// Connects to the host and passes its terminal on.
pub(crate) fn shell(cli: &Cli, args: &ShellArgs) -> Exit {
    if !Raw::is_possible() {
        return fail(Exit::Usage, &NO_TERMINAL);
    }
    let reach = args.reach();
    let host = match expand_one(&reach, &cli.config, "a shell is for one") {
        Ok(host) => host,
        Err(exit) => return exit,
    };
    let Session { router, runtime, tree } =
        match Session::begin(&reach, std::slice::from_ref(&host), || start(cli.debug))
            .map(|session| session.with_kept(&reach))
        {
            Ok(session) => session,
            Err(exit) => return exit,
        };
    runtime.block_on(on_host(args, &router, &Rc::new(tree), (&host, &reach)))
}

async fn on_host(args: &ShellArgs, router: &Router, tree: &Rc<Tree>, (host, reach): (&HostPath, &ReachArgs)) -> Exit {
    // Ctrl-C ends the process. Everything that it has started then ends because its links end.
    let context = match connected(tree, host, reach).await {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let relay = Relay::begin(&context, command(&args.argv), args.escape.0, true);
    let over = match relay {
        Ok(relay) => relay.run(&mut signals).await,
        Err(error) => return fail(Exit::Internal, &format!("cannot use the terminal: {error}")),
    };
    let exit = match over {
        Over::Exited(exit) => {
            let code = exit.code.or_else(|| exit.signal.map(|signal| signal + SIGNALLED)).unwrap_or(SIGNALLED);
            Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Over::Left => {
            complain(&format!("offshoot: left {}; what ran there ends", host.text));
            Exit::Done(Outcome { stopped: true, ..Outcome::default() })
        }
        Over::Signalled(exit) => exit,
        Over::Failed(error) => {
            let is_lost = error.is_disconnected();
            let text = match &error {
                Error::Call(error) => error.message.clone(),
                error if is_lost => format!("the connection to {} was lost: {error}", host.text),
                error => error.to_string(),
            };
            complain(&format!("offshoot: {text}"));
            if is_lost {
                tree.last_words(&host.hops).await.iter().for_each(|line| complain(line));
                unreachable()
            } else {
                Exit::Done(Outcome { failed: true, ..Outcome::default() })
            }
        }
    };
    tokio::select! {
        biased;
        _ = signals.next() => {}
        () = router.shutdown() => {}
    }
    exit
}

/// What runs on the terminal there.
fn command(argv: &[OsString]) -> CommandLine {
    on_terminal(match argv {
        [] => login(),
        argv => CommandLine { argv: argv.to_vec(), ..CommandLine::default() },
    })
}

/// The login shell of the user.
pub(crate) fn login() -> CommandLine {
    CommandLine::shell(LOGIN)
}

/// The command on a terminal of the size of the one here, with the variables that describe the terminal and the
/// language here.
pub(crate) fn on_terminal(command: CommandLine) -> CommandLine {
    let env = std::env::vars_os().filter(|(name, _)| travels(name)).map(|(name, value)| (name, Some(value)));
    CommandLine {
        env: env.chain(command.env).collect(),
        stdin: Input::Stream,
        terminal: Some(terminal::size()),
        ..command
    }
}

fn travels(name: &OsStr) -> bool {
    name == "TERM" || name == "LANG" || name.as_bytes().starts_with(b"LC_")
}
