//! From settings to the Kubernetes objects that make a cluster part of a mesh.
//!
//! ```text
//!  values file, flags ─> Values ─> Settings (checked) ─> manifest ─> objects ─> to_yaml ─> text
//! ```
//!
//! - **Input** is what an operator chooses; **output** is a list of objects in the order in which
//!   they are applied. Equal settings give equal text, byte by byte.
//! - **Names and ports** are those of docs/adr/0004-in-a-cluster.md, in [`names`].
//! - **Rights** are one set of roles for each profile, held by tests to what the code asks for.
//! - **Secrets** are never among a profile's objects: keys are made where they are used. A
//!   [`RemoteSecret`] is what somebody asked to print, and is made of a token that is theirs.
//! - **Limits** are in [`limit`]; what is beyond them is an error with a way out.

mod crd;
mod error;
mod gateway;
mod injector;
pub mod limit;
mod mesh;
pub mod names;
mod parts;
mod pod;
mod primary;
mod remote;
mod roles;
mod secret;
mod settings;
mod values;
mod yaml;

use serde_json::Value;

pub use error::SettingsError;
pub use remote::reader;
pub use secret::{Grants, RemoteSecret};
pub use settings::{Address, Export, Image, Profile, Remote, Role, Settings};
pub use values::{GatewayValues, RemoteValues, RoleValues, Values};
pub use yaml::to_yaml;

/// The objects of a profile, in the order in which they are to be applied.
pub fn manifest(settings: &Settings) -> Vec<Value> {
    match &settings.profile {
        Profile::Primary => primary::objects(settings),
        Profile::Remote(remote) => remote::objects(settings, remote),
        Profile::Gateway => gateway::objects(settings),
        Profile::Crds => crd::objects(),
    }
}
