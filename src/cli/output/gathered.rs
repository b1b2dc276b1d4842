//! `-B` and `--diff`: the output of all hosts at the end, equal output once.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use crate::cli::hosts::fold::fold;
use crate::cli::output::diff;
use crate::cli::output::kept::{Kept, Output, Store};
use crate::cli::output::line::Lines;
use crate::cli::output::visible;

const RULE: &str = "---------------";

/// What is shown of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gathering {
    /// All of it, not only what differs.
    pub(crate) whole: bool,
    /// Of output that differs from that of most hosts, only the difference.
    pub(crate) diff: bool,
    /// Whether terminal escapes are made visible.
    pub(crate) visible: bool,
    pub(crate) all_frames: bool,
}

/// Hosts with the same output.
struct Group {
    hosts: Vec<String>,
    output: Output,
}

impl Gathering {
    /// Writes the output of these hosts, most hosts first.
    pub(crate) fn write(self, hosts: Vec<(String, Kept)>, store: &Store, out: &mut dyn Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        let mut groups = group(hosts, store)?;
        groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
        let mut groups = groups.into_iter();
        let Some(most) = groups.next() else { return Ok(()) };
        let (most_lines, most_title) = (self.lines(&most.output), title(&most.hosts));
        if self.whole {
            block(&most_title, &most_lines, &mut out)?;
        }
        for group in groups {
            let lines = self.lines(&group.output);
            if self.diff {
                write!(out, "--- {most_title}\n+++ {}\n", title(&group.hosts))?;
                diff::write(&most_lines, &lines, &mut out)?;
            } else {
                block(&title(&group.hosts), &lines, &mut out)?;
            }
        }
        out.flush()
    }

    /// The lines of both streams and of the result.
    fn lines(self, output: &Output) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for part in [&output.stdout, &output.result, &output.stderr] {
            let mut lines = Lines::new(!self.all_frames);
            let mut add = |bytes: &[u8]| {
                let mut shown = Vec::new();
                match self.visible {
                    true => visible::line(bytes, &mut shown),
                    false => shown.extend_from_slice(bytes),
                }
                all.push(shown);
            };
            lines.push(part, |line| add(line.bytes));
            lines.finish(|line| add(line.bytes));
        }
        all
    }
}

/// Joins hosts with the same output, in the order of their first hosts.
fn group(hosts: Vec<(String, Kept)>, store: &Store) -> io::Result<Vec<Group>> {
    let mut places: HashMap<Output, usize> = HashMap::new();
    let mut names: Vec<Vec<String>> = Vec::new();
    for (host, kept) in hosts {
        let place = *places.entry(kept.read(store)?).or_insert_with(|| {
            names.push(Vec::new());
            names.len() - 1
        });
        names[place].push(host);
    }
    let mut outputs: Vec<(usize, Output)> = places.into_iter().map(|(output, place)| (place, output)).collect();
    outputs.sort_by_key(|(place, _)| *place);
    Ok(names.into_iter().zip(outputs).map(|(hosts, (_, output))| Group { hosts, output }).collect())
}

fn title(hosts: &[String]) -> String {
    match hosts.len() {
        1 => fold(hosts),
        count => format!("{} ({count})", fold(hosts)),
    }
}

/// Hosts without output are not shown.
fn block(title: &str, lines: &[Vec<u8>], out: &mut impl Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    write!(out, "{RULE}\n{title}\n{RULE}\n")?;
    for line in lines {
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::report::Stream;

    fn gathered(gathering: Gathering, hosts: &[(&str, &str, &str)]) -> String {
        let mut store = Store::default();
        let kept = hosts.iter().map(|(host, stdout, stderr)| {
            let mut kept = Kept::default();
            kept.push(Stream::Stdout, stdout.as_bytes(), &mut store);
            kept.push(Stream::Stderr, stderr.as_bytes(), &mut store);
            ((*host).to_owned(), kept)
        });
        let (kept, mut out) = (kept.collect(), Vec::new());
        gathering.write(kept, &store, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const ALL: Gathering = Gathering { whole: true, diff: false, visible: false, all_frames: false };
    const HOSTS: [(&str, &str, &str); 5] = [
        ("db1", "odd\nb\n", ""),
        ("web1", "a\nb\n", ""),
        ("web2", "a\nb\n", ""),
        ("web3", "", "e\x1b"),
        ("web4", "", ""),
    ];

    #[test]
    fn equal_output_is_shown_once_with_its_hosts() {
        let rule = "---------------\n";
        assert_eq!(
            gathered(ALL, &HOSTS),
            format!("{rule}web[1-2] (2)\n{rule}a\nb\n{rule}db1\n{rule}odd\nb\n{rule}web3\n{rule}e\x1b\n")
        );
        assert!(gathered(Gathering { visible: true, ..ALL }, &HOSTS).ends_with("\ne\\u{1b}\n"));
        assert_eq!(gathered(ALL, &[]), "");
        assert_eq!(gathered(ALL, &[("a", "", ""), ("b", "", "")]), "");
        assert!(gathered(ALL, &[("a", "1%\r2%\n", "")]).ends_with("\n2%\n"));
    }

    #[test]
    fn the_odd_ones_are_shown_by_their_difference() {
        let odd = "--- web[1-2] (2)\n+++ db1\n@@ -1,2 +1,2 @@\n-a\n+odd\n b\n";
        let shown = gathered(Gathering { diff: true, ..ALL }, &HOSTS[..3]);
        assert!(
            shown.starts_with("---------------\nweb[1-2] (2)") && shown.ends_with(&format!("\na\nb\n{odd}")),
            "{shown}"
        );
        assert_eq!(gathered(Gathering { whole: false, diff: true, ..ALL }, &HOSTS[..3]), odd);
        assert_eq!(gathered(Gathering { whole: false, diff: true, ..ALL }, &HOSTS[1..3]), "");
    }
}
