//! The command line of `offshoot forward`.

use clap::Args;

use super::ReachArgs;
use super::rsh::WayArgs;
use crate::cli::forward::rule::Rule;

/// `offshoot forward`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = FORWARD_USAGE, after_help = FORWARD_HELP)]
pub(crate) struct ForwardArgs {
    /// The host that the connections are made from, with all hops that lead to it, as bastion/web1
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// Listen on PORT, and pass connections on to HOST:PORT as HOST sees it; may be repeated
    #[arg(short = 'L', long = "listen", value_name = "[BIND:]PORT:HOST:PORT", required = true)]
    #[arg(value_parser = Rule::parse)]
    pub(crate) rules: Vec<Rule>,
    /// Reach the host through this path
    #[arg(long, value_name = "PATH")]
    pub(crate) via: Option<String>,
    #[command(flatten)]
    pub(crate) way: WayArgs,
}

const FORWARD_USAGE: &str = "offshoot forward [OPTIONS] HOST -L [BIND:]PORT:HOST:PORT...";

pub(super) const FORWARD_HELP: &str = "\
It listens on 127.0.0.1, unless BIND is another address of this machine, or * for all. Port 0 is
any free one. A path with a / in place of [BIND:]PORT or HOST:PORT is a unix socket; one that is
made here is for this user only. Once the host is reached it says what it listens on. It ends by
Ctrl-C, or when the connection to the host is lost.

Examples:
  offshoot forward bastion/web1 -L 8080:localhost:80
  offshoot forward web1/sudo -L 5432:db.internal:5432 -L ./docker.sock:/run/docker.sock
  offshoot forward web1/docker:app -L 0:localhost:6379";

impl ForwardArgs {
    /// The same as `run` takes it.
    pub(crate) fn reach(&self) -> ReachArgs {
        ReachArgs { hosts: vec![self.host.clone()], via: self.via.clone(), ..self.way.reach() }
    }
}
