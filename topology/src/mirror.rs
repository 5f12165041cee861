//! One audience's view as its changes add up to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_trust::SpiffeId;

use crate::name::{Port, ServiceKey};
use crate::view::{Change, ServiceView, ViewEndpoint, ViewGateway, What};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub services: BTreeMap<ServiceKey, ServiceEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    pub service: Arc<ServiceView>,
    /// One for each port of `service`, whether or not anything serves it.
    pub ports: BTreeMap<Port, PortEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortEntry {
    pub endpoints: BTreeMap<SocketAddr, Arc<ViewEndpoint>>,
    pub gateways: BTreeMap<SocketAddr, Arc<ViewGateway>>,
    /// Sorted.
    pub identities: Vec<SpiffeId>,
}

impl View {
    /// The change must be one of this view's audience.
    ///
    /// # Panics
    /// In debug builds, where the change breaks the order that `ViewDelta` promises.
    pub fn apply(&mut self, change: &Change) {
        match &change.what {
            What::Service { key, entry: None } => {
                self.services.remove(key);
            }
            What::Service { key, entry: Some(service) } => self.set_service(key, service),
            What::Endpoint { port, address, entry } => {
                if let Some(known) = self.port(&port.service, port.port) {
                    match entry {
                        Some(entry) => known.endpoints.insert(*address, Arc::clone(entry)),
                        None => known.endpoints.remove(address),
                    };
                }
            }
            What::Gateway { port, address, entry } => {
                if let Some(known) = self.port(&port.service, port.port) {
                    match entry {
                        Some(entry) => known.gateways.insert(*address, Arc::clone(entry)),
                        None => known.gateways.remove(address),
                    };
                }
            }
            What::Identities { port, identities } => {
                if let Some(known) = self.port(&port.service, port.port) {
                    known.identities = identities.to_vec();
                }
            }
        }
    }

    fn set_service(&mut self, key: &ServiceKey, service: &Arc<ServiceView>) {
        let entry = self.services.entry(key.clone()).or_insert_with(|| ServiceEntry {
            service: Arc::clone(service),
            ports: BTreeMap::new(),
        });
        entry.service = Arc::clone(service);
        entry.ports.retain(|number, _| service.ports.iter().any(|port| port.port == *number));
        for port in &service.ports {
            entry.ports.entry(port.port).or_default();
        }
    }

    fn port(&mut self, service: &ServiceKey, port: Port) -> Option<&mut PortEntry> {
        let known = self.services.get_mut(service).and_then(|entry| entry.ports.get_mut(&port));
        debug_assert!(known.is_some(), "{service}:{port} is told before the service has it");
        known
    }
}
