//! Threat A1, row by row: `testdata/a1/claims.txt`.
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-topology --test a1_claims` writes the verdicts anew.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the table is a file, and a test stops where its ground does not hold"
)]

mod common;

use std::net::IpAddr;
use std::path::Path;

use common::*;
use diolkos_topology::*;
use diolkos_trust::SpiffeId;

const ROWS_MIN: usize = 90;

#[test]
fn a1_no_claim_beyond_the_grants_reaches_a_view() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/a1/claims.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut rows = 0;
    let mut now = String::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ([grants, claim, address, identity, ..], false) = (&cells[..], line.starts_with('#'))
        {
            rows += 1;
            let verdict = judged(grants, claim, address, identity);
            let place = format!("{grants:<6} | {claim:<26} | {address:<16} | {identity:<31}");
            now.push_str(&format!("{place} | {verdict}\n"));
        } else {
            now.push_str(&format!("{line}\n"));
        }
    }
    assert!(rows >= ROWS_MIN, "{rows} rows");
    if std::env::var_os("DIOLKOS_REWRITE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let differs = expected.lines().zip(now.lines()).find(|(expected, now)| expected != now);
    assert_eq!(differs, None, "expected, and came");
}

fn grants(name: &str) -> (Grants, &'static [&'static str]) {
    let all = Grants::everything();
    match name {
        "plain" => (Grants::plain(), &[]),
        "narrow" => (
            Grants {
                services: names(&["shop/*", "pay/api"]),
                identities: names(&["shop/*", "pay/api"]),
                networks: Networks::Listed([network("n2")].into()),
                ..all
            },
            &["10.20.0.0/16", "fd00:20::/64"],
        ),
        "wide" => {
            let patterns = ["*/*", "istio-system/zipkin"];
            (Grants { services: names(&patterns), identities: names(&patterns), ..all }, &[])
        }
        "closed" => {
            let networks = Networks::Listed([].into());
            (Grants { services: names(&[]), identities: names(&[]), networks, ..all }, &[])
        }
        other => panic!("no grants are named {other}"),
    }
}

/// What becomes of one claim, after everything around it was checked.
fn judged(granted: &str, claim: &str, address: &str, identity: &str) -> String {
    let mut bench = Bench::default();
    let local = ["*.kube-system.svc.cluster.local", "kubernetes.default.svc.cluster.local"]
        .map(|host| ClusterLocalRule { host: host.into(), local: false });
    bench.apply(Event::Mesh(MeshSettings {
        export: ExportMode::All,
        cluster_local: local.into(),
        ..MeshSettings::default()
    }));
    let (grants, ranges) = grants(granted);
    let addresses = ranges.iter().map(|range| range.parse().unwrap()).collect();
    bench.apply(Event::Cluster(settings("mine", "n1")));
    bench.apply(Event::Cluster(ClusterSettings { grants, addresses, ..settings("far", "n2") }));
    for name in ["mine", "far"] {
        bench.apply(Event::Activate { source: source(name, 1) });
    }
    for (id, (name, on)) in [("mine", "n1"), ("far", "n2"), ("mine", "n2")].iter().enumerate() {
        for (place, kind) in [ClientKind::Sidecar, ClientKind::Gateway].into_iter().enumerate() {
            let id = AudienceId((2 * id + place) as u32);
            let audience = Audience {
                kind,
                cluster: cluster(name),
                network: network(on),
                locality: Locality::unknown(),
                families: IpFamilies::Both,
            };
            bench.apply(Event::AudienceUp { id, audience });
        }
    }
    let address: IpAddr = address.parse().unwrap();
    match claim.split_once(' ') {
        Some(("gateway", into)) => judged_gateway(&mut bench, network(into), address),
        Some((service, on)) => {
            let on = on.strip_prefix("on ").unwrap();
            judged_endpoint(&mut bench, service, Some(network(on)), address, identity)
        }
        None => judged_endpoint(&mut bench, claim, None, address, identity),
    }
}

fn say(bench: &mut Bench, name: &str, seq: u64, fact: Fact) -> Vec<Notice> {
    let (source, stamp) = (source(name, 1), Stamp::new(1, seq));
    let notices = bench.apply(Event::Upsert { source, stamp, fact }).notices.clone();
    bench.check();
    notices
}

fn endpoint(address: IpAddr, on: Option<NetworkId>, identity: &str) -> EndpointFact {
    let identity = match identity.split_once('/') {
        None => None,
        Some(("spiffe:", _)) => Some(SpiffeId::parse(identity).unwrap()),
        Some((namespace, account)) => {
            let text = format!("spiffe://td/ns/{namespace}/sa/{account}");
            Some(SpiffeId::parse(&text).unwrap())
        }
    };
    EndpointFact {
        address,
        health: Health::Ready,
        pod: None,
        node: None,
        zone: None,
        network: on,
        mtls: if identity.is_some() { Mtls::Istio } else { Mtls::Plaintext },
        identity,
        workload: Default::default(),
    }
}

fn slice(service: &ServiceKey, endpoint: EndpointFact) -> Fact {
    Fact::Slice(SliceFact {
        service: service.clone(),
        name: SliceName::new("s1").unwrap(),
        ports: vec![(PortName::new("http").unwrap(), port(8080))],
        endpoints: vec![endpoint],
    })
}

fn gateway(into: NetworkId, address: IpAddr) -> Fact {
    Fact::Gateway(GatewayFact {
        key: GatewayKey {
            namespace: Namespace::new("istio-system").unwrap(),
            name: GatewayName::new("eastwest").unwrap(),
            address,
        },
        network: into,
        sni_port: Some(port(15443)),
        hbone_port: None,
        egress_port: None,
    })
}

fn judged_endpoint(
    bench: &mut Bench,
    service: &str,
    on: Option<NetworkId>,
    address: IpAddr,
    identity: &str,
) -> String {
    let (namespace, name) = service.split_once('/').unwrap();
    let key = key(namespace, name);
    let own = "10.1.0.1".parse().unwrap();
    say(bench, "mine", 1, service_fact(key.clone(), &[("http", 80)]));
    say(bench, "mine", 2, slice(&key, endpoint(own, None, "mine/own")));
    say(bench, "mine", 3, gateway(network("n1"), "34.0.0.1".parse().unwrap()));
    say(bench, "far", 1, gateway(network("n2"), "10.20.0.9".parse().unwrap()));
    let mut told = say(bench, "far", 2, service_fact(key.clone(), &[("http", 80)]));
    told.extend(say(bench, "far", 3, slice(&key, endpoint(address, on, identity))));

    let (audience, _) = &bench.views[&AudienceId(4)];
    let lines = bench.federation.explain(audience, &key);
    let line = lines.iter().find(|line| line.cluster == cluster("far")).unwrap();
    let leaked = leaks(bench, &key, address);
    let refused = bench.federation.clusters()[0].refused;
    let why = match &line.verdict {
        Verdict::Dropped { reason: Reason::Refused(why) } => *why,
        Verdict::Dropped { reason } => return format!("granted, but {reason}"),
        Verdict::Kept { .. } | Verdict::Replaced { .. } => {
            assert_eq!((told, refused), (Vec::new(), Refused::default()), "{service}");
            assert!(leaked, "{service} {address} is granted, and yet in no view: {line}");
            return "granted".into();
        }
    };
    assert!(!leaked, "{service} {address}: {why}, and yet in a view");
    let counted = refused.services + refused.endpoints > 0 || why == Refusal::Network;
    assert!(counted, "{service} {address}: {why}, and not counted");
    let silent = why == Refusal::Reserved;
    assert_eq!(told.iter().filter(|one| is_refusal(one)).count(), usize::from(!silent), "{told:?}");
    format!("refused: {why}{}", if silent { " (untold)" } else { "" })
}

fn is_refusal(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::EndpointRefused { .. }
            | Notice::GatewayRefused { .. }
            | Notice::NetworkRefused { .. }
            | Notice::ServiceRefused { .. }
    )
}

/// Whether anything of far's claim is in any view: a contribution alone counts, where there is one
/// endpoint and it is not refused.
fn leaks(bench: &Bench, key: &ServiceKey, address: IpAddr) -> bool {
    let far = cluster("far");
    bench.views.values().filter_map(|(_, view)| view.services.get(key)).any(|entry| {
        entry.ports.values().any(|port| {
            let mine = SpiffeId::parse("spiffe://td/ns/mine/sa/own").unwrap();
            port.endpoints.iter().any(|(at, one)| at.ip() == address || one.cluster == far)
                || port.gateways.values().any(|one| one.cluster == far)
                || port.identities.iter().any(|identity| *identity != mine)
        })
    })
}

/// Whether somebody on mine's network is led through far's gateway, or told of one.
fn judged_gateway(bench: &mut Bench, into: NetworkId, address: IpAddr) -> String {
    let key = key("shop", "web");
    say(bench, "mine", 1, service_fact(key.clone(), &[("http", 80)]));
    let own = "10.1.0.1".parse().unwrap();
    say(bench, "mine", 2, slice(&key, endpoint(own, Some(into.clone()), "mine/own")));
    let told = say(bench, "far", 1, gateway(into, address));
    let far = cluster("far");
    let led = bench.views.values().filter_map(|(_, view)| view.services.get(&key)).any(|entry| {
        entry.ports.values().any(|port| port.gateways.values().any(|one| one.cluster == far))
    });
    let counted = bench.federation.clusters()[0].refused.gateways;
    let told: Vec<_> = told.iter().filter(|one| is_refusal(one)).collect();
    match told[..] {
        [] => {
            assert!(led && counted == 0);
            "granted".into()
        }
        [Notice::GatewayRefused { why, .. }] => {
            assert!(!led && counted == 1);
            format!("refused: {why}")
        }
        _ => panic!("{told:?}"),
    }
}
