use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::{Endpoint, LocalityLbEndpoints};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn gateways() -> HashMap<IpAddr, usize> {
    [("198.18.1.1", 1), ("198.18.1.2", 1), ("198.18.2.1", 2)].map(|(at, of)| (ip(at), of)).into()
}

/// Each `address:port weight`, in a locality of its own.
fn assignment(endpoints: &[&str]) -> Vec<u8> {
    let locality = |text: &&str| {
        let (socket, weight) = text.split_once(' ').unwrap();
        let (address, port) = socket.rsplit_once(':').unwrap();
        let socket = SocketAddress {
            address: address.into(),
            port_specifier: Some(PortSpecifier::PortValue(port.parse().unwrap())),
            ..Default::default()
        };
        let address = core::Address { address: Some(Address::SocketAddress(socket)) };
        let endpoint = Endpoint { address: Some(address), ..Default::default() };
        LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                load_balancing_weight: Some(UInt32Value { value: weight.parse().unwrap() }),
                ..Default::default()
            }],
            ..Default::default()
        }
    };
    let endpoints = endpoints.iter().map(locality).collect();
    ClusterLoadAssignment { endpoints, ..Default::default() }.encode_to_vec()
}

fn seen(local: &[&str], remote: &[(usize, u64)]) -> Seen {
    Seen {
        local: local.iter().map(|text| ip(text)).collect(),
        remote: remote.iter().copied().collect(),
    }
}

#[test]
fn weights_of_gateways_are_numbers_of_endpoints_whatever_the_scale() {
    for scale in [1, 6] {
        let endpoints = [
            format!("10.0.0.1:8080 {}", 2 * scale),
            format!("10.0.0.2:8080 {}", 2 * scale),
            format!("198.18.1.1:15443 {}", 9 * scale),
            format!("198.18.1.2:15443 {}", 5 * scale),
            format!("198.18.1.2:15443 {}", 4 * scale),
            format!("198.18.2.1:15443 {}", 6 * scale),
        ];
        let body = assignment(&endpoints.each_ref().map(String::as_str));
        let expected = seen(&["10.0.0.1", "10.0.0.2"], &[(1, 9), (2, 3)]);
        assert_eq!(Seen::read(&body, &gateways()).unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_is_told() {
    for (endpoints, expected) in [
        (&["10.0.0.1:80 1"][..], "endpoint 10.0.0.1 has port 80"),
        (&["198.18.1.1:8080 1"], "gateway 198.18.1.1 has port 8080"),
        (&["10.0.0.1:8080 1", "10.0.0.1:8080 1"], "endpoint 10.0.0.1 is there twice"),
        (&["10.0.0.1:8080 1", "10.0.0.2:8080 2"], "endpoint 10.0.0.2 weighs 2"),
        (&["10.0.0.1:8080 2", "198.18.1.1:15443 3"], "cluster 1 weighs 3, an endpoint 2"),
    ] {
        let error = Seen::read(&assignment(endpoints), &gateways()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn holdings_are_right_only_while_every_client_holds_what_is_expected() {
    let name = "outbound|80||one".to_owned();
    let first = seen(&["10.0.0.1"], &[]);
    let mut holdings = Holdings::new([(name, 0)].into(), gateways(), vec![first.clone()]);
    let told = |holdings: &mut Holdings, client, endpoints: &[&str]| {
        holdings.fresh.push((client, Instant::now(), 0, assignment(endpoints)));
        let mut heard = 0;
        holdings.digest(|_| heard += 1).unwrap();
        assert_eq!(heard, 1);
        holdings.recount().unwrap();
    };
    holdings.add_client();
    holdings.add_client();
    assert!(!holdings.all_right());
    told(&mut holdings, 0, &["10.0.0.1:8080 1"]);
    assert!(!holdings.all_right() && holdings.first_wrong().contains("client 1, service 0"));
    told(&mut holdings, 1, &["10.0.0.1:8080 1"]);
    assert!(holdings.all_right());

    let second = seen(&["10.0.0.2"], &[]);
    holdings.expect(0, second);
    assert!(!holdings.all_right());
    told(&mut holdings, 0, &["10.0.0.2:8080 1"]);
    told(&mut holdings, 1, &["10.0.0.2:8080 1"]);
    assert!(holdings.all_right());
    told(&mut holdings, 1, &[]);
    assert!(!holdings.all_right());
    holdings.expect(0, first);
    holdings.recount().unwrap();
}
