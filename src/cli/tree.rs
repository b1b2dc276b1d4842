//! The contexts of a run. Hosts behind the same hops share the contexts of these hops.
//!
//! - `view`: `offshoot tree`; `masked`: the command of a hop as it may be logged; `log_line`: logs it

pub(crate) mod view;

mod here;
mod log_line;
mod masked;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore, mpsc};

use crate::cli::allowed;
use crate::cli::args::ReachArgs;
use crate::cli::complaint::complain;
use crate::cli::hosts::path::{Hop, HostPath, Method};
use crate::cli::kept::keeping::Keeping;
use crate::cli::login_limiter::{LoginLimiter, Try};
use crate::cli::output::report::HostEvent;
use crate::cli::secret::Secrets;
use crate::connect::host_path::own_methods::Asks;
use crate::connect::report::Examined;
use crate::connect::{AnyMethod, Connect, Descendants, Doas, Ssh, Su, Sudo};
use crate::wire::connect_trace::ConnectTrace;
use crate::wire::error::{Reader, joined};
use crate::{Context, Error, Router};

/// A context that does not say within this time how it does counts as lost when its host is tried again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How many `ssh -G` run at the same time. Each takes some milliseconds of a processor.
const ASKING: usize = 8;
/// `ssh -G` may take this long. If it takes longer, its time counts for the connect.
const NOTICED: Duration = Duration::from_millis(100);

/// What it means that ssh ends without a word: it keeps its words about a keepalive that fails to itself
/// (LogLevel=ERROR), and it has none about the signal that has ended our child.
const SILENT_SSH: [&str; 2] = [
    "ssh has ended without a word: the host or the network did not answer for as long as ServerAliveInterval x",
    "ServerAliveCountMax allow, or something there has killed our process, as the kernel does if memory is short",
];

/// Contexts by the hops that lead to them.
pub(crate) struct Tree {
    router: Router,
    connect_timeout: Duration,
    /// Arguments for ssh from the command line.
    ssh_args: Vec<String>,
    /// A jump host. Its sshd sees all logins.
    jump: Option<String>,
    secrets: Secrets,
    cache: bool,
    binary: Option<String>,
    /// Whether a host that has no image is sent one.
    uploads: bool,
    /// The functions that hosts run, if they do not run all.
    allowed: Option<Vec<&'static str>>,
    nodes: HashMap<Vec<Hop>, Rc<Node>>,
    login_limiter: LoginLimiter,
    /// Turns to ask ssh about hosts.
    asking: Semaphore,
    /// Gets what is to be told while the run goes on. Without it, that goes to stderr.
    events: Option<mpsc::WeakSender<HostEvent>>,
    keeps_traces: bool,
    /// The keeper of connections that outlive the run, if there is one.
    keeping: Option<Keeping>,
    /// What it has connected already.
    kept: OnceCell<HashMap<Vec<Hop>, Context>>,
}

#[derive(Default)]
struct Node {
    context: RefCell<Rc<OnceCell<Result<Context, Error>>>>,
    /// What the connect has seen, if the tree keeps that.
    trace: std::cell::OnceCell<ConnectTrace>,
    /// Whether other hosts are behind it.
    is_hop: bool,
    /// How many hosts are not done that it leads to, itself included.
    needed: Cell<usize>,
    /// How often it was to be connected again.
    renewed: Cell<u32>,
}

impl Node {
    /// The context, if it is connected.
    fn connected(&self) -> Option<Context> {
        self.context.borrow().get()?.as_ref().ok().cloned()
    }
}

impl Tree {
    /// A tree for these hosts. It connects nothing yet.
    ///
    /// # Errors
    ///
    /// If an argument is not UTF-8, or `--binary` is given for a hop that cannot run another program.
    pub(crate) fn new(
        router: &Router,
        reach: &ReachArgs,
        hosts: &[HostPath],
        secrets: Secrets,
    ) -> Result<Self, String> {
        let is_fork = |host: &&HostPath| host.hops.iter().any(|hop| hop.method == Method::Fork);
        if reach.image.binary.is_some()
            && let Some(host) = hosts.iter().find(is_fork)
        {
            return Err(format!(
                "--binary does not apply to the hop fork of {}, which always runs this program itself; it applies to \
                 local and to all other hops",
                host.text
            ));
        }
        let mut hops = HashSet::new();
        for host in hosts {
            hops.extend((1..host.hops.len()).map(|depth| host.hops[..depth].to_vec()));
        }
        if let Some(host) = hosts.iter().find(|host| !reach.least.allow.is_empty() && hops.contains(&host.hops)) {
            return Err(format!(
                "--allow limits the last hop of each host, and {} leads to another host; name it in a run of its own",
                host.text
            ));
        }
        let all = hosts.iter().flat_map(|host| (1..=host.hops.len()).map(|depth| host.hops[..depth].to_vec()));
        let mut nodes: HashMap<Vec<Hop>, Rc<Node>> = HashMap::new();
        for path in all {
            let is_hop = hops.contains(&path);
            let node = nodes.entry(path).or_insert_with(|| Rc::new(Node { is_hop, ..Node::default() }));
            node.needed.update(|needed| needed + 1);
        }
        let text = |word: std::ffi::OsString| {
            word.into_string().map_err(|word| format!("the argument {} is not UTF-8", word.display()))
        };
        let ssh_args = reach.ssh.to_argv().into_iter().map(text).collect::<Result<_, _>>()?;
        let jump = reach.ssh.jump.clone().map(text).transpose()?;
        Ok(Self {
            router: router.clone(),
            connect_timeout: reach.connect_timeout,
            ssh_args,
            jump,
            secrets,
            // A copy that is there already is not sent, so nothing is to be kept.
            cache: reach.image.cache && reach.image.binary.is_none(),
            binary: reach.image.binary.clone(),
            uploads: !reach.image.no_upload,
            allowed: allowed::all(&reach.least.allow),
            nodes,
            login_limiter: LoginLimiter::default(),
            asking: Semaphore::new(ASKING),
            events: None,
            keeps_traces: false,
            keeping: None,
            kept: OnceCell::new(),
        })
    }

    /// Uses connections of earlier runs, and has those of this one kept if that was asked for.
    pub(crate) fn with_keeping(self, keeping: Option<Keeping>) -> Self {
        Self { keeping, ..self }
    }

    /// The router by which kept contexts are used. It ends after the others.
    pub(crate) fn kept_router(&self) -> Option<Router> {
        self.keeping.as_ref().map(|keeping| keeping.router().clone())
    }

    /// The context that an earlier run has left at the end of `hops`. A run that keeps nothing takes none that others
    /// are behind: what it connected behind such a context would stay there.
    async fn left(&self, hops: &[Hop], node: &Node) -> Option<Context> {
        let keeping = self.keeping.as_ref().filter(|keeping| keeping.keeps(hops) || !node.is_hop)?;
        let kept = self.kept.get_or_init(async || keeping.find(self.nodes.keys().cloned().collect()).await).await;
        // One that was lost in the meantime is connected again.
        kept.get(hops).filter(|_| node.renewed.get() == 0).cloned()
    }

    /// Keeps what the connects see.
    pub(crate) fn with_traces(self) -> Self {
        Self { keeps_traces: true, ..self }
    }

    /// The outcome of a connect with what it has seen; `None` if nothing was connected.
    fn outcome(&self, hops: &[Hop]) -> Option<Result<(Context, ConnectTrace), Error>> {
        let node = self.nodes.get(hops)?;
        let trace = node.trace.get().cloned().unwrap_or_default();
        Some(node.context.borrow().get()?.clone().map(|context| (context, trace)))
    }

    /// Tells by `events` what is to be told while the run goes on.
    pub(crate) fn with_events(self, events: &mpsc::Sender<HostEvent>) -> Self {
        Self { events: Some(events.downgrade()), ..self }
    }

    /// Tells the user something while the run goes on.
    fn tell(&self, text: String) {
        match &self.events {
            // If there is no room for it, something more important is shown.
            Some(events) => {
                if let Some(events) = events.upgrade() {
                    let _ = events.try_send(HostEvent::Note(text));
                }
            }
            None => complain(&format!("note: {text}")),
        }
    }

    /// The context at the end of `hops`. The first call connects it.
    pub(crate) async fn context(self: &Rc<Self>, hops: &[Hop]) -> Result<Context, Error> {
        let Some(node) = self.nodes.get(hops) else {
            return Err(Error::Misuse("a host that is not in the tree".into()));
        };
        let connect = Box::pin(async {
            if let Some(context) = self.left(hops, node).await {
                return Ok(context);
            }
            let via = match hops {
                [] | [_] => None,
                [before @ .., _] => Some(self.context(before).await?),
            };
            let examined = self.examine(hops, via.as_ref()).await?;
            if self.keeps_traces {
                node.trace.get_or_init(|| examined.trace);
            }
            if let (Some(keeping), Ok(context)) = (&self.keeping, &examined.context)
                && keeping.keeps(hops)
            {
                keeping.keep(hops, context).await;
            }
            examined.context
        });
        let cell = Rc::clone(&node.context.borrow());
        cell.get_or_init(|| connect).await.clone()
    }

    /// Lets the contexts on the way be connected again that could not be connected or were lost, each of them at
    /// most `most` times. So a hop that does not come back is not tried again for each host behind it.
    pub(crate) async fn renew(&self, hops: &[Hop], most: u32) {
        for depth in 1..=hops.len() {
            let Some(node) = self.nodes.get(&hops[..depth]) else { return };
            let cell = Rc::clone(&node.context.borrow());
            let is_gone = match cell.get() {
                None => false,
                Some(Err(_)) => true,
                Some(Ok(context)) => context.ask_stats(Some(SIGN_OF_LIFE)).await.is_err(),
            };
            // Another host may have done this in the meantime.
            let is_same = Rc::ptr_eq(&cell, &node.context.borrow());
            if is_gone && is_same && node.renewed.get() < most {
                node.renewed.update(|renewed| renewed + 1);
                node.context.take();
            }
        }
    }

    /// Notes that a host is done. Ends the contexts on the way to it that lead to no other host that is not.
    pub(crate) async fn leave(&self, hops: &[Hop]) {
        let way = (1..=hops.len()).filter_map(|depth| self.nodes.get(&hops[..depth]));
        let mut left = Vec::new();
        for node in way {
            node.needed.update(|needed| needed.saturating_sub(1));
            left.extend((node.needed.get() == 0).then_some(node));
        }
        let is_kept = |context: &Context| self.keeping.as_ref().is_some_and(|keeping| keeping.has(context));
        // What is behind a context ends with it.
        if let Some(context) = left.into_iter().filter_map(|node| node.connected()).find(|context| !is_kept(context)) {
            context.shutdown().await;
        }
    }

    /// The last output of the launchers on the way to a lost host, from the first hop that has any. An ssh that has
    /// ended without any has lines of ours.
    pub(crate) async fn last_words(&self, hops: &[Hop]) -> Vec<String> {
        let mut is_silent = false;
        for depth in 1..=hops.len() {
            if let Some(node) = self.nodes.get(&hops[..depth])
                && let Some(context) = node.connected()
                && let Some(words) = context.last_words().await
            {
                if !words.is_empty() {
                    return words;
                }
                is_silent |= hops[depth - 1].method == Method::Ssh;
            }
        }
        if is_silent { SILENT_SSH.map(str::to_owned).to_vec() } else { Vec::new() }
    }

    /// The name of the last hop and its command.
    pub(crate) fn preview(&self, hops: &[Hop]) -> Result<(String, Vec<String>), String> {
        let hop = hops.last().ok_or("a host without a hop")?;
        let ssh = || self.ssh(&self.router, hop);
        self.connect(&self.router, (hop, self.leads_on(hops)), ssh).connect_timeout(self.connect_timeout).preview()
    }

    /// Starts the context of the last hop from the context of the hop before. Also returns what was seen during
    /// the connect.
    pub(crate) async fn examine(&self, hops: &[Hop], via: Option<&Context>) -> Result<Examined, Error> {
        self.examine_as(hops, via, self.connect_timeout, Voice::Quiet).await
    }

    /// As [`Tree::examine`], by a separate connection, on which ssh says when it has logged in and prints the
    /// messages of the server. The reason why an account may not log in comes as such a message.
    pub(crate) async fn examine_aloud(
        &self,
        hops: &[Hop],
        via: Option<&Context>,
        limit: Duration,
    ) -> Result<Examined, Error> {
        self.examine_as(hops, via, limit, Voice::Loud).await
    }

    async fn examine_as(
        &self,
        hops: &[Hop],
        via: Option<&Context>,
        limit: Duration,
        voice: Voice,
    ) -> Result<Examined, Error> {
        let Some(hop) = hops.last() else {
            return Err(Error::Misuse("a host without a hop".into()));
        };
        let given = limit;
        let Dialled { ssh, server, took } = self.dialled(hops, via, limit).await;
        // What ssh takes to answer counts only if it is much.
        let limit = if took < NOTICED { limit } else { limit.saturating_sub(took) };
        let name = self.ssh(&self.router, hop).hop_name();
        let mut last = None;
        let attempt = async |this: Try| {
            let voice = if this.asks_why && voice == Voice::Quiet { Voice::AsksWhy } else { voice };
            let examined = self.attempt((hop, self.leads_on(hops)), via, ssh.clone(), voice, (this, given)).await;
            last.insert(examined).context.clone()
        };
        let tell = |text| self.tell(text);
        let result = self.login_limiter.connect(server.as_ref(), (&name, limit), tell, attempt).await;
        match last {
            Some(examined) if examined.context.is_ok() == result.is_ok() => Ok(examined),
            _ => Err(result.err().unwrap_or_else(|| Error::Misuse("nothing was tried".into()))),
        }
    }

    /// Finds out the server that sees the login of the last hop. Only ssh logs in to a server.
    /// What the configuration of ssh says on another machine is not known here.
    async fn dialled(&self, hops: &[Hop], via: Option<&Context>, limit: Duration) -> Dialled {
        let Some(hop) = hops.last().filter(|hop| hop.method == Method::Ssh) else { return Dialled::default() };
        if via.is_some() {
            let seen_by = self.jump.clone().unwrap_or_else(|| format!("{}:{:?}", hop.target, hop.port));
            let server = format!("{:?} {seen_by}", &hops[..hops.len() - 1]);
            return Dialled { server: Some(server), ..Dialled::default() };
        }
        // Without a turn it is asked all the same.
        let _turn = self.asking.acquire().await;
        let begun = Instant::now();
        let (ssh, server) = self.ssh(self.router_for(hop, via), hop).server(limit).await;
        Dialled { ssh: Some(ssh), server: Some(server), took: begun.elapsed() }
    }

    /// Whether other hosts are behind the last of these hops.
    fn leads_on(&self, hops: &[Hop]) -> bool {
        self.nodes.get(hops).is_none_or(|node| node.is_hop)
    }

    /// `leads_on`: whether other hosts are behind it. `given`: the time that was given for the connect, of which less may be
    /// left for this try.
    async fn attempt(
        &self,
        (hop, leads_on): (&Hop, bool),
        via: Option<&Context>,
        ssh: Option<Connect<Ssh>>,
        voice: Voice,
        (this, given): (Try, Duration),
    ) -> Examined {
        let router = self.router_for(hop, via);
        let ssh = || ssh.unwrap_or_else(|| self.ssh(router, hop)).ssh_args_first(voice.args());
        // A service that a command has started keeps running, as with ssh.
        let connect = self.connect(router, (hop, leads_on), ssh).connect_timeout(this.left).of_limit(given);
        let connect = connect.descendants(Descendants::Leave);
        let connect = connect.logged_in(this.logged_in);
        let keeper = self.keeper(hop, via);
        self.log_command((hop, leads_on), via, voice);
        let mut examined = match via.or(keeper) {
            Some(via) => connect.via(via).examine_for(Reader::Tool).await,
            None => connect.examine_for(Reader::Tool).await,
        };
        if let (Some(keeper), Err(Error::Connect(error))) = (keeper, &mut examined.context)
            && let Some(hop) = error.hop.strip_prefix(&format!("{}.", keeper.name()))
        {
            // That another process connects is of no interest.
            error.hop = hop.to_owned();
        }
        if let Err(Error::Connect(error)) = &mut examined.context
            && voice == Voice::AsksWhy
        {
            error.tail.retain(|line| !["debug", "OpenSSH_"].iter().any(|said| line.starts_with(said)));
        }
        if let Err(Error::Connect(error)) = &mut examined.context
            && via.is_none()
            && self.is_here(hop)
        {
            error.advice = joined(&error.advice, "for this machine write local1");
        }
        examined
    }

    /// Logs the command that is about to be started, without its first stage.
    fn log_command(&self, (hop, leads_on): (&Hop, bool), via: Option<&Context>, voice: Voice) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let ssh = || self.ssh(&self.router, hop).ssh_args_first(voice.args());
        let Ok((name, command)) = self.connect(&self.router, (hop, leads_on), ssh).preview() else { return };
        let name = match via {
            Some(via) => format!("{}.{name}", via.name()),
            None => name,
        };
        let line = match command.is_empty() {
            true => "a copy of this program".to_owned(),
            false => masked::line(&command, &self.secrets),
        };
        log_line::debug(format!("{name} is started by {}: {line}", hop.method));
    }

    /// The keeper, if it is to connect a first hop.
    fn keeper(&self, hop: &Hop, via: Option<&Context>) -> Option<&Context> {
        let keeping = self.keeping.as_ref().filter(|_| via.is_none())?;
        keeping.keeps(std::slice::from_ref(hop)).then(|| keeping.keeper())
    }

    /// The router that connects a hop behind `via`.
    fn router_for(&self, hop: &Hop, via: Option<&Context>) -> &Router {
        match &self.keeping {
            Some(keeping) if self.keeper(hop, via).is_some() || via.is_some_and(|via| keeping.has(via)) => {
                keeping.router()
            }
            _ => &self.router,
        }
    }

    /// Whether ssh is to reach this machine itself. Behind a port there is often another, through a tunnel.
    fn is_here(&self, hop: &Hop) -> bool {
        hop.method == Method::Ssh
            && (hop.port.is_none() && self.jump.is_none() && !self.ssh_args.iter().any(|arg| arg == "-p"))
            && here::is_here(&hop.target)
    }

    /// The connect for a hop, with the settings of the command line.
    fn connect(
        &self,
        router: &Router,
        (hop, leads_on): (&Hop, bool),
        ssh: impl FnOnce() -> Connect<Ssh>,
    ) -> Connect<AnyMethod> {
        let (become_, user) = (self.secrets.become_.as_ref(), &hop.target);
        let connect = match (hop.method.own(), &hop.method) {
            (Some(own), _) => own.connect(router, user, hop.user.as_ref(), |asks| match asks {
                Asks::Login => self.secrets.ssh.clone(),
                _ => self.secrets.become_.clone(),
            }),
            (None, Method::Sudo) => with(router.sudo().username(user), become_, Connect::<Sudo>::password).boxed(),
            (None, Method::Su) => with(router.su().username(user), become_, Connect::<Su>::password).boxed(),
            (None, Method::Doas) => with(router.doas().username(user), become_, Connect::<Doas>::password).boxed(),
            (None, Method::Ssh) => ssh().boxed(),
            (None, _) => hop.connect(router),
        };
        let connect =
            with(connect, self.binary.as_ref(), |connect, binary| connect.binary(binary)).upload(self.uploads);
        with(connect, self.allowed.as_ref().filter(|_| !leads_on), |connect, names| connect.allow_names(&names))
    }

    fn ssh(&self, router: &Router, hop: &Hop) -> Connect<Ssh> {
        // ssh uses the first value of an option. So the host's options come first, then those of the command
        // line, then ours.
        let mut args = Vec::new();
        if let Some(user) = &hop.user {
            args.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = hop.port {
            args.extend(["-p".to_owned(), port.to_string()]);
        }
        // What an inventory says of the host is its own, too.
        args.extend(hop.inventory.iter().flat_map(|known| known.ssh_args.iter().cloned()));
        args.extend(self.ssh_args.iter().cloned());
        // Keys are tried first, as without a password.
        let ssh = router.ssh(hop.target.as_str()).ssh_args(args).identities_only(false);
        let ssh = with(ssh, self.secrets.ssh.as_ref(), Connect::<Ssh>::password);
        let ssh = match hop.port {
            Some(port) => ssh.port(port),
            None => ssh,
        };
        ssh.cache(self.cache)
    }
}

/// What ssh does to reach a host.
#[derive(Default)]
struct Dialled {
    /// The connect, with what ssh has said of the host.
    ssh: Option<Connect<Ssh>>,
    /// What identifies the server that it logs in to.
    server: Option<String>,
    /// How long ssh took to answer.
    took: Duration,
}

/// How much ssh prints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// Errors only.
    Quiet,
    /// Errors, the login, and the messages of the server.
    Loud,
    /// Also what the server says before it closes the connection. A jump host is asked, too.
    AsksWhy,
}

impl Voice {
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Quiet => &[],
            Self::Loud => &["-o", "LogLevel=VERBOSE", "-o", "ControlMaster=no", "-o", "ControlPath=none"],
            Self::AsksWhy => &["-v"],
        }
    }
}

/// Applies `set` if there is a value.
fn with<M, T: Clone>(connect: Connect<M>, value: Option<&T>, set: fn(Connect<M>, T) -> Connect<M>) -> Connect<M> {
    match value {
        Some(value) => set(connect, value.clone()),
        None => connect,
    }
}
