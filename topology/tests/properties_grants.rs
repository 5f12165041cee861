//! Property 14: a cluster speaks only for itself (threat A1).
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::*;
use diolkos_topology::*;
use proptest::prelude::*;

/// What the operator granted, and what was ever said: enough to tell whether a view is right.
#[derive(Default)]
struct Granted {
    settings: BTreeMap<ClusterId, ClusterSettings>,
    /// Into which networks a cluster ever said that an address leads.
    leads: BTreeMap<(ClusterId, SocketAddr), Vec<NetworkId>>,
    /// Of which networks it ever said that this is its way out.
    exits: BTreeMap<(ClusterId, SocketAddr), Vec<NetworkId>>,
    identities: BTreeMap<(ClusterId, ServiceKey), Vec<String>>,
}

impl Granted {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Cluster(settings) => {
                self.settings.insert(settings.cluster.clone(), settings.clone());
            }
            Event::Upsert { source, fact: Fact::Gateway(fact), .. } => {
                let into = fact.sni_port.into_iter().chain(fact.hbone_port);
                let into = into.map(|port| (port, false));
                for (port, out) in into.chain(fact.egress_port.map(|port| (port, true))) {
                    let known = if out { &mut self.exits } else { &mut self.leads };
                    let address = SocketAddr::new(fact.key.address, port.get());
                    let known = known.entry((source.cluster.clone(), address)).or_default();
                    known.push(fact.network.clone());
                }
            }
            Event::Upsert { source, fact: Fact::Slice(fact), .. } => {
                let said = fact.endpoints.iter().filter_map(|one| one.identity.as_ref());
                let key = (source.cluster.clone(), fact.service.clone());
                let known = self.identities.entry(key).or_default();
                known.extend(said.map(|one| one.to_string()));
            }
            Event::Upsert { source, fact: Fact::Summary(fact), .. } => {
                let said = fact.groups.iter().filter_map(|one| one.identity.as_ref());
                let key = (source.cluster.clone(), fact.service.clone());
                let known = self.identities.entry(key).or_default();
                known.extend(said.map(|one| one.to_string()));
            }
            _ => {}
        }
    }

    fn check(&self, federation: &Federation, audience: &Audience, view: &View) {
        for (key, entry) in &view.services {
            for cluster in &entry.service.clusters {
                let services = &self.settings[cluster].grants.services;
                let name = (key.namespace.as_str(), key.name.as_str());
                assert!(covered(services, name), "{key} of {cluster} for {audience}");
            }
            for port in entry.ports.values() {
                self.check_port(federation, audience, (key, &entry.service.clusters), port);
            }
        }
    }

    fn check_port(
        &self,
        federation: &Federation,
        audience: &Audience,
        (key, clusters): (&ServiceKey, &[ClusterId]),
        port: &PortEntry,
    ) {
        for (address, endpoint) in &port.endpoints {
            let ClusterSettings { addresses, grants, .. } = &self.settings[&endpoint.cluster];
            let ip = address.ip();
            let within = addresses.iter().any(|range| range.contains(&ip));
            assert!(within || addresses.is_empty(), "{address} of {}", endpoint.cluster);
            let here = &audience.network;
            assert!(may_be_on(&grants.networks, here), "{} on {here}", endpoint.cluster);
        }
        for identity in &port.identities {
            let owner = clusters.iter().find(|cluster| {
                let said = self.identities.get(&((*cluster).clone(), key.clone()));
                let text = identity.to_string();
                said.is_some_and(|said| said.contains(&text))
                    && may_show(&self.settings[*cluster], &text)
            });
            assert!(owner.is_some(), "{identity} for {key}: nobody may show it");
        }
        for (address, gateway) in &port.gateways {
            let grants = &self.settings[&gateway.cluster].grants;
            let own = federation.network_of(&gateway.cluster).unwrap();
            let granted = |network: &&NetworkId| match &grants.networks {
                Networks::Own => **network == own,
                other => may_be_on(other, network),
            };
            let place = (gateway.cluster.clone(), *address);
            let of = |said: &BTreeMap<_, Vec<NetworkId>>| said.get(&place).cloned();
            let leads = of(&self.leads).unwrap_or_default();
            let into = leads.iter().filter(granted).any(|network| *network != audience.network);
            let exits = of(&self.exits).unwrap_or_default();
            let out = exits.iter().filter(granted).any(|network| *network == audience.network);
            let out =
                out && gateway.cluster == audience.cluster && audience.kind == ClientKind::Sidecar;
            assert!(into || out, "gateway {address} of {} for {audience}", gateway.cluster);
        }
    }
}

fn may_be_on(networks: &Networks, network: &NetworkId) -> bool {
    match networks {
        Networks::Every | Networks::Own => true,
        Networks::Listed(listed) => listed.contains(network),
    }
}

fn may_show(settings: &ClusterSettings, identity: &str) -> bool {
    let parts: Vec<&str> = identity.split('/').collect();
    let ["spiffe:", "", domain, "ns", namespace, "sa", account] = parts[..] else { return false };
    domain == settings.trust_domain.as_str()
        && covered(&settings.grants.identities, (namespace, account))
}

/// By the patterns as text, so that none of the core's own matching is trusted.
fn covered(names: &Names, (namespace, name): (&str, &str)) -> bool {
    let Names::Listed(patterns) = names else { return true };
    patterns.iter().any(|pattern| {
        let text = pattern.to_string();
        let (a, b) = text.split_once('/').unwrap();
        let reserved = namespace.ends_with("-system");
        (a == namespace || (a == "*" && !reserved)) && (b == name || b == "*")
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn p14_nothing_beyond_a_clusters_grants_is_in_any_view(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let (mut bench, mut stamps) = (Bench::default(), Stamps::default());
        let mut granted = Granted::default();
        for event in opening().into_iter().chain(audiences()) {
            granted.hear(&event);
            bench.apply(event);
        }
        for step in steps {
            for event in stamps.events(step) {
                granted.hear(&event);
                bench.apply(event);
                for (audience, view) in bench.views.values() {
                    granted.check(&bench.federation, audience, view);
                }
            }
        }
        for status in bench.federation.clusters() {
            prop_assert_eq!(status.refused, bench.world.refused(&status.cluster));
        }
    }
}
