//! Neighbours and routes by hand: streams that did not come by a connect.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::engine::io::{Io, Neighbour};
use crate::sys::pipe::{Input, Output, Stream};
use crate::wire::error::{ConnectError, ConnectErrorKind, DeadReason, Error, Phase};
use crate::wire::message::ContextId;

impl Io {
    /// Attaches a context that speaks frames on `stream` already, and
    /// announces it upstream.
    pub(crate) fn register(
        self: &Rc<Self>,
        context: ContextId,
        name: &str,
        stream: OwnedFd,
        authority: Option<ContextId>,
    ) -> Result<(), Error> {
        let refuse = |why: String| ConnectError::new(ConnectErrorKind::Start, Phase::Start, name, why);
        if context == self.shared.me || self.state.borrow().routing.link_to(context).is_some() {
            return Err(refuse(format!("context {context} is attached already")).into());
        }
        let open = |stream: OwnedFd| {
            let input = Input::new(stream.try_clone()?)?;
            Ok::<_, std::io::Error>(Stream { input, output: Output::new(stream)? })
        };
        let stream = open(stream).map_err(|error| refuse(format!("the stream cannot be watched: {error}")))?;
        self.attach(Neighbour { context, name, authority, stream, rest: Vec::new(), process: None });
        Ok(())
    }

    /// The neighbour by which a message to `target` leaves.
    pub(crate) fn neighbour(&self, target: ContextId) -> Option<(ContextId, String)> {
        let routing = &self.state.borrow().routing;
        let neighbour = routing.remote(routing.out(target).filter(|_| target != self.shared.me)?);
        let name = routing.name(neighbour).map_or_else(|| format!("context {neighbour}"), str::to_owned);
        Some((neighbour, name))
    }

    pub(crate) fn add_route(self: &Rc<Self>, target: ContextId, via: ContextId) -> Result<(), Error> {
        let refuse = |reason: String| DeadReason::refused(reason).at(self.shared.me);
        let mut state = self.state.borrow_mut();
        let link = state.routing.link_of(via);
        let link = link.ok_or_else(|| refuse(format!("context {via} is no neighbour of {}", self.shared.me)))?;
        state.routing.set_out(link, target).map_err(refuse)
    }

    pub(crate) fn del_route(self: &Rc<Self>, target: ContextId) {
        let mut state = self.state.borrow_mut();
        let link = state.routing.link_to(target);
        let gone = link.and_then(|link| state.routing.del_route(link, target));
        drop(state);
        if let Some(gone) = gone {
            self.contexts_gone(&gone);
        }
    }

    pub(crate) fn stamp(&self, neighbour: ContextId, authority: Option<ContextId>) {
        let mut state = self.state.borrow_mut();
        if let Some(link) = state.routing.link_of(neighbour) {
            state.routing.stamp(link, authority);
        }
    }
}
