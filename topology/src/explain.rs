//! Why a view holds what it holds: one line for every endpoint, by the rule the fold counts by.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use diolkos_trust::SpiffeId;

use crate::audience::Audience;
use crate::classify::{Case, Fate, Reason, classify};
use crate::federation::Federation;
use crate::index::{At, Class, Endpoint, Family, Index, Member, Service, Slice, unpack};
use crate::intern::Id;
use crate::name::{
    ClusterId, Locality, NetworkId, PodName, Port, ServiceKey, ServicePort, SliceName, Stamp,
};
use crate::scope::{Scope, Who};
use crate::units::carried;

/// What became of one endpoint, or of endpoints said as a number, for one audience.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Explanation {
    pub port: ServicePort,
    pub cluster: ClusterId,
    pub network: NetworkId,
    pub locality: Locality,
    pub subject: Subject,
    /// When its cluster said so.
    pub said: Stamp,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Endpoint {
        address: SocketAddr,
        pod: Option<PodName>,
        slice: SliceName,
    },
    /// As many as the cluster said, without their addresses.
    Summary {
        count: u32,
    },
}

impl Subject {
    pub fn count(&self) -> u64 {
        match self {
            Self::Endpoint { .. } => 1,
            Self::Summary { count } => u64::from(*count),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Kept {
        priority: u8,
    },
    /// These gateways stand for it, in equal parts.
    Replaced {
        gateways: Vec<SocketAddr>,
    },
    Dropped {
        reason: Reason,
    },
}

/// By which counts of one family are compared with the other's.
type PodGroup = (Port, Id<NetworkId>, Id<Locality>, Option<Id<SpiffeId>>);

impl Federation {
    /// Every endpoint anyone has of the service, sorted by port, cluster, network, locality and
    /// address. The audience need not be live.
    pub fn explain(&self, audience: &Audience, service: &ServiceKey) -> Vec<Explanation> {
        let Some(&id) = self.index.service_ids.get(service) else { return Vec::new() };
        let who = self.index.who(audience);
        let mut recorder = Recorder {
            index: &self.index,
            who,
            service: &self.index.services[id],
            scope: self.index.scope(&who, id),
            lines: Vec::new(),
        };
        for (_, member) in &self.index.services[id].members {
            recorder.member(&self.index.members[*member]);
        }
        recorder.strike_duplicates();
        recorder.lines.sort();
        recorder.lines
    }
}

struct Recorder<'i> {
    index: &'i Index,
    who: Who<'i>,
    service: &'i Service,
    scope: Option<Scope>,
    lines: Vec<Explanation>,
}

impl Recorder<'_> {
    fn member(&mut self, member: &Member) {
        let mut heavier = self.heavier_families(member);
        for slice in &member.slices {
            let slice = &self.index.slices[*slice];
            for (place, endpoint) in slice.endpoints.iter().enumerate() {
                let ports = self.ports_of(member, slice);
                if ports.is_empty() {
                    self.unjoined(member, slice, place);
                }
                for (port, target) in ports {
                    let at = self.index.at(endpoint.place);
                    let class = self.index.classes.get(endpoint.class);
                    let verdict = if self.is_shadowed(member, slice, endpoint, port) {
                        Verdict::Dropped { reason: Reason::DuplicateInCluster }
                    } else {
                        self.verdict(member, port, at, class, &mut heavier)
                    };
                    self.endpoint(member, slice, place, port, target, verdict);
                }
            }
        }
        let Some(summary) = &member.summary else { return };
        for group in &summary.groups {
            let at = self.index.said_at(group.place);
            let class = self.index.classes.get(group.class);
            let ports = member.word.as_ref().map(|word| word.ports);
            let known = ports.and_then(|ports| self.index.port_named(ports, group.port));
            let verdict = match known {
                Some(_) => self.verdict(member, group.port, at, class, &mut heavier),
                None => Verdict::Dropped { reason: Reason::NoServicePort },
            };
            let subject = Subject::Summary { count: group.count };
            self.line(member, group.port, at, subject, summary.stamp, verdict);
        }
    }

    /// The service's ports that lead to the slice, and where to.
    fn ports_of(&self, member: &Member, slice: &Slice) -> Vec<(Port, Port)> {
        let ports = member.word.iter().flat_map(|word| self.index.ports.get(word.ports).iter());
        ports
            .filter_map(|port| {
                Some((port.port, self.index.leads(member, slice.targets, port.port)?))
            })
            .collect()
    }

    fn unjoined(&mut self, member: &Member, slice: &Slice, place: usize) {
        let targets = self.index.targets.get(slice.targets).clone();
        for (_, target) in targets.iter() {
            let verdict = Verdict::Dropped { reason: Reason::NoServicePort };
            self.endpoint(member, slice, place, *target, *target, verdict);
        }
    }

    /// Whether an earlier slice has the address for the port.
    fn is_shadowed(&self, member: &Member, slice: &Slice, endpoint: &Endpoint, port: Port) -> bool {
        let granted = |one: &Endpoint| self.index.classes.get(one.class).refusal.is_none();
        let slices = member.slices.iter().map(|slice| &self.index.slices[*slice]);
        let mut earlier = slices.take_while(|other| other.name < slice.name);
        granted(endpoint)
            && earlier.any(|other| {
                other.find(endpoint.address).is_some_and(granted)
                    && self.index.leads(member, other.targets, port).is_some()
            })
    }

    fn verdict(
        &self,
        member: &Member,
        port: Port,
        at: At,
        class: &Class,
        heavier: &mut BTreeMap<PodGroup, Family>,
    ) -> Verdict {
        let ports = self.scope.as_ref().map(|scope| scope.ports);
        let known = ports.and_then(|ports| self.index.port_named(ports, port));
        let case = Case {
            has_v4: self.index.has_v4(member, &member.rows, port, (at, class)),
            visible: self.index.visible(&self.who, self.service, member),
            port_known: known.is_some(),
            ..self.index.case(&self.who, member, at.network, class)
        };
        match classify(&case) {
            Fate::Dropped(reason) => Verdict::Dropped { reason },
            Fate::Kept => {
                let priority = self.index.priority(&self.who, member.cluster, at.locality);
                Verdict::Kept { priority }
            }
            Fate::Replaced => {
                let group = (port, at.network, at.locality, class.identity);
                let other = heavier.get(&group).is_some_and(|family| *family != class.family);
                if other && class.family != Family::Said {
                    return Verdict::Dropped { reason: Reason::CountedByOtherAddress };
                }
                let gateways = &self.index.gateways;
                let (_, ids) = self.index.reach(&self.who, at.network, member.cluster);
                let mut gateways: Vec<_> = ids.iter().map(|id| gateways.get(*id).address).collect();
                gateways.sort();
                Verdict::Replaced { gateways }
            }
        }
    }

    /// Behind a gateway the family with more addresses stands for the pods; IPv4, if equal.
    fn heavier_families(&self, member: &Member) -> BTreeMap<PodGroup, Family> {
        let mut counts: BTreeMap<PodGroup, (u64, u64)> = BTreeMap::new();
        let ports = member.word.iter().flat_map(|word| self.index.ports.get(word.ports).iter());
        for port in ports {
            for row in &member.rows {
                let class = self.index.classes.get(row.class);
                if !carried(class) || self.index.leads(member, row.targets, port.port).is_none() {
                    continue;
                }
                let at = row.at;
                let group = (port.port, at.network, at.locality, class.identity);
                let count = counts.entry(group).or_default();
                match class.family {
                    Family::V4 => count.0 += u64::from(row.count),
                    Family::V6 => count.1 += u64::from(row.count),
                    Family::Said => {}
                }
            }
        }
        let family = |(v4, v6)| if v6 > v4 { Family::V6 } else { Family::V4 };
        counts.into_iter().map(|(group, count)| (group, family(count))).collect()
    }

    fn endpoint(
        &mut self,
        member: &Member,
        slice: &Slice,
        place: usize,
        port: Port,
        target: Port,
        verdict: Verdict,
    ) {
        let endpoint = &slice.endpoints[place];
        let subject = Subject::Endpoint {
            address: SocketAddr::new(unpack(endpoint.address), target.get()),
            pod: slice.pod(place),
            slice: slice.name.clone(),
        };
        let at = self.index.at(endpoint.place);
        self.line(member, port, at, subject, slice.stamp, verdict);
    }

    fn line(
        &mut self,
        member: &Member,
        port: Port,
        at: At,
        subject: Subject,
        said: Stamp,
        verdict: Verdict,
    ) {
        self.lines.push(Explanation {
            port: ServicePort { service: self.service.key.clone(), port },
            cluster: self.index.cluster_name(member.cluster).clone(),
            network: self.index.networks.get(at.network).clone(),
            locality: self.index.localities.get(at.locality).clone(),
            subject,
            said,
            verdict,
        });
    }

    /// Of clusters on one network that have the same address, one is kept.
    fn strike_duplicates(&mut self) {
        let who = self.who;
        self.lines.sort_by_key(|line| (line.cluster != *who.name, line.cluster.clone()));
        let mut kept = std::collections::BTreeSet::new();
        for line in &mut self.lines {
            let Subject::Endpoint { address, .. } = line.subject else { continue };
            if matches!(line.verdict, Verdict::Kept { .. })
                && !kept.insert((line.port.port, address))
            {
                line.verdict = Verdict::Dropped { reason: Reason::Duplicate };
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, cluster, network, locality, subject, said, verdict } = self;
        write!(f, "{port} {subject} of {cluster} on {network} at {locality}: {verdict}")?;
        write!(f, " (said {said})")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { address, pod: Some(pod), slice } => {
                write!(f, "{address} pod {pod} in {slice}")
            }
            Self::Endpoint { address, pod: None, slice } => write!(f, "{address} in {slice}"),
            Self::Summary { count } => write!(f, "{count} as said"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { priority } => write!(f, "kept, priority {priority}"),
            Self::Replaced { gateways } => {
                f.write_str("replaced by ")?;
                for (place, gateway) in gateways.iter().enumerate() {
                    write!(f, "{}{gateway}", if place == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Dropped { reason } => write!(f, "dropped, {reason}"),
        }
    }
}
