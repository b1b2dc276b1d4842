//! Host expressions: which hosts a command is for.
//!
//! ```text
//! expression  = chain { "," chain }
//! chain       = operand { ("!" | "&" | "^") operand }      left to right
//! operand     = path | "^" FILE | "-"
//! path        = segment { "/" segment }
//! segment     = "@" GROUP | METHOD | [METHOD ":"] [USER "@"] TARGET [":" PORT]
//! ```
//!
//! Names may hold numbers, `[01-40,50]` and `[1-9/2]`. Braces keep a name
//! together: `docker:{registry/app:1}`, `^{my hosts}`. In files and groups,
//! white space separates as a comma does, and `#` begins a comment.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use crate::cli::hosts::expression_error::{ExprError, Fault, Span};
use crate::cli::hosts::hop::{Pattern, Segment};
use crate::cli::hosts::path::{Hop, HostPath};
use crate::cli::hosts::pattern::{cut, enclosed};

/// Most hosts that one expression may stand for, and one word of it.
pub(crate) const MAX_HOSTS: u64 = 100_000;
/// Most hosts that the words of an expression may name together, before doubles
/// are taken out and operators applied.
pub(crate) const MAX_NAMED: u64 = 1_000_000;
/// Most hops of one path.
pub(crate) const MAX_HOPS: usize = 16;
/// Longest expression, and longest text of a file or group, in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;
/// Most notes that are kept; more would tell nobody anything.
const MAX_NOTES: usize = 8;
/// How deep groups and files may refer to each other.
pub(crate) const MAX_DEPTH: usize = 16;

/// Where the words of an expression come from that are not written in it. Each
/// is asked for once, however often it is named.
pub(crate) trait Sources {
    /// The text of a group: an expression, or a list of them. `None` if there
    /// is no such group. An error says why it cannot be had.
    fn group(&mut self, name: &str) -> Result<Option<String>, String>;
    /// The text of a file. An error says why it cannot be had.
    fn file(&mut self, path: &str) -> Result<String, String>;
    /// All of stdin. An error says why it cannot be had.
    fn stdin(&mut self) -> Result<String, String>;
}

/// What expressions stand for.
#[derive(Debug)]
pub(crate) struct Expansion {
    /// The hosts, each once, in the order of the expression. Never empty.
    pub(crate) hosts: Vec<HostPath>,
    /// What is allowed but probably not what was meant, for stderr.
    pub(crate) notes: Vec<String>,
}

/// Writes out expressions; together they stand for what any of them does.
///
/// # Errors
///
/// `FaultKind::Empty` if no host is left, else what is wrong and where.
pub(crate) fn expand<S: AsRef<str>>(expressions: &[S], sources: &mut dyn Sources) -> Result<Expansion, ExprError> {
    let mut evaluator = Evaluator { sources, known: HashMap::new(), open: Vec::new(), named: 0, notes: Vec::new() };
    let mut hosts = Vec::new();
    for text in expressions {
        let line = Line { text: text.as_ref(), place: None };
        hosts.append(&mut evaluator.line(&line)?);
    }
    let notes = evaluator.notes;
    once_each(&mut hosts);
    let whole = expressions.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
    if hosts.is_empty() {
        let message = format!("no host matches `{}`", shorten(&whole));
        return Err(ExprError::new(Fault::empty(message), &whole, None));
    }
    let count = hosts.len() as u64;
    if count > MAX_HOSTS {
        let span = Span::new(0, whole.len());
        return Err(ExprError::new(too_many(count, span), &whole, None));
    }
    Ok(Expansion { hosts, notes })
}

/// Writes out an expression that must stand for one host, such as `--via`.
///
/// # Errors
///
/// As [`expand`], and if it stands for several hosts.
pub(crate) fn single(text: &str, sources: &mut dyn Sources) -> Result<HostPath, ExprError> {
    let mut hosts = expand(&[text], sources)?.hosts;
    match hosts.pop() {
        Some(host) if hosts.is_empty() => Ok(host),
        _ => {
            let span = Span::new(0, text.len());
            let message = format!("one host is wanted here, not {}", hosts.len() + 1);
            Err(ExprError::new(Fault::syntax(span, message), text, None))
        }
    }
}

struct Evaluator<'a> {
    sources: &'a mut dyn Sources,
    known: HashMap<Source, Rc<Vec<HostPath>>>,
    /// What is being read, the outermost first.
    open: Vec<Source>,
    named: u64,
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Group(String),
    File(String),
    Stdin,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "@{}", name.escape_debug()),
            Self::File(path) => write!(f, "^{}", path.escape_debug()),
            Self::Stdin => f.write_str("stdin"),
        }
    }
}

/// A line and where it was read; `None` is the command line.
struct Line<'a> {
    text: &'a str,
    place: Option<String>,
}

impl Line<'_> {
    fn error(&self, fault: Fault) -> ExprError {
        ExprError::new(fault, self.text, self.place.clone())
    }

    /// In files and groups white space separates, as it does in any list.
    fn is_list(&self) -> bool {
        self.place.is_some()
    }

    fn next(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    fn skip_blanks(&self, at: usize) -> usize {
        self.text.len() - self.text[at..].trim_start().len()
    }
}

impl Evaluator<'_> {
    fn line(&mut self, line: &Line<'_>) -> Result<Vec<HostPath>, ExprError> {
        let whole = Span::new(0, line.text.len());
        if line.text.len() > MAX_TEXT {
            let message = format!("the expression is longer than {MAX_TEXT} bytes");
            return Err(line.error(Fault::limit(whole, message)));
        }
        let mut hosts = Vec::new();
        let mut at = line.skip_blanks(0);
        if at == line.text.len() {
            return Ok(hosts);
        }
        loop {
            at = self.chain(line, at, &mut hosts)?;
            match line.next(at) {
                None => return Ok(hosts),
                Some(',') => {
                    at = line.skip_blanks(at + 1);
                    // Lists in files may well be wrapped after a comma.
                    if at == line.text.len() && line.is_list() {
                        return Ok(hosts);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Reads up to a comma or the end and adds the hosts to `hosts`. Returns
    /// where it stopped.
    fn chain(&mut self, line: &Line<'_>, start: usize, hosts: &mut Vec<HostPath>) -> Result<usize, ExprError> {
        let (mut set, mut end) = self.operand(line, start)?;
        loop {
            let at = line.skip_blanks(end);
            let operator = match line.next(at) {
                None | Some(',') => {
                    hosts.append(&mut set);
                    return Ok(at);
                }
                Some(c @ ('!' | '&' | '^')) => c,
                Some(_) if line.is_list() && at > end => {
                    hosts.append(&mut set);
                    return Ok(at);
                }
                Some(_) => {
                    let message = "`,` is missing here; hosts are separated by commas, and sets combined by ! & ^";
                    return Err(line.error(Fault::syntax(Span::new(at, 1), message)));
                }
            };
            let behind = line.skip_blanks(at + 1);
            if operator == '^' && line.is_list() && at > end && behind == at + 1 {
                let message =
                    "it is not clear whether this is an operator or begins a file; write `a ^ b` or `a, ^file`";
                return Err(line.error(Fault::syntax(Span::new(at, 1), message)));
            }
            let left = start..end;
            let (right, after) = self.operand(line, behind)?;
            end = after;
            match operator {
                '&' => intersect(&mut set, &right),
                '^' => differ(&mut set, right),
                _ => {
                    let before = set.len();
                    subtract(&mut set, &right);
                    if before == set.len() && before > 0 && !right.is_empty() && !line.is_list() {
                        self.note(&line.text[left], &line.text[behind..end]);
                    }
                }
            }
        }
    }

    fn note(&mut self, left: &str, right: &str) {
        if self.notes.len() < MAX_NOTES {
            let (left, right) = (shorten(left), shorten(right));
            self.notes.push(format!(
                "`!{right}` takes nothing away from `{left}`; a comma binds last, so `a,b!c` takes c from b only"
            ));
        }
    }

    /// Reads one operand. Returns its hosts and where it ends.
    fn operand(&mut self, line: &Line<'_>, at: usize) -> Result<(Vec<HostPath>, usize), ExprError> {
        let fault = |len, message: &str| line.error(Fault::syntax(Span::new(at, len), message));
        match line.next(at) {
            None => Err(fault(0, "a host is missing at the end")),
            Some(c @ (',' | '!' | '&')) => Err(fault(1, &format!("a host is missing before `{c}`"))),
            Some('^') => {
                let (path, end) = file_name(line.text, at).map_err(|fault| line.error(fault))?;
                let span = Span::new(at, end - at);
                let hosts = self.source(Source::File(path), line, span)?;
                Ok((hosts.to_vec(), end))
            }
            Some(_) => {
                let end = word_end(line.text, at).map_err(|fault| line.error(fault))?;
                let word = &line.text[at..end];
                let hosts = match word {
                    "-" if line.is_list() => {
                        return Err(fault(1, "stdin can be named on the command line only"));
                    }
                    "-" => self.source(Source::Stdin, line, Span::new(at, 1))?.to_vec(),
                    word => self.word(word, line, at)?,
                };
                Ok((hosts, end))
            }
        }
    }

    fn word(&mut self, word: &str, line: &Line<'_>, at: usize) -> Result<Vec<HostPath>, ExprError> {
        let span = Span::new(at, word.len());
        let parts = cut(word, at).map_err(|fault| line.error(fault))?;
        if parts.len() > MAX_HOPS {
            return Err(line.error(too_many_hops(span)));
        }
        let mut segments = Vec::new();
        for part in parts {
            let segment = Segment::parse(part).map_err(|fault| line.error(fault))?;
            segments.push(match segment {
                Segment::Hop(method, pattern) => Part::Hop(method, pattern),
                Segment::Group(pattern) => Part::Paths(self.groups(&pattern, line)?),
            });
        }
        // Before anything is written out: a few characters can name very many.
        let count = segments.iter().map(Part::count).fold(1, u64::saturating_mul);
        self.take(count, span).map_err(|fault| line.error(fault))?;
        let mut hosts = vec![HostPath { text: String::new(), hops: Vec::new() }];
        for segment in segments {
            let paths = segment.paths().map_err(|fault| line.error(fault))?;
            hosts = product(&hosts, &paths);
            if hosts.iter().any(|host| host.hops.len() > MAX_HOPS) {
                return Err(line.error(too_many_hops(span)));
            }
        }
        Ok(hosts)
    }

    /// The paths of all the groups that a pattern stands for.
    fn groups(&mut self, pattern: &Pattern, line: &Line<'_>) -> Result<Vec<HostPath>, ExprError> {
        let span = pattern.span;
        if pattern.count() > MAX_HOSTS {
            return Err(line.error(too_many(pattern.count(), span)));
        }
        let mut paths = Vec::new();
        for name in pattern.names() {
            let members = self.source(Source::Group(name), line, span)?;
            self.take(members.len() as u64, span).map_err(|fault| line.error(fault))?;
            paths.extend(members.iter().cloned());
        }
        once_each(&mut paths);
        Ok(paths)
    }

    /// Counts hosts before they are made.
    fn take(&mut self, count: u64, span: Span) -> Result<(), Fault> {
        if count > MAX_HOSTS {
            return Err(too_many(count, span));
        }
        self.named += count;
        if self.named > MAX_NAMED {
            let message =
                format!("up to here the expression names more than {MAX_NAMED} hosts, doubles included; use fewer");
            return Err(Fault::limit(span, message));
        }
        Ok(())
    }

    /// The hosts of a group, of a file or of stdin, which `line` names at
    /// `span`.
    fn source(&mut self, source: Source, line: &Line<'_>, span: Span) -> Result<Rc<Vec<HostPath>>, ExprError> {
        if let Some(hosts) = self.known.get(&source) {
            return Ok(Rc::clone(hosts));
        }
        let fault = |message| line.error(Fault::source(span, message));
        if let Some(first) = self.open.iter().position(|open| *open == source) {
            let way: Vec<String> = self.open[first..].iter().map(Source::to_string).collect();
            return Err(fault(format!("{source} refers to itself: {} -> {source}", way.join(" -> "))));
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("groups and files refer to each other more than {MAX_DEPTH} deep");
            return Err(line.error(Fault::limit(span, message)));
        }
        let text = match &source {
            Source::Group(name) => match self.sources.group(name) {
                Ok(Some(text)) => Ok(text),
                Ok(None) => Err(format!("there is no group {source}; groups are those of the inventory")),
                Err(why) => Err(format!("the group {source} cannot be read: {why}")),
            },
            Source::File(path) => self
                .sources
                .file(path)
                .map_err(|why| format!("the file `{}` cannot be read: {why}", path.escape_debug())),
            Source::Stdin => self.sources.stdin().map_err(|why| format!("stdin cannot be read: {why}")),
        };
        let text = text.map_err(fault)?;
        if text.len() > MAX_TEXT {
            let message = format!("{source} is longer than {MAX_TEXT} bytes");
            return Err(line.error(Fault::limit(span, message)));
        }
        self.open.push(source.clone());
        let hosts = self.list(&text, &source)?;
        self.open.pop();
        let hosts = Rc::new(hosts);
        self.known.insert(source, Rc::clone(&hosts));
        Ok(hosts)
    }

    fn list(&mut self, text: &str, source: &Source) -> Result<Vec<HostPath>, ExprError> {
        let mut hosts = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let place = Some(format!("{source}, line {}", index + 1));
            let line = Line { text: without_comment(line), place };
            hosts.append(&mut self.line(&line)?);
        }
        once_each(&mut hosts);
        Ok(hosts)
    }
}

/// A segment whose groups have been read.
enum Part {
    Hop(crate::cli::hosts::path::Method, Pattern),
    Paths(Vec<HostPath>),
}

impl Part {
    fn count(&self) -> u64 {
        match self {
            Self::Hop(_, pattern) => pattern.count(),
            Self::Paths(paths) => paths.len() as u64,
        }
    }

    fn paths(self) -> Result<Vec<HostPath>, Fault> {
        let path = |(text, hop): (String, Hop)| HostPath { text, hops: vec![hop] };
        match self {
            Self::Hop(method, pattern) => Ok(pattern.hops(method)?.into_iter().map(path).collect()),
            Self::Paths(paths) => Ok(paths),
        }
    }
}

/// Every path of `left` followed by every one of `right`.
fn product(left: &[HostPath], right: &[HostPath]) -> Vec<HostPath> {
    let mut all = Vec::with_capacity(left.len() * right.len());
    for first in left {
        for second in right {
            let mut text = first.text.clone();
            if !text.is_empty() {
                text.push('/');
            }
            text.push_str(&second.text);
            let hops = first.hops.iter().chain(&second.hops).cloned().collect();
            all.push(HostPath { text, hops });
        }
    }
    all
}

fn intersect(left: &mut Vec<HostPath>, right: &[HostPath]) {
    let right: HashSet<&HostPath> = right.iter().collect();
    left.retain(|host| right.contains(host));
}

fn subtract(left: &mut Vec<HostPath>, right: &[HostPath]) {
    let right: HashSet<&HostPath> = right.iter().collect();
    left.retain(|host| !right.contains(host));
}

/// Leaves what only one of them has.
fn differ(left: &mut Vec<HostPath>, mut right: Vec<HostPath>) {
    let both = right.clone();
    subtract(&mut right, left);
    subtract(left, &both);
    left.append(&mut right);
}

fn once_each(hosts: &mut Vec<HostPath>) {
    let keep: Vec<bool> = {
        let mut seen = HashSet::new();
        hosts.iter().map(|host| seen.insert(host)).collect()
    };
    let mut keep = keep.into_iter();
    hosts.retain(|_| keep.next().unwrap_or(false));
}

/// Where the word that begins at `at` ends.
fn word_end(text: &str, mut at: usize) -> Result<usize, Fault> {
    while let Some(c) = text[at..].chars().next() {
        match c {
            ',' | '!' | '&' | '^' => break,
            c if c.is_whitespace() => break,
            '[' | '{' => at += enclosed(&text[at..], at)?.len() + 2,
            c => at += c.len_utf8(),
        }
    }
    Ok(at)
}

/// The name of the file after the `^` at `at`, and where it ends.
fn file_name(text: &str, at: usize) -> Result<(String, usize), Fault> {
    let rest = &text[at + 1..];
    let (name, end) = if rest.starts_with('{') {
        let name = enclosed(rest, at + 1)?;
        (name, at + 1 + name.len() + 2)
    } else {
        let is_end = |c: char| matches!(c, ',' | '!' | '&' | '^') || c.is_whitespace();
        let name = rest.split(is_end).next().unwrap_or(rest);
        (name, at + 1 + name.len())
    };
    if name.is_empty() {
        let message = "the name of a file is missing after `^`, as in ^hosts.txt";
        return Err(Fault::syntax(Span::new(at, 1), message));
    }
    Ok((name.to_owned(), end))
}

/// An expression that is safe and short enough to be shown.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 100;
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str("...");
    }
    short
}

/// A comment begins with a `#` at the start of a word.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut blank = true;
    for (at, c) in line.char_indices() {
        match c {
            '#' if blank && !quoted => return &line[..at],
            '{' => quoted = true,
            '}' => quoted = false,
            _ => {}
        }
        blank = c.is_whitespace();
    }
    line
}

fn too_many(count: u64, span: Span) -> Fault {
    let count = match count {
        u64::MAX => "too many".to_owned(),
        count => count.to_string(),
    };
    Fault::limit(span, format!("this names {count} hosts; at most {MAX_HOSTS} are taken at once"))
}

fn too_many_hops(span: Span) -> Fault {
    Fault::limit(span, format!("a path has more than {MAX_HOPS} hops"))
}

#[cfg(test)]
mod tests;
