//! `size`: what the images weigh against the budget, and which crates weigh most.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol, SymbolKind};
use offshoot::cli::own::{self, Packing};

use super::args::Size;
use super::build::{Work, bundles, compile, directory, size as readable};
use super::plan::Strip;
use super::target;

/// What no symbol names.
const REST: &str = "data, and what has no name";

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) fn size(args: &Size) -> Result<ExitCode> {
    let work = Work::new(&args.selection, &args.how, &args.targets)?;
    let own = target::own(&work.facts.toolchain.host);
    work.install(&[&work.targets[..], std::slice::from_ref(&own)].concat(), &args.how)?;
    let job = work.shipped(&args.selection, &args.how, Strip::Symbols)?;
    let mut above = Vec::new();
    for bundle in bundles(&work, &job, &directory(&work, &job), Packing::Smallest, true)? {
        let name = bundle.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (target, plain, packed) in &bundle.images {
            let of = work.project.budget.map_or_else(String::new, |budget| format!(" of at most {}", readable(budget)));
            println!("{name} for {target}: {}, as it travels {}{of}", readable(*plain), readable(*packed));
            if work.project.budget.is_some_and(|budget| *packed > budget) {
                above.push(format!("{name} for {target}"));
            }
        }
    }
    let job = super::plan::Job { strip: Strip::Nothing, ..job };
    for ((_, name), file) in compile(&own, &job, &work.facts)? {
        let file = std::fs::read(&file).with_context(|| file.display().to_string())?;
        if !own::has_library(&file) {
            continue;
        }
        println!("\n{name} for {own}, by crate:");
        for (name, bytes) in listed(by_crate(&file)?, args.crates) {
            println!("{:>9}  {name}", readable(bytes));
        }
    }
    if !above.is_empty() {
        bail!("above the budget of [package.metadata.offshoot]: {}", above.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The bytes of the functions and constants of each crate, by the names of their symbols. A generic function counts for the
/// crate that has written it.
fn by_crate(executable: &[u8]) -> Result<BTreeMap<String, u64>> {
    let file = object::File::parse(executable).context("the executable cannot be read")?;
    let mut sizes = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for symbol in file.symbols() {
        let is_content = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        // Several names may stand for one piece.
        if !is_content || symbol.size() == 0 || !seen.insert(symbol.address()) {
            continue;
        }
        let name = symbol.name().map_or_else(|_| REST.to_owned(), crate_of);
        *sizes.entry(name).or_insert(0) += symbol.size();
    }
    Ok(sizes)
}

/// The crate that a symbol belongs to.
fn crate_of(symbol: &str) -> String {
    let Ok(name) = rustc_demangle::try_demangle(symbol) else { return "libc, and other C".to_owned() };
    let name = format!("{name:#}");
    // `<a::T as b::Trait>::f`, `<a::T>::f`, `a::f`; a reference or a slice is of what it refers to.
    let name = name.trim_start_matches(['<', '&', '*', '[', '(']);
    let name = ["mut ", "const ", "dyn "].iter().fold(name, |name, word| name.strip_prefix(word).unwrap_or(name));
    let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() { REST.to_owned() } else { name }
}

/// The largest, and one line for all others.
fn listed(sizes: BTreeMap<String, u64>, count: usize) -> Vec<(String, u64)> {
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if sizes.len() > count {
        let rest = sizes.split_off(count);
        sizes.push((format!("{} others", rest.len()), rest.iter().map(|(_, bytes)| bytes).sum()));
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_belongs_to_the_crate_that_its_name_begins_with() {
        for (symbol, name) in [
            ("_ZN5tokio7runtime4park17h0123456789abcdefE", "tokio"),
            ("_ZN48_$LT$disk..Usage$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", "disk"),
            ("_RNvCs1234_7mycrate3foo", "mycrate"),
            ("memcpy", "libc, and other C"),
        ] {
            assert_eq!(crate_of(symbol), name, "{symbol}");
        }
    }

    #[test]
    fn the_largest_are_listed_and_the_rest_is_one_line() {
        let sizes = [("a", 1), ("b", 9), ("c", 9), ("d", 2)].map(|(name, bytes)| (name.to_owned(), bytes));
        let listed = listed(sizes.into_iter().collect(), 2);
        assert_eq!(listed, [("b".into(), 9), ("c".into(), 9), ("2 others".into(), 3)]);
    }
}
