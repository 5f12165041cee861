//! Why a token counts for nothing, in words that name no secret: never the token itself.

use std::fmt;
use std::time::Duration;

use super::{TOKEN_BYTES_MAX, TOKEN_SKEW};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are read")]
    TooLong { bytes: usize },
    #[error("the token is no signed JWT: {cause}; send three parts of base64url joined by dots")]
    Shape { cause: &'static str },
    #[error("the token's {part} cannot be read: {cause}")]
    Json { part: &'static str, cause: String },
    #[error("the token's algorithm {said} is not accepted; RS256, ES256 and EdDSA are")]
    Algorithm { said: Quoted },
    #[error("the token's header asks for {said}, which is not understood")]
    Header { said: Quoted },
    #[error("the token has no {claim}, which it must have")]
    Missing { claim: &'static str },
    #[error("the token's {claim} is not {expected}")]
    Malformed { claim: &'static str, expected: &'static str },
    #[error("the token was issued by {said}, not by {expected}")]
    Issuer { said: Quoted, expected: Quoted },
    #[error("the token's key {kid} is none of its issuer's; renew the issuer's jwks file")]
    UnknownKey { kid: Quoted },
    #[error("the token's key {kid} is not one for {said}")]
    KeyUse { kid: Quoted, said: &'static str },
    #[error("the token's signature is not its issuer's")]
    Signature,
    #[error("the token expired {} s ago; send a fresh one", ago.as_secs())]
    Expired { ago: Duration },
    #[error(
        "the token's {claim} is {} s ahead, at most {} are allowed; compare the clocks",
        wait.as_secs(), TOKEN_SKEW.as_secs()
    )]
    NotYetValid { claim: &'static str, wait: Duration },
    #[error("the token is for {said}, not for {expected}; ask for one with such an audience")]
    Audience { said: QuotedList, expected: QuotedList },
    #[error(
        "the token's subject {said} is not a service account's, \
         system:serviceaccount:<namespace>:<name>"
    )]
    Subject { said: Quoted },
    #[error("the token's {claim} says {said}, its subject {expected}")]
    Disagrees { claim: &'static str, said: Quoted, expected: Quoted },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("it has {bytes} bytes, at most {} are read", super::JWKS_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("it is no set of keys: {cause}; write what the API server says at /openid/v1/jwks")]
    Json { cause: String },
    #[error("it holds {found} keys, at most {} are read", super::JWKS_KEYS_MAX)]
    TooManyKeys { found: usize },
    #[error("key {position}: {cause}")]
    Key { position: usize, cause: String },
    #[error("it holds no key for RS256, ES256 or EdDSA, so no token can be verified")]
    NoUsableKey,
}

/// What a stranger wrote: escaped and cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(pub String);

/// At most four of them.
#[derive(Clone, PartialEq, Eq)]
pub struct QuotedList(pub Vec<String>);

const QUOTED_CHARS_MAX: usize = 128;
const QUOTED_MAX: usize = 4;

impl Quoted {
    pub(super) fn of(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(f, &self.0)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for QuotedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody");
        }
        for (index, text) in self.0.iter().take(QUOTED_MAX).enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            quote(f, text)?;
        }
        match self.0.len().saturating_sub(QUOTED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Debug for QuotedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let cut = text.char_indices().nth(QUOTED_CHARS_MAX).map(|(at, _)| at);
    let shown = text[..cut.unwrap_or(text.len())].escape_default();
    write!(f, "\"{shown}{}\"", cut.map_or("", |_| "..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_is_escaped_cut_and_counted() {
        assert_eq!(Quoted::of("a\n\u{1b}[31m\"").to_string(), r#""a\n\u{1b}[31m\"""#);
        let longest = "x".repeat(QUOTED_CHARS_MAX);
        assert_eq!(Quoted::of(&longest).to_string(), format!("\"{longest}\""));
        assert_eq!(Quoted(format!("{longest}x")).to_string(), format!("\"{longest}...\""));
        let list = |count| QuotedList(vec!["a".into(); count]).to_string();
        assert_eq!(list(0), "nobody");
        assert_eq!(list(QUOTED_MAX), r#""a", "a", "a", "a""#);
        assert_eq!(list(QUOTED_MAX + 1), r#""a", "a", "a", "a" and 1 more"#);
    }
}
