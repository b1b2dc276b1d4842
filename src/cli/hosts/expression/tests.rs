use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cli::hosts::expression_error::FaultKind;

/// Groups and files of a test, and how often each was read.
#[derive(Default)]
struct Known {
    groups: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    stdin: Option<String>,
    asked: Vec<String>,
}

impl Sources for Known {
    fn group(&mut self, name: &str) -> Result<Option<String>, String> {
        self.asked.push(format!("@{name}"));
        match name {
            "broken" => Err("the inventory is on fire".into()),
            name => Ok(self.groups.get(name).cloned()),
        }
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        self.asked.push(format!("^{path}"));
        self.files.get(path).cloned().ok_or_else(|| "no such file".into())
    }

    fn known(&mut self) -> Result<String, String> {
        self.asked.push("known".into());
        Ok(self.groups.get("all").cloned().unwrap_or_default())
    }

    fn instead(&mut self, _: &str) -> String {
        "groups are those of the inventory".into()
    }

    fn stdin(&mut self) -> Result<String, String> {
        self.asked.push("-".into());
        self.stdin.clone().ok_or_else(|| "it is a terminal".into())
    }
}

fn known() -> Known {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    Known {
        groups: pairs(&[
            ("web", "web[1-3]"),
            ("db", "db1 db2"),
            ("all", "@web,@db"),
            ("none", ""),
            ("loop", "web1,@pool"),
            ("pool", "@loop"),
            ("rack1", "r1n[1-2]"),
            ("rack2", "r2n[1-2]"),
            ("deep", "bastion/web1"),
            ("bad", "web1\nweb2 web[3-1]"),
            ("src:web", "w1"),
        ]),
        files: pairs(&[
            ("hosts", "\u{feff}# ours\nweb1  web2 # two\r\n\n\tdb[1-2], db9,\n@rack1 ! r1n1\n"),
            ("my hosts", "h1"),
            ("dir/h", "h2"),
            ("xor", "a ^b"),
            ("xor2", "a ^ b"),
            ("stdin", "-"),
        ]),
        stdin: Some("s1 s2\ns3".into()),
        asked: Vec::new(),
    }
}

#[test]
fn many_wildcards_for_many_hosts_end_soon() {
    let mut sources = known();
    let name = |number: u32| format!("{}{number}", "a".repeat(40));
    sources.groups.insert("all".into(), (0..100_000).map(name).collect::<Vec<_>>().join(" "));
    let wild = |count: u32| (0..count).map(|number| format!("a*{number}")).collect::<Vec<_>>().join(",");
    assert_eq!(expand(&[wild(1)], &mut sources).unwrap().hosts.len(), 10_000);
    let error = list(&[wild(10_000)], &mut sources).unwrap_err();
    assert!(error.to_string().contains("so many wildcards for 100000 known hosts"), "{error}");
}

fn texts(expression: &str) -> Vec<String> {
    let hosts = expand(&[expression], &mut known()).unwrap_or_else(|e| panic!("{e}")).hosts;
    hosts.into_iter().map(|host| host.text).collect()
}

fn joined(expression: &str) -> String {
    texts(expression).join(" ")
}

fn fails(expression: &str) -> ExprError {
    expand(&[expression], &mut known()).unwrap_err()
}

#[test]
fn lists_and_sets_expand_in_order_and_once_each() {
    assert_eq!(joined("web1"), "web1");
    assert_eq!(joined("b,a,b"), "b a");
    assert_eq!(joined(" web[08-10] , db1 "), "web08 web09 web10 db1");
    assert_eq!(joined("rack[1-2]n[1-2]"), "rack1n1 rack1n2 rack2n1 rack2n2");
    assert_eq!(joined("web[1-9/4,3]"), "web1 web5 web9 web3");
    assert_eq!(joined("web1,ssh:web1"), "web1");
    assert_eq!(joined("h/sudo,h/sudo:root"), "h/sudo");
}

#[test]
fn operators_go_left_to_right_and_commas_bind_last() {
    assert_eq!(joined("web[1-5]!web[2-3]"), "web1 web4 web5");
    assert_eq!(joined("web[1-5]&web[4-9]"), "web4 web5");
    assert_eq!(joined("web[1-3]^web[2-4]"), "web1 web4");
    assert_eq!(joined("web[1-5]!web[2-3]&web[1-4]"), "web1 web4");
    assert_eq!(joined("web[1-5]&web[1-3]!web1"), "web2 web3");
    assert_eq!(joined("a[1-2],b[1-2]!a1"), "a1 a2 b1 b2");
    assert_eq!(joined("a[1-2]!a1,b[1-2]!b2,a1"), "a2 b1 a1");
    assert_eq!(joined("web[1-3] ! web1 & web[1-2]"), "web2");
    assert_eq!(joined("web1!ssh:web1,x"), "x");
}

#[test]
fn a_difference_that_changes_nothing_is_noted() {
    let notes = |expression: &str| expand(&[expression], &mut known()).unwrap().notes;
    assert_eq!(notes("web[1-5],db[1-5]!web3").len(), 1);
    assert!(notes("web[1-5],db[1-5]!web3")[0].starts_with("`!web3` takes nothing away from `db[1-5]`"));
    assert_eq!(notes("web[1-5]!web3,db1"), [""; 0]);
    assert_eq!(notes("web[1-5]!@none"), [""; 0]);
    let many = format!("a{}", "!b".repeat(10_000));
    let notes = notes(&many);
    assert!(notes.len() == MAX_NOTES && notes.iter().all(|note| note.len() < 300));
}

#[test]
fn paths_have_hops_that_multiply() {
    assert_eq!(
        joined("bastion/web[1-2]/sudo:root/docker:app"),
        "bastion/web1/sudo:root/docker:app bastion/web2/sudo:root/docker:app"
    );
    assert_eq!(joined("b[1-2]/w[1-2]"), "b1/w1 b1/w2 b2/w1 b2/w2");
    let host = expand(&["deploy@web1:2222/sudo"], &mut known()).unwrap().hosts.remove(0);
    let methods: Vec<Method> = host.hops.iter().map(|hop| hop.method).collect();
    assert_eq!(methods, [Method::Ssh, Method::Sudo]);
    assert_eq!(host.hops[0].port, Some(2222));
    assert_eq!(joined("local[1-3]"), "local1 local2 local3");
    assert_eq!(joined("local/sudo:www-data"), "local/sudo:www-data");
    assert_eq!(joined("docker:{registry/app:1}/su:x"), "docker:{registry/app:1}/su:x");
    assert_eq!(joined("u@[fe80::1]:22/sudo"), "u@[fe80::1]:22/sudo");
}

#[test]
fn hops_without_numbers_stand_between_those_that_multiply() {
    assert_eq!(
        joined("a/b/c[1-2]/{d}/me@e/f[1-2]/g/h"),
        "a/b/c1/{d}/me@e/f1/g/h a/b/c1/{d}/me@e/f2/g/h a/b/c2/{d}/me@e/f1/g/h a/b/c2/{d}/me@e/f2/g/h"
    );
    assert_eq!(joined("a/@web/b/c"), "a/web1/b/c a/web2/b/c a/web3/b/c");
}

#[test]
fn hosts_behind_the_same_hops_share_them() {
    let hosts = expand(&["bastion/web[1-2]/sudo,bastion/web1/docker:x"], &mut known()).unwrap().hosts;
    assert_eq!(hosts[0].hops[..1], hosts[1].hops[..1]);
    assert_eq!(hosts[0].hops[..2], hosts[2].hops[..2]);
    assert_ne!(hosts[0].hops[..2], hosts[1].hops[..2]);
}

#[test]
fn groups_stand_for_paths_anywhere_in_a_path() {
    assert_eq!(joined("@web"), "web1 web2 web3");
    assert_eq!(joined("@all!web2"), "web1 web3 db1 db2");
    assert_eq!(joined("@web/sudo"), "web1/sudo web2/sudo web3/sudo");
    assert_eq!(joined("bastion/@db/docker:x"), "bastion/db1/docker:x bastion/db2/docker:x");
    assert_eq!(joined("@rack[1-2]"), "r1n1 r1n2 r2n1 r2n2");
    assert_eq!(joined("@deep/sudo"), "bastion/web1/sudo");
    assert_eq!(joined("@src:web"), "w1");
    assert_eq!(joined("@none,web1"), "web1");
}

#[test]
fn files_hold_lists_with_comments() {
    assert_eq!(joined("^hosts"), "web1 web2 db1 db2 db9 r1n2");
    assert_eq!(joined("^hosts!web1"), "web2 db1 db2 db9 r1n2");
    assert_eq!(joined("^{my hosts},^dir/h"), "h1 h2");
    assert_eq!(joined("^hosts^web1"), "web2 db1 db2 db9 r1n2");
    assert_eq!(joined("web9^^{my hosts}"), "web9 h1");
    assert_eq!(joined("-"), "s1 s2 s3");
    assert_eq!(joined("-!s2,-&s2"), "s1 s3 s2");
    assert_eq!(joined("^xor2"), "a b");
}

#[test]
fn each_source_is_asked_once() {
    let mut sources = known();
    expand(&["@web,@all,@web/sudo", "^hosts!^hosts,-,-"], &mut sources).unwrap();
    assert_eq!(sources.asked, ["@web", "@all", "@db", "^hosts", "@rack1", "-"]);
}

#[test]
fn several_expressions_are_one_list() {
    let hosts = expand(&["b,a", "a,c!c", ""], &mut known()).unwrap().hosts;
    assert_eq!(hosts.len(), 2);
}

#[test]
fn no_host_is_an_error_of_its_own() {
    for expression in ["", "  ", "web1!web1", "@none", "web1&web2", "a^a", "web[1-3]!@web"] {
        let error = fails(expression);
        assert_eq!(error.kind, FaultKind::Empty, "{expression}");
        assert!(error.to_string().starts_with("no host matches"), "{error}");
    }
    let none: [&str; 0] = [];
    assert_eq!(expand(&none, &mut known()).unwrap_err().kind, FaultKind::Empty);
}

#[test]
fn faults_say_where_and_what_to_write() {
    use FaultKind::{Limit, Source, Syntax};
    for (expression, kind, at, len, says) in [
        (",a", Syntax, 0, 1, "missing before `,`"),
        ("a,,b", Syntax, 2, 1, "missing before `,`"),
        ("a,", Syntax, 2, 0, "missing at the end"),
        ("a!", Syntax, 2, 0, "missing at the end"),
        ("!a", Syntax, 0, 1, "missing before `!`"),
        ("a!&b", Syntax, 2, 1, "missing before `&`"),
        ("a b", Syntax, 2, 1, "`,` is missing"),
        ("a - b", Syntax, 2, 1, "`,` is missing"),
        ("^{x}y", Syntax, 0, 4, ""),
        ("^", Syntax, 0, 1, "name of a file is missing"),
        ("a,^{}", Syntax, 2, 1, "name of a file is missing"),
        ("^{x", Syntax, 1, 1, "`}` is missing"),
        ("a,web[3-1]", Syntax, 6, 3, "write [1-3]"),
        ("a,web[1-3", Syntax, 5, 1, "`]` is missing"),
        ("web1]", Syntax, 4, 1, "`[` is missing"),
        ("a,-oProxyCommand=x", Syntax, 2, 16, "cannot begin with `-`"),
        ("(a,b)!c", Syntax, 0, 1, "`(` cannot stand here"),
        ("@nope", Source, 0, 5, "there is no group @nope"),
        ("a,@broken", Source, 2, 7, "on fire"),
        ("a,^nope", Source, 2, 5, "no such file"),
        ("web[1-100001]", Limit, 0, 13, "at most 100000"),
        ("a,r[1-1000]n[1-1000]", Limit, 2, 18, "1000000 hosts"),
        ("[0-999999999999999999][0-999999999999999999]", Limit, 0, 44, "too many hosts"),
        ("@g[1-100001]", Limit, 0, 12, "at most 100000"),
        ("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", Limit, 0, 33, "more than 16 hops"),
    ] {
        if says.is_empty() {
            continue;
        }
        let error = fails(expression);
        assert_eq!((error.kind, error.span), (kind, Span::new(at, len)), "{error}");
        assert!(error.message.contains(says), "{error}");
        assert_eq!(error.line, expression);
    }
}

#[test]
fn faults_in_groups_and_files_name_the_line() {
    let error = fails("a,@bad");
    assert_eq!(error.place.as_deref(), Some("@bad, line 2"));
    assert_eq!((error.line.as_str(), error.span), ("web2 web[3-1]", Span::new(9, 3)));
    assert!(fails("^xor").message.contains("not clear"));
    assert!(fails("^stdin").message.contains("command line only"));
}

#[test]
fn groups_that_refer_to_themselves_are_refused() {
    let error = fails("@loop");
    assert_eq!(error.kind, FaultKind::Source);
    assert!(error.message.contains("@loop -> @pool -> @loop"), "{error}");
}

#[test]
fn groups_can_be_deep_but_not_endless() {
    let mut sources = known();
    for n in 0..100 {
        // Each group names the next one twice. Without a cache this would be 2^100 reads.
        sources.groups.insert(format!("g{n}"), format!("@g{},@g{}", n + 1, n + 1));
    }
    sources.groups.insert("g100".into(), "x".into());
    assert_eq!(expand(&["@g90"], &mut sources).unwrap().hosts.len(), 1);
    assert_eq!(expand(&["@g0"], &mut sources).unwrap_err().kind, FaultKind::Limit);
}

#[test]
fn the_largest_expressions_are_quick() {
    let begin = std::time::Instant::now();
    let list: Vec<String> = (0..100_000).map(|n| format!("host{n}.example.com")).collect();
    let mut sources = Known { stdin: Some(list.join("\n")), ..Known::default() };
    assert_eq!(expand(&["-"], &mut sources).unwrap().hosts.len(), 100_000);
    assert_eq!(expand(&["web[1-100000]"], &mut sources).unwrap().hosts.len(), 100_000);
    let many = vec!["web[1-100000]"; 20].join(",");
    assert_eq!(expand(&[many], &mut sources).unwrap_err().kind, FaultKind::Limit);
    let mut two = Known { stdin: Some("a[1-99999],b[1-2]".into()), ..Known::default() };
    assert_eq!(expand(&["-"], &mut two).unwrap_err().kind, FaultKind::Limit);
    assert!(begin.elapsed().as_secs() < 20);
}

/// The processor time of this thread. A busy machine does not change it.
pub(crate) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name of the thread, in parentheses, may contain spaces.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    // Linux reports a hundred ticks per second to every program.
    Duration::from_millis(10 * ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>())
}

/// The time limit for an input in the build for tests, which is slower than the tool.
const ENOUGH: Duration = Duration::from_secs(3);

fn answered_in_time(what: &str, expression: &str, sources: &mut Known) -> Result<Expansion<Names>, ExprError> {
    let begin = processor_time();
    let answer = list(&[expression], sources);
    let took = processor_time() - begin;
    assert!(took < ENOUGH, "{what}: {took:?}");
    if let Ok(expansion) = &answer {
        assert!(expansion.hosts.bytes() <= MAX_BYTES && expansion.hosts.len() as u64 <= MAX_LISTED, "{what}");
    }
    answer
}

#[test]
fn a_short_text_that_names_very_much_is_answered_or_refused_in_time() {
    let file = (0..100_000).map(|n| format!("host{n}")).collect::<Vec<_>>().join("\n");
    let long = "x".repeat(240);
    let deep = |n: usize, hop: &str| vec![hop; n].join("/");
    let megabyte = |word: &str| word.repeat((1 << 20) / word.len());
    for (what, expression, limit) in [
        ("one file many times", vec!["^h"; 300].join(","), Some("doubles included")),
        ("one file many times as a set", vec!["^h"; 300].join("&"), Some("doubles included")),
        ("many differences", format!("a[1-100000]{}", "!b".repeat(1000)), None),
        ("very many differences", format!("a[1-1000000]{}", "!b".repeat(200_000)), None),
        ("many symmetric differences", format!("a[1-1000000]{}", "^b".repeat(200_000)), None),
        ("many intersections", format!("a[1-1000000]{}", "&a[1-2]".repeat(100_000)), None),
        ("many large intersections", format!("a[1-100000]{}", "&a[1-100000]".repeat(1000)), Some("doubles included")),
        ("long paths", format!("{}/h[1-100000]", deep(15, &long)), Some("67108864 bytes")),
        (
            "paths of numbers",
            (0..10).map(|n| format!("a{n}[1-100000]/{}", deep(15, "b"))).collect::<Vec<_>>().join(","),
            None,
        ),
        ("a long path that very many share", format!("{}/[1-999999]/k/l", deep(10, "a")), None),
        ("a path that branches", deep(16, "a[1-9]"), Some("at most 1000000")),
        ("a name of numbers", "[1-2]".repeat(1 << 17), Some("1024 pieces")),
        ("a name of braces", megabyte("{a}"), Some("1024 pieces")),
        ("a path of many hops", megabyte("a/"), Some("16 hops")),
        ("a list of names", megabyte("a,") + "a", None),
        ("a list of ranges", megabyte("[1-2],") + "a", None),
        ("a list of paths", megabyte("a/b/c/d/e/f/g/h/,") + "a", Some("")),
        ("a list of numbers", format!("h[{}1]", megabyte("1,")), None),
        ("brackets that do not end", megabyte("["), Some("")),
        ("one long name", megabyte("a"), Some("255 bytes")),
        ("many users", megabyte("a@") + "a", Some("255 bytes")),
        ("many colons", megabyte(":"), Some("")),
        ("blanks", megabyte(" ") + "a", None),
        ("carets", megabyte("^"), Some("")),
    ] {
        let mut sources = Known::default();
        sources.files.insert("h".into(), file.clone());
        let answer = answered_in_time(what, &expression, &mut sources);
        match (answer, limit) {
            (Ok(_), None) => {}
            (Err(error), Some(says)) => assert!(error.message.contains(says), "{what}: {}", error.message),
            (answer, limit) => panic!("{what}: {limit:?} {:?}", answer.map(|found| found.hosts.len())),
        }
        assert!(sources.asked.len() <= 1, "{what}");
        let mut sources = Known { stdin: Some(expression), ..sources };
        let _ = answered_in_time(what, "-", &mut sources);
    }
}

#[test]
fn files_are_bounded_together() {
    let mut sources = Known::default();
    let expression: Vec<String> = (0..100).map(|n| format!("^f{n}")).collect();
    for name in &expression {
        sources.files.insert(name[1..].into(), "#".repeat(1 << 20));
    }
    let error = answered_in_time("many files", &expression.join(","), &mut sources).unwrap_err();
    assert!(error.kind == FaultKind::Limit && error.message.contains("what was read before"), "{error}");
}

#[test]
fn a_million_hosts_are_listed_but_not_run_on() {
    let million = "h[1-1000000]";
    let names = answered_in_time("a million", million, &mut Known::default()).unwrap().hosts;
    assert_eq!((names.len(), names.text(999_999)), (1_000_000, "h1000000"));
    let without = answered_in_time("but one", "h[1-1000000]!h7", &mut Known::default()).unwrap().hosts;
    assert_eq!(without.len(), 999_999);
    let lines = (0..1_000_000).map(|n| format!("h{n}\n")).collect::<String>();
    let mut sources = Known { stdin: Some(lines), ..Known::default() };
    assert_eq!(answered_in_time("a file of a million", "-", &mut sources).unwrap().hosts.len(), 1_000_000);
    let error = answered_in_time("one too many", "h[0-1000000]", &mut Known::default()).unwrap_err();
    assert!(error.message.contains("at most 1000000"), "{error}");
    let error = expand(&[million], &mut Known::default()).unwrap_err();
    assert!(error.message.contains("at most 100000 "), "{error}");
}

/// How many mutated inputs are tried: a few, unless the environment variable sets another number.
fn mutations() -> usize {
    std::env::var("OFFSHOOT_TEST_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[test]
fn mutated_texts_are_answered_or_refused_in_time() {
    const SEEDS: [&str; 12] = [
        "web[01-40,50]!web[3-9/2]&^hosts,db1",
        "bastion/web[1-3]/sudo:root/docker:{registry/app:1}",
        "u1@[fe80::1%eth0]:22,deploy@web[1-9]:[2201-2209]",
        "@web/sudo,@all!@db^-",
        "a[1-100000]!a[1-99999]&a[0-999999999999999999]",
        "^hosts^^{my hosts},-",
        "local[1-3]/setns:lxc:c1,kubectl:pod",
        "web1 ansible_host=10.0.0.1\nweb2\n[db]\n",
        "[1-9][1-9][1-9][1-9][1-9][1-9]",
        "ssh://ann@web1:2222,CORP\\ann@web1",
        "{a b},{,},[::],[1:2],h[1,1,1,1]",
        "r[1-10]n[001-100]p[1-2],a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p",
    ];
    const PIECES: [&str; 24] = [
        ",",
        "!",
        "&",
        "^",
        "/",
        "[",
        "]",
        "{",
        "}",
        "-",
        ":",
        "@",
        "#",
        "\n",
        " ",
        "0",
        "9",
        "[1-99999]",
        "[1-999999]",
        "^hosts",
        "@all",
        "\u{202e}",
        "\0",
        "a[1-9]/",
    ];
    let seed = std::env::var("OFFSHOOT_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    let mut state = seed;
    // A generator by Marsaglia, so that a run can be repeated.
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut slowest = (Duration::ZERO, String::new());
    for nth in 0..mutations() {
        let mut text: Vec<char> = SEEDS[random(SEEDS.len())].chars().collect();
        for _ in 0..1 + random(8) {
            let (at, from) = (random(text.len() + 1), random(text.len() + 1));
            match random(5) {
                0 => drop(text.splice(at..at, PIECES[random(PIECES.len())].chars())),
                1 => drop(text.drain(at.min(from)..at.max(from))),
                2 => drop(text.splice(at..at, SEEDS[random(SEEDS.len())].chars())),
                3 => {
                    let part: Vec<char> = text[at.min(from)..at.max(from)].to_vec();
                    let times = 1 + random(50);
                    text.splice(at..at, part.repeat(times));
                }
                _ => text.truncate(at.max(1)),
            }
            text.truncate(1 << 20);
        }
        let text: String = text.into_iter().collect();
        let what = format!("text {nth} of seed {seed}");
        let mut sources = Known { stdin: Some(text.clone()), ..known() };
        for expression in [&text, "-"] {
            let begin = processor_time();
            if let Err(error) = answered_in_time(&what, expression, &mut sources) {
                assert!(error.to_string().len() < 4000, "{what}: {error}");
            }
            slowest = slowest.max((processor_time() - begin, what.clone()));
        }
    }
    eprintln!("the slowest was {} with {:?}", slowest.1, slowest.0);
}

#[test]
fn a_hop_that_is_called_almost_like_a_method_gives_a_note() {
    let notes = |text: &str| expand(&[text], &mut known()).unwrap().notes;
    assert_eq!(notes("web1/sodu"), ["sodu is read as a host of ssh; did you mean sudo? if not, write ssh:sodu"]);
    assert_eq!(notes("web[1-3]/sodu,web9/sodu/dokcer").len(), 2, "each is told once");
    assert_eq!(single("web1/sodu", &mut known()).unwrap().notes.len(), 1);
    for text in ["web1/sudo", "web1/ssh:sodu", "sodu", "web1/sodu:22", "web1/joe@sodu", "web1/{sodu}", "web1/web2"] {
        assert_eq!(notes(text), [""; 0], "{text}");
    }
    let mut sources = Known { stdin: Some("web1/sodu".into()), ..Known::default() };
    assert_eq!(expand(&["-"], &mut sources).unwrap().notes, [""; 0], "lists are written once and used often");
}

#[test]
fn one_host_is_one_host() {
    assert_eq!(single("bastion/web1", &mut known()).unwrap().hosts.text, "bastion/web1");
    let error = single("web[1-2]", &mut known()).unwrap_err();
    assert!(error.message.contains("not 2"), "{error}");
    assert_eq!(single("", &mut known()).unwrap_err().kind, FaultKind::Empty);
}

/// Texts that are often valid expressions.
fn likely_expression() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        Just("web".to_owned()),
        Just("[1-3]".to_owned()),
        Just("[01-10/3]".to_owned()),
        Just("{a/b:1}".to_owned()),
        Just("[::1]".to_owned()),
        Just("docker:".to_owned()),
        Just("sudo".to_owned()),
        Just("local".to_owned()),
        Just("@web".to_owned()),
        Just("u@".to_owned()),
        Just(":22".to_owned()),
        Just("^hosts".to_owned()),
        "[-,!&^/@:{}\\[\\] 0-9a-c]",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(atom, 0..12).prop_map(|atoms| atoms.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_every_fault_can_be_shown(text in likely_expression()) {
        match expand(&[&text], &mut known()) {
            Ok(expansion) => prop_assert!(!expansion.hosts.is_empty()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn bytes_of_any_kind_do_not_panic(text in any::<String>()) {
        let _ = expand(&[&text], &mut known());
        let mut sources = Known { stdin: Some(text), ..Known::default() };
        let _ = expand(&["-"], &mut sources);
    }

    #[test]
    fn the_text_of_a_host_is_that_host(text in likely_expression()) {
        if let Ok(expansion) = expand(&[&text], &mut known()) {
            for host in expansion.hosts {
                let again = single(&host.text, &mut Known::default()).map(|single| single.hosts);
                prop_assert_eq!(again.as_ref().map(|h| &h.hops), Ok(&host.hops), "{}", host.text);
                prop_assert_eq!(again.map(|h| h.text), Ok(host.text));
            }
        }
    }

    #[test]
    fn no_host_comes_twice_and_no_name_looks_like_an_option(text in likely_expression()) {
        if let Ok(expansion) = expand(&[&text], &mut known()) {
            let mut seen = HashSet::new();
            let mut names = HashSet::new();
            for host in &expansion.hosts {
                prop_assert!(seen.insert(host));
                prop_assert!(names.insert(&host.text));
                prop_assert!(!host.hops.is_empty());
                for hop in &host.hops {
                    prop_assert!(!hop.target.starts_with('-'));
                    prop_assert!(!hop.target.contains(char::is_control));
                }
            }
        }
    }

    #[test]
    fn operators_are_those_of_sets(
        a in prop::collection::btree_set(0..20_u8, 1..15),
        b in prop::collection::btree_set(0..20_u8, 1..15),
        c in prop::collection::btree_set(0..20_u8, 1..15),
    ) {
        let spell = |set: &BTreeSet<u8>| {
            set.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
        };
        let (x, y, z) = (spell(&a), spell(&b), spell(&c));
        let ab: BTreeSet<u8> = &a - &b;
        let wanted = [
            ("!&", &ab & &c),
            ("^!", &(&a ^ &b) - &c),
            ("&^", &(&a & &b) ^ &c),
        ];
        for (operators, wanted) in wanted {
            let (first, second) = operators.split_at(1);
            let expression = format!("h[{x}]{first}h[{y}]{second}h[{z}]");
            let got: BTreeSet<u8> = match expand(&[&expression], &mut known()) {
                Ok(expansion) => {
                    expansion.hosts.iter().map(|host| host.text[1..].parse().unwrap()).collect()
                }
                Err(error) => {
                    prop_assert_eq!(error.kind, FaultKind::Empty);
                    BTreeSet::new()
                }
            };
            prop_assert_eq!(got, wanted, "{}", expression);
        }
    }
}
