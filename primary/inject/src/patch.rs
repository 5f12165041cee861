//! A JSON patch (RFC 6902) in the making: only `add` and `replace`.

use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(crate) struct Patch(Vec<Value>);

impl Patch {
    pub(crate) fn add(&mut self, path: &str, value: Value) {
        self.0.push(json!({ "op": "add", "path": path, "value": value }));
    }

    pub(crate) fn replace(&mut self, path: &str, value: Value) {
        self.0.push(json!({ "op": "replace", "path": path, "value": value }));
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Array(self.0)
    }
}

/// One step of a path: slashes and tildes written as RFC 6901 wants it.
pub(crate) fn step(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
