//! `offshoot rsh`: a command on one host in place of ssh, for programs such as rsync that start ssh themselves. It
//! passes bytes on as they are, unless the command gets a terminal.

use std::ffi::OsString;
use std::io;
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::sync::Arc;

use crate::builtin::fakessh::pump;
use crate::builtin::fakessh::remote::Remote;
use crate::builtin::process::run_process::CommandLine;
use crate::cli::args::rsh::{RshArgs, Terminal};
use crate::cli::args::{Cli, ReachArgs};
use crate::cli::complaint::{complain, fail};
use crate::cli::config::Config;
use crate::cli::ending::Signals;
use crate::cli::exit::{Exit, OWN_FAULT_OF_SSH, Outcome};
use crate::cli::forward::rule::Target;
use crate::cli::hosts::path::{FromInventory, HostPath, Method};
use crate::cli::hosts::sources::Reading;
use crate::cli::inventory::Inventories;
use crate::cli::run::{led, resolved};
use crate::cli::session::Session;
use crate::cli::sftp;
use crate::cli::shell;
use crate::cli::shell::relay::{Over, Relay};
use crate::cli::shell::terminal::has_keyboard;
use crate::cli::tree::Tree;
use crate::process::Command;
use crate::sys::process::SSH_DEPTH;
use crate::wire::error::ChannelErrorKind;
use crate::{Context, Error, Router};

/// How many ssh there may be around this one. A proxy command may be `offshoot rsh`, of a host behind another such one.
const MAX_DEPTH: u8 = 4;
const STARTS_ITSELF: &str = "the `ssh` in PATH seems to start `offshoot rsh`, which starts `ssh` again; give that program \
                             another name, or set PATH in it so that the ssh of the system comes first";

/// Runs the command, with the standard streams of this process.
pub(crate) fn rsh(cli: &Cli, args: &RshArgs) -> Exit {
    let Some(name) = &args.host else {
        complain(concat!("offshoot ", env!("CARGO_PKG_VERSION")));
        return Exit::Done(Outcome::default());
    };
    if args.typed.show_config {
        return super::print(format!("host {name}\n").as_bytes());
    }
    let depth = std::env::var(SSH_DEPTH).ok().and_then(|depth| depth.parse::<u8>().ok());
    if depth.is_some_and(|depth| depth >= MAX_DEPTH) {
        return fail(Exit::Usage, &STARTS_ITSELF);
    }
    let work = match Work::of(args) {
        Ok(work) => work,
        Err(why) => return fail(Exit::Usage, &why),
    };
    let host = match host(args, name, &cli.config) {
        Ok(host) => host,
        Err(exit) => return exit,
    };
    connect(&host, &args.reach(), &work)
}

/// What is done on the host.
enum Work<'a> {
    Command(&'a RshArgs, Remote),
    /// The login shell, if there is no command.
    OnTerminal(&'a RshArgs, Option<Remote>),
    Connection(&'a Target),
    /// The connection is held.
    Nothing,
}

impl<'a> Work<'a> {
    fn of(args: &'a RshArgs) -> Result<Self, String> {
        if let Some(target) = &args.typed.connection {
            return Ok(Self::Connection(target));
        }
        if args.typed.no_command {
            return Ok(Self::Nothing);
        }
        let line = args.line();
        let wanted = args.typed.terminal(!line.is_empty(), has_keyboard());
        if wanted == Terminal::Made && line.is_empty() {
            return Ok(Self::OnTerminal(args, None));
        }
        let remote = Remote::new(line, args.typed.subsystem)?;
        if wanted == Terminal::Refused {
            complain("note: no terminal is made there, because stdin is none; -tt makes one in any case");
        }
        Ok(if wanted == Terminal::Made { Self::OnTerminal(args, Some(remote)) } else { Self::Command(args, remote) })
    }

    /// Does it with the standard streams of this process, and returns the exit code. The error is in words.
    async fn carry_out(&self, context: &Context) -> Result<u8, String> {
        let in_words = |error: Error| in_words(&error, context);
        let streams = || pump::own_streams().map_err(|error| error.to_string());
        let exit = match self {
            Self::Command(args, remote) if args.typed.subsystem => {
                sftp::run(context, remote, streams()?, in_words).await?
            }
            Self::Command(args, remote) => {
                pump::run(command(context, args, remote), streams()?).await.map_err(in_words)?
            }
            Self::OnTerminal(args, remote) => match on_terminal(context, args, remote.as_ref()).await? {
                Over::Exited(exit) => exit,
                Over::Left => return Err("left; what ran there ends".into()),
                // The session hears of it as well, and says how the tool ends.
                Over::Signalled(exit) => return Ok(exit.code()),
                Over::Failed(error) => return Err(in_words(error)),
            },
            Self::Connection(target) => {
                let stream = target.connect(context).await.map_err(in_words)?;
                return pump::carry(stream, streams()?).await.map(|()| 0).map_err(|error| error.to_string());
            }
            Self::Nothing => {
                let _ = context.closed().await;
                return Err("the connection was lost".into());
            }
        };
        match exit.code {
            Some(code) => Ok(u8::try_from(code).unwrap_or(OWN_FAULT_OF_SSH)),
            // Its reader has gone, and needs no word.
            None if exit.signal == Some(nix::sys::signal::Signal::SIGPIPE as i32) => Ok(OWN_FAULT_OF_SSH),
            None => Err(format!("signal {} ended the command", exit.signal.unwrap_or_default())),
        }
    }
}

/// Why the work was not done. A program that has started this one shows it beside its own words.
fn in_words(error: &Error, context: &Context) -> String {
    use ChannelErrorKind::{Disconnected, NoRoute, RouterEnded};
    match error {
        Error::Channel(lost) if matches!(lost.kind, Disconnected | NoRoute | RouterEnded) => {
            format!("the connection was lost while the command ran in {}; start it again", context.name())
        }
        error => error.to_string(),
    }
}

fn command(context: &Context, args: &RshArgs, remote: &Remote) -> Command {
    let mut command = remote.command(context, !args.typed.no_stdin);
    for (name, value) in sent(args) {
        command = command.env(name, value);
    }
    command
}

/// Runs the command, or the login shell, on a terminal there until that is over.
async fn on_terminal(context: &Context, args: &RshArgs, remote: Option<&Remote>) -> Result<Over, String> {
    let command = remote.map_or_else(shell::login, |remote| CommandLine {
        argv: remote.argv().into(),
        env: sent(args).map(|(name, value)| (name.into(), Some(value))).collect(),
        ..CommandLine::default()
    });
    let cannot = |error: io::Error| format!("cannot use the terminal: {error}");
    let mut signals = Signals::new().map_err(cannot)?;
    let (command, has_input) = (shell::on_terminal(command), !args.typed.no_stdin);
    let relay = Relay::begin(context, command, args.typed.escape.0, has_input).map_err(cannot)?;
    Ok(relay.run(&mut signals).await)
}

/// The variables that go with the command.
fn sent(args: &RshArgs) -> impl Iterator<Item = (String, OsString)> {
    args.typed.sent_variables().into_iter().filter_map(|name| std::env::var_os(&name).map(|value| (name, value)))
}

/// The host with the hops that lead to it.
fn host(args: &RshArgs, name: &str, config: &Config) -> Result<HostPath, Exit> {
    let mut sources = Reading::new(Inventories::new(&args.way.inventory).with_config(config));
    let host = resolved(&as_path(name), args.way.becoming.become_user.is_none(), &mut sources)?;
    let host = typed(host, args).map_err(|why| fail(Exit::Usage, &why))?;
    led(host, args.via.as_deref(), &args.way.becoming, &mut sources)
}

/// A host as ssh takes it, in the notation of paths.
fn as_path(name: &str) -> String {
    let name = match name.strip_prefix("ssh://") {
        Some(rest) => rest.trim_end_matches('/'),
        None => name,
    };
    let (user, host) = match name.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), name),
    };
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("{user}[{host}]"),
        Err(_) => name.to_owned(),
    }
}

/// The host with what the options of ssh say about it.
fn typed(mut host: HostPath, args: &RshArgs) -> Result<HostPath, String> {
    let words = args.typed.to_argv()?;
    if !words.is_empty() {
        for hop in host.hops.iter_mut().filter(|hop| hop.method == Method::Ssh) {
            let (name, known) = match &hop.inventory {
                Some(known) => (known.name.clone(), known.ssh_args.as_slice()),
                None => (hop.target.clone(), &[][..]),
            };
            hop.inventory = Some(Arc::new(FromInventory { name, ssh_args: [&words, known].concat() }));
        }
    }
    let last = host.hops.iter_mut().rfind(|hop| hop.method == Method::Ssh);
    match last {
        Some(hop) => {
            // As with ssh, what is named first holds. What the inventory or the configuration says of the host does not count.
            let (has_user, has_port) = args.host.as_deref().map_or((false, false), in_last);
            if let Some((user, is_before)) = &args.user
                && (*is_before || !has_user)
            {
                hop.user = Some(user.clone());
            }
            if let Some((port, is_before)) = args.port
                && (is_before || !has_port)
            {
                hop.port = Some(port);
            }
        }
        None if !args.typed.login.is_empty() || !args.typed.port.is_empty() => {
            return Err(format!("-l and -p are for ssh, and no hop of {} is by ssh; leave them out", host.text));
        }
        None => {}
    }
    Ok(host)
}

/// Whether the last hop by ssh of a path names a user and a port.
fn in_last(path: &str) -> (bool, bool) {
    let hops = as_path(path).parse::<HostPath>().map(|path| path.hops).unwrap_or_default();
    let last = hops.into_iter().rfind(|hop| hop.method == Method::Ssh);
    last.map_or((false, false), |hop| (hop.user.is_some(), hop.port.is_some()))
}

/// Connects to the host, does the work there, and ends everything in order.
fn connect(host: &HostPath, reach: &ReachArgs, work: &Work<'_>) -> Exit {
    match Session::begin(reach, std::slice::from_ref(host), Router::new).map(|session| session.with_kept(reach)) {
        Ok(session) => session.until_signal(async |tree| run(tree, host, work).await),
        Err(exit) => exit,
    }
}

async fn run(tree: &Rc<Tree>, host: &HostPath, work: &Work<'_>) -> Exit {
    let failed = |error: &dyn std::fmt::Display| fail(Exit::Code(OWN_FAULT_OF_SSH), &format!("{}: {error}", host.text));
    let context = match tree.context(&host.hops).await {
        Ok(context) => context,
        Err(error) => return failed(&error),
    };
    match work.carry_out(&context).await {
        Ok(code) => Exit::Code(code),
        Err(why) => failed(&why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hop_by_ssh_is_the_one_that_options_are_about() {
        for (path, named) in [
            ("web1", (false, false)),
            ("amy@web1", (true, false)),
            ("ssh://web1:2222", (false, true)),
            ("amy@bastion:1/web1", (false, false)),
            ("bastion/amy@web1:22/sudo", (true, true)),
            ("docker:app", (false, false)),
        ] {
            assert_eq!(in_last(path), named, "{path}");
        }
    }

    #[test]
    fn a_host_as_ssh_takes_it_is_a_path() {
        for (name, path) in [
            ("web1", "web1"),
            ("amy@web1", "amy@web1"),
            ("::1", "[::1]"),
            ("amy@fe80::1", "amy@[fe80::1]"),
            ("ssh://amy@web1:22/", "amy@web1:22"),
            ("bastion/web1/sudo", "bastion/web1/sudo"),
        ] {
            assert_eq!(as_path(name), path);
        }
    }
}
