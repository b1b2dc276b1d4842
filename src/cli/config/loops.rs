//! Paths of `[hosts]` that lead through themselves.

use std::collections::{BTreeMap, HashSet};

use crate::cli::hosts::path::{HostPath, Method};

/// The hosts of a loop, the first one again at the end; `None` if there is no loop. A host may stand in its own path,
/// where it is the host itself.
pub(super) fn find(hosts: &BTreeMap<String, String>) -> Option<Vec<String>> {
    // Those that lead into no loop.
    let mut harmless = HashSet::new();
    hosts.keys().find_map(|name| follow(name, hosts, &mut Vec::new(), &mut harmless))
}

fn follow<'a>(
    name: &'a str,
    hosts: &'a BTreeMap<String, String>,
    open: &mut Vec<&'a str>,
    harmless: &mut HashSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(begin) = open.iter().position(|open| *open == name) {
        return Some(open[begin..].iter().chain([&name]).map(|name| (*name).to_owned()).collect());
    }
    let path = hosts.get(name).filter(|_| !harmless.contains(name))?;
    open.push(name);
    for next in next(path) {
        let known = hosts.get_key_value(&next).map(|(known, _)| known.as_str());
        if let Some(known) = known.filter(|known| *known != name)
            && let Some(found) = follow(known, hosts, open, harmless)
        {
            return Some(found);
        }
    }
    open.pop();
    harmless.insert(name);
    None
}

/// The names in a path that can stand for paths.
fn next(path: &str) -> Vec<String> {
    let Ok(path) = path.parse::<HostPath>() else { return Vec::new() };
    let is_name =
        |hop: &crate::cli::hosts::path::Hop| hop.method == Method::Ssh && hop.user.is_none() && hop.port.is_none();
    path.hops.into_iter().filter(is_name).map(|hop| hop.target).collect()
}
