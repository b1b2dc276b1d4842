//! The options of `plan`.

use clap::Args;

use crate::cli::args::ReachArgs;

/// `offshoot plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}
