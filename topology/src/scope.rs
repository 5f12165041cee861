//! What an audience may know of a service: whose facts, by which ports.
//!
//! The audience's own cluster gives ports and addresses. A service that is not there takes its
//! ports from the oldest export among those it may know (age, then cluster name): no remote can
//! set the ports of my own service by claiming to be older.
//!
//! A gateway is asked for the ports that its callers know, whoever gave them: it has the ports of
//! everyone who exports the service, and leads each to those who have it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::audience::{Audience, ClientKind, IpFamilies};
use crate::classify::{Case, Fate, Reach, Reason, classify};
use crate::event::ExportMode;
use crate::fact::Consumers;
use crate::grant::{self, Refusal};
use crate::index::{Class, Cluster, Index, Member, Ports, Service};
use crate::intern::Id;
use crate::name::{ClusterId, Locality, NetworkId};
use crate::told::{ClusterSet, RestrictedSet};
use crate::view::Restricted;

/// An audience, with what of it the index knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) kind: ClientKind,
    pub(crate) families: IpFamilies,
    pub(crate) name: &'a ClusterId,
    /// `None`: not declared.
    pub(crate) cluster: Option<Id<Cluster>>,
    /// `None`: nothing is on it.
    pub(crate) network: Option<Id<NetworkId>>,
    pub(crate) locality: &'a Locality,
}

/// Who contributes to a service for an audience, and whose ports it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) ports: Id<Ports>,
    pub(crate) vips: Arc<[IpAddr]>,
    /// Sorted by number.
    pub(crate) clusters: ClusterSet,
    /// `None`: all of it is for everybody.
    pub(crate) restricted: RestrictedSet,
}

impl Index {
    pub(crate) fn who<'a>(&self, audience: &'a Audience) -> Who<'a> {
        Who { network: self.networks.find(&audience.network), ..self.who_of(audience) }
    }

    /// Without the network, which a live audience has at hand.
    pub(crate) fn who_of<'a>(&self, audience: &'a Audience) -> Who<'a> {
        Who {
            kind: audience.kind,
            families: audience.families,
            name: &audience.cluster,
            cluster: self.cluster(&audience.cluster),
            network: None,
            locality: &audience.locality,
        }
    }

    /// `None`: the audience knows of no such service.
    pub(crate) fn scope(&self, who: &Who<'_>, service: Id<Service>) -> Option<Scope> {
        let service = &self.services[service];
        let mut clusters = Vec::with_capacity(service.members.len());
        let mut oldest: Option<(u64, Id<Ports>)> = None;
        let mut own: Option<Id<Ports>> = None;
        let mut vips: Option<&Arc<[IpAddr]>> = None;
        let mut restricted = Vec::new();
        for &(cluster, member) in &service.members {
            let member = &self.members[member];
            let Some(word) = member.word.as_ref().filter(|_| member.refusal.is_none()) else {
                continue;
            };
            if Some(cluster) == who.cluster {
                vips = Some(&word.vips);
            }
            if self.visible(who, service, member).is_err() {
                continue;
            }
            clusters.push(cluster);
            if who.kind == ClientKind::Gateway {
                restricted.extend(self.restricted(member));
            }
            if Some(cluster) == who.cluster {
                own = Some(word.ports);
            }
            let age = age(member);
            // Members come by cluster name, so an equal age does not replace.
            if oldest.is_none_or(|(known, _)| age < known) {
                oldest = Some((age, word.ports));
            }
        }
        clusters.sort_unstable();
        let ports = match who.kind {
            ClientKind::Gateway => service.united,
            ClientKind::Egress | ClientKind::Grpc | ClientKind::Sidecar => {
                own.or(oldest.map(|(_, ports)| ports))
            }
        }?;
        let vips = vips.map_or_else(|| Arc::from([]), Arc::clone);
        let restricted = (!restricted.is_empty()).then(|| Arc::new(restricted));
        Some(Scope { ports, vips, clusters: clusters.into(), restricted })
    }

    /// Whom the member's export names, if it names anybody. Members come by cluster name.
    fn restricted(&self, member: &Member) -> Option<Restricted> {
        let export = member.export.as_ref().filter(|_| self.mesh.export == ExportMode::Listed)?;
        let Consumers::Listed(consumers) = &export.consumers else { return None };
        Some(Restricted {
            cluster: self.cluster_name(member.cluster).clone(),
            consumers: consumers.iter().cloned().collect(),
        })
    }

    pub(crate) fn visible(
        &self,
        who: &Who<'_>,
        service: &Service,
        member: &Member,
    ) -> Result<(), Reason> {
        if let Some(refusal) = member.refusal {
            return Err(Reason::Refused(refusal));
        }
        match who.kind {
            ClientKind::Gateway => return self.routed(service, member),
            ClientKind::Egress | ClientKind::Grpc | ClientKind::Sidecar => {}
        }
        if Some(member.cluster) == who.cluster {
            return Ok(());
        }
        self.exported(service, member, |consumers| consumers.contain(who.name))
    }

    /// Whether gateways route to what the member has. They cannot tell callers apart: what has not
    /// left its cluster they route to nobody. Consumers are enforced by views and sidecars, and by
    /// gateways where tunnels show who calls.
    pub(crate) fn routed(&self, service: &Service, member: &Member) -> Result<(), Reason> {
        if let Some(refusal) = member.refusal {
            return Err(Reason::Refused(refusal));
        }
        let name = self.cluster_name(member.cluster);
        self.exported(service, member, |consumers| consumers.anyone_but(name))
    }

    fn exported(
        &self,
        service: &Service,
        member: &Member,
        to: impl FnOnce(&Consumers) -> bool,
    ) -> Result<(), Reason> {
        if service.cluster_local {
            return Err(Reason::ClusterLocal);
        }
        match self.mesh.export {
            ExportMode::All => Ok(()),
            ExportMode::Listed => {
                let export = member.export.as_ref().ok_or(Reason::NotExported)?;
                if to(&export.consumers) { Ok(()) } else { Err(Reason::NotExportedHere) }
            }
        }
    }

    /// Looks anew at the ports that gateways have. Of a number that several members give, the
    /// oldest export names it.
    pub(crate) fn unite_ports(&mut self, id: Id<Service>) {
        let service = &self.services[id];
        let members = service.members.iter().map(|(_, member)| &self.members[*member]);
        let routed = members.filter(|member| self.routed(service, member).is_ok());
        let mut words: Vec<(u64, Id<Ports>)> =
            routed.filter_map(|one| Some((age(one), one.word.as_ref()?.ports))).collect();
        words.sort_by_key(|(age, _)| *age);
        let united = words.first().map(|(_, first)| {
            if words.iter().all(|(_, ports)| ports == first) {
                self.ports.retain(*first);
                return *first;
            }
            let mut ports = BTreeMap::new();
            for port in words.iter().flat_map(|(_, ports)| self.ports.get(*ports).iter()) {
                ports.entry(port.port).or_insert_with(|| port.clone());
            }
            self.ports.acquire(&ports.into_values().collect()).0
        });
        if let Some(old) = std::mem::replace(&mut self.services[id].united, united) {
            self.ports.release(old);
        }
    }

    /// The case of a class on a network, for a member the audience may know.
    pub(crate) fn case(
        &self,
        who: &Who<'_>,
        member: &Member,
        network: Id<NetworkId>,
        class: &Class,
    ) -> Case {
        let here = who.network == Some(network);
        let reach = if here {
            // Nobody asks: the endpoint is in reach by itself.
            Reach::Gateways
        } else if self.routed(&self.services[member.service], member).is_err() {
            Reach::NotRouted
        } else {
            self.reach(who, network, member.cluster).0
        };
        Case {
            kind: who.kind,
            families: who.families,
            visible: Ok(()),
            port_known: true,
            here,
            mtls: class.mtls,
            health: class.health,
            identified: class.identity.is_some(),
            family: class.family,
            refusal: class.refusal.or_else(|| self.refuse_network(member.cluster, network)),
            // Only those who ask about a port can tell; see `families`.
            has_v4: false,
            reach,
        }
    }

    pub(crate) fn refuse_network(
        &self,
        cluster: Id<Cluster>,
        network: Id<NetworkId>,
    ) -> Option<Refusal> {
        grant::refuse_network(&self.clusters[cluster].settings, self.networks.get(network))
    }

    /// Whether a gateway has anything to route to.
    pub(crate) fn has_route(&self, who: &Who<'_>, service: Id<Service>, scope: &Scope) -> bool {
        self.services[service].members.iter().any(|(cluster, member)| {
            if scope.clusters.binary_search(cluster).is_err() {
                return false;
            }
            let member = &self.members[*member];
            let here = member.rows.iter().filter(|row| Some(row.at.network) == who.network);
            here.filter(|row| {
                let class = self.classes.get(row.class);
                classify(&self.case(who, member, row.at.network, class)) == Fate::Kept
            })
            .any(|row| {
                let ports = self.ports.get(scope.ports).iter();
                ports.into_iter().any(|port| self.leads(member, row.targets, port.port).is_some())
            })
        })
    }
}

/// When the member began to be known elsewhere.
pub(crate) fn age(member: &Member) -> u64 {
    let created = member.word.as_ref().and_then(|word| word.created);
    member.export.as_ref().map(|export| export.created).or(created).unwrap_or(u64::MAX)
}

impl Consumers {
    pub(crate) fn contain(&self, cluster: &ClusterId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Listed(clusters) => clusters.contains(cluster),
        }
    }

    pub(crate) fn anyone_but(&self, cluster: &ClusterId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Listed(clusters) => clusters.iter().any(|other| other != cluster),
        }
    }
}
