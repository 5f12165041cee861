//! What can be wrong, in words a person can act on: the thing, the cause, the way out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use diolkos_trust::{SpiffeError, SpiffeId, TrustDomain};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {fault}", file.display())]
    File { file: PathBuf, fault: FileFault },
    #[error("{0}")]
    Peer(PeerFault),
    #[error("{text:?} cannot be sent as a server name: {cause}")]
    ServerName { text: String, cause: String },
    #[error("the other end refused us ({alert}); {}, its log says why", shown(own))]
    RefusedByPeer { own: Option<SpiffeId>, alert: String },
    #[error("{cause}")]
    Connection { cause: String },
}

fn shown(own: &Option<SpiffeId>) -> String {
    match own {
        Some(own) => format!("we are {own}"),
        None => "we showed no certificate".into(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("is not well-formed PEM: {0}")]
    NotPem(String),
    #[error("holds no certificate; it must hold PEM blocks of type CERTIFICATE")]
    NoCertificate,
    #[error("holds {found} certificates, at most {max} make a chain")]
    ChainTooLong { found: usize, max: usize },
    #[error("holds no private key; it must hold a PEM block of type PRIVATE KEY")]
    NoKey,
    #[error(
        "the private key cannot be used: {0}; use ECDSA P-256 or P-384, Ed25519 or RSA >= 2048"
    )]
    KeyUnusable(String),
    #[error(
        "is not the key of the first certificate in {}; write both from one issue",
        chain.display()
    )]
    KeyMismatch { chain: PathBuf },
    #[error("{0}")]
    Leaf(LeafFault),
    #[error("certificate {position} cannot be a root: {cause}")]
    Root { position: usize, cause: String },
}

/// What is wrong with a leaf by itself, whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafFault {
    #[error("the certificate cannot be read: {0}")]
    Encoding(String),
    #[error("the leaf has no SPIFFE id, only the names [{names}]; it needs exactly one URI name")]
    NoSpiffeId { names: Names },
    #[error("the leaf has {} URI names ({uris}), a SPIFFE leaf has exactly one", uris.0.len())]
    SeveralUris { uris: Names },
    #[error("the leaf's URI name is no SPIFFE id: {0}")]
    BadSpiffeId(SpiffeError),
    #[error("the leaf of {subject} expired {} ago; issue a new one", Span(*ago))]
    Expired { subject: Names, ago: Duration },
    #[error(
        "the leaf of {subject} is not valid for another {}; compare the clocks of issuer and user",
        Span(*wait)
    )]
    NotYetValid { subject: Names, wait: Duration },
    #[error("the certificate of {subject} may sign others, so it is no leaf")]
    Authority { subject: Names },
}

/// Why the certificate of the other end was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    #[error("the other end presented no certificate; it needs an identity of this mesh")]
    NoCertificate,
    #[error("{0}")]
    Leaf(LeafFault),
    #[error(
        "no roots are known for trust domain {} of {id}; known are [{known}]",
        id.trust_domain()
    )]
    UnknownTrustDomain { id: SpiffeId, known: Names },
    #[error("{subject} is signed by a root this mesh does not trust for it")]
    UntrustedRoot { subject: Names },
    #[error("the chain of {subject} is not accepted: {cause}")]
    Chain { subject: Names, cause: String },
    #[error("the leaf of {subject} may not be used as a {usage}")]
    Purpose { subject: Names, usage: &'static str },
    #[error("identity {id} is not one of [{expected}]")]
    UnexpectedId { id: SpiffeId, expected: Names },
    #[error("identity {id} is of trust domain {}, not of [{expected}]", id.trust_domain())]
    UnexpectedTrustDomain { id: SpiffeId, expected: Names },
    #[error("the certificate is for [{presented}], not for {expected:?}")]
    UnexpectedName { expected: String, presented: Names },
    #[error("{expected:?}, the name to expect, is neither a DNS name nor an address")]
    ExpectedNameMalformed { expected: String },
}

impl From<LeafFault> for PeerFault {
    fn from(fault: LeafFault) -> Self {
        Self::Leaf(fault)
    }
}

impl From<PeerFault> for TlsError {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault)
    }
}

/// What rustls carries for us. It prints certificate errors by `Debug`: there too it is a sentence.
#[derive(Clone)]
pub(crate) struct Refusal(pub(crate) TlsError);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Refusal {}

/// Names in the order given. Some come from strangers: they are printed escaped, cut, and at most
/// eight of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

const NAMES_PRINTED_MAX: usize = 8;
const NAME_PRINTED_CHARS_MAX: usize = 256;

impl Names {
    pub(crate) fn of_domains<'a>(domains: impl IntoIterator<Item = &'a TrustDomain>) -> Self {
        Self(domains.into_iter().map(ToString::to_string).collect())
    }

    pub(crate) fn of_ids<'a>(ids: impl IntoIterator<Item = &'a SpiffeId>) -> Self {
        Self(ids.into_iter().map(ToString::to_string).collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.0.iter().take(NAMES_PRINTED_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let cut = name.char_indices().nth(NAME_PRINTED_CHARS_MAX).map(|(at, _)| at);
            let shown = name[..cut.unwrap_or(name.len())].escape_default();
            write!(f, "{comma}{shown}{}", cut.map_or("", |_| "..."))?;
        }
        match self.0.len().saturating_sub(NAMES_PRINTED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A duration at the precision a person wants.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_escaped_cut_and_counted() {
        let shown =
            |names: &[&str]| Names(names.iter().map(ToString::to_string).collect()).to_string();
        assert_eq!(shown(&[]), "none");
        assert_eq!(shown(&["a", "b\n\u{1b}[31m"]), "a, b\\n\\u{1b}[31m");
        let longest = "x".repeat(NAME_PRINTED_CHARS_MAX);
        assert_eq!(shown(&[&longest]), longest);
        assert_eq!(shown(&[&format!("{longest}x")]), format!("{longest}..."));
        assert_eq!(shown(&["n"; NAMES_PRINTED_MAX]), ["n"; NAMES_PRINTED_MAX].join(", "));
        assert!(shown(&["n"; NAMES_PRINTED_MAX + 1]).ends_with("n, n and 1 more"));
    }

    #[test]
    fn durations_are_told_at_the_precision_a_person_wants() {
        for (seconds, told) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), told);
        }
    }
}
