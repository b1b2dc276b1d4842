//! Inventories of YAML and JSON: groups that are written inside each other, and the output of programs.

use crate::cli::inventory::model::{GroupId, Inventory, Origin};
use crate::cli::inventory::node::{Entry, Node};
use crate::cli::inventory::ranges;
use crate::cli::inventory::vars::{Value, Var};

/// Most entries that are visited. Aliases of YAML can name one mapping very often.
const MAX_VISITED: usize = 8_000_000;

/// What the mapping of the whole inventory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A file: names of hosts are patterns.
    File,
    /// The output of a program: names of hosts are as they are.
    Program,
}

/// Adds the groups of a document.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn load(inventory: &mut Inventory, source: u32, document: &Node, dialect: Dialect) -> Result<(), String> {
    let Some(entries) = document.entries() else {
        return Err(format!("groups are wanted, as `web: {{hosts: {{web1: }}}}`, not {}", document.kind()));
    };
    let mut loader = Loader { inventory, source, dialect, visited: 0 };
    for entry in entries.iter().filter(|entry| entry.key != META) {
        loader.group(entry, None)?;
    }
    let hosts = document.get(META).and_then(|meta| meta.get("hostvars"));
    for entry in hosts.and_then(Node::entries).unwrap_or_default() {
        // Ansible's own plugins list variables of hosts that no group has.
        if let Node::Map(vars) = entry.value.as_ref() {
            let host = loader.inventory.add_host(&entry.key, loader.origin(entry.line))?;
            each_var(vars, |var, value| loader.inventory.set_host_var(host, var, value));
        }
    }
    Ok(())
}

const META: &str = "_meta";

/// Calls `take` with those variables of a mapping that count.
pub(crate) fn each_var(vars: &[Entry], mut take: impl FnMut(Var, Value)) {
    for entry in vars {
        if let Some(var) = Var::by_name(&entry.key) {
            take(var, value(&entry.value));
        }
    }
}

fn value(node: &Node) -> Value {
    match node {
        Node::Scalar(text) => Value::Text(text.clone()),
        Node::Vault => Value::Vault,
        _ => Value::Other,
    }
}

struct Loader<'a> {
    inventory: &'a mut Inventory,
    source: u32,
    dialect: Dialect,
    visited: usize,
}

impl Loader<'_> {
    fn visit(&mut self, entries: usize) -> Result<(), String> {
        self.visited += entries;
        match self.visited > MAX_VISITED {
            true => Err(format!("it has more than {MAX_VISITED} entries when its aliases are written out")),
            false => Ok(()),
        }
    }

    fn origin(&self, line: u32) -> Origin {
        Origin { source: self.source, line }
    }

    fn group(&mut self, entry: &Entry, parent: Option<GroupId>) -> Result<(), String> {
        let wrong = |what: &str| at(entry.line, &format!("the group {}: {what}", entry.key.escape_debug()));
        self.visit(1 + entry.value.entries().map_or(0, <[Entry]>::len))?;
        if entry.key.is_empty() || entry.key.chars().any(char::is_control) {
            return Err(wrong("this is not a name of a group"));
        }
        let group = self.inventory.add_group(&entry.key)?;
        if let Some(parent) = parent {
            self.inventory.add_child(parent, group);
        }
        let parts = match entry.value.as_ref() {
            // The short form of programs.
            list @ Node::List(_) => return self.hosts(list, group, entry.line),
            other => other.entries().ok_or_else(|| wrong(&format!("it is {}, not a mapping", other.kind())))?,
        };
        for part in parts {
            match part.key.as_str() {
                "hosts" => self.hosts(&part.value, group, part.line)?,
                "vars" => self.vars(&part.value, group)?,
                "children" => self.children(&part.value, group, part.line)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn hosts(&mut self, hosts: &Node, group: GroupId, line: u32) -> Result<(), String> {
        match hosts {
            Node::Map(entries) => {
                entries.iter().try_for_each(|entry| self.host(&entry.key, Some(&entry.value), group, entry.line))
            }
            Node::List(list) => list.iter().try_for_each(|node| match node.as_ref() {
                Node::Scalar(name) => self.host(name, None, group, line),
                other => Err(at(line, &format!("a host is {}, not a text", other.kind()))),
            }),
            Node::Scalar(name) => self.host(name, None, group, line),
            Node::Null => Ok(()),
            Node::Vault => Err(at(line, "hosts are encrypted; decrypt the file first")),
        }
    }

    fn host(&mut self, pattern: &str, vars: Option<&Node>, group: GroupId, line: u32) -> Result<(), String> {
        let origin = self.origin(line);
        self.visit(1 + vars.and_then(Node::entries).map_or(0, <[Entry]>::len))?;
        let add = |inventory: &mut Inventory, name: &str, port: Option<u16>| {
            let host = inventory.add_host_at(name, port, origin)?;
            inventory.add_member(group, host);
            if let Some(Node::Map(vars)) = vars {
                each_var(vars, |var, value| inventory.set_host_var(host, var, value));
            }
            Ok(())
        };
        match self.dialect {
            Dialect::Program => add(self.inventory, pattern, None),
            Dialect::File => ranges::each(pattern, |name, port| add(self.inventory, name, port)),
        }
        .map_err(|why| at(line, &why))
    }

    fn vars(&mut self, vars: &Node, group: GroupId) -> Result<(), String> {
        let Some(entries) = vars.entries() else { return Ok(()) };
        self.visit(entries.len())?;
        each_var(entries, |var, value| self.inventory.set_group_var(group, var, value));
        if let Some(Node::Scalar(priority)) = vars.get(PRIORITY) {
            self.inventory.set_priority(group, priority.parse().unwrap_or(1));
        }
        Ok(())
    }

    fn children(&mut self, children: &Node, group: GroupId, line: u32) -> Result<(), String> {
        match children {
            Node::Map(entries) => entries.iter().try_for_each(|entry| self.group(entry, Some(group))),
            Node::List(list) => list.iter().try_for_each(|node| match node.as_ref() {
                Node::Scalar(name) => {
                    let child = self.inventory.add_group(name)?;
                    self.inventory.add_child(group, child);
                    Ok(())
                }
                other => Err(at(line, &format!("a group is {}, not a text", other.kind()))),
            }),
            Node::Null => Ok(()),
            other => Err(at(line, &format!("the children of a group are {}, not groups", other.kind()))),
        }
    }
}

/// Ansible's variable that orders groups.
pub(crate) const PRIORITY: &str = "ansible_group_priority";

fn at(line: u32, what: &str) -> String {
    if line == 0 { what.to_owned() } else { format!("line {line}: {what}") }
}
