//! Topologies of real clusters on one machine, without Docker: brought up, looked at, broken in
//! chosen ways, and taken down without a trace.
//!
//! ```text
//!  load ──> Source ──> up ──> supervisor, in namespaces of its own ──> etcd, API server, nodes, ...
//!                      State ──> status, set, heal, flap, enter, cluster(name) ──> apply, wait, exec
//!                      down
//! ```
//!
//! - What is made is decided in `diolkos-kind-plan`; this crate makes it.
//! - Nothing outlives the supervisor: it is killed, and the kernel takes processes, mounts, network
//!   namespaces and links. Files are in one folder per topology, see [`State`].
//! - What the rest of the project gives to a topology comes through [`Givers`].
//! - Every wait has a bound: [`limit`].

mod api;
mod command;
mod down;
mod enter;
mod faultnet;
mod init;
mod kind;
mod library;
pub mod limit;
mod part;
mod pki;
mod process;
mod space;
mod state;
mod supervise;
mod tools;
mod up;

pub use api::{Cluster, Ran, Streams};
pub use down::down;
pub use init::init;
pub use kind::{kind_is_there, up_kind, write_kind};
pub use library::{Format, Source, embedded, load};
pub use part::{Documents, Givers, Live, Mint, Parts};
pub use state::{DEFAULT_ROOT, State, StateRoot};
pub use supervise::{
    ChildStatus, ClusterStatus, Fault, Life, Standing, Status, Stopped, supervise,
};
pub use tools::{Tools, Wanted};
pub use up::{Told, Up, up};
