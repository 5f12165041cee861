//! A document as a tree that knows the line of everything.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};
use zeroize::Zeroize;

use super::fault::{Fault, Step};
use crate::limit;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Of its key, where it has one.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Float(f64),
    Int(i64),
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<(String, Node)>),
    Null,
    Text(String),
    Unsigned(u64),
}

/// Parses one document whose first line is line `first_line` of its file.
pub(crate) fn parse(text: &str, first_line: u32) -> Result<Node, Fault> {
    if text.len() > limit::DOCUMENT_BYTES_MAX {
        let cause = format!(
            "the document has {} bytes, at most {} are read",
            text.len(),
            limit::DOCUMENT_BYTES_MAX
        );
        return Err(Fault::new(first_line, cause));
    }
    let parsed: Result<Spanned<Value>, _> = serde_saphyr::from_str_with_options(text, options());
    match parsed {
        Ok(value) => {
            let mut root = Node::from(value);
            root.shift(first_line.saturating_sub(1));
            root.line = root.line.max(first_line);
            Ok(root)
        }
        Err(error) => {
            let line = error.location().map_or(1, |place| line_of(place.line()));
            let line = first_line.saturating_sub(1).saturating_add(line.max(1));
            Err(Fault::new(line, in_short(&error)))
        }
    }
}

fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_depth: limit::DEPTH_MAX,
        flow_nesting_limit: limit::DEPTH_MAX,
        max_nodes: limit::NODES_PER_DOCUMENT_MAX,
        max_events: limit::NODES_PER_DOCUMENT_MAX * 2,
        max_documents: 1,
        max_total_scalar_bytes: limit::DOCUMENT_BYTES_MAX,
    };
    let mut options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = limit::ALIAS_NODES_MAX;
    options
}

/// The parser's message without the place, which is told apart.
fn in_short(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::AliasError { error, .. } => return in_short(error),
        Error::AliasReplayLimitExceeded { .. } => {
            return format!("aliases repeat more than {} values", limit::ALIAS_NODES_MAX);
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            let key = crate::names::short(key);
            return format!("the key {key:?} is there twice");
        }
        _ => {}
    }
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default().trim();
    let end = [" at line ", ", line ", " (line "].iter().filter_map(|mark| text.find(mark)).min();
    text[..end.unwrap_or(text.len())].chars().take(limit::QUOTE_BYTES_MAX).collect()
}

pub(super) fn line_of(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { line: line_of(spanned.referenced.line()), value: spanned.value }
    }
}

impl Node {
    pub(super) fn shift(&mut self, lines: u32) {
        self.line = self.line.saturating_add(lines);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| item.shift(lines)),
            _ => {}
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Overwrites every text in it, for it may have been a secret.
    pub(crate) fn wipe(&mut self) {
        match &mut self.value {
            Value::Text(text) => text.zeroize(),
            Value::List(items) => items.iter_mut().for_each(Self::wipe),
            Value::Map(entries) => {
                for (key, node) in entries {
                    key.zeroize();
                    node.wipe();
                }
            }
            Value::Bool(_) | Value::Float(_) | Value::Int(_) | Value::Null | Value::Unsigned(_) => {
            }
        }
    }

    /// The line of a field, or of the last step towards it that is there.
    pub(crate) fn line_at(&self, field: &[Step]) -> u32 {
        let Some((first, rest)) = field.split_first() else {
            return self.line;
        };
        let next = match (first, &self.value) {
            (Step::Key(key), _) => self.get(key),
            (Step::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        };
        next.map_or(self.line, |node| node.line_at(rest))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(Node::from(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node = Node::from(entries.next_value::<Spanned<Value>>()?);
            let line = match line_of(key.referenced.line()) {
                0 => node.line,
                line => line,
            };
            map.push((key.value, Node { line, value: node.value }));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::at;

    #[test]
    fn every_key_and_item_knows_its_line() {
        let text = "---\na: 1\nb:\n  c:\n    - x\n    -\n      d: true\n  e: 'two'\n";
        let root = parse(text, 10).expect("it is YAML");
        assert_eq!(root.line_at(&at!["a"]), 11);
        assert_eq!(root.line_at(&at!["b"]), 12);
        assert_eq!(root.line_at(&at!["b", "c"]), 13);
        assert_eq!(root.line_at(&at!["b", "c", 0usize]), 14);
        assert_eq!(root.line_at(&at!["b", "c", 1usize, "d"]), 16);
        assert_eq!(root.line_at(&at!["b", "e"]), 17);
        assert_eq!(root.line_at(&at!["b", "missing", "x"]), 12);
    }

    #[test]
    fn scalars_have_the_type_that_yaml_1_2_gives_them() {
        let text = "[1, -1, 1.5, true, yes, 'true', ~, null, None, text, \"\", 08]";
        let Value::List(items) = parse(text, 1).expect("it is YAML").value else {
            panic!("not a list");
        };
        let text = |t: &str| Value::Text(t.into());
        let expected = [
            Value::Unsigned(1),
            Value::Int(-1),
            Value::Float(1.5),
            Value::Bool(true),
            text("yes"),
            text("true"),
            Value::Null,
            Value::Null,
            text("None"),
            text("text"),
            text(""),
        ];
        let found: Vec<_> = items.into_iter().map(|item| item.value).collect();
        assert_eq!(found[..expected.len()], expected);
    }

    fn cause(text: &str) -> (u32, String) {
        let fault = parse(text, 5).expect_err("it must be refused");
        (fault.line, fault.cause)
    }

    #[test]
    fn a_document_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        let fill = |bytes: usize| format!("a: {}", "x".repeat(bytes - 3));
        assert!(parse(&fill(limit::DOCUMENT_BYTES_MAX), 1).is_ok());
        let (line, text) = cause(&fill(limit::DOCUMENT_BYTES_MAX + 1));
        assert_eq!(line, 5);
        assert!(text.contains("at most"), "{text}");
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(limit::DEPTH_MAX), 1).is_ok());
        assert!(parse(&nested(limit::DEPTH_MAX + 1), 1).is_err());
        assert!(parse(&nested(100_000), 1).is_err());
    }

    #[test]
    fn a12_an_alias_bomb_is_cut_off() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..10 {
            let part = format!("*a{},", i - 1).repeat(10);
            bomb.push_str(&format!("a{i}: &a{i} [{part}]\n"));
        }
        assert!(parse(&bomb, 1).is_err());
    }
}
