//! What is wrong with a topology file, and where.

use std::fmt;

/// One fault of a file; whoever read the file puts its name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Counted from 1; nothing where the file as a whole is meant.
    pub line: Option<u64>,
    pub cause: String,
}

impl FileError {
    pub(crate) fn whole(cause: impl Into<String>) -> Self {
        Self { line: None, cause: cause.into() }
    }

    pub(crate) fn at(line: u64, cause: impl Into<String>) -> Self {
        Self { line: (line > 0).then_some(line), cause: cause.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.cause),
            None => f.write_str(&self.cause),
        }
    }
}

impl std::error::Error for FileError {}
