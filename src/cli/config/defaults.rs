//! Options that can have defaults in the configuration. A key there has the name of the option.

use clap::Command;
use toml::de::DeValue;

use super::Config;
use super::reader::{Entry, Reader};
use crate::cli::duration;
use crate::cli::inventory::format::Format;
use crate::cli::question::AskAbove;

/// What the value of a key can be.
#[derive(Clone, Copy)]
enum Kind {
    /// A number from the first to the second.
    Number(i64, i64),
    /// A number of hosts, or `"never"`.
    NumberOrNever,
    Time,
    Whether,
    OneOf(&'static [&'static str]),
    Text(&'static str),
    /// A text, or a list of them.
    Texts(&'static str),
    File,
    /// A file, or a list of them.
    Files,
    /// `PATH` or `FORMAT:PATH`, or a list of them.
    Inventories,
}

/// The keys, each with what it can be.
const KEYS: [(&str, Kind); 25] = [
    ("ask-above", Kind::NumberOrNever),
    ("batch", Kind::Text("sizes, as \"1,10%\"")),
    ("become-method", Kind::OneOf(&["sudo", "su", "doas"])),
    ("become-pass-command", Kind::Text("a command that prints the password, as \"pass show hosts\"")),
    ("become-pass-file", Kind::File),
    ("cache", Kind::Whether),
    ("color", Kind::OneOf(&["auto", "always", "never"])),
    ("connect-timeout", Kind::Time),
    ("deadline", Kind::Time),
    ("fanout", Kind::Number(1, 10_000)),
    ("fold", Kind::OneOf(&["auto", "always", "never"])),
    ("identity", Kind::Files),
    ("inventory", Kind::Inventories),
    ("jump", Kind::Text("hosts of ssh, as \"bastion\"")),
    ("login", Kind::Text("the name of a user")),
    ("max-fail", Kind::Text("a number or a share, as \"3\" or \"10%\"")),
    ("pass-command", Kind::Text("a command that prints the password, as \"pass show hosts\"")),
    ("pass-file", Kind::File),
    ("port", Kind::Number(1, 65_535)),
    ("retries", Kind::Number(0, 100)),
    ("retry-on", Kind::OneOf(&["connect", "all"])),
    ("ssh-config", Kind::File),
    ("ssh-option", Kind::Texts("an option of ssh, as \"Compression=yes\", or a list of them")),
    ("timeout", Kind::Time),
    ("via", Kind::Text("a path, as \"bastion\"")),
];

/// The names of the options.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(name, _)| *name)
}

/// Reads a default. `tables` are the other keys of the file.
pub(super) fn read(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    tables: &[&'static str],
) -> Result<(&'static str, Vec<String>), String> {
    let Some((name, kind)) = KEYS.iter().find(|(name, _)| *name == entry.key) else {
        let known: Vec<&str> = KEYS.iter().map(|(name, _)| *name).chain(tables.iter().copied()).collect();
        return Err(reader.unknown(entry, &known));
    };
    Ok((name, kind.read(reader, entry)?))
}

impl Kind {
    fn read(self, reader: &Reader<'_>, entry: &Entry<'_>) -> Result<Vec<String>, String> {
        let wrong = |why: &str| reader.error(entry.at, &format!("`{}`: {why}", entry.key));
        let one = match self {
            Self::Number(least, most) => {
                let accepted = format!("a number from {least} to {most}");
                let DeValue::Integer(number) = entry.value else { return Err(reader.wrong_type(entry, &accepted)) };
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) if (least..=most).contains(&number) => number.to_string(),
                    _ => return Err(wrong(&format!("{number} is not {accepted}"))),
                }
            }
            Self::NumberOrNever => {
                let accepted = "a number of hosts, as 50, or \"never\"";
                let text = match entry.value {
                    DeValue::Integer(number) => number.to_string(),
                    _ => reader.text(entry, accepted)?,
                };
                AskAbove::parse(&text).map_err(|_| wrong(&format!("{text} is not {accepted}")))?;
                text
            }
            Self::Time => {
                let text = match entry.value {
                    DeValue::Integer(seconds) => seconds.to_string(),
                    _ => reader.text(entry, "a time, as 30 (seconds) or \"5m\"")?,
                };
                duration::parse(&text).map_err(|why| wrong(&why))?;
                text
            }
            Self::Whether => match entry.value {
                DeValue::Boolean(whether) => whether.to_string(),
                _ => return Err(reader.wrong_type(entry, "true or false")),
            },
            Self::OneOf(all) => {
                let accepted = all.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
                let text = reader.text(entry, &accepted)?;
                if !all.contains(&text.as_str()) {
                    return Err(wrong(&format!("{text:?} is not one of them; write {accepted}")));
                }
                text
            }
            Self::Text(accepted) => reader.text(entry, accepted)?,
            Self::Texts(accepted) => return reader.texts(entry, accepted),
            Self::File => reader.beside_file(&reader.text(entry, "the path of a file")?),
            Self::Files => {
                let files = reader.texts(entry, "the path of a file, or a list of them")?;
                return Ok(files.iter().map(|file| reader.beside_file(file)).collect());
            }
            Self::Inventories => {
                let files = reader.texts(entry, "the path of an inventory, or a list of them")?;
                return Ok(files.iter().map(|file| inventory(reader, file)).collect());
            }
        };
        Ok(vec![one])
    }
}

fn inventory(reader: &Reader<'_>, text: &str) -> String {
    match text.split_once(':') {
        Some((format, path)) if Format::by_name(format).is_some() => format!("{format}:{}", reader.beside_file(path)),
        _ => reader.beside_file(text),
    }
}

impl Config {
    /// The tool with these defaults. A value on the command line comes first, and takes the place of a list.
    pub(super) fn with_defaults(&self, tool: Command) -> Command {
        let mut tool = tool;
        for (name, values) in &self.defaults {
            let id = name.replace('-', "_");
            // clap keeps no values of its own. These are few, and read once.
            let values: Vec<&'static str> = values.iter().map(|value| &*value.clone().leak()).collect();
            let has = |command: &Command| {
                // doctor waits less, as somebody waits for it.
                let waits_less = command.get_name() == "doctor" && id == "connect_timeout";
                !waits_less && command.get_arguments().any(|arg| arg.get_id() == id.as_str())
            };
            if has(&tool) {
                tool = tool.mut_arg(&id, |arg| arg.default_values(values.iter().copied()));
            }
            let commands: Vec<String> = tool
                .get_subcommands()
                .filter(|command| has(command))
                .map(|command| command.get_name().to_owned())
                .collect();
            for command in commands {
                tool = tool.mut_subcommand(command, |command| {
                    command.mut_arg(&id, |arg| arg.default_values(values.iter().copied()))
                });
            }
        }
        tool
    }
}
