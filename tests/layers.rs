//! Checks the layers of `src` by the imports of its files: no file uses a higher layer, and few files form a
//! circle.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sources::sources;

/// From the lowest to the highest. A layer may use those before it.
const LAYERS: [&str; 10] = ["sys", "wire", "routing", "image", "engine", "api", "connect", "builtin", "cli", "fuzzing"];
/// Files of one layer that may form one circle of imports: a context makes calls of functions, which get contexts, senders
/// and receivers.
const LARGEST_CIRCLE: usize = 8;

/// The imports of every file, both as paths below `src` without `.rs`.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let name = |path: &str| path.trim_end_matches(".rs").to_owned();
    let files: BTreeMap<_, _> = sources().iter().map(|(path, text)| (name(path), code_of(text))).collect();
    let exports = exports(&files["lib"]);
    let names: BTreeSet<_> = files.keys().cloned().collect();
    let resolve = |path: &str| {
        let path = match path.split_once("::").unwrap_or((path, "")) {
            (name, rest) if exports.contains_key(name) => format!("{}::{rest}", exports[name]),
            // A public module of the root, which only exports.
            (module, name) if !LAYERS.contains(&module) && exports.contains_key(name) => exports[name].clone(),
            _ => path.to_owned(),
        };
        let mut words: Vec<_> = path.split("::").collect();
        while !words.is_empty() && !names.contains(&words.join("/")) {
            words.pop();
        }
        words.join("/")
    };
    let of = |(name, code): (&String, &String)| {
        let named = paths(&without_super(name, code));
        let named = named.iter().map(|path| resolve(path)).filter(|file| !file.is_empty() && file != name);
        (name.clone(), named.collect())
    };
    files.iter().filter(|(name, _)| !["lib", "main"].contains(&name.as_str())).map(of).collect()
}

/// A file without its comments.
fn code_of(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The code of a file with the path of its parent instead of `super`.
fn without_super(name: &str, code: &str) -> String {
    let parent = |levels: usize| {
        let words: Vec<_> = name.split('/').collect();
        let kept: Vec<_> = words.iter().take(words.len().saturating_sub(levels)).copied().collect();
        format!("crate::{}::", kept.join("::"))
    };
    let code = code.replace("super::super::", &parent(2)).replace("pub(super)", "");
    code.replace("super::", &parent(1))
}

/// What the root exports, and where that is.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for line in lib.split("pub use ").skip(1) {
        let line = line.split(';').next().unwrap();
        for path in expand(line.trim_start_matches("crate::")) {
            let name = path.rsplit("::").next().unwrap().to_owned();
            exports.insert(name, path.rsplit_once("::").map_or(&*path, |(module, _)| module).to_owned());
        }
    }
    exports.into_iter().filter(|(name, _)| !LAYERS.contains(&name.as_str())).collect()
}

/// Every path after `crate::` in a piece of code.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth <= 0 && !(c.is_alphanumeric() || "_:}".contains(c)) || depth == 0 && c == '}'
        });
        let rest = &rest[..end.map_or(rest.len(), |end| end + usize::from(rest[end..].starts_with('}')))];
        found.extend(expand(rest));
    }
    found
}

/// The paths that `a::{b, c::d}` stands for.
fn expand(path: &str) -> Vec<String> {
    let Some((front, list)) = path.split_once('{') else {
        return vec![path.trim().trim_end_matches(':').to_owned()];
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 { parts.push(String::new()) } else { parts.last_mut().unwrap().push(c) }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(&format!("{front}{part}"))).collect()
}

fn layer(file: &str) -> usize {
    let name = file.split('/').next().unwrap();
    LAYERS.iter().position(|layer| *layer == name).unwrap_or_else(|| panic!("src/{file}.rs is in no layer"))
}

#[test]
fn no_file_names_anything_of_a_higher_layer() {
    let imports = imports();
    let up = imports.iter().flat_map(|(file, named)| named.iter().map(move |other| (file, other)));
    let up: Vec<_> = up.filter(|(file, other)| layer(other) > layer(file)).collect();
    assert!(imports.len() > 100 && up.is_empty(), "{} imports go up: {up:#?}", up.len());
}

#[test]
fn few_files_form_a_circle() {
    let imports = imports();
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in imports.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![file.as_str()]);
        while let Some(file) = next.pop() {
            next.extend(imports[file].iter().map(String::as_str).filter(|other| seen.insert(*other)));
        }
        reached.insert(file, seen);
    }
    for (file, seen) in &reached {
        // A parent module names its children, and they name it.
        let circle: Vec<_> = seen.iter().filter(|other| reached[**other].contains(file)).collect();
        assert!(circle.len() <= LARGEST_CIRCLE, "{} files form a circle: {circle:#?}", circle.len());
    }
}

/// Which layer names which, as in docs/internals/architecture.md.
fn picture() -> String {
    let mut named = [[false; LAYERS.len()]; LAYERS.len()];
    for (file, others) in imports() {
        for other in others {
            named[layer(&file)][layer(&other)] = true;
        }
    }
    let mut picture = format!(
        "{:<9}{}\n",
        "",
        LAYERS[..LAYERS.len() - 1].iter().map(|layer| format!(" {layer}")).collect::<String>()
    );
    for (number, layer) in LAYERS.iter().enumerate().skip(1) {
        let marks: String = (0..number)
            .map(|other| {
                let width = LAYERS[other].len() + 1;
                let mark = if named[number][other] { "x" } else { "." };
                format!("{mark:>width$}")
            })
            .collect();
        picture += &format!("{layer:<9}{marks}\n");
    }
    picture
}

#[test]
fn the_architecture_page_shows_which_layer_names_which() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/internals/architecture.md");
    let (text, picture) = (fs::read_to_string(page).unwrap(), picture());
    assert!(text.contains(&picture), "write this into docs/internals/architecture.md:\n{picture}");
}
