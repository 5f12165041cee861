//! Names of clusters, networks, meshes, namespaces, nodes and workloads: DNS labels, all of them,
//! for each becomes part of a Kubernetes name or a label's value.

use std::fmt;

use serde::Serialize;

use crate::limit::NAME_BYTES_MAX;

/// Lower-case letters, digits and inner hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// # Errors
    /// When `text` is no DNS label, or longer than [`NAME_BYTES_MAX`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if fits && edges && text.bytes().all(inner) {
            return Ok(Self(text.to_owned()));
        }
        // Whatever was written there ends up in a message.
        Err(NameError(text.chars().take(NAME_BYTES_MAX).collect()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq<str> for Label {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(f, "{text:?} is no name; use a to z, 0 to 9 and inner hyphens, ")?;
        write!(f, "at most {NAME_BYTES_MAX}")
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_up_to_its_limit() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for good in ["a", "east-1", "0", longest.as_str()] {
            assert_eq!(Label::new(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "-a", "a-", "East", "a.b", "a_b", "a b", "ä", too_long.as_str()] {
            assert!(Label::new(bad).is_err(), "{bad:?}");
        }
        let error = Label::new("East").unwrap_err().to_string();
        assert!(error.starts_with("\"East\" is no name; use a to z"), "{error}");
    }
}
