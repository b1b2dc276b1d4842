//! `-B` and `--diff`: the output of all hosts at the end, equal output once.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use crate::cli::hosts::fold::fold;
use crate::cli::output::diff;
use crate::cli::output::kept::{Kept, Output, Store};
use crate::cli::output::line::{Lines, MAX_LINE};
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
    /// Writes the output of these hosts, most hosts first. Each distinct output is in memory once.
    pub(crate) fn write(self, hosts: Vec<(String, Kept)>, store: &Store, out: &mut dyn Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        let mut groups = group(hosts, store)?;
        groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
        let mut groups = groups.into_iter();
        let Some(most) = groups.next() else { return Ok(()) };
        let (most_text, most_title) = (self.text(most.output), title(&most.hosts));
        if self.whole {
            block(&most_title, &most_text, &mut out)?;
        }
        for Group { hosts, output } in groups {
            let text = self.text(output);
            if self.diff {
                write!(out, "--- {most_title}\n+++ {}\n", title(&hosts))?;
                diff::write(&most_text, &text, &mut out)?;
            } else {
                block(&title(&hosts), &text, &mut out)?;
            }
        }
        out.flush()
    }

    /// The lines of both streams and of the result, each with a newline at its end.
    fn text(self, output: Output) -> Vec<u8> {
        let Output { stdout, stderr, result } = output;
        // The parts, and a newline behind each: a Vec that grows by itself takes twice that.
        let size = stdout.len() + result.len() + stderr.len() + 3;
        let mut all = Vec::new();
        for part in [stdout, result, stderr] {
            if all.is_empty() && self.is_shown_unchanged(&part) {
                // Much output is not copied.
                all = part;
                all.reserve_exact(size - all.len());
                if all.last().is_some_and(|last| *last != b'\n') {
                    all.push(b'\n');
                }
                continue;
            }
            let mut add = |bytes: &[u8]| {
                match self.visible {
                    true => visible::line(bytes, &mut all),
                    false => all.extend_from_slice(bytes),
                }
                all.push(b'\n');
            };
            let mut lines = Lines::new(!self.all_frames);
            lines.push(&part, |line| add(line.bytes));
            lines.finish(|line| add(line.bytes));
        }
        all
    }

    /// Whether each line is shown as it is.
    fn is_shown_unchanged(self, part: &[u8]) -> bool {
        let is_unchanged = |line: &[u8]| line.len() <= MAX_LINE && (self.all_frames || !line.contains(&b'\r'));
        !self.visible && part.split(|byte| *byte == b'\n').all(is_unchanged)
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
fn block(title: &str, text: &[u8], out: &mut impl Write) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    write!(out, "{RULE}\n{title}\n{RULE}\n")?;
    out.write_all(text)
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
    fn much_output_is_shown_without_a_copy_and_as_its_lines_are() {
        let plain = Output { stdout: b"a\n\nb".to_vec(), stderr: b"1%\r2%".to_vec(), result: b"[]".to_vec() };
        assert_eq!(ALL.text(plain), b"a\n\nb\n[]\n2%\n");
        let mut much = b"a\n".repeat(1 << 20);
        much.reserve_exact(3);
        let place = much.as_ptr();
        let text = ALL.text(Output { stdout: much, ..Output::default() });
        assert!(text.as_ptr() == place && text.len() == 2 << 20);
        let text = ALL.text(Output { stdout: vec![b'x'; 1000], stderr: vec![b'y'; 9], ..Output::default() });
        assert!(text.len() == 1011 && text.capacity() < 1100, "{}", text.capacity());
        let long = vec![b'x'; MAX_LINE + 1];
        let text = ALL.text(Output { stdout: long, ..Output::default() });
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 2, "a long line is in pieces");
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
