//! Host expressions.

use std::collections::BTreeSet;

use crate::cli::hosts::expression::{Choice, Sources, list, read_back};
use crate::cli::hosts::fold::fold;
use crate::connect::HostPath;
use crate::fuzzing::{checks, size};

/// Most hosts that are folded.
const FOLDED: usize = 2_000;

/// The lines are expressions; those behind a line `-x` are taken away. The hosts come back from a folded expression, and each
/// of them from its own name.
pub(super) fn expressions(bytes: &[u8]) {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| size::is_small(text)) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let expressions: Vec<String> = lines.by_ref().take_while(|line| line != "-x").collect();
    let choice = Choice { expressions, excluded: lines.collect(), pick: None };
    let Some(names) = names(choice) else { return };
    let set: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(set.len(), names.len(), "a host is there twice: {names:?}");
    for name in names.iter().take(20) {
        let host = read_back(name).unwrap_or_else(|fault| panic!("{name:?} is no host: {fault:?}"));
        assert_eq!(&host.text, name);
        let path = name.parse::<HostPath>();
        assert_eq!(path.as_ref().ok(), Some(&host), "{name:?} became {path:?}");
    }
    if names.len() > FOLDED {
        return;
    }
    let folded = fold(&names);
    checks::harmless(&folded);
    let again = self::names((&[&folded]).into()).unwrap_or_default();
    assert_eq!(again.iter().map(String::as_str).collect::<BTreeSet<_>>(), set, "{names:?} became {folded}");
    // The same hosts in another order are the same expression.
    let mut turned = names;
    turned.reverse();
    assert_eq!(fold(&turned), folded);
}

/// The names of the hosts. If there are none, the error says why.
fn names(choice: Choice) -> Option<Vec<String>> {
    match list(choice, &mut Known) {
        Ok(found) => {
            found.notes.iter().for_each(|note| checks::harmless(note));
            Some(found.hosts.iter().map(str::to_owned).collect())
        }
        Err(error) => {
            assert!(error.span.at <= error.line.len(), "{error:?}");
            checks::tells(&error.to_string());
            None
        }
    }
}

/// A small inventory.
struct Known;

impl Sources for Known {
    fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        let text = match name {
            "web" => "web[1-3]",
            "db" => "db1 db2",
            "all" => "@web,@db",
            "none" => "",
            "loop" => "web1,@pool",
            "pool" => "@loop",
            "rack1" => "r1n[1-2]",
            "deep" => "bastion/web1",
            "bad" => "web1\nweb2 web[3-1]",
            "broken" => return Err("the inventory is on fire".into()),
            _ => return Ok(None),
        };
        Ok(Some(text.into()))
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        match path {
            "hosts" => Ok("\u{feff}# ours\nweb1  web2 # two\r\n\n\tdb[1-2], db9,\n@rack1 ! r1n1\n".into()),
            "xor" => Ok("a ^b".into()),
            _ => Err("no such file".into()),
        }
    }

    fn known(&mut self) -> Result<String, String> {
        Ok("@web,@db,@deep".into())
    }

    fn instead(&mut self, _: &str) -> String {
        "groups are those of the inventory".into()
    }

    fn stdin(&mut self) -> Result<String, String> {
        Ok("s1 s2\ns3".into())
    }
}
