//! What runs beside an application: its certificate, its Envoy, its probes, and its end.
//!
//! ```text
//!  token file ─┐
//!  root file ──┼─> Fetcher ── CSR ─> the primary's certificate API      (by name, roots pinned)
//!  own key ────┘      │
//!                     v              SDS, Unix socket
//!                  Keeper ─ Material ────────────────> Envoy (child) <── ADS, mutual TLS ── primary
//!                     │                                  │
//!  kubelet ─> 15021 ready?  15020 probes of the app      └─ ended after a drain
//! ```
//!
//! - The key is made here and leaves the process only to Envoy, over a socket that only this user
//!   may open. Each certificate has a key of its own.
//! - Without roots nothing is asked of anybody: a primary that cannot be verified gets no token.
//! - A certificate is renewed at half its life, give or take a tenth. While the primary is away the
//!   one before is served until it ends, and so is what Envoy was configured with.
//! - [`redirect`] is the other half of a pod: the rules that lead its traffic here.

mod admin;
mod bootstrap;
mod drain;
mod envoy;
mod fetch;
mod health;
mod keeper;
mod limit;
mod material;
mod metrics;
mod probe;
pub mod redirect;
mod renewal;
mod sds;
mod settings;
mod start;

pub use settings::{EnvoySettings, PrimaryName, SidecarError, SidecarSettings, Workload};
pub use start::run;
