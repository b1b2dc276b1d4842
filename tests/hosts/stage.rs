//! The base of most trials: a router, and a trace of everything that it starts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use offshoot::{Context, Router};

use crate::fleet::Fleet;
use crate::support::trace::Trace;
use crate::support::{ONE_SECOND, promised, unique};

/// A stage with a router of its own. Each group of trials adds its own ways to connect.
pub(crate) struct Stage<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) router: Router,
    /// The remote name of all contexts.
    pub(crate) mark: String,
    pub(crate) trace: Trace,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Result<Self> {
        let mark = unique();
        Ok(Self { fleet, router: Router::new()?, trace: fleet.trace(&mark), mark })
    }

    pub(crate) async fn ssh(&self, alias: &str) -> Result<Context> {
        self.fleet.ssh(&self.router, alias, &self.mark).connect().await.with_context(|| alias.to_owned())
    }

    /// Ends everything in time, and checks that nothing is left.
    pub(crate) async fn end(self) -> Result<()> {
        self.end_within(ONE_SECOND).await
    }

    /// Does the same, with more time for others to clean up.
    pub(crate) async fn end_within(mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        self.router.shutdown().await;
        ensure!(start.elapsed() < promised(ONE_SECOND), "the shutdown took {:?}", start.elapsed());
        self.trace.expect_nothing_left(time)
    }
}
