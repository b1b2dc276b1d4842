//! What a command needs that connects to hosts.

use std::rc::Rc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::cli::args::ReachArgs;
use crate::cli::complaint::fail;
use crate::cli::ending::Signals;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::path::HostPath;
use crate::cli::kept::keeping::Keeping;
use crate::cli::secret::{Secrets, Unasked};
use crate::cli::tree::Tree;
use crate::{Context, Error, Router};

/// A router, the runtime for its futures, and the tree of connects to the hosts.
pub(crate) struct Session {
    pub(crate) router: Router,
    pub(crate) runtime: Runtime,
    pub(crate) tree: Tree,
}

impl Session {
    /// Gets the passwords, and makes the rest. Nothing is connected yet. On SIGUSR2 the router says what it waits for.
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
        let secrets = Secrets::gather(reach, hosts).map_err(|why| match why {
            Unasked::Interrupted => Exit::Interrupted,
            Unasked::Failed(why) => fail(Exit::Usage, &why),
        })?;
        let router = router().map_err(|error| fail(Exit::Internal, &error))?;
        router.dump_on_sigusr2().map_err(|error| fail(Exit::Internal, &error))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fail(Exit::Internal, &error))?;
        let tree = Tree::new(&router, reach, hosts, secrets).map_err(|error| fail(Exit::Usage, &error))?;
        Ok(Self { router, runtime, tree })
    }

    /// Uses connections of earlier runs, and has those of this one kept if that was asked for.
    pub(crate) fn with_kept(self, reach: &ReachArgs) -> Self {
        let keeping = self.runtime.block_on(Keeping::begin(reach));
        Self { tree: self.tree.with_keeping(keeping), ..self }
    }

    /// Does the work until it is done or a signal comes, and ends everything in order.
    pub(crate) fn until_signal(self, work: impl AsyncFnOnce(&Rc<Tree>) -> Exit) -> Exit {
        let Self { router, runtime, tree } = self;
        let tree = Rc::new(tree);
        runtime.block_on(async {
            let mut signals = match Signals::new() {
                Ok(signals) => signals,
                Err(error) => return fail(Exit::Internal, &error),
            };
            let local = LocalSet::new();
            let exit = tokio::select! {
                biased;
                signal = signals.next() => signal,
                exit = local.run_until(work(&tree)) => exit,
            };
            let all = async {
                router.shutdown().await;
                if let Some(kept) = tree.kept_router() {
                    kept.shutdown().await;
                }
            };
            // After another signal, everything behind the links ends because the links end.
            tokio::select! {
                biased;
                signal = signals.next() => signal,
                () = all => exit,
            }
        })
    }
}

/// Connects to the host of a command that has one host.
///
/// # Errors
///
/// How the tool ends. It has been printed.
pub(crate) async fn connected(tree: &Rc<Tree>, host: &HostPath, reach: &ReachArgs) -> Result<Context, Exit> {
    tree.context(&host.hops).await.map_err(|error| {
        let flag = match reach.becoming.become_user.as_deref() {
            None => String::new(),
            Some("root") => "-b ".into(),
            Some(user) => format!("-b={user} "),
        };
        let text = format!("{error}\n(`offshoot doctor {flag}{}` tries the way step by step)", host.text);
        fail(unreachable(), &text)
    })
}

/// How the tool ends if that host is not reached, or lost.
pub(crate) fn unreachable() -> Exit {
    Exit::Done(Outcome { unreachable: true, ..Outcome::default() })
}
