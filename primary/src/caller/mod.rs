//! Who is calling.
//!
//! | what | says who |
//! |---|---|
//! | namespace, service account | the SPIFFE id in the client certificate, or the token's subject |
//! | cluster | the CA certificate that signed it, on the verified path, or the token's issuer |
//! | network, locality | the facts of that cluster: the pod's label, its node |
//! | kind, addresses, listener | the node itself: they grant nothing |
//!
//! Whatever else a node says of itself must agree with these, claim by claim. A pod that the facts
//! know must be the caller's; one they do not know yet is taken at its credential's word.

mod check;
mod credential;
mod node;

pub(crate) use check::{Caller, check, check_network, check_pod};
pub(crate) use credential::Credential;
pub use node::Denied;
pub(crate) use node::{Node, check_length};
