//! Sidecar injection, as a decision: an AdmissionReview of a Pod in, the answer to it out.
//!
//! ```text
//!  bytes, path ─> Review ─> Verdict: Injected(patch) | Skipped(reason) | Refused(reason) ─> bytes
//!                   └─ Malformed: it is no review, and gets none in answer
//! ```
//!
//! - A pod that asks for nothing special gets two init containers before its own: `diolkos-init`,
//!   which redirects its traffic and ends, and `diolkos-proxy`, a native sidecar that goes on. The
//!   pod's own init containers start when the proxy is ready, so they may use the mesh.
//! - What is not for us is skipped with a reason; what cannot be done as asked is refused with one,
//!   so that nobody runs outside the mesh and believes to be in it.
//! - The patch is only `add` and `replace`. A pod that was injected is skipped.
//! - The names that injector and sidecar share stand in [`env`] and [`Probes`].
//!
//! No clock, file or randomness: equal reviews have equal answers.

mod containers;
pub mod env;
mod exclude;
mod labels;
pub mod limit;
mod patch;
mod path;
mod probes;
mod review;
mod settings;
mod verdict;

pub use exclude::{ExcludeFault, Exclusions};
pub use path::{InjectPath, PathFault};
pub use probes::{Action, Header, Probe, Probes, ProbesFault, Scheme};
pub use review::{Malformed, Reply, answer};
pub use settings::{InjectSettings, Resources};
pub use verdict::{Verdict, decide};
