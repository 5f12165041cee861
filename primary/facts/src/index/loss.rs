//! What a list of a kind would take away, before it does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use diolkos_topology::ServiceKey;

use super::{ClusterIndex, ObjectId, ObjectKind, Said};
use crate::finding::Findings;
use crate::object::Object;
use crate::slice::SliceParts;

/// Endpoints, whatever kind it is that takes them away: their slice, their service, their pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointLoss {
    pub before: usize,
    pub after: usize,
    /// Of those before, how many are not there after.
    pub gone: usize,
}

type Endpoints<'a> = BTreeSet<(&'a ServiceKey, IpAddr)>;

impl ClusterIndex {
    /// If `all` were all there is of the kind. Other kinds take no endpoint away.
    pub fn loss(&self, kind: ObjectKind, all: &[(ObjectId, Said, Findings)]) -> EndpointLoss {
        let before: Endpoints<'_> = self.slices.values().flat_map(endpoints).collect();
        let after: Endpoints<'_> = match kind {
            ObjectKind::Slice => {
                let known: BTreeMap<ObjectId, &SliceParts> =
                    self.slices.iter().map(|(key, s)| (ObjectId::of_slice(key), s)).collect();
                let slices = all.iter().filter_map(|(id, said, _)| match said {
                    Said::Taken(object) => match &**object {
                        Object::Slice(slice) => Some(slice),
                        _ => None,
                    },
                    // It stays as it was.
                    Said::Refused => known.get(id).copied(),
                    Said::Skipped => None,
                });
                slices.flat_map(endpoints).collect()
            }
            ObjectKind::Service => {
                let left = left(all);
                let stays =
                    |slice: &&SliceParts| left.contains(&ObjectId::of_key(kind, &slice.service));
                self.slices.values().filter(stays).flat_map(endpoints).collect()
            }
            ObjectKind::Pod => {
                let left = left(all);
                let of = |slice: &SliceParts, index: usize| {
                    slice.endpoints[index].pod.as_ref().is_none_or(|(namespace, name)| {
                        left.contains(&ObjectId::new(kind, namespace.as_str(), name.as_str()))
                    })
                };
                let slices = self.slices.values();
                let stay = slices.flat_map(|slice| {
                    let indexes = (0..slice.endpoints.len()).filter(move |at| of(slice, *at));
                    indexes.map(|at| (&slice.service, slice.endpoints[at].address))
                });
                stay.collect()
            }
            _ => return EndpointLoss { before: before.len(), after: before.len(), gone: 0 },
        };
        let gone = before.difference(&after).count();
        EndpointLoss { before: before.len(), after: after.len(), gone }
    }
}

fn left(all: &[(ObjectId, Said, Findings)]) -> BTreeSet<&ObjectId> {
    let stays = |said: &Said| !matches!(said, Said::Skipped);
    all.iter().filter(|(_, said, _)| stays(said)).map(|(id, _, _)| id).collect()
}

fn endpoints(slice: &SliceParts) -> impl Iterator<Item = (&ServiceKey, IpAddr)> {
    slice.endpoints.iter().map(|one| (&slice.service, one.address))
}
