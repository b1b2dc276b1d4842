//! A host: the hops that lead to it, and the name that the user gave it.

use std::fmt;

use crate::cli::hosts::numbers::write_number;
use crate::connect::methods::Engine;

/// A host of an expression.
///
/// Two hosts are the same when their hops are, however they are spelled:
/// `web1` and `ssh:web1` are one host.
#[derive(Debug, Clone)]
pub(crate) struct HostPath {
    /// As the user spelled it, with sets and ranges written out. Reading it as
    /// an expression gives this host again.
    pub(crate) text: String,
    /// How to get there, the first hop first. Never empty.
    pub(crate) hops: Vec<Hop>,
}

impl HostPath {
    /// The same host, reached through `via`. Its name stays.
    pub(crate) fn behind(mut self, via: &Self) -> Self {
        self.hops.splice(..0, via.hops.iter().cloned());
        self
    }

    /// What is behind it, by one hop more. Its name stays.
    pub(crate) fn then(mut self, method: Method, target: &str) -> Self {
        self.hops.push(Hop { method, target: target.into(), user: None, port: None });
        self
    }
}

impl PartialEq for HostPath {
    fn eq(&self, other: &Self) -> bool {
        self.hops == other.hops
    }
}

impl Eq for HostPath {}

impl std::hash::Hash for HostPath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hops.hash(state);
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One method on the way to a host. Hosts whose first hops are equal share the
/// contexts behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) method: Method,
    /// Host, user, container or name of the child; empty for a `local` or
    /// `fork` without a name. An IPv6 address stands without brackets. For
    /// `setns` it is `KIND:NAME`.
    pub(crate) target: String,
    /// Who to be there, where the method has both a user and a target.
    pub(crate) user: Option<String>,
    /// Port of sshd.
    pub(crate) port: Option<u16>,
}

/// Appends what is the same for all spellings of a hop, and for no other hop:
/// for most ssh hosts their names. Control characters, which no name holds,
/// mark the others.
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

/// How many hops the path with this key has, whose hops are joined by `/`.
pub(crate) fn hops_of_key(key: &str) -> usize {
    let mut marked = false;
    let slashes = key.chars().filter(|c| {
        marked = *c == KEY_BEGIN || (marked && *c != KEY_END);
        *c == '/' && !marked
    });
    1 + slashes.count()
}

/// A way to start a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    Local,
    Fork,
    Ssh,
    Sudo,
    Su,
    Doas,
    Container(Engine),
    Setns,
}

impl Method {
    /// Those that make one another user of the machine.
    pub(crate) const BECOMING: [Self; 3] = [Self::Sudo, Self::Su, Self::Doas];

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let engines = Engine::ALL.iter().map(|engine| Self::Container(*engine));
        [Self::Local, Self::Fork, Self::Ssh].into_iter().chain(Self::BECOMING).chain(engines).chain([Self::Setns])
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Fork => "fork",
            Self::Ssh => "ssh",
            Self::Sudo => "sudo",
            Self::Su => "su",
            Self::Doas => "doas",
            Self::Container(engine) => engine.name(),
            Self::Setns => "setns",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|method| method.as_str() == name)
    }

    /// The method whose name was probably meant.
    pub(crate) fn like(name: &str) -> Option<Self> {
        let distance = |method: Self| distance(name, method.as_str());
        let nearest = Self::all().min_by_key(|method| distance(*method))?;
        let allowed = if nearest.as_str().len() > 4 { 2 } else { 1 };
        (distance(nearest) <= allowed).then_some(nearest)
    }

    /// What it starts when no target is given; `None` if one must be.
    pub(crate) fn default_target(self) -> Option<&'static str> {
        match self {
            Self::Local | Self::Fork => Some(""),
            Self::Sudo | Self::Su | Self::Doas => Some("root"),
            _ => None,
        }
    }

    /// Whether `USER@` may stand before the target.
    pub(crate) fn takes_user(self) -> bool {
        match self {
            Self::Ssh | Self::Setns => true,
            Self::Container(engine) => engine.takes_user(),
            Self::Local | Self::Fork | Self::Sudo | Self::Su | Self::Doas => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many characters must be put in, taken out, replaced or swapped with
/// their neighbour to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    // Names of methods are short; nothing as long as this is a slip of one.
    if a.len() > 16 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(rows[i - 2][j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_names() {
        for method in Method::all() {
            assert_eq!(Method::by_name(method.as_str()), Some(method));
        }
        assert_eq!(Method::by_name("SSH"), None);
        assert_eq!(Method::by_name(""), None);
    }

    #[test]
    fn slips_of_the_pen_are_understood() {
        assert_eq!(Method::like("dockr"), Some(Method::Container(Engine::Docker)));
        assert_eq!(Method::like("dokcer"), Some(Method::Container(Engine::Docker)));
        assert_eq!(Method::like("kubctl"), Some(Method::Container(Engine::Kubectl)));
        assert_eq!(Method::like("shh"), Some(Method::Ssh));
        assert_eq!(Method::like("sduo"), Some(Method::Sudo));
        assert_eq!(Method::like("web1"), None);
        assert_eq!(Method::like("example.com"), None);
        assert_eq!(Method::like(&"x".repeat(100_000)), None);
    }

    #[test]
    fn the_way_there_makes_the_host_not_its_spelling() {
        let hop = |target: &str| Hop { method: Method::Ssh, target: target.into(), user: None, port: None };
        let host = |text: &str, target: &str| HostPath { text: text.into(), hops: vec![hop(target)] };
        assert_eq!(host("web1", "web1"), host("ssh:web1", "web1"));
        assert_ne!(host("web1", "web1"), host("web1", "web2"));
        let behind = host("web1", "web1").behind(&host("bastion", "bastion"));
        assert_eq!(behind.text, "web1");
        assert_eq!(behind.hops, [hop("bastion"), hop("web1")]);
    }
}
