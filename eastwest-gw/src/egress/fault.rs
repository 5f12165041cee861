//! Why a gateway of another network gave no tunnel: a closed set, for metrics, and words for the log.

use std::fmt;

use diolkos_hbone::{OuterError, TunnelError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens there, or no way leads there.
    Connect,
    Tls,
    /// It is another than it should be.
    Identity,
    /// It said no, with a status.
    Refused,
    Timeout,
    /// The connection ended before the answer.
    Broken,
    /// As many connections are open as there may be.
    Full,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Tls,
        Self::Identity,
        Self::Refused,
        Self::Timeout,
        Self::Broken,
        Self::Full,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Identity => "identity",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Full => "full",
        }
    }
}

/// The same of one attempt, with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    cause: String,
}

impl Failure {
    pub(super) fn new(fault: Fault, cause: impl Into<String>) -> Self {
        Self { fault, cause: cause.into() }
    }

    pub(super) fn late() -> Self {
        Self::new(Fault::Timeout, "no answer in time")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.label(), self.cause)
    }
}

impl From<OuterError> for Failure {
    fn from(error: OuterError) -> Self {
        let fault = match error {
            OuterError::Peer(_) => Fault::Identity,
            OuterError::Tls(_) | OuterError::Protocol => Fault::Tls,
            OuterError::Http2(_) => Fault::Broken,
        };
        Self::new(fault, error.to_string())
    }
}

impl From<TunnelError> for Failure {
    fn from(error: TunnelError) -> Self {
        let fault = match error {
            TunnelError::Refused { .. } | TunnelError::Authority(_) => Fault::Refused,
            TunnelError::Broken(_) => Fault::Broken,
        };
        Self::new(fault, error.to_string())
    }
}
