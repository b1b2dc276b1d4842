//! The commands that stand in for ssh: `rsh` takes the options of ssh, and `with` those of `run`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args};

use super::choosing::ChoiceArgs;
use super::number::number;
use super::passwords::PasswordArgs;
use super::reach::{BecomeArgs, ImageArgs, LeastArgs, ReachArgs, SshArgs};
use super::shell::{EscapeCharacter, character};
use crate::builtin::fakessh::remote::{self, sent_variables};
use crate::cli::config;
use crate::cli::duration;
use crate::cli::forward::rule::Target;
use crate::cli::output::visible::word as visible;

/// The name of the command.
const NAME: &str = "rsh";
/// By this name the program is `offshoot rsh`, for programs that want ssh to be one word.
const ALONE: &str = "offshoot-rsh";

/// The command line, with `rsh` written out if that is the name of the program.
pub(crate) fn written_out(mut argv: Vec<OsString>) -> Vec<OsString> {
    let name = argv.first().and_then(|program| Path::new(program).file_name());
    if name == Some(OsStr::new(ALONE)) {
        argv.insert(1, NAME.into());
    }
    argv
}

/// Whether the command line is one of `rsh`, even if it is wrong.
pub(crate) fn is_meant(argv: &[OsString]) -> bool {
    let words: Vec<String> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    config::first_word(&words).is_some_and(|at| words[at] == NAME)
}

/// `offshoot rsh`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = RSH_USAGE, after_help = RSH_FEW_EXAMPLES, after_long_help = RSH_HELP, args_override_self = true)]
#[expect(clippy::duplicated_attributes, reason = "each names another option")]
#[command(mut_arg("ssh_config", long_only), mut_arg("ssh_option", long_only), mut_arg("jump", long_only))]
#[command(mut_arg("port", long_only), mut_arg("login", long_only), mut_arg("identity", long_only))]
#[command(mut_arg("inventory", long_only), mut_arg("ask_become_pass", long_only), mut_arg("become_user", long_only))]
pub(crate) struct RshArgs {
    /// Reach the host through this path
    #[arg(long, value_name = "PATH")]
    pub(crate) via: Option<String>,
    /// The socket of the process that holds the connections of `with`, and the directory where that was started
    #[arg(long, hide = true, num_args = 2, value_names = ["SOCKET", "DIRECTORY"])]
    kept_at: Vec<PathBuf>,
    /// The host, as a path or as the name of one in the configuration
    #[arg(value_name = "HOST", required_unless_present = "show_version")]
    pub(crate) host: Option<String>,
    /// The words of the command, which the login shell there reads as one line
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(crate) argv: Vec<OsString>,
    /// The user that the options name, and whether they do so before the host.
    #[arg(skip)]
    pub(crate) user: Option<(String, bool)>,
    /// The same of the port.
    #[arg(skip)]
    pub(crate) port: Option<(u16, bool)>,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) typed: TypedArgs,
    #[command(flatten)]
    pub(crate) way: WayArgs,
}

impl RshArgs {
    /// Notes which user and port hold. As with ssh, it is the first one that is named, by whatever option.
    pub(crate) fn note_order(&mut self, matches: &ArgMatches) {
        let places = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
        let (logins, ports, options) = (places("typed_login"), places("typed_port"), places("typed_option"));
        let of_options = |name: &str| {
            let values = self.typed.option.iter().map(|option| value_of(option, name));
            options.iter().copied().zip(values).find_map(|(at, value)| Some((at, value?)))
        };
        let user = logins.into_iter().zip(self.typed.login.iter().cloned()).chain(of_options("User")).min();
        let host = places("host").first().copied();
        let is_before = |at: usize| host.is_none_or(|host| at < host);
        self.user = user.map(|(at, user)| (user, is_before(at)));
        let typed = ports.into_iter().zip(self.typed.port.iter().copied());
        let in_option = of_options("Port").and_then(|(at, port)| Some((at, port.parse().ok()?)));
        self.port = typed.chain(in_option).min().map(|(at, port)| (port, is_before(at)));
    }

    /// The command: the one of the command line, or the one of the options.
    pub(crate) fn line(&self) -> OsString {
        let of_options = || self.typed.value_of("RemoteCommand").filter(|line| !line.eq_ignore_ascii_case("none"));
        match self.argv.is_empty() {
            true => of_options().unwrap_or_default().into(),
            false => self.argv.join(OsStr::new(" ")),
        }
    }

    /// How to reach the host. What keeps the connections of `with` starts ssh in its own directory. So nothing is kept
    /// if files are named from another one.
    pub(crate) fn reach(&self) -> ReachArgs {
        let kept_at = match self.kept_at.as_slice() {
            [socket, directory] => {
                let is_there = || std::env::current_dir().is_ok_and(|here| here == *directory);
                (socket.exists() && (!self.typed.names_files_from_here() || is_there())).then(|| socket.clone())
            }
            _ => None,
        };
        ReachArgs { kept_at, ..self.way.reach() }
    }
}

/// `offshoot with`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = "offshoot with [OPTIONS] PATH [--] PROGRAM [ARG]...", after_help = WITH_HELP)]
pub(crate) struct WithArgs {
    /// The path that every ssh of the program goes through
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// The program on this machine, and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, required = true)]
    pub(crate) argv: Vec<OsString>,
    #[command(flatten)]
    pub(crate) way: WayArgs,
}

const RSH_USAGE: &str = "offshoot rsh [OPTIONS] HOST [COMMAND [ARG]...]";

const RSH_FEW_EXAMPLES: &str = "\
Examples:
  rsync -a -e 'offshoot rsh --via bastion --become' site/ web1:/srv/site
  GIT_SSH_COMMAND='offshoot rsh --via bastion' git clone git@web1:site.git";

const RSH_HELP: &str = "\
-l and -p hold for the last hop of HOST by ssh, the other options of ssh for all of them.
Without a COMMAND it runs the login shell, on a terminal if stdin is one. Its exit code is that
of the command, and 255 if there is none.

Examples:
  rsync -a -e 'offshoot rsh --via bastion --become' site/ web1:/srv/site
  GIT_SSH_COMMAND='offshoot rsh --via bastion' git clone git@web1:site.git
  ssh -o ProxyCommand='offshoot rsh -W %h:%p bastion/web1/docker:app' db
  ln -s offshoot ~/bin/offshoot-rsh     # by this name it is rsh, where one word is wanted:
  scp -S offshoot-rsh app.conf web1:
  offshoot rsh -t bastion/web1/sudo top";

const WITH_HELP: &str = "\
The program finds ssh, scp and sftp that reach each host behind PATH, and rsync and git use them.
Its exit code is that of the program.

Examples:
  offshoot with bastion -- rsync -a site/ web1:/srv/site
  offshoot with --become bastion -- scp app.conf web1:/etc/
  offshoot with bastion -- git clone git@web1:site.git";

/// Leaves the short name of an option to ssh.
fn long_only(arg: Arg) -> Arg {
    arg.short(None)
}

/// How to reach a host, as for `run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Hosts, as for run")]
pub(crate) struct WayArgs {
    /// The inventory that has the host; may be repeated
    #[arg(short = 'I', long, value_name = "PATH")]
    pub(crate) inventory: Vec<String>,
    /// How long each hop may take to connect
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) connect_timeout: Duration,
    #[command(flatten)]
    pub(crate) becoming: BecomeArgs,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    /// These hold for all hops by ssh.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

impl WayArgs {
    /// The same as `run` takes it.
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs {
            hosts: Vec::new(),
            choosing: ChoiceArgs { inventory: self.inventory.clone(), ..ChoiceArgs::default() },
            via: None,
            fanout: 1,
            connect_timeout: self.connect_timeout,
            becoming: self.becoming.clone(),
            image: self.image.clone(),
            keep: None,
            kept_at: None,
            least: LeastArgs::default(),
            passwords: self.passwords.clone(),
            ssh: self.ssh.clone(),
        }
    }
}

/// Short options of ssh, as programs that call ssh write them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Options of ssh")]
pub(crate) struct TypedArgs {
    /// User to log in as
    #[arg(short = 'l', id = "typed_login", value_name = "USER")]
    pub(crate) login: Vec<String>,
    /// Port
    #[arg(short = 'p', id = "typed_port", value_name = "PORT", value_parser = number(1, u16::MAX))]
    pub(crate) port: Vec<u16>,
    /// Configuration file
    #[arg(short = 'F', id = "typed_config", value_name = "FILE")]
    config: Vec<OsString>,
    /// File with a private key
    #[arg(short = 'i', id = "typed_identity", value_name = "FILE")]
    identity: Vec<OsString>,
    /// Jump through these hosts
    #[arg(short = 'J', id = "typed_jump", value_name = "DEST")]
    jump: Vec<OsString>,
    /// An option as in the configuration file
    #[arg(short = 'o', id = "typed_option", value_name = "OPT")]
    option: Vec<OsString>,
    /// Bind to this interface
    #[arg(short = 'B', hide_short_help = true, value_name = "INTERFACE")]
    interface: Vec<OsString>,
    /// Bind to this address
    #[arg(short = 'b', hide_short_help = true, value_name = "ADDRESS")]
    bind: Vec<OsString>,
    /// Ciphers
    #[arg(short = 'c', hide_short_help = true, value_name = "CIPHERS")]
    ciphers: Vec<OsString>,
    /// MACs
    #[arg(short = 'm', hide_short_help = true, value_name = "MACS")]
    macs: Vec<OsString>,
    /// PKCS#11 library
    #[arg(short = 'I', id = "typed_pkcs11", hide_short_help = true, value_name = "FILE")]
    pkcs11: Vec<OsString>,
    /// Socket of a shared connection
    #[arg(short = 'S', hide_short_help = true, value_name = "PATH")]
    control: Vec<OsString>,
    /// IPv4 only
    #[arg(short = '4', hide_short_help = true, action = ArgAction::SetTrue)]
    four: bool,
    /// IPv6 only
    #[arg(short = '6', hide_short_help = true, action = ArgAction::SetTrue)]
    six: bool,
    /// Forward the agent
    #[arg(short = 'A', hide_short_help = true)]
    agent: bool,
    /// Do not forward the agent
    #[arg(short = 'a', hide_short_help = true)]
    no_agent: bool,
    /// Compress
    #[arg(short = 'C', hide_short_help = true)]
    compress: bool,
    /// GSSAPI
    #[arg(short = 'K', id = "typed_gssapi", hide_short_help = true)]
    gssapi: bool,
    /// No GSSAPI credentials
    #[arg(short = 'k', hide_short_help = true)]
    no_gssapi: bool,
    /// No input
    #[arg(short = 'n')]
    pub(crate) no_stdin: bool,
    /// The command is the name of a subsystem; there is sftp
    #[arg(short = 's', hide_short_help = true)]
    pub(crate) subsystem: bool,
    /// Pass stdin and stdout to a connection that the host makes, and run no command
    #[arg(short = 'W', id = "typed_connection", value_name = "HOST:PORT", value_parser = Target::parse)]
    #[arg(conflicts_with_all = ["argv", "subsystem", "no_stdin"])]
    pub(crate) connection: Option<Target>,
    /// Run the command, or the login shell, on a terminal there, if stdin is one; twice to do so in any case
    #[arg(short = 't', action = ArgAction::Count, overrides_with = "no_terminal")]
    #[arg(conflicts_with_all = ["subsystem", "typed_connection"])]
    terminal: u8,
    /// Make no terminal
    #[arg(short = 'T', hide_short_help = true, overrides_with = "terminal")]
    no_terminal: bool,
    /// Run no command: hold the connection until a signal comes
    #[arg(short = 'N', hide_short_help = true, conflicts_with_all = ["argv", "subsystem", "typed_connection"])]
    pub(crate) no_command: bool,
    /// Ignored: ssh is quiet already
    #[arg(short = 'q', hide_short_help = true)]
    quiet: bool,
    /// Ignored: X11 is not forwarded
    #[arg(short = 'x', hide_short_help = true)]
    no_x11: bool,
    /// The character that begins a word for the tool at the start of a line of a terminal; none for none
    #[arg(short = 'e', hide_short_help = true, value_name = "CHAR", default_value = "~", value_parser = character)]
    pub(crate) escape: EscapeCharacter,
    /// Print the name of the host; git asks so whether this is an ssh
    #[arg(short = 'G', hide_short_help = true)]
    pub(crate) show_config: bool,
    /// Print the version
    #[arg(short = 'V', id = "show_version", hide_short_help = true)]
    pub(crate) show_version: bool,
}

impl TypedArgs {
    /// What is passed on to ssh, but for the user and the port.
    ///
    /// # Errors
    ///
    /// If a word is not UTF-8.
    pub(crate) fn to_argv(&self) -> Result<Vec<String>, String> {
        let flags = [
            ("-4", self.four),
            ("-6", self.six),
            ("-A", self.agent),
            ("-a", self.no_agent),
            ("-C", self.compress),
            ("-K", self.gssapi),
            ("-k", self.no_gssapi),
        ];
        let mut argv: Vec<String> =
            flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| (*flag).into()).collect();
        let values = [
            ("-F", &self.config),
            ("-i", &self.identity),
            ("-J", &self.jump),
            ("-o", &self.option),
            ("-B", &self.interface),
            ("-b", &self.bind),
            ("-c", &self.ciphers),
            ("-m", &self.macs),
            ("-I", &self.pkcs11),
            ("-S", &self.control),
        ];
        for (flag, values) in values {
            for value in values {
                let value = value.to_str().ok_or_else(|| format!("the argument {} is not UTF-8", value.display()))?;
                argv.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        Ok(argv)
    }

    /// Whether the command gets a terminal on the host. As with ssh, one that has no keyboard here is forced, and a
    /// login shell gets one unasked.
    pub(crate) fn terminal(&self, has_command: bool, has_keyboard: bool) -> Terminal {
        let has_keyboard = has_keyboard && !self.no_stdin;
        let asked = match (self.no_terminal, self.terminal) {
            _ if self.subsystem => "no".to_owned(),
            (true, _) => "no".to_owned(),
            (false, 0) => self.value_of("RequestTTY").unwrap_or_default().to_ascii_lowercase(),
            (false, 1) => "yes".to_owned(),
            (false, _) => "force".to_owned(),
        };
        match asked.as_str() {
            "force" => Terminal::Made,
            "yes" | "true" if has_keyboard => Terminal::Made,
            "yes" | "true" => Terminal::Refused,
            "no" | "false" => Terminal::Unwanted,
            _ if has_keyboard && !has_command => Terminal::Made,
            _ => Terminal::Unwanted,
        }
    }

    /// Whether a value is a path that begins in the working directory.
    fn names_files_from_here(&self) -> bool {
        let in_options = self.option.iter().filter_map(|option| {
            let option = option.to_string_lossy();
            let (name, value) = option.split_once(|c: char| c == '=' || c.is_whitespace())?;
            let name = name.to_ascii_lowercase();
            let is_file = ["file", "path", "provider", "agent"].iter().any(|end| name.ends_with(end));
            is_file.then(|| OsString::from(value.trim()))
        });
        let typed = [&self.config, &self.identity, &self.control, &self.pkcs11].into_iter().flatten().cloned();
        let begins_elsewhere = |value: &OsString| {
            let text = value.to_string_lossy();
            text.starts_with(['/', '~', '%', '$']) || ["none", "yes", "no"].contains(&&*text)
        };
        typed.chain(in_options).any(|value| !begins_elsewhere(&value))
    }

    /// The value of an option `-o NAME=VALUE`. As with ssh, the first one holds.
    fn value_of(&self, name: &str) -> Option<String> {
        self.option.iter().find_map(|option| value_of(option, name))
    }

    /// The names of variables that the options send along, as `-o SendEnv=GIT_PROTOCOL`. Patterns are not looked up.
    pub(crate) fn sent_variables(&self) -> Vec<String> {
        self.option.iter().filter_map(|option| option.to_str()).flat_map(sent_variables).map(str::to_owned).collect()
    }
}

/// The value of an option, if it has this name.
fn value_of(option: &OsStr, name: &str) -> Option<String> {
    remote::value_of(option.to_str()?, name).map(str::to_owned)
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    Made,
    /// It was asked for, and stdin is none.
    Refused,
    Unwanted,
}

/// Options of ssh that are about something else than a command, with the reason why there is none of them here.
const REFUSED: [(&str, &str); 13] = [
    ("-D", "forwards ports"),
    ("-L", "forwards ports, as offshoot forward does"),
    ("-R", "forwards ports"),
    ("-w", "forwards a network device"),
    ("-g", "forwards ports"),
    ("-f", "goes to the background"),
    ("-M", "shares a connection"),
    ("-O", "controls a shared connection"),
    ("-X", "forwards X11"),
    ("-Y", "forwards X11"),
    ("-E", "writes a log"),
    ("-Q", "lists algorithms"),
    ("-y", "logs to syslog"),
];

/// What to say of an option that `rsh` does not know.
pub(super) fn instead_of(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => Some(refused(&visible(option))),
        _ => None,
    }
}

fn refused(option: &str) -> String {
    match REFUSED.iter().find(|(name, _)| option.starts_with(name)) {
        Some((name, why)) => {
            format!("offshoot rsh has no {name}, which {why}: it runs commands and holds connections; use ssh for that")
        }
        None => format!(
            "offshoot rsh does not know the option {option}; it takes those of ssh that are about a command: \
             offshoot rsh --help lists them"
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::args::{Cli, ToolCommand};

    fn rsh(words: &[&str]) -> RshArgs {
        let cli = Cli::try_parse_from(["offshoot", "rsh"].iter().chain(words)).unwrap();
        let ToolCommand::Rsh(args) = cli.command else { panic!("{words:?}") };
        *args
    }

    #[test]
    fn what_rsync_git_scp_and_ansible_write_is_understood() {
        for (words, host, command, login, port) in [
            (&["-l", "amy", "web1", "rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/d"][..], "web1", 5, "amy", 0),
            (&["-o", "SendEnv=GIT_PROTOCOL", "-p", "22", "git@web1", "git-upload-pack '/a'"], "git@web1", 1, "", 22),
            (
                &["-x", "-oForwardAgent=no", "-oRequestTTY=no", "-l", "amy", "-s", "--", "web1", "sftp"],
                "web1",
                1,
                "amy",
                0,
            ),
            (&["-x", "-oRemoteCommand=none", "--", "web1", "scp -t ."], "web1", 1, "", 0),
            (&["-C", "-o", "ControlMaster=auto", "-o", "Port=22", "-tt", "web1", "/bin/sh -c 'a'"], "web1", 1, "", 0),
            (&["web1", "-p22", "-lamy", "-qTn", "ls", "-l", "--", "-p"], "web1", 4, "amy", 22),
        ] {
            let args = rsh(words);
            assert_eq!((args.host.as_deref(), args.argv.len()), (Some(host), command), "{words:?}");
            assert_eq!(args.typed.login.first().map_or("", String::as_str), login, "{words:?}");
            assert_eq!(args.typed.port.first().map_or(0, |port| *port), port, "{words:?}");
        }
        let args = rsh(&["-x", "-x", "-oA=b", "-6", "-i", "k", "-l", "a", "-l", "b", "web1", "x"]);
        assert_eq!(args.typed.to_argv().unwrap(), ["-6", "-i", "k", "-o", "A=b"]);
        assert_eq!(args.typed.login, ["a", "b"]);
        let args = rsh(&["-o", "sendenv GIT_PROTOCOL LC_*", "web1", "x"]);
        assert_eq!(args.typed.sent_variables(), ["GIT_PROTOCOL"]);
    }

    #[test]
    fn the_user_and_the_port_that_are_named_first_hold() {
        for (words, user, is_before, port) in [
            (&["-l", "amy", "web1", "x"][..], "amy", true, 0),
            (&["-o", "User=bob", "-l", "amy", "-p", "22", "-oPort=1", "web1"], "bob", true, 22),
            (&["-l", "amy", "-oUser=bob", "-o", "port 3", "-p4", "web1"], "amy", true, 3),
            (&["root@web1", "-l", "amy", "x"], "amy", false, 0),
            (&["web1", "-oUser", "bob"], "", false, 0),
            (&["-o", "User =bob", "web1"], "bob", true, 0),
        ] {
            let matches = Cli::command().try_get_matches_from(["offshoot", "rsh"].iter().chain(words)).unwrap();
            let mut args = rsh(words);
            args.note_order(matches.subcommand().unwrap().1);
            let (named, before) = args.user.unwrap_or_default();
            assert_eq!(
                (named.as_str(), before, args.port.map_or(0, |(port, _)| port)),
                (user, is_before, port),
                "{words:?}"
            );
        }
    }

    #[test]
    fn files_that_the_options_name_begin_in_a_directory() {
        for (words, names) in [
            (&["-i", "key", "web1", "x"][..], true),
            (&["-F", "../config", "web1", "x"], true),
            (&["-oIdentityFile=key", "web1", "x"], true),
            (&["-o", "ControlPath a/%C", "web1", "x"], true),
            (&["-i", "/key", "-F", "none", "-S", "~/%C", "-oControlPath=none", "web1", "x"], false),
            (&["-x", "-oForwardAgent=no", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "web1", "x"], false),
        ] {
            assert_eq!(rsh(words).typed.names_files_from_here(), names, "{words:?}");
        }
    }

    #[test]
    fn a_terminal_is_made_as_ssh_makes_it() {
        use Terminal::{Made, Refused, Unwanted};
        for (words, with_keyboard, without) in [
            (&["web1", "x"][..], Unwanted, Unwanted),
            (&["web1"], Made, Unwanted),
            (&["-T", "web1"], Unwanted, Unwanted),
            (&["-n", "web1"], Unwanted, Unwanted),
            (&["-t", "web1", "x"], Made, Refused),
            (&["-nt", "web1", "x"], Refused, Refused),
            (&["-tt", "web1", "x"], Made, Made),
            (&["-t", "-t", "web1", "x"], Made, Made),
            (&["-tt", "-T", "web1", "x"], Unwanted, Unwanted),
            (&["-T", "-t", "web1", "x"], Made, Refused),
            (&["-oRequestTTY=force", "web1", "x"], Made, Made),
            (&["-o", "requesttty yes", "web1", "x"], Made, Refused),
            (&["-oRequestTTY=no", "-oRequestTTY=force", "web1"], Unwanted, Unwanted),
            (&["-oRequestTTY=auto", "web1"], Made, Unwanted),
            (&["-oRequestTTY=no", "-t", "web1", "x"], Made, Refused),
        ] {
            let args = rsh(words);
            let of = |has_keyboard| args.typed.terminal(!args.argv.is_empty(), has_keyboard);
            assert_eq!((of(true), of(false)), (with_keyboard, without), "{words:?}");
        }
        assert_eq!(rsh(&["-e", "none", "-tt", "web1"]).typed.escape, EscapeCharacter(None));
        for words in [&["-N", "web1", "x"][..], &["-t", "-s", "web1", "sftp"], &["-N", "-W", "a:1", "web1"]] {
            assert!(Cli::try_parse_from(["offshoot", "rsh"].iter().chain(words)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn what_is_about_something_else_than_a_command_is_refused_with_a_reason() {
        for (words, says) in [
            (&["-L", "80:a:80", "web1", "x"][..], "no -L, which forwards ports"),
            (&["-fN", "web1"], "no -f, which goes to the background"),
            (&["-Z", "web1", "x"], "does not know the option -Z"),
        ] {
            let error = Cli::try_parse_from(["offshoot", "rsh"].iter().chain(words)).unwrap_err();
            let said = instead_of(&error).unwrap();
            assert!(said.contains(says), "{words:?}: {said}");
        }
    }

    #[test]
    fn the_name_of_the_program_can_say_that_it_is_meant() {
        let of = |line: &str| written_out(line.split(' ').map(OsString::from).collect());
        assert_eq!(of("/bin/offshoot-rsh a b"), ["/bin/offshoot-rsh", "rsh", "a", "b"]);
        assert!(is_meant(&of("offshoot-rsh a b")) && is_meant(&of("offshoot -v rsh a")));
        assert!(!is_meant(&of("offshoot run rsh")));
    }
}
