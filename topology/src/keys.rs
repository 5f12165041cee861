//! Which facts of a cluster are in force, and when each was last said.

use crate::fact::{FactKey, FactKind};
use crate::index::{Cluster, Index};
use crate::intern::Id;
use crate::name::Stamp;

impl Index {
    pub(crate) fn live_keys(&self, cluster: Id<Cluster>, kind: FactKind) -> Vec<(FactKey, Stamp)> {
        let cluster = &self.clusters[cluster];
        let members = cluster.members.iter().map(|(key, member)| (key, &self.members[*member]));
        match kind {
            FactKind::Export => members
                .filter_map(|(key, member)| {
                    Some((FactKey::Export(key.clone()), member.export.as_ref()?.stamp))
                })
                .collect(),
            FactKind::Service => members
                .filter_map(|(key, member)| {
                    Some((FactKey::Service(key.clone()), member.word.as_ref()?.stamp))
                })
                .collect(),
            FactKind::Summary => members
                .filter_map(|(key, member)| {
                    Some((FactKey::Summary(key.clone()), member.summary.as_ref()?.stamp))
                })
                .collect(),
            FactKind::Gateway => {
                let said = cluster.gateways.iter();
                said.map(|(key, (stamp, _))| (FactKey::Gateway(key.clone()), *stamp)).collect()
            }
            FactKind::Namespace => {
                let said = cluster.namespaces.iter();
                said.map(|(key, (stamp, _))| (FactKey::Namespace(key.clone()), *stamp)).collect()
            }
            FactKind::Node => {
                let said = cluster.nodes.iter();
                said.map(|(key, (stamp, _))| (FactKey::Node(key.clone()), *stamp)).collect()
            }
            FactKind::Slice => {
                let said = cluster.slices.iter().map(|((namespace, name), slice)| {
                    let key = FactKey::Slice(namespace.clone(), name.clone());
                    (key, self.slices[*slice].stamp)
                });
                said.collect()
            }
        }
    }

    pub(crate) fn stamp_of(&self, cluster: Id<Cluster>, key: &FactKey) -> Option<Stamp> {
        let own = &self.clusters[cluster];
        let member = |service| self.member(cluster, service).map(|id| &self.members[id]);
        match key {
            FactKey::Export(service) => Some(member(service)?.export.as_ref()?.stamp),
            FactKey::Gateway(key) => own.gateways.get(key).map(|(stamp, _)| *stamp),
            FactKey::Namespace(name) => own.namespaces.get(name).map(|(stamp, _)| *stamp),
            FactKey::Node(name) => own.nodes.get(name).map(|(stamp, _)| *stamp),
            FactKey::Service(service) => Some(member(service)?.word.as_ref()?.stamp),
            FactKey::Slice(namespace, name) => {
                // A clone of two pointers, for lack of a borrowed pair.
                let slice = own.slices.get(&(namespace.clone(), name.clone()))?;
                Some(self.slices[*slice].stamp)
            }
            FactKey::Summary(service) => Some(member(service)?.summary.as_ref()?.stamp),
        }
    }
}
