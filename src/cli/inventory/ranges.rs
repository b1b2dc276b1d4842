//! Hosts as Ansible writes them: `web[01:40]`, `db-[a:c]`, with a port behind a colon.

use std::net::Ipv6Addr;

use crate::cli::hosts::expression::MAX_LISTED;
use crate::cli::hosts::numbers::{Cursor, Numbers};

/// Longest pattern, in bytes. No name of a host is longer.
const MAX_PATTERN: usize = 1024;
/// Most pairs of brackets in one pattern.
const MAX_SETS: usize = 16;

/// A part of a pattern.
enum Part {
    Plain(String),
    Numbers(Numbers),
    Letters(Vec<char>),
}

/// Calls `take` with each host that the pattern stands for, and its port.
///
/// # Errors
///
/// What is wrong with the pattern, or what `take` says.
pub(crate) fn each(pattern: &str, mut take: impl FnMut(&str, Option<u16>) -> Result<(), String>) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("a host is longer than {MAX_PATTERN} bytes"));
    }
    let (name, port) = without_port(pattern)?;
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if is_address(inner) {
        return take(inner, port);
    }
    if !name.contains('[') {
        return take(name, port);
    }
    let parts = parts(name)?;
    let counts = parts.iter().map(|part| match part {
        Part::Plain(_) => 1,
        Part::Numbers(numbers) => numbers.count(),
        Part::Letters(letters) => letters.len() as u64,
    });
    let count = counts.fold(1, u64::saturating_mul);
    if count > MAX_LISTED {
        return Err(format!("{} names {count} hosts; at most {MAX_LISTED} are taken", name.escape_debug()));
    }
    let mut members: Vec<usize> = vec![0; parts.len()];
    let mut cursors: Vec<_> = parts.iter().map(cursor).collect();
    let mut text = String::new();
    loop {
        text.clear();
        for ((part, nth), cursor) in parts.iter().zip(&members).zip(&cursors) {
            match part {
                Part::Plain(plain) => text.push_str(plain),
                Part::Numbers(_) => cursor.iter().for_each(|cursor| cursor.write(&mut text)),
                Part::Letters(letters) => text.extend(letters.get(*nth)),
            }
        }
        take(&text, port)?;
        let moved = (0..parts.len()).rev().any(|part| match &parts[part] {
            Part::Plain(_) => false,
            Part::Numbers(_) => cursors[part].as_mut().is_some_and(Cursor::advance),
            Part::Letters(letters) => {
                members[part] = (members[part] + 1) % letters.len();
                members[part] > 0
            }
        });
        if !moved {
            return Ok(());
        }
    }
}

fn cursor(part: &Part) -> Option<Cursor<'_>> {
    match part {
        Part::Numbers(numbers) => Some(numbers.cursor()),
        _ => None,
    }
}

fn is_address(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Takes the port off the end of a pattern. An IPv6 address has one only behind brackets.
fn without_port(pattern: &str) -> Result<(&str, Option<u16>), String> {
    let Some((name, port)) = pattern.rsplit_once(':') else { return Ok((pattern, None)) };
    let open = name.matches('[').count() > name.matches(']').count();
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if open || !is_number || is_address(pattern) {
        return Ok((pattern, None));
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok((name, Some(number))),
        _ => Err(format!("{} is not a port; ports are 1 to 65535", port.escape_debug())),
    }
}

fn parts(name: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some((plain, behind)) = rest.split_once('[') {
        let Some((inner, behind)) = behind.split_once(']') else {
            return Err(format!("`]` is missing in {}", name.escape_debug()));
        };
        if parts.len() > MAX_SETS * 2 {
            return Err(format!("more than {MAX_SETS} ranges in {}", name.escape_debug()));
        }
        parts.push(Part::Plain(plain.to_owned()));
        parts.push(range(inner)?);
        rest = behind;
    }
    parts.push(Part::Plain(rest.to_owned()));
    Ok(parts)
}

/// Reads `01:40`, `1:9:2` and `a:c`, and what this tool writes in brackets itself, such as `01-40,50`.
fn range(inner: &str) -> Result<Part, String> {
    let bad = || format!("[{}] is not a range; ranges are written [01:40], [1:9:2] or [a:c]", inner.escape_debug());
    if !inner.contains(':') {
        return Numbers::parse(inner, 0).map(Part::Numbers).map_err(|_| bad());
    }
    let ends: Vec<&str> = inner.split(':').collect();
    let (first, last, step) = match ends[..] {
        [first, last] => (first, last, "1"),
        [first, last, step] => (first, last, step),
        _ => return Err(bad()),
    };
    let first = if first.is_empty() { "0" } else { first };
    let letter = |text: &str| match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    };
    if let (Some(first), Some(last)) = (letter(first), letter(last)) {
        let step = step.parse::<usize>().ok().filter(|step| *step > 0).ok_or_else(bad)?;
        // Capital letters follow the others.
        let order: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').collect();
        let at = |letter| order.iter().position(|known| *known == letter).unwrap_or_default();
        let (first, last) = (at(first), at(last));
        if first > last {
            return Err(bad());
        }
        return Ok(Part::Letters(order[first..=last].iter().step_by(step).map(|b| char::from(*b)).collect()));
    }
    Numbers::parse(&format!("{first}-{last}/{step}"), 0).map(Part::Numbers).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(pattern: &str) -> Result<Vec<String>, String> {
        let mut hosts = Vec::new();
        each(pattern, |name, port| {
            hosts.push(port.map_or_else(|| name.to_owned(), |port| format!("{name} {port}")));
            Ok(())
        })?;
        Ok(hosts)
    }

    #[test]
    fn ranges_ports_and_addresses_are_read_as_ansible_reads_them() {
        for (pattern, expected) in [
            ("web1", &["web1"][..]),
            ("web1:2222", &["web1 2222"]),
            ("web[01:03]", &["web01", "web02", "web03"]),
            ("web[1:9:4]:22", &["web1 22", "web5 22", "web9 22"]),
            ("web[a:c].example.com", &["weba.example.com", "webb.example.com", "webc.example.com"]),
            ("r[1:2]n[a:b]", &["r1na", "r1nb", "r2na", "r2nb"]),
            ("[:2]x", &["0x", "1x", "2x"]),
            ("fe80::1", &["fe80::1"]),
            ("[fe80::1]", &["fe80::1"]),
            ("[2001:db8::1]:2022", &["2001:db8::1 2022"]),
            ("[z:B]", &["z", "A", "B"]),
            ("web[1-2,7]", &["web1", "web2", "web7"]),
        ] {
            assert_eq!(hosts(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in
            ["web[1:", "web[3:1]", "web[x:9]", "web[1:2:3:4]", "web:0", "web:99999", "[c:a]", "[1:2:0]", "a[]"]
        {
            assert!(hosts(pattern).is_err(), "{pattern}");
        }
    }
}
