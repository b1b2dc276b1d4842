//! The difference between two texts, by lines.

use std::io::{self, Write};

/// Lines around a difference that are shown, too.
const CONTEXT: usize = 2;
/// Most lines that are shown of one difference.
const MAX_SHOWN: usize = 200;
/// Most pairs of lines that are compared, so that memory is bounded (4 bytes each) and it takes well below a second.
/// Texts that differ in more are shown as replaced.
const MAX_PAIRS: usize = 4_000_000;

/// A line of both texts or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a [u8]),
    Removed(&'a [u8]),
    Added(&'a [u8]),
}

/// Writes what has to be changed in `from` to get `to`, in the unified format, without the names of the texts.
pub(crate) fn write(from: &[Vec<u8>], to: &[Vec<u8>], out: &mut dyn Write) -> io::Result<()> {
    let edits = edits(from, to);
    let (mut old, mut new, mut shown) = (1, 1, 0);
    let mut at = 0;
    while at < edits.len() {
        let Some(first) = edits[at..].iter().position(|edit| !matches!(edit, Edit::Same(_))) else { return Ok(()) };
        let begin = (at + first).saturating_sub(CONTEXT).max(at);
        (old, new) = (old + begin - at, new + begin - at);
        let end = end_of_hunk(&edits, at + first);
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

fn edits<'a>(from: &'a [Vec<u8>], to: &'a [Vec<u8>]) -> Vec<Edit<'a>> {
    let same = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (a, b) = (&from[same..], &to[same..]);
    let same_end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b, end) = (&a[..a.len() - same_end], &b[..b.len() - same_end], &a[a.len() - same_end..]);
    let mut edits: Vec<Edit<'a>> = from[..same].iter().map(|line| Edit::Same(line)).collect();
    if a.len().saturating_mul(b.len()) > MAX_PAIRS {
        edits.extend(a.iter().map(|line| Edit::Removed(line)));
        edits.extend(b.iter().map(|line| Edit::Added(line)));
    } else {
        middle(a, b, &mut edits);
    }
    edits.extend(end.iter().map(|line| Edit::Same(line)));
    edits
}

/// Keeps as many lines as possible.
fn middle<'a>(a: &'a [Vec<u8>], b: &'a [Vec<u8>], edits: &mut Vec<Edit<'a>>) {
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
            edits.push(Edit::Same(&a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            edits.push(Edit::Removed(&a[i]));
            i += 1;
        } else {
            edits.push(Edit::Added(&b[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn diff(from: &str, to: &str) -> String {
        let mut out = Vec::new();
        write(&lines(from), &lines(to), &mut out).unwrap();
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

    proptest! {
        #[test]
        fn the_edits_make_one_text_of_the_other(from in "([ab] ){0,12}", to in "([abc] ){0,12}") {
            let (from, to) = (lines(&from), lines(&to));
            let edits = edits(&from, &to);
            let side = |wanted: fn(&Edit<'_>) -> bool| -> Vec<Vec<u8>> {
                edits.iter().filter(|edit| wanted(edit)).map(|edit| match edit {
                    Edit::Same(line) | Edit::Removed(line) | Edit::Added(line) => line.to_vec(),
                }).collect()
            };
            prop_assert_eq!(&side(|edit| !matches!(edit, Edit::Added(_))), &from);
            prop_assert_eq!(&side(|edit| !matches!(edit, Edit::Removed(_))), &to);
        }
    }
}
