//! Keys of hosts: equal for all spellings of a host.

use crate::cli::hosts::numbers::write_number;

pub(crate) use crate::connect::host_path::{FromInventory, Hop, HostPath, MethodName as Method};

/// Appends the key of a hop. It is the same for all spellings of the hop, and different for other hops. For
/// most ssh hosts it is the name. Other keys contain control characters, which names do not contain.
pub(crate) fn write_key(method: Method, user: &str, target: &str, port: Option<u16>, key: &mut String) {
    if method == Method::Ssh && user.is_empty() && port.is_none() && !target.contains('/') {
        key.push_str(target);
        return;
    }
    key.push(KEY_BEGIN);
    key.push_str(method.as_str());
    for part in [user, target] {
        key.push(KEY_BETWEEN);
        key.push_str(part);
    }
    key.push(KEY_BETWEEN);
    if let Some(port) = port {
        write_number(port.into(), 0, key);
    }
    key.push(KEY_END);
}

const KEY_BEGIN: char = '\u{1}';
const KEY_BETWEEN: char = '\u{2}';
const KEY_END: char = '\u{3}';

/// How many hops the path with this key has. `/` separates the hops in a key.
pub(crate) fn hops_of_key(key: &str) -> usize {
    let mut marked = false;
    let slashes = key.chars().filter(|c| {
        marked = *c == KEY_BEGIN || (marked && *c != KEY_END);
        *c == '/' && !marked
    });
    1 + slashes.count()
}
