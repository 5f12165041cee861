//! What nobody may see: overwritten when dropped, and never printed.

use std::fmt;

use zeroize::Zeroizing;

/// By which the primary shows a remote API server who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    ClientCertificate {
        /// DER, the client's own first.
        chain: Vec<Vec<u8>>,
        key: PrivateKey,
    },
    Token(Token),
}

/// A bearer token: printable ASCII without blanks.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    kind: KeyKind,
    der: Zeroizing<Vec<u8>>,
}

/// What the DER of a private key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Pkcs1,
    Pkcs8,
    Sec1,
}

impl Token {
    pub(super) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// For the one header it belongs in.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PrivateKey {
    pub(super) fn new(kind: KeyKind, der: Zeroizing<Vec<u8>>) -> Self {
        Self { kind, der }
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// For the TLS library alone.
    pub fn expose(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, hidden)", self.kind)
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientCertificate { .. } => f.write_str("a client certificate"),
            Self::Token(_) => f.write_str("a token"),
        }
    }
}
