//! `offshoot forward`: ports and unix sockets of this machine, whose connections a host makes.
//!
//! - `rule`: what is forwarded; `listener`: where it comes in

mod listener;
pub(crate) mod rule;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::listener::{Listener, Near};
use self::rule::{Rule, Target};
use crate::Context;
use crate::cli::args::forward::ForwardArgs;
use crate::cli::args::{Cli, ReachArgs};
use crate::cli::complaint::{complain, fail};
use crate::cli::exit::Exit;
use crate::cli::hosts::path::HostPath;
use crate::cli::run::{expand_one, start};
use crate::cli::session::{Session, connected, unreachable};
use crate::cli::tree::Tree;

/// Connections at once. A context takes 1024 calls of one caller at once, and each connection is one. The rest is for
/// those that have just ended. Further connections are refused, as a client that waits does not know why.
const MOST: usize = 1000;
/// Bytes of one read on this machine; the same as on the host.
const CHUNK: usize = 32 * 1024;
/// How long to wait if the system gives no connection, as when too many files are open.
const NOT_YET: Duration = Duration::from_millis(100);

/// Listens, connects to the host, and forwards until the end.
pub(crate) fn forward(cli: &Cli, args: &ForwardArgs) -> Exit {
    let reach = args.reach();
    let host = match expand_one(&reach, &cli.config, "one is forwarded from") {
        Ok(host) => host,
        Err(exit) => return exit,
    };
    // First of all, since nothing has to be connected to tell that a port is in use.
    let mut listeners = Vec::new();
    for rule in &args.rules {
        match Listener::bind(&rule.listen) {
            Ok(listener) => listeners.push(listener),
            Err(why) => return fail(Exit::Internal, &why),
        }
    }
    match Session::begin(&reach, std::slice::from_ref(&host), || start(cli.debug))
        .map(|session| session.with_kept(&reach))
    {
        Ok(session) => session.until_signal(async |tree| on_host(tree, (&host, &reach), listeners, &args.rules).await),
        Err(exit) => exit,
    }
}

/// Connects to the host, and forwards until its connection is lost.
async fn on_host(
    tree: &Rc<Tree>,
    (host, reach): (&HostPath, &ReachArgs),
    listeners: Vec<Listener>,
    rules: &[Rule],
) -> Exit {
    let context = match connected(tree, host, reach).await {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let room = Arc::new(Semaphore::new(MOST));
    let mut serving = JoinSet::new();
    let mut told = String::new();
    for (listener, rule) in listeners.into_iter().zip(rules) {
        told += &format!("{listener} -> {} from {}\n", rule.target, host.text);
        let way = Way {
            name: format!("{listener} -> {}", rule.target),
            context: context.clone(),
            target: rule.target.clone(),
            last: Mutex::new(String::new()),
        };
        let serving_one = match listener.open() {
            Ok(opened) => serve(opened, Arc::new(way), Arc::clone(&room)),
            Err(error) => return fail(Exit::Internal, &error),
        };
        serving.spawn(serving_one);
    }
    if let exit @ (Exit::Internal | Exit::Usage) = super::print(told.as_bytes()) {
        return exit;
    }
    tokio::select! {
        _ = context.closed() => {}
        // None of them ends by itself.
        _ = serving.join_next() => return Exit::Internal,
    }
    complain(&format!("offshoot: the connection to {} was lost", host.text));
    tree.last_words(&host.hops).await.iter().for_each(|line| complain(line));
    unreachable()
}

/// Accepts connections for ever. Dropping it ends all of them.
async fn serve(listener: listener::Open, way: Arc<Way>, room: Arc<Semaphore>) {
    let mut open = JoinSet::new();
    loop {
        // Those that have ended are forgotten.
        while open.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(near) => {
                let way = Arc::clone(&way);
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                    drop(near);
                    way.complain_once(format!("{MOST} connections are open, so another one was refused"));
                    continue;
                };
                open.spawn(async move {
                    way.carry(near).await;
                    drop(permit);
                });
            }
            Err(error) => {
                way.complain_once(format!("cannot accept a connection: {error}"));
                tokio::time::sleep(NOT_YET).await;
            }
        }
    }
}

/// Where the connections of one listener go.
struct Way {
    name: String,
    context: Context,
    target: Target,
    /// The last complaint. A program that tries again and again is told of once.
    last: Mutex<String>,
}

impl Way {
    async fn carry(&self, mut near: Near) {
        let mut far = match self.target.connect(&self.context).await {
            Ok(far) => far,
            Err(error) => {
                return self.complain_once(error.to_string());
            }
        };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clear();
        far.reset_on_drop(true);
        // Each direction ends by itself. After an error, or if this is cut off, both ends get a reset: they must not take
        // what has come for all.
        if copy_bidirectional_with_sizes(near.stream(), &mut far, CHUNK, CHUNK).await.is_ok() {
            far.reset_on_drop(false);
            near.close_in_order();
        }
    }

    fn complain_once(&self, why: String) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != why {
            complain(&format!("offshoot: {}: {why}", self.name));
            *last = why;
        }
    }
}
