//! The name of a host as the name of a file: safe, different for different hosts, and still readable.

use std::hash::{BuildHasher, Hasher};

/// Longest name, in bytes. Most file systems allow 255, and an ending follows.
const MAX: usize = 200;

/// `bastion/web1` becomes `bastion+web1`. Letters, digits and a few signs stay; other bytes become `%` and two
/// hexadecimal digits. A name that is too long ends with a number that is made from all of it.
pub(crate) fn file_name(host: &str) -> String {
    let mut name = String::with_capacity(host.len());
    for (at, byte) in host.bytes().enumerate() {
        match byte {
            b'/' => name.push('+'),
            // A dot in front would hide the file, or stand for a directory.
            b'.' if at > 0 => name.push('.'),
            b'-' if at > 0 => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'@' | b':' | b'=' | b',' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > MAX {
        // The number has to be the same in the next run, so the seed is fixed.
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(host.as_bytes());
        name.truncate(MAX - 17);
        name.push_str(&format!("~{:016x}", hasher.finish()));
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable() {
        for (host, name) in [
            ("web1", "web1"),
            ("deploy@web1.example.org:2222", "deploy@web1.example.org:2222"),
            ("bastion/web1/sudo:root", "bastion+web1+sudo:root"),
            ("docker:{registry/app:1}", "docker:%7Bregistry+app:1%7D"),
            ("../x", "%2E.+x"),
            (".", "%2E"),
            ("-w", "%2Dw"),
            ("a+b%", "a%2Bb%25"),
            ("a b\n", "a%20b%0A"),
        ] {
            assert_eq!(file_name(host), name);
        }
        let long = |end: &str| file_name(&format!("{}{end}", "x/".repeat(300)));
        assert!(long("a").len() == MAX && long("a") != long("b") && long("a") == long("a"));
    }

    proptest! {
        #[test]
        fn names_are_safe_and_different(hosts in prop::collection::hash_set("[./a+%{ -]{1,4}|\\PC{1,6}", 1..20)) {
            let names: HashSet<String> = hosts.iter().map(|host| file_name(host)).collect();
            prop_assert_eq!(names.len(), hosts.len());
            for name in names {
                prop_assert!(!name.is_empty() && name.len() <= MAX && !name.starts_with(['.', '-']));
                prop_assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b'/'), "{}", name);
            }
        }
    }
}
