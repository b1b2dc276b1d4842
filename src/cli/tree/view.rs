//! `offshoot tree`: connects, and shows the contexts on the way to the hosts.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::builtin::facts::{HostFacts, host_facts};
use crate::cli::args::{Cli, TreeArgs};
use crate::cli::complaint::fail;
use crate::cli::ending::{Readers, Signals, end};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::command;
use crate::cli::hosts::path::{Hop, HostPath};
use crate::cli::output::pipe::Pipes;
use crate::cli::output::{safe_json, visible};
use crate::cli::run::expand;
use crate::cli::session::Session;
use crate::cli::tree::Tree;
use crate::wire::connect_trace::ConnectTrace;
use crate::{Context, Error, Router};

/// How often a call goes to a context and back. The fastest one counts.
const ROUND_TRIPS: usize = 3;

/// Connects to the hosts and prints the tree of their contexts.
pub(crate) fn view(cli: &Cli, args: &TreeArgs) -> Exit {
    let (hosts, _) = match expand(&args.reach, &cli.config) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let Session { router, runtime, tree } = match Session::begin(&args.reach, &hosts, Router::new) {
        Ok(session) => session,
        Err(exit) => return exit,
    };
    let tree = Rc::new(tree.with_traces());
    let pipes = match Pipes::start() {
        Ok(pipes) => pipes,
        Err(error) => return fail(Exit::Internal, &error),
    };
    LocalSet::new().block_on(&runtime, async {
        // Ctrl-C ends the process. Everything that it has started then ends because its links end.
        let branches = branches(&tree, &hosts, args).await;
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return fail(Exit::Internal, &error),
        };
        let unreachable = branches.iter().any(Branch::has_failed);
        pipes.stdout.write(if args.json { to_json(&branches) } else { to_text(&branches) });
        let exit = end(&router, &mut signals, &pipes, 0, Readers::AreAwaited).await;
        exit.unwrap_or_else(|| Exit::Done(Outcome { unreachable, ..Outcome::default() }))
    })
}

/// A context and those behind it.
struct Branch {
    hop: Hop,
    context: Result<Seen, String>,
    behind: Vec<Self>,
}

/// What is known of a context.
struct Seen {
    pid: u32,
    hostname: String,
    user: String,
    image: Image,
    round_trip: Duration,
}

/// Where a context has its image from.
enum Image {
    /// It is that of the context that has started it.
    Own,
    /// The machine has kept it, or it was there.
    Kept,
    /// It was sent, in so many bytes.
    Uploaded(u64),
}

impl Image {
    fn of(trace: &ConnectTrace) -> Self {
        match (trace.announced.is_empty(), trace.sent.last()) {
            (true, _) => Self::Own,
            (false, None | Some((0, _))) => Self::Kept,
            (false, Some((bytes, _))) => Self::Uploaded(*bytes),
        }
    }

    fn as_str(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Kept => "cached",
            Self::Uploaded(_) => "uploaded",
        }
    }
}

impl Branch {
    fn has_failed(&self) -> bool {
        self.context.is_err() || self.behind.iter().any(Self::has_failed)
    }
}

/// Connects all hosts, so many at once as the command line says, and looks at every context on the way.
async fn branches(tree: &Rc<Tree>, hosts: &[HostPath], args: &TreeArgs) -> Vec<Branch> {
    let places = Arc::new(Semaphore::new(args.reach.fanout as usize));
    let mut connecting = JoinSet::new();
    for host in hosts {
        let (tree, hops, places) = (Rc::clone(tree), host.hops.clone(), Arc::clone(&places));
        connecting.spawn_local(async move {
            let _place = places.acquire_owned().await;
            // The tree keeps the outcome.
            let _ = tree.context(&hops).await;
        });
    }
    while connecting.join_next().await.is_some() {}
    let (mut known, mut behind) = (HashSet::new(), HashMap::<&[Hop], Vec<&[Hop]>>::new());
    for path in hosts.iter().flat_map(|host| (1..=host.hops.len()).map(|depth| &host.hops[..depth])) {
        if known.insert(path) {
            behind.entry(&path[..path.len() - 1]).or_default().push(path);
        }
    }
    let mut seen = HashMap::new();
    let mut looking = JoinSet::new();
    for path in known {
        if let Some(outcome) = tree.outcome(path) {
            let (path, places, limit) = (path.to_vec(), Arc::clone(&places), args.reach.connect_timeout);
            looking.spawn_local(async move {
                let _place = places.acquire_owned().await;
                (path, look(outcome, limit).await)
            });
        }
    }
    while let Some(looked) = looking.join_next().await {
        seen.extend(looked);
    }
    below(&[], &behind, &mut seen)
}

async fn look(outcome: Result<(Context, ConnectTrace), Error>, limit: Duration) -> Result<Seen, String> {
    let (context, trace) = outcome.map_err(|error| error.to_string())?;
    let mut round_trip = Duration::MAX;
    let mut facts: Option<HostFacts> = None;
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        let found = context.timeout(limit).call(host_facts, ()).await.map_err(|error| error.to_string())?;
        round_trip = round_trip.min(started.elapsed());
        facts = Some(found);
    }
    let HostFacts { pid, hostname, user, .. } = facts.ok_or("nothing was asked")?;
    Ok(Seen { pid, hostname, user, image: Image::of(&trace), round_trip })
}

/// The branches behind a path. Nothing is behind one that has failed.
fn below(
    path: &[Hop],
    behind: &HashMap<&[Hop], Vec<&[Hop]>>,
    seen: &mut HashMap<Vec<Hop>, Result<Seen, String>>,
) -> Vec<Branch> {
    let mut branches = Vec::new();
    for path in behind.get(path).into_iter().flatten() {
        let (Some(hop), Some(context)) = (path.last(), seen.remove(*path)) else { continue };
        let behind = if context.is_ok() { below(path, behind, seen) } else { Vec::new() };
        branches.push(Branch { hop: hop.clone(), context, behind });
    }
    branches
}

fn to_text(branches: &[Branch]) -> Vec<u8> {
    let mut text = format!("offshoot: pid {}\n", std::process::id());
    let mut out = Vec::new();
    draw(branches, "", &mut text);
    for line in text.lines() {
        visible::text(line, "", &mut out);
        out.push(b'\n');
    }
    out
}

fn draw(branches: &[Branch], indent: &str, text: &mut String) {
    for (nth, branch) in branches.iter().enumerate() {
        let is_last = nth + 1 == branches.len();
        let (mark, below) = if is_last { ("`- ", "   ") } else { ("|- ", "|  ") };
        let name = command::hop(&branch.hop);
        let what = match &branch.context {
            Ok(Seen { pid, hostname, user, image, round_trip }) => {
                let image = match image {
                    Image::Uploaded(bytes) => format!("image uploaded ({} KiB)", bytes.div_ceil(1024)),
                    image => format!("{} image", image.as_str()),
                };
                let (method, millis) = (branch.hop.method, round_trip.as_secs_f64() * 1e3);
                format!("by {method}, pid {pid}, {user}@{hostname}, {image}, {millis:.1} ms")
            }
            Err(why) => format!("FAILED: {}", why.replace('\n', "; ")),
        };
        let _ = writeln!(text, "{indent}{mark}{name}: {what}");
        draw(&branch.behind, &format!("{indent}{below}"), text);
    }
}

fn to_json(branches: &[Branch]) -> Vec<u8> {
    safe_json::line(&json!({ "v": 1, "pid": std::process::id(), "tree": values(branches) }))
}

fn values(branches: &[Branch]) -> Vec<Value> {
    let value = |branch: &Branch| {
        let Branch { hop, context, behind } = branch;
        let mut value = json!({
            "hop": command::hop(hop), "method": hop.method.as_str(), "target": hop.target, "error": null,
            "behind": values(behind),
        });
        match context {
            Ok(seen) => {
                value["pid"] = json!(seen.pid);
                value["hostname"] = json!(seen.hostname);
                value["user"] = json!(seen.user);
                value["image"] = json!(seen.image.as_str());
                value["sent"] = json!(if let Image::Uploaded(bytes) = seen.image { bytes } else { 0 });
                value["milliseconds"] = json!((seen.round_trip.as_secs_f64() * 1e6).round() / 1e3);
            }
            Err(why) => value["error"] = json!(why),
        }
        value
    };
    branches.iter().map(value).collect()
}
