//! Where exporters of one service disagree about its ports: the oldest export is right.

use crate::change::Changes;
use crate::event::{ExportMode, StatusWish};
use crate::fact::ServicePortFact;
use crate::federation::Federation;
use crate::index::{Index, Member, Service};
use crate::intern::Id;
use crate::name::{ClusterId, Port};
use crate::notice::Notice;
use crate::scope::age;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conflict {
    pub(crate) port: Port,
    pub(crate) winner: ClusterId,
    pub(crate) loser: ClusterId,
    pub(crate) why: String,
}

impl Federation {
    /// Tells of conflicts that are new, and wishes for conditions that are not as last wished.
    pub(crate) fn report_conflicts(&mut self, wishes: &mut Vec<StatusWish>) {
        let index = &mut self.index;
        let merges = std::mem::take(&mut self.changes.merges);
        let mut services: Vec<Id<Service>> = merges.into_iter().collect();
        services.sort_by(|a, b| index.services[*a].key.cmp(&index.services[*b].key));
        for service in services {
            let conflicts = index.conflicts(service);
            report_new(index, service, &conflicts, &mut self.changes);
            index.wish_conditions(service, &conflicts, wishes);
            index.services[service].conflicts = conflicts;
        }
    }
}

fn report_new(index: &Index, id: Id<Service>, conflicts: &[Conflict], changes: &mut Changes) {
    let service = &index.services[id];
    for conflict in conflicts.iter().filter(|one| !service.conflicts.contains(one)) {
        changes.notices.push(Notice::PortConflict {
            service: service.key.clone(),
            port: conflict.port,
            winner: conflict.winner.clone(),
            loser: conflict.loser.clone(),
            why: conflict.why.clone(),
        });
    }
}

impl Index {
    fn conflicts(&self, service: Id<Service>) -> Vec<Conflict> {
        let service = &self.services[service];
        if service.cluster_local {
            return Vec::new();
        }
        let members = service.members.iter().map(|(_, member)| &self.members[*member]);
        let exporters: Vec<&Member> = members.filter(|member| self.exports(member)).collect();
        let word = |member: &Member| member.word.as_ref().map(|word| word.ports);
        let first = exporters.first().and_then(|member| word(member));
        if exporters.iter().all(|member| word(member) == first) {
            return Vec::new();
        }
        // Exporters come by name, and the first of equally old ones is found.
        let Some(winner) = exporters.iter().min_by_key(|member| age(member)) else {
            return Vec::new();
        };
        let mut conflicts = Vec::new();
        for loser in exporters.iter().filter(|member| word(member) != word(winner)) {
            for (port, why) in self.disagreements(winner, loser) {
                conflicts.push(Conflict {
                    port,
                    winner: self.cluster_name(winner.cluster).clone(),
                    loser: self.cluster_name(loser.cluster).clone(),
                    why,
                });
            }
        }
        conflicts
    }

    fn exports(&self, member: &Member) -> bool {
        let exported = match self.mesh.export {
            ExportMode::All => true,
            ExportMode::Listed => member.export.as_ref().is_some_and(|export| {
                export.consumers.anyone_but(self.cluster_name(member.cluster))
            }),
        };
        exported && member.word.is_some() && member.refusal.is_none()
    }

    fn disagreements(&self, winner: &Member, loser: &Member) -> Vec<(Port, String)> {
        let (Some(right), Some(wrong)) = (&winner.word, &loser.word) else { return Vec::new() };
        let mut found = Vec::new();
        for port in self.ports.get(wrong.ports).iter() {
            if let Some(why) = differs(port, self.port_named(right.ports, port.port)) {
                found.push((port.port, why));
            }
        }
        for port in self.ports.get(right.ports).iter() {
            if self.port_named(wrong.ports, port.port).is_none() {
                found.push((port.port, format!("it lacks the port, named {:?}", port.name)));
            }
        }
        found.sort();
        found
    }

    fn wish_conditions(
        &mut self,
        service: Id<Service>,
        conflicts: &[Conflict],
        wishes: &mut Vec<StatusWish>,
    ) {
        let key = self.services[service].key.clone();
        for place in 0..self.services[service].members.len() {
            let (cluster, member) = self.services[service].members[place];
            let name = self.cluster_name(cluster).clone();
            let Some(export) = &mut self.members[member].export else { continue };
            let own = conflicts.iter().filter(|conflict| conflict.loser == name);
            let texts: Vec<_> = own.map(Conflict::text).collect();
            let conflict = (!texts.is_empty()).then(|| texts.join("; "));
            if export.wished.as_ref().map(Option::as_deref) != Some(conflict.as_deref()) {
                export.wished = Some(conflict.as_deref().map(Into::into));
                let service = key.clone();
                wishes.push(StatusWish::ExportCondition { cluster: name, service, conflict });
            }
        }
    }
}

impl Conflict {
    fn text(&self) -> String {
        format!("port {} conflicts with cluster {} ({})", self.port, self.winner, self.why)
    }
}

fn differs(port: &ServicePortFact, right: Option<&ServicePortFact>) -> Option<String> {
    let Some(right) = right else { return Some("it has no such port".into()) };
    if port.name != right.name {
        return Some(format!("named {:?} here, {:?} there", port.name, right.name));
    }
    (port.protocol != right.protocol)
        .then(|| format!("{:?} here, {:?} there", port.protocol, right.protocol))
}
