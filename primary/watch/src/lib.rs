//! When the word of an API server counts: what a watch missed, and what may not vanish at once.
//!
//! ```text
//!  list, events, bookmarks, probes ──> Cursor ──> Continue | Relist
//!  now and then a list beside the watch ──> Audit ──> Drift: relist if any
//!  a relist, or a new generation, before it takes effect ──> Guard ──> Apply | Hold
//! ```
//!
//! - Pure: versions, counts and the time are arguments. Whoever watches asks here, sends what is
//!   right to the core, and comes back at the deadlines.
//! - **Where the guard stands.** The core keeps an open reset back until its end, and another
//!   generation on its shelf until it is activated. The guard is asked in between: `Apply` is that
//!   end, `Hold` is to wait with it. Until then nothing of the new list is in any view, and what was
//!   known before still counts. The core itself knows no guard: a removal that reaches it was meant.
//! - **Order.** The core orders by arrival. A resourceVersion is looked at here alone, to notice that
//!   time went back in an API server that was restored from a backup.

mod audit;
mod cursor;
mod guard;
pub mod limit;
mod loss;

pub use audit::{Audit, Drift, Jitter, Step, Versions};
pub use cursor::{Cursor, Failure, Listing, Probe, Reason, Said, Verdict};
pub use guard::{Guard, Judged, Relist, Suspicion};
pub use loss::Loss;
