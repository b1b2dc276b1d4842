//! The groups and hosts of the configuration. They count beside any inventory, and before it.

use std::collections::BTreeMap;

use crate::cli::config::Config;
use crate::cli::hosts::path::{Hop, HostPath, Method};
use crate::cli::inventory::Inventories;
use crate::connect::host_path::PathError;

/// What the configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// Expressions by the names of their groups.
    pub(super) groups: BTreeMap<String, String>,
    /// Paths by the names of their hosts.
    pub(super) hosts: BTreeMap<String, String>,
}

impl Own {
    /// The names of the hosts, one a line.
    pub(super) fn names(&self) -> String {
        self.hosts.keys().map(|name| format!("{name}\n")).collect()
    }

    /// The path that a hop stands for; `None` if it is the host itself. A hop with a user or a port is always the
    /// host itself, and so is one at the end of its own path, which `open` says.
    pub(super) fn path(&self, hop: &Hop, open: Option<&String>) -> Result<Option<HostPath>, String> {
        let is_name = hop.method == Method::Ssh && hop.user.is_none() && hop.port.is_none() && hop.inventory.is_none();
        if !is_name || open == Some(&hop.target) {
            return Ok(None);
        }
        let Some(path) = self.hosts.get(&hop.target) else { return Ok(None) };
        let read = path.parse().map_err(|error: PathError| format!("the path of the host {}: {error}", hop.target));
        read.map(Some)
    }
}

impl Inventories {
    /// The same, with the groups and hosts of a configuration.
    pub(crate) fn with_config(mut self, config: &Config) -> Self {
        self.own = Own { groups: config.groups.clone(), hosts: config.hosts.clone() };
        self
    }

    /// Whether the hosts of inventories count: some are named, or were read for a group.
    pub(super) fn counts(&self) -> bool {
        self.loaded.is_some() || !self.named.is_empty()
    }

    /// The names of all groups that are known, for completions.
    pub(crate) fn group_names(&mut self) -> Vec<String> {
        let mut names: Vec<String> = self.own.groups.keys().cloned().collect();
        if let Ok(loaded) = self.load() {
            names.extend(loaded.inventory.group_names().map(str::to_owned));
        }
        names
    }
}
