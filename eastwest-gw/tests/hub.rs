//! What our own primary makes of a view, taken as it is: the two ends of the wire meet here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_eastwest_gw::Config;
use diolkos_eastwest_gw::resource::Entry;
use diolkos_topology::{
    AppProtocol, Audience, AudienceId, Change, ClientKind, ClusterId, IpFamilies, Locality, Mtls,
    Namespace, NetworkId, Port, PortName, PortView, ServiceKey, ServicePort, ServiceView,
    ViewDelta, ViewEndpoint, WEIGHT_UNIT, What, Workload,
};
use diolkos_trust::TrustDomain;
use diolkos_xds::{Hub, HubSettings, ResourceType, Scope, ScopeId};

const AUDIENCE: AudienceId = AudienceId(1);

fn hub() -> Hub {
    let mut hub =
        Hub::new(HubSettings::new("cluster.local", &TrustDomain::new("cluster.local").unwrap()));
    let audience = Audience {
        kind: ClientKind::Gateway,
        cluster: ClusterId::new("east").unwrap(),
        network: NetworkId::unnamed(),
        locality: Locality::unknown(),
        families: IpFamilies::Both,
    };
    let scope = Scope {
        audience: AUDIENCE,
        namespace: Namespace::new("istio-system").unwrap(),
        http_proxy: None,
        inbound: None,
        bind: "127.2.0.1".parse().unwrap(),
        sni_port: 15443,
        hbone: false,
    };
    hub.audience_up(AUDIENCE, &audience);
    hub.scope_up(ScopeId(1), scope);
    hub
}

fn catalog() -> ServicePort {
    ServicePort {
        service: ServiceKey::new("shop", "catalog").unwrap(),
        port: Port::new(8080).unwrap(),
    }
}

fn service() -> What {
    let ServicePort { service: key, port } = catalog();
    let port = PortView { name: PortName::new("").unwrap(), port, protocol: AppProtocol::Http };
    let clusters = vec![ClusterId::new("east").unwrap()];
    let (ports, vips, restricted) = (vec![port], vec![], vec![]);
    let view = ServiceView { key: key.clone(), vips, ports, clusters, restricted };
    What::Service { key, entry: Some(Arc::new(view)) }
}

fn endpoint(address: &str, priority: u8) -> What {
    let entry = ViewEndpoint {
        cluster: ClusterId::new("east").unwrap(),
        locality: Locality::new("eu", "a"),
        priority,
        mtls: Mtls::Istio,
        workload: Arc::new(Workload::default()),
        weight: WEIGHT_UNIT,
    };
    let address: SocketAddr = address.parse().unwrap();
    What::Endpoint { port: catalog(), address, entry: Some(Arc::new(entry)) }
}

/// Tells the hub, and the gateway what the hub says then, in push order.
fn tell(hub: &mut Hub, config: &Config, whats: Vec<What>) {
    let changes = whats.into_iter().map(|what| Change { audience: AUDIENCE, what }).collect();
    hub.apply(&ViewDelta { changes });
    let deltas = hub.drain();
    for kind in ResourceType::ORDER {
        for delta in &deltas {
            let upserts: Vec<_> = delta.upserts.iter().filter(|new| new.kind == kind).collect();
            let upserts: Vec<_> =
                upserts.iter().map(|new| (new.name.to_string(), new.body.clone())).collect();
            let removes: Vec<_> = delta.removes.iter().filter(|(of, _)| *of == kind).collect();
            let removes: Vec<_> = removes.iter().map(|(_, name)| name.to_string()).collect();
            assert_eq!(config.apply(kind, &upserts, &removes).faults, Vec::<String>::new());
        }
    }
}

#[test]
fn what_our_primary_says_is_understood_and_followed() {
    let (mut hub, config) = (hub(), Config::default());
    let both = vec![service(), endpoint("10.0.0.1:8080", 0), endpoint("10.0.0.2:8080", 2)];
    tell(&mut hub, &config, both);
    let plan = config.plan().borrow().clone().expect("a listener");
    assert_eq!(plan.address, "127.2.0.1:15443".parse().unwrap());
    assert!(matches!(plan.entry, Entry::EveryName { protocols } if protocols.len() == 5));
    let [route] = &config.routes()[..] else { panic!("one route") };
    assert_eq!(route.name().as_str(), "outbound_.8080_._.catalog.shop.svc.cluster.local");
    let in_order: Vec<_> = route.candidates(0).map(|target| target.address.to_string()).collect();
    assert_eq!(in_order, ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert!(config.is_warm());

    tell(&mut hub, &config, vec![What::Service { key: catalog().service, entry: None }]);
    assert_eq!(config.route_count(), 0);
}
