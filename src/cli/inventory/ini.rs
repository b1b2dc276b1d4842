//! Inventories in Ansible's INI format.

use std::collections::HashMap;

use crate::cli::inventory::model::{ALL, GroupId, Inventory, Origin};
use crate::cli::inventory::ranges;
use crate::cli::inventory::tree::PRIORITY;
use crate::cli::inventory::vars::{Value, Var};
use crate::cli::inventory::words;

/// What a section has in its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Vars,
    Children,
}

/// Adds the hosts and groups of a text.
///
/// # Errors
///
/// What is wrong, with the line.
pub(crate) fn load(inventory: &mut Inventory, source: u32, text: &str) -> Result<(), String> {
    let (mut group, mut kind) = (None, Kind::Hosts);
    // Groups that were named by `:vars` and `:children`, and have to be in the file somewhere.
    let mut wanted: HashMap<String, (usize, &str)> = HashMap::new();
    let mut declared: HashMap<String, Kind> = HashMap::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let number = nth + 1;
        let at = |why: String| format!("line {number}: {why}");
        if let Some((name, section)) = section(line).map_err(at)? {
            kind = section;
            group = Some(inventory.add_group(name)?);
            match kind {
                Kind::Vars => drop(wanted.entry(name.to_owned()).or_insert((number, "vars"))),
                _ => drop(declared.insert(name.to_owned(), kind)),
            }
            continue;
        }
        let origin = Origin { source, line: number as u32 };
        match (kind, group) {
            (Kind::Vars, Some(group)) => variable(inventory, group, line).map_err(at)?,
            (Kind::Children, Some(group)) => {
                let name = child(line).map_err(at)?;
                let child = inventory.add_group(name)?;
                inventory.add_child(group, child);
                wanted.entry(name.to_owned()).or_insert((number, "children"));
            }
            _ => host(inventory, group, line, origin).map_err(at)?,
        }
    }
    let is_known = |name: &str| name == ALL || name == "ungrouped" || declared.contains_key(name);
    let missing = wanted.iter().filter(|(name, _)| !is_known(name)).min_by_key(|(_, (line, _))| *line);
    match missing {
        None => Ok(()),
        Some((name, (line, part))) => {
            let name = name.escape_debug();
            Err(format!("line {line}: there is no group {name}, which `:{part}` names; write a section [{name}]"))
        }
    }
}

/// The group and the kind of a section, if the line begins one.
fn section(line: &str) -> Result<Option<(&str, Kind)>, String> {
    let Some((inner, behind)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Ok(None);
    };
    let behind = behind.trim_start();
    let (name, kind) = match inner.split_once(':') {
        Some((name, kind)) => (name, Some(kind)),
        None => (inner, None),
    };
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '[');
    // A range of numbers, or an address, begins a host.
    let is_host = kind.is_some_and(|kind| kind.bytes().all(|b| b.is_ascii_digit() || b == b':'))
        || inner.split('%').next().is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    if is_host || !(behind.is_empty() || behind.starts_with(['#', ';'])) || !is_name {
        return Ok(None);
    }
    let kind = match kind {
        None | Some("hosts") => Kind::Hosts,
        Some("vars") => Kind::Vars,
        Some("children") => Kind::Children,
        Some(other) => {
            let other = other.escape_debug();
            return Err(format!("a section ends with :vars, :children or :hosts, not with :{other}"));
        }
    };
    Ok(Some((name, kind)))
}

fn host(inventory: &mut Inventory, group: Option<GroupId>, line: &str, origin: Origin) -> Result<(), String> {
    let words = words::split(line, true)?;
    let Some((pattern, settings)) = words.split_first() else { return Ok(()) };
    let mut vars = Vec::new();
    for setting in settings {
        let Some((name, value)) = setting.split_once('=') else {
            return Err(format!(
                "`{}` is not a variable; behind a host stand variables, written NAME=VALUE",
                setting.escape_debug()
            ));
        };
        vars.extend(Var::by_name(name).map(|var| (var, Value::Text(literal(value).to_owned()))));
    }
    ranges::each(pattern, |name, port| {
        let host = inventory.add_host_at(name, port, origin)?;
        inventory.add_member(group.unwrap_or_default(), host);
        vars.iter().for_each(|(var, value)| inventory.set_host_var(host, *var, value.clone()));
        Ok(())
    })
}

fn variable(inventory: &mut Inventory, group: GroupId, line: &str) -> Result<(), String> {
    let Some((name, value)) = line.split_once('=') else {
        return Err("a variable is written NAME=VALUE".into());
    };
    let (name, value) = (name.trim(), literal(value.trim()));
    if name == PRIORITY {
        inventory.set_priority(group, value.parse().unwrap_or(1));
    }
    if let Some(var) = Var::by_name(name) {
        inventory.set_group_var(group, var, Value::Text(value.to_owned()));
    }
    Ok(())
}

fn child(line: &str) -> Result<&str, String> {
    let (name, behind) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let behind = behind.trim_start();
    if behind.is_empty() || behind.starts_with('#') {
        return Ok(name);
    }
    Err(format!("`{}` stands behind the name of a group; write one group a line", behind.escape_debug()))
}

/// A value without its quotes. Ansible reads it as a literal of Python if it is one, and as a text otherwise.
fn literal(value: &str) -> &str {
    let without_comment = |text: &str| text.trim_start().is_empty() || text.trim_start().starts_with('#');
    for quote in ['"', '\''] {
        if let Some((inner, behind)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote))
            && without_comment(behind)
        {
            return inner;
        }
    }
    match value.split_once('#') {
        Some((number, _)) if number.trim_end().parse::<i64>().is_ok() => number.trim_end(),
        _ => value,
    }
}
