//! The part of a request after the question mark.

use crate::limit;

/// The pairs of a query string, decoded. Of equal names the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// `None` where an escape is no two hex digits, or the bytes are no UTF-8, or there are too
    /// many pairs.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = text.split('&').filter(|part| !part.is_empty());
        let mut pairs = Vec::new();
        for part in parts {
            if pairs.len() == limit::ADMIN_QUERY_PAIRS_MAX {
                return None;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Some(Self { pairs })
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                bytes.push(hex(digits[0])? << 4 | hex(digits[1])?);
                rest = after;
            }
            plain => bytes.push(*plain),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_the_first_of_a_name_counts() {
        let query = Query::parse("cluster=west&service=led%2Fger+one&cluster=east&flag").unwrap();
        assert_eq!(query.get("cluster"), Some("west"));
        assert_eq!(query.get("service"), Some("led/ger one"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("absent"), None);
    }

    #[test]
    fn what_cannot_be_decoded_is_no_query() {
        for text in ["a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "%c3=1"] {
            assert_eq!(Query::parse(text), None, "{text}");
        }
    }

    #[test]
    fn as_many_pairs_as_the_limit_and_not_one_more() {
        let pairs = |count: usize| vec!["a=1"; count].join("&");
        assert!(Query::parse(&pairs(limit::ADMIN_QUERY_PAIRS_MAX)).is_some());
        assert!(Query::parse(&pairs(limit::ADMIN_QUERY_PAIRS_MAX + 1)).is_none());
    }
}
