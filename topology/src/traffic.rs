//! What a redirected workload takes in and lets out. Nothing here decides which endpoints a view
//! has; sources say it, and whoever configures the workload's proxy reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::fact::AppProtocol;
use crate::federation::Federation;
use crate::index::{Member, pack};
use crate::intern::Id;
use crate::name::{
    ClusterId, Locality, Namespace, NetworkId, PodName, Port, ServiceKey, ServiceName, SliceName,
};

/// Which connections a workload takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// Plaintext, and TLS that the application itself ends.
    Disable,
    /// The mesh's mutual TLS as well.
    Permissive,
    /// The mesh's mutual TLS alone.
    Strict,
}

/// What becomes of connections to destinations that no service has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundTraffic {
    /// They go where they were going.
    #[default]
    Allow,
    /// They are refused.
    RegistryOnly,
}

impl AppProtocol {
    pub fn is_http(self) -> bool {
        match self {
            Self::Grpc | Self::Http | Self::Http2 => true,
            Self::Tcp | Self::Tls => false,
        }
    }

    /// What a port speaks of which two services say different things: HTTP of whatever version if
    /// both mean HTTP, else bytes, which hold for everything.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (one, other) if one.is_http() && other.is_http() => Self::Http,
            _ => Self::Tcp,
        }
    }
}

/// Ports that a pod listens on, as the services that lead there call them.
pub type PodPorts = BTreeMap<Port, AppProtocol>;

impl Federation {
    /// By service, for every service of its namespace that leads to the pod in its own cluster.
    /// Costs what the namespace has services, and for each a search by address.
    pub fn pod_ports(
        &self,
        cluster: &ClusterId,
        namespace: &Namespace,
        pod: &PodName,
        addresses: &[IpAddr],
    ) -> BTreeMap<ServiceKey, PodPorts> {
        let services = self.services_in(cluster, namespace);
        services
            .map(|(service, _)| {
                (service.clone(), self.pod_ports_of(cluster, service, pod, addresses))
            })
            .filter(|(_, ports)| !ports.is_empty())
            .collect()
    }

    /// Where services say that the pod is: for whoever has not been told of the pod itself. Costs
    /// what `pod_ports` does.
    pub fn pod_place(
        &self,
        cluster: &ClusterId,
        namespace: &Namespace,
        pod: &PodName,
        addresses: &[IpAddr],
    ) -> Option<(NetworkId, Locality)> {
        let index = &self.index;
        let slices = self
            .services_in(cluster, namespace)
            .flat_map(|(_, member)| index.members[member].slices.iter());
        let mut found = slices.map(|id| &index.slices[*id]).filter_map(|slice| {
            let named = |place: &usize| slice.pod(*place).as_ref() == Some(pod);
            let places = addresses.iter().filter_map(|address| slice.position(pack(*address)));
            places.filter(named).map(|place| slice.endpoints[place].place).next()
        });
        let at = index.at(found.next()?);
        Some((index.networks.get(at.network).clone(), index.localities.get(at.locality).clone()))
    }

    /// Those that the cluster has.
    fn services_in<'a>(
        &'a self,
        cluster: &ClusterId,
        namespace: &'a Namespace,
    ) -> impl Iterator<Item = (&'a ServiceKey, Id<Member>)> {
        // Names begin with a letter or a digit, so none sorts before this one.
        let least = ServiceName::new("0").ok();
        let first = least.map(|name| ServiceKey { namespace: namespace.clone(), name });
        let members = self.index.cluster(cluster).map(|id| &self.index.clusters[id].members);
        let services = first.into_iter().flat_map(|first| self.index.service_ids.range(first..));
        services
            .take_while(|(service, _)| service.namespace == *namespace)
            .filter_map(move |(service, id)| Some((service, *members?.get(id)?)))
    }

    /// Whose slice it is.
    pub fn service_of_slice(
        &self,
        cluster: &ClusterId,
        namespace: &Namespace,
        slice: &SliceName,
    ) -> Option<&ServiceKey> {
        let index = &self.index;
        let slice = index.slice(index.cluster(cluster)?, namespace, slice)?;
        let member = index.slices[slice].member;
        Some(&index.services[index.members[member].service].key)
    }

    /// Of one service.
    pub fn pod_ports_of(
        &self,
        cluster: &ClusterId,
        service: &ServiceKey,
        pod: &PodName,
        addresses: &[IpAddr],
    ) -> PodPorts {
        let mut ports = PodPorts::new();
        let index = &self.index;
        let member = index.cluster(cluster).and_then(|id| index.member(id, service));
        let Some(member) = member.map(|id| &index.members[id]) else { return ports };
        let Some(word) = &member.word else { return ports };
        for slice in member.slices.iter().map(|id| &index.slices[*id]) {
            let names = |address| {
                let at = slice.position(pack(address));
                at.and_then(|at| slice.pod(at)).as_ref() == Some(pod)
            };
            if !addresses.iter().any(|address| names(*address)) {
                continue;
            }
            for port in index.ports.get(word.ports).iter() {
                let Some(target) = index.target(slice.targets, &port.name) else { continue };
                let known = ports.entry(target).or_insert(port.protocol);
                *known = known.common(port.protocol);
            }
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AppProtocol::{Grpc, Http, Http2, Tcp, Tls};

    #[test]
    fn of_two_words_on_a_port_the_one_that_holds_for_both_counts_whoever_comes_first() {
        for (one, other, common) in [
            (Http, Http, Http),
            (Grpc, Grpc, Grpc),
            (Http, Grpc, Http),
            (Http2, Grpc, Http),
            (Http, Tcp, Tcp),
            (Tls, Http, Tcp),
            (Tls, Tcp, Tcp),
            (Tls, Tls, Tls),
        ] {
            assert_eq!(one.common(other), common, "{one:?} {other:?}");
            assert_eq!(other.common(one), common, "{other:?} {one:?}");
        }
    }
}
