//! Whose cluster a certificate is from: decided once, for whoever has to tell callers apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::issuers::Issuers;
use crate::peer::{IssuerKey, Peer};

/// What is known of the clusters of a mesh, by names of type `C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIssuers<C> {
    /// The cluster that each CA signs for, by the CA's key.
    pub clusters: BTreeMap<IssuerKey, C>,
    /// CAs that sign for several clusters, and write which one into the subject.
    pub own: Issuers,
    /// Those the mesh has.
    pub declared: BTreeSet<C>,
}

/// Why a certificate is of no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// No cluster's CA signed it.
    Issuer,
    /// One of our own CAs did, for a cluster that the mesh has no longer, or never had.
    Cluster(String),
}

impl<C> Default for ClusterIssuers<C> {
    fn default() -> Self {
        Self { clusters: BTreeMap::new(), own: Issuers::default(), declared: BTreeSet::new() }
    }
}

impl<C: AsRef<str>> ClusterIssuers<C> {
    /// A subject counts only if one of our own CAs wrote it: whatever another CA writes there, its
    /// leaves are of its own cluster.
    pub fn cluster_of(&self, peer: &Peer) -> Result<&C, Stranger> {
        match &peer.organization {
            Some(name) if self.own.contains(&peer.issuer) => self
                .declared
                .iter()
                .find(|cluster| cluster.as_ref() == name)
                .ok_or_else(|| Stranger::Cluster(name.clone())),
            _ => self.clusters.get(&peer.issuer).ok_or(Stranger::Issuer),
        }
    }

    /// The same for whoever comes from anywhere in the mesh. Other primaries' CAs are not all known
    /// here by their keys; what the root wrote into a CA counts where nobody said which CA signs for
    /// that cluster.
    pub fn caller_of(&self, peer: &Peer) -> Result<&C, Stranger> {
        self.cluster_of(peer).or_else(|stranger| {
            let name = peer.issuer_locality.as_ref().filter(|_| stranger == Stranger::Issuer);
            let declared =
                self.declared.iter().find(|one| Some(one.as_ref()) == name.map(|n| &**n));
            let unsaid =
                |one: &&C| self.clusters.values().all(|said| said.as_ref() != one.as_ref());
            declared.filter(unsaid).ok_or(stranger)
        })
    }
}
