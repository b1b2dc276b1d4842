//! The command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::cli::complaint::{complain, fail};
use crate::cli::duration;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::visible::word as visible;
use crate::cli::quote;

/// What `--version` says. Copies accept each other if their builds are the same.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\nbuild: ", env!("OFFSHOOT_OWN_BUILD"), "\ntarget: ", env!("OFFSHOOT_TARGET"),);

/// Runs commands on many machines that have nothing but a shell.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "offshoot", version, long_version = LONG_VERSION, after_help = EXAMPLES, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Say on stderr what happens; -vv says more, -vvv each frame
    #[arg(short, long, global = true, display_order = 900, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Each process writes a debug log, /tmp/offshoot.PID.TIME.log
    #[arg(long, global = true, display_order = 901)]
    pub(crate) debug: bool,
    /// Whether to use colour
    #[arg(long, global = true, display_order = 902, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Run a command on hosts and show its output as it comes
    Run(Box<RunArgs>),
    /// Call a function of this program on hosts and show its result as JSON
    Call(Box<CallArgs>),
    /// Show the functions that `call` knows
    Functions(FunctionsArgs),
    /// Try the way to a host step by step, and say what is wrong with it
    Doctor(Box<DoctorArgs>),
    /// Show which hosts an expression stands for
    Hosts(HostsArgs),
    /// Show the images of other targets that a program carries
    Images(ImagesArgs),
    /// Make a program that carries images of other targets
    Bundle(BundleArgs),
}

/// `offshoot run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = RUN_EXAMPLES, override_usage = RUN_USAGE)]
pub(crate) struct RunArgs {
    /// Run this line in a shell there, instead of CMD
    #[arg(short, long, value_name = "LINE", conflicts_with = "argv")]
    pub(crate) shell: Option<OsString>,
    /// How long the command may run on each host, as 30s or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Run in this directory [default: where the login begins]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set an environment variable there, by default to its value here; may be given again
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable_parser())]
    pub(crate) env: Vec<Variable>,
    /// The command and its arguments, as they are: no shell takes them apart
    #[arg(value_name = "CMD", trailing_var_arg = true, required_unless_present = "shell")]
    pub(crate) argv: Vec<OsString>,
    // Last, since the heading of a group holds for all that follow.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `offshoot call`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = CALL_EXAMPLES)]
pub(crate) struct CallArgs {
    /// How long the call may take on each host, as 30s or 5m [default: no limit]
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// The function: its name, or any end of it that only one has, as host_facts
    #[arg(value_name = "FUNCTION")]
    pub(crate) function: String,
    /// Its arguments, as a JSON array
    #[arg(value_name = "JSON-ARGS", default_value = "[]")]
    pub(crate) arguments: String,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `offshoot doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct DoctorArgs {
    /// The host, with all hops that lead to it, as bastion/web1
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each hop may take
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration::parse)]
    pub(crate) connect_timeout: Duration,
    /// As for run
    #[arg(long)]
    pub(crate) cache: bool,
    /// As for run
    #[arg(long, value_name = "PATH", conflicts_with = "cache")]
    pub(crate) binary: Option<String>,
    /// Ask for the password of sudo, su or doas
    #[arg(short = 'K', long)]
    pub(crate) ask_become_pass: bool,
    /// Ask for the password of ssh
    #[arg(long)]
    pub(crate) ask_pass: bool,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

impl DoctorArgs {
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs {
            hosts: vec![self.host.clone()],
            via: None,
            fanout: 1,
            connect_timeout: self.connect_timeout,
            become_user: None,
            become_method: BecomeMethod::default(),
            ask_become_pass: self.ask_become_pass,
            ask_pass: self.ask_pass,
            cache: self.cache,
            binary: self.binary.clone(),
            ssh: self.ssh.clone(),
        }
    }
}

/// `offshoot functions`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct FunctionsArgs {
    /// Only those with this in their names
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which hosts, and how to reach them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct ReachArgs {
    /// The hosts, as web[01-40,50], bastion/web1/sudo or ^FILE; may be given again
    #[arg(short = 'w', long, value_name = "HOSTS", required = true)]
    pub(crate) hosts: Vec<String>,
    /// Reach all of them through this path
    #[arg(long, value_name = "PATH")]
    pub(crate) via: Option<String>,
    /// How many hosts at once
    #[arg(short, long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) fanout: u32,
    /// How long the way to each host may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) connect_timeout: Duration,
    /// Become this user on each host, root if none is named
    #[arg(short = 'b', long = "become", value_name = "USER", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "root", value_parser = user)]
    pub(crate) become_user: Option<String>,
    /// How to become that user
    #[arg(long, value_name = "METHOD", default_value = "sudo")]
    pub(crate) become_method: BecomeMethod,
    /// Ask for the password of sudo, su or doas, once for all hosts
    #[arg(short = 'K', long)]
    pub(crate) ask_become_pass: bool,
    /// Ask for the password of ssh, once for all hosts
    #[arg(long)]
    pub(crate) ask_pass: bool,
    /// Let hosts keep the image below ~/.cache, hashed at every use, so that it is sent once
    #[arg(long)]
    pub(crate) cache: bool,
    /// Send nothing: run this copy of the program, which is on the hosts already
    #[arg(long, value_name = "PATH", conflicts_with = "cache")]
    pub(crate) binary: Option<String>,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

/// A way to become another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BecomeMethod {
    #[default]
    Sudo,
    Su,
    Doas,
}

impl BecomeMethod {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sudo => "sudo",
            Self::Su => "su",
            Self::Doas => "doas",
        }
    }
}

/// What is passed on to ssh. Options of a host's own, as in `deploy@web1:2222`,
/// come before these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Options passed to ssh")]
pub(crate) struct SshArgs {
    /// Configuration file
    #[arg(short = 'F', long, value_name = "FILE")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// An option as in the configuration file; may be given again
    #[arg(short = 'o', long, value_name = "OPT")]
    pub(crate) ssh_option: Vec<OsString>,
    /// Jump through these hosts
    #[arg(short = 'J', long, value_name = "DEST")]
    pub(crate) jump: Option<OsString>,
    /// Port
    #[arg(short = 'p', long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Who to log in as
    #[arg(short = 'l', long, value_name = "USER")]
    pub(crate) login: Option<OsString>,
    /// File with a private key; may be given again
    #[arg(short = 'i', long, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
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
    pub(crate) jsonl: bool,
    /// Let terminal escapes through even to a terminal
    #[arg(long)]
    pub(crate) raw: bool,
    /// End with the largest exit code of any host
    #[arg(short = 'S', long)]
    pub(crate) remote_code: bool,
}

/// `offshoot hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = HOSTS_HELP)]
pub(crate) struct HostsArgs {
    /// Host expressions; several stand for what any of them does
    #[arg(value_name = "EXPR", required = true)]
    pub(crate) expressions: Vec<String>,
    /// Print only how many there are
    #[arg(short, long, conflicts_with = "fold")]
    pub(crate) count: bool,
    /// Print them as one short expression
    #[arg(short, long)]
    pub(crate) fold: bool,
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
    /// The program that is to carry them; what it carries already is left out [default: this one]
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
    /// variable `NO_COLOR` is set and not empty.
    pub(crate) fn is_on(self, is_terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Auto => is_terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Reads the command line, the name of the program first. If there is nothing
/// left to do, because help was wanted or something is wrong, says so and
/// returns how to end.
pub(crate) fn parse<I, T>(argv: I) -> Result<Cli, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let argv: Vec<OsString> = argv.into_iter().map(Into::into).collect();
    let cli = Cli::try_parse_from(&argv).map_err(|error| {
        // Nobody is left to tell if this fails.
        let _ = error.print();
        exit_of(error.kind())
    })?;
    cli.check_words(&argv).map_err(|why| fail(Exit::Usage, &why))?;
    cli.suspicions().iter().for_each(|note| complain(&format!("note: {note}")));
    Ok(cli)
}

/// Most words that are looked for as files.
const MAX_SUSPECTED: usize = 100;
/// Enough of a file to see whether it is a key, in bytes.
const KEY_HEAD: u64 = 4096;

/// Whether this is `-b`, alone or behind other flags, or `--become`.
fn is_become(word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    let flags = text
        .strip_prefix('-')
        .is_some_and(|flags| flags.ends_with('b') && flags.chars().all(|flag| matches!(flag, 'b' | 'K' | 'S' | 'v')));
    flags || text == "--become"
}

/// Whether it is a file that can be read, is not empty, and is no key of ssh.
fn is_no_key(path: &std::path::Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    if !path.is_file() || std::fs::File::open(path).and_then(|file| file.take(KEY_HEAD).read_to_end(&mut head)).is_err()
    {
        return false;
    }
    let text = String::from_utf8_lossy(&head);
    !head.is_empty() && !text.contains("KEY") && !text.contains("ssh-") && !text.contains("ecdsa-")
}

/// clap's own code for a wrong command line is 2, which has another meaning here.
fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done(Outcome::default()),
        _ => Exit::Usage,
    }
}

impl Cli {
    /// Refuses words before a `--`, which would silently begin the command:
    /// hosts that a shell has made of braces, and the user behind `-b`.
    fn check_words(&self, argv: &[OsString]) -> Result<(), String> {
        let Command::Run(args) = &self.command else { return Ok(()) };
        let Some(dashes) = args.argv.iter().position(|word| word == "--") else { return Ok(()) };
        let before = argv.len().checked_sub(args.argv.len() + 1).and_then(|nth| argv.get(nth));
        if before.is_none_or(|word| word == "--") {
            return Ok(());
        }
        let first = args.argv.first().map(|word| word.to_string_lossy()).unwrap_or_default();
        let shown = visible(&first);
        if before.is_some_and(|word| is_become(word)) {
            return Err(format!("`{shown}` stands before `--`; if it is the user to become, write -b={shown}"));
        }
        let words = quote::line(&args.argv[..dashes]);
        let hosts = args.reach.hosts.last().map(String::as_str).unwrap_or_default();
        Err(format!(
            "`{}` stands before `--`; if these are hosts, put commas between them, as in -w {},{}, or quote \
             the expression, as in -w 'web[1-3]'; if the command begins here, put another `--` in front of it",
            visible(&words),
            visible(hosts),
            visible(&words.replace(' ', ",")),
        ))
    }

    /// What is allowed but most likely not what was meant.
    fn suspicions(&self) -> Vec<String> {
        let (hosts, identities): (&[String], &[PathBuf]) = match &self.command {
            Command::Run(args) => (&args.reach.hosts, &args.reach.ssh.identity),
            Command::Call(args) => (&args.reach.hosts, &args.reach.ssh.identity),
            Command::Doctor(args) => (std::slice::from_ref(&args.host), &args.ssh.identity),
            Command::Hosts(args) => (&args.expressions, &[]),
            Command::Functions(_) | Command::Images(_) | Command::Bundle(_) => (&[], &[]),
        };
        let mut notes = Vec::new();
        for word in hosts.iter().flat_map(|hosts| hosts.split(',')).take(MAX_SUSPECTED) {
            if std::path::Path::new(word).is_file() {
                let word = visible(word);
                notes.push(format!(
                    "{word} is taken for a host, but there is a file of that name; for its hosts write '^{word}'"
                ));
            }
        }
        for file in identities.iter().filter(|file| is_no_key(file)) {
            let file = visible(&file.to_string_lossy());
            notes.push(format!(
                "-i names a key of ssh, and {file} holds none; for the hosts in a file write -w '^{file}'"
            ));
        }
        if let Command::Run(args) = &self.command
            && let [word] = args.argv.as_slice()
            && let Some(text) = word.to_str()
            && text.contains(|c: char| c.is_whitespace() || ";|&<>$`*()".contains(c))
        {
            notes.push(format!(
                "the command is one word, {}, and is run as a program of that name; for a line of shell write -s {}",
                visible(&quote::quote(word)),
                visible(&quote::quote(word)),
            ));
        }
        notes
    }

    /// The command that does the same for `hosts` only, for a shell. `program`
    /// is how this one was called.
    pub(crate) fn rerun(&self, program: &OsStr, hosts: &str) -> String {
        quote::line(self.argv(program, hosts))
    }

    fn argv(&self, program: &OsStr, hosts: &str) -> Vec<OsString> {
        let mut argv = Words(vec![program.to_owned()]);
        for _ in 0..self.verbose {
            argv.flag("-v", true);
        }
        argv.flag("--debug", self.debug);
        if let Some(color) = self.color.to_possible_value().filter(|_| self.color != Color::Auto) {
            argv.option("", "--color", color.get_name());
        }
        match &self.command {
            Command::Run(args) => args.push(&mut argv, hosts),
            Command::Hosts(args) => {
                argv.flag("hosts", true);
                argv.flag("--count", args.count);
                argv.flag("--fold", args.fold);
                argv.flag(hosts, true);
            }
            Command::Call(args) => args.push(&mut argv, hosts),
            // They know no hosts, or one.
            Command::Doctor(_) | Command::Images(_) | Command::Bundle(_) | Command::Functions(_) => {}
        }
        argv.0
    }
}

impl RunArgs {
    fn push(&self, argv: &mut Words, hosts: &str) {
        argv.flag("run", true);
        self.reach.push(argv, hosts);
        self.output.push(argv);
        argv.options("-t", "--timeout", self.timeout.map(duration::format));
        argv.options("-C", "--chdir", &self.chdir);
        // Values may be secret, and the line is shown.
        argv.options("-e", "--env", self.env.iter().map(|variable| &variable.name));
        argv.options("-s", "--shell", &self.shell);
        if !self.argv.is_empty() {
            argv.flag("--", true);
            argv.0.extend(self.argv.iter().cloned());
        }
    }
}

impl CallArgs {
    fn push(&self, argv: &mut Words, hosts: &str) {
        argv.flag("call", true);
        self.reach.push(argv, hosts);
        self.output.push(argv);
        argv.options("-t", "--timeout", self.timeout.map(duration::format));
        argv.flag("--", true);
        argv.flag(&self.function, true);
        argv.flag(&self.arguments, self.arguments != "[]");
    }
}

impl ReachArgs {
    fn push(&self, argv: &mut Words, hosts: &str) {
        argv.option("-w", "--hosts", hosts);
        argv.options("", "--via", &self.via);
        if self.fanout != 32 {
            argv.option("-f", "--fanout", self.fanout.to_string());
        }
        if self.connect_timeout != Duration::from_secs(30) {
            argv.option("", "--connect-timeout", duration::format(self.connect_timeout));
        }
        argv.options("", "--become", &self.become_user);
        if self.become_method != BecomeMethod::default() {
            argv.option("", "--become-method", self.become_method.as_str());
        }
        argv.flag("-K", self.ask_become_pass);
        argv.flag("--ask-pass", self.ask_pass);
        argv.flag("--cache", self.cache);
        argv.options("", "--binary", &self.binary);
        argv.0.extend(self.ssh.to_argv());
    }
}

impl SshArgs {
    /// The options as ssh, and the tool itself, take them.
    pub(crate) fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Vec::new();
        let mut push = |option: &str, value: &OsStr| {
            let mut word = OsString::from(option);
            if value.as_encoded_bytes().starts_with(b"-") {
                // In one word, or the tool takes it for an option.
                word.push(value);
                argv.push(word);
            } else {
                argv.extend([word, value.to_owned()]);
            }
        };
        self.ssh_config.iter().for_each(|file| push("-F", file.as_os_str()));
        self.ssh_option.iter().for_each(|option| push("-o", option));
        self.jump.iter().for_each(|jump| push("-J", jump));
        self.port.iter().for_each(|port| push("-p", OsStr::new(&port.to_string())));
        self.login.iter().for_each(|login| push("-l", login));
        self.identity.iter().for_each(|file| push("-i", file.as_os_str()));
        argv
    }
}

impl OutputArgs {
    fn push(self, argv: &mut Words) {
        argv.flag("--json", self.json);
        argv.flag("--jsonl", self.jsonl);
        argv.flag("--raw", self.raw);
        argv.flag("-S", self.remote_code);
    }
}

/// Words of a command line that is being put together.
struct Words(Vec<OsString>);

impl Words {
    fn flag(&mut self, flag: &str, is_set: bool) {
        if is_set {
            self.0.push(flag.into());
        }
    }

    fn options<V: AsRef<OsStr>>(&mut self, short: &str, long: &str, values: impl IntoIterator<Item = V>) {
        for value in values {
            self.option(short, long, value);
        }
    }

    fn option(&mut self, short: &str, long: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref();
        // A value that could be taken for an option must be in its word.
        if short.is_empty() || value.as_encoded_bytes().starts_with(b"-") {
            let mut word = OsString::from(long);
            word.push("=");
            word.push(value);
            self.0.push(word);
        } else {
            self.0.extend([short.into(), value.to_owned()]);
        }
    }
}

fn user(name: &str) -> Result<String, String> {
    if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
        return Err("that is not the name of a user".into());
    }
    Ok(name.to_owned())
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

const RUN_USAGE: &str = "offshoot run [OPTIONS] -w HOSTS [--] CMD [ARG]...
       offshoot run [OPTIONS] -w HOSTS -s LINE";

const EXAMPLES: &str = "\
Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'bastion/web[01-40]/sudo' -t 30s -- systemctl restart nginx
  offshoot run -w '^hosts.txt' --jsonl -s 'df -P | tail -n +2'
  offshoot hosts --fold 'web[1-9]!web5,db1'

Exit codes:
  0 all succeeded; added up: 2 some failed, 4 some unreachable, 8 stopped early;
  64 wrong command line, 66 no hosts, 70 internal error, 130 interrupted,
  143 terminated";

const RUN_EXAMPLES: &str = "\
The commands read /dev/null.

Examples:
  offshoot run -w web1,web2 -- uptime
  offshoot run -w 'deploy@web[1-9]:2222/sudo' -t 5m -- apt-get -y upgrade
  offshoot run -w 'web[1-9]' -bK -- apt-get -y upgrade
  offshoot run -w '^hosts.txt!db1' --via bastion -f 100 -s 'uname -a; id'
  offshoot run -w 'local[1-3]' -e GREETING=hello -s 'echo $GREETING'
  offshoot run -w web1/docker:app -C /srv --json -- ls -l";

const CALL_EXAMPLES: &str = "\
Examples:
  offshoot call -w 'web[1-3]' host_facts
  offshoot call -w bastion/db1 --jsonl -t 5s facts::host_facts
  offshoot functions";

const HOSTS_HELP: &str = "\
Expressions:
  web1,web2               a list
  web[01-40,50] n[1-9/2]  numbers, with steps; rack[1-4]n[1-20] combines them
  a!b  a&b  a^b           in a but not in b, in both, in one only; left to right,
                          each up to the next comma
  ^file  -                from a file, from stdin
  deploy@web1:2222        by ssh; [fe80::1]:22 is an address
  bastion/web1/sudo:root/docker:app
                          hop by hop: METHOD:TARGET/METHOD:TARGET..., where
                          METHOD is one of local fork ssh sudo su doas docker
                          podman buildah kubectl lxc lxd incus jail setns
  local[1-3]              children on this machine
  docker:{registry/app:1} braces keep a name together

Examples:
  offshoot hosts 'web[01-03]!web02'
  offshoot hosts --count 'web[1-99]&^up.txt'
  sort -u hosts.txt | offshoot hosts --fold -";

#[cfg(test)]
mod tests;
