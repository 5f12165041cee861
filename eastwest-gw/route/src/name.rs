//! The one place where a server name is checked and normalised.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::Refusal;
use crate::limit::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// A DNS name as the table knows it: lower case, no trailing dot, letters, digits, `-`, `_`, `.`.
///
/// A trailing dot is refused, not stripped: RFC 6066 forbids it, Envoy as a gateway does not match
/// it, and one primary must get the same answer from both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    pub fn new(bytes: &[u8]) -> Result<Self, Refusal> {
        check(bytes)?;
        let lower: String = bytes.iter().map(|byte| byte.to_ascii_lowercase() as char).collect();
        Ok(Self(lower.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn check(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::NameEmpty);
    }
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Refusal::NameTooLong);
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !bytes.iter().all(allowed) {
        return Err(Refusal::NameCharacter);
    }
    if bytes.len() > 1 && bytes.ends_with(b".") {
        return Err(Refusal::TrailingDot);
    }
    for label in bytes.split(|byte| *byte == b'.') {
        let hyphen = label.starts_with(b"-") || label.ends_with(b"-");
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || hyphen {
            return Err(Refusal::NameLabel);
        }
    }
    // What ends in a number is an address in one of its many spellings (WHATWG URL, section 3.5).
    if bytes.rsplit(|byte| *byte == b'.').next().is_some_and(is_number) {
        return Err(Refusal::NameNumeric);
    }
    Ok(())
}

fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        decimal => decimal.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lengths: &[usize]) -> String {
        lengths.iter().map(|n| "a".repeat(*n)).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn names_are_accepted_or_refused_with_the_first_reason() {
        use Refusal::*;
        let exactly_253 = labels(&[63, 63, 63, 61]);
        let one_more = labels(&[63, 63, 63, 62]);
        assert_eq!((exactly_253.len(), one_more.len()), (253, 254));
        let (label_63, label_64) = (labels(&[63, 1]), labels(&[64, 1]));
        let cases: &[(&str, Result<(), Refusal>)] = &[
            ("outbound_.8080_._.catalog.shop.svc.cluster.local", Ok(())),
            ("A.Mesh.Local", Ok(())),
            ("a", Ok(())),
            ("1.a", Ok(())),
            ("0xz", Ok(())),
            (&exactly_253, Ok(())),
            (&one_more, Err(NameTooLong)),
            (&label_63, Ok(())),
            (&label_64, Err(NameLabel)),
            ("", Err(NameEmpty)),
            (".", Err(NameLabel)),
            ("a.b.", Err(TrailingDot)),
            ("a..b", Err(NameLabel)),
            (".a", Err(NameLabel)),
            ("-a.b", Err(NameLabel)),
            ("a-.b", Err(NameLabel)),
            ("a\0.b", Err(NameCharacter)),
            ("a b", Err(NameCharacter)),
            ("*.b", Err(NameCharacter)),
            ("ä.b", Err(NameCharacter)),
            ("outbound|80||a.b", Err(NameCharacter)),
            ("10.0.0.1", Err(NameNumeric)),
            ("a.1", Err(NameNumeric)),
            ("a.0x1f", Err(NameNumeric)),
            ("a.0x", Err(NameNumeric)),
        ];
        for (name, want) in cases {
            assert_eq!(HostName::new(name.as_bytes()).map(|_| ()), *want, "{name:?}");
        }
    }

    #[test]
    fn upper_case_is_lowered_once() {
        let name = HostName::new(b"OUTBOUND_.80_.V1_.A.B").unwrap();
        assert_eq!(name.as_str(), "outbound_.80_.v1_.a.b");
    }
}
