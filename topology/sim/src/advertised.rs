//! Whatever any cluster ever said: the widest bound of what may be served while news is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use diolkos_topology::{
    Audience, Change, ClientKind, ClusterId, Consumers, Fact, FactKey, Health, Mtls, NetworkId,
    Port, ServiceKey, What,
};

use crate::invariant::{Checked, Invariant, holds};

#[derive(Clone, Debug, Default)]
pub(crate) struct Advertised {
    all_are_exported: bool,
    endpoints: BTreeMap<ServiceKey, BTreeSet<SocketAddr>>,
    gateways: BTreeSet<SocketAddr>,
    clusters: BTreeMap<ClusterId, Said>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    networks: BTreeSet<NetworkId>,
    mtls: BTreeMap<ServiceKey, BTreeSet<SocketAddr>>,
    /// To each of them; `None` is everyone.
    exports: BTreeMap<ServiceKey, BTreeSet<Option<ClusterId>>>,
}

impl Advertised {
    pub(crate) fn new(all_are_exported: bool) -> Self {
        Self { all_are_exported, ..Self::default() }
    }

    pub(crate) fn note(&mut self, cluster: &ClusterId, facts: &BTreeMap<FactKey, Fact>) {
        let said = self.clusters.entry(cluster.clone()).or_default();
        for fact in facts.values() {
            match fact {
                Fact::Gateway(gateway) => {
                    let ports = [gateway.sni_port, gateway.hbone_port, gateway.egress_port];
                    let at = |port: Port| SocketAddr::new(gateway.key.address, port.get());
                    self.gateways.extend(ports.into_iter().flatten().map(at));
                }
                Fact::Namespace(namespace) => said.networks.extend(namespace.network.clone()),
                Fact::Export(export) => {
                    let to = said.exports.entry(export.service.clone()).or_default();
                    match &export.consumers {
                        Consumers::Everyone => to.extend([None]),
                        Consumers::Listed(all) => to.extend(all.iter().cloned().map(Some)),
                    }
                }
                Fact::Slice(slice) => {
                    for one in slice.endpoints.iter().filter(|one| one.health == Health::Ready) {
                        for (_, port) in &slice.ports {
                            let at = SocketAddr::new(one.address, port.get());
                            self.endpoints.entry(slice.service.clone()).or_default().insert(at);
                            said.networks.extend(one.network.clone());
                            if one.mtls == Mtls::Istio && one.identity.is_some() {
                                said.mtls.entry(slice.service.clone()).or_default().insert(at);
                            }
                        }
                    }
                }
                Fact::Node(_) | Fact::Service(_) | Fact::Summary(_) => {}
            }
        }
    }

    pub(crate) fn is_gateway(&self, address: SocketAddr) -> bool {
        self.gateways.contains(&address)
    }

    pub(crate) fn is_endpoint(&self, service: &ServiceKey, address: SocketAddr) -> bool {
        self.endpoints.get(service).is_some_and(|all| all.contains(&address))
    }

    fn is_exported(&self, from: &ClusterId, service: &ServiceKey, to: Option<&ClusterId>) -> bool {
        let consumers = self.clusters.get(from).and_then(|said| said.exports.get(service));
        self.all_are_exported
            || consumers.is_some_and(|all| match to {
                Some(to) => all.contains(&None) || all.contains(&Some(to.clone())),
                None => !all.is_empty(),
            })
    }

    /// A gateway's route must be somebody's exported mTLS endpoint on the gateway's network.
    pub(crate) fn is_routable(
        &self,
        network: &NetworkId,
        service: &ServiceKey,
        address: Option<SocketAddr>,
    ) -> bool {
        self.clusters.iter().any(|(cluster, said)| {
            let mtls = said.mtls.get(service);
            said.networks.contains(network)
                && mtls.is_some_and(|all| address.is_none_or(|address| all.contains(&address)))
                && self.is_exported(cluster, service, None)
        })
    }

    /// What an audience is told.
    pub(crate) fn check(&self, audience: &Audience, change: &Change) -> Checked {
        match &change.what {
            What::Endpoint { port, address, entry: Some(entry) } => {
                let service = &port.service;
                let advertised = self.is_endpoint(service, *address);
                holds(advertised, Invariant::NothingUnadvertised, || {
                    format!("{audience} is told of {address} for {port}")
                })?;
                let gateway = audience.kind == ClientKind::Gateway;
                let home = entry.cluster == audience.cluster && !gateway;
                let to = (!gateway).then_some(&audience.cluster);
                let exported = home || self.is_exported(&entry.cluster, service, to);
                holds(exported, Invariant::UnexportedStaysHome, || {
                    format!("{audience} is told of {address} for {port} from {}", entry.cluster)
                })
            }
            What::Gateway { port, address, entry: Some(_) } => {
                holds(self.is_gateway(*address), Invariant::NothingUnadvertised, || {
                    format!("{audience} is told of gateway {address} for {port}")
                })
            }
            _ => Ok(()),
        }
    }
}
