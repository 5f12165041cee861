//! What the oracle knows of what was said, beside the views.

use std::collections::BTreeSet;

use super::World;
use crate::event::ExportMode;
use crate::fact::{Consumers, Fact, GatewayFact};
use crate::grant::{refuse_gateway, refuse_service};
use crate::name::{ClusterId, ServiceKey};
use crate::status::Refused;
use crate::view::Restricted;

impl World {
    /// What a cluster has and may not claim.
    pub fn refused(&self, cluster: &ClusterId) -> Refused {
        let mut refused = Refused::default();
        let Some(cluster) = self.clusters.get(cluster) else { return refused };
        let settings = &cluster.settings;
        for fact in cluster.facts() {
            match fact {
                Fact::Service(service) if refuse_service(settings, &service.key).is_some() => {
                    refused.services += 1;
                }
                Fact::Slice(slice) => {
                    let mut said = BTreeSet::new();
                    let firsts = slice.endpoints.iter().filter(|one| said.insert(one.address));
                    refused.endpoints += firsts.filter(|one| !cluster.granted(one)).count();
                }
                Fact::Gateway(GatewayFact { key, network, .. }) => {
                    let own = cluster.network();
                    let why = refuse_gateway(settings, own, network, key.address);
                    refused.gateways += usize::from(why.is_some());
                }
                _ => {}
            }
        }
        refused
    }

    pub(super) fn restricted(&self, clusters: &[ClusterId], key: &ServiceKey) -> Vec<Restricted> {
        if self.mesh.export == ExportMode::All {
            return Vec::new();
        }
        let of = |cluster: &ClusterId| match &self.clusters[cluster].export(key)?.consumers {
            Consumers::Everyone => None,
            Consumers::Listed(listed) => Some(Restricted {
                cluster: cluster.clone(),
                consumers: listed.iter().cloned().collect(),
            }),
        };
        clusters.iter().filter_map(of).collect()
    }
}
