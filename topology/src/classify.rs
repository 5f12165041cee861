//! The one rule for what becomes of an endpoint. The fold counts by it, explanations quote it.

use std::fmt;

use crate::audience::{ClientKind, IpFamilies};
use crate::fact::{Health, Mtls};
use crate::grant::Refusal;
use crate::index::Family;

/// Everything the rule looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) kind: ClientKind,
    pub(crate) families: IpFamilies,
    /// Whether the audience may know what this cluster has of this service.
    pub(crate) visible: Result<(), Reason>,
    /// Whether the audience's view of the service has the port.
    pub(crate) port_known: bool,
    /// On the audience's own network.
    pub(crate) here: bool,
    pub(crate) mtls: Mtls,
    pub(crate) health: Health,
    pub(crate) identified: bool,
    pub(crate) family: Family,
    pub(crate) refusal: Option<Refusal>,
    /// The cluster has IPv4 endpoints of this service.
    pub(crate) has_v4: bool,
    pub(crate) reach: Reach,
}

/// How the audience can get to the endpoint's network, if it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Gateways,
    NoGateway,
    NoGatewayOfFamily,
    NoGatewayOfKind,
    /// It has not left its cluster, and a gateway would refuse it to everyone.
    NotRouted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Replaced,
    Dropped(Reason),
}

/// Why an endpoint is not in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The client kind cannot use gateways.
    ClientKind,
    ClusterLocal,
    /// A pod has one address per family; the other one counts.
    CountedByOtherAddress,
    /// Another cluster on this network has the same address for this port.
    Duplicate,
    /// An earlier slice of the same service has the same address for this port.
    DuplicateInCluster,
    /// A gateway serves its own network only.
    Hairpin,
    NoGateway,
    NoGatewayOfFamily,
    NoGatewayOfKind,
    NoIdentity,
    /// Its cluster has no such Service, or the Service has no such port.
    NoServicePort,
    NotExported,
    /// Exported, but not to the audience's cluster.
    NotExportedHere,
    NotReady,
    /// Gateways route only what is exported, also for clients of the endpoint's own cluster.
    NotRouted,
    OtherFamily,
    /// The way out leads to other networks alone.
    OwnNetwork,
    PlaintextBehindGateway,
    PortUnknown,
    Refused(Refusal),
    /// Counted by its cluster without an address, and nearer than any gateway.
    SaidWithoutAddress,
    Terminating,
}

pub(crate) fn classify(case: &Case) -> Fate {
    match judge(case) {
        Err(reason) => Fate::Dropped(reason),
        Ok(()) if case.here => Fate::Kept,
        Ok(()) => Fate::Replaced,
    }
}

fn judge(case: &Case) -> Result<(), Reason> {
    case.visible?;
    if let Some(refusal) = case.refusal {
        return Err(Reason::Refused(refusal));
    }
    if !case.port_known {
        return Err(Reason::PortUnknown);
    }
    match case.health {
        Health::NotReady => return Err(Reason::NotReady),
        Health::Terminating => return Err(Reason::Terminating),
        Health::Ready => {}
    }
    if case.mtls == Mtls::Istio && !case.identified {
        return Err(Reason::NoIdentity);
    }
    if case.here { judge_here(case) } else { judge_elsewhere(case) }
}

fn judge_here(case: &Case) -> Result<(), Reason> {
    if case.kind == ClientKind::Egress {
        return Err(Reason::OwnNetwork);
    }
    if case.kind == ClientKind::Gateway && case.mtls == Mtls::Plaintext {
        return Err(Reason::PlaintextBehindGateway);
    }
    match (case.family, case.families) {
        (Family::Said, _) => Err(Reason::SaidWithoutAddress),
        (Family::V4, IpFamilies::V6) | (Family::V6, IpFamilies::V4) => Err(Reason::OtherFamily),
        (Family::V6, IpFamilies::Both) if case.has_v4 => Err(Reason::CountedByOtherAddress),
        _ => Ok(()),
    }
}

fn judge_elsewhere(case: &Case) -> Result<(), Reason> {
    match case.kind {
        ClientKind::Gateway => return Err(Reason::Hairpin),
        ClientKind::Grpc => return Err(Reason::ClientKind),
        ClientKind::Egress | ClientKind::Sidecar => {}
    }
    if case.mtls == Mtls::Plaintext {
        return Err(Reason::PlaintextBehindGateway);
    }
    match case.reach {
        Reach::Gateways => Ok(()),
        Reach::NoGateway => Err(Reason::NoGateway),
        Reach::NoGatewayOfFamily => Err(Reason::NoGatewayOfFamily),
        Reach::NoGatewayOfKind => Err(Reason::NoGatewayOfKind),
        Reach::NotRouted => Err(Reason::NotRouted),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientKind => "on another network, and this kind of client cannot use gateways",
            Self::ClusterLocal => "the service is cluster-local",
            Self::CountedByOtherAddress => "counted by its address of the other IP family",
            Self::Duplicate => "another cluster on this network has the same address",
            Self::DuplicateInCluster => "an earlier slice of the service has the same address",
            Self::Hairpin => "on another network, and a gateway serves its own only",
            Self::NoGateway => "on another network that no gateway leads to",
            Self::NoGatewayOfFamily => {
                "on another network whose gateways have no address of the client's IP family"
            }
            Self::NoGatewayOfKind => {
                "on another network whose gateways have no port this kind of client can use"
            }
            Self::NoIdentity => "it speaks mutual TLS but has no known identity",
            Self::NoServicePort => "its cluster has no service port that leads to it",
            Self::NotExported => "the service is not exported by this cluster",
            Self::NotExportedHere => "the service is exported, but not to the client's cluster",
            Self::NotReady => "not ready",
            Self::NotRouted => {
                "on another network, and its gateways route only what this cluster exports"
            }
            Self::OtherFamily => "the client has no address of its IP family",
            Self::OwnNetwork => "on the gateway's own network, and the way out leads to others",
            Self::PlaintextBehindGateway => "plaintext, and gateways carry only mutual TLS",
            Self::PortUnknown => {
                "the service has no such port for the client's cluster (port conflict)"
            }
            Self::Refused(refusal) => return write!(f, "refused: {refusal}"),
            Self::SaidWithoutAddress => {
                "said as a number on the client's own network, where addresses are needed"
            }
            Self::Terminating => "terminating",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Case = Case {
        kind: ClientKind::Sidecar,
        families: IpFamilies::V4,
        visible: Ok(()),
        port_known: true,
        here: true,
        mtls: Mtls::Istio,
        health: Health::Ready,
        identified: true,
        family: Family::V4,
        refusal: None,
        has_v4: true,
        reach: Reach::Gateways,
    };

    #[test]
    fn every_reason_has_its_case() {
        use ClientKind::{Egress, Gateway, Grpc};
        let away = Case { here: false, ..GOOD };
        let dropped = Fate::Dropped;
        let cases = [
            (GOOD, Fate::Kept),
            (Case { mtls: Mtls::Plaintext, identified: false, ..GOOD }, Fate::Kept),
            (away, Fate::Replaced),
            (Case { family: Family::Said, ..away }, Fate::Replaced),
            (Case { family: Family::V6, ..away }, Fate::Replaced),
            (Case { visible: Err(Reason::NotExported), ..GOOD }, dropped(Reason::NotExported)),
            (
                Case { refusal: Some(Refusal::Loopback), ..GOOD },
                dropped(Reason::Refused(Refusal::Loopback)),
            ),
            (Case { port_known: false, ..GOOD }, dropped(Reason::PortUnknown)),
            (Case { health: Health::NotReady, ..GOOD }, dropped(Reason::NotReady)),
            (Case { health: Health::Terminating, ..away }, dropped(Reason::Terminating)),
            (Case { identified: false, ..GOOD }, dropped(Reason::NoIdentity)),
            (Case { identified: false, ..away }, dropped(Reason::NoIdentity)),
            (
                Case { kind: Gateway, mtls: Mtls::Plaintext, ..GOOD },
                dropped(Reason::PlaintextBehindGateway),
            ),
            (Case { family: Family::Said, ..GOOD }, dropped(Reason::SaidWithoutAddress)),
            (Case { family: Family::V6, ..GOOD }, dropped(Reason::OtherFamily)),
            (
                Case { family: Family::V6, families: IpFamilies::Both, ..GOOD },
                dropped(Reason::CountedByOtherAddress),
            ),
            (
                Case { family: Family::V6, families: IpFamilies::Both, has_v4: false, ..GOOD },
                Fate::Kept,
            ),
            (Case { kind: Egress, ..GOOD }, dropped(Reason::OwnNetwork)),
            (Case { kind: Egress, ..away }, Fate::Replaced),
            (Case { kind: Gateway, ..away }, dropped(Reason::Hairpin)),
            (Case { kind: Grpc, ..away }, dropped(Reason::ClientKind)),
            (Case { mtls: Mtls::Plaintext, ..away }, dropped(Reason::PlaintextBehindGateway)),
            (Case { reach: Reach::NoGateway, ..away }, dropped(Reason::NoGateway)),
            (Case { reach: Reach::NoGatewayOfFamily, ..away }, dropped(Reason::NoGatewayOfFamily)),
            (Case { reach: Reach::NoGatewayOfKind, ..away }, dropped(Reason::NoGatewayOfKind)),
            (Case { reach: Reach::NotRouted, ..away }, dropped(Reason::NotRouted)),
            (Case { reach: Reach::NotRouted, ..GOOD }, Fate::Kept),
        ];
        for (case, fate) in cases {
            assert_eq!(classify(&case), fate, "{case:?}");
        }
    }
}
