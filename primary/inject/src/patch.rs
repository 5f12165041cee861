//! A JSON patch (RFC 6902) in the making: only `add` and `replace`.

use serde_json::{Map, Value};

#[derive(Debug, Default)]
pub(crate) struct Patch(Vec<Value>);

impl Patch {
    pub(crate) fn add(&mut self, path: &str, value: Value) {
        self.push("add", path, value);
    }

    pub(crate) fn replace(&mut self, path: &str, value: Value) {
        self.push("replace", path, value);
    }

    fn push(&mut self, op: &str, path: &str, value: Value) {
        let step = [("op", op.into()), ("path", path.into()), ("value", value)];
        let step = step.map(|(key, value)| (key.to_owned(), value));
        self.0.push(Value::Object(Map::from_iter(step)));
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Array(self.0)
    }
}

/// One step of a path: slashes and tildes written as RFC 6901 wants it.
pub(crate) fn step(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
