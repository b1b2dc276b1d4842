//! Host expressions: which hosts a command is for.
//!
//! ```text
//! expression  = chain { "," chain }
//! chain       = operand { ("!" | "&" | "^") operand }      left to right
//! operand     = path | "^" FILE | "-"
//! path        = segment { "/" segment }
//! segment     = "@" GROUP | "@*" | WILDCARD | METHOD | [METHOD ":"] [USER "@"] TARGET [":" PORT]
//! ```
//!
//! A wildcard such as `web*` stands for the known hosts of that name, and `@*` for all of them.
//! Names may contain sets of numbers, `[01-40,50]` and `[1-9/2]`. Braces keep a name together:
//! `docker:{registry/app:1}`, `^{my hosts}`. In files and groups, white space separates words as a comma does,
//! and `#` begins a comment.

mod choice;
mod line;
mod misspelled;
mod namesake;
pub(crate) mod wildcard;

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

pub(crate) use self::choice::Choice;
pub(crate) use self::line::is_bare_host;
use self::line::{Line, ListSource, Place, file_name, without_comment, word_end};
use self::namesake::is_bare_child;
use crate::cli::hosts::expression_error::{ExprError, Fault, Span};
use crate::cli::hosts::foreign;
use crate::cli::hosts::hop::{Pattern, Segment};
use crate::cli::hosts::names::{MAX_BYTES, Names, Set};
use crate::cli::hosts::path::{HostPath, Method, hops_of_key};
use crate::cli::hosts::pattern::cut;
pub(crate) use crate::connect::host_path::MAX_HOPS;

/// Most hosts that a command is sent to. Each has an entry in the report, and in its turn a process of ssh.
pub(crate) const MAX_HOSTS: u64 = 100_000;
/// Most hosts that `offshoot hosts` writes out, counts or folds. It does so in half a second.
pub(crate) const MAX_LISTED: u64 = 1_000_000;
/// Most hosts that the words of an expression may name together, before duplicates are removed and operators
/// are applied. This bounds time and memory.
pub(crate) const MAX_NAMED: u64 = 1_500_000;
/// Longest expression, and longest text of a file or group, in bytes: enough for a million names of 30 bytes.
pub(crate) const MAX_TEXT: usize = 32 << 20;
/// Most notes that are kept. More notes would not help the user.
const MAX_NOTES: usize = 8;
/// Most characters of names that wildcards are compared with, which takes a second; and, if that is more, for each known host.
const MAX_COMPARED: u64 = 400_000_000;
const MAX_COMPARED_EACH: u64 = 1_000;
/// Most hops behind others that are compared with the names of methods, which takes some time.
const MAX_SUSPECTED: usize = 1_000;
/// How many levels deep groups and files may refer to each other.
pub(crate) const MAX_DEPTH: usize = 16;

/// Where the words of an expression come from if they are not written in it. Each source is read once, even if
/// it is named several times.
pub(crate) trait Sources {
    /// The text of a group: an expression, or a list of them. `None` if there is no such group. An error
    /// describes why the group cannot be read.
    fn group(&mut self, name: &str) -> Result<Option<String>, String>;
    /// The text of a file. An error describes why it cannot be read.
    fn file(&mut self, path: &str) -> Result<String, String>;
    /// The text of all known hosts, over which wildcards go. An error describes why they cannot be read.
    fn known(&mut self) -> Result<String, String>;
    /// What is known instead, if there is no group, or no known host, of a name.
    fn instead(&mut self, name: &str) -> String;
    /// All of stdin. An error describes why it cannot be read.
    fn stdin(&mut self) -> Result<String, String>;
}

/// What expressions stand for.
#[derive(Debug)]
pub(crate) struct Expansion<H = Vec<HostPath>> {
    /// The hosts, each once, in the order of the expression. Never empty.
    pub(crate) hosts: H,
    /// Notes for stderr about syntax that is allowed but probably a mistake.
    pub(crate) notes: Vec<String>,
}

/// The hosts that a command is for: at most [`MAX_HOSTS`]. Several expressions together stand for the hosts of
/// all of them.
///
/// # Errors
///
/// `FaultKind::Empty` if no host is left; otherwise what is wrong and where.
pub(crate) fn expand(choice: impl Into<Choice>, sources: &mut dyn Sources) -> Result<Expansion, ExprError> {
    let Expansion { hosts: names, notes } = evaluate(&choice.into(), sources, MAX_HOSTS)?;
    let host = |text: &str| read_back(text).map_err(|fault| ExprError::new(fault, text, None));
    Ok(Expansion { hosts: names.iter().map(host).collect::<Result<_, _>>()?, notes })
}

/// The names of the hosts that expressions stand for: at most [`MAX_LISTED`].
///
/// # Errors
///
/// As [`expand`].
pub(crate) fn list(choice: impl Into<Choice>, sources: &mut dyn Sources) -> Result<Expansion<Names>, ExprError> {
    evaluate(&choice.into(), sources, MAX_LISTED)
}

fn evaluate(choice: &Choice, sources: &mut dyn Sources, limit: u64) -> Result<Expansion<Names>, ExprError> {
    let mut hosts = Names::new(RandomState::default());
    let mut evaluator = Evaluator {
        sources,
        limit,
        empty: hosts.empty(),
        known: HashMap::new(),
        open: Vec::new(),
        read: 0,
        named: 0,
        bytes: 0,
        notes: Vec::new(),
        suspected: 0,
        compared: 0,
    };
    for text in &choice.expressions {
        let line = Line { text, place: None };
        evaluator.line(&line, &mut hosts)?;
    }
    hosts.once_each();
    let before = hosts.len();
    evaluator.exclude(&choice.excluded, &mut hosts)?;
    let notes = evaluator.notes;
    let whole = || choice.whole();
    if hosts.is_empty() {
        let whole = whole();
        let message = match before {
            0 if choice.expressions.iter().all(|text| text == "@failed") => {
                "no host matches `@failed`: no host of the last run has failed".into()
            }
            0 => format!("no host matches `{}`", shorten(&whole)),
            _ => format!("no host is left: -x takes away all that `{}` names", shorten(&whole)),
        };
        return Err(ExprError::new(Fault::empty(message), &whole, None));
    }
    let count = hosts.len() as u64;
    if count > limit {
        let whole = whole();
        let span = Span::new(0, whole.len());
        return Err(ExprError::new(too_many(count, limit, span), &whole, None));
    }
    if let Some(most) = choice.pick {
        hosts = hosts.only(&choice::picked(hosts.len(), most, &mut fastrand::Rng::new()));
    }
    Ok(Expansion { hosts, notes })
}

/// Reads a name, which is an expression, and returns its host.
pub(crate) fn read_back(text: &str) -> Result<HostPath, Fault> {
    let mut hops = Vec::new();
    for part in cut(text, 0, MAX_HOPS)? {
        if let Segment::Hop(method, pattern) = Segment::parse(part)? {
            hops.extend(pattern.hops(method)?.into_iter().map(|(_, hop)| hop));
        }
    }
    Ok(HostPath { text: text.to_owned(), hops })
}

/// Expands an expression that must stand for one host, such as the value of `--via`.
///
/// # Errors
///
/// As [`expand`], and if it stands for several hosts.
pub(crate) fn single(text: &str, sources: &mut dyn Sources) -> Result<Expansion<HostPath>, ExprError> {
    let Expansion { mut hosts, notes } = expand(&[text], sources)?;
    match hosts.pop() {
        Some(host) if hosts.is_empty() => Ok(Expansion { hosts: host, notes }),
        _ => {
            let span = Span::new(0, text.len());
            let message = format!("one host is wanted here, not {}", hosts.len() + 1);
            Err(ExprError::new(Fault::syntax(span, message), text, None))
        }
    }
}

struct Evaluator<'a> {
    sources: &'a mut dyn Sources,
    /// Most hosts in the result.
    limit: u64,
    /// The source of all lists of names, so that they can be compared.
    empty: Names,
    known: HashMap<ListSource, Rc<Names>>,
    /// The sources that are being read, the outermost first.
    open: Vec<ListSource>,
    /// Bytes that were read from files, groups and stdin.
    read: usize,
    /// Number of hosts that were written out. `bytes` is the length of their names.
    named: u64,
    bytes: usize,
    notes: Vec<String>,
    /// How many hops were compared with the names of methods.
    suspected: usize,
    /// How many characters wildcards were compared with.
    compared: u64,
}

impl Evaluator<'_> {
    /// Takes away the hosts of other expressions.
    fn exclude(&mut self, excluded: &[String], hosts: &mut Names) -> Result<(), ExprError> {
        if excluded.is_empty() {
            return Ok(());
        }
        let mut set = Set::new(hosts.split_off(0));
        for text in excluded {
            let mut others = self.empty.empty();
            self.line(&Line { text, place: None }, &mut others)?;
            let others = self.with_namesakes(others, &set)?;
            let before = set.len();
            set.subtract(&others);
            if before == set.len() && before > 0 && self.notes.len() < MAX_NOTES {
                self.notes.push(format!("-x {} takes nothing away", shorten(text)));
            }
        }
        set.append_to(hosts);
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>, hosts: &mut Names) -> Result<(), ExprError> {
        let whole = Span::new(0, line.text.len());
        if line.text.len() > MAX_TEXT {
            let message = format!("the expression is longer than {MAX_TEXT} bytes; divide it");
            return Err(line.error(Fault::limit(whole, message)));
        }
        let mut at = line.skip_blanks(0);
        if at == line.text.len() {
            return Ok(());
        }
        loop {
            at = self.chain(line, at, hosts)?;
            match line.next(at) {
                None => return Ok(()),
                Some(',') => {
                    at = line.skip_blanks(at + 1);
                    // A list in a file may have a line break after a comma.
                    if at == line.text.len() && line.is_list() {
                        return Ok(());
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Reads up to a comma or the end and adds the hosts to `hosts`. Returns where it stopped.
    fn chain(&mut self, line: &Line<'_>, start: usize, hosts: &mut Names) -> Result<usize, ExprError> {
        let before = hosts.len();
        let mut end = self.operand(line, start, hosts)?;
        // A set is needed for operators only.
        let mut set: Option<Set> = None;
        loop {
            let at = line.skip_blanks(end);
            let operator = match line.next(at) {
                None | Some(',') => {
                    set.into_iter().for_each(|set| set.append_to(hosts));
                    return Ok(at);
                }
                Some(c @ ('!' | '&' | '^')) => c,
                Some(_) if line.is_list() && at > end => {
                    set.into_iter().for_each(|set| set.append_to(hosts));
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
            let mut right = self.empty.empty();
            end = self.operand(line, behind, &mut right)?;
            let beside = match set.take() {
                Some(set) => set,
                None => {
                    let mut names = hosts.split_off(before);
                    if is_bare_child(&line.text[left.clone()]) {
                        names = self.with_namesakes(names, &Set::new(right.clone()))?;
                    }
                    Set::new(names)
                }
            };
            if is_bare_child(&line.text[behind..end]) {
                right = self.with_namesakes(right, &beside)?;
            }
            let set = set.insert(beside);
            match operator {
                '&' => set.intersect(&right),
                '^' => set.differ(right),
                _ => {
                    let before = set.len();
                    set.subtract(&right);
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

    /// Reads one operand and adds its hosts to `hosts`. Returns where it ends.
    fn operand(&mut self, line: &Line<'_>, at: usize, hosts: &mut Names) -> Result<usize, ExprError> {
        let fault = |len, message: &str| line.error(Fault::syntax(Span::new(at, len), message));
        match line.next(at) {
            None => Err(fault(0, "a host is missing at the end")),
            Some(c @ (',' | '!' | '&')) => Err(fault(1, &format!("a host is missing before `{c}`"))),
            Some('^') => {
                let (path, end) = file_name(line.text, at).map_err(|fault| line.error(fault))?;
                self.all_of(ListSource::File(path), line, Span::new(at, end - at), hosts)?;
                Ok(end)
            }
            Some(_) => {
                let end = word_end(line.text, at).map_err(|fault| line.error(fault))?;
                if line.text[at..end].ends_with(':')
                    && let Some(c @ ('!' | '&')) = line.next(end)
                {
                    let message = format!(
                        "`:{c}` is of Ansible's patterns; write `{c}` without the colon, and a group with an @, as in @web{c}@db"
                    );
                    return Err(line.error(Fault::syntax(Span::new(end - 1, 2), message)));
                }
                match &line.text[at..end] {
                    "-" if line.is_list() => {
                        return Err(fault(1, "stdin can be named on the command line only"));
                    }
                    "-" => self.all_of(ListSource::Stdin, line, Span::new(at, 1), hosts)?,
                    word => self.word(word, line, at, hosts)?,
                }
                Ok(end)
            }
        }
    }

    /// Adds the hosts of a source. Reading it has counted them. Each further use counts them again.
    fn all_of(&mut self, source: ListSource, line: &Line<'_>, span: Span, hosts: &mut Names) -> Result<(), ExprError> {
        let again = self.known.contains_key(&source);
        let all = self.source(source, line, span)?;
        let count = if again { all.len() as u64 } else { 0 };
        let taken = self.take(count, span).and_then(|()| self.take_bytes(all.bytes(), span));
        taken.map_err(|fault| line.error(fault))?;
        hosts.extend(&all);
        Ok(())
    }

    fn word(&mut self, word: &str, line: &Line<'_>, at: usize, hosts: &mut Names) -> Result<(), ExprError> {
        let span = Span::new(at, word.len());
        // In long lists, most words are plain names of ssh hosts.
        if is_bare_host(word) {
            let taken = self.take(1, span).and_then(|()| self.add(word, word, span, hosts));
            return taken.map_err(|fault| line.error(fault));
        }
        let mut segments = Vec::new();
        if wildcard::is_in(word) {
            for (segment, span) in wildcard::segments(word, at).map_err(|fault| line.error(fault))? {
                match segment {
                    wildcard::Segment::All => segments.push(Part::Paths(self.known(None, line, span)?)),
                    wildcard::Segment::AllOf(group) => {
                        let mut paths = self.empty.empty();
                        self.all_of(ListSource::Group(group.to_owned()), line, span, &mut paths)?;
                        segments.push(Part::Paths(paths));
                    }
                    wildcard::Segment::Wild(text) => segments.push(Part::Paths(self.known(Some(text), line, span)?)),
                    wildcard::Segment::Other(text) => self.parts(text, line, span.at, &mut segments)?,
                }
            }
        } else {
            self.parts(word, line, at, &mut segments)?;
        }
        if segments.len() > MAX_HOPS {
            return Err(line.error(too_many_hops(span)));
        }
        // The hosts are counted before any is written out, because a few characters can name very many.
        let count = segments.iter().map(Part::count).fold(1, u64::saturating_mul);
        self.take(count, span).map_err(|fault| line.error(fault))?;
        self.write_out(segments, span, hosts).map_err(|fault| line.error(fault))
    }

    /// Adds the parts of a word without wildcards.
    fn parts(&mut self, word: &str, line: &Line<'_>, at: usize, segments: &mut Vec<Part>) -> Result<(), ExprError> {
        let parts = cut(word, at, MAX_HOPS).map_err(|fault| line.error(fault))?;
        if parts.len() > MAX_HOPS {
            return Err(line.error(too_many_hops(Span::new(at, word.len()))));
        }
        for part in parts {
            let segment = Segment::parse(part).map_err(|fault| line.error(fault))?;
            segments.push(match segment {
                Segment::Hop(method, pattern) => {
                    if !segments.is_empty() && !line.is_list() {
                        self.suspect(&pattern);
                    }
                    Part::Hop(method, pattern)
                }
                Segment::Group(pattern) => Part::Paths(self.groups(&pattern, line)?),
            });
        }
        Ok(())
    }

    /// Notes that a hop behind another was probably meant as a method.
    fn suspect(&mut self, pattern: &Pattern) {
        if self.suspected < MAX_SUSPECTED && self.notes.len() < MAX_NOTES {
            self.suspected += 1;
            let note = misspelled::note(pattern).filter(|note| !self.notes.contains(note));
            self.notes.extend(note);
        }
    }

    /// The known hosts, or those with names of a pattern. An error if there is none.
    fn known(&mut self, pattern: Option<&str>, line: &Line<'_>, span: Span) -> Result<Names, ExprError> {
        let all = self.source(ListSource::Known, line, span)?;
        let mut found = self.empty.empty();
        let most = MAX_COMPARED.max(MAX_COMPARED_EACH * all.len() as u64);
        for nth in 0..all.len() {
            let (text, key) = (all.text(nth), all.key(nth));
            if self.compared > most {
                let message = format!("so many wildcards for {} known hosts take too long; use fewer", all.len());
                return Err(line.error(Fault::limit(span, message)));
            }
            if pattern.is_none_or(|pattern| wildcard::matches(pattern, text, &mut self.compared)) {
                self.add(text, key, span, &mut found).map_err(|fault| line.error(fault))?;
            }
        }
        if found.is_empty() {
            let pattern = pattern.unwrap_or("*");
            let message = format!("no known host matches `{}`; {}", shorten(pattern), self.sources.instead(pattern));
            return Err(line.error(Fault::empty(message)));
        }
        Ok(found)
    }

    /// Adds all paths: all combinations of one member of each part.
    fn write_out(&mut self, mut parts: Vec<Part>, span: Span, hosts: &mut Names) -> Result<(), Fault> {
        if let [Part::Hop(method, pattern)] = parts.as_slice() {
            return pattern.each(*method, |text, key| self.add(text, key, span, hosts));
        }
        let has_groups = parts.iter().any(|part| matches!(part, Part::Paths(_)));
        // The parts together are no longer than the whole text, so the same limit holds for them.
        let mut all = Vec::new();
        let mut bytes = 0;
        for part in parts.drain(..) {
            all.push(match part {
                Part::Paths(paths) => paths,
                Part::Hop(method, pattern) => {
                    let mut hops = self.empty.empty();
                    pattern.each(method, |text, key| {
                        hops.push(text, key);
                        over(bytes + hops.bytes(), span)
                    })?;
                    bytes += hops.bytes();
                    hops
                }
            });
        }
        if all.iter().any(Names::is_empty) {
            return Ok(());
        }
        let all = self.joined(all);
        let (mut text, mut key) = (String::new(), String::new());
        // For each part, its chosen member, and where it begins in `text` and in `key`.
        let mut chosen = vec![(0, 0, 0); all.len()];
        let mut changed = 0;
        loop {
            // What stands before the part that changed stays.
            let (_, text_len, key_len) = chosen[changed];
            text.truncate(text_len);
            key.truncate(key_len);
            for (names, (nth, text_len, key_len)) in all.iter().zip(&mut chosen).skip(changed) {
                (*text_len, *key_len) = (text.len(), key.len());
                if !text.is_empty() {
                    text.push('/');
                    key.push('/');
                }
                text.push_str(names.text(*nth));
                key.push_str(names.key(*nth));
            }
            if has_groups && hops_of_key(&key) > MAX_HOPS {
                return Err(too_many_hops(span));
            }
            self.add(&text, &key, span, hosts)?;
            let moved = chosen.iter_mut().zip(&all).rposition(|((nth, ..), names)| {
                *nth = (*nth + 1) % names.len();
                *nth > 0
            });
            match moved {
                Some(place) => changed = place,
                None => return Ok(()),
            }
        }
    }

    /// The same parts, but those side by side that have one member each are one part, so that a path of many hops
    /// takes no more time than a short one.
    fn joined(&self, all: Vec<Names>) -> Vec<Names> {
        let mut joined: Vec<Names> = Vec::new();
        for names in all {
            match joined.last_mut() {
                Some(last) if last.len() == 1 && names.len() == 1 => {
                    let mut both = self.empty.empty();
                    both.push(
                        &format!("{}/{}", last.text(0), names.text(0)),
                        &format!("{}/{}", last.key(0), names.key(0)),
                    );
                    *last = both;
                }
                _ => joined.push(names),
            }
        }
        joined
    }

    fn add(&mut self, text: &str, key: &str, span: Span, hosts: &mut Names) -> Result<(), Fault> {
        let bytes = if text == key { text.len() } else { text.len() + key.len() };
        self.take_bytes(bytes, span)?;
        hosts.push(text, key);
        Ok(())
    }

    /// The paths of all groups that a pattern stands for.
    fn groups(&mut self, pattern: &Pattern, line: &Line<'_>) -> Result<Names, ExprError> {
        let span = pattern.span;
        if pattern.count() > MAX_HOSTS {
            return Err(line.error(too_many(pattern.count(), MAX_HOSTS, span)));
        }
        let mut paths = self.empty.empty();
        for name in pattern.names() {
            self.all_of(ListSource::Group(name), line, span, &mut paths)?;
        }
        paths.once_each();
        Ok(paths)
    }

    /// Counts hosts before they are made.
    fn take(&mut self, count: u64, span: Span) -> Result<(), Fault> {
        if count > self.limit {
            return Err(too_many(count, self.limit, span));
        }
        self.named += count;
        if self.named > MAX_NAMED {
            let message = format!(
                "up to here the expression names more than {MAX_NAMED} hosts, doubles included; \
                 name each once, or divide the list"
            );
            return Err(Fault::limit(span, message));
        }
        Ok(())
    }

    /// Counts bytes of names before they are made.
    fn take_bytes(&mut self, bytes: usize, span: Span) -> Result<(), Fault> {
        self.bytes += bytes;
        over(self.bytes, span)
    }

    /// The hosts of a group, of a file or of stdin. `line` names it at `span`.
    fn source(&mut self, source: ListSource, line: &Line<'_>, span: Span) -> Result<Rc<Names>, ExprError> {
        if let Some(hosts) = self.known.get(&source) {
            return Ok(Rc::clone(hosts));
        }
        let fault = |message| line.error(Fault::source(span, message));
        if let Some(first) = self.open.iter().position(|open| *open == source) {
            let way: Vec<String> = self.open[first..].iter().map(ListSource::to_string).collect();
            return Err(fault(format!("{source} refers to itself: {} -> {source}", way.join(" -> "))));
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("groups and files refer to each other more than {MAX_DEPTH} deep");
            return Err(line.error(Fault::limit(span, message)));
        }
        let text = match &source {
            ListSource::Group(name) => match self.sources.group(name) {
                Ok(Some(text)) => Ok(text),
                Ok(None) => Err(format!("there is no group {source}; {}", self.sources.instead(name))),
                Err(why) => Err(format!("the group {source} cannot be read: {why}")),
            },
            ListSource::File(path) => self
                .sources
                .file(path)
                .map_err(|why| format!("the file `{}` cannot be read: {why}", path.escape_debug())),
            ListSource::Known => self.sources.known().map_err(|why| format!("the known hosts cannot be read: {why}")),
            ListSource::Stdin => self.sources.stdin().map_err(|why| format!("stdin cannot be read: {why}")),
        };
        let text = text.map_err(fault)?;
        self.read += text.len();
        if self.read > MAX_TEXT {
            let what = if text.len() > MAX_TEXT { "is" } else { "and what was read before it are" };
            let message = format!("{source} {what} longer than {MAX_TEXT} bytes; divide the list");
            return Err(line.error(Fault::limit(span, message)));
        }
        self.open.push(source.clone());
        let hosts = Rc::new(self.list(&text, &source)?);
        self.open.pop();
        self.known.insert(source, Rc::clone(&hosts));
        Ok(hosts)
    }

    fn list(&mut self, text: &str, source: &ListSource) -> Result<Names, ExprError> {
        let mut hosts = self.empty.empty();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let place = Some(Place { source, line: index + 1 });
            // In long lists, most lines are such a name.
            let word = line.trim_ascii();
            if is_bare_host(word) {
                let at = line.len() - line.trim_ascii_start().len();
                self.word(word, &Line { text: line, place }, at, &mut hosts)?;
                continue;
            }
            let line = Line { text: without_comment(line), place };
            if !matches!(source, ListSource::Group(_) | ListSource::Known) {
                foreign::recognise(line.text).map_err(|fault| line.error(fault))?;
            }
            self.line(&line, &mut hosts)?;
        }
        hosts.once_each();
        Ok(hosts)
    }
}

/// A segment whose groups have been read.
enum Part {
    Hop(Method, Pattern),
    Paths(Names),
}

impl Part {
    fn count(&self) -> u64 {
        match self {
            Self::Hop(_, pattern) => pattern.count(),
            Self::Paths(paths) => paths.len() as u64,
        }
    }
}

/// An error if the names have more bytes than allowed.
fn over(bytes: usize, span: Span) -> Result<(), Fault> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "up to here the names are more than {MAX_BYTES} bytes when written out; use shorter names, or divide the list"
    );
    Err(Fault::limit(span, message))
}

/// Makes an expression safe and short enough to be shown.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 100;
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str("...");
    }
    short
}

fn too_many(count: u64, limit: u64, span: Span) -> Fault {
    let count = match count {
        u64::MAX => "too many".to_owned(),
        count => count.to_string(),
    };
    Fault::limit(span, format!("this names {count} hosts; at most {limit} are taken at once; divide the list"))
}

fn too_many_hops(span: Span) -> Fault {
    Fault::limit(span, format!("a path has more than {MAX_HOPS} hops"))
}

#[cfg(test)]
pub(crate) mod tests;
