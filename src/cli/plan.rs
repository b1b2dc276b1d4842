//! `offshoot plan`: the tree of hops that a run would make, with the command of each hop.

use std::collections::HashSet;

use crate::Router;
use crate::cli::args::plan::PlanArgs;
use crate::cli::complaint::fail;
use crate::cli::config::Config;
use crate::cli::exit::Exit;
use crate::cli::hosts::path::{Hop, HostPath};
use crate::cli::output::visible;
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
    let text = Tree::new(&router, &args.reach, &hosts, Secrets::default()).and_then(|tree| text(&tree, &hosts));
    match text {
        Ok(text) => crate::cli::print(text.as_bytes()),
        Err(why) => fail(Exit::Usage, &why),
    }
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
