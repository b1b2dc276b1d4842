//! What a command needs that connects to hosts.

use tokio::runtime::{Builder, Runtime};

use crate::cli::args::ReachArgs;
use crate::cli::complaint::fail;
use crate::cli::exit::Exit;
use crate::cli::hosts::path::HostPath;
use crate::cli::secret::{Secrets, Unasked};
use crate::cli::tree::Tree;
use crate::{Error, Router};

/// A router, the runtime for its futures, and the tree of connects to the hosts.
pub(crate) struct Session {
    pub(crate) router: Router,
    pub(crate) runtime: Runtime,
    pub(crate) tree: Tree,
}

impl Session {
    /// Asks for passwords, and makes the rest. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// How the tool ends. It has been printed.
    pub(crate) fn begin(
        reach: &ReachArgs,
        hosts: &[HostPath],
        router: impl FnOnce() -> Result<Router, Error>,
    ) -> Result<Self, Exit> {
        // The tool asks before it starts another thread, which could write to the terminal.
        let secrets = Secrets::ask(reach).map_err(|why| match why {
            Unasked::Interrupted => Exit::Interrupted,
            Unasked::Failed(why) => fail(Exit::Usage, &why),
        })?;
        let router = router().map_err(|error| fail(Exit::Internal, &error))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fail(Exit::Internal, &error))?;
        let tree = Tree::new(&router, reach, hosts, secrets).map_err(|error| fail(Exit::Usage, &error))?;
        Ok(Self { router, runtime, tree })
    }
}
