//! What every role needs to be operated: logs, metrics, an admin endpoint, places
//! to listen at and to dial, bounds on who is waited for, an orderly end.
//!
//! ```text
//!  arguments ──> init_logs ──> stderr               SIGTERM, SIGINT ──> Trigger ──> Shutdown (clones)
//!  Registry  ──> AdminRoutes ──> serve_admin ──> GET /metrics, /ready, /debug/...  on loopback
//! ```
//!
//! - Nothing here reads the environment or a file: what a process should do, its arguments say.
//! - The admin endpoint only answers questions. It has no request that changes anything, listens on
//!   loopback unless the operator says otherwise, and refuses names in `Host` (DNS rebinding).
//! - Every wait has a deadline and every size a bound: see [`limit`].
//! - Text that came from a cluster passes through [`printable`] before a terminal sees it.

mod admin;
mod drain;
pub mod limit;
mod listen;
mod log;
pub mod metrics;
mod pending;
mod place;
mod printable;
mod shutdown;

pub use admin::{AdminRoutes, Answer, Query, Reach, serve_admin};
pub use drain::{Drain, EXIT_MAX, SPREAD_MAX, spread};
pub use listen::listen;
pub use log::{LogError, LogFormat, init_logs};
pub use pending::{Full, Pending, Place, Source};
pub use place::HostPort;
pub use printable::printable;
pub use shutdown::{Shutdown, Trigger};
