//! YAML for people to review and for API servers to read: block style, nothing that two parsers
//! could take for different things.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// These first, for they say what a thing is; the rest by name.
const FIRST: [&str; 6] = ["apiVersion", "kind", "metadata", "name", "namespace", "labels"];

/// What some version of YAML takes for something else than a text.
const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// One document for each object.
pub fn to_yaml(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{}", document(object))).collect()
}

/// One document, without the line that begins it.
pub(crate) fn document(object: &Value) -> String {
    let mut out = String::new();
    match object {
        Value::Object(map) if !map.is_empty() => put_map(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => put_list(&mut out, list, 0),
        other => put_scalar(&mut out, other, 0),
    }
    out
}

fn put_map(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, key) in ordered(map).into_iter().enumerate() {
        // The first stands where the caller is, behind a hyphen perhaps.
        if index > 0 {
            pad(out, indent);
        }
        out.push_str(&text(key));
        out.push(':');
        put_value(out, &map[key], indent);
    }
}

/// After a key's colon.
fn put_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            pad(out, indent + 2);
            put_map(out, map, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            pad(out, indent);
            put_list(out, list, indent);
        }
        scalar => {
            out.push(' ');
            put_scalar(out, scalar, indent + 2);
        }
    }
}

fn put_list(out: &mut String, list: &[Value], indent: usize) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => put_map(out, map, indent + 2),
            Value::Array(list) if !list.is_empty() => put_list(out, list, indent + 2),
            scalar => put_scalar(out, scalar, indent + 2),
        }
    }
}

fn put_scalar(out: &mut String, scalar: &Value, indent: usize) {
    match scalar {
        Value::String(said) if is_block(said) => put_block(out, said, indent),
        Value::String(said) => out.push_str(&text(said)),
        // Empty maps and lists as well: `{}`, `[]`.
        other => {
            let _ = write!(out, "{other}");
        }
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

fn put_block(out: &mut String, said: &str, indent: usize) {
    out.push_str(if said.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in said.lines() {
        if !line.is_empty() {
            pad(out, indent);
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// Several lines, of which a block says exactly what they are.
fn is_block(said: &str) -> bool {
    let is_clear =
        |line: &str| line.trim_end() == line && line.chars().all(|c| matches!(c, ' '..='~'));
    said.trim_end_matches('\n').contains('\n')
        && !said.starts_with([' ', '\n'])
        && !said.ends_with("\n\n")
        && said.split('\n').all(is_clear)
}

fn pad(out: &mut String, spaces: usize) {
    out.extend(std::iter::repeat_n(' ', spaces));
}

fn ordered(map: &Map<String, Value>) -> Vec<&String> {
    let mut keys: Vec<&String> = map.keys().collect();
    let place = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    keys.sort_by_key(|key| (place(key), *key));
    keys
}

/// Bare where no parser could take it for anything else, else quoted, in ASCII: some of what is
/// beyond it is a line's end to one parser and refused by another.
fn text(said: &str) -> String {
    if is_plain(said) {
        return said.to_owned();
    }
    let mut quoted = String::from('"');
    for c in said.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            ' '..='~' => write!(quoted, "{c}"),
            c if u32::from(c) <= 0xffff => write!(quoted, "\\u{:04x}", u32::from(c)),
            c => write!(quoted, "\\U{:08x}", u32::from(c)),
        };
    }
    quoted.push('"');
    quoted
}

fn is_plain(said: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./@%+-=:$()*,".contains(c);
    let is_option = said.strip_prefix("--").is_some_and(begins_with_letter);
    (begins_with_letter(said) || said.starts_with('/') || is_option)
        && said.chars().all(inner)
        && !said.ends_with(':')
        && !RESERVED.iter().any(|word| said.eq_ignore_ascii_case(word))
}

fn begins_with_letter(said: &str) -> bool {
    said.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_say_what_a_thing_is_first() {
        let object = json!({
            "spec": {"list": [1, {"b": true, "name": "x", "a": {}}, ["in"], []], "empty": {}},
            "metadata": {"namespace": "n", "name": "y", "annotations": {"a/b": ""}},
            "kind": "Thing", "apiVersion": "v1",
        });
        let expected = "---
apiVersion: v1
kind: Thing
metadata:
  name: \"y\"
  namespace: \"n\"
  annotations:
    a/b: \"\"
spec:
  empty: {}
  list:
  - 1
  - name: x
    a: {}
    b: true
  - - in
  - []
";
        assert_eq!(to_yaml(&[object]), expected);
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn whatever_is_written_is_read_back_the_same() {
        let texts = [
            "",
            " ",
            "a",
            "ab",
            "yes",
            "No",
            "on",
            "null",
            "~",
            "true",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "12:30",
            "-1",
            "- a",
            "--flag=*:1",
            "---",
            "--- a",
            "...",
            "a: b",
            "a:",
            "a:b",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "{a}",
            "[a]",
            "a\tb",
            "a\nb",
            "a\nb\n",
            "a\n\nb\n",
            "a\n\n",
            "\na",
            " a\nb",
            "a \nb",
            "a\r\nb",
            "a\n b\n",
            "\u{1b}[2J",
            "\u{7f}",
            "é",
            "\u{2028}",
            "\u{feff}a",
            "\u{85}",
            "\u{1f600}",
            "quote\"s",
            "it's",
            "back\\slash",
            "=",
            "<<",
            "$(POD_NAME)",
            "2026-01-01",
            ".inf",
            "/a/b",
            "a,b",
            "infinity",
            "NaN",
            "?",
            "? a",
            "|",
            ">",
            "a\0b",
        ];
        for said in texts {
            for value in
                [json!({"key": said}), json!([said]), json!({said: [{said: said}]}), json!(said)]
            {
                let written = document(&value);
                let read: Value = serde_saphyr::from_str(&written)
                    .unwrap_or_else(|error| panic!("{said:?}: {error}\n{written}"));
                assert_eq!(read, value, "{written}");
            }
        }
    }
}
