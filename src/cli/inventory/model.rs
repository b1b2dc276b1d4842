//! The hosts and groups of all inventories that were read, without the way they were written.

use std::collections::{HashMap, HashSet};

use crate::cli::hosts::expression::{MAX_LISTED, MAX_NAMED};
use crate::cli::hosts::names::MAX_BYTES;
use crate::cli::inventory::vars::{Value, Var, Vars};

/// Most groups of all inventories together. Each costs some hundred bytes.
const MAX_GROUPS: usize = 200_000;

/// The group that has every host.
pub(crate) const ALL: &str = "all";
/// The group of the hosts that are in no other group than `all`.
pub(crate) const UNGROUPED: &str = "ungrouped";

pub(crate) type HostId = u32;
pub(crate) type GroupId = u32;

/// A place in an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// Index of the source in [`Inventory::sources`].
    pub(crate) source: u32,
    /// The line, from 1; 0 if it is not known.
    pub(crate) line: u32,
}

/// A host with a name of its own, whose settings the inventory may have.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) vars: Vars,
    pub(crate) origin: Origin,
    /// The groups that list it themselves.
    pub(crate) groups: Vec<GroupId>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    hosts: Vec<HostId>,
    pub(crate) children: Vec<GroupId>,
    pub(crate) parents: Vec<GroupId>,
    pub(crate) vars: Vars,
    /// Ansible's `ansible_group_priority`: groups of the same depth are applied in this order.
    pub(crate) priority: i64,
    /// The longest way from `all`. Deeper groups override.
    pub(crate) depth: u32,
    /// Expressions for more hosts, in the notation of `-w`.
    texts: Vec<String>,
}

impl Group {
    /// Whether some of its hosts are written as expressions.
    pub(crate) fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }
}

/// What inventories say. Several inventories add to the same groups.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// The sources, as the user would name them.
    pub(crate) sources: Vec<String>,
    hosts: Vec<Host>,
    host_ids: HashMap<String, HostId>,
    groups: Vec<Group>,
    group_ids: HashMap<String, GroupId>,
    /// Which groups list which hosts, and which groups.
    members: HashSet<(GroupId, HostId)>,
    children: HashSet<(GroupId, GroupId)>,
    named: u64,
    bytes: usize,
}

impl Inventory {
    pub(crate) fn new() -> Self {
        let mut inventory = Self {
            sources: Vec::new(),
            hosts: Vec::new(),
            host_ids: HashMap::new(),
            groups: Vec::new(),
            group_ids: HashMap::new(),
            members: HashSet::new(),
            children: HashSet::new(),
            named: 0,
            bytes: 0,
        };
        inventory.push_group(ALL);
        inventory
    }

    /// The source that is read next.
    pub(crate) fn add_source(&mut self, name: String) -> u32 {
        self.sources.push(name);
        self.sources.len() as u32 - 1
    }

    /// The host with this name. Makes it if there is none.
    ///
    /// # Errors
    ///
    /// If there are too many hosts, or their names are too long together.
    pub(crate) fn add_host(&mut self, name: &str, origin: Origin) -> Result<HostId, String> {
        self.named += 1;
        if self.named > MAX_NAMED {
            return Err(format!("inventories name hosts more than {MAX_NAMED} times; use fewer or smaller ones"));
        }
        if let Some(id) = self.host_ids.get(name) {
            return Ok(*id);
        }
        self.bytes += name.len();
        if self.hosts.len() as u64 >= MAX_LISTED || self.bytes > MAX_BYTES {
            return Err(format!(
                "inventories have more than {MAX_LISTED} hosts, or {MAX_BYTES} bytes of names; use fewer or smaller ones"
            ));
        }
        let id = self.hosts.len() as HostId;
        self.hosts.push(Host { name: name.to_owned(), vars: Vars::default(), origin, groups: Vec::new() });
        self.host_ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A host that is written with a port, or without one. As in Ansible, the port counts if the host is new.
    ///
    /// # Errors
    ///
    /// As [`Inventory::add_host`].
    pub(crate) fn add_host_at(&mut self, name: &str, port: Option<u16>, origin: Origin) -> Result<HostId, String> {
        let before = self.hosts.len();
        let host = self.add_host(name, origin)?;
        if let Some(port) = port.filter(|_| self.hosts.len() > before) {
            self.set_host_var(host, Var::PORT[0], Value::Text(port.to_string()));
        }
        Ok(host)
    }

    /// The group with this name. Makes it if there is none.
    ///
    /// # Errors
    ///
    /// If there are too many groups.
    pub(crate) fn add_group(&mut self, name: &str) -> Result<GroupId, String> {
        if let Some(id) = self.group_ids.get(name) {
            return Ok(*id);
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(format!("inventories have more than {MAX_GROUPS} groups; use fewer or smaller ones"));
        }
        Ok(self.push_group(name))
    }

    fn push_group(&mut self, name: &str) -> GroupId {
        let id = self.groups.len() as GroupId;
        self.groups.push(Group {
            name: name.to_owned(),
            hosts: Vec::new(),
            children: Vec::new(),
            parents: Vec::new(),
            vars: Vars::default(),
            priority: 1,
            depth: 0,
            texts: Vec::new(),
        });
        self.group_ids.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn add_member(&mut self, group: GroupId, host: HostId) {
        if self.members.insert((group, host)) {
            self.hosts[host as usize].groups.push(group);
            self.groups[group as usize].hosts.push(host);
        }
    }

    pub(crate) fn add_child(&mut self, parent: GroupId, child: GroupId) {
        if self.children.insert((parent, child)) {
            self.groups[parent as usize].children.push(child);
            self.groups[child as usize].parents.push(parent);
        }
    }

    /// Adds hosts to a group that are written as an expression.
    pub(crate) fn add_text(&mut self, group: GroupId, text: String) {
        self.groups[group as usize].texts.push(text);
    }

    pub(crate) fn set_host_var(&mut self, host: HostId, var: Var, value: Value) {
        self.hosts[host as usize].vars.set(var, value);
    }

    pub(crate) fn set_group_var(&mut self, group: GroupId, var: Var, value: Value) {
        self.groups[group as usize].vars.set(var, value);
    }

    pub(crate) fn set_priority(&mut self, group: GroupId, priority: i64) {
        self.groups[group as usize].priority = priority;
    }

    pub(crate) fn host(&self, name: &str) -> Option<&Host> {
        self.host_ids.get(name).map(|id| &self.hosts[*id as usize])
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.group_ids.get(name).map(|id| &self.groups[*id as usize])
    }

    /// The names of all groups, without `all`, in the order in which they were read.
    pub(crate) fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().skip(1).map(|group| group.name.as_str())
    }

    /// Finds how deep each group is. Call it when everything was read.
    ///
    /// # Errors
    ///
    /// If a group contains itself. The error has the names.
    pub(crate) fn arrange(&mut self) -> Result<(), String> {
        let mut open: Vec<usize> = self.groups.iter().map(|group| group.parents.len()).collect();
        let mut ready: Vec<usize> = (0..self.groups.len()).filter(|nth| open[*nth] == 0).collect();
        let mut done = 0;
        for group in &mut self.groups[1..] {
            group.depth = 1;
        }
        while let Some(nth) = ready.pop() {
            done += 1;
            let (depth, children) = (self.groups[nth].depth, self.groups[nth].children.clone());
            for child in children.iter().map(|child| *child as usize) {
                self.groups[child].depth = self.groups[child].depth.max(depth + 1);
                open[child] -= 1;
                if open[child] == 0 {
                    ready.push(child);
                }
            }
        }
        match done == self.groups.len() {
            true => Ok(()),
            false => Err(self.cycle(&open)),
        }
    }

    /// Describes a cycle. `open` has the number of parents that are in a cycle, or behind one.
    fn cycle(&self, open: &[usize]) -> String {
        const SHOWN: usize = 10;
        let mut seen: Vec<usize> = Vec::new();
        let mut at_place = HashMap::new();
        let mut nth = open.iter().position(|open| *open > 0).unwrap_or_default();
        let first = loop {
            if let Some(first) = at_place.insert(nth, seen.len()) {
                break first;
            }
            seen.push(nth);
            let above = self.groups[nth].parents.iter().map(|parent| *parent as usize);
            nth = above.into_iter().find(|parent| open[*parent] > 0).unwrap_or(nth);
        };
        // The walk went from children to parents.
        let cycle = seen[first..].iter().take(1).chain(seen[first + 1..].iter().rev());
        let mut way: Vec<String> = cycle.take(SHOWN).map(|nth| shown(&self.groups[*nth].name)).collect();
        let name = way.first().cloned().unwrap_or_default();
        if seen.len() - first > SHOWN {
            way.push("...".into());
        }
        format!("the group {name} contains itself: {} > {name}", way.join(" > "))
    }

    /// The hosts of a group, each once, and the expressions that stand for more. Children come after the own
    /// hosts of a group. `None` if there is no such group.
    pub(crate) fn members(&self, name: &str) -> Option<Members<'_>> {
        match name {
            ALL => {
                let texts = self.groups.iter().flat_map(|group| group.texts.iter().map(String::as_str)).collect();
                return Some(Members { hosts: self.hosts.iter().collect(), texts });
            }
            UNGROUPED => {
                let own = self.group_ids.get(name).copied();
                let is_alone = |host: &&Host| host.groups.iter().all(|group| *group == 0 || Some(*group) == own);
                let texts = self.groups[0].texts.iter().map(String::as_str).collect();
                return Some(Members { hosts: self.hosts.iter().filter(is_alone).collect(), texts });
            }
            _ => {}
        }
        let mut members = Members { hosts: Vec::new(), texts: Vec::new() };
        let mut is_in = HashSet::new();
        for group in self.below(*self.group_ids.get(name)?, |group| &group.children) {
            let group = &self.groups[group as usize];
            for host in &group.hosts {
                if is_in.insert(*host) {
                    members.hosts.push(&self.hosts[*host as usize]);
                }
            }
            members.texts.extend(group.texts.iter().map(String::as_str));
        }
        Some(members)
    }

    /// All groups that a host is in, in the order in which their variables are applied: the last wins.
    pub(crate) fn groups_of(&self, host: &Host) -> Vec<&Group> {
        let mut all = vec![0];
        for group in &host.groups {
            all.extend(self.below(*group, |group| &group.parents));
        }
        all.sort_unstable();
        all.dedup();
        let mut groups: Vec<&Group> = all.iter().map(|group| &self.groups[*group as usize]).collect();
        groups.sort_by(|a, b| (a.depth, a.priority, &a.name).cmp(&(b.depth, b.priority, &b.name)));
        groups
    }

    /// A group and all that can be reached from it, each once. The first branch comes first.
    fn below(&self, group: GroupId, next: impl Fn(&Group) -> &Vec<GroupId>) -> Vec<GroupId> {
        let mut seen = HashSet::new();
        let (mut stack, mut found) = (vec![group], Vec::new());
        while let Some(group) = stack.pop() {
            if seen.insert(group) {
                found.push(group);
                stack.extend(next(&self.groups[group as usize]).iter().rev());
            }
        }
        found
    }
}

/// The members of a group.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    pub(crate) hosts: Vec<&'a Host>,
    pub(crate) texts: Vec<&'a str>,
}

/// The name of a group, as it is shown and typed.
pub(crate) fn shown(name: &str) -> String {
    format!("@{}", name.escape_debug())
}
