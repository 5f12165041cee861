//! Why something in a manifest was refused, or what about it someone should know.

use std::fmt;

/// One line about one place in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// As the caller named it. Empty until the caller says.
    pub file: String,
    /// From 1; 0 where it is about the file as a whole.
    pub line: u32,
    /// `Service shop/cart`, where that much could be read.
    pub object: Option<String>,
    pub cause: String,
    /// What to do about it.
    pub way_out: String,
    pub severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The thing named has no effect; what was last good of it stays.
    Refused,
    /// It has effect, except for what the cause names.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Warning => "warning",
        })
    }
}

/// `file:line: Service shop/cart: cause; way out`, always one line.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {}", OneLine(object))?;
        }
        write!(f, ": {}; {}", OneLine(&self.cause), OneLine(&self.way_out))
    }
}

impl std::error::Error for Rejection {}

/// Text of strangers: no control character reaches a terminal or a log.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
