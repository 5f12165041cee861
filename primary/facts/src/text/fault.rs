//! Where in a document something is, and what is wrong there.

use std::fmt;

use serde::de;

use crate::limit;

/// A way through maps and lists.
pub(crate) type Field = Vec<Step>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Index(usize),
    Key(String),
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.into())
    }
}

/// `at!["spec", "ports", 0]`
macro_rules! at {
    ($($step:expr),* $(,)?) => { $crate::text::Field::from([$($crate::text::Step::from($step)),*]) };
}
pub(crate) use at;

/// Why a document, or a part of it, is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: u32,
    pub(crate) cause: String,
}

impl Fault {
    pub(crate) fn new(line: u32, cause: impl Into<String>) -> Self {
        Self { line, cause: cause.into() }
    }

    /// The innermost place is the true one.
    pub(crate) fn placed(mut self, line: u32, path: &Path<'_>) -> Self {
        if self.line == 0 {
            self.line = line;
            if !matches!(path, Path::Root) {
                self.cause = format!("{path}: {}", self.cause);
            }
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(cause: T) -> Self {
        Self::new(0, cause.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(0, format!("expected {}, found {}", plain(expected), quoted(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let small = match plain(expected) {
            expected if expected == WHOLE_NUMBER => format!("{expected} of ordinary size"),
            expected => expected,
        };
        Self::new(0, format!("expected {small}, found {}", quoted(found)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(0, format!("field {field} is missing"))
    }
}

const WHOLE_NUMBER: &str = "a whole number";

/// Words for people instead of the names of Rust's types.
fn plain(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "i32" | "i64" | "u16" | "u32" | "u64" => WHOLE_NUMBER.into(),
        "a Vec" => "a list".into(),
        _ => text,
    }
}

fn quoted(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Str(text) if text.len() > limit::QUOTE_BYTES_MAX => {
            format!("a string of {} bytes", text.len())
        }
        de::Unexpected::Seq => "a list".into(),
        other => other.to_string(),
    }
}

/// Where a decoder is, on its stack.
pub(crate) enum Path<'a> {
    Index(&'a Self, usize),
    Key(&'a Self, &'a str),
    Root,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Root => Ok(()),
        }
    }
}
