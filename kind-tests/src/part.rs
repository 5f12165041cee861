//! The seam to the rest of the project: what a topology needs and does not make itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use diolkos_kind_plan::{Part, Plan, Root};

use crate::api::Cluster;

/// Makes the certificate authorities of meshes. Called once, on a thread that may block.
pub trait Mint: Send + Sync {
    /// A root, and its intermediates as folders in Istio's layout.
    ///
    /// # Errors
    /// When a folder cannot be written, or a key not be made.
    fn mint(&self, root: &Root) -> anyhow::Result<()>;
}

/// What is known of a topology whose clusters run.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    pub plan: &'a Plan,
    /// By name.
    pub clusters: &'a BTreeMap<String, Arc<Cluster>>,
}

pub type Documents<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Option<String>>> + Send + 'a>>;

/// Prints the manifests that a plan only names.
pub trait Parts: Send + Sync {
    /// YAML for `cluster`; nothing where this version has no such part. Called when the phase of the
    /// part has come: what it needs of other clusters, a gateway's address say, it may wait for.
    fn documents<'a>(&'a self, live: Live<'a>, cluster: &'a str, part: &'a Part) -> Documents<'a>;
}

/// Both, as the supervisor gets them.
#[derive(Clone)]
pub struct Givers {
    pub mint: Arc<dyn Mint>,
    pub parts: Arc<dyn Parts>,
}

impl std::fmt::Debug for Givers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Givers")
    }
}
