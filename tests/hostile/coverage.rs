//! Whether the table of attacks and the page about trust are complete, by the sources of the library.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};

use crate::attack;
use crate::kinds::Kind;
use crate::sources::sources;

/// The page that lists the attacks.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/internals/trust.md");

/// Every control handle, lane, flag of a frame, kind of a dead message and kind of a reply has an attack.
pub(crate) fn is_complete() -> Result<()> {
    let attacks = attack::all();
    let sent: BTreeSet<Kind> = attacks.iter().flat_map(|attack| attack.sends).copied().collect();
    let known = known()?;
    ensure!(known.len() > 30, "{} kinds are found in the sources", known.len());
    let missing: Vec<String> = known.difference(&sent).map(ToString::to_string).collect();
    ensure!(missing.is_empty(), "no attack has to send: {}", missing.join(", "));
    Ok(())
}

/// The page has a row for each attack, with its bounds.
pub(crate) fn is_on_page() -> Result<()> {
    let page = fs::read_to_string(PAGE)?;
    let attacks = attack::all();
    let rows: Vec<String> = attacks
        .iter()
        .map(|attack| format!("| {} | {} MiB | {} s |", attack.name, attack.memory, attack.cpu))
        .collect();
    let missing: Vec<&str> = rows.iter().filter(|row| !page.contains(*row)).map(String::as_str).collect();
    ensure!(missing.is_empty(), "{PAGE} lacks rows that begin so:\n{}", missing.join("\n"));
    let listed = page.lines().filter(|line| line.contains(" MiB | ") && line.starts_with("| ")).count();
    ensure!(listed == attacks.len(), "the page lists {listed} attacks, there are {}", attacks.len());
    Ok(())
}

fn known() -> Result<BTreeSet<Kind>> {
    let files = sources();
    let of = |file: &str| files.get(file).with_context(|| format!("there is no src/{file}"));
    let (message, frame) = (of("wire/message.rs")?, of("wire/frame.rs")?);
    let (replies, dead) = (of("wire/call_payload.rs")?, of("wire/error/channel_error.rs")?);
    let mut kinds = BTreeSet::new();
    kinds.extend(numbers(message, ": Self = Self(").into_iter().map(Kind::Handle));
    kinds.extend(variants(message, "enum Lane {").into_iter().map(|number| Kind::Lane(number as u8)));
    kinds.extend(numbers(frame, ": u8 = ").into_iter().map(|number| Kind::Flag(number as u8)));
    kinds.extend(variants(dead, "enum ChannelErrorKind {").into_iter().map(|number| Kind::Dead(number as u8)));
    kinds.extend(numbers(replies, ": u8 = ").into_iter().map(|number| Kind::Reply(number as u8)));
    Ok(kinds)
}

/// The values of constants, each after `mark`.
fn numbers(source: &str, mark: &str) -> Vec<u32> {
    let constants = source.lines().filter(|line| line.contains("const "));
    let value = |line: &str| {
        let (_, value) = line.split_once(mark)?;
        value.trim_end_matches([';', ')']).parse().ok()
    };
    constants.filter_map(value).collect()
}

/// The numbers of the variants of an enum.
fn variants(source: &str, head: &str) -> Vec<u32> {
    let body = source.split(head).nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    body.lines().filter_map(|line| line.split_once(" = ")?.1.trim_end_matches(',').parse().ok()).collect()
}
