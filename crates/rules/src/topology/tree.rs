//! A YAML document as a tree whose nodes have their places in the file.
//!
//! The alternative would be to deserialize the settings directly with `serde-saphyr`, which parses
//! the text here. serde stops at the first mistake; with a tree, [`super::decode`] can continue
//! after it, and the checks can point at names that serde does not keep.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Options, Spanned};

use super::problem::{Code, Problem, Span};
use super::syntax;

/// A node and its place in the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The id, unique in its tree.
    pub(super) id: usize,
    pub(super) span: Span,
    /// A scalar as written: `1.50` is read as the number 1.5 for a number field, and as the text
    /// `1.50` for a text field.
    pub(super) raw: String,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A stand-in of any type for a value that is missing or wrong.
    StandIn,
}

/// The node that replaces a missing or wrong one.
pub(super) static STAND_IN: Node = Node {
    id: usize::MAX,
    span: Span::STAND_IN,
    raw: String::new(),
    value: Value::StandIn,
};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        &self.key.raw
    }
}

impl Node {
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.name() == name)?;
        Some(&entry.value)
    }

    /// Returns a description for people: `the list`, `the number 3`.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null | Value::StandIn => "nothing".to_owned(),
            Value::Bool(flag) => format!("`{flag}`"),
            Value::Whole(_) | Value::Real(_) => format!("the number {}", self.raw),
            Value::Text(text) if text.chars().count() > 40 => "a text".to_owned(),
            Value::Text(text) => format!("the text `{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// The readable part of a file, and the problems of the rest.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) problems: Vec<Problem>,
    /// Sections with broken syntax: they are in the file, but not in the tree.
    pub(super) broken: Vec<String>,
}

/// Reads the whole file or, if its syntax is broken, each top-level section separately, so that one
/// slip does not hide mistakes elsewhere.
pub(super) fn parse(text: &str) -> Parsed {
    let mut problems = Vec::new();
    let mut broken = Vec::new();
    let mut root = match parse_text(text) {
        Ok(root) => root,
        Err(error @ serde_saphyr::Error::MultipleDocuments { .. }) => {
            problems.push(syntax::problem(&error, text));
            // The first document is still checked; sections that only the others contain do not
            // count as missing.
            let end = syntax::second_document(text).map_or(text.len(), |span| span.start);
            let others = sections(&text[end..]).into_iter();
            broken.extend(others.map(|(name, _)| name.to_owned()));
            parse_text(&text[..end]).unwrap_or_else(|_| nothing())
        }
        Err(error) => {
            let (root, names) = parse_sections(text, &error, &mut problems);
            broken = names;
            root
        }
    };
    settle(&mut root, text, &mut 0, &mut problems);
    Parsed {
        root,
        problems,
        broken,
    }
}

fn parse_text(text: &str) -> Result<Node, serde_saphyr::Error> {
    let options: Options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    let raw: Spanned<Value> = serde_saphyr::from_str_with_options(text, options)?;
    Ok(node(raw))
}

/// Parses every section separately, with the others blanked out so that positions remain correct.
fn parse_sections(
    text: &str,
    whole: &serde_saphyr::Error,
    problems: &mut Vec<Problem>,
) -> (Node, Vec<String>) {
    let mut entries = Vec::new();
    let mut broken = Vec::new();
    let mut told = HashSet::new();
    for (name, range) in sections(text) {
        let alone: String = text
            .char_indices()
            .map(|(at, c)| {
                if range.contains(&at) || c == '\n' {
                    c.to_string()
                } else {
                    " ".repeat(c.len_utf8())
                }
            })
            .collect();
        match parse_text(&alone) {
            Ok(root) => entries.extend_from_slice(root.entries()),
            // The anchor is in another section, so it is not a mistake of the file.
            Err(serde_saphyr::Error::UnknownAnchor { .. }) => broken.push(name.to_owned()),
            Err(error) => {
                broken.push(name.to_owned());
                let header = text[range.clone()].lines().next().unwrap_or_default();
                let problem = if header.contains(':') {
                    syntax::problem(&error, text)
                } else {
                    syntax::name_alone(Span {
                        start: range.start,
                        len: header.trim_end().len(),
                    })
                };
                told.insert(problem.span.start);
                problems.push(problem);
            }
        }
    }
    if told.is_empty() {
        problems.push(syntax::problem(whole, text));
    }
    let root = Node {
        value: Value::Map(entries),
        ..nothing()
    };
    (root, broken)
}

/// Returns an empty document.
fn nothing() -> Node {
    Node {
        id: 0,
        span: Span::default(),
        raw: String::new(),
        value: Value::Map(Vec::new()),
    }
}

/// Returns the top-level keys with their byte ranges. A name without its `:`, or after a stray byte
/// order mark, is included: its section is broken, not missing.
fn sections(text: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let mut starts: Vec<(&str, usize)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let named = line.trim_start_matches('\u{feff}').trim_end();
        let name = named.split(':').next().unwrap_or_default();
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_name) {
            starts.push((name, at));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((name, start), end)| (*name, *start..end))
        .collect()
}

/// Numbers the nodes, converts plain keys to text, and reports duplicate keys.
fn settle(node: &mut Node, text: &str, next: &mut usize, problems: &mut Vec<Problem>) {
    node.id = *next;
    *next += 1;
    trim(&mut node.span, text);
    node.raw = match &node.value {
        Value::Text(written) => written.clone(),
        Value::Bool(_) | Value::Whole(_) | Value::Real(_) => text
            .get(node.span.start..node.span.start + node.span.len)
            .unwrap_or_default()
            .to_owned(),
        Value::Null | Value::List(_) | Value::Map(_) | Value::StandIn => String::new(),
    };
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                settle(item, text, next, problems);
            }
        }
        Value::Map(entries) => {
            let mut seen: Vec<(String, Span)> = Vec::new();
            entries.retain_mut(|entry| {
                settle(&mut entry.key, text, next, problems);
                entry.key.value = Value::Text(entry.key.raw.clone());
                settle(&mut entry.value, text, next, problems);
                if matches!(entry.value.value, Value::Map(_) | Value::List(_)) {
                    entry.value.span = entry.key.span;
                }
                let name = entry.name().to_owned();
                if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                    problems.push(
                        Problem::new(entry.key.span, format!("`{name}` stands twice"))
                            .code(Code::DuplicateField)
                            .also(*first, "first here")
                            .help("keep one of the two"),
                    );
                    return false;
                }
                seen.push((name, entry.key.span));
                true
            });
        }
        _ => {}
    }
}

/// Removes white space and comments from the end of a span, and limits it to one line.
fn trim(span: &mut Span, text: &str) {
    let Some(covered) = text.get(span.start..span.start + span.len) else {
        return;
    };
    let line = covered.lines().next().unwrap_or_default();
    span.len = line.trim_end().len();
}

fn node(raw: Spanned<Value>) -> Node {
    let place = if raw.defined == Location::UNKNOWN {
        raw.referenced
    } else {
        raw.defined
    };
    let span = place.span();
    let whole = |n: Option<u64>| usize::try_from(n.unwrap_or(0)).unwrap_or(0);
    Node {
        id: 0,
        span: Span {
            start: whole(span.byte_offset()),
            len: whole(span.byte_len()),
        },
        raw: String::new(),
        value: raw.value,
    }
}

impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Bool(flag))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Whole(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Whole(number.into()))
            }
            fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
                Ok(Value::Whole(number))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Real(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Value>>()? {
                    items.push(node(item));
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<Value>>()? {
                    let value = map.next_value::<Spanned<Value>>()?;
                    entries.push(Entry {
                        key: node(key),
                        value: node(value),
                    });
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}
