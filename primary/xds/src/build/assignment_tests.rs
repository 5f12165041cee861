use super::*;

use diolkos_topology::{ClusterId, Port, ServiceKey, Workload};
use envoy_types::pb::envoy::config::endpoint::v3 as envoy;
use prost::Message;

fn port() -> ServicePort {
    ServicePort { service: ServiceKey::new("demo", "echo").unwrap(), port: Port::new(80).unwrap() }
}

fn endpoint(mtls: Mtls, zone: &str, priority: u8, weight: u64) -> Arc<ViewEndpoint> {
    Arc::new(ViewEndpoint {
        cluster: ClusterId::new("west").unwrap(),
        locality: Locality::new("eu", zone),
        priority,
        mtls,
        workload: Arc::new(Workload {
            name: "echo-v1".into(),
            canonical_name: "echo".into(),
            canonical_revision: "v1".into(),
        }),
        weight,
    })
}

fn gateway(zone: &str, priority: u8, weight: u64) -> Arc<ViewGateway> {
    Arc::new(ViewGateway {
        cluster: ClusterId::new("east").unwrap(),
        locality: Locality::new("us", zone),
        priority,
        weight,
    })
}

fn identified() -> Endpoints {
    let identity = SpiffeId::parse("spiffe://cluster.local/ns/demo/sa/echo").unwrap();
    Endpoints { identities: [identity].into(), ..Endpoints::default() }
}

impl Endpoints {
    fn and(mut self, at: &str, endpoint: Arc<ViewEndpoint>) -> Self {
        self.local.insert(at.parse().unwrap(), endpoint);
        self
    }

    fn and_gateway(mut self, at: &str, gateway: Arc<ViewGateway>) -> Self {
        self.gateways.insert(at.parse().unwrap(), gateway);
        self
    }
}

/// As Envoy reads it.
fn read(kind: ClientKind, endpoints: &Endpoints) -> envoy::ClusterLoadAssignment {
    let made = assignment(kind, "the cluster", &port(), endpoints);
    envoy::ClusterLoadAssignment::decode(made.encode_to_vec().as_slice()).unwrap()
}

/// `priority region/zone weight: address weight, ..`, one line each.
fn lines(kind: ClientKind, endpoints: &Endpoints) -> Vec<String> {
    let weight = |weight: &Option<UInt32Value>| weight.expect("a weight").value;
    let one = |group: &envoy::LocalityLbEndpoints| {
        let locality = group.locality.clone().expect("a locality");
        let members: Vec<String> = group
            .lb_endpoints
            .iter()
            .map(|one| format!("{} {}", address_of(one), weight(&one.load_balancing_weight)))
            .collect();
        let place = format!("{}/{}", locality.region, locality.zone);
        let sum = weight(&group.load_balancing_weight);
        format!("{} {place} {sum}: {}", group.priority, members.join(", "))
    };
    read(kind, endpoints).endpoints.iter().map(one).collect()
}

fn address_of(endpoint: &envoy::LbEndpoint) -> String {
    let Some(envoy::lb_endpoint::HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
        panic!("an endpoint with an address")
    };
    let address = host.address.clone().unwrap().address.unwrap();
    let core::address::Address::SocketAddress(socket) = address else { panic!("a socket") };
    let core::socket_address::PortSpecifier::PortValue(port) = socket.port_specifier.unwrap()
    else {
        panic!("a port number")
    };
    format!("{}:{port}", socket.address)
}

fn metadata_of(endpoint: &envoy::LbEndpoint) -> BTreeMap<String, String> {
    let metadata = endpoint.metadata.clone().unwrap().filter_metadata;
    let text = |fields: Struct| format!("{:?}", fields.fields.into_iter().collect::<Vec<_>>());
    metadata.into_iter().map(|(key, fields)| (key, text(fields))).collect()
}

#[test]
fn endpoints_are_grouped_by_priority_and_locality_and_priorities_have_no_gaps() {
    let endpoints = identified()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 720_720))
        .and("10.0.0.2:8080", endpoint(Mtls::Istio, "a", 0, 720_720))
        .and("10.0.0.3:8080", endpoint(Mtls::Istio, "b", 2, 720_720))
        .and("10.0.0.4:8080", endpoint(Mtls::Istio, "a", 3, 720_720))
        .and_gateway("192.0.2.1:15443", gateway("z", 2, 3 * 360_360));
    assert_eq!(
        lines(ClientKind::Sidecar, &endpoints),
        [
            "0 eu/a 4: 10.0.0.1:8080 2, 10.0.0.2:8080 2",
            "1 eu/b 2: 10.0.0.3:8080 2",
            "1 us/z 3: 192.0.2.1:15443 3",
            "2 eu/a 2: 10.0.0.4:8080 2",
        ]
    );
}

#[test]
fn a_local_endpoint_wins_over_a_gateway_of_its_address() {
    let endpoints = identified()
        .and("10.0.0.1:15443", endpoint(Mtls::Plaintext, "a", 2, 5))
        .and_gateway("10.0.0.1:15443", gateway("z", 0, 7));
    assert_eq!(lines(ClientKind::Sidecar, &endpoints), ["0 eu/a 1: 10.0.0.1:15443 1"]);
}

#[test]
fn metadata_is_istios() {
    let endpoints = identified()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1))
        .and("10.0.0.2:8080", endpoint(Mtls::Plaintext, "a", 0, 1))
        .and_gateway("192.0.2.1:15443", gateway("z", 2, 1));
    let read = read(ClientKind::Sidecar, &endpoints);
    let found: Vec<_> =
        read.endpoints.iter().flat_map(|group| &group.lb_endpoints).map(metadata_of).collect();
    let [mtls, plaintext, gateway] = found.as_slice() else { panic!("three endpoints") };
    assert!(mtls["envoy.transport_socket_match"].contains("(\"tlsMode\", "));
    assert!(mtls["envoy.transport_socket_match"].contains("StringValue(\"istio\")"));
    assert!(mtls["istio"].contains("StringValue(\"echo-v1;demo;echo;v1;west\")"));
    assert!(!plaintext.contains_key("envoy.transport_socket_match"));
    assert!(gateway.contains_key("envoy.transport_socket_match"));
    assert!(gateway["istio"].contains("StringValue(\";;;;east\")"));
}

#[test]
fn without_an_identity_no_mtls_endpoint_and_no_gateway_is_served() {
    let unidentified = Endpoints::default()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1))
        .and_gateway("192.0.2.1:15443", gateway("z", 2, 1));
    assert!(lines(ClientKind::Sidecar, &unidentified).is_empty());
    assert!(lines(ClientKind::Grpc, &unidentified).is_empty());
    let with_plaintext = unidentified.and("10.0.0.2:8080", endpoint(Mtls::Plaintext, "a", 0, 1));
    assert_eq!(lines(ClientKind::Sidecar, &with_plaintext), ["0 eu/a 1: 10.0.0.2:8080 1"]);
    // Not even as a way out: gRPC speaks TLS to all of a service or to none.
    assert!(lines(ClientKind::Grpc, &with_plaintext).is_empty());
}

#[test]
fn the_way_out_is_given_other_gateways_and_no_endpoint() {
    let endpoints = Endpoints::default()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1))
        .and_gateway("192.0.2.1:15008", gateway("z", 2, 3))
        .and_gateway("192.0.2.2:15008", gateway("z", 2, 1));
    let expected = ["0 us/z 4: 192.0.2.1:15008 3, 192.0.2.2:15008 1"];
    assert_eq!(lines(ClientKind::Egress, &endpoints), expected);
}

#[test]
fn a_gateway_is_given_mtls_endpoints_only_and_no_other_gateway() {
    let endpoints = identified()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1))
        .and("10.0.0.2:8080", endpoint(Mtls::Plaintext, "a", 0, 1))
        .and_gateway("192.0.2.1:15443", gateway("z", 2, 1));
    assert_eq!(lines(ClientKind::Gateway, &endpoints), ["0 eu/a 1: 10.0.0.1:8080 1"]);
}

#[test]
fn grpc_is_given_plaintext_endpoints_only_where_no_other_exists() {
    let plaintext = identified().and("10.0.0.2:8080", endpoint(Mtls::Plaintext, "a", 0, 1));
    assert_eq!(lines(ClientKind::Grpc, &plaintext), ["0 eu/a 1: 10.0.0.2:8080 1"]);
    let both = plaintext.and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1));
    assert_eq!(lines(ClientKind::Grpc, &both), ["0 eu/a 1: 10.0.0.1:8080 1"]);
}

#[test]
fn weights_beyond_32_bits_are_scaled_to_fit_and_none_is_lost() {
    let huge = u64::MAX / 4;
    let endpoints = identified()
        .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, huge))
        .and("10.0.0.2:8080", endpoint(Mtls::Istio, "b", 0, huge))
        .and("10.0.0.3:8080", endpoint(Mtls::Istio, "b", 0, 1))
        .and("10.0.0.4:8080", endpoint(Mtls::Istio, "b", 1, 0));
    let read = read(ClientKind::Sidecar, &endpoints);
    let sum = |priority: u32| -> u64 {
        let of = |group: &&envoy::LocalityLbEndpoints| group.priority == priority;
        let weight = |group: &envoy::LocalityLbEndpoints| {
            u64::from(group.load_balancing_weight.unwrap().value)
        };
        read.endpoints.iter().filter(of).map(weight).sum()
    };
    assert!(sum(0) <= u64::from(u32::MAX) && sum(0) > u64::from(u32::MAX) - 8, "{}", sum(0));
    assert_eq!(sum(1), 1, "a weight is never 0");
    let ones = read.endpoints.iter().flat_map(|group| &group.lb_endpoints);
    assert!(ones.clone().all(|one| one.load_balancing_weight.unwrap().value >= 1));
    assert_eq!(ones.count(), 4);
}

#[test]
fn an_unknown_locality_is_still_a_locality() {
    let unknown = Arc::new(ViewEndpoint {
        locality: Locality::unknown(),
        ..(*endpoint(Mtls::Istio, "a", 0, 1)).clone()
    });
    let endpoints = identified().and("[fd00::1]:8080", unknown);
    assert_eq!(lines(ClientKind::Grpc, &endpoints), ["0 / 1: fd00::1:8080 1"]);
}

#[test]
fn equal_views_give_equal_bytes() {
    let bytes = || {
        let endpoints = identified()
            .and("10.0.0.1:8080", endpoint(Mtls::Istio, "a", 0, 1))
            .and("10.0.0.2:8080", endpoint(Mtls::Istio, "b", 1, 2));
        assignment(ClientKind::Sidecar, "c", &port(), &endpoints).encode_to_vec()
    };
    let first = bytes();
    assert!((0..64).all(|_| bytes() == first));
}
