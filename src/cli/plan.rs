//! `offshoot plan`: the tree of hops that a run would make, with the command of each hop.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::Router;
use crate::cli::args::plan::PlanArgs;
use crate::cli::complaint::fail;
use crate::cli::config::Config;
use crate::cli::exit::Exit;
use crate::cli::hosts::path::{Hop, HostPath};
use crate::cli::output::{safe_json, visible};
use crate::cli::quote;
use crate::cli::run::expand;
use crate::cli::secret::Secrets;
use crate::cli::tree::Tree;

/// Prints the tree. It connects to nothing and asks for no password; no password is ever in a command.
pub(crate) fn plan(args: &PlanArgs, config: &Config) -> Exit {
    let hosts = match expand(&args.reach, config) {
        Ok((hosts, _)) => hosts,
        Err(exit) => return exit,
    };
    let router = match Router::new() {
        Ok(router) => router,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let text = Tree::new(&router, &args.reach, &hosts, Secrets::default()).and_then(|tree| match args.json {
        true => json(&tree, &hosts),
        false => text(&tree, &hosts).map(String::into_bytes),
    });
    match text {
        Ok(text) => crate::cli::print(&text),
        Err(why) => fail(Exit::Usage, &why),
    }
}

/// One document, in which each hop has the hops that it starts.
fn json(tree: &Tree, hosts: &[HostPath]) -> Result<Vec<u8>, String> {
    let (mut known, mut behind) = (HashSet::new(), HashMap::<&[Hop], Vec<&[Hop]>>::new());
    for path in hosts.iter().flat_map(|host| (1..=host.hops.len()).map(|depth| &host.hops[..depth])) {
        if known.insert(path) {
            behind.entry(&path[..path.len() - 1]).or_default().push(path);
        }
    }
    Ok(safe_json::line(&json!({ "v": 1, "plan": values(tree, &[], &behind)? })))
}

/// The hops behind a path.
fn values(tree: &Tree, path: &[Hop], behind: &HashMap<&[Hop], Vec<&[Hop]>>) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for path in behind.get(path).into_iter().flatten() {
        let Some(hop) = path.last() else { continue };
        let (name, command) = tree.preview(path)?;
        all.push(json!({
            "hop": name,
            "method": hop.method.as_str(),
            "target": hop.target,
            "command": (!command.is_empty()).then_some(command),
            "behind": values(tree, path, behind)?,
        }));
    }
    Ok(all)
}

/// A line for each hop, below the hop that starts it.
fn text(tree: &Tree, hosts: &[HostPath]) -> Result<String, String> {
    let mut paths: Vec<&[Hop]> = Vec::new();
    let mut seen = HashSet::new();
    for host in hosts {
        paths.extend((1..=host.hops.len()).map(|depth| &host.hops[..depth]).filter(|path| seen.insert(*path)));
    }
    let mut text = String::new();
    let mut waiting: Vec<&[Hop]> = paths.iter().filter(|path| path.len() == 1).rev().copied().collect();
    while let Some(path) = waiting.pop() {
        let (name, command) = tree.preview(path)?;
        let command = match command.is_empty() {
            true => "a copy of this program, by the parent itself".into(),
            false => quote::line(command),
        };
        text.push_str(&format!("{}{}: {command}\n", "  ".repeat(path.len() - 1), visible::word(&name)));
        let is_child = |other: &&&[Hop]| other.len() == path.len() + 1 && other.starts_with(path);
        waiting.extend(paths.iter().filter(is_child).rev().copied());
    }
    Ok(text)
}
