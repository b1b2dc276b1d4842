//! `offshoot with`: a program of this machine whose every ssh goes through a path.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::builtin::fakessh::stand_ins::{self, StandIns};
use crate::cli::args::Cli;
use crate::cli::args::rsh::WithArgs;
use crate::cli::complaint::{complain, fail};
use crate::cli::ending::Signals;
use crate::cli::exit::Exit;
use crate::cli::hosts::expression;
use crate::cli::hosts::sources::Reading;
use crate::cli::inventory::Inventories;
use crate::cli::inventory::format::Format;
use crate::cli::kept::bound::Bound;
use crate::sys::process::with_usual_settings;

/// As a shell says that a program is not there, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// The socket of what holds the connections, in the directory of the stand-ins.
const KEEPER: &str = "keeper";
/// What a shell adds to the number of a signal.
const BY_SIGNAL: i32 = 128;

/// Why a line of a descriptor is of no use here.
const NO_DESCRIPTOR: &str = "the program may start several ssh, and the line of a descriptor can be read only once; give \
                             the password by --become-pass-file or --become-pass-command, or --pass-file or \
                             --pass-command";

/// Runs the program.
pub(crate) fn with(cli: &Cli, args: &WithArgs) -> Exit {
    let passwords = &args.way.passwords;
    if passwords.pass_fd.is_some() || passwords.become_pass_fd.is_some() {
        return fail(Exit::Usage, &NO_DESCRIPTOR);
    }
    // A path that is wrong is told once, before anything runs.
    let mut sources = Reading::new(Inventories::new(&args.way.inventory).with_config(&cli.config));
    let single = expression::single(&args.path, &mut sources).map_err(|error| fail(error.kind.into(), &error));
    let resolved = single.and_then(|found| {
        sources.inventories.resolve(found.hosts, true).map_err(|why| fail(Exit::Usage, &why))?;
        found.notes.iter().chain(&sources.inventories.take_notes()).for_each(|note| complain(&format!("note: {note}")));
        Ok(())
    });
    if let Err(exit) = resolved {
        return exit;
    }
    let found = sources.inventories.found();
    let made = rsh_words(cli, args, &found).and_then(|words| {
        // Without one, no file that is named from it is the same for all.
        let here = std::env::current_dir().unwrap_or_default();
        StandIns::new(&|directory| {
            let kept_at = ["--kept-at".into(), directory.join(KEEPER).into_os_string(), here.clone().into()];
            [OsStr::new("exec "), &stand_ins::line(words.iter().chain(&kept_at))].join(OsStr::new(""))
        })
    });
    let stand_ins = match made {
        Ok(stand_ins) => stand_ins,
        Err(error) => {
            return fail(Exit::Internal, &format!("cannot make a directory with a stand-in for ssh: {error}"));
        }
    };
    // Every ssh of the program has its connections there, so each host is connected once.
    let keeper = match Bound::start(&stand_ins.directory().join(KEEPER)) {
        Ok(keeper) => Some(keeper),
        Err(error) => {
            complain(&format!("note: each ssh connects by itself, because no process holds the connections: {error}"));
            None
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let exit = runtime.block_on(run(args, &stand_ins));
    // Its socket is in the directory that is removed next.
    drop(keeper);
    exit
}

/// `offshoot rsh`, with everything that leads to the path.
fn rsh_words(cli: &Cli, args: &WithArgs, found: &[String]) -> io::Result<Vec<OsString>> {
    let way = &args.way;
    let mut words: Vec<OsString> = vec![std::env::current_exe()?.into()];
    // The program may change the directory.
    if let Some(file) = &cli.config_file {
        words.extend(["--config".into(), std::path::absolute(file)?.into()]);
    }
    words.extend(std::iter::repeat_n("-v".into(), cli.verbose.into()));
    words.extend(["rsh".into(), "--via".into(), OsString::from(&args.path)]);
    words.extend(way.image.no_upload.then(|| "--no-upload".into()));
    for inventory in way.inventory.iter().chain(found) {
        words.extend(["--inventory".into(), absolute(inventory)?]);
    }
    let mut option = |name: &str, value: &OsStr| {
        // In one word, because a value may look like an option.
        words.push([OsStr::new(name), value].join(OsStr::new("=")));
    };
    option("--connect-timeout", format!("{}ms", way.connect_timeout.as_millis()).as_ref());
    if let Some(user) = &way.becoming.become_user {
        option("--become", user.as_ref());
    }
    option("--become-method", way.becoming.become_method.as_str().as_ref());
    way.image.binary.iter().for_each(|file| option("--binary", file.as_ref()));
    way.ssh.ssh_config.iter().try_for_each(|file| {
        option("--ssh-config", std::path::absolute(file)?.as_ref());
        io::Result::Ok(())
    })?;
    way.ssh.ssh_option.iter().for_each(|text| option("--ssh-option", text));
    way.ssh.jump.iter().for_each(|jump| option("--jump", jump));
    way.ssh.port.iter().for_each(|port| option("--port", port.to_string().as_ref()));
    way.ssh.login.iter().for_each(|user| option("--login", user));
    for file in &way.ssh.identity {
        option("--identity", std::path::absolute(file)?.as_ref());
    }
    let passwords = &way.passwords;
    let files = [("--become-pass-file", &passwords.become_pass_file), ("--pass-file", &passwords.pass_file)];
    for (name, file) in files {
        file.iter().try_for_each(|file| {
            option(name, std::path::absolute(file)?.as_ref());
            io::Result::Ok(())
        })?;
    }
    passwords.become_pass_command.iter().for_each(|command| option("--become-pass-command", command.as_ref()));
    passwords.pass_command.iter().for_each(|command| option("--pass-command", command.as_ref()));
    option("--cache", if way.image.cache { "true" } else { "false" }.as_ref());
    let flags = [("--ask-become-pass", passwords.ask_become_pass), ("--ask-pass", passwords.ask_pass)];
    words.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| OsString::from(flag)));
    Ok(words)
}

/// An inventory as `-I` takes it, from any directory.
fn absolute(inventory: &str) -> io::Result<OsString> {
    let whole = |path: &str| std::path::absolute(path).map(OsString::from);
    match inventory.split_once(':') {
        Some((format, path)) if Format::by_name(format).is_some() => {
            Ok([format.as_ref(), whole(path)?.as_os_str()].join(OsStr::new(":")))
        }
        _ if Path::new(inventory).exists() => whole(inventory),
        _ => Ok(inventory.into()),
    }
}

/// Runs the program to its end. A signal goes to the program, and this process ends when the program has ended, so
/// that the directory is removed.
async fn run(args: &WithArgs, stand_ins: &StandIns) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let mut quit = match signal(SignalKind::quit()) {
        Ok(quit) => quit,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let [program, words @ ..] = args.argv.as_slice() else { return fail(Exit::Usage, &"no program is named") };
    let mut command = Command::new(program);
    command.args(words).envs(stand_ins.variables());
    let mut child = match with_usual_settings(&mut command).spawn() {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
            return fail(Exit::Code(code), &format!("cannot start {}: {error}", program.display()));
        }
    };
    let pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let (end, mut ended) = oneshot::channel();
    let wait = move || {
        // An error means that the process ends for another reason.
        let _ = end.send(child.wait());
    };
    if let Err(error) = std::thread::Builder::new().name("wait".into()).spawn(wait) {
        return fail(Exit::Internal, &error);
    }
    loop {
        let heard = tokio::select! {
            // A terminal sends it to the program as well.
            _ = quit.recv() => continue,
            status = &mut ended => return match status {
                Ok(Ok(status)) => Exit::Code(code(status)),
                Ok(Err(error)) => fail(Exit::Internal, &error),
                Err(error) => fail(Exit::Internal, &error),
            },
            heard = signals.next() => heard,
        };
        let signal = match heard {
            // The program has it already, and may take a second one for impatience.
            Exit::Interrupted if is_in_foreground() => continue,
            Exit::Interrupted => Signal::SIGINT,
            Exit::HungUp => Signal::SIGHUP,
            _ => Signal::SIGTERM,
        };
        if let Some(pid) = pid {
            // An error means that it has ended.
            let _ = kill(pid, signal);
        }
    }
}

/// Whether a terminal sends Ctrl-C to this process and to those that it has started.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|tty| tcgetpgrp(tty) == Ok(getpgrp()))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_RUN)
}
