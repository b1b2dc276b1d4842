//! `offshoot hosts`: shows what an expression stands for.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use crate::cli::args::HostsArgs;
use crate::cli::hosts::expression::{Expansion, MAX_HOSTS, Sources as _, list, read_back};
use crate::cli::hosts::expression_error::{ExprError, Fault, FaultKind};
use crate::cli::hosts::fold::fold;
use crate::cli::hosts::names::Names;
use crate::cli::hosts::path::{Hop, HostPath, Method};
use crate::cli::hosts::sources::Reading;
use crate::cli::output::{safe_json, visible};
use crate::cli::quote;

/// Most groups whose expressions are looked through for the groups of a host.
const MAX_LOOKED_THROUGH: usize = 1_000;

/// The output on stdout: the hosts one per line, their number, or an expression for them.
pub(crate) fn listing(args: &HostsArgs, expansion: &Expansion<Names>) -> String {
    let names = &expansion.hosts;
    if args.json {
        let hosts: Vec<&str> = names.iter().collect();
        return String::from_utf8_lossy(&safe_json::line(&json!({ "v": 1, "hosts": hosts }))).into_owned();
    }
    if let Some(parts) = args.split {
        return split(names, parts as usize);
    }
    let mut text = match (args.count, args.fold) {
        (true, _) => names.len().to_string(),
        (_, true) => fold(&names.iter().collect::<Vec<_>>()),
        _ => {
            let mut lines = String::with_capacity(names.bytes() + names.len());
            for (nth, name) in names.iter().enumerate() {
                if nth > 0 {
                    lines.push('\n');
                }
                lines.push_str(name);
            }
            lines
        }
    };
    text.push('\n');
    text
}

/// The hosts in parts of almost the same size, the larger ones first. There are no empty parts.
fn split(names: &Names, parts: usize) -> String {
    let all: Vec<&str> = names.iter().collect();
    let parts = parts.min(all.len()).max(1);
    let (size, larger) = (all.len() / parts, all.len() % parts);
    let mut text = String::new();
    let mut rest = all.as_slice();
    for part in 0..parts {
        let (these, others) = rest.split_at(size + usize::from(part < larger));
        text.push_str(&fold(these));
        text.push('\n');
        rest = others;
    }
    text
}

/// The known groups in alphabetical order, each with its hosts.
///
/// # Errors
///
/// If an inventory or a group cannot be read.
pub(crate) fn groups(args: &HostsArgs, sources: &mut Reading) -> Result<Vec<u8>, ExprError> {
    let whole = |why| ExprError::new(Fault::empty(why), "", None);
    sources.known().map_err(whole)?;
    let mut names = sources.inventories.group_names();
    names.extend(sources.inventories.listed_groups().map_err(whole)?);
    names.sort_unstable();
    names.dedup();
    let mut all = Vec::new();
    for name in names {
        let hosts = match list(&[format!("@{{{name}}}")], sources) {
            Ok(found) => found.hosts.iter().map(str::to_owned).collect(),
            Err(error) if error.kind == FaultKind::Empty => Vec::new(),
            Err(error) => return Err(error),
        };
        all.push((name, hosts));
    }
    if args.json {
        let groups: Vec<_> = all.iter().map(|(name, hosts)| json!({ "group": name, "hosts": hosts })).collect();
        return Ok(safe_json::line(&json!({ "v": 1, "groups": groups })));
    }
    let mut text = Vec::new();
    for (name, hosts) in all {
        let hosts = if hosts.is_empty() { "no hosts".to_owned() } else { fold(&hosts) };
        visible::text(&format!("@{name}: {hosts}"), "", &mut text);
        text.push(b'\n');
    }
    Ok(text)
}

/// Of each host the way there, the groups, and the place in an inventory.
///
/// # Errors
///
/// If there are too many hosts, or one cannot be reached as its inventory says.
pub(crate) fn explain(names: &Names, sources: &mut Reading) -> Result<Vec<u8>, String> {
    if names.len() as u64 > MAX_HOSTS {
        return Err(format!("--explain takes at most {MAX_HOSTS} hosts"));
    }
    let by_text = groups_of_text(sources);
    let mut text = Vec::new();
    for (nth, name) in names.iter().enumerate() {
        let host = read_back(name).map_err(|fault| fault.message)?;
        let end = host.hops.last().map_or_else(String::new, |hop| hop.target.clone());
        let resolved = sources.inventories.resolve(host, true)?;
        let known = sources.inventories.place_of(&end);
        let mut groups: Vec<&str> = known.iter().flat_map(|(_, groups)| groups).map(String::as_str).collect();
        groups
            .extend(by_text.iter().filter(|(_, keys)| keys.contains(names.key(nth))).map(|(group, _)| group.as_str()));
        let place = known.as_ref().map_or("", |(place, _)| place.as_str());
        let mut parts = vec![format!("{name}: {}", way(&resolved))];
        parts.extend(Some(place).filter(|place| !place.is_empty()).map(str::to_owned));
        if !groups.is_empty() {
            parts.push(format!("in @{}", groups.join(", @")));
        }
        visible::text(&parts.join("; "), "", &mut text);
        text.push(b'\n');
    }
    Ok(text)
}

/// The keys of the hosts of those groups that are written as expressions.
fn groups_of_text(sources: &mut Reading) -> BTreeMap<String, HashSet<String>> {
    let groups = sources.inventories.groups_of_text();
    let mut all = BTreeMap::new();
    for group in groups.into_iter().take(MAX_LOOKED_THROUGH) {
        let Ok(Expansion { hosts, .. }) = list(&[format!("@{{{group}}}")], sources) else { continue };
        all.insert(group, (0..hosts.len()).map(|nth| hosts.key(nth).to_owned()).collect());
    }
    all
}

/// The hops of a path, with what an inventory has added.
pub(crate) fn way(host: &HostPath) -> String {
    host.hops.iter().map(hop).collect::<Vec<_>>().join("/")
}

/// A hop, with what an inventory has added.
pub(crate) fn hop(hop: &Hop) -> String {
    let method = match hop.method {
        Method::Ssh => String::new(),
        method => format!("{method}:"),
    };
    let user = hop.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
    let target = if hop.method == Method::Ssh && hop.target.contains(':') {
        format!("[{}]", hop.target)
    } else {
        hop.target.clone()
    };
    let port = hop.port.map_or_else(String::new, |port| format!(":{port}"));
    let args = hop.inventory.iter().flat_map(|known| &known.ssh_args);
    let args: Vec<String> = args.map(|arg| format!(" {}", quote::quote(arg.as_ref()))).collect();
    format!("{method}{user}{target}{port}{}", args.concat())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, ToolCommand};
    use crate::cli::inventory::Inventories;

    fn shown(words: &[&str]) -> String {
        let cli = Cli::try_parse_from([&["offshoot", "hosts"], words].concat()).unwrap();
        let ToolCommand::Hosts(args) = &cli.command else { panic!("another command") };
        let mut sources = Reading::new(Inventories::new(&[]));
        listing(args, &list(args.choosing.choice(&args.expressions), &mut sources).unwrap())
    }

    #[test]
    fn hosts_are_listed_counted_and_folded() {
        assert_eq!(shown(&["web[08-10]", "db1"]), "web08\nweb09\nweb10\ndb1\n");
        assert_eq!(shown(&["-c", "web[08-10]", "db1"]), "4\n");
        assert_eq!(shown(&["-f", "web[08-10]", "db1"]), "db1,web[08-10]\n");
    }

    #[test]
    fn hosts_are_listed_as_json() {
        assert_eq!(shown(&["--json", "web[08-09]"]), "{\"hosts\":[\"web08\",\"web09\"],\"v\":1}\n");
    }

    #[test]
    fn hosts_are_divided_as_nodeset_divides_them() {
        assert_eq!(shown(&["--split", "3", "n[0-7]"]), "n[0-2]\nn[3-5]\nn[6-7]\n");
        assert_eq!(shown(&["--split", "1", "n[0-7]"]), "n[0-7]\n");
        assert_eq!(shown(&["--split", "9", "n[0-1]"]), "n0\nn1\n");
    }

    #[test]
    fn hosts_are_left_out_and_picked() {
        assert_eq!(shown(&["-f", "web[1-9]", "-x", "web[2-3]", "-x", "web9"]), "web[1,4-8]\n");
        assert_eq!(shown(&["-c", "--pick", "4", "web[1-9]"]), "4\n");
        assert_eq!(shown(&["-c", "--pick", "4", "web[1-3]"]), "3\n");
    }
}
