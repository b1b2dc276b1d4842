//! The command line.
//!
//! - `choosing`: the options that choose hosts; `about`: the commands that tell about the tool
//! - `cache`: those of `cache`
//! - `checks`: what is well formed but most likely not what was meant
//! - `copying`: those of `push` and `pull`; `plan`: those of `plan`
//! - `running`: the options about the order, the attempts and the end of a run; `showing`: how output is shown
//! - `rsh`: those of `rsh` and `with`; `forward`: those of `forward`
//! - `passwords`: where passwords come from; `number`: values that are numbers
//! - `help`: texts of `--help`; `screen`: what `-h` leaves out; `tips`: what people of other tools mean

pub(crate) mod about;
pub(crate) mod cache;
mod checks;
pub(crate) mod choosing;
pub(crate) mod copying;
mod doctor;
pub(crate) mod forward;
mod help;
mod number;
pub(crate) mod passwords;
pub(crate) mod plan;
pub(crate) mod reach;
pub(crate) mod rsh;
pub(crate) mod running;
pub(crate) mod screen;
pub(crate) mod script;
pub(crate) mod shell;
pub(crate) mod showing;
pub(crate) mod sudoers;
mod tips;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use self::about::{CompleteArgs, CompletionsArgs, HelpArgs, ManArgs};
use self::cache::CacheArgs;
use self::choosing::{ChoiceArgs, how_else_or_groups};
use self::copying::{PullArgs, PushArgs};
pub(crate) use self::doctor::DoctorArgs;
use self::forward::ForwardArgs;
use self::help::{
    CALL_EXAMPLES, CALL_USAGE, EXAMPLES, FEW_EXAMPLES, HOSTS_EXAMPLES, HOSTS_HELP, RUN_EXAMPLES, RUN_FEW_EXAMPLES,
    RUN_USAGE,
};
use self::number::number;
use self::plan::PlanArgs;
pub(crate) use self::reach::{BecomeArgs, ReachArgs};
use self::rsh::{RshArgs, WithArgs};
use self::running::RunningArgs;
use self::script::ScriptArgs;
use self::shell::ShellArgs;
use self::showing::ShowingArgs;
use self::sudoers::SudoersArgs;
use crate::cli::complaint::{complain, fail};
use crate::cli::config::{self, Config, Parsed};
use crate::cli::duration;
use crate::cli::exit::{Exit, Outcome};
use crate::sys::process::stdout_was_closed;
use crate::wire::sanitize::is_unsafe;

/// What `--version` says. Copies accept each other if their builds are the same.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\nbuild: ", env!("OFFSHOOT_OWN_BUILD"), "\ntarget: ", env!("OFFSHOOT_TARGET"),);

/// Runs commands on many machines that have nothing but a shell.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "offshoot", version, long_version = LONG_VERSION, after_help = FEW_EXAMPLES, after_long_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Log what happens to stderr; -vv logs more, -vvv all
    #[arg(short, long, global = true, display_order = 900, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Have each process write a debug log, /tmp/offshoot.PID.TIME.log
    #[arg(long, global = true, display_order = 901)]
    #[arg(hide_short_help = true)]
    pub(crate) debug: bool,
    /// When to use colour
    #[arg(long, global = true, display_order = 902, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_short_help = true)]
    pub(crate) color: Color,
    /// The configuration [default: ~/.config/offshoot/config.toml]; none takes none
    #[arg(long = "config", global = true, display_order = 903, value_name = "FILE")]
    #[arg(hide_short_help = true)]
    pub(crate) config_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: ToolCommand,
    /// What the configuration says, besides the defaults of options.
    #[arg(skip)]
    pub(crate) config: Config,
    /// The command line, with a command of the configuration written out.
    #[arg(skip)]
    pub(crate) argv: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum ToolCommand {
    /// Run a command on hosts and show its output as it comes
    Run(Box<RunArgs>),
    /// Run a local script on hosts, which leaves no file there
    Script(Box<ScriptArgs>),
    /// Copy files and directories to hosts; only what differs is sent
    Push(Box<PushArgs>),
    /// Copy files from hosts, into one directory for each host
    Pull(Box<PullArgs>),
    /// Open an interactive terminal on a host
    Shell(Box<ShellArgs>),
    /// Call a function of this program on hosts and show its result as JSON
    Call(Box<CallArgs>),
    /// List the functions that `call` can call
    Functions(FunctionsArgs),
    /// Run a command on one host as ssh does, for programs that start ssh: rsync, git, scp
    Rsh(Box<RshArgs>),
    /// Run a program of this machine whose every ssh goes through a path
    With(Box<WithArgs>),
    /// Listen on ports of this machine whose connections a host makes
    Forward(Box<ForwardArgs>),
    /// Connect to a host step by step, and show which step fails
    Doctor(Box<DoctorArgs>),
    /// Print the hops of a run, and the command of each hop, without a connection
    Plan(Box<PlanArgs>),
    /// List the hosts that an expression names
    Hosts(HostsArgs),
    /// Connect to hosts and show the processes that lead to them
    Tree(Box<TreeArgs>),
    /// List the connections that runs with --keep have left, or end them
    Kept(KeptArgs),
    /// List or remove the images that hosts keep because of --cache
    Cache(Box<CacheArgs>),
    /// Print a rule by which sudo runs this program for some functions only
    Sudoers(SudoersArgs),
    /// List the images for other targets that a program carries
    Images(ImagesArgs),
    /// Make a program that carries images for other targets
    Bundle(BundleArgs),
    /// Print a script that completes command lines in a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them into a directory
    Man(ManArgs),
    /// Tell about a topic or a command
    Help(HelpArgs),
    /// What holds the connections of --keep
    #[command(name = "__keep", hide = true)]
    Keep(KeepArgs),
    /// The server of the subsystem sftp, on a host that has none
    #[command(name = "__sftp", hide = true)]
    Sftp,
    /// What can stand at the cursor
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
}

impl ToolCommand {
    /// The hosts, and the way to them, of a command that takes any number of hosts.
    pub(crate) fn reach(&self) -> Option<&ReachArgs> {
        match self {
            Self::Run(args) => Some(&args.reach),
            Self::Script(args) => Some(&args.reach),
            Self::Push(args) => Some(&args.reach),
            Self::Pull(args) => Some(&args.reach),
            Self::Call(args) => Some(&args.reach),
            Self::Tree(args) => Some(&args.reach),
            Self::Plan(args) => Some(&args.reach),
            Self::Cache(args) => Some(&args.reach),
            _ => None,
        }
    }

    /// Whether it does on hosts what the command line says, and does not only show the way there.
    pub(crate) fn works_on_hosts(&self) -> bool {
        self.reach().is_some() && !matches!(self, Self::Tree(_) | Self::Plan(_) | Self::Cache(_))
    }

    /// A note if the command that runs on hosts is one that asks for a password on a terminal, which it has not.
    pub(crate) fn becomes_by_itself(&self) -> Option<String> {
        let Self::Run(args) = self else { return None };
        let line = args.shell.as_ref().map(|line| line.to_string_lossy().into_owned());
        let word = line.as_deref().and_then(|line| line.split_whitespace().next());
        let word = word.or_else(|| args.argv.first()?.to_str())?;
        let is_it = ["sudo", "doas", "su"].contains(&word) && args.reach.becoming.become_user.is_none();
        is_it.then(|| {
            format!(
                "{word} in a command has no terminal to ask for a password; -b in its place runs the command as root, and \
                 -K has the password asked for here"
            )
        })
    }

    /// Whether the command starts a context on each host.
    pub(crate) fn starts_hosts(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Script(_)
                | Self::Push(_)
                | Self::Pull(_)
                | Self::Shell(_)
                | Self::Call(_)
                | Self::Rsh(_)
                | Self::Forward(_)
                | Self::Doctor(_)
                | Self::Tree(_)
                | Self::Cache(_)
        )
    }

    /// Whether the configuration has anything to say for the command.
    pub(crate) fn takes_config(&self) -> bool {
        self.starts_hosts() || matches!(self, Self::Hosts(_) | Self::Plan(_) | Self::With(_))
    }
}

/// `offshoot run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = RUN_FEW_EXAMPLES, after_long_help = RUN_EXAMPLES, override_usage = RUN_USAGE)]
pub(crate) struct RunArgs {
    /// Run this line in a shell there, instead of CMD
    #[arg(short, long, value_name = "LINE", conflicts_with = "argv")]
    pub(crate) shell: Option<OsString>,
    /// How long the command may run on each host, as 30 (seconds) or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Run in this directory [default: where the login begins]
    #[arg(short = 'C', long, value_name = "DIR")]
    #[arg(hide_short_help = true)]
    pub(crate) chdir: Option<PathBuf>,
    /// Set an environment variable on the hosts; NAME alone passes on its value here; may be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable_parser())]
    #[arg(hide_short_help = true)]
    pub(crate) env: Vec<Variable>,
    /// In the command, replace %h by the host, %n by its number, and %% by a %
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) subst: bool,
    /// Give the commands no input; by default they get stdin, unless it is a terminal
    #[arg(short, long)]
    pub(crate) no_stdin: bool,
    /// The command and its arguments, as they are, without a shell
    #[arg(value_name = "CMD", trailing_var_arg = true, required_unless_present = "shell")]
    pub(crate) argv: Vec<OsString>,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) running: RunningArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `offshoot call`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = CALL_EXAMPLES, override_usage = CALL_USAGE)]
pub(crate) struct CallArgs {
    /// How long the call may take on each host, as 30 (seconds) or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// The name of the function, or the end of its name if no other name ends so, as host_facts
    #[arg(value_name = "FUNCTION")]
    pub(crate) function: String,
    /// Its arguments, as a JSON array
    #[arg(value_name = "JSON-ARGS", default_value = "[]")]
    pub(crate) arguments: String,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) running: RunningArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `offshoot tree`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = "offshoot tree [OPTIONS] -w HOSTS")]
pub(crate) struct TreeArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// `offshoot kept`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = "offshoot kept [--json]\n       offshoot kept end [PATH...]")]
pub(crate) struct KeptArgs {
    /// `end`, to end connections: those that are named, or all
    #[arg(value_name = "end", value_parser = ["end"])]
    pub(crate) what: Option<String>,
    /// What to end, as `offshoot kept` lists it, and all that is behind it
    #[arg(value_name = "PATH", requires = "what")]
    pub(crate) paths: Vec<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "what")]
    pub(crate) json: bool,
}

/// `offshoot __keep`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct KeepArgs {
    /// The socket to listen on
    #[arg(value_name = "SOCKET")]
    pub(crate) socket: PathBuf,
    /// End when stdin ends, and not before
    #[arg(long)]
    pub(crate) bound: bool,
}

/// `offshoot functions`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct FunctionsArgs {
    /// List only functions whose names contain this text
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print one JSON document at the end
    #[arg(long, conflicts_with_all = ["jsonl", "raw"])]
    pub(crate) json: bool,
    /// Print one JSON object per line as things happen
    #[arg(long, conflicts_with = "raw")]
    #[arg(hide_short_help = true)]
    pub(crate) jsonl: bool,
    /// Show output as it is: with terminal escapes, and all frames of a progress bar
    #[arg(long)]
    #[arg(hide_short_help = true)]
    pub(crate) raw: bool,
    /// End with the largest exit code of any host
    #[arg(short = 'S', long)]
    #[arg(hide_short_help = true)]
    pub(crate) remote_code: bool,
    #[command(flatten)]
    pub(crate) showing: ShowingArgs,
}

/// `offshoot hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = HOSTS_EXAMPLES, after_long_help = HOSTS_HELP)]
pub(crate) struct HostsArgs {
    /// Host expressions; the list has the hosts of all of them
    #[arg(value_name = "EXPR", required_unless_present_any = how_else_or_groups())]
    pub(crate) expressions: Vec<String>,
    #[command(flatten)]
    pub(crate) choosing: ChoiceArgs,
    /// List the groups that are known instead, each with its hosts
    #[arg(long, conflicts_with_all = ["expressions", "all", "except", "pick", "count", "fold", "split", "explain"])]
    pub(crate) groups: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["count", "fold", "split", "explain"])]
    pub(crate) json: bool,
    /// Print only the number of hosts
    #[arg(short, long, conflicts_with_all = ["fold", "split", "explain"])]
    pub(crate) count: bool,
    /// Print the hosts as one short expression
    #[arg(short, long, conflicts_with = "explain")]
    pub(crate) fold: bool,
    /// Divide them into this many parts, and print each as a short expression
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX), conflicts_with = "explain")]
    pub(crate) split: Option<u32>,
    /// Print of each host the way there, and where it comes from
    #[arg(long)]
    pub(crate) explain: bool,
}

/// `offshoot images`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct ImagesArgs {
    /// The program [default: this one]
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `offshoot bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct BundleArgs {
    /// The program that will carry the images; those that it carries now are not kept [default: this one]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Where to write the bundle
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The program as built for other targets, each as TRIPLE=FILE or as cargo's path to it
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: OsString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// `is_terminal` is that of the stream in question, `no_color` whether the
    /// variable `NO_COLOR` is set and not empty, or `TERM` says that the terminal shows none.
    pub(crate) fn is_on(self, is_terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Auto => is_terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Reads the command line, which begins with the name of the program. If it asks
/// for help, or is wrong, prints the help or the error and returns how to end.
pub(crate) fn parse<I, T>(argv: I) -> Result<Cli, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let argv = argv.into_iter().map(Into::into).collect();
    let Parsed { cli: parsed, argv } = config::parse(argv).map_err(|why| fail(Exit::Usage, &why))?;
    let is_rsh = rsh::is_meant(&argv);
    // What clap makes of the letters of a user's name. Other mistakes may be behind most of these errors.
    let users = match parsed.as_ref().map_err(clap::Error::kind) {
        _ if is_rsh => None,
        Ok(_) | Err(ErrorKind::UnknownArgument) => Some(checks::Users::All),
        Err(ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::ArgumentConflict) => {
            Some(checks::Users::Known)
        }
        Err(_) => None,
    };
    if let Some(users) = users
        && let Err(why) = checks::check_become(&argv, parsed.as_ref().ok(), users)
    {
        return Err(fail(Exit::Usage, &why));
    }
    let cli = parsed.map_err(|error| refuse(&error, &argv, is_rsh))?;
    cli.check_words(&argv)
        .and_then(|()| cli.check_all())
        .and_then(|()| cli.check_keep())
        .map_err(|why| fail(Exit::Usage, &why))?;
    cli.suspicions().iter().for_each(|note| complain(&format!("note: {note}")));
    Ok(Cli { argv, ..cli })
}

/// Prints help, or what is wrong with the command line, and returns the exit code.
fn refuse(error: &clap::Error, argv: &[OsString], is_rsh: bool) -> Exit {
    let tip = || {
        let of_command = || tips::of_command(error, argv);
        tips::without_command(error, argv).or_else(of_command).or_else(|| tips::instead_of(error))
    };
    match if is_rsh { rsh::instead_of(error) } else { tip() } {
        Some(text) => complain(&format!("offshoot: {text}")),
        None => {
            let text = error.to_string();
            let quotes_unsafe = error.use_stderr() && text.chars().any(|c| c != '\n' && is_unsafe(c));
            let printed = match quotes_unsafe {
                true => {
                    complain(text.trim_end());
                    Ok(())
                }
                false => match screen::asked_for(error) {
                    Some(mut command) => command.print_help(),
                    None => error.print(),
                }
                .and_then(|()| io::stdout().flush()),
            };
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            match printed {
                _ if is_help && stdout_was_closed() => return fail(Exit::Internal, &"stdout is closed"),
                // A reader that has seen enough is no fault. If stderr cannot be written, that cannot be reported.
                Err(error) if is_help && error.kind() != io::ErrorKind::BrokenPipe => {
                    return fail(Exit::Internal, &format!("cannot write to stdout: {error}"));
                }
                _ => {}
            }
            tips::beside(error, argv).iter().for_each(|tip| complain(&format!("\n  tip: {tip}")));
        }
    }
    exit_of(error.kind())
}

/// clap's own code for a wrong command line is 2, which has another meaning here.
fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done(Outcome::default()),
        _ => Exit::Usage,
    }
}

fn variable_parser() -> impl TypedValueParser<Value = Variable> {
    OsStringValueParser::new().try_map(|text| variable(&text))
}

fn variable(text: &OsStr) -> Result<Variable, String> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    let wrong = || "write NAME=VALUE, or NAME; a name is of letters, digits and _".to_owned();
    let equals = bytes.iter().position(|b| *b == b'=');
    let name = std::str::from_utf8(&bytes[..equals.unwrap_or(bytes.len())]).map_err(|_| wrong())?;
    let is_name =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.starts_with(|c: char| !c.is_ascii_digit());
    if !is_name {
        return Err(wrong());
    }
    let value = match equals {
        Some(equals) => OsStr::from_bytes(&bytes[equals + 1..]).to_owned(),
        None => std::env::var_os(name)
            .ok_or_else(|| format!("{name} is not set in the environment here; set it, or write {name}=VALUE"))?,
    };
    Ok(Variable { name: name.to_owned(), value })
}

#[cfg(test)]
mod tests;
