//! What clients hold, in words that are the same for every control plane, and whether it is right.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use prost::Message;

use crate::ads::Response;

const POD_PORT: u32 = 8_080;
const SNI_PORT: u32 = 15_443;

/// Endpoints of one service: those nearby by address, those elsewhere by cluster and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) local: BTreeSet<IpAddr>,
    pub(super) remote: BTreeMap<usize, u64>,
}

impl Seen {
    /// # Errors
    /// What cannot be: another port, an address twice, weights that are no number of endpoints.
    pub(super) fn read(body: &[u8], gateways: &HashMap<IpAddr, usize>) -> anyhow::Result<Self> {
        let assignment = ClusterLoadAssignment::decode(body)?;
        let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
        let (mut seen, mut unit) = (Self::default(), None);
        let mut weights: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for endpoint in endpoints {
            if endpoint.health_status == HealthStatus::Unhealthy as i32 {
                continue;
            }
            let (address, port) = socket(endpoint)?;
            let weight: u64 =
                endpoint.load_balancing_weight.as_ref().map_or(1, |one| one.value.into());
            if gateways.contains_key(&address) {
                ensure!(port == SNI_PORT, "gateway {address} has port {port}");
                *weights.entry(address).or_default() += weight;
                continue;
            }
            ensure!(port == POD_PORT, "endpoint {address} has port {port}");
            ensure!(seen.local.insert(address), "endpoint {address} is there twice");
            ensure!(*unit.get_or_insert(weight) == weight, "endpoint {address} weighs {weight}");
        }
        let unit = unit.unwrap_or(1);
        let mut whole: BTreeMap<usize, u64> = BTreeMap::new();
        for (gateway, weight) in &weights {
            *whole.entry(gateways[gateway]).or_default() += weight;
        }
        for (cluster, weight) in whole {
            ensure!(weight % unit == 0, "cluster {cluster} weighs {weight}, an endpoint {unit}");
            seen.remote.insert(cluster, weight / unit);
        }
        Ok(seen)
    }
}

fn socket(endpoint: &LbEndpoint) -> anyhow::Result<(IpAddr, u32)> {
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        bail!("an endpoint without an address");
    };
    let address = endpoint.address.as_ref().and_then(|one| one.address.as_ref());
    let Some(Address::SocketAddress(SocketAddress { address, port_specifier, .. })) = address
    else {
        bail!("an endpoint that is no socket");
    };
    let Some(PortSpecifier::PortValue(port)) = port_specifier else { bail!("no port") };
    Ok((address.parse().with_context(|| format!("address {address:?}"))?, *port))
}

/// One service's endpoints, as they reached one client.
#[derive(Clone, Debug)]
pub(super) struct Receipt {
    pub(super) client: usize,
    pub(super) at: Instant,
    pub(super) service: usize,
    pub(super) seen: Rc<Seen>,
}

/// All that all clients hold.
#[derive(Debug)]
pub(super) struct Holdings {
    services: HashMap<String, usize>,
    gateways: HashMap<IpAddr, usize>,
    expected: Vec<Seen>,
    held: Vec<Vec<Rc<Seen>>>,
    /// Pairs of client and service where what is held is what is expected.
    right: usize,
    nothing: Rc<Seen>,
    /// Arrived and not read yet: reading takes time, and others' clocks would wait for it.
    fresh: Vec<(usize, Instant, usize, Vec<u8>)>,
    /// Clients get the same bytes.
    read: HashMap<Vec<u8>, Rc<Seen>>,
}

impl Holdings {
    pub(super) fn new(
        services: HashMap<String, usize>,
        gateways: HashMap<IpAddr, usize>,
        expected: Vec<Seen>,
    ) -> Self {
        Self {
            services,
            gateways,
            expected,
            held: Vec::new(),
            right: 0,
            nothing: Rc::default(),
            fresh: Vec::new(),
            read: HashMap::new(),
        }
    }

    /// One more client, which holds nothing.
    pub(super) fn add_client(&mut self) {
        self.held.push(vec![self.nothing.clone(); self.expected.len()]);
        let empty = self.expected.iter().filter(|one| **one == *self.nothing);
        self.right += empty.count();
    }

    pub(super) fn expect(&mut self, service: usize, seen: Seen) {
        let right = |expected: &Seen| {
            self.held.iter().filter(|client| *client[service] == *expected).count()
        };
        let (before, after) = (right(&self.expected[service]), right(&seen));
        self.right = self.right - before + after;
        self.expected[service] = seen;
    }

    pub(super) fn take(&mut self, client: usize, at: Instant, response: &Response<'_>) {
        if response.type_url != ResourceType::Endpoint.url() {
            return;
        }
        let removed = response.each_removed().map(|name| (name, &[][..]));
        for (name, body) in response.each().chain(removed) {
            if let Some(&service) = self.services.get(name) {
                self.fresh.push((client, at, service, body.to_vec()));
            }
        }
    }

    /// Reads what arrived.
    pub(super) fn digest(&mut self, mut heard: impl FnMut(Receipt)) -> anyhow::Result<()> {
        for (client, at, service, body) in std::mem::take(&mut self.fresh) {
            let seen = match self.read.get(&body) {
                Some(seen) => seen.clone(),
                None => {
                    let seen = Seen::read(&body, &self.gateways);
                    let seen = Rc::new(seen.with_context(|| format!("service {service}"))?);
                    self.read.insert(body, seen.clone());
                    seen
                }
            };
            let held = &mut self.held[client][service];
            let expected = &self.expected[service];
            self.right -= usize::from(**held == *expected);
            self.right += usize::from(*seen == *expected);
            *held = seen.clone();
            heard(Receipt { client, at, service, seen });
        }
        Ok(())
    }

    /// Every client holds exactly what it must of every service.
    pub(super) fn all_right(&self) -> bool {
        self.right == self.held.len() * self.expected.len()
    }

    /// The first thing that is not as it must be.
    pub(super) fn first_wrong(&self) -> String {
        let wrong = self.held.iter().enumerate().find_map(|(client, held)| {
            let both = held.iter().zip(&self.expected).enumerate();
            let mut wrong = both.filter(|(_, (held, expected))| ***held != **expected);
            wrong.next().map(|(service, both)| (client, service, both))
        });
        let missing = self.held.len() * self.expected.len() - self.right;
        wrong.map_or_else(String::new, |(client, service, (held, expected))| {
            format!(
                "{missing} of all endpoint sets are wrong; client {client}, service {service}: \
                 {held:?}, expected {expected:?}"
            )
        })
    }

    /// Counts all anew, by another way than by differences.
    pub(super) fn recount(&self) -> anyhow::Result<()> {
        let pairs = self.held.iter().flat_map(|held| held.iter().zip(&self.expected));
        let right = pairs.filter(|(held, expected)| ***held == **expected).count();
        ensure!(right == self.right, "{right} endpoint sets are right, {} by count", self.right);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
