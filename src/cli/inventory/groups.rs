//! Groups as ClusterShell has them: `groups.conf`, the files that it names, and sources that are commands.
//!
//! The group `web` of the source `roles` is `@roles:web`. Inside of a source, `@web` is that of the source.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cli::inventory::files::{Budget, MAX_ENTRIES, names};
use crate::cli::inventory::model::Inventory;
use crate::cli::inventory::node::Node;
use crate::cli::inventory::program::{self, Task};
use crate::cli::inventory::{words, yaml};

/// The source of groups of a file that names none.
const UNNAMED: &str = "local";
/// Most groups that a command lists. The hosts of each are another command.
const MAX_LISTED_GROUPS: usize = 200;

/// A source whose groups are the output of commands.
#[derive(Debug, Default)]
pub(crate) struct CommandSource {
    name: String,
    /// Prints the hosts of `$GROUP`.
    map: Option<String>,
    /// Prints all hosts.
    all: Option<String>,
    /// Prints the names of all groups.
    list: Option<String>,
    /// In place of `$CFGDIR`.
    directory: PathBuf,
}

/// What configurations of groups say, beside the groups themselves.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The source of a group that is named without one.
    pub(crate) default: Option<String>,
    pub(crate) commands: Vec<CommandSource>,
}

impl Sources {
    /// The hosts of the group `SOURCE:GROUP`, if a command has it. `SOURCE:*` is all hosts of the source.
    ///
    /// # Errors
    ///
    /// If the command fails.
    pub(crate) fn group(&self, name: &str, budget: &mut Budget) -> Result<Option<String>, String> {
        let Some((source, group)) = name.split_once(':') else { return Ok(None) };
        match self.commands.iter().find(|command| command.name == source) {
            None => Ok(None),
            Some(source) if group == "*" => source.everything(budget).map(Some),
            Some(source) => source.group(group, budget),
        }
    }

    /// The groups that commands list, as `SOURCE:GROUP`.
    ///
    /// # Errors
    ///
    /// If a command fails.
    pub(crate) fn listed(&self, budget: &mut Budget) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        for source in &self.commands {
            all.extend(source.listed(budget)?.iter().map(|group| format!("{}:{group}", source.name)));
        }
        Ok(all)
    }

    /// All hosts of all commands.
    ///
    /// # Errors
    ///
    /// If a command fails.
    pub(crate) fn everything(&self, budget: &mut Budget) -> Result<String, String> {
        let mut text = String::new();
        for source in &self.commands {
            text.push_str(&source.everything(budget)?);
            text.push('\n');
        }
        Ok(text)
    }
}

impl CommandSource {
    fn group(&self, group: &str, budget: &mut Budget) -> Result<Option<String>, String> {
        let Some(map) = &self.map else { return Ok(None) };
        let text = self.run(map, group, budget)?;
        Ok(Some(qualified(&text, &self.name)).filter(|text| !text.trim().is_empty()))
    }

    fn everything(&self, budget: &mut Budget) -> Result<String, String> {
        if let Some(all) = &self.all {
            return self.run(all, "", budget).map(|text| qualified(&text, &self.name));
        }
        let mut text = String::new();
        for group in self.listed(budget)? {
            text.push_str(&self.group(&group, budget)?.unwrap_or_default());
            text.push('\n');
        }
        Ok(text)
    }

    /// The groups that it lists, if it lists any.
    fn listed(&self, budget: &mut Budget) -> Result<Vec<String>, String> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let list = self.run(list, "", budget)?;
        let groups: Vec<String> = list.split_whitespace().take(MAX_LISTED_GROUPS + 1).map(str::to_owned).collect();
        if groups.len() > MAX_LISTED_GROUPS {
            return Err(format!("the source {} lists more than {MAX_LISTED_GROUPS} groups", self.name));
        }
        Ok(groups)
    }

    fn run(&self, command: &str, group: &str, budget: &mut Budget) -> Result<String, String> {
        // The name becomes a part of a line of shell, between quotes or not.
        let is_plain = |c: char| c.is_alphanumeric() || "._-+@%=:,".contains(c);
        if let Some(c) = group.chars().find(|c| !is_plain(*c)) {
            return Err(format!("{c:?} cannot be in a group of the source {}, whose groups are commands", self.name));
        }
        let directory = self.directory.to_string_lossy();
        let line = command.replace("$GROUP", group).replace("${GROUP}", group);
        let line = line.replace("$SOURCE", &self.name).replace("${SOURCE}", &self.name);
        let line = line.replace("$CFGDIR", &directory).replace("${CFGDIR}", &directory);
        let args = ["-c", &line].map(OsStr::new);
        let task = Task { program: OsStr::new("/bin/sh"), args: &args, most: budget.left() };
        let text = program::output(&task).map_err(|why| format!("the command of the source {}: {why}", self.name))?;
        budget.take(text.len())?;
        Ok(text)
    }
}

/// Adds the groups of a file. `text` is that of a `groups.conf`, or lines of `GROUP: HOSTS`.
///
/// # Errors
///
/// What is wrong with it, or with a file that it names.
pub(crate) fn load(
    inventory: &mut Inventory,
    sources: &mut Sources,
    budget: &mut Budget,
    path: &Path,
    text: &str,
) -> Result<(), String> {
    let is_section = |line: &str| line.starts_with('[') && line.ends_with(']');
    if !text.lines().map(str::trim).any(is_section) {
        return flat(inventory, sources, text);
    }
    let directory = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let main = config(text, &directory, sources)?;
    for (is_auto, list) in [(false, &main.confdir), (true, &main.autodir)] {
        for below in words::split(list, false)? {
            let below = PathBuf::from(below.replace("$CFGDIR", &directory.to_string_lossy()));
            if !below.is_dir() {
                continue;
            }
            let wrong = |path: &Path, why: String| format!("{}: {why}", path.display());
            for name in names(&below, MAX_ENTRIES).map_err(|why| wrong(&below, why))? {
                let file = below.join(&name);
                if is_auto && name.ends_with(".yaml") {
                    let text = budget.read(&file, false).map_err(|why| wrong(&file, why))?;
                    let document = yaml::parse(&text).map_err(|why| wrong(&file, why))?;
                    of_yaml(inventory, &document).map_err(|why| wrong(&file, why))?;
                } else if !is_auto && name.ends_with(".conf") {
                    let text = budget.read(&file, false).map_err(|why| wrong(&file, why))?;
                    config(&text, &directory, sources).map_err(|why| wrong(&file, why))?;
                }
            }
        }
    }
    if main.default.is_some() {
        sources.default = main.default;
    }
    Ok(())
}

/// The section `[Main]`.
#[derive(Default)]
struct Main {
    default: Option<String>,
    confdir: String,
    autodir: String,
}

/// Reads sections. Those of sources go to `sources`.
fn config(text: &str, directory: &Path, sources: &mut Sources) -> Result<Main, String> {
    let mut main = Main { confdir: String::new(), ..Main::default() };
    let mut open: Vec<usize> = Vec::new();
    let mut is_main = false;
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_main = section.eq_ignore_ascii_case("main");
            open.clear();
            // One section can be for several sources.
            for name in section.split(',').map(str::trim).filter(|name| !is_main && !name.is_empty()) {
                open.push(sources.commands.len());
                let (name, directory) = (name.to_owned(), directory.to_owned());
                sources.commands.push(CommandSource { name, directory, ..CommandSource::default() });
            }
            continue;
        }
        let Some((key, value)) = line.split_once([':', '=']) else {
            return Err(format!("line {}: a setting is written NAME: VALUE", nth + 1));
        };
        let (key, value) = (key.trim(), value.trim().to_owned());
        match (is_main, key) {
            (true, "default") => main.default = Some(value),
            (true, "confdir" | "groupsdir") => main.confdir = value,
            (true, "autodir") => main.autodir = value,
            (false, _) => open.iter().for_each(|nth| {
                let source = &mut sources.commands[*nth];
                match key {
                    "map" => source.map = Some(value.clone()),
                    "all" => source.all = Some(value.clone()),
                    "list" => source.list = Some(value.clone()),
                    _ => {}
                }
            }),
            _ => {}
        }
    }
    Ok(main)
}

/// Whether a document has sources with groups, rather than groups of Ansible.
pub(crate) fn is_of_sources(document: &Node) -> bool {
    let is_text = |node: &Node| match node {
        Node::Scalar(_) => true,
        Node::List(list) => list.iter().all(|node| matches!(node.as_ref(), Node::Scalar(_))),
        _ => false,
    };
    let is_source = |node: &Node| {
        node.entries().is_some_and(|groups| !groups.is_empty() && groups.iter().all(|group| is_text(&group.value)))
    };
    let entries = document.entries().unwrap_or_default();
    let is_ansible = |entry: &crate::cli::inventory::node::Entry| {
        ["hosts", "children", "vars"].iter().any(|part| entry.value.get(part).is_some())
    };
    !entries.is_empty() && entries.iter().all(|entry| is_source(&entry.value) && !is_ansible(entry))
}

/// Adds sources with groups, as YAML has them.
pub(crate) fn of_yaml(inventory: &mut Inventory, document: &Node) -> Result<(), String> {
    for source in document.entries().unwrap_or_default() {
        for group in source.value.entries().unwrap_or_default() {
            let text = match group.value.as_ref() {
                Node::Scalar(text) => text.clone(),
                Node::List(list) => {
                    let texts = list.iter().filter_map(|node| match node.as_ref() {
                        Node::Scalar(text) => Some(text.as_str()),
                        _ => None,
                    });
                    texts.collect::<Vec<_>>().join(",")
                }
                other => {
                    let (line, key) = (group.line, group.key.escape_debug());
                    return Err(format!("line {line}: the group {key} is {}, not hosts", other.kind()));
                }
            };
            add(inventory, &source.key, &group.key, &text)?;
        }
    }
    Ok(())
}

/// Adds groups of lines such as `web: node[1-3]`.
fn flat(inventory: &mut Inventory, sources: &mut Sources, text: &str) -> Result<(), String> {
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((group, hosts)) if !group.trim().is_empty() => add(inventory, UNNAMED, group.trim(), hosts)?,
            _ => return Err(format!("line {}: a group is written NAME: HOSTS", nth + 1)),
        }
    }
    sources.default.get_or_insert_with(|| UNNAMED.to_owned());
    Ok(())
}

fn add(inventory: &mut Inventory, source: &str, group: &str, text: &str) -> Result<(), String> {
    let id = inventory.add_group(&format!("{source}:{group}"))?;
    inventory.add_text(id, qualified(text, source));
    Ok(())
}

/// Writes the source into references to its own groups: `@web` becomes `@roles:web`.
fn qualified(text: &str, source: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('@') {
        all.push_str(before);
        all.push('@');
        let is_reference =
            before.is_empty() && all.len() == 1 || before.ends_with(|c: char| c.is_whitespace() || ",!&^/".contains(c));
        let end = behind.find(|c: char| c.is_whitespace() || ",!&^/".contains(c)).unwrap_or(behind.len());
        if is_reference && !behind[..end].contains(':') {
            all.push_str(source);
            all.push(':');
        }
        rest = behind;
    }
    all.push_str(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_inside_of_a_source_are_to_its_own_groups() {
        for (text, expected) in [
            ("@adm,@io,@racks:new", "@r:adm,@r:io,@racks:new"),
            ("n1 @adm!@io", "n1 @r:adm!@r:io"),
            ("root@n1,@adm/sudo", "root@n1,@r:adm/sudo"),
            ("@*", "@r:*"),
            ("", ""),
        ] {
            assert_eq!(qualified(text, "r"), expected, "{text}");
        }
    }
}
