//! Who may vouch for whom: SPIFFE identities, trust bundles, and the rules that join them.
//!
//! Inputs are text and DER bytes; outputs are values or errors that name the fault. No clock, no
//! file, no randomness: callers pass the time and the bytes.

mod bundle;
mod spiffe;

pub use bundle::{Bundle, BundleError, Bundles};
pub use spiffe::{
    SPIFFE_ID_BYTES_MAX, SpiffeError, SpiffeId, TRUST_DOMAIN_BYTES_MAX, TrustDomain, WorkloadName,
};
