//! The certificate authority of a mesh: one root, an intermediate per cluster, workload leaves.
//!
//! Input: names, validity periods (no clock is read but by [`Authority::load`]) and folders in the
//! layout of Istio's `cacerts`. Output: certificates, in memory or as files. Keys and serial
//! numbers come from ring's system randomness.
//!
//! A leaf carries exactly one URI name, the SPIFFE id it was asked for, built here; nothing
//! outlives the CA that signed it.

mod authority;
mod error;
mod folder;
mod key;
mod leaf;
mod proof;

pub use authority::{Authority, Validity};
pub use error::AuthorityError;
pub use folder::{CA_CERT_FILE, CA_KEY_FILE, CERT_CHAIN_FILE, ROOT_CERT_FILE};
pub use leaf::{Issued, LeafRequest};
