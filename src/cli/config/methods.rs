//! `[methods.NAME]`: ways to a host that the tool does not know by itself.

use toml::de::DeValue;

use super::reader::{Entry, Reader};
use crate::cli::hosts::path::Method;
use crate::connect::Passes;
use crate::connect::host_path::own_methods::{Asks, MAX, OwnMethod};
use crate::wire::error::ConnectErrorKind;

/// The keys of a method, of a question and of a message.
const KEYS: [&str; 5] = ["argv", "user", "passes", "prompts", "texts"];
const PROMPT_KEYS: [&str; 3] = ["says", "asks", "answer"];
const TEXT_KEYS: [&str; 3] = ["says", "kind", "advice"];

/// Longest name of a method, in bytes. Misspelled names are compared with it.
const MAX_NAME: usize = 16;

/// What a message can mean.
const KINDS: [ConnectErrorKind; 7] = [
    ConnectErrorKind::Auth,
    ConnectErrorKind::Eof,
    ConnectErrorKind::HostKey,
    ConnectErrorKind::Password,
    ConnectErrorKind::Start,
    ConnectErrorKind::Timeout,
    ConnectErrorKind::Unsupported,
];

/// The table of methods.
pub(super) fn read(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<Vec<OwnMethod>, String> {
    let methods: Vec<OwnMethod> = reader.table(entry, |entry| method(reader, entry))?.into_values().collect();
    if methods.len() > MAX {
        return Err(reader.error(entry.at, &format!("there are more than {MAX} methods")));
    }
    Ok(methods)
}

fn method(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<OwnMethod, String> {
    let name = entry.key.as_str();
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let is_own = |method: &Method| method.own().is_some();
    if Method::by_name(name).is_some_and(|method| !is_own(&method)) || name.starts_with(Method::Local.as_str()) {
        return Err(reader.error(entry.at, &format!("`{name}` is a method already; take another name")));
    }
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.bytes().all(is_plain) {
        let message = format!(
            "{name:?} cannot be the name of a method; write at most {MAX_NAME} lower-case letters, digits, `-` and `_`"
        );
        return Err(reader.error(entry.at, &message));
    }
    let mut method = OwnMethod { name: name.to_owned(), ..OwnMethod::default() };
    reader.table(entry, |entry| {
        match entry.key.as_str() {
            "argv" => method.argv = words(reader, entry)?,
            "user" => method.user = Some(words(reader, entry)?),
            "passes" => {
                let accepted = "\"argv\" or \"string\"";
                method.passes = match reader.text(entry, accepted)?.as_str() {
                    "argv" => Passes::Argv,
                    "string" => Passes::String,
                    other => return Err(reader.error(entry.at, &format!("`passes`: {other:?}; write {accepted}"))),
                };
            }
            "prompts" => method.prompts = each(reader, entry, prompt)?,
            "texts" => method.texts = each(reader, entry, text)?,
            _ => return Err(reader.unknown(entry, &KEYS)),
        }
        Ok(())
    })?;
    if method.argv.is_empty() {
        let message =
            format!("the method {name} has no `argv`; write argv = [\"PROGRAM\", \"{{target}}\", \"{{command}}\"]");
        return Err(reader.error(entry.at, &message));
    }
    Ok(method)
}

fn words(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<Vec<String>, String> {
    let accepted = "a list of words, as [\"PROGRAM\", \"{target}\", \"{command}\"]";
    match entry.value {
        DeValue::Array(_) => reader.texts(entry, accepted),
        _ => Err(reader.wrong_type(entry, accepted)),
    }
}

/// The tables of a list.
fn each<T>(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    one: fn(&Reader<'_>, &Entry<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let DeValue::Array(list) = entry.value else {
        return Err(reader.wrong_type(entry, "a list of tables, as [{ says = \"...\" }]"));
    };
    let each = list
        .iter()
        .map(|item| one(reader, &Entry { key: entry.key.clone(), at: item.span().start, value: item.get_ref() }));
    each.collect()
}

/// A question of the program.
fn prompt(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<(String, Asks), String> {
    let (mut says, mut asks) = (None, None);
    let whole = entry;
    reader.table(entry, |entry| {
        match entry.key.as_str() {
            "says" => says = Some(reader.text(entry, "a part of the question")?),
            "answer" => asks = Some(Asks::Answer(reader.text(entry, "the answer, which is no secret")?)),
            "asks" => {
                let accepted = "\"login\" for the password of --ask-pass, or \"become\" for that of -K";
                asks = Some(match reader.text(entry, accepted)?.as_str() {
                    "login" => Asks::Login,
                    "become" => Asks::Become,
                    other => return Err(reader.error(entry.at, &format!("`asks`: {other:?}; write {accepted}"))),
                });
            }
            _ => return Err(reader.unknown(entry, &PROMPT_KEYS)),
        }
        Ok(())
    })?;
    match (says.filter(|says| !says.is_empty()), asks) {
        (Some(says), Some(asks)) => Ok((says, asks)),
        _ => Err(reader.error(whole.at, "a prompt needs `says` and `asks`, or `says` and `answer`")),
    }
}

/// A message of the program.
fn text(reader: &Reader<'_>, entry: &Entry<'_>) -> Result<(String, ConnectErrorKind, String), String> {
    let (mut says, mut kind, mut advice) = (None, ConnectErrorKind::Auth, String::new());
    let whole = entry;
    reader.table(entry, |entry| {
        match entry.key.as_str() {
            "says" => says = Some(reader.text(entry, "a part of the message")?),
            "advice" => advice = reader.text(entry, "what to do about it")?,
            "kind" => {
                let accepted = KINDS.map(|kind| format!("\"{}\"", kind.as_str())).join(" or ");
                let text = reader.text(entry, &accepted)?;
                let Some(known) = KINDS.iter().find(|kind| kind.as_str() == text) else {
                    return Err(reader.error(entry.at, &format!("`kind`: {text:?}; write {accepted}")));
                };
                kind = *known;
            }
            _ => return Err(reader.unknown(entry, &TEXT_KEYS)),
        }
        Ok(())
    })?;
    match says.filter(|says| !says.is_empty()) {
        Some(says) => Ok((says, kind, advice)),
        None => Err(reader.error(whole.at, "a text needs `says`, a part of the message")),
    }
}
