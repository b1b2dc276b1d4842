//! The configuration: a TOML file of the user's, with defaults for options, groups, commands, hosts and methods.
//! What the command line says always comes first.
//!
//! - `place`: which file it is; `reader`: values of it, and errors that name the key and the line
//! - `methods`: ways to a host of the user's own; `loops`: paths of hosts that lead through themselves
//! - `defaults`: which options can have defaults there, and how they get them

mod defaults;
mod loops;
mod methods;
mod place;
mod reader;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

pub(crate) use self::place::{Place, first_word, words_for_config};
use self::reader::{Entry, Reader};
use crate::cli::args::{Cli, ToolCommand};
use crate::cli::hosts::expression::is_bare_host;
use crate::cli::quote;
use crate::connect::HostPath;
use crate::connect::host_path::own_methods::{self, OwnMethod};

/// The tables of the file.
const TABLES: [&str; 4] = ["groups", "commands", "hosts", "methods"];

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Values of options, by the name of the option.
    defaults: BTreeMap<&'static str, Vec<String>>,
    /// Groups of hosts, as expressions.
    pub(crate) groups: BTreeMap<String, String>,
    /// Commands, each a line of shell for the hosts.
    pub(crate) commands: BTreeMap<String, String>,
    /// Paths that have a name.
    pub(crate) hosts: BTreeMap<String, String>,
    /// Ways to a host.
    methods: Vec<OwnMethod>,
}

/// A command line together with the configuration.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) cli: Result<Cli, clap::Error>,
    /// The command line, with a command of the configuration written out.
    pub(crate) argv: Vec<OsString>,
}

/// Reads a command line, and the configuration if the command takes one.
///
/// # Errors
///
/// What is wrong with the configuration.
pub(crate) fn parse(argv: Vec<OsString>) -> Result<Parsed, String> {
    let plain = read(Cli::command(), &argv);
    let place = match &plain {
        Ok(cli) if !cli.command.takes_config() => return Ok(Parsed { cli: plain, argv }),
        Ok(cli) => Place::named_by(cli.config_file.as_deref()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Parsed { cli: plain, argv });
        }
        Err(_) => {
            let words: Vec<String> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            words_for_config(&words)
        }
    };
    let config = Config::read(&place)?;
    if config == Config::default() {
        return Ok(Parsed { cli: plain, argv });
    }
    let argv = config.written_out(argv);
    let cli = read(config.with_defaults(Cli::command()), &argv).map(|cli| Cli { config, ..cli });
    Ok(Parsed { cli, argv })
}

fn read(command: clap::Command, argv: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from(argv)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (ToolCommand::Rsh(args), Some((_, matches))) = (&mut cli.command, matches.subcommand()) {
        args.note_order(matches);
    }
    Ok(cli)
}

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or what is wrong in it and where.
    pub(crate) fn read(place: &Place) -> Result<Self, String> {
        match place.read()? {
            Some((text, path)) => Self::of_text(&text, &path),
            None => Ok(Self::default()),
        }
    }

    fn of_text(text: &str, path: &std::path::Path) -> Result<Self, String> {
        let reader = Reader::new(text, path);
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.error(at, error.message())
        })?;
        let mut config = Self::default();
        let entries = table.get_ref().iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: key.span().start,
            value: value.get_ref(),
        });
        let (methods, others): (Vec<Entry<'_>>, Vec<_>) = entries.partition(|entry| entry.key == "methods");
        // Paths can name them.
        for entry in methods {
            config.methods = methods::read(&reader, &entry)?;
            own_methods::set(config.methods.clone());
        }
        let mut passwords = Vec::new();
        for entry in others {
            match entry.key.as_str() {
                "groups" => config.groups = reader.table(&entry, |entry| reader.group(entry))?,
                "commands" => config.commands = reader.table(&entry, |entry| command(&reader, entry))?,
                "hosts" => {
                    let mut places = BTreeMap::new();
                    config.hosts = reader.table(&entry, |entry| {
                        places.insert(entry.key.clone(), entry.at);
                        host(&reader, entry)
                    })?;
                    if let Some(way) = loops::find(&config.hosts) {
                        let at = places.get(&way[0]).copied().unwrap_or(entry.at);
                        let message = format!("the path of {} leads through itself: {}", way[0], way.join(" > "));
                        return Err(reader.error(at, &message));
                    }
                }
                _ => {
                    let (name, values) = defaults::read(&reader, &entry, &TABLES)?;
                    if let Some(kind) = name.strip_suffix("-file").or_else(|| name.strip_suffix("-command")) {
                        if passwords.contains(&kind) {
                            let why = format!("there are {kind}-file and {kind}-command; keep one of them");
                            return Err(reader.error(entry.at, &why));
                        }
                        passwords.push(kind);
                    }
                    config.defaults.insert(name, values);
                }
            }
        }
        Ok(config)
    }

    /// The inventories of the configuration, as `-I` takes them.
    pub(crate) fn inventories(&self) -> Vec<String> {
        self.defaults.get("inventory").cloned().unwrap_or_default()
    }

    /// Whether this value of an option is its default.
    pub(crate) fn has_default(&self, option: &str, value: &std::ffi::OsStr) -> bool {
        self.defaults.get(option).is_some_and(|values| values.iter().any(|default| value == default.as_str()))
    }

    /// A command line whose first word is a command of the configuration, with that command in its place. Words behind
    /// `--` are its arguments.
    fn written_out(&self, mut argv: Vec<OsString>) -> Vec<OsString> {
        let words: Vec<String> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        if let Some(at) = first_word(&words)
            && let Some(line) = self.commands.get(&words[at])
        {
            let mut line = OsString::from(line);
            // What follows `--` is $1 and so on in the line.
            if let Some(dashes) = words.iter().position(|word| word == "--") {
                let mut given = argv.split_off(dashes + 1).split_off(1);
                given.splice(0..0, ["set".into(), "--".into()]);
                line = OsString::from_vec([quote::line(&given).into_bytes(), b"; ".to_vec(), line.into_vec()].concat());
            }
            argv.splice(at + 1..at + 2, ["run".into(), "-s".into(), line]);
        }
        argv
    }
}

/// A command: a line of shell. The name is that of no command of the tool.
fn command(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<String, String> {
    let tool = Cli::command();
    if tool.find_subcommand(&entry.key).is_some() {
        let message = format!("`{}` is a command of offshoot; take another name for your own", entry.key);
        return Err(reader.error(entry.at, &message));
    }
    if entry.key.starts_with('-') || entry.key.contains(char::is_whitespace) || entry.key.is_empty() {
        return Err(reader.error(entry.at, &format!("{:?} cannot be the name of a command", entry.key)));
    }
    reader.text(entry, "a line of shell, as \"uptime -p\"")
}

/// A host: the path to it.
fn host(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<String, String> {
    if !is_bare_host(&entry.key) {
        let why = if entry.key.starts_with("local") {
            "it is a child of this machine; take another name"
        } else {
            "write letters, digits, `-`, `_` and `.`"
        };
        let message = format!("{:?} cannot be the name of a host: {why}", entry.key);
        return Err(reader.error(entry.at, &message));
    }
    let path = reader.text(entry, "the path to the host, as \"bastion/db1/sudo:postgres\"")?;
    match path.parse::<HostPath>() {
        Ok(_) => Ok(path),
        Err(error) => Err(reader.error(entry.at, &format!("the path of {}: {error}", entry.key))),
    }
}

/// The type of a value, for errors.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
