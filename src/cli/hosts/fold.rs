//! From a list of hosts back to a short expression: `web[01-40,50]`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cli::hosts::numbers::MAX_DIGITS;

/// From this many numbers on, equal distances are written as a step.
const MIN_STEPS: usize = 4;

/// The shortest readable expression found for these hosts, in natural order.
/// Names are those of `HostPath::text`, and the expression stands for exactly
/// these.
pub(crate) fn fold<S: AsRef<str>>(names: &[S]) -> String {
    let mut families: HashMap<Vec<&str>, BTreeSet<Vec<Number>>> = HashMap::new();
    for name in names {
        let (words, numbers) = take_apart(name.as_ref());
        families.entry(words).or_default().insert(numbers);
    }
    // Each word with the first host it stands for, by which it is sorted.
    let mut words: Vec<(String, String)> = Vec::new();
    for (family, members) in families {
        // Which numbers are joined first decides what is left over, so both
        // ways are tried.
        let places = family.len() - 1;
        let last_first = join(&members, &(0..places).rev().collect::<Vec<_>>());
        let first_first = join(&members, &(0..places).collect::<Vec<_>>());
        let (one, other) = (written(&family, &last_first), written(&family, &first_first));
        words.extend(if len(&other) < len(&one) { other } else { one });
    }
    words.sort_by(|(a, _), (b, _)| natural_cmp(a, b));
    words.into_iter().map(|(_, word)| word).collect::<Vec<_>>().join(",")
}

/// Compares as people do: numbers by their value, so that web9 is before web10.
pub(crate) fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (words_a, numbers_a) = take_apart(a);
    let (words_b, numbers_b) = take_apart(b);
    let mut numbers = numbers_a.iter().zip(&numbers_b);
    for pair in words_a.iter().zip(&words_b) {
        let ordering = pair.0.cmp(pair.1);
        if ordering.is_ne() {
            return ordering;
        }
        if let Some((a, b)) = numbers.next() {
            let ordering = a.cmp(b);
            if ordering.is_ne() {
                return ordering;
            }
        }
    }
    words_a.len().cmp(&words_b.len()).then_with(|| a.cmp(b))
}

/// A number as it is written. Ordered by value, then by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number {
    value: u64,
    digits: usize,
}

impl Number {
    fn is_padded(self) -> bool {
        self.to_string().starts_with('0') && self.digits > 1
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:0width$}", self.value, width = self.digits)
    }
}

/// The words between the numbers, and the numbers; there is one word more. What
/// stands in braces or brackets is never taken apart.
fn take_apart(name: &str) -> (Vec<&str>, Vec<Number>) {
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    let mut begin = 0;
    let mut at = 0;
    while let Some(c) = name[at..].chars().next() {
        let rest = &name[at..];
        at += match c {
            '{' => rest.find('}').map_or(rest.len(), |end| end + 1),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            c if !c.is_ascii_digit() => c.len_utf8(),
            _ => {
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                if let Ok(value) = rest[..digits].parse()
                    && digits <= MAX_DIGITS
                {
                    words.push(&name[begin..at]);
                    numbers.push(Number { value, digits });
                    begin = at + digits;
                }
                digits
            }
        };
    }
    words.push(&name[begin..]);
    (words, numbers)
}

/// Covers the members with boxes: a set of numbers for each place, which stand
/// for all their combinations. Boxes do not overlap. `order` says at which
/// place to join first.
fn join(members: &BTreeSet<Vec<Number>>, order: &[usize]) -> Vec<Vec<Vec<Number>>> {
    let mut sets = Sets::default();
    let mut boxes: Vec<Vec<usize>> =
        members.iter().map(|numbers| numbers.iter().map(|number| sets.id(vec![*number])).collect()).collect();
    loop {
        let before = boxes.len();
        for &place in order {
            // Boxes that differ at this place only can be one.
            let mut alike: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
            for mut key in boxes {
                let set = std::mem::replace(&mut key[place], usize::MAX);
                alike.entry(key).or_default().push(set);
            }
            boxes = alike
                .into_iter()
                .map(|(mut key, parts)| {
                    key[place] = sets.union(&parts);
                    key
                })
                .collect();
        }
        if boxes.len() == before {
            break;
        }
    }
    boxes.iter().map(|ids| ids.iter().map(|id| sets.list[*id].clone()).collect()).collect()
}

/// Sets of numbers by id, so that they are quick to compare.
#[derive(Default)]
struct Sets {
    list: Vec<Vec<Number>>,
    ids: HashMap<Vec<Number>, usize>,
}

impl Sets {
    fn id(&mut self, set: Vec<Number>) -> usize {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        let id = self.list.len();
        self.list.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    fn union(&mut self, parts: &[usize]) -> usize {
        if let [one] = parts {
            return *one;
        }
        let mut all: Vec<Number> = parts.iter().flat_map(|id| self.list[*id].iter().copied()).collect();
        all.sort_unstable();
        self.id(all)
    }
}

/// The words for boxes, each with the first host it stands for.
fn written(family: &[&str], boxes: &[Vec<Vec<Number>>]) -> Vec<(String, String)> {
    let write = |sets: &Vec<Vec<Number>>| {
        let (mut first, mut word) = (String::new(), String::new());
        for (text, set) in family.iter().zip(sets) {
            first.push_str(text);
            word.push_str(text);
            if let [number, ..] = set.as_slice() {
                first.push_str(&number.to_string());
            }
            match set.as_slice() {
                [number] => word.push_str(&number.to_string()),
                numbers => word.push_str(&format!("[{}]", ranges(numbers))),
            }
        }
        let last = family.last().copied().unwrap_or_default();
        (first + last, word + last)
    };
    boxes.iter().map(write).collect()
}

fn len(words: &[(String, String)]) -> usize {
    words.iter().map(|(_, word)| word.len() + 1).sum()
}

/// Numbers in ascending order as `1-3,5,08-10`.
fn ranges(numbers: &[Number]) -> String {
    // A range has one width: `08-10`. A number without zeros in front belongs
    // to the padded ones of its length if there are any.
    let padded: BTreeSet<usize> = numbers.iter().filter(|n| n.is_padded()).map(|n| n.digits).collect();
    let width = |number: &Number| if padded.contains(&number.digits) { number.digits } else { 0 };
    let mut widths: BTreeMap<usize, Vec<Number>> = BTreeMap::new();
    for number in numbers {
        widths.entry(width(number)).or_default().push(*number);
    }
    let mut runs: Vec<(Number, String)> = Vec::new();
    for numbers in widths.into_values() {
        let mut rest = numbers.as_slice();
        while let [first, ..] = rest {
            let (len, step) = run(rest);
            let last = rest[len - 1];
            let text = match (len, step) {
                (1, _) => first.to_string(),
                (_, 1) => format!("{first}-{last}"),
                _ => format!("{first}-{last}/{step}"),
            };
            runs.push((*first, text));
            rest = &rest[len..];
        }
    }
    runs.sort();
    runs.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// How many of the first numbers make one range, and its step.
fn run(numbers: &[Number]) -> (usize, u64) {
    let [first, second, ..] = numbers else {
        return (1, 1);
    };
    let step = second.value - first.value;
    let len = 1 + numbers.windows(2).take_while(|w| w[1].value - w[0].value == step).count();
    if step == 1 || len >= MIN_STEPS { (len, step) } else { (1, 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::hosts::expression::{Sources, expand};

    struct Nothing;

    impl Sources for Nothing {
        fn group(&mut self, _: &str) -> Result<Option<String>, String> {
            Ok(None)
        }
        fn file(&mut self, _: &str) -> Result<String, String> {
            Err("no".into())
        }
        fn stdin(&mut self) -> Result<String, String> {
            Err("no".into())
        }
    }

    fn expanded(expression: &str) -> BTreeSet<String> {
        let hosts = expand(&[expression], &mut Nothing).unwrap_or_else(|e| panic!("{e}")).hosts;
        hosts.into_iter().map(|host| host.text).collect()
    }

    fn refolded(expression: &str) -> String {
        let names: Vec<String> = expanded(expression).into_iter().collect();
        let folded = fold(&names);
        assert_eq!(expanded(&folded), names.into_iter().collect());
        folded
    }

    #[test]
    fn expressions_come_back() {
        for expression in [
            "web1",
            "web[1-3]",
            "web[01-40,50]",
            "db1,web[01-40,50]-ib",
            "rack[1-4]n[1-20]",
            "rack[1-4]n[1-20]p[1-2]",
            "web[8-12]",
            "web[08-12]",
            "web[098-102]",
            "web[1-9/2]",
            "web[0-90/10]",
            "web[1,3,6]",
            "web[1-2,01-02]",
            "web[9,09-10,100]",
            "10.0.[0-3].[1-254]",
            "bastion/web[1-3]/sudo:root",
            "b[1-2]/web[1-3]:[2201-2203]/docker:app[1-2]",
            "local[1-3]",
            "docker:{registry/app:1},docker:{registry/app:2}",
            "docker:{a1}[1-2]",
            "[fe80::1]:[22-23],[fe80::2]",
            "a,b,c",
            "web,web[1-2]",
            "[1-3]",
            "u[1-2]@web[1-2]",
        ] {
            assert_eq!(refolded(expression), expression);
        }
    }

    #[test]
    fn what_is_no_whole_box_is_split() {
        assert_eq!(refolded("r1n1,r1n2,r2n1"), "r1n[1-2],r2n1");
        assert_eq!(refolded("r1n[1-4],r2n[1-4],r3n[1-2]"), "r[1-2]n[1-4],r3n[1-2]");
        assert_eq!(refolded("r[2-9]n1,r1n[1-2]"), "r[1-9]n1,r1n2");
    }

    #[test]
    fn the_order_is_natural() {
        assert_eq!(refolded("web10,db2,web9,db10,a"), "a,db[2,10],web[9-10]");
        assert_eq!(refolded("n100,n20x,n3y"), "n3y,n20x,n100");
        let mut names = ["web10", "web9", "web", "db1", "web09", "web1/sudo", "web1"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(names, ["db1", "web", "web1", "web1/sudo", "web9", "web09", "web10"]);
    }

    #[test]
    fn doubles_are_folded_away() {
        assert_eq!(fold(&["a1", "a1", "a2"]), "a[1-2]");
        assert_eq!(fold::<&str>(&[]), "");
    }

    #[test]
    fn numbers_that_are_too_long_are_words() {
        let names = ["a1234567890123456789", "a1234567890123456790"];
        assert_eq!(fold(&names), names.join(","));
    }

    #[test]
    fn a_hundred_thousand_hosts_fold_quickly() {
        let begin = std::time::Instant::now();
        let names: Vec<String> =
            (0..100_000).map(|n| format!("r{}s{}n{}.dc{}", n / 1000, n / 100 % 10, n % 100, n % 7)).collect();
        let folded = fold(&names);
        let mut hosts: Vec<String> =
            expand(&[&folded], &mut Nothing).unwrap().hosts.into_iter().map(|host| host.text).collect();
        hosts.sort();
        let mut names = names;
        names.sort();
        assert!(hosts == names);
        assert!(begin.elapsed().as_secs() < 30);
    }

    fn name() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec!["web", "db", "n", "-", ".", "x{a1,b/2}", "{1}", ""]);
        let number = prop_oneof![
            (0..12_u32).prop_map(|n| n.to_string()),
            (0..12_u32).prop_map(|n| format!("{n:02}")),
            (8..102_u32).prop_map(|n| format!("{n:03}")),
            Just(String::new()),
        ];
        let tail = prop::sample::select(vec![
            "",
            "/sudo",
            "/docker:app1",
            "/docker:app2",
            ":22",
            ":23",
            "/[::1]:22",
            "/[::2]:23",
            "/local3",
            "/local04",
            "/setns:lxc:c1",
        ]);
        let start = prop::sample::select(vec!["h", "u1@w", "local", "docker:c", "7", "ssh:", "b1/b"]);
        let middle = prop::collection::vec((word, number), 0..3);
        (start, middle, tail).prop_map(|(start, middle, tail)| {
            let middle: String = middle.into_iter().map(|(word, n)| format!("{word}{n}")).collect();
            format!("{start}{middle}{tail}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn folding_and_expanding_gives_the_same_set(names in prop::collection::vec(name(), 1..40)) {
            let names: Vec<String> = names
                .into_iter()
                .filter_map(|name| Some(expand(&[name], &mut Nothing).ok()?.hosts.remove(0).text))
                .collect();
            // Two spellings of one host are one host.
            let hosts = match expand(&names, &mut Nothing) {
                Ok(expansion) => expansion.hosts,
                Err(_) => return Ok(()),
            };
            let texts: Vec<&str> = hosts.iter().map(|host| host.text.as_str()).collect();
            let folded = fold(&texts);
            let again = expand(&[&folded], &mut Nothing);
            let again: BTreeSet<String> = match again {
                Ok(expansion) => expansion.hosts.into_iter().map(|host| host.text).collect(),
                Err(error) => return Err(TestCaseError::fail(format!("{folded}: {error}"))),
            };
            prop_assert_eq!(again, texts.iter().map(|t| (*t).to_owned()).collect(), "{}", folded);
        }

        #[test]
        fn sets_of_numbers_come_back(numbers in prop::collection::btree_set(0..60_u64, 1..40)) {
            let names: Vec<String> = numbers.iter().map(|n| format!("web{n}")).collect();
            let folded = fold(&names);
            prop_assert_eq!(expanded(&folded), names.iter().cloned().collect());
            prop_assert!(folded.len() <= names.join(",").len() + 2);
        }

        #[test]
        fn natural_order_is_an_order(a in name(), b in name(), c in name()) {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
            prop_assert_eq!(natural_cmp(&a, &b).is_eq(), a == b);
        }

        #[test]
        fn any_text_can_be_folded(names in prop::collection::vec(any::<String>(), 0..5)) {
            let _ = fold(&names);
        }
    }
}
