//! Inventories: files and programs of other tools that name hosts, groups of hosts, and the ways to them.
//!
//! They select nobody. An expression does that, by `@GROUP`, a wildcard or `-a`.
//!
//! - `find`: where they are looked for; `trust`: whether what is found here is the user's; `load`: what is read of a
//!   place; `files`, `program`: within limits
//! - `format`: which format a file has. Each has a parser: `ini`, `groups`, `genders`, `ssh_config`, and `yaml`
//!   and `json` by way of `node` and `tree`
//! - `ranges`, `words`: small notations of Ansible
//! - `model`: hosts and groups; `vars`, `vars_files`: their variables
//! - `connection`: from the variables of a host to the way there
//! - `own`: the groups and hosts of the configuration

pub(crate) mod connection;
pub(crate) mod files;
pub(crate) mod find;
pub(crate) mod format;
pub(crate) mod genders;
pub(crate) mod groups;
pub(crate) mod ini;
pub(crate) mod json;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod node;
mod own;
pub(crate) mod program;
pub(crate) mod ranges;
pub(crate) mod ssh_config;
pub(crate) mod tree;
mod trust;
pub(crate) mod vars;
pub(crate) mod vars_files;
pub(crate) mod words;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::cli::hosts::expression::{MAX_HOPS, is_bare_host};
use crate::cli::hosts::path::{Hop, HostPath, Method};
use crate::cli::inventory::find::{Found, Place, Surroundings, named};
use crate::cli::inventory::format::Format;
use crate::cli::inventory::load::Loaded;
use crate::cli::inventory::model::{Group, Members, shown};
use crate::cli::inventory::own::Own;
use crate::cli::inventory::vars::{Var, Vars};
use crate::cli::inventory::vars_files::Encrypted;
use crate::cli::last_run::LastRun;
use crate::connect::host_path::{PathError, distance};

/// Most notes about names that are those of groups.
const MAX_NOTES: usize = 8;
/// Most close names in an error.
const MAX_NEAR: usize = 3;
/// How many characters of the expression for the hosts of `@failed` a note has.
const MAX_HOSTS_SHOWN: usize = 60;
/// Most names of inventories, or of groups, in an error.
const MAX_SHOWN: usize = 10;

/// The inventories of a command line. They are read when a group is asked for.
#[derive(Debug)]
pub(crate) struct Inventories {
    /// Those that `-I` names.
    named: Vec<Place>,
    /// Whether programs may be run, if the user has named them.
    runs_programs: bool,
    /// Those that were found instead.
    found: Vec<Place>,
    loaded: Option<Loaded>,
    /// The groups and hosts of the configuration.
    own: Own,
    looked: Vec<String>,
    /// What was found and is not read, and why.
    left_out: Vec<String>,
    /// The user's `ssh_config`.
    ssh_config: Option<PathBuf>,
    /// Variables that are set and not honoured, with a host that has them, and the number of such hosts.
    ignored: BTreeMap<Var, (String, usize)>,
    encrypted: Encrypted,
    notes: Vec<String>,
}

impl Inventories {
    /// Inventories that `-I` names, each `PATH` or `FORMAT:PATH`; if there are none, those that are found.
    pub(crate) fn new(paths: &[String]) -> Self {
        Self {
            named: paths.iter().map(|path| named(path)).collect(),
            runs_programs: true,
            found: Vec::new(),
            loaded: None,
            own: Own::default(),
            looked: Vec::new(),
            left_out: Vec::new(),
            ssh_config: None,
            ignored: BTreeMap::new(),
            encrypted: Encrypted::default(),
            notes: Vec::new(),
        }
    }

    /// Lets what files say be all that is known: no program is run, and no pipe is read.
    pub(crate) fn of_files_only(self) -> Self {
        Self { runs_programs: false, ..self }
    }

    /// Inventories that were read already.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(loaded: Loaded) -> Self {
        Self { loaded: Some(loaded), ..Self::new(&[]) }
    }

    fn load(&mut self) -> Result<&mut Loaded, String> {
        if self.loaded.is_none() {
            let places = if self.named.is_empty() {
                let variable = |name: &str| std::env::var_os(name);
                let Found { places, notes, looked, ssh_config } = Surroundings::of_process(&variable).find();
                self.ssh_config = ssh_config;
                self.notes.extend(notes.clone());
                self.left_out = notes;
                self.looked = looked;
                self.found.clone_from(&places);
                places
            } else {
                self.named.clone()
            };
            let mut loaded = match self.runs_programs {
                true => Loaded::read(&places)?,
                false => Loaded::read_files_only(&places)?,
            };
            self.notes.append(&mut loaded.notes);
            self.loaded = Some(loaded);
        }
        self.loaded.as_mut().ok_or_else(String::new)
    }

    /// Takes the inventories of an earlier run, unless others are named or were read.
    pub(crate) fn use_those_of(&mut self, run: &LastRun) {
        let count = if run.hosts.is_empty() { "no host" } else { run.hosts.as_str() };
        let count: String = count.chars().take(MAX_HOSTS_SHOWN).collect();
        self.notes.push(format!("@failed is of the run that ended {} ago: {count}", run.age()));
        if self.named.is_empty() && self.loaded.is_none() {
            self.named = run.inventories.iter().map(|path| named(path)).collect();
            self.found.clone_from(&self.named);
        }
    }

    /// The inventories that were found and read, as `-I` takes them.
    pub(crate) fn found(&self) -> Vec<String> {
        self.found.iter().map(Place::text).collect()
    }

    /// Which inventories were read.
    pub(crate) fn told(&self) -> String {
        let Some(loaded) = &self.loaded else { return "no inventory was read".into() };
        let inventory = &loaded.inventory;
        let (hosts, groups) = (inventory.hosts().len(), inventory.group_names().count());
        let sources: Vec<String> = inventory.sources.iter().map(|source| source.escape_debug().to_string()).collect();
        let sources = if sources.is_empty() { "none".to_owned() } else { sources.join(", ") };
        format!("inventories read: {sources}; hosts with names of their own: {hosts}, groups: {groups}")
    }

    /// Checks that there are inventories, whose hosts `-a` names.
    ///
    /// # Errors
    ///
    /// If there are none, or they cannot be read.
    pub(crate) fn check_all(&mut self) -> Result<(), String> {
        match self.group(model::ALL)? {
            Some(_) => Ok(()),
            None => Err(format!("-a is all hosts of the inventories, and {}", self.instead(model::ALL))),
        }
    }

    /// Whether an inventory that was read has a host or a group of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let is_there =
            |loaded: &Loaded| loaded.inventory.host(name).is_some() || loaded.inventory.group(name).is_some();
        self.own.groups.contains_key(name) || self.loaded.as_ref().is_some_and(is_there)
    }

    /// Where a host of an inventory stands, and the groups that list it.
    pub(crate) fn place_of(&self, name: &str) -> Option<(String, Vec<String>)> {
        let inventory = &self.loaded.as_ref()?.inventory;
        let host = inventory.host(name)?;
        let source = inventory.sources.get(host.origin.source as usize)?;
        let place = match host.origin.line {
            0 => source.clone(),
            line => format!("{source}, line {line}"),
        };
        let groups = inventory.groups_of(host).into_iter().map(|group| group.name.clone());
        Some((place, groups.filter(|name| name != model::ALL).collect()))
    }

    /// The names of those groups that have expressions, without `all`.
    pub(crate) fn groups_of_text(&self) -> Vec<String> {
        let inventory = self.loaded.as_ref().map(|loaded| &loaded.inventory);
        let names = inventory.into_iter().flat_map(|inventory| {
            inventory.group_names().filter(|name| inventory.group(name).is_some_and(Group::has_texts))
        });
        names.map(str::to_owned).collect()
    }

    /// The groups that commands list, as `SOURCE:GROUP`. They are run for it.
    ///
    /// # Errors
    ///
    /// If a command fails, or the inventories cannot be read.
    pub(crate) fn listed_groups(&mut self) -> Result<Vec<String>, String> {
        let Loaded { groups, budget, .. } = self.load()?;
        groups.listed(budget)
    }

    /// The hosts of a group as a list of expressions; `None` if there is no such group.
    ///
    /// # Errors
    ///
    /// If the inventories cannot be read.
    pub(crate) fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        if let Some(text) = self.own.groups.get(name) {
            return Ok(Some(text.clone()));
        }
        let Loaded { inventory, groups, budget, .. } = self.load()?;
        if name == model::ALL && inventory.sources.is_empty() {
            return Ok(None);
        }
        if let Some(source) = name.strip_suffix(":*") {
            let names: Vec<&str> = inventory.group_names().filter(|name| is_of(name, source)).collect();
            if !names.is_empty() {
                let names = names.iter().map(|name| format!("@{{{name}}}\n"));
                return Ok(Some(names.collect()));
            }
        }
        if let Some(members) = inventory.members(name) {
            let mut text = listed(&members)?;
            if name == model::ALL {
                text.push_str(&groups.everything(budget)?);
            }
            return Ok(Some(text));
        }
        if let Some(default) = groups.default.as_ref().filter(|_| !name.contains(':')) {
            let name = format!("{default}:{name}");
            return match inventory.members(&name) {
                Some(members) => listed(&members).map(Some),
                None => groups.group(&name, budget),
            };
        }
        groups.group(name, budget)
    }

    /// All known hosts.
    ///
    /// # Errors
    ///
    /// If the inventories cannot be read.
    pub(crate) fn known(&mut self) -> Result<String, String> {
        Ok(self.known_elsewhere()? + &self.own.names())
    }

    /// The known hosts that are not those of the configuration.
    fn known_elsewhere(&mut self) -> Result<String, String> {
        if let Some(text) = self.group(model::ALL)? {
            return Ok(text);
        }
        // Without inventories, what ssh knows is known. `-a` does not take that: it may be any host of the world.
        let Some(path) = self.ssh_config.clone() else { return Ok(String::new()) };
        let place = Place { path, format: Some(Format::SshConfig), is_named: false };
        let loaded = Loaded::read(&[place])?;
        loaded.inventory.members(model::ALL).map_or_else(|| Ok(String::new()), |members| listed(&members))
    }

    /// What to say if there is no group, or no known host, with this name.
    pub(crate) fn instead(&self, name: &str) -> String {
        let mut text: String = self.left_out.iter().map(|note| format!("{note}; ")).collect();
        let sources = self.loaded.iter().flat_map(|loaded| &loaded.inventory.sources);
        let sources: Vec<String> = sources.map(|source| source.escape_debug().to_string()).collect();
        if sources.is_empty() {
            let looked = self.looked.join(", ");
            if !text.is_empty() {
                return format!("{text}no other inventory was found (looked for {looked})");
            }
            return format!("no inventory was found (looked for {looked}); name one with -I");
        }
        let _ = write!(text, "read: {}", some_of(&sources));
        let groups = self.loaded.iter().flat_map(|loaded| loaded.inventory.group_names());
        let groups: Vec<&str> = groups.chain(self.own.groups.keys().map(String::as_str)).collect();
        let near = near(name, &groups);
        match (groups.is_empty(), near.is_empty()) {
            (true, _) => text.push_str("; there are no groups in it but @all"),
            (_, false) => drop(write!(text, "; did you mean {}?", near.join(" or "))),
            _ => {
                let all: Vec<String> = groups.iter().map(|group| shown(group)).collect();
                let _ = write!(text, "; there are {}", some_of(&all));
            }
        }
        text
    }

    /// Replaces the hops of a path that are hosts of an inventory by the ways to them. Only inventories that
    /// `-I` names, or that were read for a group, count. `becomes`: whether to become the user at the end that
    /// the inventory names for it.
    ///
    /// # Errors
    ///
    /// If the variables of a host do not say how to reach it.
    pub(crate) fn resolve(&mut self, host: HostPath, becomes: bool) -> Result<HostPath, String> {
        if !self.counts() && self.own.hosts.is_empty() {
            return Ok(host);
        }
        self.suspect(&host)?;
        let hops = self.hops(host.hops, becomes, &mut Vec::new())?;
        Ok(HostPath { text: host.text, hops })
    }

    /// Notes that a name without `@` is that of a group, and of no host.
    fn suspect(&mut self, host: &HostPath) -> Result<(), String> {
        let [Hop { method: Method::Ssh, target, user: None, port: None, .. }] = &host.hops[..] else { return Ok(()) };
        let (mut is_host, mut is_group) = (self.own.hosts.contains_key(target), self.own.groups.contains_key(target));
        if self.counts() {
            let inventory = &self.load()?.inventory;
            is_host |= inventory.host(target).is_some();
            is_group |= inventory.group(target).is_some();
        }
        if is_group && !is_host && self.notes.len() < MAX_NOTES {
            let name = target.escape_debug();
            self.notes.push(format!("{name} is read as a host; for the group of that name write '@{name}'"));
        }
        Ok(())
    }

    /// `open` has the hosts whose paths are being followed.
    fn hops(&mut self, hops: Vec<Hop>, becomes: bool, open: &mut Vec<String>) -> Result<Vec<Hop>, String> {
        let (mut all, count) = (Vec::new(), hops.len());
        for (nth, hop) in hops.into_iter().enumerate() {
            if let Some(path) = self.own.path(&hop, open.last())? {
                enter(open, &hop.target)?;
                all.extend(self.hops(path.hops, becomes && nth + 1 == count, open)?);
                open.pop();
                continue;
            }
            if hop.method != Method::Ssh || !self.counts() || self.load()?.inventory.host(&hop.target).is_none() {
                all.push(hop);
                continue;
            }
            if open.last() == Some(&hop.target) {
                // The host itself at the end of its own path.
                all.push(hop);
                continue;
            }
            let name = hop.target.clone();
            enter(open, &name)?;
            let vars = self.vars(&name)?;
            let mut way = connection::way(&name, &vars)?;
            let path = match &way.path {
                None => None,
                Some(path) => {
                    let read: HostPath = path.parse().map_err(|error: PathError| {
                        format!("offshoot_path of the host {}: {error}", name.escape_debug())
                    })?;
                    Some(self.hops(read.hops, false, open)?)
                }
            };
            open.pop();
            // What the user has written comes first.
            way.own.user = hop.user.or(way.own.user);
            way.own.port = hop.port.or(way.own.port);
            // Who is only passed by stays the user that can log in further on.
            way.becomes = way.becomes.filter(|_| becomes && nth + 1 == count);
            all.extend(connection::join(&name, way, path)?);
        }
        match all.len() > MAX_HOPS {
            true => Err(format!("a path has more than {MAX_HOPS} hops")),
            false => Ok(all),
        }
    }

    /// All variables of a host, as Ansible puts them together.
    fn vars(&mut self, name: &str) -> Result<Vars, String> {
        self.load()?;
        let Self { loaded: Some(loaded), encrypted, .. } = self else { return Ok(Vars::default()) };
        let Loaded { inventory, group_vars, host_vars, budget, .. } = loaded;
        let Some(host) = inventory.host(name) else { return Ok(Vars::default()) };
        let groups = inventory.groups_of(host);
        let mut vars = Vars::default();
        groups.iter().for_each(|group| vars.override_by(&group.vars));
        for group in &groups {
            for files in group_vars.iter_mut() {
                vars.override_by(&files.get(&group.name, budget, encrypted)?);
            }
        }
        vars.override_by(&host.vars);
        for files in host_vars.iter_mut() {
            vars.override_by(&files.get(name, budget, encrypted)?);
        }
        for (var, _) in vars.iter().filter(|(var, _)| var.advice().is_some()) {
            self.ignored.entry(var).or_insert_with(|| (name.to_owned(), 0)).1 += 1;
        }
        Ok(vars)
    }

    /// What the user should know, once.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(std::mem::take(&mut self.encrypted).note());
        for (var, (host, count)) in std::mem::take(&mut self.ignored) {
            let others = match count {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let (name, advice) = (var.name(), var.advice().unwrap_or_default());
            notes.push(format!("{name} of {}{others} is not used: {advice}", host.escape_debug()));
        }
        notes
    }
}

/// Adds a host to those whose paths are being followed.
fn enter(open: &mut Vec<String>, name: &str) -> Result<(), String> {
    let is_open = open.iter().any(|open| open == name);
    open.push(name.to_owned());
    if !is_open {
        return Ok(());
    }
    let way: Vec<String> = open.iter().map(|name| name.escape_debug().to_string()).collect();
    Err(format!("the path of a host leads through itself: {}", way.join(" > ")))
}

/// The members of a group, one a line.
fn listed(members: &Members<'_>) -> Result<String, String> {
    let mut text = String::new();
    for host in &members.hosts {
        spell(&host.name, &mut text)?;
        text.push('\n');
    }
    for more in &members.texts {
        text.push_str(more);
        text.push('\n');
    }
    Ok(text)
}

/// Writes the name of a host of an inventory so that it is read as a host for ssh.
fn spell(name: &str, text: &mut String) -> Result<(), String> {
    let is_address = || name.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    if is_bare_host(name) {
        text.push_str(name);
    } else if is_address() {
        let _ = write!(text, "[{name}]");
    } else if name.is_empty() || name.contains(['{', '}']) || name.contains(char::is_control) {
        return Err(format!("{name:?} cannot be the name of a host"));
    } else {
        let _ = write!(text, "ssh:{{{name}}}");
    }
    Ok(())
}

/// The first of these names, and how many are left.
fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_SHOWN {
        let _ = write!(text, " and {} more", names.len() - MAX_SHOWN);
    }
    text
}

/// Whether a group is of a source of groups.
fn is_of(group: &str, source: &str) -> bool {
    group.strip_prefix(source).is_some_and(|rest| rest.starts_with(':'))
}

/// The names that are close to one, best first.
fn near(name: &str, names: &[&str]) -> Vec<String> {
    /// Longer names are not compared, because that takes too long.
    const MAX_COMPARED: usize = 64;
    /// Most names that are compared.
    const MAX_NAMES: usize = 10_000;
    if name.len() > MAX_COMPARED {
        return Vec::new();
    }
    let compared = names.iter().take(MAX_NAMES).filter(|known| known.len() <= MAX_COMPARED);
    let mut near: Vec<(usize, &str)> = compared
        .map(|known| {
            let own = known.rsplit(':').next().unwrap_or_default();
            let far = [*known, own].map(|known| distance(&known.to_lowercase(), &name.to_lowercase()));
            (far[0].min(far[1]), *known)
        })
        .filter(|(far, known)| *far <= 1 + name.len() / 4 || (name.len() > 2 && known.contains(name)))
        .collect();
    near.sort_unstable();
    near.into_iter().take(MAX_NEAR).map(|(_, known)| shown(known)).collect()
}

#[cfg(test)]
mod tests;
