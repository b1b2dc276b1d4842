//! Neighbours and routes by hand, for those who bring a stream of their own.

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
    /// A new number for a context, that nobody else in the tree has or will
    /// get. Children ask upstream for 1,000 at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if the parent gives none, [`Error::Closed`] if the
    /// router has ended.
    pub async fn allocate_id(&self) -> Result<ContextId, Error> {
        self.ask(|io, reply| {
            let io = Rc::clone(io);
            tokio::task::spawn_local(async move {
                let _ = reply.send(io.ids().allocate(&io).await);
            });
        })
        .await?
    }

    /// Attaches `context`, which speaks this crate's frames at the other end
    /// of `stream` already, as a neighbour, as if this context had started it.
    ///
    /// Whatever comes in by the stream acts under `authority`, if one is
    /// given, instead of its own: with this context's own number it may do
    /// what this context may, to all that lies behind this one. In a child the
    /// context's number must be one of [`Router::allocate_id`], or the parent
    /// does not take note of it.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the context is attached already or the stream
    /// cannot be watched (a plain file cannot), [`Error::Closed`] if the router
    /// has ended.
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

    /// From now on whatever comes in by the neighbour's stream acts under
    /// `authority`; `None`, the default: under its own. Does nothing if
    /// `neighbour` is not directly attached.
    ///
    /// A child that is stamped with this context's number may call functions
    /// in its siblings.
    #[doc(alias = "auth_id")]
    pub fn stamp(&self, neighbour: &Context, authority: Option<ContextId>) {
        let id = neighbour.id();
        self.shared().request(Request::Do(Box::new(move |io| io.neighbours().stamp(io, id, authority))));
    }

    /// The neighbour by whose stream a message to `id` leaves: the parent if
    /// no route is known, `None` if there is no parent either, or if it is
    /// this context itself.
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

    /// Messages to `target` leave by the stream of `via`, a neighbour, until
    /// that is gone. Only this context takes note of it.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] if there is a route already or `via` is no
    /// neighbour, [`Error::Closed`] if the router has ended.
    pub async fn add_route(&self, target: ContextId, via: &Context) -> Result<(), Error> {
        let via = via.id();
        self.ask(move |io, reply| {
            let _ = reply.send(io.neighbours().add_route(io, target, via));
        })
        .await?
    }

    /// Forgets the route to `target`, as if it had gone: whoever waits for an
    /// answer from it is told. Does nothing if there is none.
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
