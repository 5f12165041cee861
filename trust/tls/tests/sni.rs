//! What of a name reaches the wire, and what may not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use diolkos_tls::{Expect, client_config, server_name};
use mesh::{Ca, Leaf, domain, roots};
use rustls::ClientConnection;
use rustls::server::Acceptor;

/// The SNI another rustls reads from our ClientHello.
fn sent(name: &str) -> Option<String> {
    let root = Ca::root("root");
    let own = root.sign(&Leaf::of(&["spiffe://ours/ns/a/sa/b"])).identity();
    let expect = Expect::AnyOf(vec![domain("ours")]);
    let config = client_config(&own, &roots(&[("ours", &[&root])]), expect, &["istio"]);
    let mut client = ClientConnection::new(config, server_name(name).unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut hello.as_slice()).unwrap();
    let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
    accepted.client_hello().server_name().map(str::to_string)
}

#[test]
fn an_istio_name_with_underscores_is_sent_as_it_is() {
    for name in [
        "outbound_.80_._.cart.shop.svc.cluster.local",
        "outbound_.15443_.v2_.cart.shop.svc.clusterset.local",
        "_",
        &format!("{}.example", "a".repeat(63)),
    ] {
        assert_eq!(sent(name).as_deref(), Some(name));
    }
}

#[test]
fn upper_case_is_lowered_and_the_trailing_dot_dropped_on_the_wire() {
    let name = "outbound_.80_.V1_.Cart.shop.svc.cluster.local.";
    assert_eq!(sent(name).as_deref(), Some("outbound_.80_.v1_.cart.shop.svc.cluster.local"));
}

#[test]
fn an_address_is_not_sent() {
    assert_eq!(sent("127.0.0.1"), None);
    assert_eq!(sent("::1"), None);
}

#[test]
fn what_is_no_name_is_refused_with_the_name_in_the_error() {
    let label = "a".repeat(64);
    let long = ["a".repeat(63).as_str(); 4].join(".");
    for name in ["", ".", "a..b", "a b", "cart.shop\0", "bücher.example", "*.svc", &label, &long] {
        let said = server_name(name).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{name:?} cannot be sent as a server name")), "{said}");
    }
}
