//! Methods: the ways to start a child.
//!
//! A method makes a [`Plan`]: the command to run, the kind of its stdio, the questions that it may ask, and how
//! to read its messages. The following steps are the same for all methods: launch it, run the bootstrap
//! dialogue, attach the link.

mod account;
pub(crate) mod attach;
mod attempt;
mod builder;
mod connect;
mod container;
mod delegated_connect;
mod doas;
mod factories;
mod launch;
mod launcher;
mod local;
mod packing;
mod question;
mod remote_command;
pub(crate) mod setns;
mod ssh;
mod su;
mod sudo;
pub(crate) mod voucher;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use account::Account;
pub use account::{Doas, Su};
pub use builder::{AnyMethod, Connect, Method};
use connect::connect;
use container::Container;
pub(crate) use container::Engine;
pub use container::{Buildah, Docker, Incus, Jail, Kubectl, Lxc, Lxd, Podman};
pub use delegated_connect::CHILDREN;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use delegated_connect::Proxied;
pub(crate) use delegated_connect::{Connected, Unclaimed};
use launcher::Launch;
#[cfg(feature = "cli")]
pub(crate) use launcher::TARGET;
pub use launcher::{Launcher, Passes};
pub use local::{Fork, Local};
use remote_command::RemoteCommand;
pub use setns::{Setns, SetnsKind};
pub use ssh::{CheckHostKeys, Keepalive, SshOptions as Ssh};
pub use sudo::Sudo;

use crate::connect::bootstrap::{Interpret, Nonce, Prompts};
use crate::engine::descendants::Descendants;
use crate::engine::log::Levels;
use crate::sys::process::Stdio;
use crate::wire::error::{ConnectCause, ConnectError, ConnectErrorKind, Phase, joined};

/// Advice if a copy of the program runs but does not become a child.
const NO_CHILD: &str =
    "does `main` of a program of your own call offshoot::child(), or offshoot::run, before anything else?";

/// Advice if the program that `binary` names is not there.
const NO_BINARY: &str = "install this program there, or leave ⟨--binary|binary()⟩ out, so that a copy is sent";

/// Default time limit for a whole connect.
///
/// The [module](crate::connect) has an example of connects.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What reads the messages of each program that lets a user in.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) const INTERPRETERS: [Interpret; 6] =
    [ssh::interpret, sudo::interpret, su::interpret, doas::interpret, container::interpret, setns::interpret];

/// A child to start: everything that another context needs to start it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) method: Variant,
    pub(crate) name: Option<String>,
    pub(crate) remote_name: Option<String>,
    /// The time that is left for the connect.
    pub(crate) connect_timeout: Duration,
    /// The time that was given for it, if less is left; errors name it.
    pub(crate) limit: Option<Duration>,
    pub(crate) unidirectional: Option<bool>,
    /// The names of the functions that the child runs, if it does not run all.
    pub(crate) allowed: Option<Vec<String>>,
    pub(crate) descendants: Option<Descendants>,
    /// The log records that the master shows; `None` until they are known.
    pub(crate) levels: Option<Levels>,
    pub(crate) debug: Option<bool>,
    pub(crate) profiling: Option<bool>,
    /// Name of the exported function that runs before the first call.
    pub(crate) on_start: Option<String>,
    /// Command and arguments to put before the first stage's shell.
    pub(crate) exec_prefix: Vec<String>,
    pub(crate) shell: String,
    /// Path of an image on the machine; then nothing is uploaded.
    pub(crate) binary: Option<String>,
    /// Whether an image may be sent to the machine.
    pub(crate) may_send: bool,
    /// Whether the machine may keep the image.
    pub(crate) cache: bool,
    /// No first stage can run there, so the image is copied in. The connect finds this out on the way.
    #[serde(skip)]
    pub(crate) copied: bool,
    /// Cancelled when the launcher has logged in, if this context starts the child.
    #[cfg(feature = "cli")]
    #[serde(skip)]
    pub(crate) logged_in: Option<tokio_util::sync::CancellationToken>,
}

/// The settings of any method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Variant {
    Local(Local),
    Fork(Fork),
    Ssh(Ssh),
    Sudo(Sudo),
    Account(Account),
    Container(Container),
    Setns(Setns),
    Launcher(Launch),
}

/// What a method needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) run: Run,
    pub(crate) stdio: Stdio,
    pub(crate) prompts: Prompts,
    /// Whether the command may bring the child up without an upload.
    pub(crate) may_be_direct: bool,
    /// How to read the launcher's messages.
    pub(crate) interpret: Interpret,
}

#[derive(Debug)]
pub(crate) enum Run {
    /// The own image, executed by its descriptor.
    OwnImage,
    /// The own image, which asks for the first process of a container, enters the container, and becomes a
    /// child there. If there is a `command`, it runs that instead.
    Inside { user: String, ask: Vec<String>, command: Vec<String> },
    /// This command. It runs the first stage or, with `binary`, the image.
    Command(Vec<String>),
}

impl Plan {
    /// A plan for a command that asks no questions.
    fn new(run: Run, interpret: Interpret) -> Self {
        Self { run, stdio: Stdio::Pipe, prompts: Prompts::default(), may_be_direct: false, interpret }
    }

    /// A plan for a command that may ask questions.
    fn on_terminal(argv: Vec<String>, prompts: Prompts, interpret: Interpret) -> Self {
        Self { run: Run::Command(argv), stdio: Stdio::Terminal, prompts, may_be_direct: false, interpret }
    }
}

impl Spec {
    /// The time that was given for the connect.
    pub(crate) fn limit(&self) -> Duration {
        self.limit.unwrap_or(self.connect_timeout)
    }

    /// Takes time from what is left.
    pub(crate) fn spend(&mut self, time: Duration) {
        self.limit.get_or_insert(self.connect_timeout);
        self.connect_timeout = self.connect_timeout.saturating_sub(time);
    }

    /// # Errors
    ///
    /// Returns which option is not possible, and why.
    fn plan(&self, nonce: &Nonce, remote_name: &str, has_answerer: bool) -> Result<Plan, String> {
        let mut remote = match &self.binary {
            Some(binary) => RemoteCommand::binary(nonce, &self.exec_prefix, binary, self.only()),
            None => RemoteCommand::staged(nonce, &self.exec_prefix, &self.shell, self.cache),
        };
        let direct = match &self.method {
            Variant::Sudo(sudo) => sudo.is_direct(),
            Variant::Account(account) => account.is_direct(),
            _ => false,
        };
        if direct && self.binary.is_none() && self.exec_prefix.is_empty() {
            remote.try_own_image(nonce, remote_name);
        }
        let mut plan = match &self.method {
            Variant::Local(_) | Variant::Fork(_) => {
                let own = self.exec_prefix.is_empty() && self.binary.is_none();
                let run = if own { Run::OwnImage } else { Run::Command(remote.words()) };
                Plan::new(run, |_| None)
            }
            Variant::Ssh(ssh) => ssh.plan(&remote, self.connect_timeout, has_answerer)?,
            Variant::Sudo(sudo) => sudo.plan(nonce, &remote)?,
            Variant::Account(account) => account.plan(&remote)?,
            Variant::Container(container) if self.copied => container.plan_copying(nonce)?,
            Variant::Container(container) => container.plan(&remote)?,
            Variant::Launcher(launcher) => launcher.plan(&remote)?,
            Variant::Setns(setns) => {
                let own = self.exec_prefix.is_empty() && self.binary.is_none();
                setns.plan((!own).then_some(&remote))?
            }
        };
        plan.prompts.has_answerer = has_answerer;
        plan.may_be_direct = remote.may_be_direct();
        Ok(plan)
    }

    /// The functions that are named in the arguments of an image on the machine.
    fn only(&self) -> Option<Vec<String>> {
        let mut only = self.allowed.clone().filter(|_| self.binary.is_some())?;
        only.extend(self.on_start.clone());
        Some(only)
    }

    /// The child's default name, without the name of its parent. Before there is a child, there is no pid.
    fn default_name(&self, pid: Option<u32>) -> String {
        let with_pid = |method: &str| match pid {
            Some(pid) => format!("{method}.{pid}"),
            None => method.into(),
        };
        match &self.method {
            Variant::Local(_) => with_pid("local"),
            Variant::Fork(_) => with_pid("fork"),
            Variant::Ssh(ssh) => ssh.name(),
            Variant::Sudo(sudo) => sudo.name(),
            Variant::Account(account) => account.name(),
            Variant::Container(container) => container.name(),
            Variant::Setns(setns) => setns.name(),
            Variant::Launcher(launcher) => launcher.name(),
        }
    }

    /// Decides whether the image is copied in from now on: it is if the error shows that this is needed.
    fn copies_from_now_on(&mut self, error: &ConnectError) -> bool {
        let Variant::Container(container) = &self.method else { return false };
        let plain = self.binary.is_none() && self.exec_prefix.is_empty();
        let copies = plain && !self.copied && container.may_copy(error);
        self.copied |= copies;
        copies
    }

    /// Decides whether an image is sent from now on instead of running the parent's own. It is if the command
    /// ended without a child, without a refusal, and before the first stage announced itself. sudo may kill
    /// commands that it cannot trace (`intercept`, `log_subcmds`).
    fn sends_from_now_on(&mut self, error: &ConnectError) -> bool {
        let indirect = match &mut self.method {
            Variant::Sudo(sudo) => &mut sudo.indirect,
            Variant::Account(account) => account.indirect(),
            _ => return false,
        };
        let sends = !*indirect && error.kind == ConnectErrorKind::Eof && error.trace.announced.is_empty();
        *indirect |= sends;
        sends
    }

    /// Adds advice to an error without a known reason: what is known about its method, and what the program may
    /// have left out.
    fn annotate(&self, error: &mut ConnectError) {
        if let Some(binary) = &self.binary
            && error.cause == ConnectCause::NoShell
        {
            error.phase = Phase::Exec;
            error.text = format!("there is no program {binary} at {}, which is to be run there", error.hop);
            error.advice = NO_BINARY.into();
            return;
        }
        if let (Some(binary), Variant::Sudo(_)) = (&self.binary, &self.method)
            && matches!(error.kind, ConnectErrorKind::Password | ConnectErrorKind::Auth)
        {
            error.advice = format!(
                "a rule without a password has to name {binary}, its SHA-256 as it is now, and exactly the functions of \
                 ⟨--allow: `offshoot sudoers` prints it|allow()⟩; `sudo -l` there lists the rules"
            );
        }
        if let Variant::Container(container) = &self.method
            && error.kind == ConnectErrorKind::Eof
            && !container.note().is_empty()
        {
            error.advice = joined(&error.advice, container.note());
        }
        if error.phase == Phase::Exec
            && matches!(error.kind, ConnectErrorKind::Eof | ConnectErrorKind::Timeout)
            && error.cause != ConnectCause::Killed
        {
            error.advice = joined(&error.advice, NO_CHILD);
        }
    }

    /// The name of the hop, for errors before there is a child.
    pub(crate) fn hop(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.default_name(None))
    }

    /// The new context's name, without that of its parent.
    pub(crate) fn context_name(&self, pid: u32) -> String {
        self.name.clone().unwrap_or_else(|| self.default_name(Some(pid)))
    }

    /// The child's name for `ps`: its argv[0] is this with `offshoot:` in front.
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
        // The name is a file name there, and a word in one line that sh's `read` reads.
        if name.is_empty() || name.len() > 128 || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("remote_name must have 1 to 128 characters without blanks".into());
        }
        Ok(name)
    }
}
