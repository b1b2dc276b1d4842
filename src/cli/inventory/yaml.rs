//! Reads YAML.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};

use crate::cli::inventory::node::{Entry, Node};

/// How deep mappings and lists may stand in each other. Groups of groups take three levels each.
const MAX_NESTING: usize = 96;
/// Most entries of mappings with merge keys, each counted once for each of its keys. Aliases of aliases multiply.
const MAX_MERGED: usize = 1_000_000;

/// Reads a document. Further documents are an error.
///
/// # Errors
///
/// What is wrong, with the line.
pub(crate) fn parse(text: &str) -> Result<Node, String> {
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_NESTING;
    options.block_nesting_limit = MAX_NESTING;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        builder.take(event, line as u32).map_err(|why| format!("line {line}: {why}"))?;
    }
    Ok(builder.document.map_or(Node::Null, Rc::unwrap_or_clone))
}

/// A collection that is not complete yet.
enum Open {
    List(Vec<Rc<Node>>),
    /// With the key whose value comes next.
    Map(Vec<Entry>, Option<(String, u32)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, Rc<Node>>,
    document: Option<Rc<Node>>,
    merged: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(text.into_owned(), style, tag.as_deref());
                self.complete(Rc::new(node), anchor, line)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Open::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(Open::Map(Vec::new(), None), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor)) = self.open.pop() else { return Ok(()) };
                let node = match open {
                    Open::List(list) => Node::List(list),
                    Open::Map(entries, _) => Node::Map(entries),
                };
                self.complete(Rc::new(node), anchor, line)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or("an alias refers to what contains it, or to nothing")?;
                self.complete(node, 0, line)
            }
            Event::DocumentStart(..) if self.document.is_some() => {
                Err("a second document begins here; an inventory is one document".into())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, anchor: usize) -> Result<(), String> {
        if let Some((Open::Map(_, None), _)) = self.open.last() {
            return Err("a mapping or list cannot be a key here".into());
        }
        self.open.push((open, anchor));
        Ok(())
    }

    fn complete(&mut self, node: Rc<Node>, anchor: usize, line: u32) -> Result<(), String> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            None => self.document = Some(node),
            Some((Open::List(list), _)) => list.push(node),
            Some((Open::Map(entries, key), _)) => match (key.take(), node.as_ref()) {
                (Some((name, _)), value) if name == MERGE => {
                    merge(entries, value)?;
                    self.merged += entries.len();
                    if self.merged > MAX_MERGED {
                        return Err(format!("merge keys make more than {MAX_MERGED} entries"));
                    }
                }
                (Some((key, line)), _) => entries.push(Entry { key, value: node, line }),
                (None, Node::Scalar(text)) => *key = Some((text.clone(), line)),
                (None, Node::Null) => *key = Some((String::new(), line)),
                (None, _) => return Err("a mapping or list cannot be a key here".into()),
            },
        }
        Ok(())
    }
}

const MERGE: &str = "<<";

/// Adds the entries of a mapping, or of a list of mappings, in front of the entries that are written out.
fn merge(entries: &mut Vec<Entry>, value: &Node) -> Result<(), String> {
    let add = |node: &Node, entries: &mut Vec<Entry>| match node {
        Node::Map(more) if more.len() + entries.len() <= MAX_MERGED => {
            entries.splice(..0, more.iter().cloned());
            Ok(())
        }
        Node::Map(_) => Err(format!("a merge key brings in more than {MAX_MERGED} entries")),
        other => Err(format!("`<<` takes a mapping, not {}", other.kind())),
    };
    match value {
        // The first of them wins, so it stands last.
        Node::List(list) if list.len() <= MAX_NESTING => list.iter().try_for_each(|node| add(node, entries)),
        node => add(node, entries),
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let is_vault =
        tag.is_some_and(|tag| tag.to_string().ends_with("vault") || tag.to_string().ends_with("vault-encrypted"));
    let is_null =
        style == ScalarStyle::Plain && tag.is_none() && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    match (is_vault, is_null) {
        (true, _) => Node::Vault,
        (_, true) => Node::Null,
        _ => Node::Scalar(text),
    }
}
