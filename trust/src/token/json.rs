//! JSON of which every reader makes the same: a key that is there twice is a fault, at any depth.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    List(Vec<Json>),
    Map(Map),
    /// Null, a truth value, a number below 0 or one with a fraction: nothing a token needs.
    Other,
    Text(String),
    Whole(u64),
}

pub(super) type Map = BTreeMap<String, Json>;

impl Json {
    /// An object and nothing behind it. The reader's own bound on depth (128) holds.
    pub(super) fn object(bytes: &[u8]) -> Result<Map, String> {
        match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
            Self::Map(map) => Ok(map),
            _ => Err("it is no object".into()),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = entries.next_entry::<String, Json>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(Json::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_in_which_no_key_is_there_twice_is_read() {
        let read = |text: &str| Json::object(text.as_bytes());
        let map = read(r#" {"a": "b", "c": [1, -1, 1.5, null, true], "d": {"a": {}}} "#).unwrap();
        assert_eq!(map["a"], Json::Text("b".into()));
        let mut list = vec![Json::Whole(1)];
        list.resize(5, Json::Other);
        assert_eq!(map["c"], Json::List(list));
        for (text, why) in [
            ("", "EOF"),
            ("[]", "no object"),
            ("{} {}", "trailing"),
            (r#"{"a": 1, "a": 1}"#, "twice"),
            (r#"{"a": {"b": 1, "b": 2}}"#, "twice"),
            (r#"{"a": [{"b": 1, "\u0062": 2}]}"#, "twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(200), "]".repeat(200));
        assert!(read(&deep).unwrap_err().contains("recursion"));
    }
}
