//! How many hosts a text can name, so that a few characters cost a fuzzer no second.

/// Most hosts of a word that is tried. What the limits of the tool are is tested beside the code.
const MOST: u64 = 5_000;

/// Whether a text names few hosts, in the notation of expressions or in Ansible's: no more than the product of all its sets.
pub(super) fn is_small(text: &str) -> bool {
    let words = text.split(|c: char| c.is_whitespace() || c == '!' || c == '&' || c == '^');
    words.map(product).fold(0, u64::saturating_add) <= MOST
}

/// The product of the sets in a word. A comma outside of brackets is not looked for, so it may be too large.
fn product(word: &str) -> u64 {
    word.split('[').skip(1).map(|rest| set(rest.split(']').next().unwrap_or_default())).fold(1, u64::saturating_mul)
}

/// At least as many as a set such as `1-3,7` or `a:c` has.
fn set(inner: &str) -> u64 {
    let part = |part: &str| {
        let numbers = part.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
        numbers.fold(64, u64::max)
    };
    inner.split(',').map(part).fold(0, u64::saturating_add)
}
