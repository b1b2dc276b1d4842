//! The options of `doctor`.

use std::time::Duration;

use clap::Args;

use super::ReachArgs;
use super::choosing::ChoiceArgs;
use super::passwords::PasswordArgs;
use super::reach::{BecomeArgs, ImageArgs, LeastArgs, SshArgs};
use crate::cli::duration;

/// `offshoot doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct DoctorArgs {
    /// The host, with all hops that lead to it, as bastion/web1
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The inventory that has the host; may be repeated
    #[arg(short = 'I', long, value_name = "PATH")]
    pub(crate) inventory: Vec<String>,
    #[command(flatten)]
    pub(crate) becoming: BecomeArgs,
    /// Reach the host through this path
    #[arg(long, value_name = "PATH")]
    #[arg(hide_short_help = true)]
    pub(crate) via: Option<String>,
    /// How long each hop may take to connect
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration::parse)]
    #[arg(hide_short_help = true)]
    pub(crate) connect_timeout: Duration,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) least: LeastArgs,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

impl DoctorArgs {
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs {
            hosts: vec![self.host.clone()],
            choosing: ChoiceArgs { inventory: self.inventory.clone(), ..ChoiceArgs::default() },
            via: self.via.clone(),
            fanout: 1,
            connect_timeout: self.connect_timeout,
            becoming: self.becoming.clone(),
            image: self.image.clone(),
            keep: None,
            kept_at: None,
            least: self.least.clone(),
            passwords: self.passwords.clone(),
            ssh: self.ssh.clone(),
        }
    }
}
