//! The token that distinguishes our own lines from all other output on a connection.

/// A random token for one connection.
///
/// The far side announces itself with the whole token. Command lines contain its two halves separately, so that
/// a program that repeats a command line (`ps`, `ssh -v`, an engine's error text) does not print the token
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nonce {
    a: String,
    b: String,
}

impl Nonce {
    /// Makes the token from 16 random bytes.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let (a, b) = hex.split_at(HALF);
        Self { a: a.into(), b: b.into() }
    }

    /// The whole token, which appears on stdout only.
    pub(crate) fn token(&self) -> String {
        format!("{}{}", self.a, self.b)
    }

    /// The whole token, as [`token`](Self::token); consumes the nonce.
    pub(super) fn into_token(self) -> String {
        self.a + &self.b
    }

    /// The two halves, of 16 lower-case hex digits each.
    pub(crate) fn halves(&self) -> [&str; 2] {
        [&self.a, &self.b]
    }

    /// The first argument of a process that has to become a child.
    pub(crate) fn child_argument(&self) -> String {
        format!("{CHILD_PREFIX}{}:{}", self.a, self.b)
    }

    /// The line for the stdin of a process that was started with [`ONLY`].
    pub(crate) fn child_line(&self) -> String {
        self.child_argument() + "\n"
    }

    /// Reads [`child_line`](Self::child_line) and nothing behind it.
    pub(crate) fn read_child_line(input: &mut impl std::io::Read) -> Option<Self> {
        let mut line = [0; CHILD_PREFIX.len() + 2 * HALF + 2];
        input.read_exact(&mut line).ok()?;
        Self::parse_child_argument(std::str::from_utf8(&line).ok()?.strip_suffix('\n')?)
    }

    /// Parses [`child_argument`](Self::child_argument). `None` means that this process is not a child.
    pub(crate) fn parse_child_argument(argument: &str) -> Option<Self> {
        let (a, b) = argument.strip_prefix(CHILD_PREFIX)?.split_once(':')?;
        let valid =
            |half: &str| half.len() == HALF && half.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (valid(a) && valid(b)).then(|| Self { a: a.into(), b: b.into() })
    }

    /// Whether the first stage may have given this name to its directory. The name contains the first half of
    /// the token, because tools print the directory's name in their complaints. The first stage chooses the end
    /// of the name.
    pub(crate) fn is_directory_name(&self, name: &str) -> bool {
        let end = name.strip_prefix(".offshoot-").and_then(|rest| rest.strip_prefix(&*self.a)?.strip_prefix('-'));
        end.is_some_and(|end| !end.is_empty() && end.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric()))
    }
}

/// The first argument of a process that has to become a child, gets its token by stdin, and runs only the functions that
/// the other arguments name.
pub(crate) const ONLY: &str = "offshoot-child:only";

/// All its arguments, which are the same for the same functions: each once, in order. A rule of sudo names them, too.
pub(crate) fn only(mut functions: Vec<String>) -> Vec<String> {
    functions.sort_unstable();
    functions.dedup();
    functions.insert(0, ONLY.to_owned());
    functions
}

const HALF: usize = 16;
pub(super) const CHILD_PREFIX: &str = "offshoot-child:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_argument_has_the_halves_but_not_the_token() {
        let nonce = Nonce::from_bytes(*b"\x00\x01\x02\x03\x04\x05\x06\x07\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff");
        assert_eq!(nonce.token(), "0001020304050607f8f9fafbfcfdfeff");
        assert_eq!(nonce.child_argument(), "offshoot-child:0001020304050607:f8f9fafbfcfdfeff");
        assert!(!nonce.child_argument().contains(&nonce.token()));
        let input = nonce.child_line() + "rest";
        let mut input = input.as_bytes();
        assert_eq!(Nonce::read_child_line(&mut input), Some(nonce.clone()));
        assert_eq!(input, b"rest");
        assert_eq!(Nonce::parse_child_argument(&nonce.child_argument()), Some(nonce));
    }

    #[test]
    fn a_directory_of_the_first_stage_is_known_by_its_name() {
        let nonce = Nonce::from_bytes([0x11; 16]);
        let half = "1".repeat(16);
        for end in ["7", "71aXz", "71-x"] {
            assert!(nonce.is_directory_name(&format!(".offshoot-{half}-{end}")), "{end}");
        }
        for end in ["", "/", "7/..", "7 x"] {
            assert!(!nonce.is_directory_name(&format!(".offshoot-{half}-{end}")), "{end}");
        }
        assert!(!nonce.is_directory_name(&format!(".offshoot-{}-7", "2".repeat(16))));
        assert!(!nonce.is_directory_name(&half));
    }

    #[test]
    fn other_arguments_are_not_taken_for_a_child_argument() {
        for argument in [
            "",
            "run",
            "offshoot-child",
            ONLY,
            "offshoot-child:",
            "offshoot-child:0001020304050607",
            "offshoot-child:0001020304050607:",
            "offshoot-child:0001020304050607:f8f9fafbfcfdfef",
            "offshoot-child:0001020304050607:f8f9fafbfcfdfeff0",
            "offshoot-child:0001020304050607:F8F9FAFBFCFDFEFF",
            "offshoot-child:0001020304050607:f8f9fafbfcfdfefg",
            " offshoot-child:0001020304050607:f8f9fafbfcfdfeff",
        ] {
            assert_eq!(Nonce::parse_child_argument(argument), None, "{argument}");
        }
    }
}
