//! Connects as values: the child to start, its settings, and the context that starts it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::context::Context;
use crate::api::function::{Allowed, Function};
use crate::api::router::Router;
#[cfg(feature = "cli")]
use crate::connect::bootstrap::Nonce;
#[cfg(feature = "cli")]
use crate::connect::methods::Run;
use crate::connect::methods::delegated_connect::{connect_here, connect_there};
#[cfg(feature = "cli")]
use crate::connect::methods::launch::without_stage;
use crate::connect::methods::question::Answerer;
use crate::connect::methods::{
    Buildah, CONNECT_TIMEOUT, Doas, Docker, Fork, Incus, Jail, Kubectl, Launcher, Local, Lxc, Lxd, Podman, Setns, Spec,
    Ssh, Su, Sudo, Variant,
};
use crate::engine::descendants::Descendants;
use crate::engine::shared::{Request, Shared};
use crate::sys::blocking::block_on;
use crate::wire::codec::Secret;
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{Error, Reader};

/// A method to start a child: the `M` of a [`Connect<M>`].
///
/// This trait is sealed: only this crate has methods. It is public so that code can be written once for all
/// methods:
///
/// ```no_run
/// use offshoot::connect::{Connect, Method};
/// use offshoot::{Context, Error};
///
/// /// Whatever the way, the machine keeps the image.
/// async fn start<M: Method>(connect: Connect<M>, name: &str) -> Result<Context, Error> {
///     connect.cache(true).name(name).await
/// }
/// # async fn demo(router: offshoot::Router) -> Result<(), Error> {
/// start(router.ssh("web1"), "web").await?;
/// start(router.docker("app"), "app").await?;
/// # Ok(()) }
/// ```
pub trait Method: Into<AnyMethod> + fmt::Debug + Clone + Send + Sync + 'static + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

/// Any of the methods; see [`Connect::boxed`].
#[derive(Debug, Clone)]
pub struct AnyMethod(pub(crate) Variant);

macro_rules! methods {
    ($($name:ident)*) => { $(
        impl sealed::Sealed for $name {}
        impl Method for $name {}
    )* };
}
methods! { AnyMethod Buildah Doas Docker Fork Incus Jail Kubectl Launcher Local Lxc Lxd Podman Setns Ssh Su Sudo }

/// A child to start: a method and its settings. `.await` starts it, as [`Connect::connect`] does.
///
/// ```
/// use offshoot::{Error, Router};
///
/// # fn main() -> std::process::ExitCode {
/// # offshoot::run(app) }
/// # async fn app(router: Router) -> Result<(), Error> {
/// let child = router.local().name("first").await?;
/// let below = router.local().via(&child).connect().await?;
/// assert_eq!(below.name().split('.').next(), Some("first"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens before it is awaited"]
pub struct Connect<M> {
    router: Router,
    via: Option<Context>,
    spec: Spec,
    answerer: Option<Answerer>,
    /// The hops before the last one, in order.
    before: Vec<Hop>,
    pub(super) method: M,
}

/// A hop on the way to the last one.
#[derive(Debug, Clone)]
struct Hop {
    method: AnyMethod,
    name: Option<String>,
}

impl<M: Method> Connect<M> {
    pub(crate) fn new(router: &Router, method: M) -> Self {
        let spec = Spec {
            // The method is filled in when the connect begins.
            method: Variant::Local(Local::default()),
            name: None,
            remote_name: None,
            connect_timeout: CONNECT_TIMEOUT,
            limit: None,
            unidirectional: None,
            allowed: None,
            descendants: None,
            levels: None,
            debug: None,
            profiling: None,
            on_start: None,
            exec_prefix: Vec::new(),
            shell: "sh".into(),
            binary: None,
            may_send: true,
            cache: false,
            copied: false,
            #[cfg(feature = "cli")]
            logged_in: None,
        };
        Self { router: router.clone(), via: None, spec, answerer: None, before: Vec::new(), method }
    }

    /// The same connect without its method's type, so that connects of different methods can be in one
    /// collection.
    ///
    /// ```
    /// # use offshoot::{Error, Router};
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// for connect in vec![router.local().boxed(), router.fork().boxed()] {
    ///     println!("{} is up", connect.await?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn boxed(self) -> Connect<AnyMethod> {
        let Self { router, via, spec, answerer, before, method } = self;
        Connect { router, via, spec, answerer, before, method: method.into() }
    }

    /// Name of the new context. Default: made by the method, such as `ssh.web1`. If another context starts the
    /// child, the name of that context stands in front. Of a name of more than 255 bytes, the last 255 are
    /// kept.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// The name of the child in `ps`, as `offshoot:NAME`. It must not contain slashes. Default: `USER@HOST:PID`
    /// of the process that starts it.
    pub fn remote_name(mut self, name: impl Into<String>) -> Self {
        self.spec.remote_name = Some(name.into());
        self
    }

    /// Time limit for everything up to the handshake: login, upload, start. Default: 30 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.spec.connect_timeout = limit;
        self
    }

    /// The time that was given for the connect, if some of it was spent before.
    #[cfg(feature = "cli")]
    pub(crate) fn of_limit(mut self, limit: Duration) -> Self {
        self.spec.limit = Some(limit);
        self
    }

    /// Whether the child's children may exchange messages only with their parents and children. Default: the
    /// setting of the router that starts it.
    pub fn unidirectional(mut self, on: bool) -> Self {
        self.spec.unidirectional = Some(on);
        self
    }

    /// Adds a function to those that the child runs. A child for which this is never called runs all exported functions
    /// of the program, and those of the library. With it, the child refuses all others, from every caller, with
    /// [`ChannelErrorKind::Refused`](crate::error::ChannelErrorKind::Refused), and so do all children of the child.
    /// The function of [`on_start`](Self::on_start) is added by itself.
    ///
    /// What the library has of its own is added by the constants [`process::COMMANDS`](crate::process::COMMANDS),
    /// [`file::FILES`](crate::file::FILES), [`net::SOCKETS`](crate::net::SOCKETS) and
    /// [`connect::CHILDREN`](crate::connect::CHILDREN). Without the last one, no context can be started through the
    /// child.
    ///
    /// The child itself holds to this. It protects the machine of an honest child from contexts with authority over it
    /// that were taken over later, and from mistakes. It does not protect from a hop that was hostile when it started
    /// the child, because the hop could have started another program.
    ///
    /// ```
    /// use offshoot::facts::host_facts;
    /// use offshoot::{Error, Router};
    ///
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// let child = router.local().allow(host_facts).await?;
    /// assert!(child.facts().await.is_ok());
    /// assert!(child.command("id").output().await.unwrap_err().is_refused());
    /// # Ok(()) }
    /// ```
    pub fn allow<A: Allowed<K>, K>(mut self, function: A) -> Self {
        self.spec.allowed.get_or_insert_default().extend(function.names().into_iter().map(str::to_owned));
        self
    }

    /// As [`allow`](Self::allow), by name.
    #[cfg(feature = "cli")]
    pub(crate) fn allow_names(mut self, names: &[&str]) -> Self {
        self.spec.allowed.get_or_insert_default().extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// What happens to processes below the child when it ends. Its own children inherit this. Default: the
    /// setting of [`Router::supervise`] in this process, or else the setting of the context that starts the
    /// child, or else [`Descendants::End`].
    pub fn descendants(mut self, what: Descendants) -> Self {
        self.spec.descendants = Some(what);
        self
    }

    /// Whether the child, and every context that is started behind it, writes a debug log; see
    /// [`Router::enable_debug`]. Default: true if this router or the context that starts the child writes one.
    pub fn debug(mut self, on: bool) -> Self {
        self.spec.debug = Some(on);
        self
    }

    /// Whether the child, and every context that is started behind it, reports at its end how it has spent its
    /// time; see [`RouterBuilder::profiling`]. Default: true if this router or the context that starts the
    /// child does so.
    ///
    /// [`RouterBuilder::profiling`]: crate::router::RouterBuilder::profiling
    pub fn profiling(mut self, on: bool) -> Self {
        self.spec.profiling = Some(on);
        self
    }

    /// Command and arguments to put before the first stage's shell, such as `["nice", "-n5"]`. Default: none.
    #[doc(alias = "python_path")]
    pub fn exec_prefix<S: Into<String>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        self.spec.exec_prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// The shell that runs the first stage. Default: `sh`.
    pub fn shell(mut self, shell: impl Into<String>) -> Self {
        self.spec.shell = shell.into();
        self
    }

    /// Path of a copy of this program on the machine, which is run instead of an uploaded one. It must be of
    /// the same build, or have the same function table. Default: none.
    ///
    /// With [`allow`](Self::allow), its arguments are always the same: they name the functions, and the copy runs no others,
    /// whatever the parent says. So a rule of sudo can allow this command and no other one.
    pub fn binary(mut self, path: impl Into<String>) -> Self {
        self.spec.binary = Some(path.into());
        self
    }

    /// Whether an image may be sent to the machine. Without, the connect fails with
    /// [`ConnectErrorKind::Image`](crate::error::ConnectErrorKind::Image) if the machine has none: by
    /// [`binary`](Self::binary), by [`cache`](Self::cache), or as root on the machine of the parent. Default: true.
    pub fn upload(mut self, on: bool) -> Self {
        self.spec.may_send = on;
        self
    }

    /// A function that runs in the child before its first call. If it fails, the connect fails, and the child
    /// ends. It takes no arguments and has to be exported. Default: none.
    ///
    /// ```
    /// use offshoot::{Error, Router, export};
    ///
    /// fn prepare() -> std::io::Result<()> {
    ///     std::env::set_current_dir("/")
    /// }
    /// export!(prepare);
    ///
    /// # fn main() -> std::process::ExitCode {
    /// # offshoot::run(app) }
    /// # async fn app(router: Router) -> Result<(), Error> {
    /// let child = router.local().on_start(prepare).await?;
    /// # Ok(()) }
    /// ```
    pub fn on_start<F, K>(mut self, function: F) -> Self
    where
        F: Function<K, Args = ()>,
    {
        let _ = function;
        self.spec.on_start = Some(std::any::type_name::<F>().to_owned());
        self
    }

    /// Answers questions of ssh, sudo, su or doas that the password does not answer, such as for a one-time
    /// code. The function gets the question and returns the text to type, or `None` to give up. It runs on a
    /// thread where it may block. Its time counts for [`Connect::connect_timeout`]. Default: such a question is
    /// an error that repeats it.
    ///
    /// It runs in this process, also with [`Connect::via`]: then the question comes from that context, and the
    /// answer goes there as a [`Secret`]. Only this function is asked. Control characters in a question are
    /// escaped.
    pub fn on_question(mut self, answer: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static) -> Self {
        self.answerer = Some(Answerer::Here(Arc::new(answer)));
        self
    }

    /// Whether the machine keeps the image, below `$XDG_CACHE_HOME` or `~/.cache`, so that it is sent once. At
    /// every use, a tool of the machine hashes it (`sha256sum`, `shasum`, `openssl` or perl; without any of
    /// these, nothing is kept). So a changed file is never run. At most four images are kept. Default: false.
    pub fn cache(mut self, on: bool) -> Self {
        self.spec.cache = on;
        self
    }

    /// The context that starts the child. Default: this one.
    pub fn via(mut self, via: &Context) -> Self {
        self.via = Some(via.clone());
        self
    }

    /// Starts the child and waits until it is up. Awaiting the connect itself does the same.
    ///
    /// Dropping the future ends everything that it has started.
    /// Code that is not async uses [`Connect::blocking_connect`].
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the phase and the hop that failed, also if it failed behind `via`;
    /// [`Error::Channel`] if `via` is gone.
    pub async fn connect(self) -> Result<Context, Error> {
        let established = self.boxed().establish().await;
        established.map(|(context, _)| context).map_err(|error| error.for_reader(Reader::Program))
    }

    /// A token to cancel when the launcher has logged in. If another context starts the child, it is not cancelled.
    #[cfg(feature = "cli")]
    pub(crate) fn logged_in(mut self, token: tokio_util::sync::CancellationToken) -> Self {
        self.spec.logged_in = Some(token);
        self
    }

    /// As [`Connect::connect`], but also returns what was tried, step by step, with the advice for this reader.
    #[cfg(feature = "cli")]
    pub(crate) async fn examine_for(self, reader: Reader) -> crate::connect::report::Examined {
        let (context, trace) = match self.boxed().establish().await {
            Ok((context, trace)) => (Ok(context), trace),
            Err(error) => (Err(error.for_reader(reader)), ConnectTrace::default()),
        };
        crate::connect::report::Examined { context, trace }
    }

    /// As [`Connect::connect`], for code that is not async. It blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`Connect::connect`].
    pub fn blocking_connect(self) -> Result<Context, Error> {
        block_on(self.connect())
    }
}

impl<M: Method> IntoFuture for Connect<M> {
    type Output = Result<Context, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.boxed().connect())
    }
}

impl Connect<AnyMethod> {
    /// The last of these connects, through the others. Of the others, only the method and the name matter.
    pub(crate) fn along(router: &Router, hops: impl Iterator<Item = Self>) -> Self {
        let mut hops: Vec<Self> = hops.collect();
        let last = hops.pop().unwrap_or_else(|| router.local().boxed());
        let before = hops.into_iter().map(|hop| Hop { method: hop.method, name: hop.spec.name }).collect();
        Self { before, ..last }
    }

    /// The name of the hop, and the command that would start it, without the first stage, as errors show it. The
    /// command is empty if the parent executes its own image.
    ///
    /// # Errors
    ///
    /// Which option is not possible, and why.
    #[cfg(feature = "cli")]
    pub(crate) fn preview(self) -> Result<(String, Vec<String>), String> {
        let Self { spec, method, .. } = self;
        let spec = Spec { method: method.0, ..spec };
        // Nothing is started, so nobody has to guess it.
        let nonce = Nonce::from_bytes([0; 16]);
        let plan = spec.plan(&nonce, &spec.remote_name()?, false)?;
        let command = match plan.run {
            Run::OwnImage => Vec::new(),
            Run::Inside { ask, .. } => ask,
            Run::Command(argv) => without_stage(&argv, &nonce),
        };
        Ok((spec.hop(), command))
    }

    /// Starts the child. Also returns what was seen during the connect.
    async fn establish(self) -> Result<(Context, ConnectTrace), Error> {
        let Self { router, mut via, mut spec, answerer, before, method } = self;
        let shared = router.shared();
        spec.descendants = spec.descendants.or_else(|| shared.descendants());
        spec.levels = Some(shared.wanted_levels());
        spec.debug = spec.debug.or_else(|| shared.debugs().then_some(true));
        spec.profiling = spec.profiling.or_else(|| shared.profile.is_some().then_some(true));
        let (begun, limit) = (Instant::now(), spec.connect_timeout);
        let given = spec.limit();
        let mut unfinished = Unfinished { shared, first: None };
        let only_leads_on = Spec { name: None, remote_name: None, on_start: None, allowed: None, ..spec.clone() };
        for Hop { method, name } in before {
            let connect_timeout = limit.saturating_sub(begun.elapsed());
            let spec = Spec { method: method.0, name, connect_timeout, limit: Some(given), ..only_leads_on.clone() };
            let (context, _) = start(&router, via.as_ref(), spec, answerer.clone()).await?;
            unfinished.first.get_or_insert_with(|| context.clone());
            via = Some(context);
        }
        spec.method = method.0;
        if unfinished.first.is_some() {
            spec.spend(begun.elapsed());
        }
        let started = start(&router, via.as_ref(), spec, answerer).await?;
        unfinished.first = None;
        Ok(started)
    }
}

/// Hops of a connect that is not complete. They end if this is dropped.
struct Unfinished<'a> {
    shared: &'a Shared,
    /// The first hop. Everything behind it ends with it.
    first: Option<Context>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            self.shared.request(Request::End(first.id()));
        }
    }
}

async fn start(
    router: &Router,
    via: Option<&Context>,
    spec: Spec,
    answerer: Option<Answerer>,
) -> Result<(Context, ConnectTrace), Error> {
    let shared = router.shared();
    let connected = match via.filter(|via| via.id() != shared.me) {
        None => connect_here(router, spec, answerer).await?,
        Some(via) => {
            let connected = connect_there(router, via, spec, answerer).await?;
            shared.directory().set_via(connected.id, via.id());
            connected
        }
    };
    Ok((Context::new(shared.clone(), connected.id, &connected.name), connected.trace))
}
