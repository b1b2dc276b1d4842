//! The options of `plan`.

use clap::Args;

use crate::cli::args::ReachArgs;

/// `offshoot plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct PlanArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}
