//! Why a client is told what it is told, in lines for people.

use diolkos_ops::Query;
use diolkos_topology::{
    Audience, ClientKind, ClusterId, IpFamilies, Locality, NetworkId, ServiceKey,
};

use super::Core;

/// For whom, about what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    kind: ClientKind,
    cluster: ClusterId,
    /// The cluster's, if not said.
    network: Option<NetworkId>,
    locality: Locality,
    families: IpFamilies,
    service: ServiceKey,
}

impl Question {
    /// `service` (`namespace/name`), and of the client: `cluster` (this primary's), `kind`
    /// (sidecar), `network`, `zone` (`region/zone`), `families` (both).
    pub(crate) fn parse(query: &Query, own: &ClusterId) -> Result<Self, String> {
        let service = query.get("service").ok_or("service=<namespace>/<name> is missing")?;
        let (namespace, name) = match (service.split_once('/'), query.get("namespace")) {
            (Some(pair), _) => pair,
            (None, Some(namespace)) => (namespace, service),
            (None, None) => return Err(format!("service {service:?} is not <namespace>/<name>")),
        };
        let kind = match query.get("kind").unwrap_or("sidecar") {
            "sidecar" => ClientKind::Sidecar,
            "gateway" | "router" => ClientKind::Gateway,
            "grpc" => ClientKind::Grpc,
            other => return Err(format!("kind {other:?} is none of sidecar, gateway, grpc")),
        };
        let families = match query.get("families").unwrap_or("both") {
            "both" => IpFamilies::Both,
            "v4" => IpFamilies::V4,
            "v6" => IpFamilies::V6,
            other => return Err(format!("families {other:?} is none of both, v4, v6")),
        };
        let locality = match query.get("zone") {
            None => Locality::unknown(),
            Some(zone) => {
                let (region, zone) = zone.split_once('/').unwrap_or((zone, ""));
                Locality::new(region, zone)
            }
        };
        let cluster = query.get("cluster").map(ClusterId::new).transpose();
        let network = query.get("network").map(NetworkId::new).transpose();
        Ok(Self {
            kind,
            cluster: cluster.map_err(|error| error.to_string())?.unwrap_or_else(|| own.clone()),
            network: network.map_err(|error| error.to_string())?,
            locality,
            families,
            service: ServiceKey::new(namespace, name).map_err(|error| error.to_string())?,
        })
    }
}

impl Core {
    pub(crate) fn explain(&self, question: Question) -> Vec<String> {
        let Question { kind, cluster, network, locality, families, service } = question;
        let network = network
            .or_else(|| self.federation.network_of(&cluster))
            .unwrap_or_else(NetworkId::unnamed);
        let audience = Audience { kind, cluster, network, locality, families };
        let mut lines = vec![format!("for a {audience}:")];
        let explanations = self.federation.explain(&audience, &service);
        if explanations.is_empty() {
            lines.push(format!("service {service}: no cluster has it, or none that exports it"));
        }
        lines.extend(explanations.iter().map(ToString::to_string));
        lines
    }
}
