//! The options that choose hosts, beside the expressions.

use clap::Args;

use super::number::number;
use crate::cli::hosts::expression::Choice;
use crate::cli::inventory::Inventories;

/// Which of the hosts, and where groups come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct ChoiceArgs {
    /// All hosts of the inventories
    #[arg(short, long)]
    #[arg(hide_short_help = true)]
    pub(crate) all: bool,
    /// Leave out these hosts; may be repeated
    #[arg(short = 'x', long, value_name = "HOSTS")]
    pub(crate) except: Vec<String>,
    /// Take only this many of the hosts, by chance
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX))]
    #[arg(hide_short_help = true)]
    pub(crate) pick: Option<u32>,
    /// The inventory with the groups, PATH or FORMAT:PATH; may be repeated [default: those that are found]
    #[arg(short = 'I', long, value_name = "PATH")]
    pub(crate) inventory: Vec<String>,
}

/// The variable that pdsh has for a file of hosts.
pub(crate) const WCOLL: &str = "WCOLL";

fn wcoll() -> Option<String> {
    std::env::var(WCOLL).ok().filter(|path| !path.is_empty())
}

/// The options that name hosts if there are no expressions. If there are none of these, the variable does.
pub(super) fn how_else() -> Vec<&'static str> {
    if wcoll().is_some() { Vec::new() } else { vec!["all"] }
}

/// The same where the groups can be asked for.
pub(super) fn how_else_or_groups() -> Vec<&'static str> {
    let mut options = how_else();
    if !options.is_empty() {
        options.push("groups");
    }
    options
}

impl ChoiceArgs {
    /// # Errors
    ///
    /// If `-a` stands for the hosts of inventories, and there are none or they cannot be read.
    pub(crate) fn check(&self, inventories: &mut Inventories) -> Result<(), String> {
        if self.all { inventories.check_all() } else { Ok(()) }
    }

    /// What is chosen, beside `expressions`.
    pub(crate) fn choice(&self, expressions: &[String]) -> Choice {
        let mut expressions = expressions.to_vec();
        if self.all {
            expressions.push("@all".into());
        }
        if expressions.is_empty() {
            expressions.extend(wcoll().map(|path| format!("^{{{path}}}")));
        }
        let pick = self.pick.map(|count| count as usize);
        Choice { expressions, excluded: self.except.clone(), pick }
    }
}
