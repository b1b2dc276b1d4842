//! `offshoot cache`: the images that `--cache` has left on hosts.
//!
//! - `listing`: what a host says that it keeps, and how it is shown

mod listing;

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use self::listing::{HostCache, Kept};
use crate::builtin::process::{Event, Running};
use crate::cli::args::Cli;
use crate::cli::args::cache::{CacheArgs, What};
use crate::cli::complaint::fail;
use crate::cli::ending::{Readers, Signals, end};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::path::HostPath;
use crate::cli::output::pipe::Pipes;
use crate::cli::run::expand;
use crate::cli::session::Session;
use crate::cli::tree::Tree;
use crate::image::bundle::Bundle;
use crate::image::executable::Image;
use crate::sys::hex::hex;
use crate::{Blob, Context, Error, Router};

/// Most bytes that a host may say about its cache. It keeps four images, and a line has some 90 bytes.
const MAX_SAID: usize = 64 << 10;

/// Sets `C` to the directory of the cache, as the first stage does.
const DIRECTORY: &str = "C=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}};C=${C:+$C/offshoot};[ \"$C\" ]||exit 0;";

/// Prints the directory and the time there, and of each file its size, its time of change and its name. Systems differ
/// in `stat`; where there is none, the time is not known.
const LIST: &str = r#"printf '%s\n' "$C";date +%s;cd -- "$C" 2>/dev/null||exit 0
for f in *;do [ -f "$f" ]||continue
s=$(stat -c '%s %Y' -- "$f" 2>/dev/null||stat -f '%z %m' -- "$f" 2>/dev/null)||s="$(wc -c <"$f") -"
printf '%s %s\n' "$(echo $s)" "$f";done"#;

/// Removes the files that are its arguments. A file that another run has removed meanwhile is no failure.
const PURGE: &str = r#"cd -- "$C" 2>/dev/null||exit 0;rm -f -- "$@"||exit 1;cd /&&rmdir -- "$C" 2>/dev/null;exit 0"#;

/// Lists or removes the images on the hosts.
pub(crate) fn cache(cli: &Cli, args: &CacheArgs) -> Exit {
    // It must not put there what it lists.
    let mut args = args.clone();
    args.reach.image.cache = false;
    let hosts = match expand(&args.reach, &cli.config) {
        Ok((hosts, _)) => hosts,
        Err(exit) => return exit,
    };
    let current = match current() {
        Ok(current) => current,
        Err(error) => return fail(Exit::Internal, &format!("cannot read the images of this program: {error}")),
    };
    let Session { router, runtime, tree } = match Session::begin(&args.reach, &hosts, Router::new) {
        Ok(session) => session,
        Err(exit) => return exit,
    };
    let pipes = match Pipes::start() {
        Ok(pipes) => pipes,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let tree = Rc::new(tree);
    LocalSet::new().block_on(&runtime, async {
        // Ctrl-C ends the process. Everything that it has started then ends because its links end.
        let caches = caches(&tree, &hosts, &args, Rc::new(current)).await;
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return fail(Exit::Internal, &error),
        };
        let outcome = Outcome {
            failed: caches.iter().any(HostCache::has_failed),
            unreachable: caches.iter().any(HostCache::is_unreachable),
            ..Outcome::default()
        };
        if args.json {
            pipes.stdout.write(listing::to_json(&caches));
        } else {
            let (lines, failures) = listing::to_text(&caches, args.what);
            pipes.stdout.write(lines);
            pipes.stderr.write(failures);
        }
        end(&router, &mut signals, &pipes, 0, Readers::AreAwaited).await.unwrap_or(Exit::Done(outcome))
    })
}

/// The names that the images of this program have in a cache.
fn current() -> Result<HashSet<String>, String> {
    let text = |error: std::io::Error| error.to_string();
    let own = Image::own()?.digest().map_err(text)?;
    let mut names: HashSet<String> =
        Bundle::own().map_err(text)?.entries().iter().map(crate::image::bundle::Entry::digest_hex).collect();
    names.insert(hex(&own));
    Ok(names)
}

/// Asks all hosts, so many at once as the command line says. They come in the order of the expression.
async fn caches(tree: &Rc<Tree>, hosts: &[HostPath], args: &CacheArgs, current: Rc<HashSet<String>>) -> Vec<HostCache> {
    let places = Arc::new(Semaphore::new(args.reach.fanout as usize));
    let mut asking = JoinSet::new();
    for (nth, host) in hosts.iter().cloned().enumerate() {
        let (tree, current, places) = (Rc::clone(tree), Rc::clone(&current), Arc::clone(&places));
        let (what, old, limit) = (args.what, args.old, args.reach.connect_timeout);
        asking.spawn_local(async move {
            let _place = places.acquire_owned().await;
            let cache = match tree.context(&host.hops).await {
                Err(error) => HostCache::unreachable(&host.text, &error),
                Ok(context) => {
                    let mut cache = HostCache::of(&host.text, list(&context, &current, limit).await);
                    if what == What::Purge {
                        cache.purge(old, async |names| purge(&context, names, limit).await).await;
                    }
                    cache
                }
            };
            tree.leave(&host.hops).await;
            (nth, cache)
        });
    }
    let mut all = Vec::new();
    while let Some(asked) = asking.join_next().await {
        all.extend(asked);
    }
    all.sort_by_key(|(nth, _)| *nth);
    all.into_iter().map(|(_, cache)| cache).collect()
}

async fn list(context: &Context, current: &HashSet<String>, limit: Duration) -> Result<Kept, String> {
    let said = say(context, LIST, &[], limit).await?;
    Kept::read(&said, current)
}

async fn purge(context: &Context, names: Vec<String>, limit: Duration) -> Result<(), String> {
    say(context, PURGE, &names, limit).await.map(|_| ())
}

/// What a script prints on a host.
///
/// # Errors
///
/// If it takes too long, prints too much, or fails; then what it says on stderr.
async fn say(context: &Context, script: &str, args: &[String], limit: Duration) -> Result<String, String> {
    let command = context.command("/bin/sh").arg("-c").arg(format!("{DIRECTORY}{script}")).arg("sh").args(args);
    let Running { events, mut exit } = command.env("LC_ALL", "C").events();
    let (mut said, mut complaints) = (Vec::new(), Vec::new());
    let mut take = |event| {
        match event {
            Event::Stdout(Blob(bytes)) => said.extend(bytes),
            Event::Stderr(Blob(bytes)) => complaints.extend(bytes),
            Event::Started { .. } | Event::Ended { .. } => {}
        }
        match said.len() + complaints.len() > MAX_SAID {
            true => Err(format!("it says more than {MAX_SAID} bytes about its cache")),
            false => Ok(()),
        }
    };
    let text = |error: Error| error.to_string();
    let reading = async {
        let exit = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Err(error) if error.is_disconnected() => break (&mut exit).await.map_err(text)?,
                    event => take(event.map_err(text)?)?,
                },
                exit = &mut exit => break exit.map_err(text)?,
            }
        };
        // What was printed before the end has arrived before it.
        while let Ok(Some(event)) = events.try_recv() {
            take(event)?;
        }
        Ok::<_, String>(exit)
    };
    let exit = tokio::time::timeout(limit, reading).await.map_err(|_| format!("no answer within {limit:?}"))??;
    if !exit.success() {
        return Err(String::from_utf8_lossy(&complaints).trim().replace('\n', "; "));
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
