//! Manual neighbours and routes, for programs that provide a stream themselves.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::context::Context;
use crate::api::router::Router;
use crate::engine::io::Io;
use crate::engine::shared::Request;
use crate::wire::error::{Closed, Error};
use crate::wire::message::ContextId;

impl Router {
    /// Allocates a context id that is unique in the tree, and is not used again. Children request ids from
    /// their parents, 1,000 at a time. Cancel safe: an id that nobody takes is not given again. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent supplies no ids, [`Error::Closed`] if the router has ended.
    pub async fn allocate_id(&self) -> Result<ContextId, Error> {
        self.ask(|io, reply| {
            let io = Rc::clone(io);
            tokio::task::spawn_local(async move {
                let _ = reply.send(io.ids().allocate(&io).await);
            });
        })
        .await?
    }

    /// Attaches `context` as a neighbour, as if this context had started it. The program at the other end of
    /// `stream` must already use the frame protocol of this crate.
    ///
    /// If `authority` is given, the messages that arrive on the stream get it instead of their own authority.
    /// With this context's own id, they have the rights of this context in all contexts behind this one. In a
    /// child, the id of `context` must come from [`Router::allocate_id`]; otherwise the parent does not
    /// register the context. Dropping the future ends the wait only: the context is attached. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the context is already attached, or if the stream cannot be polled (for example
    /// a regular file), [`Error::Closed`] if the router has ended.
    pub async fn register(
        &self,
        context: &Context,
        stream: impl Into<OwnedFd>,
        authority: Option<ContextId>,
    ) -> Result<(), Error> {
        let (stream, id, name) = (stream.into(), context.id(), context.name().to_owned());
        self.ask(move |io, reply| {
            let _ = reply.send(io.neighbours().register(io, id, &name, stream, authority));
        })
        .await?
    }

    /// Sets the authority of all messages that arrive on the neighbour's stream from now on. With `None`, the
    /// default, they keep their own authority. Has no effect if `neighbour` is not directly attached. Does
    /// not block.
    ///
    /// A child whose messages get this context's id as authority may call functions in its siblings.
    #[doc(alias = "auth_id")]
    pub fn stamp(&self, neighbour: &Context, authority: Option<ContextId>) {
        let id = neighbour.id();
        self.shared().request(Request::Do(Box::new(move |io| io.neighbours().stamp(io, id, authority))));
    }

    /// The neighbour through which a message to `id` leaves. If no route is known, this is the parent. `None`
    /// if there is no parent either, or if `id` is this context. Cancel safe.
    /// Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the router has ended.
    pub async fn stream_by_id(&self, id: ContextId) -> Result<Option<Context>, Error> {
        let found = self
            .ask(move |io, reply| {
                let _ = reply.send(io.neighbours().on_the_way_to(io, id));
            })
            .await?;
        Ok(found.map(|(id, name)| Context::new(Arc::clone(self.shared()), id, &name)))
    }

    /// Adds a route: messages to `target` leave through the neighbour `via`, until that neighbour has gone.
    /// The route is not announced to other contexts. Dropping the future ends the wait only: the route is added. Code that is not async uses [`block_on`](crate::block_on).
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if a route already exists or `via` is not a neighbour, [`Error::Closed`] if the
    /// router has ended.
    pub async fn add_route(&self, target: ContextId, via: &Context) -> Result<(), Error> {
        let via = via.id();
        self.ask(move |io, reply| {
            let _ = reply.send(io.neighbours().add_route(io, target, via));
        })
        .await?
    }

    /// Removes the route to `target`, as if that context had gone. Everything that waits for an answer from
    /// it gets an error. Has no effect if there is no route. Does not block.
    pub fn del_route(&self, target: ContextId) {
        self.shared().request(Request::Do(Box::new(move |io| io.neighbours().del_route(io, target))));
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rc<Io>, oneshot::Sender<T>) + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.shared().request(Request::Do(Box::new(move |io| work(io, reply))));
        answer.await.map_err(|_| Error::Closed(Closed::Router))
    }
}
