//! The federation: events in, effects out.

use crate::audience::Audience;
use crate::event::{Effects, Event};
use crate::explain::Explanation;
use crate::name::{ClusterId, Locality, NetworkId, NodeName, ServiceKey, Tick};
use crate::status::ClusterStatus;
use crate::work::Work;

#[derive(Debug, Default)]
pub struct Federation {
    work: Work,
}

impl Federation {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `out` what came of the event.
    pub fn apply(&mut self, now: Tick, event: Event, out: &mut Effects) {
        let _ = (now, event, out);
        self.work.events += 1;
    }

    /// When to say `Event::Tick`.
    pub fn next_deadline(&self) -> Option<Tick> {
        None
    }

    pub fn explain(&self, audience: &Audience, service: &ServiceKey) -> Vec<Explanation> {
        let _ = (audience, service);
        Vec::new()
    }

    pub fn clusters(&self) -> Vec<ClusterStatus> {
        Vec::new()
    }

    pub fn network_of(&self, cluster: &ClusterId) -> Option<NetworkId> {
        let _ = cluster;
        None
    }

    pub fn locality_of(&self, cluster: &ClusterId, node: &NodeName) -> Option<Locality> {
        let _ = (cluster, node);
        None
    }

    pub fn work(&self) -> Work {
        self.work
    }
}
