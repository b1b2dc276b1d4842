//! Methods: the ways to start a child.
//!
//! A method makes a [`Plan`]: which command to run, with which kind of stdio,
//! what that may ask, and how to read what it says. What follows is the same
//! for all: launch it, carry the bootstrap dialogue, attach the link.

mod account;
mod connect;
mod container;
mod delegated_connect;
mod doas;
mod factories;
mod local;
mod remote_command;
pub(crate) mod setns;
mod ssh;
mod su;
mod sudo;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use account::Account;
pub use account::{Doas, Su};
use connect::connect;
use container::Container;
#[cfg(feature = "cli")]
pub(crate) use container::Engine;
pub use container::{Buildah, Docker, Incus, Jail, Kubectl, Lxc, Lxd, Podman};
pub(crate) use delegated_connect::{Connected, Unclaimed};
pub use local::{Fork, Local};
use remote_command::RemoteCommand;
pub use setns::Setns;
pub use ssh::{CheckHostKeys, Keepalive, SshOptions as Ssh};
pub use sudo::Sudo;

use crate::api::context::Context;
use crate::api::router::Router;
use crate::connect::bootstrap::{Interpret, Nonce, Prompts};
use crate::engine::descendants::Descendants;
use crate::engine::log::Levels;
use crate::sys::blocking::block_on;
use crate::sys::process::Stdio;
use crate::wire::codec::Secret;
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{ConnectError, ConnectErrorKind, Error, Phase, joined};

/// Default time for a whole connect.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A child to start: everything that has to travel when another context is to
/// start it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) method: Method,
    pub(crate) name: Option<String>,
    pub(crate) remote_name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) unidirectional: Option<bool>,
    pub(crate) descendants: Option<Descendants>,
    /// The log records that the master shows; `None` until it is known.
    pub(crate) levels: Option<Levels>,
    pub(crate) debug: Option<bool>,
    pub(crate) profiling: Option<bool>,
    /// Put before the first stage's shell.
    pub(crate) exec_prefix: Vec<String>,
    pub(crate) shell: String,
    /// An image that is there already: nothing is uploaded.
    pub(crate) binary: Option<String>,
    /// Whether the machine may keep the image.
    pub(crate) cache: bool,
    /// No first stage can run there, so the image is copied in. It turns out on
    /// the way.
    #[serde(skip)]
    pub(crate) copied: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[doc(hidden)]
pub enum Method {
    Local(Local),
    Fork(Fork),
    Ssh(Ssh),
    Sudo(Sudo),
    Account(Account),
    Container(Container),
    Setns(Setns),
}

/// Answers questions of a launcher that nothing else answers.
#[derive(Clone)]
pub(crate) struct Answerer(Arc<Answer>);

type Answer = dyn Fn(&str) -> Option<Secret> + Send + Sync;

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

/// A child to start: settings, ended by [`Connect::connect`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before connect()"]
pub struct Connect<M> {
    router: Router,
    via: Option<Context>,
    spec: Spec,
    answerer: Option<Answerer>,
    method: M,
}

impl<M: Into<Method>> Connect<M> {
    pub(crate) fn new(router: &Router, method: M) -> Self {
        let spec = Spec {
            method: Method::Local(Local::default()),
            name: None,
            remote_name: None,
            connect_timeout: CONNECT_TIMEOUT,
            unidirectional: None,
            descendants: None,
            levels: None,
            debug: None,
            profiling: None,
            exec_prefix: Vec::new(),
            shell: "sh".into(),
            binary: None,
            cache: false,
            copied: false,
        };
        Self { router: router.clone(), via: None, spec, answerer: None, method }
    }

    /// Name of the new context. Default: by the method, as `ssh.web1`. Behind
    /// another context that one's name stands in front; of more than 255 bytes
    /// the last are kept.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// What `ps` shows of the child, as `offshoot:NAME`. Must not contain
    /// slashes. Default: `USER@HOST:PID` of the process that starts it.
    pub fn remote_name(mut self, name: impl Into<String>) -> Self {
        self.spec.remote_name = Some(name.into());
        self
    }

    /// Time for everything up to the handshake: login, upload, start.
    /// Default: 30 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.spec.connect_timeout = limit;
        self
    }

    /// Whether the child's children may talk only to their parents and
    /// children. Default: as the router that starts it.
    pub fn unidirectional(mut self, on: bool) -> Self {
        self.spec.unidirectional = Some(on);
        self
    }

    /// What becomes of processes below the child when it ends; its own
    /// children inherit it. Default: what [`Router::supervise`] has said here,
    /// or else what the context that starts it was told, or else
    /// [`Descendants::End`].
    pub fn descendants(mut self, what: Descendants) -> Self {
        self.spec.descendants = Some(what);
        self
    }

    /// Whether the child, and all that is started behind it, writes a debug
    /// log; see [`Router::enable_debug`]. Default: it does if this router or the
    /// context that starts it does.
    pub fn debug(mut self, on: bool) -> Self {
        self.spec.debug = Some(on);
        self
    }

    /// Whether the child, and all that is started behind it, tells at its end
    /// where its time has gone; see [`RouterBuilder::profiling`]. Default: it does
    /// if this router or the context that starts it does.
    ///
    /// [`RouterBuilder::profiling`]: crate::RouterBuilder::profiling
    pub fn profiling(mut self, on: bool) -> Self {
        self.spec.profiling = Some(on);
        self
    }

    /// A command to put before the first stage's shell, as `["nice", "-n5"]`.
    /// Default: none.
    pub fn exec_prefix<S: Into<String>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        self.spec.exec_prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// The shell that runs the first stage. Default: `sh`.
    pub fn shell(mut self, shell: impl Into<String>) -> Self {
        self.spec.shell = shell.into();
        self
    }

    /// A copy of this program that is there already, to be run instead of
    /// uploading one. It must be of this build, or have the same function
    /// table. Default: none.
    pub fn binary(mut self, path: impl Into<String>) -> Self {
        self.spec.binary = Some(path.into());
        self
    }

    /// Answers what ssh, sudo, su or doas may ask besides the password, as for
    /// a code that is valid once: gets the question, returns what to type, or
    /// `None` to give up. It runs on a thread where it may block. Not for
    /// connects by way of [`Connect::via`], as a function stays where it is:
    /// such a connect fails. Default: a question that nobody answers is an
    /// error that repeats it.
    pub fn on_question(mut self, answer: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static) -> Self {
        self.answerer = Some(Answerer(Arc::new(answer)));
        self
    }

    /// Whether the machine keeps the image, below `$XDG_CACHE_HOME` or
    /// `~/.cache`, so that it is sent once. It is hashed at every use by a tool
    /// of the machine (`sha256sum`, `shasum`, `openssl` or perl; without any
    /// nothing is kept), so whatever else is there is never run. Four images
    /// are kept at most. Default: false.
    pub fn cache(mut self, on: bool) -> Self {
        self.spec.cache = on;
        self
    }

    /// The context that starts the child. Default: this one.
    pub fn via(mut self, via: &Context) -> Self {
        self.via = Some(via.clone());
        self
    }

    /// Starts the child and waits until it is up. Dropping the future ends
    /// what has been started.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the phase and the hop where it failed, also
    /// when that happened behind `via`; [`Error::Channel`] if `via` has gone.
    pub async fn connect(self) -> Result<Context, Error> {
        self.connect_with_trail().await.map(|(context, _)| context)
    }

    /// [`Connect::connect`], and what was tried on the way, step by step.
    #[cfg(feature = "cli")]
    pub async fn examine(self) -> crate::connect::report::Examined {
        match self.connect_with_trail().await {
            Ok((context, trail)) => crate::connect::report::Examined { context: Ok(context), trail },
            Err(error) => crate::connect::report::Examined { context: Err(error), trail: ConnectTrace::default() },
        }
    }

    /// [`Connect::connect`], and what was seen on the way.
    async fn connect_with_trail(self) -> Result<(Context, ConnectTrace), Error> {
        let Self { router, via, mut spec, answerer, method } = self;
        spec.method = method.into();
        spec.descendants = spec.descendants.or_else(|| router.shared().descendants());
        let shared = router.shared();
        spec.levels = Some(shared.wanted_levels());
        spec.debug = spec.debug.or_else(|| shared.debugs().then_some(true));
        spec.profiling = spec.profiling.or_else(|| shared.profile.is_some().then_some(true));
        let connected = match via.filter(|via| via.id() != shared.me) {
            None => delegated_connect::connect_here(&router, spec, answerer).await?,
            Some(via) if answerer.is_some() => {
                let text = format!("on_question cannot be used behind {via}: a function cannot travel");
                return Err(ConnectError::new(ConnectErrorKind::Start, Phase::Start, spec.hop(), text).into());
            }
            Some(via) => delegated_connect::connect_there(&via, spec).await?,
        };
        Ok((Context::new(shared.clone(), connected.id, &connected.name), connected.trail))
    }

    /// [`Connect::connect`] for code that is not async: blocks.
    ///
    /// # Errors
    ///
    /// As [`Connect::connect`].
    pub fn blocking_connect(self) -> Result<Context, Error> {
        block_on(self.connect())
    }
}

/// What a method wants to have done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) run: Run,
    pub(crate) stdio: Stdio,
    pub(crate) prompts: Prompts,
    /// The command may bring the child up without an upload.
    pub(crate) may_be_direct: bool,
    /// How to read what the launcher says.
    pub(crate) interpret: Interpret,
}

#[derive(Debug)]
pub(crate) enum Run {
    /// The own image, by descriptor.
    OwnImage,
    /// The own image, which asks for the first process of a container, goes in,
    /// and becomes a child there; or runs the command there, if there is one.
    Inside { user: String, ask: Vec<String>, command: Vec<String> },
    /// This command, which runs the first stage or, with `binary`, the image.
    Command(Vec<String>),
}

impl Plan {
    /// Something that asks nothing.
    fn new(run: Run, interpret: Interpret) -> Self {
        Self { run, stdio: Stdio::Pipe, prompts: Prompts::default(), may_be_direct: false, interpret }
    }

    /// Something that may ask.
    fn on_terminal(argv: Vec<String>, prompts: Prompts, interpret: Interpret) -> Self {
        Self { run: Run::Command(argv), stdio: Stdio::Terminal, prompts, may_be_direct: false, interpret }
    }
}

impl Spec {
    /// # Errors
    ///
    /// Which option cannot be, and why.
    fn plan(&self, nonce: &Nonce, remote_name: &str, has_answerer: bool) -> Result<Plan, String> {
        let mut errand = match &self.binary {
            Some(binary) => RemoteCommand::binary(nonce, &self.exec_prefix, binary),
            None => RemoteCommand::staged(nonce, &self.exec_prefix, &self.shell, self.cache),
        };
        let direct = match &self.method {
            Method::Sudo(sudo) => sudo.is_direct(),
            Method::Account(account) => account.is_direct(),
            _ => false,
        };
        if direct && self.binary.is_none() && self.exec_prefix.is_empty() {
            errand.try_own_image(nonce, remote_name);
        }
        let mut plan = match &self.method {
            Method::Local(_) | Method::Fork(_) => {
                let own = self.exec_prefix.is_empty() && self.binary.is_none();
                let run = if own { Run::OwnImage } else { Run::Command(errand.words()) };
                Plan::new(run, |_| None)
            }
            Method::Ssh(ssh) => ssh.plan(&errand, self.connect_timeout, has_answerer)?,
            Method::Sudo(sudo) => sudo.plan(nonce, &errand)?,
            Method::Account(account) => account.plan(&errand)?,
            Method::Container(container) if self.copied => container.plan_copying(nonce)?,
            Method::Container(container) => container.plan(&errand)?,
            Method::Setns(setns) => {
                let own = self.exec_prefix.is_empty() && self.binary.is_none();
                setns.plan((!own).then_some(&errand))?
            }
        };
        plan.prompts.has_answerer = has_answerer;
        plan.may_be_direct = errand.may_be_direct();
        Ok(plan)
    }

    /// What the child is called where it was not given a name, without that
    /// of its parent. Before there is a child it has no pid.
    fn default_name(&self, pid: Option<u32>) -> String {
        let with_pid = |method: &str| match pid {
            Some(pid) => format!("{method}.{pid}"),
            None => method.into(),
        };
        match &self.method {
            Method::Local(_) => with_pid("local"),
            Method::Fork(_) => with_pid("fork"),
            Method::Ssh(ssh) => ssh.name(),
            Method::Sudo(sudo) => sudo.name(),
            Method::Account(account) => account.name(),
            Method::Container(container) => container.name(),
            Method::Setns(setns) => setns.name(),
        }
    }

    /// Has the image copied in from now on, if that is what an error is about.
    fn copies_from_now_on(&mut self, error: &ConnectError) -> bool {
        let Method::Container(container) = &self.method else { return false };
        let plain = self.binary.is_none() && self.exec_prefix.is_empty();
        let copies = plain && !self.copied && container.may_copy(error);
        self.copied |= copies;
        copies
    }

    /// Has an image sent from now on instead of running the parent's own, if
    /// that has ended without a child: nobody has refused, and the first stage
    /// has not come to its turn. sudo may kill what it cannot follow
    /// (`intercept`, `log_subcmds`).
    fn sends_from_now_on(&mut self, error: &ConnectError) -> bool {
        let indirect = match &mut self.method {
            Method::Sudo(sudo) => &mut sudo.indirect,
            Method::Account(account) => account.indirect(),
            _ => return false,
        };
        let sends = !*indirect && error.kind == ConnectErrorKind::Eof && error.trace.announced.is_empty();
        *indirect |= sends;
        sends
    }

    /// Says of an end without a reason what is known of its method.
    fn annotate(&self, error: &mut ConnectError) {
        if let Method::Container(container) = &self.method
            && error.kind == ConnectErrorKind::Eof
            && !container.note().is_empty()
        {
            error.advice = joined(&error.advice, container.note());
        }
    }

    /// The method's name, for errors before there is a child.
    pub(crate) fn hop(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.default_name(None))
    }

    /// The new context's name, without that of its parent.
    pub(crate) fn context_name(&self, pid: u32) -> String {
        self.name.clone().unwrap_or_else(|| self.default_name(Some(pid)))
    }

    /// `offshoot:` and this is the child's argv[0].
    pub(crate) fn remote_name(&self) -> Result<String, String> {
        let name = match &self.remote_name {
            Some(name) => name.clone(),
            None => {
                let (user, host) = crate::connect::handshake::whoami();
                format!("{user}@{host}:{}", std::process::id()).replace(['/', '\\'], "_")
            }
        };
        if name.contains(['/', '\\']) {
            return Err("remote_name cannot contain slashes".into());
        }
        // It is a file name there, and a word in one line of sh's `read`.
        if name.is_empty() || name.len() > 128 || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("remote_name must have 1 to 128 characters without blanks".into());
        }
        Ok(name)
    }
}
