//! What people type who come from ansible, pdsh, clush or pssh: what it means
//! there, and how it is written here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use crate::cli::args::{Cli, ToolCommand};
use crate::cli::config::first_word;
use crate::cli::output::visible::word as visible;
use crate::cli::quote;

/// Options of other tools, with what they are there and how that is written here.
const OPTIONS: &[(&[&str], &str, &str)] = &[
    (&["-H", "--host"], "names a host for pssh", "write -w HOST"),
    (
        &["--hostfile", "--inventory-file"],
        "names a file of hosts",
        "write -w '^FILE' for the hosts in it, or -I FILE -w '@GROUP' for some of an inventory",
    ),
    (&["--limit"], "takes some of the hosts for ansible", "write -w '@web&@eu', or name only those"),
    (
        &["-m", "--module-name"],
        "names a module for ansible",
        "there are no modules; write -- CMD ARG..., or -s LINE for a line of shell",
    ),
    (
        &["--args"],
        "has the arguments of a module for ansible",
        "write -- CMD ARG..., or -s LINE for a line of shell; name the hosts with -w",
    ),
    (
        &["-u"],
        "is the user to log in as for ansible, and a time limit for pdsh and clush",
        "write -l USER, or -w USER@HOST; write -t TIME for a limit",
    ),
    (&["--user", "--remote-user"], "is the user to log in as", "write -l USER, or -w USER@HOST"),
    (
        &["-g", "--group", "-G", "-X"],
        "names a group of hosts for pdsh and clush",
        "write -w '@GROUP', or -x '@GROUP' to leave it out",
    ),
    (&["-A", "--askpass", "-k"], "asks for a password of ssh", "write --ask-pass"),
    (&["--become-user"], "is the user to become for ansible", "write --become=USER, or -b for root"),
    (&["--private-key"], "names a key of ssh", "write -i FILE"),
    (&["--forks", "--par", "--parallel"], "is how many hosts at once", "write -f N"),
    (&["--serial"], "divides hosts into batches for ansible", "write --batch 1,10%,rest"),
    (&["--sudo"], "runs the command as root for bssh", "write -b, and -K to be asked for the password"),
    (&["-O", "--option", "--ssh-common-args", "--ssh-extra-args"], "passes an option to ssh", "write -o OPT"),
    (&["-c", "--copy", "--rcopy", "--dest"], "copies files for clush", "to copy, write offshoot push or offshoot pull"),
    (&["--connection"], "is how ansible reaches a host", "a path says so: web1, web1/docker:app, local1"),
    (&["-L"], "shows the lines of all hosts in the order of the hosts for clush", "-B shows output at the end"),
    (
        &["-R"],
        "chooses how pdsh reaches a host, and forwards a port of the host for ssh",
        "a path says how: web1, web1/docker:app, local1; offshoot forward listens on this machine only, with -L",
    ),
    (&["-D"], "is a SOCKS proxy for ssh", "write offshoot forward HOST -L PORT:HOST:PORT for each port"),
    (
        &["--extra-vars"],
        "sets variables for ansible",
        "write -e NAME=VALUE, which sets one in the environment of the command",
    ),
    (&["--stdin"], "is about the input of the command", "stdin goes to all commands; -n keeps it from them"),
    (&["-N"], "leaves out the names of hosts for pdsh", "write --json, and take `stdout` of each host"),
    (&["-P", "--print"], "shows output as it comes for pssh", "that is the default; -B shows it at the end"),
    (
        &["-T", "--connect-timeout-secs"],
        "is how long a connect may take for pdsh and bssh",
        "write --connect-timeout TIME",
    ),
    (&["--one-line", "-1"], "prints one line for each host for ansible", "write -B, or --jsonl for programs"),
    (&["--format", "--output"], "chooses a form of output", "write --json, --jsonl, -B or --outdir DIR"),
    (&["--check"], "shows what ansible would change", "there are no modules that could tell"),
];

/// Commands of other tools, with what is written here.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["exec", "ssh", "cmd", "command", "sh", "cmd.run", "clush", "pdsh", "pssh"],
        "to run a command on hosts write offshoot run -w HOSTS -- CMD ARG..., or offshoot run -w HOSTS -s LINE for a line of \
         shell; for a shell to type in write offshoot shell HOST",
    ),
    (
        &["cp", "copy", "scp", "rsync", "sync", "put", "get", "fetch", "pscp", "pdcp", "rpdcp"],
        "to copy files write offshoot push -w HOSTS SRC DST, or offshoot pull -w HOSTS SRC DIR; scp and rsync themselves reach \
         hosts by offshoot with PATH -- rsync ARG...",
    ),
    (
        &["ping"],
        "to see whether hosts can be reached write offshoot run -w HOSTS -- true; offshoot doctor HOST tells why one cannot",
    ),
    (
        &["all"],
        "ansible's `all -m shell -a LINE` is offshoot run -w HOSTS -s LINE, and `all -a CMD` is offshoot run -w HOSTS -- CMD; \
         name the hosts by -w, as in -w '@GROUP', or take all of the inventory by -a",
    ),
    (&["setup", "facts"], "for facts about hosts write offshoot call -w HOSTS host_facts"),
    (
        &["nodeset", "list", "ls", "inventory", "expand", "fold", "nodes"],
        "to see which hosts an expression stands for write offshoot hosts EXPR, with --fold or --count",
    ),
    (&["playbook", "play", "apply"], "there are no playbooks and no modules; offshoot runs commands and functions"),
    (&["completion", "complete"], "for completions in a shell write offshoot completions bash, zsh or fish"),
    (&["config", "configure", "settings"], "the configuration is a file; offshoot help config tells about it"),
    (&["version"], "for the version write offshoot --version"),
    (&["check", "test", "diagnose"], "to try the way to a host write offshoot doctor HOST"),
];

/// What to say of a command line that lacks `run` and would be right with it.
pub(super) fn without_command(error: &clap::Error, argv: &[OsString]) -> Option<String> {
    // Behind a command, the options are those of the command.
    let is_first = error.kind() == ErrorKind::UnknownArgument && !is_of_command(argv);
    let (name, words) = argv.split_first().filter(|_| is_first)?;
    let line = [name.clone(), "run".into()].into_iter().chain(words.iter().cloned());
    let ToolCommand::Run(args) = Cli::try_parse_from(line).ok()?.command else { return None };
    let (options, mut command) = words.split_at(words.len().checked_sub(args.argv.len())?);
    let options = options.strip_suffix(&[OsString::from("--")]).unwrap_or(options);
    // The command may stand behind its options.
    command = command.strip_prefix(&[OsString::from("run")]).unwrap_or(command);
    command = command.strip_prefix(&[OsString::from("--")]).unwrap_or(command);
    let (options, dashes) = (quote::line(options), if command.is_empty() { "" } else { " -- " });
    let line = format!("offshoot run {options}{dashes}{}", quote::line(command));
    Some(format!("offshoot takes a command first; to run one on hosts write {}", visible(&line)))
}

/// Whether the first word that is not an option names a command. No option before a command takes a value in a word
/// of its own, but `--color` and `--config`.
fn is_of_command(argv: &[OsString]) -> bool {
    let tool = Cli::command();
    let mut words = argv.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match &*word {
            "--color" | "--config" => drop(words.next()),
            word if word.starts_with('-') && !is_of_run(&tool, word) => {}
            word => return tool.find_subcommand(word).is_some(),
        }
    }
    false
}

/// Whether it is an option that `run` has, and the tool itself has not.
fn is_of_run(tool: &clap::Command, word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    let is_it = |arg: &clap::Arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short() == name.chars().nth(1),
    };
    let of = |command: &clap::Command| command.get_arguments().any(is_it);
    tool.find_subcommand("run").is_some_and(of) && !of(tool)
}

/// What to say of a command line that is wrong, if that is more than clap knows.
pub(super) fn instead_of(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word)), _) => {
            let name = word.split('=').next().unwrap_or(word);
            let (_, there, here) = OPTIONS.iter().find(|(names, ..)| names.contains(&name))?;
            Some(format!("offshoot has no option {}, which {there}; {here}", visible(name)))
        }
        (ErrorKind::InvalidSubcommand, _, Some(ContextValue::String(word))) => Some(subcommand(word)),
        _ => None,
    }
}

fn subcommand(word: &str) -> String {
    let shown = visible(word);
    match COMMANDS.iter().find(|(names, _)| names.contains(&word)) {
        Some((_, tip)) => format!("offshoot has no command {shown}; {tip}"),
        None => format!(
            "offshoot has no command {shown}; offshoot --help lists them, and [commands] of the configuration adds some; \
             to run a command on hosts write offshoot run -w HOSTS -- CMD ARG..."
        ),
    }
}

/// What to say of a word that the command of the tool does not take, and that another one would.
pub(super) fn of_command(error: &clap::Error, argv: &[OsString]) -> Option<String> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let (command, _) = subcommand_of(argv)?;
    let is_hosts = word == "-w" || word.split('=').next() == Some("--hosts");
    match command.get_name() {
        "plan" if !word.starts_with('-') => Some(not_for_plan(word, argv)),
        "tree" if !word.starts_with('-') && !names_hosts(argv) => {
            Some(format!("-w names the hosts: offshoot tree -w {}", visible(word)))
        }
        name @ ("push" | "pull") if ["-r", "-R", "--recursive"].contains(&word.as_str()) => {
            Some(format!("offshoot {name} copies directories with all that is in them; leave out {word}"))
        }
        name @ ("push" | "pull") if word.split('=').next() == Some("--dest") => {
            Some(format!("the last path of offshoot {name} is the destination; leave out --dest"))
        }
        name @ ("push" | "pull") if word == "-a" || word == "--archive" => {
            Some(format!("offshoot {name} always keeps modes and times; {word} is of rsync, and all hosts are --all"))
        }
        "kept" if word == "--end" => {
            Some("to end connections, write offshoot kept end, or offshoot kept end PATH".into())
        }
        "shell" if !word.starts_with('-') => {
            Some(format!("offshoot shell takes a command behind `--`: offshoot shell HOST -- {}", visible(word)))
        }
        "hosts" if is_hosts => {
            Some("offshoot hosts takes the expression without -w; write offshoot hosts 'EXPR'".into())
        }
        name @ ("doctor" | "shell" | "forward") if is_hosts => {
            Some(format!("offshoot {name} takes one host, and without -w; write offshoot {name} HOST"))
        }
        _ => None,
    }
}

fn names_hosts(argv: &[OsString]) -> bool {
    argv.iter().any(|word| is_hosts(&word.to_string_lossy()))
}

/// Whether a word is the option that names hosts.
fn is_hosts(word: &str) -> bool {
    word.starts_with("-w") || word.starts_with("--hosts")
}

fn not_for_plan(word: &str, argv: &[OsString]) -> String {
    let shown = visible(word);
    let place = argv.iter().position(|other| other == word);
    if let Some(before) = place
        .and_then(|place| argv[..place].last())
        .filter(|before| before.as_bytes() == b"-b" || *before == "--become")
    {
        return format!("to become that user, write {}={shown}", before.display());
    }
    match names_hosts(argv) {
        true => format!(
            "offshoot plan shows how hosts are reached and takes no command, so leave out `{shown}`; offshoot run --dry-run \
             prints what would be run"
        ),
        false => format!("-w names the hosts: offshoot plan -w {shown}"),
    }
}

/// The command of the tool in a command line, and where the words behind it begin.
fn subcommand_of(argv: &[OsString]) -> Option<(clap::Command, usize)> {
    let words: Vec<String> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let at = first_word(&words)?;
    let tool = Cli::command();
    Some((tool.find_subcommand(&words[at])?.clone(), at + 2))
}

/// What to say of a command line without hosts in which a word has begun the command before `-w`.
fn begun_early(argv: &[OsString]) -> Option<String> {
    let (command, begin) = subcommand_of(argv)?;
    let words: Vec<_> = argv.iter().skip(begin).map(|word| word.to_string_lossy()).collect();
    let takes_word = |word: &str| {
        let is_it = |arg: &&clap::Arg| match word.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => word.len() == 2 && arg.get_short() == word.chars().nth(1),
        };
        let arg = Cli::command().get_arguments().chain(command.get_arguments()).find(is_it).cloned();
        arg.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    };
    let mut at = 0;
    while words.get(at)?.starts_with('-') && words[at] != "--" {
        at += 1 + usize::from(takes_word(&words[at]));
    }
    let first = words.get(at).filter(|word| *word != "--")?;
    let rest = words.get(at + 1..).unwrap_or_default();
    rest.iter().take_while(|word| *word != "--").find(|word| is_hosts(word))?;
    let first = visible(first);
    Some(match at.checked_sub(1).map(|before| &*words[before]) {
        Some(before @ ("-b" | "--become")) => format!(
            "`{first}` begins the command, so that the -w behind it belongs to the command; to become that user, write \
             {before}={first}"
        ),
        _ => {
            format!("`{first}` begins the command, so that the -w behind it belongs to the command; write -w before it")
        }
    })
}

/// What to say below clap's own words.
pub(super) fn beside(error: &clap::Error, argv: &[OsString]) -> Option<String> {
    let lacks_hosts = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|name| name.starts_with("--hosts")),
        _ => false,
    };
    let is_line =
        matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(name)) if name.starts_with("--shell"));
    let is_become =
        matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(name)) if name.starts_with("--become["));
    match error.kind() {
        ErrorKind::MissingRequiredArgument if lacks_hosts => Some(begun_early(argv).unwrap_or_else(|| {
            "-w names the hosts, as in -w 'web[1-3]'; the first word that is not an option begins the command".into()
        })),
        ErrorKind::ArgumentConflict if is_line => Some("a line of shell is one word, so quote it: -s 'echo hi'".into()),
        ErrorKind::ArgumentConflict if is_become => Some(
            "-b is short for --become, so one of them is enough: write --become=USER, or -b=USER, or -b for root"
                .into(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> String {
        let argv: Vec<OsString> = ["offshoot"].iter().chain(words).map(OsString::from).collect();
        let error = Cli::try_parse_from(&argv).unwrap_err();
        let told = of_command(&error, &argv).or_else(|| instead_of(&error));
        told.or_else(|| beside(&error, &argv)).unwrap_or_default()
    }

    #[test]
    fn what_other_tools_take_is_told_in_our_words() {
        for (words, there, here) in [
            (&["run", "-H", "web1", "uptime"][..], "pssh", "-w HOST"),
            (&["run", "-w", "a", "--limit", "b", "uptime"], "ansible", "-w '@web&@eu'"),
            (&["run", "-w", "a", "--limit=b", "uptime"], "ansible", "-w '@web&@eu'"),
            (&["run", "-w", "a", "-m", "shell", "-a", "uptime"], "ansible", "-s LINE"),
            (&["run", "-u", "root", "-w", "a", "uptime"], "ansible", "-l USER"),
            (&["run", "-g", "web", "uptime"], "clush", "-w '@GROUP'"),
            (&["run", "-w", "a", "--serial", "2", "uptime"], "ansible", "--batch 1,10%,rest"),
            (&["run", "-w", "a", "--parallel", "2", "uptime"], "at once", "-f N"),
            (&["run", "-w", "a", "--one-line", "uptime"], "ansible", "write -B"),
            (&["run", "-w", "a", "--format", "json", "uptime"], "form of output", "--jsonl"),
            (&["shell", "a", "id"], "behind `--`", "offshoot shell HOST -- id"),
            (&["run", "-w", "a", "--sudo", "uptime"], "bssh", "write -b"),
            (&["exec", "web1", "uptime"], "exec", "offshoot run -w HOSTS -- CMD"),
            (&["cp", "a", "web1:"], "cp", "scp"),
            (&["ping", "web1"], "ping", "offshoot doctor HOST"),
            (&["all", "-m", "shell", "-a", "uptime"], "ansible", "offshoot run -w HOSTS -s LINE"),
            (&["all", "-m", "ping"], "ansible", "'@GROUP'"),
            (&["completion"], "completion", "offshoot completions bash"),
            (&["nonsense"], "nonsense", "offshoot --help lists them"),
            (&["run", "web1", "uptime"], "", "-w 'web[1-3]'"),
            (&["run", "-w", "a", "-b", "--become=joe", "id"], "one of them is enough", "--become=USER"),
            (&["run", "-w", "a", "-b", "-b", "id"], "one of them is enough", "-b for root"),
            (&["run", "-b", "root", "-w", "a", "id"], "`root` begins the command", "write -b=root"),
            (&["-v", "run", "-t", "5", "uptime", "-w", "a"], "`uptime` begins the command", "write -w before it"),
            (&["run", "-f", "5", "--", "uptime", "-w", "a"], "", "-w 'web[1-3]'"),
            (&["plan", "-w", "a", "uptime", "-p"], "leave out `uptime`", "run --dry-run"),
            (&["plan", "a"], "-w names the hosts", "offshoot plan -w a"),
            (&["plan", "-w", "a", "--become", "joe"], "become that user", "--become=joe"),
            (&["tree", "a"], "-w names the hosts", "offshoot tree -w a"),
            (&["hosts", "-w", "a"], "without -w", "offshoot hosts 'EXPR'"),
            (&["push", "-w", "a", "-r", "b", "c"], "with all that is in them", "leave out -r"),
            (&["push", "-w", "a", "b", "--dest", "c"], "is the destination", "leave out --dest"),
            (&["kept", "--end"], "offshoot kept end", ""),
            (&["doctor", "--hosts=a"], "without -w", "offshoot doctor HOST"),
        ] {
            let said = said(words);
            assert!(said.contains(there) && said.contains(here), "{words:?}: {said}");
        }
    }

    #[test]
    fn a_line_without_a_command_is_written_with_run() {
        let said = |words: &[&str]| {
            let argv: Vec<OsString> = ["offshoot"].iter().chain(words).map(OsString::from).collect();
            without_command(&Cli::try_parse_from(&argv).unwrap_err(), &argv)
        };
        for (words, line) in [
            (&["-w", "web1", "uptime"][..], "write offshoot run -w web1 -- uptime"),
            (&["-w", "web[1-3]", "df", "-P"], "write offshoot run -w 'web[1-3]' -- df -P"),
            (&["-v", "-w", "web1", "--", "uptime"], "write offshoot run -v -w web1 -- uptime"),
            (&["-w", "web1", "run", "uptime"], "write offshoot run -w web1 -- uptime"),
            (&["-w", "web1", "-s", "a | b"], "write offshoot run -w web1 -s 'a | b'"),
            (&["--color", "never", "-w", "hosts", "df"], "write offshoot run --color never -w hosts -- df"),
        ] {
            assert!(said(words).is_some_and(|said| said.ends_with(line)), "{words:?}: {:?}", said(words));
        }
        for words in [&["--nonsense", "-w", "a", "b"][..], &["hosts", "-w", "a"], &["-w", "a"], &["-H", "web1", "df"]] {
            assert_eq!(said(words), None, "{words:?}");
        }
    }

    #[test]
    fn no_tip_is_for_what_there_is() {
        let tool = Cli::command();
        let run = tool.find_subcommand("run").unwrap();
        for name in OPTIONS.iter().flat_map(|(names, ..)| names.iter()) {
            let is_it = |arg: &clap::Arg| match name.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short() == name.chars().nth(1),
            };
            assert!(!run.get_arguments().any(is_it), "{name}");
        }
        for name in COMMANDS.iter().flat_map(|(names, _)| names.iter()) {
            assert!(tool.find_subcommand(name).is_none(), "{name}");
        }
        assert_eq!(said(&["run", "-w", "a", "--jsno", "x"]), "");
    }
}
