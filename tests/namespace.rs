//! The names at the root of the crate, read from its sources, so that it does not grow unnoticed, and the verbs of a
//! context, so that one with a limit on time has all of them.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;

use sources::sources;

/// What nearly every program names, and what is reached from nothing else. All else is in a module.
const ROOT: [&str; 26] = [
    // A program and its tree.
    "Router",
    "Context",
    "Econtext",
    "Broker",
    "run",
    "child",
    "export",
    // `run` with settings: it is written where `run` is.
    "Program",
    // Calls and values between contexts.
    "Call",
    "CallChain",
    "CallStream",
    "Receiver",
    "Sender",
    "Channel",
    "Select",
    // `impl offshoot::Value for Facts {}` stands beside every type that a function returns.
    "Value",
    // What travels.
    "Message",
    "Handle",
    "ContextId",
    "Blob",
    "Secret",
    // Every function that calls returns it.
    "Error",
    // The way for code that is not async, with everything else of the crate.
    "block_on",
    // Exported macros are at the root of their crate, wherever they are written.
    "testing",
    "service",
    "VERSION",
];

/// What is looked for by subject.
const MODULES: [&str; 20] = [
    "alloc", "bundle", "call", "channel", "connect", "context", "error", "facts", "fakessh", "file", "log", "message",
    "net", "policy", "process", "router", "select", "service", "stats", "unix",
];

/// Verbs of a context that wait for nothing, or for what has an end in itself.
const WITHOUT_A_LIMIT: [&str; 13] = [
    "id",
    "name",
    "router",
    "via",
    "exit_status",
    "timeout",
    "is_closed",
    "pause",
    "resume",
    // They return at once; what comes is received with `recv_timeout`.
    "send",
    "send_async",
    "send_stream",
    // It returns at once; `ShutdownHandle::wait_timeout` waits.
    "shutdown_nowait",
];

/// The last names of `a::{b, c::d as e}`.
fn names(path: &str) -> Vec<String> {
    let list = path.split_once('{').map_or(path, |(_, list)| list.trim_end_matches('}'));
    let last = |name: &str| name.rsplit([':', ' ']).next().unwrap().to_owned();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(last).collect()
}

/// The public names at the root that are shown in the documentation: those that are no modules, and the modules.
fn root() -> (BTreeSet<String>, BTreeSet<String>) {
    let sources = sources();
    let lib = &sources["lib.rs"];
    let (mut items, mut modules) = (BTreeSet::new(), BTreeSet::new());
    for path in lib.split("\npub use ").skip(1) {
        let path: String = path.split(';').next().unwrap().split_whitespace().collect();
        // Modules of other layers are shown as they are.
        let (found, others): (BTreeSet<_>, _) = names(&path).into_iter().partition(|name| MODULES.contains(&&**name));
        modules.extend(found);
        items.extend::<BTreeSet<_>>(others);
    }
    let lines: Vec<_> = lib.lines().collect();
    for window in lines.windows(2) {
        let (before, line) = (window[0], window[1]);
        let Some(line) = line.strip_prefix("pub ").filter(|_| before != "#[doc(hidden)]") else { continue };
        let mut words = line.split([' ', ';', ':', '(', '<']);
        match (words.next().unwrap(), words.next().unwrap().to_owned()) {
            ("use", _) => {}
            ("mod", name) => drop(modules.insert(name)),
            (_, name) => drop(items.insert(name)),
        }
    }
    for text in sources.values() {
        for rest in text.split("#[macro_export]\nmacro_rules! ").skip(1) {
            items.insert(rest.split(' ').next().unwrap().to_owned());
        }
    }
    (items, modules)
}

#[test]
fn the_root_has_the_names_that_are_listed_here_and_no_others() {
    let (items, modules) = root();
    let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(items, listed(&ROOT));
    assert_eq!(modules, listed(&MODULES));
}

/// The public functions in blocks that begin with `head`.
fn verbs(head: &str) -> BTreeSet<String> {
    let mut verbs = BTreeSet::new();
    for (_, text) in sources().iter().filter(|(name, _)| !name.starts_with("cli")) {
        for block in text.split(head).skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            for line in block.lines().filter_map(|line| line.strip_prefix("    pub ")) {
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                verbs.extend(name.map(|name| name.split(['(', '<']).next().unwrap().to_owned()));
            }
        }
    }
    verbs
}

#[test]
fn a_context_with_a_limit_on_time_has_all_verbs_of_a_context_that_wait() {
    let (all, timed) = (verbs("\nimpl Context {\n"), verbs("\nimpl WithTimeout<'_> {\n"));
    assert!(all.len() > 25, "{all:?}");
    let missing: Vec<_> = all.difference(&timed).filter(|verb| !WITHOUT_A_LIMIT.contains(&&***verb)).collect();
    assert!(missing.is_empty(), "WithTimeout lacks {missing:?}");
    assert!(timed.is_subset(&all), "WithTimeout has other names than Context: {:?}", timed.difference(&all));
}
