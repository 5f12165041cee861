//! What runs beside an application: its certificate, its Envoy, its probes, and its end.
//!
//! ```text
//!                                     SDS, Unix socket
//!  token, roots ─> Keeper ── Material ────────────────> Envoy (child) <── ADS, mutual TLS ── primary
//!                     │                                  │
//!  kubelet ─> 15021 ready?  15020 probes of the app      └─ ended after a drain
//! ```
//!
//! - How the certificate comes and is renewed is `diolkos-trust-client`'s. Its key leaves the process
//!   only to Envoy, over a socket that only this user may open.
//! - While the primary is away the certificate before is served until it ends, and so is what Envoy
//!   was configured with.
//! - [`redirect`] is the other half of a pod: the rules that lead its traffic here.

mod admin;
mod bootstrap;
mod drain;
mod envoy;
mod health;
mod limit;
mod metrics;
mod probe;
pub mod redirect;
mod sds;
mod settings;
mod start;

pub use settings::{EnvoySettings, SidecarError, SidecarSettings, Workload};
pub use start::run;
