//! What a run does with a keeper: it joins it, finds what is connected, and has it keep what it connects.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::cli::args::ReachArgs;
use crate::cli::complaint::complain;
use crate::cli::hosts::path::{Hop, Method};
use crate::cli::kept::place;
use crate::cli::kept::question::{Found, HANDLE, Key, Question};
use crate::sys::process::{inherit_nothing, with_usual_settings};
use crate::sys::socket::listener;
use crate::unix::{self, Joined};
use crate::{Context, Error, Message, Router};

/// The subcommand that becomes a keeper.
pub(crate) const SUBCOMMAND: &str = "__keep";
/// How long connections of `with` stay: longer than any program runs, so that they end with their keeper.
const UNTIL_ITS_END: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a new keeper may take until it listens.
const START: Duration = Duration::from_secs(5);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(5);
/// How often it is looked whether another program has connected a way.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a context that was kept may take to say how it does. One that does not is connected again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How long a keeper may take to let a run in, and to answer. One that takes longer is stopped, most likely.
const ANSWER: Duration = Duration::from_secs(2);

/// A keeper that this run has joined.
pub(crate) struct Keeping {
    joined: Joined,
    /// How long what is connected stays. Without it, the run uses what is there, and has nothing kept.
    keep: Option<Duration>,
    /// What else decides how a host is reached.
    settings: String,
    /// How long to wait for a way that another program is connecting. `None` if this one then connects it, too.
    patience: Option<Duration>,
    /// Whether it has not answered. Then it is not used any more.
    is_silent: Cell<bool>,
}

impl Keeping {
    /// Joins the keeper of this user, if there is one. With `--keep`, starts one. `None` if nothing is kept; a note says
    /// why, if something was to be kept.
    pub(crate) async fn begin(reach: &ReachArgs) -> Option<Self> {
        let settings = format!(
            "{:?} {:?} {:?} {:?}",
            reach.ssh, reach.image.binary, reach.becoming.become_method, reach.least.allow
        );
        if let Some(socket) = &reach.kept_at {
            return match join(socket).await {
                Some(Ok(joined)) => {
                    let (keep, patience) = (Some(UNTIL_ITS_END), Some(reach.connect_timeout));
                    Some(Self { joined, keep, settings, patience, is_silent: Cell::new(false) })
                }
                Some(Err(error)) => {
                    complain(&format!("note: the connections of `offshoot with` are not used: {error}"));
                    None
                }
                None => {
                    complain(&silent(socket));
                    None
                }
            };
        }
        let names_files = reach.image.binary.is_some() || reach.ssh.has_any();
        let socket = place::socket(names_files);
        if reach.keep.is_none() && !socket.exists() {
            return None;
        }
        let joined = match join(&socket).await {
            Some(Ok(joined)) => joined,
            None => {
                complain(&silent(&socket));
                return None;
            }
            Some(Err(error)) if reach.keep.is_none() => {
                tracing::info!("no connection of an earlier run is used: {error}");
                return None;
            }
            Some(Err(_)) => match start(&socket).await {
                Ok(joined) => joined,
                Err(why) => {
                    complain(&format!(
                        "note: connections are not kept: {why}; XDG_RUNTIME_DIR can name another directory of yours"
                    ));
                    return None;
                }
            },
        };
        // Where its I/O thread has ended, nothing is asked of it either.
        let _ = joined.router.dump_on_sigusr2();
        // A run of many hosts does not wait for the slowest one of another run.
        Some(Self { joined, keep: reach.keep, settings, patience: None, is_silent: Cell::new(false) })
    }

    /// The keeper, as the context by which it connects.
    pub(crate) fn keeper(&self) -> &Context {
        &self.joined.listener
    }

    pub(crate) fn router(&self) -> &Router {
        &self.joined.router
    }

    /// Whether what is connected by these hops is kept.
    pub(crate) fn keeps(&self, hops: &[Hop]) -> bool {
        self.keep.is_some() && !self.is_silent.get() && may_be_kept(hops)
    }

    /// Whether a context belongs to the keeper's tree.
    pub(crate) fn has(&self, context: &Context) -> bool {
        Arc::ptr_eq(context.shared(), self.joined.router.shared())
    }

    /// The contexts that are connected and alive, of all these ways.
    pub(crate) async fn find(&self, ways: Vec<Vec<Hop>>) -> HashMap<Vec<Hop>, Context> {
        let ways: Vec<_> = ways.into_iter().filter(|hops| may_be_kept(hops)).collect();
        let keys = ways.iter().map(|hops| self.key(hops)).collect();
        let Ok(found) = self.look(keys).await else {
            self.is_silent.set(true);
            complain(&silent(Path::new(self.joined.listener.name())));
            return HashMap::new();
        };
        let mut asked = JoinSet::new();
        for (hops, kept) in ways.into_iter().zip(found) {
            let Found::Kept(kept) = kept else { continue };
            let context = Context::new(Arc::clone(self.joined.router.shared()), kept.context, &kept.name);
            asked.spawn(async move {
                let is_alive = context.ask_stats(Some(SIGN_OF_LIFE)).await.is_ok();
                (is_alive, hops, context, kept.way)
            });
        }
        let (mut alive, mut dead) = (HashMap::new(), Vec::new());
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((true, hops, context, _)) => drop(alive.insert(hops, context)),
                Ok((false, _, _, way)) => dead.push(way),
                Err(_) => {}
            }
        }
        if !dead.is_empty() {
            let _ = self.ask(Question::Leave(dead)).await;
        }
        // What is behind a dead hop is dead, too.
        let all: Vec<Vec<Hop>> = alive.keys().cloned().collect();
        for hops in all {
            if (1..hops.len()).any(|depth| !alive.contains_key(&hops[..depth])) {
                alive.remove(&hops);
            }
        }
        alive
    }

    /// Asks for ways. Waits for those that another program is connecting. If that one gives up, it waits for no other.
    async fn look(&self, ways: Vec<Key>) -> Result<Vec<Found>, Error> {
        let (begun, mut first) = (Instant::now(), HashMap::new());
        loop {
            let claim = self.patience.is_some();
            let found = self.ask(Question::Find { ways: ways.clone(), keep: self.keep, claim }).await?;
            let mut is_coming = false;
            for (way, found) in ways.iter().zip(&found) {
                if let Found::Claimed(by) = found {
                    is_coming |= *first.entry(*way).or_insert(*by) == *by;
                }
            }
            if !is_coming || self.patience.is_none_or(|patience| begun.elapsed() > patience) {
                return Ok(found);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Has the keeper keep a context.
    pub(crate) async fn keep(&self, hops: &[Hop], context: &Context) {
        let Some(keep) = self.keep else { return };
        let path = hops.iter().map(shown).collect::<Vec<_>>().join("/");
        let name = context.name().to_owned();
        let question = Question::Keep { way: self.key(hops), context: context.id(), name, path, keep };
        if let Err(error) = self.ask(question).await {
            tracing::warn!("{context} is not kept: {error}");
        }
    }

    async fn ask(&self, question: Question) -> Result<Vec<Found>, Error> {
        ask(&self.joined, question).await
    }

    fn key(&self, hops: &[Hop]) -> Key {
        Sha256::digest(format!("{hops:?} {}", self.settings)).into()
    }
}

/// Asks a keeper.
pub(super) async fn ask(joined: &Joined, question: Question) -> Result<Vec<Found>, Error> {
    let question = Message::encoded(&question)?.to_handle(HANDLE);
    joined.listener.timeout(ANSWER).send_await(question).await
}

/// Joins a keeper. `None` if it does not answer in time.
pub(super) async fn join(socket: &Path) -> Option<Result<Joined, Error>> {
    tokio::time::timeout(ANSWER, unix::connect(socket)).await.ok()
}

/// A note that a keeper does not answer, and what to do about it.
pub(super) fn silent(socket: &Path) -> String {
    let (who, what) = match listener(socket) {
        Some(pid) => (
            format!("(pid {pid})"),
            format!("`kill -CONT {pid}` continues it if it is stopped, `kill -KILL {pid}` ends it and what it keeps"),
        ),
        None => (format!("at {}", socket.display()), "see whether it is stopped".to_owned()),
    };
    format!("note: the process {who} that keeps connections does not answer within {ANSWER:?}, and is not used; {what}")
}

/// A process of this machine has the directory and the environment of the run, so it is not kept.
fn may_be_kept(hops: &[Hop]) -> bool {
    hops.first().is_some_and(|hop| !matches!(hop.method, Method::Local | Method::Fork))
}

/// A hop as a user writes it.
fn shown(hop: &Hop) -> String {
    let user = hop.user.iter().map(|user| format!("{user}@"));
    let port = hop.port.iter().map(|port| format!(":{port}"));
    let method = (hop.method != Method::Ssh).then(|| format!("{}:", hop.method.as_str()));
    method.into_iter().chain(user).chain([hop.target.clone()]).chain(port).collect()
}

/// Starts a keeper, and joins it when it listens.
async fn start(socket: &Path) -> Result<Joined, String> {
    place::make_directory()?;
    let tool = std::env::current_exe().map_err(|error| format!("this program cannot be found again: {error}"))?;
    // What the shell of the run has open, a lock for example, is none of the keeper's business.
    inherit_nothing();
    let mut keeper = Command::new(tool);
    keeper.arg(SUBCOMMAND).arg(socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut keeper = with_usual_settings(&mut keeper)
        .spawn()
        .map_err(|error| format!("the process that keeps connections does not start: {error}"))?;
    let begun = Instant::now();
    loop {
        match unix::connect(socket).await {
            Ok(joined) => return Ok(joined),
            Err(error) if begun.elapsed() > START => {
                let _ = keeper.kill();
                let _ = keeper.wait();
                return Err(format!("the process that keeps connections does not answer: {error}"));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
