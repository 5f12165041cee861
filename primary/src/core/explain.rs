//! Why a client is told what it is told, for people.

use std::net::SocketAddr;

use diolkos_facts::PodKey;
use diolkos_ops::Query;
use diolkos_topology::{
    Audience, ClientKind, ClusterId, Explanation, IpFamilies, Locality, Namespace, NetworkId,
    PodName, ServiceKey, SliceName, Subject, Verdict,
};
use serde::Serialize;

use super::Core;
use crate::limit;

/// For whom, about what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    kind: ClientKind,
    cluster: ClusterId,
    /// The cluster's, if not said.
    network: Option<NetworkId>,
    /// The pod's, if not said.
    locality: Option<Locality>,
    families: IpFamilies,
    /// Who is where it runs.
    pod: Option<PodKey>,
    service: ServiceKey,
}

/// What became of every endpoint, and for whom.
#[derive(Debug)]
pub(crate) struct Explained {
    audience: Audience,
    service: ServiceKey,
    explanations: Vec<Explanation>,
}

impl Question {
    /// `service` (`namespace/name`), and of the client: `cluster` (this primary's), `kind`
    /// (sidecar), `network`, `zone` (`region/zone`), `families` (both), or `pod`
    /// (`namespace/name`), which is on a network and in a zone.
    pub(crate) fn parse(query: &Query, own: &ClusterId) -> Result<Self, String> {
        let service = query.get("service").ok_or("service=<namespace>/<name> is missing")?;
        let (namespace, name) = match (service.split_once('/'), query.get("namespace")) {
            (Some(pair), _) => pair,
            (None, Some(namespace)) => (namespace, service),
            (None, None) => return Err(format!("service {service:?} is not <namespace>/<name>")),
        };
        let kind = match query.get("kind").unwrap_or("sidecar") {
            "sidecar" => ClientKind::Sidecar,
            "egress" => ClientKind::Egress,
            "gateway" | "router" => ClientKind::Gateway,
            "grpc" => ClientKind::Grpc,
            other => {
                return Err(format!("kind {other:?} is none of sidecar, gateway, egress, grpc"));
            }
        };
        let families = match query.get("families").unwrap_or("both") {
            "both" => IpFamilies::Both,
            "v4" => IpFamilies::V4,
            "v6" => IpFamilies::V6,
            other => return Err(format!("families {other:?} is none of both, v4, v6")),
        };
        let locality = match query.get("zone") {
            None => None,
            Some(zone) => {
                let (region, zone) = zone.split_once('/').unwrap_or((zone, ""));
                Some(Locality::new(region, zone))
            }
        };
        let pod = query.get("pod").map(read_pod).transpose()?;
        let cluster = query.get("cluster").map(ClusterId::new).transpose();
        let network = query.get("network").map(NetworkId::new).transpose();
        Ok(Self {
            kind,
            cluster: cluster.map_err(|error| error.to_string())?.unwrap_or_else(|| own.clone()),
            network: network.map_err(|error| error.to_string())?,
            locality,
            families,
            pod,
            service: ServiceKey::new(namespace, name).map_err(|error| error.to_string())?,
        })
    }
}

fn read_pod(text: &str) -> Result<PodKey, String> {
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(format!("pod {text:?} is not <namespace>/<name>"));
    };
    let namespace = Namespace::new(namespace).map_err(|error| error.to_string())?;
    Ok((namespace, PodName::new(name).map_err(|error| error.to_string())?))
}

impl Core {
    /// The error says what there is instead.
    pub(crate) fn explain(&self, question: Question) -> Result<Explained, String> {
        let Question { kind, cluster, network, locality, families, pod, service } = question;
        let Some(own) = self.federation.network_of(&cluster) else {
            let known = self.federation.clusters().into_iter().map(|status| status.cluster);
            return Err(unknown(&format!("cluster {cluster}: it is not in the mesh"), known));
        };
        if !self.federation.knows(&service) {
            let like = self.federation.services_like(&service, limit::LIKE_MAX).into_iter();
            return Err(unknown(&format!("service {service}: no cluster has it"), like));
        }
        let entry = match &pod {
            None => None,
            Some(key) => Some(self.pods.get(&cluster, key).ok_or_else(|| {
                format!("pod {}/{} of cluster {cluster} is not known", key.0, key.1)
            })?),
        };
        let node = entry.and_then(|pod| pod.node.as_ref());
        let locality = locality
            .or_else(|| self.federation.locality_of(&cluster, node?))
            .unwrap_or_else(Locality::unknown);
        let network = network.or_else(|| entry.and_then(|pod| pod.network.clone())).unwrap_or(own);
        let audience = Audience { kind, cluster, network, locality, families };
        let explanations = self.federation.explain(&audience, &service);
        Ok(Explained { audience, service, explanations })
    }
}

fn unknown<T: ToString>(what: &str, known: impl Iterator<Item = T>) -> String {
    let known: Vec<String> = known.map(|one| one.to_string()).collect();
    match known.is_empty() {
        true => format!("{what}; there is none like it"),
        false => format!("{what}; there are {}", known.join(", ")),
    }
}

/// As `/debug/explain?output=json` has it.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedShown<'a> {
    service: String,
    client: ClientShown<'a>,
    endpoints: Vec<EndpointShown<'a>>,
}

#[derive(Debug, Serialize)]
struct ClientShown<'a> {
    kind: &'static str,
    cluster: &'a str,
    network: &'a str,
    locality: String,
    families: &'static str,
}

#[derive(Debug, Serialize)]
struct EndpointShown<'a> {
    port: u16,
    cluster: &'a str,
    network: &'a str,
    locality: String,
    /// Not of endpoints that their cluster said as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<&'a str>,
    count: u64,
    said: String,
    #[serde(flatten)]
    verdict: VerdictShown<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum VerdictShown<'a> {
    Kept { priority: u8 },
    Replaced { gateways: &'a [SocketAddr] },
    Dropped { reason: String },
}

impl Explained {
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("for a {}:", self.audience)];
        if self.explanations.is_empty() {
            lines.push(format!("service {}: it has no endpoints", self.service));
        }
        lines.extend(self.explanations.iter().map(ToString::to_string));
        lines
    }

    pub(crate) fn shown(&self) -> ExplainedShown<'_> {
        let Audience { kind, cluster, network, locality, families } = &self.audience;
        ExplainedShown {
            service: self.service.to_string(),
            client: ClientShown {
                kind: match kind {
                    ClientKind::Egress => "egress",
                    ClientKind::Gateway => "gateway",
                    ClientKind::Grpc => "grpc",
                    ClientKind::Sidecar => "sidecar",
                },
                cluster: cluster.as_str(),
                network: network.as_str(),
                locality: locality.to_string(),
                families: match families {
                    IpFamilies::Both => "both",
                    IpFamilies::V4 => "v4",
                    IpFamilies::V6 => "v6",
                },
            },
            endpoints: self.explanations.iter().map(EndpointShown::of).collect(),
        }
    }
}

impl<'a> EndpointShown<'a> {
    fn of(explanation: &'a Explanation) -> Self {
        let Explanation { port, cluster, network, locality, subject, said, verdict } = explanation;
        let (address, pod, slice) = match subject {
            Subject::Endpoint { address, pod, slice } => {
                (Some(*address), pod.as_ref(), Some(slice))
            }
            Subject::Summary { .. } => (None, None, None),
        };
        Self {
            port: port.port.get(),
            cluster: cluster.as_str(),
            network: network.as_str(),
            locality: locality.to_string(),
            address,
            pod: pod.map(PodName::as_str),
            slice: slice.map(SliceName::as_str),
            count: subject.count(),
            said: said.to_string(),
            verdict: match verdict {
                Verdict::Kept { priority } => VerdictShown::Kept { priority: *priority },
                Verdict::Replaced { gateways } => VerdictShown::Replaced { gateways },
                Verdict::Dropped { reason } => VerdictShown::Dropped { reason: reason.to_string() },
            },
        }
    }
}
