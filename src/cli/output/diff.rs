//! The difference between two texts, by lines.

use std::io::{self, Write};

/// Lines around a difference that are shown, too.
const CONTEXT: usize = 2;
/// Most lines that are shown of one difference.
const MAX_SHOWN: usize = 200;
/// Most pairs of lines that are compared, so that memory is bounded (4 bytes each) and it takes well below a second.
/// Texts that differ in more are shown as replaced.
const MAX_PAIRS: usize = 4_000_000;
/// Most bytes of both texts that are compared by lines, without what both have at their beginning and at their end.
/// A line may be one byte, and takes 40 bytes more here. Of longer texts, only the first difference is shown.
const MAX_COMPARED: usize = 1 << 20;
/// Most bytes of a line that are shown of such texts.
const MAX_FIRST: usize = 1000;

/// A line of both texts or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a [u8]),
    Removed(&'a [u8]),
    Added(&'a [u8]),
}

/// Writes what has to be changed in `from` to get `to`, in the unified format, without the names of the texts. In both
/// texts, each line ends with a newline.
pub(crate) fn write(from: &[u8], to: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let same = Same::of(from, to);
    let (a, b) = (&from[same.begin..from.len() - same.end], &to[same.begin..to.len() - same.end]);
    let mut before: Vec<&[u8]> = lines(&from[..same.begin]).rev().take(CONTEXT).collect();
    before.reverse();
    let first = 1 + newlines(&from[..same.begin]) - before.len();
    if a.len() + b.len() > MAX_COMPARED {
        return begin_of_difference(first + before.len(), a, b, out);
    }
    let mut edits: Vec<Edit<'_>> = before.into_iter().map(Edit::Same).collect();
    different(&lines(a).collect::<Vec<_>>(), &lines(b).collect::<Vec<_>>(), &mut edits);
    edits.extend(lines(&from[from.len() - same.end..]).take(CONTEXT).map(Edit::Same));
    hunks(&edits, first, out)
}

/// How many bytes two texts have in common at their beginning and at their end: whole lines.
struct Same {
    begin: usize,
    end: usize,
}

impl Same {
    fn of(from: &[u8], to: &[u8]) -> Self {
        let equal = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let begin = from[..equal].iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (a, b) = (&from[begin..], &to[begin..]);
        let equal = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
        let is_begin = |text: &[u8]| text.len() == equal || text[text.len() - equal - 1] == b'\n';
        let end = match is_begin(a) && is_begin(b) {
            true => equal,
            // The first of these lines is equal at its end only.
            false => {
                let end = &a[a.len() - equal..];
                end.iter().position(|byte| *byte == b'\n').map_or(0, |first| equal - first - 1)
            }
        };
        Self { begin, end }
    }
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// The lines of a text, without their newlines.
fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// Says where two texts begin to differ.
fn begin_of_difference(line: usize, a: &[u8], b: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "@@ -{line} +{line} @@")?;
    for (sign, text) in [(b"-", a), (b"+", b)] {
        if let Some(line) = lines(text).next() {
            out.write_all(sign)?;
            out.write_all(&line[..line.len().min(MAX_FIRST)])?;
            out.write_all(if line.len() > MAX_FIRST { b" [cut; the line goes on]\n" } else { b"\n" })?;
        }
    }
    let [old, new] = [a, b].map(newlines);
    writeln!(
        out,
        "[too long to be compared by lines: beginning with line {line}, {old} lines differ from {new} lines; --outdir \
         keeps each output in a file]"
    )
}

/// Writes edits as hunks. The first of them is in this line of both texts.
fn hunks(edits: &[Edit<'_>], first: usize, out: &mut dyn Write) -> io::Result<()> {
    let (mut old, mut new, mut shown) = (first, first, 0);
    let mut at = 0;
    while at < edits.len() {
        let Some(first) = edits[at..].iter().position(|edit| !matches!(edit, Edit::Same(_))) else { return Ok(()) };
        let begin = (at + first).saturating_sub(CONTEXT).max(at);
        (old, new) = (old + begin - at, new + begin - at);
        let end = end_of_hunk(edits, at + first);
        let hunk = &edits[begin..end];
        let olds = hunk.iter().filter(|edit| !matches!(edit, Edit::Added(_))).count();
        let news = hunk.iter().filter(|edit| !matches!(edit, Edit::Removed(_))).count();
        writeln!(out, "@@ -{} +{} @@", range(old, olds), range(new, news))?;
        for edit in hunk {
            if shown == MAX_SHOWN {
                let left = edits[at..].iter().filter(|edit| !matches!(edit, Edit::Same(_))).count();
                return writeln!(out, "[cut; at most {left} more lines differ]");
            }
            let (sign, line) = match edit {
                Edit::Same(line) => (b" ", line),
                Edit::Removed(line) => (b"-", line),
                Edit::Added(line) => (b"+", line),
            };
            out.write_all(sign)?;
            out.write_all(line)?;
            out.write_all(b"\n")?;
            shown += 1;
        }
        (old, new, at) = (old + olds, new + news, end);
    }
    Ok(())
}

/// The first line and the number of lines, as `diff -u` has them.
fn range(begin: usize, lines: usize) -> String {
    match lines {
        0 => format!("{},0", begin - 1),
        1 => begin.to_string(),
        _ => format!("{begin},{lines}"),
    }
}

/// Where the hunk ends that has the difference at `first`: differences with few lines between them are in one.
fn end_of_hunk(edits: &[Edit<'_>], first: usize) -> usize {
    let mut last = first;
    for (at, edit) in edits.iter().enumerate().skip(first) {
        match edit {
            Edit::Same(_) if at - last > 2 * CONTEXT => break,
            Edit::Same(_) => {}
            _ => last = at,
        }
    }
    (last + 1 + CONTEXT).min(edits.len())
}

/// Adds the edits of lines that differ at their beginning and at their end.
fn different<'a>(a: &[&'a [u8]], b: &[&'a [u8]], edits: &mut Vec<Edit<'a>>) {
    if a.len().saturating_mul(b.len()) > MAX_PAIRS {
        edits.extend(a.iter().map(|line| Edit::Removed(line)));
        edits.extend(b.iter().map(|line| Edit::Added(line)));
    } else {
        middle(a, b, edits);
    }
}

/// Keeps as many lines as possible.
fn middle<'a>(a: &[&'a [u8]], b: &[&'a [u8]], edits: &mut Vec<Edit<'a>>) {
    let width = b.len() + 1;
    // How many lines the ends of both texts from these lines on can have in common.
    let mut common = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = match a[i] == b[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            edits.push(Edit::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            edits.push(Edit::Removed(a[i]));
            i += 1;
        } else {
            edits.push(Edit::Added(b[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(words: &str) -> Vec<u8> {
        words.split_whitespace().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
    }

    fn diff(from: &str, to: &str) -> String {
        let mut out = Vec::new();
        write(&text(from), &text(to), &mut out).unwrap();
        String::from_utf8(out).unwrap().replace('\n', "|")
    }

    #[test]
    fn differences_are_shown_with_some_lines_around_them() {
        assert_eq!(diff("a b c", "a b c"), "");
        assert_eq!(diff("a b c d e f g", "a b c X e f g"), "@@ -2,5 +2,5 @@| b| c|-d|+X| e| f|");
        assert_eq!(diff("", "a"), "@@ -0,0 +1 @@|+a|");
        assert_eq!(diff("a", ""), "@@ -1 +0,0 @@|-a|");
        assert_eq!(
            diff("1 2 3 4 5 6 7 8 9", "1 X 3 4 5 6 7 8"),
            "@@ -1,4 +1,4 @@| 1|-2|+X| 3| 4|@@ -7,3 +7,2 @@| 7| 8|-9|"
        );
    }

    #[test]
    fn a_long_difference_is_cut() {
        let many = |n| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let shown = diff("", &many(1000));
        assert!(shown.ends_with("|+199|[cut; at most 1000 more lines differ]|"), "{shown}");
        // Too many to be compared line by line.
        let (a, b) = (format!("a {}", many(3000)), format!("{} b", many(3000)));
        assert!(diff(&a, &b).starts_with("@@ -1,3001 +1,3001 @@|-a|-0|"));
    }

    #[test]
    fn of_texts_that_are_too_long_the_first_difference_is_shown() {
        let many = |word: &str| format!("{word} ").repeat(MAX_COMPARED / 2);
        let shown = diff(&format!("same {} end", many("a")), &format!("same {} end", many("b")));
        assert!(
            shown.starts_with("@@ -2 +2 @@|-a|+b|[too long to be compared by lines: beginning with line 2,"),
            "{shown}"
        );
        assert!(shown.contains("524288 lines differ from 524288 lines;") && shown.ends_with("in a file]|"), "{shown}");
        let shown = diff("a", &"x".repeat(MAX_COMPARED));
        assert!(shown.contains("x [cut; the line goes on]|[too long") && shown.len() < 2 * MAX_FIRST, "{shown}");
        // What is equal is not counted.
        let same = many("a");
        let shown = diff(&format!("{same} {same}"), &format!("{same} X {same}"));
        assert_eq!(shown, "@@ -524287,4 +524287,5 @@| a| a|+X| a| a|");
    }

    /// Applies a difference that shows all lines.
    fn applied(from: &[u8], difference: &[u8]) -> Vec<u8> {
        let (mut rest, mut at, mut made) = (lines(from), 1, Vec::new());
        let add = |line: &[u8], made: &mut Vec<u8>| made.extend([line, b"\n"].concat());
        for line in lines(difference) {
            let (sign, body) = line.split_at(1);
            match sign {
                b"@" => {
                    let range = std::str::from_utf8(line).unwrap().split([' ', '-']).nth(2).unwrap();
                    let (begin, count) = range.split_once(',').unwrap_or((range, "1"));
                    let begin = begin.parse::<usize>().unwrap() + usize::from(count == "0");
                    for _ in at..begin {
                        add(rest.next().unwrap(), &mut made);
                    }
                    at = begin;
                }
                b"+" => add(body, &mut made),
                sign => {
                    assert_eq!(rest.next().unwrap(), body);
                    at += 1;
                    if sign == b" " {
                        add(body, &mut made);
                    }
                }
            }
        }
        rest.for_each(|line| add(line, &mut made));
        made
    }

    proptest! {
        #[test]
        fn the_difference_makes_one_text_of_the_other(from in "([ab]{1,2} ){0,16}", to in "([ab]{1,2} ){0,16}") {
            let (from, to) = (text(&from), text(&to));
            let mut out = Vec::new();
            write(&from, &to, &mut out).unwrap();
            prop_assert_eq!(applied(&from, &out), to);
        }
    }
}
