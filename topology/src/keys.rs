//! Which facts of a cluster are in force, and when each was last said.

use crate::fact::{FactKey, FactKind};
use crate::index::{Cluster, Index};
use crate::intern::Id;
use crate::name::Stamp;

impl Index {
    /// Sorted.
    pub(crate) fn live_keys(&self, cluster: Id<Cluster>, kind: FactKind) -> Vec<(FactKey, Stamp)> {
        let id = cluster;
        let cluster = &self.clusters[id];
        let members = cluster.members.iter();
        let members =
            members.map(|(service, member)| (&self.services[*service].key, &self.members[*member]));
        let mut keys: Vec<_> = match kind {
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
                let said = self.slices_of(id).map(|slice| {
                    let slice = &self.slices[slice];
                    let service = &self.services[self.members[slice.member].service].key;
                    let key = FactKey::Slice(service.namespace.clone(), slice.name.clone());
                    (key, slice.stamp)
                });
                said.collect()
            }
        };
        keys.sort_unstable();
        keys
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
                Some(self.slices[self.slice(cluster, namespace, name)?].stamp)
            }
            FactKey::Summary(service) => Some(member(service)?.summary.as_ref()?.stamp),
        }
    }
}
