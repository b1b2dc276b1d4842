//! The documentation of the library, read from its sources: every public item has an example or says where one is, every
//! async function says how code that is not async calls it, and every name of Mitogen that is ours by another name leads to
//! it.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sources::sources;

/// Modules whose public items are public.
const OPEN: [&str; 9] = [
    "builtin/process.rs",
    "builtin/file.rs",
    "builtin/net.rs",
    "builtin/fakessh.rs",
    "builtin/facts.rs",
    "builtin/service.rs",
    "builtin/service/files.rs",
    "builtin/unix.rs",
    "image/bundle.rs",
];
/// Files that export what others define.
const EXPORTS: [&str; 7] = [
    "lib.rs",
    "connect.rs",
    "connect/methods.rs",
    "builtin/process.rs",
    "builtin/service.rs",
    "builtin/service/files.rs",
    "builtin/unix.rs",
];
/// Where a doc sentence says that there is an example.
const POINTERS: [&str; 3] = ["has an example", "See [", "see ["];
/// Types that a macro makes, that `std` or another crate has, or that are exported by another name; all documented there.
const ELSEWHERE: [&str; 12] =
    ["Allocator", "Buildah", "Doas", "Docker", "Incus", "Jail", "Kubectl", "Lxc", "Lxd", "Podman", "Ssh", "Su"];
/// Kinds of items that begin a line.
const KINDS: [&str; 9] = [
    "pub struct ",
    "pub enum ",
    "pub trait ",
    "pub fn ",
    "pub async fn ",
    "pub const ",
    "pub type ",
    "macro_rules! ",
    "pub mod ",
];

/// The files of the library, without the tool.
fn library() -> BTreeMap<String, String> {
    let mut files = sources();
    files.retain(|name, _| !name.starts_with("cli"));
    files
}

fn word(text: &str) -> &str {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap()
}

/// The name of the item that begins in this line.
fn item(line: &str) -> Option<&str> {
    KINDS.iter().find_map(|kind| line.strip_prefix(kind)).map(word)
}

/// The names that a program can write, but for methods.
fn exported(sources: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["export", "testing", "VERSION"].map(str::to_owned).into();
    for file in EXPORTS {
        let text = sources[file].split("pub mod __private").next().unwrap();
        let mut uses: Vec<_> = text.split("pub use ").collect();
        for before in 0..uses.len() - 1 {
            if uses[before].ends_with("#[doc(hidden)]\n") {
                uses[before + 1] = "";
            }
        }
        for list in uses.into_iter().skip(1).filter_map(|path| path.split(';').next()) {
            let list = list.rsplit_once('{').map_or(list, |(_, list)| list);
            // Of what has another name outside, the definition has the documentation.
            let last = |name: &str| word(name.trim().rsplit("::").next().unwrap()).to_owned();
            names.extend(list.split(',').map(last));
        }
    }
    for file in OPEN {
        let lines = sources[file].lines();
        let public = lines.filter(|line| line.starts_with("pub "));
        names.extend(public.filter_map(item).map(str::to_owned));
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The documentation above a line, and its attributes.
fn above(lines: &[&str]) -> String {
    let mut above: Vec<&str> = Vec::new();
    for line in lines.iter().rev() {
        // An attribute may have several lines.
        let inside = above.last().is_some_and(|line| *line == ")]" || line.starts_with("    "));
        if !(line.starts_with("///") || line.starts_with("#[") || *line == ")]" || inside && line.starts_with("    ")) {
            break;
        }
        above.push(line);
    }
    above.reverse();
    above.join(" ").replace(" /// ", " ")
}

#[test]
fn every_public_item_has_an_example_or_says_where_one_is() {
    let sources = library();
    let exported = exported(&sources);
    let (mut found, mut without) = (BTreeSet::new(), Vec::new());
    for (file, text) in &sources {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = item(line) else { continue };
            let doc = above(&lines[..at]);
            if !exported.contains(name) || doc.contains("#[doc(hidden)]") || line.starts_with("pub mod ") {
                continue;
            }
            found.insert(name.to_owned());
            if !doc.contains("```") && !POINTERS.iter().any(|pointer| doc.contains(pointer)) {
                without.push(format!("{name} in src/{file}"));
            }
        }
    }
    // A module that is exported begins with its example.
    let is_module = |name: &str| OPEN.iter().any(|file| file.ends_with(&format!("/{name}.rs")));
    let lost = exported.difference(&found).filter(|name| !is_module(name) && !ELSEWHERE.contains(&&***name));
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "these are exported, and not found: {lost:?}");
    assert!(found.len() > 80, "{found:?}");
    assert!(
        without.is_empty(),
        "{} items have no example and no sentence that says where one is: {without:#?}",
        without.len()
    );
}

/// The names of Mitogen in the left column of the table, with what the right column says.
fn table() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/from-mitogen.md");
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("## Name by name").nth(1).unwrap().split("## What Mitogen").next().unwrap();
    let mut names = Vec::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("Mitogen |")) {
        let (left, right) = row.split_once(" | ").unwrap();
        for name in left.split('`').skip(1).step_by(2) {
            // Parameters are those of the function.
            let name = name.split('(').next().unwrap().rsplit('.').next().unwrap();
            assert!(!name.is_empty() && word(name) == name, "{name:?} is no name: write it without backticks");
            names.push((name.to_owned(), right.to_owned()));
        }
    }
    names
}

#[test]
fn every_name_of_mitogen_leads_to_ours() {
    let sources = library();
    let mut ours = BTreeSet::new();
    let mut aliases = BTreeSet::new();
    for (file, text) in &sources {
        for line in text.lines().map(str::trim_start) {
            if let Some(alias) = line.strip_prefix("#[doc(alias = \"") {
                aliases.insert(alias.trim_end_matches("\")]").to_owned());
            }
            let definition = line.strip_prefix("pub ").map(|line| {
                let kinds = ["async ", "fn ", "struct ", "enum ", "trait ", "const ", "type ", "mod ", "use "];
                kinds.iter().fold(line, |line, kind| line.strip_prefix(kind).unwrap_or(line))
            });
            ours.extend(definition.map(|rest| word(rest).to_owned()));
            // Options whose functions a macro makes.
            let is_option = |word: &&str| word.ends_with("_path");
            if file.starts_with("connect/methods/") {
                let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                ours.extend(words.filter(is_option).map(str::to_owned));
            }
        }
    }
    let table = table();
    assert!(table.len() > 150, "{} names in the table", table.len());
    let has_none = |right: &str| right.starts_with("- ") || right.starts_with("**not yet**");
    let missing: BTreeSet<_> = table
        .iter()
        .filter(|(name, right)| !has_none(right) && !ours.contains(name) && !aliases.contains(name))
        .collect();
    assert!(missing.is_empty(), "write #[doc(alias = \"..\")] where these are: {missing:#?}");
    let listed: BTreeSet<_> = table.iter().filter(|(_, right)| !has_none(right)).map(|(name, _)| name).collect();
    let unknown: Vec<_> = aliases.iter().filter(|alias| !listed.contains(alias) && !ours.contains(*alias)).collect();
    assert!(unknown.is_empty(), "the table has no row for the aliases {unknown:?}");
}

/// The type whose block of functions, or whose trait, begins in this line.
fn implemented(line: &str) -> Option<&str> {
    let mut rest = line.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '<') - i32::from(c == '>');
            depth == 0
        });
        rest = &rest[end? + 1..];
    }
    let of = rest.split_once(" for ").map_or(rest, |(_, of)| of);
    Some(word(of.trim_start()))
}

/// The public functions of types, and those at the top of a file: the name with its type, whether it is async, and the
/// documentation. Those that are hidden, or that only the tool has, are left out.
fn functions() -> Vec<(String, bool, String)> {
    let mut all = Vec::new();
    for text in library().values() {
        let lines: Vec<_> = text.lines().collect();
        let mut within = None;
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = implemented(line) {
                within = Some(name);
            }
            let function = line.trim_start().strip_prefix("pub ").map(|rest| (rest, rest.strip_prefix("async ")));
            let Some((rest, is_async)) = function else { continue };
            let Some(name) = is_async.unwrap_or(rest).strip_prefix("fn ").map(word) else { continue };
            let trimmed: Vec<_> = lines[..at].iter().map(|line| line.trim_start()).collect();
            let doc = above(&trimmed);
            if doc.contains("#[cfg(feature = \"cli\")]") || within == Some("HangUp") {
                continue;
            }
            let name = match within.filter(|_| line.starts_with(' ')) {
                Some(within) => format!("{within}::{name}"),
                None => name.to_owned(),
            };
            all.push((name, is_async.is_some(), doc));
        }
    }
    all
}

#[test]
fn every_async_function_says_what_happens_if_its_future_is_dropped() {
    const SAID: [&str; 4] = ["ancel safe", "ropping the future", "ropping it", "is dropped"];
    // What is as another function, or is not public, is said there.
    let is_elsewhere = |doc: &str| ["As [`", "otherwise as [`"].iter().any(|words| doc.contains(words));
    let functions = functions();
    let asynchronous = functions.iter().filter(|(_, is_async, _)| *is_async);
    let silent: Vec<_> = asynchronous
        .filter(|(_, _, doc)| !SAID.iter().any(|said| doc.contains(said)) && !is_elsewhere(doc))
        .map(|(name, ..)| name)
        .collect();
    assert!(silent.is_empty(), "say whether these are cancel safe: {silent:#?}");
}

#[test]
fn the_list_of_async_functions_says_how_each_is_called_by_code_that_blocks() {
    let functions = functions();
    let names: BTreeSet<_> = functions.iter().map(|(name, ..)| name.as_str()).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/blocking.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = |heading: &str| {
        let part = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | `"));
        // A function that belongs to no type is written with its module.
        let of_module = |name: &str| name.starts_with(char::is_lowercase);
        let short = |name: &str| match name.rsplit_once("::") {
            Some((module, name)) if of_module(module) => name.to_owned(),
            _ => name.to_owned(),
        };
        rows.map(|(left, right)| (short(left), right.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let listed = rows("## Async functions");
    let (mut right, mut silent) = (BTreeMap::new(), Vec::new());
    for (name, _, doc) in functions.iter().filter(|(_, is_async, _)| *is_async) {
        let twin = match name.rsplit_once("::") {
            Some((of, name)) => format!("{of}::blocking_{name}"),
            None => format!("blocking_{name}"),
        };
        let way = if names.contains(twin.as_str()) { twin } else { "block_on".to_owned() };
        if !doc.contains(&format!("Code that is not async uses [`{way}`]")) {
            silent.push(format!("{name}: {way}"));
        }
        right.insert(name.clone(), format!("{way}`"));
    }
    assert!(right.len() > 40, "{right:?}");
    assert!(silent.is_empty(), "write `Code that is not async uses [`..`]` where these are: {silent:#?}");
    let pairs = |rows: &BTreeMap<String, String>| rows.clone().into_iter().collect::<BTreeSet<_>>();
    let (listed, right) = (pairs(&listed), pairs(&right));
    let lacks: Vec<_> = right.difference(&listed).collect();
    let more: Vec<_> = listed.difference(&right).collect();
    assert!(lacks.is_empty() && more.is_empty(), "docs/reference/blocking.md lacks {lacks:#?}, and has {more:#?}");
    // What can be awaited, and the functions that the page names for it.
    let library = library();
    let public = library.iter().filter(|(file, _)| file.starts_with("api/") || file.starts_with("connect/"));
    let futures = public.flat_map(|(_, text)| text.lines().filter(|line| line.contains("Future for ")));
    let awaited: BTreeSet<String> = futures.filter_map(implemented).map(str::to_owned).collect();
    let types = rows("## Values that can be awaited");
    assert_eq!(types.keys().cloned().collect::<BTreeSet<_>>(), awaited);
    for name in types.values().flat_map(|ways| ways.split('`').step_by(2)).filter(|name| name.contains("::")) {
        assert!(names.contains(name), "there is no {name}");
    }
}

/// The names in backticks of a table cell: `file: name`, and further names of the same file.
fn tests_in(cell: &str) -> Vec<(String, String)> {
    let (mut file, mut found) = (String::new(), Vec::new());
    for text in cell.split('`').skip(1).step_by(2) {
        let name = match text.split_once(": ") {
            Some((named, name)) => {
                file = named.to_owned();
                name
            }
            None => text,
        };
        let is_name = name.len() > 15 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        found.extend((is_name && !file.is_empty()).then(|| (file.clone(), name.to_owned())));
    }
    found
}

#[test]
fn the_page_for_users_of_mitogen_names_tests_that_are_there() {
    let page = fs::read_to_string("docs/guide/from-mitogen.md").unwrap();
    let rows = page.split("## What Mitogen's tests show").nth(1).unwrap().lines().filter(|line| line.starts_with("| "));
    let mut files = BTreeMap::new();
    let mut places = ["src", "tests/calls", "tests/hosts", "tests/first_stage"].map(std::path::PathBuf::from).to_vec();
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                places.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path.display().to_string(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let of_hosts = |name: &str| name.starts_with("tests/hosts") || name.starts_with("tests/first_stage");
    let hosts: String = files.iter().filter(|(name, _)| of_hosts(name)).map(|(_, text)| &**text).collect();
    // Of a name that is made of parts, the end is in the source, behind a part.
    let is_there = |sentence: &str| {
        let mut ends = sentence.match_indices(' ').map(|(at, _)| &sentence[at..]).filter(|end| end.len() > 15);
        hosts.contains(sentence) || ends.any(|end| hosts.contains(&format!("}}{end}")))
    };
    let (mut named, mut wrong) = (0, Vec::new());
    for row in rows {
        for (file, name) in tests_in(row) {
            named += 1;
            let is_in = |(path, text): (&String, &String)| {
                let of_file = path.ends_with(&format!("{file}.rs")) || path.contains(&format!("/{file}/"));
                of_file && text.contains(&format!("fn {name}("))
            };
            if !files.iter().any(is_in) {
                wrong.push(format!("{file}: {name}"));
            }
        }
        // The names of trials on hosts are sentences.
        for sentence in row.split('*').skip(1).step_by(2).filter(|sentence| sentence.contains(' ')) {
            named += 1;
            if !is_there(sentence.split(':').next_back().unwrap().trim()) {
                wrong.push(sentence.to_owned());
            }
        }
    }
    assert!(named > 100, "only {named} names were found");
    assert!(wrong.is_empty(), "no test has these names: {wrong:#?}");
}
