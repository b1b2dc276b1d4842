//! The functions that `--allow` names.

use crate::api::exported::Exported;
use crate::api::function::Builtin;
use crate::builtin::{file, net, process};
use crate::cli::call;
use crate::connect;

/// What belongs together has a name of its own.
const SETS: [(&str, Builtin); 4] = [
    ("commands", process::COMMANDS),
    ("files", file::FILES),
    ("sockets", net::SOCKETS),
    ("children", connect::CHILDREN),
];

/// The names of the sets.
pub(crate) fn sets() -> [&'static str; SETS.len()] {
    SETS.map(|(name, _)| name)
}

/// What one `--allow` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) names: Vec<&'static str>,
    /// The name of the set, if it is one.
    pub(crate) set: Option<&'static str>,
}

/// Reads a value of `--allow`: the name of a set, or that of a function, of which the end suffices.
///
/// # Errors
///
/// If no function has this name, or several have.
pub(crate) fn parse(text: &str) -> Result<Allowed, String> {
    if let Some((name, Builtin(names))) = SETS.into_iter().find(|(name, _)| *name == text) {
        return Ok(Allowed { names: names(), set: Some(name) });
    }
    let all: Vec<&'static str> = Exported::all().iter().map(Exported::name).collect();
    let index = call::index(&all, text)
        .map_err(|why| format!("{why}; write {}, or the name of a function", sets().join(", ")))?;
    Ok(Allowed { names: vec![all[index]], set: None })
}

/// All names, each once and in order; `None` if nothing says which.
pub(crate) fn all(allowed: &[Allowed]) -> Option<Vec<&'static str>> {
    let mut names: Vec<&str> = allowed.iter().flat_map(|allowed| allowed.names.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    (!allowed.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_functions_are_named_and_each_name_is_once() {
        let both = [parse("commands").unwrap(), parse("host_facts").unwrap(), parse("host_facts").unwrap()];
        let names = all(&both).unwrap();
        assert_eq!(names.iter().filter(|name| name.ends_with("::host_facts")).count(), 1, "{names:?}");
        assert!(names.len() > 1 && names.is_sorted(), "{names:?}");
        assert_eq!(all(&[]), None);
        let error = parse("no_such").unwrap_err();
        assert!(error.contains("no_such") && error.contains("write commands, files, sockets, children"), "{error}");
    }
}
