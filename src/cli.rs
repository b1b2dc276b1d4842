//! The tool.
//!
//! - `args`: the command line; `exit`: how the tool ends
//! - `hosts`: which hosts: expressions, the files that name hosts, folding
//! - `inventory`: files and programs that name hosts and groups
//! - `tree`: what a host expression becomes: a tree of connects; `login_limiter`: the turns of logins to one sshd, by
//!   the decisions of `pace`
//! - `question`: whether to run on many hosts; `dry_run`: what would be run; `substitution`: what differs from host to
//!   host
//! - `session`: what a command needs that connects
//! - `input`: stdin for all hosts
//! - `worker`: what is done on each host; `rollout`: which host starts next, by `batches` and failures;
//!   `retry`: which host is tried again; `share`: numbers of hosts, also in per cent
//! - `run`, `script`, `shell`, `call`, `doctor`, `plan`, `images`: the subcommands; `secret`: passwords that are asked for
//! - `rsh`, `with`: stand-ins for ssh, for programs such as rsync; `forward`: ports and sockets
//! - `transfer`: `push` and `pull`
//! - `kept`: connections that outlive a run; `cache`: images that stay on hosts
//! - `display`: what shows a run while it goes on; `output`: what is printed, as text, JSON or lines of JSON
//! - `rerun`: the command line that repeats a run; `last_run`: the hosts of `@failed`
//! - `allowed`: the functions of `--allow`; `sudoers`: a rule of sudo for them, with the `file_digest` of a program
//! - `config`: the user's configuration
//! - `completions`, `man`, `help_topics`: what the tool tells about itself
//! - `ending`: signals, and the last output; `duration`, `quote`: small notations

mod allowed;
pub(crate) mod args;
pub(crate) mod batches;
mod cache;
pub(crate) mod call;
mod complaint;
mod completions;
pub(crate) mod config;
mod display;
pub(crate) mod doctor;
mod dry_run;
pub(crate) mod duration;
mod ending;
pub(crate) mod exit;
mod file_digest;
pub(crate) mod forward;
mod help_topics;
pub(crate) mod hosts;
pub(crate) mod images;
pub(crate) mod input;
pub(crate) mod inventory;
pub(crate) mod kept;
pub(crate) mod last_run;
pub(crate) mod login_limiter;
mod man;
pub(crate) mod output;
mod pace;
mod plan;
pub(crate) mod question;
pub(crate) mod quote;
pub(crate) mod rerun;
pub(crate) mod retry;
mod rollout;
mod rsh;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod secret;
mod session;
mod sftp;
pub(crate) mod share;
pub(crate) mod shell;
mod substitution;
mod sudoers;
mod transfer;
pub(crate) mod tree;
mod with;
mod worker;

/// What `cargo offshoot` shares with the tool.
#[cfg(feature = "cargo")]
pub mod own {
    pub use crate::cli::file_digest::file_digest;
    pub use crate::cli::images::{check_image, has_library, has_target, remarks, write};
    pub use crate::image::bundle::Packing;
}

use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use self::args::{HostsArgs, ToolCommand};
use self::exit::Exit;
use crate::sys::allocator::Cached;
use crate::sys::panic::exit_with;
use crate::sys::patient::Patient;
use crate::sys::process::{open_files_limit, prepare_signals, raise_open_files, stdout_was_closed};

/// Said where stdout was closed from the beginning, as by `>&-`.
const STDOUT_CLOSED: &str = "stdout is closed; to discard the output, write >/dev/null";

/// The files that the tool opens for one host and for itself; with fewer, what fails depends on who comes first.
const FEWEST_FILES: nix::sys::resource::rlim_t = 32;

/// The whole tool.
pub fn main() -> ExitCode {
    let _cached = Cached::here();
    prepare_signals();
    let argv = args::rsh::written_out(std::env::args_os().collect());
    let is_rsh = args::rsh::is_meant(&argv);
    // A fault of ours has a code of its own.
    exit_with(if is_rsh { Exit::Internal.as_of_ssh() } else { Exit::Internal }.code().into());
    let exit = carry_out(argv);
    if is_rsh { exit.as_of_ssh() } else { exit }.into()
}

fn carry_out(argv: Vec<OsString>) -> Exit {
    let cli = match args::parse(argv) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    if let Err(exit) = log_to_stderr(cli.verbose) {
        return exit;
    }
    // What it has to say would go nowhere.
    if stdout_was_closed() && !matches!(cli.command, ToolCommand::Bundle(_)) {
        return complaint::fail(Exit::Internal, &STDOUT_CLOSED);
    }
    raise_open_files();
    if cli.command.starts_hosts()
        && let Some(limit) = open_files_limit().filter(|limit| *limit < FEWEST_FILES)
    {
        let few = format!(
            "at most {limit} files can be open; to start hosts offshoot needs {FEWEST_FILES}: raise the limit \
             (`ulimit -n`)"
        );
        return complaint::fail(Exit::Internal, &few);
    }
    // A fault of ours has a code of its own.
    let exit = catch_unwind(AssertUnwindSafe(|| match &cli.command {
        ToolCommand::Run(args) => run::run(&cli, args),
        ToolCommand::Script(args) => script::script(&cli, args),
        ToolCommand::Push(args) => transfer::push(&cli, args),
        ToolCommand::Pull(args) => transfer::pull(&cli, args),
        ToolCommand::Shell(args) => shell::shell(&cli, args),
        ToolCommand::Call(args) => run::call(&cli, args),
        ToolCommand::Functions(args) => call::functions(args),
        ToolCommand::Rsh(args) => rsh::rsh(&cli, args),
        ToolCommand::With(args) => with::with(&cli, args),
        ToolCommand::Forward(args) => forward::forward(&cli, args),
        ToolCommand::Doctor(args) => doctor::doctor(args, &cli.config),
        ToolCommand::Plan(args) => plan::plan(args, &cli.config),
        ToolCommand::Hosts(args) => list(args, &cli),
        ToolCommand::Tree(args) => tree::view::view(&cli, args),
        ToolCommand::Cache(args) => cache::cache(&cli, args),
        ToolCommand::Kept(args) => kept::kept(args),
        ToolCommand::Sftp => sftp::serve(),
        ToolCommand::Keep(args) => kept::serve(&args.socket, args.bound),
        ToolCommand::Sudoers(args) => sudoers::sudoers(args),
        ToolCommand::Images(args) => images::images(args),
        ToolCommand::Bundle(args) => images::bundle(args),
        ToolCommand::Completions(args) => completions::completions(args),
        ToolCommand::Man(args) => man::man(args),
        ToolCommand::Help(args) => help_topics::help(args),
        ToolCommand::Complete(args) => completions::complete(args),
    }));
    crate::engine::log::rate_limit::tell_dropped_records();
    exit.unwrap_or(Exit::Internal)
}

fn list(args: &HostsArgs, cli: &args::Cli) -> Exit {
    let inventories = inventory::Inventories::new(&args.choosing.inventory).with_config(&cli.config);
    let mut sources = hosts::sources::Reading::new(inventories);
    if args.groups {
        let text = hosts::command::groups(args, &mut sources);
        sources.inventories.take_notes().iter().for_each(|note| complaint::complain(&format!("note: {note}")));
        return match text {
            Ok(text) => print(&text),
            Err(error) => complaint::fail(error.kind.into(), &error),
        };
    }
    if let Err(why) = args.choosing.check(&mut sources.inventories) {
        return complaint::fail(Exit::NoHosts, &why);
    }
    let expansion = match hosts::expression::list(args.choosing.choice(&args.expressions), &mut sources) {
        Ok(expansion) => expansion,
        Err(error) => return complaint::fail(error.kind.into(), &error),
    };
    let text = match args.explain {
        true => hosts::command::explain(&expansion.hosts, &mut sources),
        false => Ok(hosts::command::listing(args, &expansion).into_bytes()),
    };
    let mut notes = sources.inventories.take_notes();
    notes.extend((cli.verbose > 0).then(|| sources.inventories.told()));
    expansion.notes.iter().chain(&notes).for_each(|note| complaint::complain(&format!("note: {note}")));
    match text {
        Ok(text) => print(&text),
        Err(why) => complaint::fail(Exit::Usage, &why),
    }
}

/// Writes to stdout all that a command has to say. That nobody reads it is no
/// fault.
pub(crate) fn print(text: &[u8]) -> Exit {
    let mut stdout = Patient(std::io::stdout());
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complaint::fail(Exit::Internal, &format!("cannot write to stdout: {error}"))
        }
        _ => Exit::Done(exit::Outcome::default()),
    }
}

/// `-v` to `-vvv`, unless the environment says what to log.
fn log_to_stderr(verbose: u8) -> Result<(), Exit> {
    let levels = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "io",
    };
    crate::engine::log::rate_limit::limit_records();
    if verbose == 0 && std::env::var_os("OFFSHOOT_LOG_LEVEL").is_none_or(|levels| levels.is_empty()) {
        crate::engine::log::rate_limit::tell_in_words();
    }
    crate::log::log_to_file(None, levels).map_err(|error| complaint::fail(Exit::Usage, &error))
}
