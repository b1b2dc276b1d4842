//! The keeper: a process that holds connections for later runs.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::builtin::fakessh::stand_ins::is_of_stand_ins;
use crate::cli::complaint::fail;
use crate::cli::ending::Signals;
use crate::cli::exit::Exit;
use crate::cli::kept::question::{Found, HANDLE, Kept, Key, Question};
use crate::sys::patient::Patient;
use crate::sys::process;
use crate::{ContextId, Message, Router, policy, unix};

/// How often it looks what has to end.
const LOOK: Duration = Duration::from_millis(500);
/// How long it waits for the first program.
const ALONE: Duration = Duration::from_secs(10);
/// How long a program may take to connect a way before others do so, too. It may have given the keeper up meanwhile.
const CLAIM: Duration = Duration::from_secs(30);
/// The most contexts that it keeps.
const MOST: usize = 100_000;
/// The longest path that it lists, in bytes.
const MAX_PATH: usize = 4096;

/// A context that is kept.
struct Entry {
    context: ContextId,
    name: String,
    path: String,
    keep: Duration,
    users: HashSet<ContextId>,
    /// When the last program has left.
    idle_since: Instant,
}

/// What is kept.
struct Keeper {
    router: crate::router::WeakRouter,
    kept: Mutex<HashMap<Key, Entry>>,
    /// The ways that programs are connecting, which program does, and since when.
    claims: Mutex<HashMap<Key, (ContextId, Instant)>>,
}

/// Runs the keeper that listens at `socket`, until it has nothing to keep. If it `is_bound`, until stdin ends.
pub(crate) fn serve(socket: &Path, is_bound: bool) -> Exit {
    let bond = if is_bound {
        match watch_stdin() {
            Ok(bond) => Some(bond),
            Err(error) => return fail(Exit::Internal, &error),
        }
    } else {
        // The terminal and the shell of the run that has started it are none of its business.
        let _ = nix::unistd::setsid();
        None
    };
    let (router, serve) = match Router::builder().build_server() {
        Ok(server) => server,
        Err(error) => return fail(Exit::Internal, &error),
    };
    if let Err(error) = router.dump_on_sigusr2() {
        return fail(Exit::Internal, &error);
    }
    let keeper = Arc::new(Keeper { router: router.downgrade(), kept: Mutex::default(), claims: Mutex::default() });
    let answering = Arc::clone(&keeper);
    let handler = router.add_handler(move |message: Message| {
        if let Ok(question) = message.decode::<Question>() {
            // A program that has gone needs no answer.
            let _ = message.reply(&answering.answer(message.src, question));
        }
    });
    let listener = handler.handle(HANDLE).policy(policy::is_immediate_child).build();
    let listener = match listener.and_then(|_| unix::listen(&router, Some(socket))) {
        Ok(listener) => listener,
        // Another one was faster.
        Err(error) => return fail(Exit::Internal, &error),
    };
    let watching = std::thread::Builder::new().name("offshoot-keeper".into()).spawn(move || {
        crate::block_on(async {
            keeper.until_useless(bond).await;
            let socket = listener.path().to_owned();
            drop(listener);
            router.shutdown().await;
            // What `offshoot with` has made is left if that was killed. The directory of other keepers stays if another one
            // has a socket there.
            let _ = socket.parent().map(|directory| match is_bound && is_of_stand_ins(directory) {
                true => std::fs::remove_dir_all(directory),
                false => std::fs::remove_dir(directory),
            });
        });
        process::exit_now(0);
    });
    if let Err(error) = watching {
        return fail(Exit::Internal, &error);
    }
    match serve() {
        Ok(()) => Exit::Internal,
        Err(why) => fail(Exit::Internal, &why),
    }
}

/// Ends when stdin has ended.
type Bond = oneshot::Receiver<()>;

fn watch_stdin() -> std::io::Result<Bond> {
    let (ended, bond) = oneshot::channel();
    std::thread::Builder::new().name("offshoot-bond".into()).spawn(move || {
        // An error ends it as well.
        let _ = std::io::copy(&mut Patient(std::io::stdin()), &mut std::io::sink());
        let _ = ended.send(());
    })?;
    Ok(bond)
}

async fn end_of(bond: &mut Option<Bond>) {
    match bond {
        Some(bond) => drop(bond.await),
        None => std::future::pending().await,
    }
}

impl Keeper {
    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Key, (ContextId, Instant)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who connects a way. If nobody does, it is this program from now on.
    fn claim(&self, way: Key, user: ContextId) -> Found {
        let mut claims = self.claims();
        let is_connecting =
            |&&(other, since): &&(ContextId, Instant)| other != user && since.elapsed() < CLAIM && self.is_there(other);
        match claims.get(&way).filter(is_connecting) {
            Some((other, _)) => Found::Claimed(*other),
            None => {
                if claims.len() < MOST {
                    claims.insert(way, (user, Instant::now()));
                }
                Found::Nothing
            }
        }
    }

    /// Runs on the I/O thread.
    fn answer(&self, user: ContextId, question: Question) -> Vec<Found> {
        let mut kept = self.kept();
        match question {
            Question::Find { ways, keep, claim } => ways
                .into_iter()
                .map(|way| match kept.get_mut(&way).filter(|entry| self.is_there(entry.context)) {
                    Some(entry) => {
                        entry.users.insert(user);
                        entry.keep = entry.keep.max(keep.unwrap_or_default());
                        Found::Kept(entry.kept(way))
                    }
                    None if claim => self.claim(way, user),
                    None => Found::Nothing,
                })
                .collect(),
            Question::Keep { way, context, name, path, keep } => {
                self.claims().remove(&way);
                let is_acceptable = kept.len() < MOST && path.len() <= MAX_PATH && self.is_there(context);
                if is_acceptable {
                    let (users, idle_since) = (HashSet::from([user]), Instant::now());
                    let old = kept.insert(way, Entry { context, name, path, keep, users, idle_since });
                    // Two runs have connected it at once. The older one has its user.
                    if let Some(old) = old.filter(|old| old.context != context) {
                        let lone: Key = another_key(old.context, &way);
                        kept.insert(lone, Entry { keep: Duration::ZERO, ..old });
                    }
                }
                Vec::new()
            }
            Question::Leave(ways) => {
                for way in ways {
                    if let Some(mut entry) = kept.remove(&way) {
                        entry.users.remove(&user);
                        kept.insert(another_key(entry.context, &way), Entry { keep: Duration::ZERO, ..entry });
                    }
                }
                Vec::new()
            }
            Question::List => kept.iter().map(|(way, entry)| Found::Kept(entry.kept(*way))).collect(),
            Question::End(ways) => {
                let ways = ways.unwrap_or_else(|| kept.keys().copied().collect());
                for way in ways {
                    if let Some(entry) = kept.get_mut(&way) {
                        entry.users.clear();
                        entry.keep = Duration::ZERO;
                    }
                }
                Vec::new()
            }
        }
    }

    fn is_there(&self, context: ContextId) -> bool {
        !self.router.shared().has_gone(context)
    }

    /// Ends what nobody uses any more, until nothing is left or a signal comes. With a bond, until that ends.
    async fn until_useless(&self, mut bond: Option<Bond>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let Ok(mut signals) = Signals::new() else { return };
            let (begun, mut has_kept) = (Instant::now(), false);
            loop {
                tokio::select! {
                    // The program that the connections are for may live on.
                    signal = signals.next() => if bond.is_none() || signal != Exit::Interrupted { return },
                    () = end_of(&mut bond) => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let Some(router) = self.router.upgrade() else { return };
                has_kept |= !self.kept().is_empty();
                for context in self.take_useless() {
                    router.context_by_id(context).shutdown_nowait();
                }
                let is_useless = self.kept().is_empty() && router.children().is_empty();
                if bond.is_none() && is_useless && (has_kept || begun.elapsed() > ALONE) {
                    return;
                }
            }
        });
    }

    /// Takes out what has gone and what nobody uses any more. Returns the latter.
    fn take_useless(&self) -> Vec<ContextId> {
        let mut useless = Vec::new();
        self.claims().retain(|_, (user, since)| since.elapsed() < CLAIM && self.is_there(*user));
        self.kept().retain(|_, entry| {
            if !self.is_there(entry.context) {
                return false;
            }
            let was_used = !entry.users.is_empty();
            entry.users.retain(|user| self.is_there(*user));
            if !entry.users.is_empty() {
                return true;
            }
            if was_used {
                entry.idle_since = Instant::now();
            }
            let is_useful = entry.idle_since.elapsed() < entry.keep;
            if !is_useful {
                useless.push(entry.context);
            }
            is_useful
        });
        useless
    }
}

/// A key for a context whose way has another context by now.
fn another_key(context: ContextId, way: &Key) -> Key {
    let mut key = *way;
    for (byte, id) in key.iter_mut().zip(context.0.to_be_bytes()) {
        *byte ^= id ^ 0x5a;
    }
    key
}

impl Entry {
    fn kept(&self, way: Key) -> Kept {
        let idle = if self.users.is_empty() { self.idle_since.elapsed() } else { Duration::ZERO };
        Kept {
            way,
            context: self.context,
            name: self.name.clone(),
            path: self.path.clone(),
            users: self.users.len(),
            idle,
            left: self.keep.saturating_sub(idle),
        }
    }
}
