//! Splits one word into hops and pieces.

use crate::connect::host_path::fault::{Fault, Span, is_unprintable};
use crate::connect::host_path::method_name::MethodName;
use crate::wire::sanitize::printable;

/// Characters that are special in some shell, or may become special here. Outside of braces they are most
/// likely a mistake.
const RESERVED: &str = "()*?\"'$;<>|\\`#%";

/// Most pieces in one hop. Each piece has at least one byte of a name, so a hop with more pieces has names that
/// are too long.
const MAX_PIECES: usize = 1024;

/// The meaning of brackets without a colon: numbers, in a word that may stand for several paths.
pub(crate) trait Set: Clone {
    /// Reads the text between the brackets. `at` is where the text begins.
    fn parse(text: &str, at: usize) -> Result<Self, Fault>;
    /// Appends the first member of the set.
    fn write_first(&self, out: &mut String);
}

/// A piece of a word, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token<S> {
    pub(crate) piece: Piece<S>,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<S> {
    /// Plain characters.
    Plain(String),
    /// Text in braces. It is never split.
    Quoted(String),
    /// Text in brackets with a colon: an IPv6 address.
    Address(String),
    /// Any other text in brackets.
    Set(S),
}

/// Splits a word at its slashes, and each part into pieces. `base` is where the word begins. No part is empty.
pub(crate) fn cut<S: Set>(word: &str, base: usize, most: usize) -> Result<Vec<Vec<Token<S>>>, Fault> {
    url(word, base)?;
    addresses(word, base)?;
    let mut parts = Vec::new();
    let mut part: Vec<Token<S>> = Vec::new();
    let mut at = 0;
    while let Some(c) = word[at..].chars().next() {
        let rest = &word[at..];
        let here = base + at;
        let (piece, len) = match c {
            '/' => {
                if part.is_empty() {
                    let message = "a hop is missing before `/`; hops are written bastion/web1/sudo";
                    return Err(Fault::syntax(Span::new(here, 1), message));
                }
                parts.push(std::mem::take(&mut part));
                if parts.len() > most {
                    return Ok(parts);
                }
                at += 1;
                continue;
            }
            '[' | '{' => {
                let inner = enclosed(rest, here)?;
                (bracketed(c, inner, here)?, inner.len() + 2)
            }
            _ => {
                let plain = plain(rest, here)?;
                (Piece::Plain(plain.to_owned()), plain.len())
            }
        };
        if part.len() == MAX_PIECES {
            let message = format!("a hop has more than {MAX_PIECES} pieces; write several hosts, with commas between");
            return Err(Fault::limit(Span::new(here, len), message));
        }
        part.push(Token { piece, span: Span::new(here, len) });
        at += len;
    }
    if part.is_empty() {
        let message = "a hop is missing after `/`; hops are written bastion/web1/sudo";
        let slash = (base + word.len()).saturating_sub(1);
        return Err(Fault::syntax(Span::new(slash, 1), message));
    }
    parts.push(part);
    Ok(parts)
}

/// Refuses URLs: ssh accepts `ssh://deploy@web1:2222`, but here a slash separates hops.
fn url(word: &str, base: usize) -> Result<(), Fault> {
    match word.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !scheme.is_empty() => {
            // `ssh` is the method of a name alone.
            let method = MethodName::by_name(scheme).filter(|method| *method != MethodName::Ssh);
            let method = method.map_or(String::new(), |method| format!("{}:", method.as_str()));
            let rest = rest.trim_end_matches('/').escape_debug();
            let message = format!("hosts are not written as URLs; write {method}{rest}");
            Err(Fault::syntax(Span::new(base, scheme.len() + 3), message))
        }
        _ => Ok(()),
    }
}

/// Refuses networks and ranges of addresses as other tools write them. They would silently be other hosts: the first
/// one a host behind a host.
fn addresses(word: &str, base: usize) -> Result<(), Fault> {
    let is_number = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = word.split('.').take(5).collect();
    let [a, b, c, last] = parts[..] else { return Ok(()) };
    if ![a, b, c].into_iter().all(is_number) {
        return Ok(());
    }
    let (what, write) = match (last.split_once('/'), last.split_once('-')) {
        (Some((first, bits)), _) if is_number(first) && is_number(bits) => ("a network", "[1-254]".to_owned()),
        (_, Some((first, end))) if is_number(first) && is_number(end) => ("a range", format!("[{first}-{end}]")),
        _ => return Ok(()),
    };
    let message = format!("{what} is not written so here; write {a}.{b}.{c}.{write}");
    Err(Fault::syntax(Span::new(base, word.len()), message))
}

/// The text between the bracket or brace at the beginning of `text` and the one that closes it.
pub(crate) fn enclosed(text: &str, at: usize) -> Result<&str, Fault> {
    let close = if text.starts_with('{') { '}' } else { ']' };
    match text.find(close) {
        Some(end) => Ok(&text[1..end]),
        None => Err(Fault::syntax(Span::new(at, 1), format!("`{close}` is missing for this"))),
    }
}

fn bracketed<S: Set>(open: char, inner: &str, at: usize) -> Result<Piece<S>, Fault> {
    let span = Span::new(at, inner.len() + 2);
    if open == '[' {
        return match inner.contains(':') {
            true => address(inner, span).map(|()| Piece::Address(inner.to_owned())),
            false => S::parse(inner, at + 1).map(Piece::Set),
        };
    }
    if inner.is_empty() {
        return Err(Fault::syntax(span, "empty braces; they quote a name, such as docker:{registry/app:1}"));
    }
    if inner.contains('{') {
        return Err(Fault::syntax(span, "braces cannot stand inside braces; close the first"));
    }
    if let Some(numbers) = shell_range(inner) {
        let message = format!("braces quote a name here; for numbers write [{numbers}], as in web[{numbers}]");
        return Err(Fault::syntax(span, message));
    }
    if let Some(c) = inner.chars().find(|c| is_unprintable(*c)) {
        return Err(unprintable(c, span));
    }
    Ok(Piece::Quoted(inner.to_owned()))
}

/// Rewrites a range of a shell, such as `1..3`, `1..9..2` and `1,2`, in the notation of this tool.
fn shell_range(inner: &str) -> Option<String> {
    let are_numbers = |words: &[&str]| {
        words.len() > 1 && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
    };
    let (range, list): (Vec<&str>, Vec<&str>) = (inner.split("..").collect(), inner.split(',').collect());
    match range[..] {
        [first, last] if are_numbers(&range) => Some(format!("{first}-{last}")),
        [first, last, step] if are_numbers(&range) => Some(format!("{first}-{last}/{step}")),
        _ => are_numbers(&list).then(|| inner.to_owned()),
    }
}

/// Checks an IPv6 address, with or without a zone.
fn address(text: &str, span: Span) -> Result<(), Fault> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let zone_is_name = zone.is_none_or(|zone| {
        !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    });
    if ip.parse::<std::net::Ipv6Addr>().is_ok() && zone_is_name {
        return Ok(());
    }
    if let Some((first, last)) = text.split_once(':')
        && [first, last].iter().all(|end| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()))
    {
        let message = format!("`{text}` is not an IPv6 address; if it is a range, write [{first}-{last}]");
        return Err(Fault::syntax(span, message));
    }
    if text.matches(':').count() == 1 {
        let message = format!(
            "`{}` is not an IPv6 address, and brackets hold no other range than one of numbers, such as [01-40,50]; \
             for other names write a list: a,b,c",
            text.escape_debug()
        );
        return Err(Fault::syntax(span, message));
    }
    let message = format!(
        "`{}` is not an IPv6 address, which brackets with a colon in them hold: [fe80::1]:22",
        text.escape_debug()
    );
    Err(Fault::syntax(span, message))
}

/// The characters before the next special one.
fn plain(text: &str, at: usize) -> Result<&str, Fault> {
    for (n, c) in text.char_indices() {
        let span = Span::new(at + n, c.len_utf8());
        match c {
            '/' | '[' | '{' => return Ok(&text[..n]),
            ']' => return Err(Fault::syntax(span, "`[` is missing for this")),
            '}' => return Err(Fault::syntax(span, "`{` is missing for this")),
            c if is_unprintable(c) => return Err(unprintable(c, span)),
            c if RESERVED.contains(c) || c.is_whitespace() => {
                let remedy = match c {
                    '%' if text[..n].matches(':').count() > 1 => {
                        format!("an IPv6 address stands in brackets: [{}]", printable(text))
                    }
                    '\\' | '%' | '#' | '$' => match user_around(text, n) {
                        Some((user, host)) => {
                            let (user, host) = (printable(user), printable(host));
                            format!("such a user is quoted with braces: {{{user}}}@{host}")
                        }
                        None => "it is quoted with braces, as in docker:{NAME} and {DOMAIN\\USER}@HOST".into(),
                    },
                    _ => "a name that holds it is quoted with braces: docker:{NAME}".into(),
                };
                let message = format!("`{c}` cannot stand here; {remedy}");
                return Err(Fault::syntax(span, message));
            }
            _ => {}
        }
    }
    Ok(text)
}

/// The user that holds the character at `at`, and what follows the `@` behind it.
fn user_around(text: &str, at: usize) -> Option<(&str, &str)> {
    let (user, host) = text.split_at_checked(at + text[at..].find('@')?)?;
    (!user.contains(['/', ':', '[', '{'])).then_some((user, &host[1..]))
}

fn unprintable(c: char, span: Span) -> Fault {
    Fault::syntax(span, format!("the character U+{:04X} cannot stand in a name; take it out", c as u32))
}
