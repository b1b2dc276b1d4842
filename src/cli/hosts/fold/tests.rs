use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;
use crate::cli::hosts::expression::tests::processor_time;
use crate::cli::hosts::expression::{Sources, expand, list};
use crate::cli::hosts::fold::parts::natural_cmp;
use crate::cli::hosts::numbers::Numbers;

struct Nothing;

impl Sources for Nothing {
    fn group(&mut self, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }
    fn file(&mut self, _: &str) -> Result<String, String> {
        Err("no".into())
    }
    fn known(&mut self) -> Result<String, String> {
        Err("no".into())
    }
    fn instead(&mut self, _: &str) -> String {
        "no".into()
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
fn a_range_goes_on_where_numbers_get_longer() {
    for (hosts, folded) in [
        ("h[01-02],h[99-100]", "h[01-02,99-100]"),
        ("web[01-50],web[60-120]", "web[01-50,60-120]"),
        ("web[01-99],web[100-120]", "web[01-09,10-120]"),
        ("web[08-09],web[10-101]", "web[08-09,10-101]"),
        ("web[008-009],web[10-12],web[098-101]", "web[008-009,10-12,098-101]"),
        ("web[05,10,15,20,25]", "web[05-25/5]"),
        ("web[1-2],web[4-10/2]", "web[1,2-10/2]"),
        ("web[1-7/2],web[8-10]", "web[1-7/2,8-10]"),
        ("h[8-12],h[08-09]", "h[8-9,08-12]"),
    ] {
        assert_eq!(refolded(hosts), folded);
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
fn a_million_hosts_are_folded() {
    let begin = std::time::Instant::now();
    let names: Vec<String> =
        (0..1_000_000).map(|n| format!("r{}s{}n{}.dc{}", n / 10_000, n / 100 % 100, n % 100, n % 7)).collect();
    let folded = fold(&names);
    let hosts = list(&[&folded], &mut Nothing).unwrap().hosts;
    let mut hosts: Vec<&str> = hosts.iter().collect();
    hosts.sort_unstable();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert!(hosts == names);
    assert_eq!(fold(&list(&["h[1-1000000]"], &mut Nothing).unwrap().hosts.iter().collect::<Vec<_>>()), "h[1-1000000]");
    assert!(begin.elapsed().as_secs() < 30);
}

#[test]
fn what_can_be_joined_in_two_ways_goes_to_the_larger_group() {
    // Joining place by place takes r3n0 or r6n8 away from the larger group, depending on the order.
    let folded = refolded("r[0,3,21,38]n0,r3n11,r[2,6]n8,r6n[55,63]");
    assert_eq!(folded, "r[0,3,21,38]n0,r2n8,r3n11,r6n[8,55,63]");
}

#[test]
fn boxes_are_joined_in_pairs_where_that_is_shorter() {
    let rows = "web0dc[1,3],web1dc[1-3],web2dc[1-2,4],web3dc0,web4dc[0-1,3]";
    assert_eq!(refolded(rows), "web[0-1,4]dc[1,3],web1dc2,web2dc[1-2,4],web[3-4]dc0");
}

#[test]
fn a_host_goes_to_the_box_where_its_text_is_shorter() {
    // In the first list web46dc1 could be in two boxes, in the second web7dc27.
    for folded in [
        "web0dc[2,902],web1dc[0,6],web[3-4,48]dc1,web4dc715,web[8,41]dc47,web44dc43,web46dc[1,6,981],web47dc[0,8,44],\
         web86dc48,web1018dc0",
        "web0dc24,web4dc[6,29],web[6-7]dc27,web7dc4,web24dc[4,142],web28dc10,web31dc26,web97dc2",
    ] {
        assert_eq!(refolded(folded), folded);
    }
}

#[test]
fn the_same_hosts_are_always_folded_in_the_same_way() {
    // There are more families than can all be joined in each way.
    let names: Vec<String> = (0..40_000_u64)
        .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .map(|n| format!("{}{}n{}", char::from(b'a' + (n % 26) as u8), n >> 8 & 31, n >> 16 & 31))
        .collect();
    assert_eq!(fold(&names), fold(&names));
}

/// Numbers that look random, the same in each run.
fn random() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
#[ignore = "the time is that of an optimised build"]
fn a_million_hosts_in_any_order_are_folded_within_half_a_second() {
    let mut random = random();
    let mut shuffled: Vec<String> = (0..1_000_000).map(|n| format!("h{n}.example.com")).collect();
    for nth in (1..shuffled.len()).rev() {
        shuffled.swap(nth, random() as usize % (nth + 1));
    }
    let letters = |mut number: u64| {
        std::iter::repeat_with(|| {
            let letter = b'a' + (number % 26) as u8;
            number /= 26;
            char::from(letter)
        })
        .take(10)
        .collect::<String>()
    };
    let unlike: Vec<String> = (0..1_000_000).map(|_| letters(random())).collect();
    for names in [shuffled, unlike] {
        let begin = processor_time();
        let folded = fold(&names);
        let took = processor_time() - begin;
        assert!(took.as_secs_f64() < 0.5, "{took:?} for {} bytes", folded.len());
    }
}

#[test]
fn names_that_have_little_in_common_are_folded_in_time() {
    let begin = std::time::Instant::now();
    let mut random = random();
    let scattered: Vec<String> =
        (0..100_000).map(|_| format!("n{}-{}-{}", random() % 900, random() % 900, random() % 900)).collect();
    let hex: Vec<String> = (0..100_000).map(|_| format!("{:x}", random())).collect();
    let deep: Vec<String> = (0..10_000).map(|n| format!("{}{}", "1.".repeat(100), n * n)).collect();
    for names in [scattered, hex, deep] {
        let folded = fold(&names);
        let wanted: BTreeSet<String> = names.into_iter().collect();
        let hosts = list(&[&folded], &mut Nothing).unwrap().hosts;
        assert_eq!(hosts.len(), wanted.len());
        assert!(hosts.iter().all(|host| wanted.contains(host)));
    }
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

/// The length of the shortest list of ranges without steps. It tries all lists.
fn shortest(numbers: &[String]) -> usize {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for first in numbers {
        for last in numbers {
            let item = if first == last { first.clone() } else { format!("{first}-{last}") };
            let Ok(range) = Numbers::parse(&item, 0) else { continue };
            let places: Option<Vec<usize>> = range.iter().map(|n| numbers.iter().position(|m| *m == n)).collect();
            let bits = places.map(|places| places.into_iter().fold(0, |bits, place| bits | 1 << place));
            ranges.extend(bits.map(|bits| (bits, item.len() + 1)));
        }
    }
    let mut best = vec![usize::MAX / 2; 1 << numbers.len()];
    best[0] = 0;
    for covered in 0..best.len() {
        for (bits, len) in &ranges {
            best[covered | bits] = best[covered | bits].min(best[covered] + len);
        }
    }
    best[best.len() - 1] - 1
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
        let hosts = match expand(names.as_slice(), &mut Nothing) {
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
    fn a_fold_is_no_longer_than_the_list(names in prop::collection::vec(name(), 1..40)) {
        if let Ok(expansion) = expand(names.as_slice(), &mut Nothing) {
            let texts: Vec<String> = expansion.hosts.into_iter().map(|host| host.text).collect();
            let folded = fold(&texts);
            // a1,a2 is shorter than a[1-2], but less readable.
            prop_assert!(folded.len() <= texts.join(",").len() + 2 * folded.matches('[').count());
        }
    }

    #[test]
    fn numbers_of_all_lengths_are_as_short_as_they_can_be(
        numbers in prop::collection::btree_set(
            (prop::sample::select(vec![0_u64, 1, 7, 8, 9, 10, 11, 12, 97, 98, 99, 100, 101, 102]), 1..4_usize),
            2..10,
        ),
    ) {
        let numbers: BTreeSet<String> = numbers.iter().map(|(n, width)| format!("{n:0width$}")).collect();
        let names: Vec<String> = numbers.iter().map(|n| format!("h{n}")).collect();
        let folded = fold(&names);
        prop_assert_eq!(expanded(&folded), names.into_iter().collect());
        if let Some(inner) = folded.strip_prefix("h[").and_then(|rest| rest.strip_suffix(']')) {
            let numbers: Vec<String> = numbers.into_iter().collect();
            prop_assert!(inner.len() <= shortest(&numbers), "{}", folded);
        }
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
