//! Inventories in each format.

use crate::cli::hosts::command::way;
use crate::cli::hosts::expression::{Sources, list, read_back};
use crate::cli::inventory::Inventories;
use crate::cli::inventory::format::Format;
use crate::cli::inventory::load::Loaded;
use crate::fuzzing::{checks, size};

/// Words that make an inventory name other files.
const ELSEWHERE: [&str; 4] = ["include", "confdir", "autodir", "groupsdir"];
/// How many hosts and groups are looked at.
const LOOKED_AT: usize = 20;

/// The first byte chooses the format, or leaves it to the text. The others are the text of an inventory. Every host of it
/// has a way there, or an error says why not.
pub(super) fn inventories(bytes: &[u8]) {
    let Some((format, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let lower = text.to_ascii_lowercase();
    if !size::is_small(text) || ELSEWHERE.iter().any(|word| lower.contains(word)) {
        return;
    }
    let format = match Format::ALL.get(usize::from(*format) % (Format::ALL.len() + 1)) {
        Some((_, format)) => *format,
        None => Format::detect("hosts".as_ref(), text),
    };
    let loaded = match Loaded::of_text(format, text) {
        Ok(loaded) => loaded,
        Err(why) => return checks::complains(&why),
    };
    let groups: Vec<String> = loaded.inventory.group_names().map(str::to_owned).take(LOOKED_AT).collect();
    let mut sources = Read(Inventories::of(loaded));
    checks::complains(&sources.0.told());
    for group in groups.iter().map(String::as_str).chain(["no such group"]) {
        // Braces keep any name together but one with braces.
        let expression = format!("@{{{group}}}");
        let hosts = match list(&[expression.as_str()], &mut sources) {
            Ok(found) => found.hosts,
            Err(error) => {
                checks::complains(&error.to_string());
                continue;
            }
        };
        for name in hosts.iter().take(LOOKED_AT) {
            let host = read_back(name).unwrap_or_else(|fault| panic!("{name:?} is no host: {fault:?}"));
            match sources.0.resolve(host, true) {
                Ok(host) => assert!(!host.hops.is_empty() && !way(&host).is_empty()),
                Err(why) => checks::complains(&why),
            }
            if let Some((place, _)) = sources.0.place_of(name) {
                checks::complains(&place);
            }
        }
    }
    sources.0.take_notes().iter().for_each(|note| checks::complains(note));
}

/// The inventory alone: no file, no stdin, and no earlier run.
struct Read(Inventories);

impl Sources for Read {
    fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        self.0.group(name)
    }

    fn file(&mut self, _: &str) -> Result<String, String> {
        Err("no such file".into())
    }

    fn known(&mut self) -> Result<String, String> {
        self.0.known()
    }

    fn instead(&mut self, name: &str) -> String {
        self.0.instead(name)
    }

    fn stdin(&mut self) -> Result<String, String> {
        Err("it is a terminal".into())
    }
}
