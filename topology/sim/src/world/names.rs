//! Whether gateways lead somewhere with what sidecars send them.
//!
//! A sidecar and a gateway have streams of their own, in a mesh of several primaries not even to
//! the same one, so nobody can have either of them hear of a name first. What holds is that one
//! word of a cluster tells both (`ToldTogether`), that they agree once both have taken what they
//! were told (`TakenNamesAreRouted`), and that at rest all of it is true (`NamesAreRoutable`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use diolkos_topology::{Fact, Health, Mtls, ServiceKey};

use super::World;
use crate::client::{Client, Mind};
use crate::invariant::{Checked, Invariant, holds};
use crate::liveness;
use crate::resource::service_of;

impl World {
    /// Every server name at every gateway address that a sidecar uses.
    pub(super) fn check_names(&self) -> Checked {
        for sidecar in self.clients.iter().filter(|one| matches!(one.mind, Mind::Envoy(_))) {
            for (name, endpoints) in sidecar.uses() {
                for address in endpoints.keys() {
                    let Some(gateway) = self.gateway_at(*address) else { continue };
                    let service = service_of(&name).map(|(service, _)| service);
                    let truth = match gateway.mind {
                        Mind::Egress(..) => Some(self.tunnels()),
                        _ => service.map(|service| self.mtls_on(gateway.home, &service)),
                    };
                    liveness::name_is_routable(
                        sidecar,
                        &name,
                        gateway,
                        &truth.unwrap_or_default(),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// As far as clusters were heard, and whatever is under way to other clients.
    pub(super) fn check_taken_names(&self) -> Checked {
        let current = |one: &&Client| one.is_current(&self.primary);
        let (sidecars, gateways): (Vec<_>, Vec<_>) = self
            .clients
            .iter()
            .filter(|one| matches!(one.mind, Mind::Envoy(_) | Mind::Gateway(..)))
            .filter(current)
            .partition(|one| matches!(one.mind, Mind::Envoy(_)));
        if sidecars.is_empty() || gateways.is_empty() {
            return Ok(());
        }
        let leads_to = self.primary.leads_to();
        for sidecar in sidecars {
            for (name, endpoints) in sidecar.uses() {
                for address in endpoints.keys() {
                    let Some(network) = leads_to.get(address) else { continue };
                    for gateway in gateways.iter().filter(|one| one.network() == Some(network)) {
                        let refusal = liveness::refusal(gateway, &name);
                        holds(refusal.is_none(), Invariant::TakenNamesAreRouted, || {
                            let (sidecar, gateway) = (&sidecar.name, &gateway.name);
                            format!("{sidecar} sends {name} to {gateway} at {address}: {refusal:?}")
                        })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Which client answers at a gateway's address: each cluster has one behind all of its own, and
    /// one behind its way out.
    fn gateway_at(&self, address: SocketAddr) -> Option<&Client> {
        let found = self.sites.iter().enumerate().find_map(|(home, site)| {
            let facts = site.truth.facts();
            let at = facts.values().find_map(|fact| match fact {
                Fact::Gateway(gateway) if gateway.key.address == address.ip() => Some(gateway),
                _ => None,
            })?;
            let out = at.egress_port.is_some_and(|port| port.get() == address.port());
            Some((home, out))
        });
        let (home, out) = found?;
        self.clients.iter().find(|client| {
            let is_it = match client.mind {
                Mind::Egress(..) => out,
                Mind::Gateway(..) => !out,
                Mind::Envoy(_) | Mind::Grpc(_) => false,
            };
            client.home == home && is_it
        })
    }

    /// Where tunnels end.
    fn tunnels(&self) -> BTreeSet<SocketAddr> {
        let facts = self.sites.iter().flat_map(|site| site.truth.facts().into_values());
        let at = |fact| match fact {
            Fact::Gateway(gateway) => {
                let port = gateway.hbone_port?;
                Some(SocketAddr::new(gateway.key.address, port.get()))
            }
            _ => None,
        };
        facts.filter_map(at).collect()
    }

    /// Ready mTLS endpoints of a service on the network of a cluster.
    fn mtls_on(&self, home: usize, service: &ServiceKey) -> BTreeSet<SocketAddr> {
        let network = self.sites[home].truth.network();
        let mut all = BTreeSet::new();
        for site in &self.sites {
            let own = site.truth.network();
            for fact in site.truth.facts().into_values() {
                let Fact::Slice(slice) = fact else { continue };
                if slice.service != *service {
                    continue;
                }
                let ready = slice.endpoints.iter().filter(|one| {
                    one.network.as_ref().unwrap_or(&own) == &network
                        && one.health == Health::Ready
                        && one.mtls == Mtls::Istio
                        && one.identity.is_some()
                });
                for one in ready {
                    let ports = slice.ports.iter().map(|(_, port)| port.get());
                    all.extend(ports.map(|port| SocketAddr::new(one.address, port)));
                }
            }
        }
        all
    }
}
