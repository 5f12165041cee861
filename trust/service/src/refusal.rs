//! Why nothing is signed: for the one who asked, for the log, and as a label.

use diolkos_trust::SpiffeId;
use tonic::{Code, Status};

use crate::csr::CsrFault;
use crate::error::AuthorityError;
use crate::limit;
use crate::review::ReviewError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "neither a bearer token nor a client certificate came with the request; send the \
         service-account token in authorization"
    )]
    NoCredential,
    #[error("metadata {0}")]
    Metadata(String),
    #[error("the token is refused: {0}")]
    Token(String),
    #[error("the certificate of {id} does not renew: {cause}")]
    Certificate { id: SpiffeId, cause: &'static str },
    /// What the API server answered cannot be honest.
    #[error("the review of the token is not believed: {0}")]
    Review(String),
    #[error("{0}")]
    Reviewer(ReviewError),
    #[error("cluster {cluster} may not hold {id}: {cause}")]
    NotGranted { cluster: String, id: SpiffeId, cause: String },
    #[error(
        "impersonation (metadata ImpersonatedIdentity) is not served yet: ask with the workload's \
         own token"
    )]
    Impersonation,
    #[error("{0}")]
    Csr(CsrFault),
    #[error("{id} asked too often; come again in {wait_s} s")]
    TooOften { id: SpiffeId, wait_s: u64 },
    #[error("{}", too_busy())]
    Busy,
    #[error("the API server did not review the token within {} s", limit::REVIEW_MAX.as_secs())]
    Late,
    #[error("the CA cannot sign: {0}")]
    Authority(AuthorityError),
}

fn too_busy() -> String {
    format!("{} requests wait already; come again", limit::REQUESTS_WAITING_MAX)
}

impl Refusal {
    pub(crate) fn certificate(cause: &'static str, id: &SpiffeId) -> Self {
        Self::Certificate { id: id.clone(), cause }
    }

    /// For metrics: one of a few.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCredential | Self::Metadata(_) => "no_credential",
            Self::Token(_) => "token",
            Self::Certificate { .. } => "certificate",
            Self::Review(_) => "review",
            Self::Reviewer(ReviewError::UnknownCluster { .. }) => "unknown_cluster",
            Self::Reviewer(ReviewError::Unavailable { .. }) | Self::Late => "api_server",
            Self::NotGranted { .. } => "not_granted",
            Self::Impersonation => "impersonation",
            Self::Csr(_) => "csr",
            Self::TooOften { .. } => "too_often",
            Self::Busy => "busy",
            Self::Authority(_) => "authority",
        }
    }

    /// Whoever gets one of these that may pass comes again; the others should not.
    fn code(&self) -> Code {
        match self {
            Self::NoCredential | Self::Token(_) | Self::Certificate { .. } | Self::Review(_) => {
                Code::Unauthenticated
            }
            Self::Reviewer(ReviewError::UnknownCluster { .. }) => Code::Unauthenticated,
            Self::NotGranted { .. } => Code::PermissionDenied,
            Self::Impersonation => Code::Unimplemented,
            Self::Metadata(_) | Self::Csr(_) => Code::InvalidArgument,
            Self::TooOften { .. } | Self::Busy => Code::ResourceExhausted,
            Self::Reviewer(ReviewError::Unavailable { .. }) | Self::Late | Self::Authority(_) => {
                Code::Unavailable
            }
        }
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
