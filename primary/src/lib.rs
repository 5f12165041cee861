//! The primary: facts of every cluster in, xDS for every client out.
//!
//! ```text
//!  source ─ SourceEvent ─> owner task ── ViewDelta ─> Hub ── CatalogDelta ─> CatalogCells
//!  (files, API servers)    Federation                                          │ one per audience
//!                             ^  │                                             │ and scope
//!               Open, Explain │  │ granted, or refused with the claim          v
//!  client ── TLS ─ HTTP/2 ─ caller ───────────────────────────> session: the difference to now
//! ```
//!
//! - One task owns all state ([`core::Core`], a plain struct); everybody else sends it messages
//!   over bounded channels and reads published catalogs.
//! - A resource is encoded once for all its clients. A session holds the versions it has and no
//!   queue; a client too slow to be written to holds back nobody and is cut after five minutes.
//! - Who a client is, its certificate or its token says; where it is, the facts say. What its node
//!   metadata says must agree and decides nothing: see [`caller`].
//! - Another service may answer on the same port ([`Beside`]), and a webhook that injects sidecars
//!   on one of its own; neither touches the core.
//! - No client is served before every declared cluster was heard once, or a deadline has passed.

mod admin;
mod ads;
mod authority;
mod beside;
mod caller;
mod cell;
mod core;
pub mod limit;
mod metrics;
mod owner;
mod registered;
mod settings;
pub mod source;
mod start;
mod store;
mod webhook;

pub use beside::Beside;
pub use caller::Denied;
pub use registered::Registered;
pub use settings::{OwnIdentity, PrimaryError, PrimarySettings, SourceSettings};
pub use start::{Primary, run};
pub use webhook::WebhookSettings;
