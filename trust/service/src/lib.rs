//! The certificate authority of a mesh: one root, an intermediate per cluster, workload leaves, and
//! the API by which workloads get theirs.
//!
//! ```text
//!  token, clusterid ─> Reviewer (an API server) ─> what it may be believed ─> Grants ─> Caller
//!  certificate before ─> our own CA? ────────────────────────────────────────────────────┘ │
//!  CSR ─> RequestKey: its public key, nothing else ────────────────────────> Authority ─> leaf
//! ```
//!
//! - [`Authority`] signs; its input is names, validity periods and folders in the layout of Istio's
//!   `cacerts`, and it reads no clock but in [`Authority::load`]. [`LiveAuthority`] is the one in
//!   force, replaced while it signs. Keys and serial numbers come from ring's system randomness.
//! - A leaf carries exactly one URI name, built here from who the caller proved to be, and the
//!   caller's cluster as `O` of its subject. Nothing outlives the CA that signed it.
//! - [`CertificateApi`] is a service to be mounted on somebody's port. An API server that reviews a
//!   token is believed only as far as its cluster was granted: see [`Caller`].
//! - Every size, wait and rate has a bound: see [`limit`].

mod api;
mod authority;
mod caller;
mod csr;
mod error;
mod folder;
mod key;
mod leaf;
pub mod limit;
mod live;
mod metrics;
mod own;
mod pace;
mod proof;
mod refusal;
mod request;
mod review;

pub use api::{ApiSettings, Asked, CertificateApi};
pub use authority::{Authority, Validity};
pub use caller::{Caller, Proof};
pub use csr::{CsrFault, RequestKey};
pub use error::AuthorityError;
pub use folder::{CA_CERT_FILE, CA_KEY_FILE, CERT_CHAIN_FILE, CaFiles, ROOT_CERT_FILE};
pub use leaf::{Issued, LeafRequest};
pub use live::{FolderLook, LiveAuthority, Looked, spawn_folder_watch};
pub use own::{OwnCertificate, OwnNames};
pub use refusal::Refusal;
pub use request::{Signed, Subject, ttl_of};
pub use review::{
    AUDIENCES, Boxed, Grants, NoReviewer, Review, ReviewError, Reviewed, Reviewer, Token,
};
