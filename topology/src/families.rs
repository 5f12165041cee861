//! Pods with an address of each IP family: clients that speak both take the IPv4 one.
//!
//! No one says which two addresses are one pod's. Endpoints of a service port that agree in all
//! but their family (cluster, place, identity, readiness, mTLS) are taken for the same pods, here
//! as where they are counted behind a gateway (`units`). So wherever a gateway's network counts
//! for something, the gateway has an address to lead to: an IPv4 endpoint that is not ready, is
//! elsewhere or is someone else's hides no other.

use crate::audience::IpFamilies;
use crate::change::Dirt;
use crate::index::{At, Class, Family, Index, Member, Ports, Row, Service, pack};
use crate::intern::Id;
use crate::name::Port;
use crate::scope::Who;

/// IPv6 endpoints that are spare, by port, place and class; sorted.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<(Port, At, Id<Class>)>);

impl Spares {
    pub(crate) fn have(&self, port: Port, at: At, class: Id<Class>) -> bool {
        self.0.binary_search(&(port, at, class)).is_ok()
    }
}

impl Index {
    /// Given the member's rows as they are or were.
    pub(crate) fn spares(
        &self,
        who: &Who<'_>,
        ports: Id<Ports>,
        member: &Member,
        rows: &[Row],
    ) -> Spares {
        let mut spares = Vec::new();
        if who.families == IpFamilies::Both {
            let here = rows.iter().filter(|row| Some(row.at.network) == who.network);
            for row in here.filter(|row| self.is_v6(row.class)) {
                for port in self.ports.get(ports).iter().map(|port| port.port) {
                    if self.has_v4(member, rows, port, (row.at, self.classes.get(row.class))) {
                        spares.push((port, row.at, row.class));
                    }
                }
            }
        }
        spares.sort_unstable();
        Spares(spares)
    }

    /// Whether beside IPv6 endpoints of this place and class the port has IPv4 ones.
    pub(crate) fn has_v4(
        &self,
        member: &Member,
        rows: &[Row],
        port: Port,
        (at, class): (At, &Class),
    ) -> bool {
        class.family == Family::V6
            && self
                .twins(rows, at, class)
                .any(|twin| self.leads(member, twin.targets, port).is_some())
    }

    fn twins<'r>(
        &'r self,
        rows: &'r [Row],
        at: At,
        class: &Class,
    ) -> impl Iterator<Item = &'r Row> {
        let twin = Class { family: Family::V4, ..*class };
        rows.iter().filter(move |row| row.at == at && *self.classes.get(row.class) == twin)
    }

    pub(crate) fn is_v6(&self, class: Id<Class>) -> bool {
        self.classes.get(class).family == Family::V6
    }

    /// IPv6 addresses beside which IPv4 endpoints came or went, whether they changed or not.
    /// Costs the member's IPv6 endpoints, and nothing where no row came or went.
    pub(crate) fn turned(&self, service: Id<Service>, dirt: &Dirt) -> Vec<[u8; 16]> {
        let (Some(before), Some(cluster)) = (&dirt.rows, dirt.cluster) else { return Vec::new() };
        let member = self.member(cluster, &self.services[service].key);
        let Some(member) = member.map(|member| &self.members[member]) else { return Vec::new() };
        let targets = |rows: &[Row], at: At, class: Id<Class>| {
            let twins = self.twins(rows, at, self.classes.get(class));
            let mut targets: Vec<_> = twins.map(|row| row.targets).collect();
            targets.sort_unstable();
            targets
        };
        let mut groups: Vec<(At, Id<Class>)> = Vec::new();
        for row in member.rows.iter().filter(|row| self.is_v6(row.class)) {
            let (at, class) = (row.at, row.class);
            if targets(before, at, class) != targets(&member.rows, at, class) {
                groups.push((at, class));
            }
        }
        if groups.is_empty() {
            return Vec::new();
        }
        let mut turned = Vec::new();
        for slice in member.slices.iter().map(|slice| &self.slices[*slice]) {
            // Packed, IPv4 addresses come last.
            let end = pack(std::net::Ipv4Addr::UNSPECIFIED.into());
            let v6 = slice.endpoints.partition_point(|one| one.address < end);
            let all = slice.endpoints[..v6].iter();
            let mine = all.filter(|one| groups.contains(&(self.at(one.place), one.class)));
            turned.extend(mine.map(|one| one.address));
        }
        turned.sort_unstable();
        turned.dedup();
        turned
    }
}
