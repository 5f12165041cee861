//! Mutual TLS by SPIFFE identity, once, for every role.
//!
//! Input: an identity folder (`cert-chain.pem` leaf first, `key.pem`, `root-cert.pem`) or the same
//! as PEM texts, bundles by trust domain, and what the other end is expected to be. Output: rustls configurations, and the
//! verified [`Peer`] of a connection.
//!
//! What is verified, on both ends alike, in this order:
//!
//! 1. the leaf carries exactly one URI name, a well-formed SPIFFE id, and is no CA;
//! 2. the roots are those of the leaf's own trust domain, chosen before any signature is checked;
//! 3. the chain leads to one of them, is in time and allows the use;
//! 4. the identity is an expected one ([`Expect`]).
//!
//! A server may admit clients that present no certificate ([`open_server_config`]); what is presented
//! is verified all the same.
//!
//! The SNI is only sent, never compared. TLS 1.2 and 1.3, for tunnels (HBONE) 1.3 alone; no
//! resumption, no tickets, no early data: each connection shows its identity. A reload swaps leaf,
//! key and roots under configurations already handed out. The crypto provider is ring, named
//! explicitly, never the process default.

mod clusters;
mod config;
mod error;
mod explain;
mod identity;
mod issuers;
mod leaf;
mod limit;
mod path;
mod peer;
mod pem;
mod reload;
mod roots;
mod verifier;

pub use clusters::{ClusterIssuers, Stranger};
pub use config::{
    Expect, anonymous_client_config, client_config, open_server_config, public_server_config,
    server_config, server_name, tunnel_client_config, tunnel_server_config,
};
pub use error::{FileFault, LeafFault, Names, PeerFault, TlsError};
pub use explain::explain;
pub use identity::{CERT_CHAIN_FILE, Identity, KEY_FILE, LeafInForce};
pub use issuers::Issuers;
pub use limit::{CHAIN_CERTIFICATES_MAX, FILE_BYTES_MAX};
pub use peer::{IssuerKey, Peer, Usage, peer_of};
pub use pem::{parse_certificates, parse_key, read_certificates, read_key, read_pem};
pub use reload::{Polled, Watch, spawn_reload};
pub use roots::{ROOT_CERT_FILE, Roots};
