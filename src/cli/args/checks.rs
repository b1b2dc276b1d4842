//! Command lines that are well formed, and are most likely not what was meant.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::cli::args::{Cli, ReachArgs, ToolCommand};
use crate::cli::hosts::path::Method;
use crate::cli::inventory::format::Format;
use crate::cli::output::visible::word as visible;
use crate::cli::quote;

/// Most words that are looked for as files.
const MAX_SUSPECTED: usize = 100;
/// Enough of a file to see whether it is a key, in bytes.
const KEY_HEAD: u64 = 4096;

/// Whether this is `-b`, alone or among other flags, or `--become`.
fn is_become(word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    let flags = text.strip_prefix('-').is_some_and(|flags| {
        flags.contains('b') && flags.chars().all(|flag| matches!(flag, 'b' | 'K' | 'S' | 'v' | 'n'))
    });
    flags || text == "--become"
}

/// Which names of users are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    All,
    /// Those of this machine.
    Known,
}

/// What stands right behind `-b` in the same word, if that is not flags: a user who was meant, as in `-bnobody`,
/// which would be read as `-b -n -o body`.
fn behind_become(word: &OsStr, users: Users) -> Option<&str> {
    let flags = word.to_str()?.strip_prefix('-')?;
    let is_flag = |flag: char| matches!(flag, 'b' | 'K' | 'S' | 'v' | 'n');
    let (before, behind) = flags.split_once('b')?;
    if before.chars().all(is_flag) && matches!(nix::unistd::User::from_name(behind), Ok(Some(_))) {
        return Some(behind);
    }
    if users == Users::Known {
        return None;
    }
    let at = behind.find(|c| !is_flag(c)).filter(|_| before.chars().all(is_flag))?;
    let (name, value) = (&behind[at..], behind[at..].get(1..).unwrap_or_default());
    // An option whose value is the next word may end it, and `=` begins the user.
    (!name.starts_with('=') && !value.is_empty()).then_some(behind)
}

/// Whether a word behind `-b` is the name of a user, and no program here has it, as `git` may.
fn is_user(word: &str) -> bool {
    let is_program = |place: &Path| place.join(word).is_file();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_known = || matches!(nix::unistd::User::from_name(word), Ok(Some(_)));
    !word.contains('/')
        && (word == "root" || is_known())
        && !std::env::split_paths(&paths).any(|place| is_program(&place))
}

/// Refuses `-bUSER`, before what clap makes of it. The command begins where clap says so, or else is not known.
pub(super) fn check_become(argv: &[OsString], parsed: Option<&Cli>, users: Users) -> Result<(), String> {
    let command = match parsed.map(|cli| &cli.command) {
        Some(ToolCommand::Run(args)) => args.argv.len(),
        Some(ToolCommand::Script(args)) => args.argv.len(),
        _ => 0,
    };
    let options = argv.get(1..argv.len().saturating_sub(command)).unwrap_or_default();
    let found = options.iter().take_while(|word| *word != "--").find_map(|word| behind_become(word, users));
    match found.map(visible) {
        Some(user) => Err(format!("`{user}` follows -b without a `=`; to become that user, write -b={user}")),
        None => Ok(()),
    }
}

/// Whether this is the name of a child of this machine, as `local1`.
fn is_child(word: &str) -> bool {
    word.strip_prefix("local").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a word has a meaning for a shell alone: an operator, a variable, or a pattern of paths.
fn is_for_a_shell(word: &str) -> bool {
    let is_variable = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    ["|", "||", "&&", ";", ">", ">>", "<", "2>&1", "&"].contains(&word)
        || word.strip_prefix('$').is_some_and(is_variable)
        || (word.starts_with('/') && word.contains('*') && !word.contains(char::is_whitespace))
}

/// Whether this is a hop to another user, as `sudo` or `su:amy`.
fn is_become_hop(word: &str) -> bool {
    Method::BECOMING.iter().any(|method| word.split(':').next() == Some(method.as_str()))
}

/// Whether there is no such file. ssh itself evaluates some signs, so such a name is not looked at.
fn is_missing(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.starts_with('~') && !text.contains(['%', '$']) && !path.exists() && !text.ends_with(".pub")
}

/// Whether it is a file that can be read, is not empty, and is no key of ssh.
fn is_no_key(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    if !path.is_file() || std::fs::File::open(path).and_then(|file| file.take(KEY_HEAD).read_to_end(&mut head)).is_err()
    {
        return false;
    }
    let text = String::from_utf8_lossy(&head);
    !head.is_empty() && !text.contains("KEY") && !text.contains("ssh-") && !text.contains("ecdsa-")
}

/// The end of the name of a script, if it is that of another language than sh and the script names no interpreter.
fn without_interpreter(file: &Path) -> Option<&'static str> {
    use std::io::Read;
    const ENDS: [&str; 6] = [".py", ".pl", ".rb", ".js", ".lua", ".tcl"];
    let end = ENDS.into_iter().find(|end| file.as_os_str().as_encoded_bytes().ends_with(end.as_bytes()))?;
    let mut head = [0; 2];
    std::fs::File::open(file).ok()?.read_exact(&mut head).ok()?;
    (head != *b"#!").then_some(end)
}

impl Cli {
    /// Refuses words before a `--`, which would silently begin the command:
    /// hosts that a shell has made of braces, and the user behind `-b`.
    pub(super) fn check_words(&self, argv: &[OsString]) -> Result<(), String> {
        let ToolCommand::Run(args) = &self.command else { return Ok(()) };
        let before = argv.len().checked_sub(args.argv.len() + 1).and_then(|nth| argv.get(nth));
        if before.is_none_or(|word| word == "--") {
            return Ok(());
        }
        let first = args.argv.first().map(|word| word.to_string_lossy()).unwrap_or_default();
        let shown = visible(&first);
        let Some(dashes) = args.argv.iter().position(|word| word == "--") else {
            return match before.is_some_and(|word| is_become(word)) && args.argv.len() > 1 && is_user(&first) {
                true => Err(format!(
                    "`{shown}` would be the command; to become that user, write -b={shown}; to run a program of that \
                     name, put `--` before it"
                )),
                false => Ok(()),
            };
        };
        if before.is_some_and(|word| is_become(word)) {
            return Err(format!("`{shown}` comes before `--`; to become that user, write -b={shown}"));
        }
        let words = quote::line(&args.argv[..dashes]);
        let Some(hosts) = args.reach.hosts.last() else {
            return Err(format!(
                "`{}` comes before `--`; if these are hosts, write -w before them; if the command begins here, leave out the \
                 `--` behind it, or put another one before it",
                visible(&words)
            ));
        };
        Err(format!(
            "`{}` comes before `--`; if these are hosts, put commas between them, as in -w {},{}, or quote \
             the expression, as in -w 'web[1-3]'; if the command begins here, put another `--` before it",
            visible(&words),
            visible(hosts.trim_end_matches(',')),
            visible(&words.replace(' ', ",")),
        ))
    }

    /// Refuses `-a` beside expressions. Users of ansible mean the command by `-a`.
    pub(super) fn check_all(&self) -> Result<(), String> {
        let is_told = |reach: &&ReachArgs| reach.choosing.all && self.command.works_on_hosts();
        match self.command.reach().filter(is_told).and_then(|reach| reach.hosts.first()) {
            Some(hosts) => Err(format!(
                "-a is all hosts of the inventories, so it cannot stand beside -w {}; leave out one of them; the command \
                 stands behind `--`, and a line of shell behind -s",
                visible(hosts)
            )),
            None => Ok(()),
        }
    }

    /// Refuses `--keep` where nothing is left that could be kept.
    pub(super) fn check_keep(&self) -> Result<(), String> {
        let (name, why) = match &self.command {
            ToolCommand::Tree(_) => ("tree", "ends what it has connected"),
            ToolCommand::Cache(_) => ("cache", "ends what it has connected"),
            ToolCommand::Plan(_) => ("plan", "connects to nothing"),
            _ => return Ok(()),
        };
        match self.command.reach().and_then(|reach| reach.keep) {
            Some(_) => Err(format!(
                "`offshoot {name}` {why}, so --keep does not apply to it; `offshoot run --keep TIME` keeps connections, \
                 and `offshoot kept` lists what is kept"
            )),
            None => Ok(()),
        }
    }

    /// What is allowed but most likely not what was meant.
    pub(super) fn suspicions(&self) -> Vec<String> {
        let (hosts, identities): (&[String], &[PathBuf]) = match (&self.command, self.command.reach()) {
            (_, Some(reach)) => (&reach.hosts, &reach.ssh.identity),
            (ToolCommand::Shell(args), _) => (std::slice::from_ref(&args.host), &args.way.ssh.identity),
            (ToolCommand::Forward(args), _) => (std::slice::from_ref(&args.host), &args.way.ssh.identity),
            (ToolCommand::Doctor(args), _) => (std::slice::from_ref(&args.host), &args.ssh.identity),
            (ToolCommand::Hosts(args), _) => (&args.expressions, &[]),
            _ => (&[], &[]),
        };
        let mut notes = Vec::new();
        let mut before = None;
        for word in hosts.iter().flat_map(|hosts| hosts.split(',')).take(MAX_SUSPECTED) {
            if let Some(before) = before.replace(word).filter(|_| is_become_hop(word)) {
                let (before, word) = (visible(before), visible(word));
                notes.push(format!(
                    "behind the comma, {word} is another user of this machine; for that user of {before}, write {before}/{word}"
                ));
            }
            if let Some((user, child)) =
                word.split_once('@').filter(|(user, child)| !user.is_empty() && is_child(child))
            {
                let (user, child) = (visible(user), visible(child));
                notes.push(format!(
                    "{user}@{child} is the user {user} on a host of ssh that is called {child}; for this user on this \
                     machine, write {child}/sudo:{user}"
                ));
            }
            // The names of groups seldom look like those of files.
            let marked = word.strip_prefix(['@', '<']).filter(|name| name.contains(['.', '/']));
            if let Some(name) = marked.filter(|name| Path::new(name).is_file()) {
                let name = visible(name);
                notes.push(format!("{name} is a file; to name the hosts in it, write '^{name}'"));
            } else if Path::new(word).is_file() {
                let word = visible(word);
                notes.push(format!(
                    "{word} is read as a host, but a file has this name; to name the hosts in the file, write '^{word}'"
                ));
            }
        }
        let connects = !matches!(self.command, ToolCommand::Plan(_));
        for file in identities.iter().filter(|file| connects && is_missing(file)) {
            let file = visible(&file.to_string_lossy());
            notes.push(format!(
                "-i names a file with a private key, and there is no file {file} here; ssh goes on without it"
            ));
        }
        for file in identities.iter().filter(|file| is_no_key(file)) {
            let is_list = matches!(Format::of_head(file), None | Some(Format::Plain));
            let file = visible(&file.to_string_lossy());
            let write = if is_list { format!("-w '^{file}'") } else { format!("-I {file}, and -w '@GROUP'") };
            notes.push(format!(
                "-i names a file with a private key, and {file} contains none; to name the hosts in it, write {write}"
            ));
        }
        self.suspect_command(&mut notes);
        notes
    }

    /// What is most likely not meant of the command for the hosts.
    fn suspect_command(&self, notes: &mut Vec<String>) {
        if let ToolCommand::Run(args) = &self.command
            && let Some(first) = args.argv.first()
            && first.as_encoded_bytes().starts_with(b"./")
            && Path::new(first).is_file()
        {
            let first = visible(&quote::quote(first));
            notes.push(format!(
                "{first} is looked for on each host; to run the file of this machine there, write offshoot script -w HOSTS \
                 {first}"
            ));
        }
        if let ToolCommand::Script(args) = &self.command
            && let Some(file) = args.argv.first()
            && let Some(end) = without_interpreter(Path::new(file))
        {
            let file = visible(&file.to_string_lossy());
            notes.push(format!(
                "{file} ends in {end} and does not begin with `#!`, so sh runs it; name its interpreter in the first line, as \
                 `#!/usr/bin/env python3`"
            ));
        }
        if let ToolCommand::Run(args) = &self.command
            && args.argv.len() > 1
            && let Some(word) = args.argv.iter().filter_map(|word| word.to_str()).find(|word| is_for_a_shell(word))
        {
            notes.push(format!(
                "no shell reads the command, so {} is an argument as it is; for a line of shell, write -s '{}'",
                visible(&quote::quote(word.as_ref())),
                visible(&args.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")),
            ));
        }
        if let ToolCommand::Run(args) = &self.command
            && let [word] = args.argv.as_slice()
            && let Some(text) = word.to_str()
            && text.contains(|c: char| c.is_whitespace() || ";|&<>$`*()".contains(c))
        {
            notes.push(format!(
                "the command is the one word {}, which is run as a program of that name; to run a line of shell, write -s {}",
                visible(&quote::quote(word)),
                visible(&quote::quote(word)),
            ));
        }
    }
}
