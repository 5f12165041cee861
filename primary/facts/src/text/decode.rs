//! From a tree to a typed object: every fault knows its line, and unknown fields are told.

use std::cell::RefCell;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess};
use serde::de::{IntoDeserializer, Visitor};

use super::fault::{Fault, Path};
use super::tree::{Node, Value};
use crate::limit;

#[derive(Debug)]
pub(crate) struct Decoded<T> {
    pub(crate) value: T,
    /// Fields that the type does not have, in the order of the text.
    pub(crate) unknown: Vec<Fault>,
}

pub(crate) fn decode<T: DeserializeOwned>(root: &Node) -> Result<Decoded<T>, Fault> {
    let unknown = RefCell::new(Vec::new());
    let value = T::deserialize(Place { node: root, path: &Path::Root, unknown: &unknown });
    let unknown = unknown.into_inner();
    match value {
        Ok(value) => Ok(Decoded { value, unknown }),
        Err(fault) => Err(misspelt(fault.placed(root.line, &Path::Root), &unknown)),
    }
}

/// A field that is missing is often there under another name.
fn misspelt(fault: Fault, unknown: &[Fault]) -> Fault {
    match unknown {
        [first, ..] if fault.cause.ends_with(" is missing") => {
            Fault::new(first.line, format!("unknown field {}, and {fault}", first.cause))
        }
        _ => fault,
    }
}

/// A node and the way to it.
#[derive(Clone, Copy)]
struct Place<'de, 'p> {
    node: &'de Node,
    path: &'p Path<'p>,
    unknown: &'p RefCell<Vec<Fault>>,
}

impl<'de> Place<'de, '_> {
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::List(items) => {
                let items = items.iter().enumerate();
                visitor.visit_seq(Items { items, list: self })
            }
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), next: None, map: self })
            }
            Value::Null => visitor.visit_unit(),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Unsigned(value) => visitor.visit_u64(*value),
        }
    }
}

impl<'de> Deserializer<'de> for Place<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor).map_err(|fault| fault.placed(self.node.line, self.path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.placed(self.node.line, self.path))
    }

    /// Only asked for where a type has no such field.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.len() < limit::UNKNOWN_FIELDS_TOLD_MAX {
            unknown.push(Fault::new(self.node.line, self.path.to_string()));
        }
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

struct Items<'de, 'p> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
    list: Place<'de, 'p>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let path = Path::Index(self.list.path, index);
        seed.deserialize(Place { node, path: &path, unknown: self.list.unknown }).map(Some)
    }
}

struct Entries<'de, 'p> {
    entries: std::slice::Iter<'de, (String, Node)>,
    next: Option<&'de (String, Node)>,
    map: Place<'de, 'p>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.next = self.entries.next();
        let Some((key, _)) = self.next else {
            return Ok(None);
        };
        let key: de::value::StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self.next.ok_or_else(|| de::Error::custom("a value without a key"))?;
        let path = Path::Key(self.map.path, key);
        seed.deserialize(Place { node, path: &path, unknown: self.map.unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;
    use k8s_openapi::api::core::v1::Service;

    #[test]
    fn a_wrong_type_is_told_with_its_line_and_path() {
        let text = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - port: eighty\n";
        let root = parse(text, 1).expect("it is YAML");
        let fault = decode::<Service>(&root).expect_err("eighty is no number");
        assert_eq!(fault.line, 5);
        assert_eq!(
            fault.cause,
            "spec.ports[0].port: expected a whole number, found string \"eighty\""
        );
    }

    #[test]
    fn unknown_fields_are_told_with_their_lines_and_the_rest_is_read() {
        let text = "kind: Service\nspec:\n  portz:\n  - port: 80\n  clusterIP: None\nextra: 1\n";
        let root = parse(text, 1).expect("it is YAML");
        let decoded = decode::<Service>(&root).expect("the rest is right");
        let unknown: Vec<_> =
            decoded.unknown.iter().map(|fault| (fault.line, fault.cause.as_str())).collect();
        assert_eq!(unknown, [(3, "spec.portz"), (6, "extra")]);
        let spec = decoded.value.spec.expect("a spec");
        assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    }
}
