//! The names of the methods.

use std::fmt;

#[cfg(feature = "cli")]
use crate::connect::host_path::own_methods::{self, OwnMethod};
use crate::connect::methods::Engine;

/// A method to start a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MethodName {
    Local,
    Fork,
    Ssh,
    Sudo,
    Su,
    Doas,
    Container(Engine),
    Setns,
    /// The method of the user's own with this index.
    #[cfg(feature = "cli")]
    Own(u8),
}

impl MethodName {
    /// The methods that start a child as another user of the machine.
    pub(crate) const BECOMING: [Self; 3] = [Self::Sudo, Self::Su, Self::Doas];

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let engines = Engine::ALL.iter().map(|engine| Self::Container(*engine));
        let own = [Self::Local, Self::Fork, Self::Ssh].into_iter();
        let all = own.chain(Self::BECOMING).chain(engines).chain([Self::Setns]);
        #[cfg(feature = "cli")]
        let all = all.chain((0..own_methods::all().len()).map(|nth| Self::Own(nth as u8)));
        all
    }

    /// The method of the user's own.
    #[cfg(feature = "cli")]
    pub(crate) fn own(self) -> Option<&'static OwnMethod> {
        match self {
            Self::Own(nth) => own_methods::all().get(usize::from(nth)),
            _ => None,
        }
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
            #[cfg(feature = "cli")]
            Self::Own(_) => self.own().map_or("", |own| own.name.as_str()),
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|method| method.as_str() == name)
    }

    /// The method of which `name` is probably a misspelling.
    pub(crate) fn like(name: &str) -> Option<Self> {
        // Names of methods are short. A name of this length is not a misspelled one.
        if name.len() > 16 {
            return None;
        }
        let distance = |method: Self| distance(name, method.as_str());
        let nearest = Self::all().min_by_key(|method| distance(*method))?;
        let allowed = if nearest.as_str().len() > 4 { 2 } else { 1 };
        (distance(nearest) <= allowed).then_some(nearest)
    }

    /// The method that was probably meant by a name that stands for a host of ssh. Methods are words, so a name with
    /// anything but letters in it is a host's.
    #[cfg(feature = "cli")]
    pub(crate) fn meant_by(name: &str) -> Option<Self> {
        // Shorter names are too similar to others, and the longest method has seven letters.
        if !(3..=9).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_lowercase()) {
            return None;
        }
        let (far, nearest) =
            Self::all().map(|method| (distance(name, method.as_str()), method)).min_by_key(|(far, _)| *far)?;
        let allowed = if nearest.as_str().len() > 3 { 2 } else { 1 };
        (nearest.as_str().len() > 2 && far <= allowed).then_some(nearest)
    }

    /// The target if none is given; `None` if the method needs one.
    pub(crate) fn default_target(self) -> Option<&'static str> {
        match self {
            Self::Local | Self::Fork => Some(""),
            Self::Sudo | Self::Su | Self::Doas => Some("root"),
            #[cfg(feature = "cli")]
            Self::Own(_) => self.own().is_some_and(|own| !own.needs_target()).then_some(""),
            _ => None,
        }
    }

    /// Whether `USER@` may stand before the target.
    pub(crate) fn takes_user(self) -> bool {
        match self {
            Self::Ssh | Self::Setns => true,
            Self::Container(engine) => engine.takes_user(),
            #[cfg(feature = "cli")]
            Self::Own(_) => self.own().is_some_and(OwnMethod::takes_user),
            Self::Local | Self::Fork | Self::Sudo | Self::Su | Self::Doas => false,
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The edit distance of `a` and `b`: how many characters have to be inserted, deleted, replaced or swapped with
/// their neighbour.
pub(crate) fn distance(a: &str, b: &str) -> usize {
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
        for method in MethodName::all() {
            assert_eq!(MethodName::by_name(method.as_str()), Some(method));
        }
        assert_eq!(MethodName::by_name("SSH"), None);
        assert_eq!(MethodName::by_name(""), None);
    }

    #[test]
    #[cfg(feature = "cli")]
    fn a_host_that_is_called_almost_like_a_method_may_be_meant_as_one() {
        for (name, method) in
            [("sodu", "sudo"), ("sduo", "sudo"), ("dokcer", "docker"), ("docer", "docker"), ("shh", "ssh")]
        {
            assert_eq!(MethodName::meant_by(name).map(MethodName::as_str), Some(method), "{name}");
        }
        for name in ["web1", "db", "sud0", "web", "bastion", "node", "host", "sud-o", "database", ""] {
            assert_eq!(MethodName::meant_by(name), None, "{name}");
        }
    }

    #[test]
    fn slips_of_the_pen_are_understood() {
        assert_eq!(MethodName::like("dockr"), Some(MethodName::Container(Engine::Docker)));
        assert_eq!(MethodName::like("dokcer"), Some(MethodName::Container(Engine::Docker)));
        assert_eq!(MethodName::like("kubctl"), Some(MethodName::Container(Engine::Kubectl)));
        assert_eq!(MethodName::like("shh"), Some(MethodName::Ssh));
        assert_eq!(MethodName::like("sduo"), Some(MethodName::Sudo));
        assert_eq!(MethodName::like("web1"), None);
        assert_eq!(MethodName::like("example.com"), None);
        assert_eq!(MethodName::like(&"x".repeat(100_000)), None);
    }
}
