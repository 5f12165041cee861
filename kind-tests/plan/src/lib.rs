//! What a topology is made of, decided from its file: every address, route, certificate, process
//! and manifest, and who must reach whom by which way.
//!
//! ```text
//!  topology file ──> parse ──> Topology ──┬─> Plan    (network namespaces on this machine)
//!  Istio's JSON  ──> parse_istio ──┘      ├─> kind    (files for kind and Docker)
//!                                         └─> reach   (the matrix that tests assert)
//! ```
//!
//! - Nothing is looked up: paths and the slot are arguments. The same arguments give the same plan.
//! - Two plans of different [`Slot`]s share no address and no name in the machine's own network.
//! - A file is taken as a whole or refused with a line; its bounds are in [`limit`].
//! - Secrets (keys, tokens) are not in a plan, only the places they go to.

mod address;
mod balance;
mod check;
mod cluster_file;
mod document;
mod fault;
mod file;
mod file_error;
mod install;
mod istio;
mod kind;
pub mod limit;
mod model;
mod name;
mod places;
mod plan;
mod process;
mod reach;
mod sense;
mod space;

pub use address::{Dual, Ranges, Slot};
pub use balance::{Claim, assign};
pub use cluster_file::{File, IMAGE, fill};
pub use fault::{Between, FaultRules, LinkFault, Proxy, Spoil, fault_rules};
pub use file_error::FileError;
pub use install::{Condition, Part, Phase, ServicePort, Step, needs_envoy};
pub use istio::parse_istio;
pub use kind::kind_files;
pub use model::{
    Cluster, Export, Mesh, Node, NotYet, Port, Protocol, Role, Sidecar, Topology, Workload,
};
pub use name::{Label, NameError};
pub use places::Places;
pub use plan::{ClusterPlan, Intermediate, Plan, Root, ServingNames};
pub use process::{API_SERVER, ETCD, Process, Ready, Stage, USERS};
pub use reach::{Callee, Caller, Expect, Group, Nearness, Row, Transport, Way, Why, matrix};
pub use space::{API_PORT, ROUTER, Space, forbidden, router_link};

/// Reads a topology file.
///
/// # Errors
/// When anything in it is unknown, malformed or refers to nothing.
pub fn parse(text: &str) -> Result<Topology, FileError> {
    file::read(text).and_then(check::check)
}
