//! What is wrong with an object, wherever the object came from.

use std::fmt;

use crate::rejection::Severity;
use crate::text::{Field, Step};

/// One thing about one field of an object. Files add the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub(crate) field: Field,
    pub cause: String,
    pub way_out: String,
    pub severity: Severity,
}

impl Findings {
    /// One refusal of a whole object, by whoever reads it.
    pub fn refusal(cause: impl Into<String>, way_out: impl Into<String>) -> Self {
        let mut findings = Self::default();
        findings.refuse(Field::new(), cause, way_out);
        findings
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.way_out)
    }
}

/// Collects while an object is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    pub(crate) fn refuse(
        &mut self,
        field: Field,
        cause: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.push(field, cause.into(), way_out.into(), Severity::Refused);
    }

    pub(crate) fn warn(
        &mut self,
        field: Field,
        cause: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.push(field, cause.into(), way_out.into(), Severity::Warning);
    }

    fn push(&mut self, field: Field, cause: String, way_out: String, severity: Severity) {
        let cause = if field.is_empty() { cause } else { format!("{}: {cause}", Dotted(&field)) };
        self.0.push(Finding { field, cause, way_out, severity });
    }

    pub fn refused(&self) -> bool {
        self.refused_since(0)
    }

    /// Whether any finding after the first `count` is a refusal.
    pub(crate) fn refused_since(&self, count: usize) -> bool {
        self.0.iter().skip(count).any(|finding| finding.severity == Severity::Refused)
    }
}

struct Dotted<'a>(&'a [Step]);

impl fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(at) => write!(f, "[{at}]")?,
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) if key.contains(['.', '/']) => write!(f, "[{key}]")?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}
