//! What a workload and a CA say to each other over the network, and the bounds both keep.
//!
//! Istio's contract: gRPC method [`CREATE_CERTIFICATE`]; a bearer token in `authorization`, and the
//! cluster that can vouch for it in [`CLUSTER_KEY`]. The answer is the leaf, each intermediate by
//! itself, and last all roots in one text: [`Answer`] takes it apart, and refuses one that has
//! another shape.
//!
//! Messages only: no transport, no clock, no file.

mod answer;

pub use answer::{Answer, AnswerFault};
pub use messages::{IstioCertificateRequest, IstioCertificateResponse};

/// Generated from `proto/certificate.proto`.
#[allow(unreachable_pub, clippy::all, reason = "generated")]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/istio.v1.auth.rs"));
}

/// Where the certificate API answers: everything below belongs to it.
pub const SERVICE_PREFIX: &str = "/istio.v1.auth.IstioCertificateService/";
pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// gRPC metadata: the cluster whose API server issued the token; none or empty is the CA's own.
pub const CLUSTER_KEY: &str = "clusterid";
/// Key of a request's `metadata`: someone asks for another's certificate.
pub const IMPERSONATED_KEY: &str = "ImpersonatedIdentity";

/// A request: an RSA-8192 CSR is 3 KiB, and the metadata a handful of strings.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// An answer: seven certificates and a hundred roots.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
