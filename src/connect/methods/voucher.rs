//! Who checks what a context says that it has started, if this context cannot: a program that has joined a tree has no
//! routes to the contexts of others, so it asks the program that it has joined.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::shared::Shared;
use crate::wire::message::{ContextId, Handle};

/// A question to the program that has been joined.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What time it is, by the clock of its routing.
    Clock,
    /// Whether `via` may give away `child`, which it says to have started since then.
    Claim { child: ContextId, via: ContextId, since: u64 },
}

/// The time, and the name of the child if there is one; or the reason why `via` cannot have started it.
pub(crate) type Answer = Result<(u64, String), String>;

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The program that has been joined.
#[derive(Clone, Copy)]
pub(crate) struct Voucher {
    /// The handle that takes questions there.
    pub(crate) handle: Handle,
    /// Asks. It is a pointer so that programs that join nobody need not have the code.
    pub(crate) ask: fn(&Arc<Shared>, Handle, Question) -> Asking,
}

impl Voucher {
    /// Who has to be asked about children of `via`; `None` if this context knows itself.
    pub(super) fn of(shared: &Shared, via: ContextId) -> Option<Self> {
        let voucher = shared.voucher.get()?.downcast_ref::<Self>()?;
        (!shared.directory().contains(via) && !shared.parent_ids().contains(&via)).then_some(*voucher)
    }

    pub(super) async fn ask(self, shared: &Arc<Shared>, question: Question) -> Answer {
        (self.ask)(shared, self.handle, question).await
    }
}
