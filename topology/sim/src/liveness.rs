//! What every client must have once everything has arrived, written down apart from the crates that
//! bring it about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use diolkos_route::{Alpn, ClientHello, Decision, HostName, Refusal};
use diolkos_topology::{ClientKind, Mtls, PortEntry, View};
use diolkos_xds::ResourceType;

use crate::client::{Client, Mind};
use crate::invariant::{Checked, Invariant, holds};
use crate::resource::{Assignment, clusters_of, service_of, tls_of};
use crate::truth::DOMAIN;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    mtls: bool,
    cluster: String,
    region: String,
    zone: String,
    priority: u8,
    weight: u64,
}

/// What clients of a kind call a service port's cluster; host, port.
type Wants = BTreeMap<String, (String, u16, BTreeMap<SocketAddr, Wanted>, BTreeSet<String>)>;

fn wants(view: &View, kind: ClientKind) -> Wants {
    let mut all = Wants::new();
    for (key, service) in &view.services {
        let host = key.host(DOMAIN);
        for (port, entry) in &service.ports {
            let port = port.get();
            let name = match kind {
                ClientKind::Egress | ClientKind::Gateway => {
                    diolkos_route::sni::encode(port, "", &host)
                }
                ClientKind::Grpc | ClientKind::Sidecar => format!("outbound|{port}||{host}"),
            };
            let identities: BTreeSet<String> =
                entry.identities.iter().map(|id| id.as_str().to_owned()).collect();
            all.insert(name, (host.clone(), port, endpoints(entry, kind), identities));
        }
    }
    all
}

/// The endpoints that a client of this kind may dial.
fn endpoints(entry: &PortEntry, kind: ClientKind) -> BTreeMap<SocketAddr, Wanted> {
    let mut all = BTreeMap::new();
    for (address, gateway) in &entry.gateways {
        let wanted = Wanted {
            mtls: true,
            cluster: gateway.cluster.to_string(),
            region: gateway.locality.region.to_string(),
            zone: gateway.locality.zone.to_string(),
            priority: gateway.priority,
            weight: gateway.weight,
        };
        all.insert(*address, wanted);
    }
    let any_mtls = entry.endpoints.values().any(|one| one.mtls == Mtls::Istio);
    for (address, endpoint) in &entry.endpoints {
        let mtls = endpoint.mtls == Mtls::Istio;
        // gRPC knows one kind of security per cluster.
        if kind == ClientKind::Grpc && any_mtls && !mtls {
            all.remove(address);
            continue;
        }
        let wanted = Wanted {
            mtls,
            cluster: endpoint.cluster.to_string(),
            region: endpoint.locality.region.to_string(),
            zone: endpoint.locality.zone.to_string(),
            priority: endpoint.priority,
            weight: endpoint.weight,
        };
        all.insert(*address, wanted);
    }
    all
}

/// Priorities without gaps, and weights in proportion.
fn same(wanted: &BTreeMap<SocketAddr, Wanted>, seen: &Assignment) -> bool {
    let ranks: BTreeSet<u8> = wanted.values().map(|one| one.priority).collect();
    let alike = |(at, one): (&SocketAddr, &Wanted)| {
        seen.get(at).is_some_and(|seen| {
            seen.mtls == one.mtls
                && seen.cluster == one.cluster
                && (&seen.region, &seen.zone) == (&one.region, &one.zone)
                && seen.priority as usize == ranks.range(..one.priority).count()
        })
    };
    let pairs = wanted
        .iter()
        .filter_map(|(at, one)| Some((u128::from(one.weight), u128::from(seen.get(at)?.weight))));
    let weights: Vec<(u128, u128)> = pairs.collect();
    let proportional = weights.windows(2).all(|two| two[0].0 * two[1].1 == two[1].0 * two[0].1);
    wanted.len() == seen.len() && wanted.iter().all(alike) && proportional
}

pub(crate) fn equals_truth(client: &Client, view: &View) -> Checked {
    let wants = wants(view, client.kind());
    let uses = client.uses();
    let must = |holds_so: bool, why: &dyn Fn() -> String| {
        holds(holds_so, Invariant::ClientsEqualTruth, || format!("{}: {}", client.name, why()))
    };
    let wanted: Vec<&String> = wants.keys().collect();
    let used: Vec<&String> = uses.keys().collect();
    must(wanted == used, &|| format!("has clusters {used:?}, must have {wanted:?}"))?;
    for (name, (_, _, wanted, _)) in &wants {
        let seen = &uses[name];
        must(same(wanted, seen), &|| format!("{name} is {seen:#?}, must be {wanted:#?}"))?;
    }
    match &client.mind {
        Mind::Envoy(delta) => {
            let warming: Vec<_> = delta.warming().collect();
            must(warming.is_empty(), &|| format!("{warming:?} never got warm"))?;
            for (name, body, _) in delta.active(ResourceType::Cluster) {
                let (host, port, _, identities) = &wants[name];
                let sni = diolkos_route::sni::encode(*port, "", host);
                // Nobody known is nobody accepted, never anybody.
                let nobody = || ["spiffe://nobody.invalid/none".to_owned()].into();
                let accepted = if identities.is_empty() { nobody() } else { identities.clone() };
                let seen = tls_of(body);
                must(seen == Some((sni.clone(), accepted.clone())), &|| {
                    format!("{name} has TLS {seen:?}, must have {sni} and {accepted:?}")
                })?;
            }
            let routes = delta.active(ResourceType::Listener).map(|(_, _, routes)| routes);
            let named: BTreeSet<String> = routes.flat_map(clusters_of).collect();
            let stray = named.iter().find(|name| !uses.contains_key(*name));
            must(stray.is_none(), &|| format!("routes name {stray:?}"))?;
        }
        Mind::Egress(_, table) | Mind::Gateway(_, table) => {
            let names: Vec<String> =
                table.sorted().iter().map(|route| route.name().as_str().to_owned()).collect();
            let wanted: Vec<String> = wants.keys().cloned().collect();
            must(names == wanted, &|| format!("routes {names:?}, must route {wanted:?}"))?;
        }
        Mind::Grpc(sotw) => {
            let wanted: BTreeSet<String> =
                wants.values().map(|(host, port, ..)| format!("{host}:{port}")).collect();
            let targets: BTreeSet<String> = sotw.targets().cloned().collect();
            must(targets == wanted, &|| format!("targets {targets:?}, must be {wanted:?}"))?;
        }
    }
    Ok(())
}

/// One gateway's answer to what a sidecar sends it.
pub(crate) fn name_is_routable(
    sidecar: &Client,
    cluster: &str,
    gateway: &Client,
    truth: &BTreeSet<SocketAddr>,
) -> Checked {
    let Some(decision) = decide(gateway, cluster) else { return Ok(()) };
    let leads = match &decision {
        Decision::Splice(route) => {
            route.targets().iter().all(|target| truth.contains(&target.address))
        }
        Decision::Refuse(_) => false,
    };
    holds(leads, Invariant::NamesAreRoutable, || {
        let (sidecar, gateway) = (&sidecar.name, &gateway.name);
        format!("{sidecar} sends {cluster} to {gateway}: {decision:?}; truth {truth:?}")
    })
}

/// Why a gateway leads nowhere what a sidecar sends it, if it does not.
pub(crate) fn refusal(gateway: &Client, cluster: &str) -> Option<Refusal> {
    match decide(gateway, cluster)? {
        Decision::Splice(_) => None,
        Decision::Refuse(refusal) => Some(refusal),
    }
}

fn decide(gateway: &Client, cluster: &str) -> Option<Decision> {
    let (Mind::Egress(_, table) | Mind::Gateway(_, table)) = &gateway.mind else { return None };
    let (service, port) = service_of(cluster)?;
    let sni = diolkos_route::sni::encode(port, "", &service.host(DOMAIN));
    let hello = ClientHello {
        sni: HostName::new(sni.as_bytes()).ok(),
        alpn: ["istio"].into_iter().collect::<Alpn>(),
    };
    Some(table.decide(&hello, &["istio"]))
}
