//! A certificate for a role in a cluster: asked for, kept, and renewed for as long as it runs.
//!
//! ```text
//!  token file ─┐
//!  root file ──┼─> Fetcher ── CSR ─> the primary's certificate API      (by name, roots pinned)
//!  own key ────┘      │
//!                     v
//!                  Keeper ─ Kept (Material) ──> whoever hands it on, as a sidecar to its Envoy
//!                              └─> Live ──────> Identity and Roots, in force where they are used
//! ```
//!
//! - The key is made here, one for each certificate, and never written.
//! - Without roots nothing is asked of anybody: a primary that cannot be verified gets no token.
//! - What comes back must be of the one who asked, and hold before a peer, or it is not used.
//! - A certificate is renewed at half its life, give or take a tenth, and when the roots change.
//!   While the primary is away the one before is kept; attempts never end.

mod fetch;
mod keeper;
mod limit;
mod live;
mod material;
mod metrics;
mod renewal;
mod settings;

pub use keeper::{Fault, Keeper, Kept};
pub use live::{Live, LiveRoots};
pub use material::Material;
pub use settings::{CertificateSettings, ISTIOD_AUDIENCE, PRIMARY_AUDIENCE, PrimaryName};
