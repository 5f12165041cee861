//! Who may vouch for whom: SPIFFE identities, trust bundles, service-account tokens, and the rules
//! that join them.
//!
//! Inputs are text and DER bytes; outputs are values or errors that name the fault. No clock, no
//! file, no randomness: callers pass the time and the bytes.

mod bundle;
mod spiffe;
mod token;

pub use bundle::{Bundle, BundleError, Bundles};
pub use spiffe::{
    SPIFFE_ID_BYTES_MAX, SpiffeError, SpiffeId, TRUST_DOMAIN_BYTES_MAX, TrustDomain, WorkloadName,
};
pub use token::{
    JWKS_BYTES_MAX, JWKS_KEYS_MAX, Jwks, JwksError, Quoted, QuotedList, ServiceAccountToken,
    Subject, TOKEN_BYTES_MAX, TOKEN_SKEW, TokenFault, TokenIssuer, TokenKey, UnverifiedToken,
};
