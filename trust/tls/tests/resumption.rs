//! Identity is checked at each connection: nothing is resumed, whatever the other end offers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use diolkos_tls::{Expect, client_config, server_config};
use mesh::{Ca, Leaf, domain, gullible_client, gullible_server, meet, roots};
use rustls::HandshakeKind::Full;
use rustls::version::{TLS12, TLS13};

#[test]
fn a10_no_connection_is_resumed_and_no_early_data_taken() {
    let root = Ca::root("root");
    let chain = root.sign(&Leaf::of(&["spiffe://ours/ns/shop/sa/cart"]));
    let (own, roots) = (chain.identity(), roots(&[("ours", &[&root])]));
    let expect = || Expect::AnyOf(vec![domain("ours")]);
    let client = client_config(&own, &roots, expect(), &[]);
    let server = server_config(&own, &roots, expect(), &[]);
    assert_eq!((server.max_early_data_size, server.send_tls13_tickets), (0, 0));
    assert!(!server.ticketer.enabled() && !server.session_storage.can_cache());
    assert!(!client.enable_early_data);

    for version in [&TLS12, &TLS13] {
        // The gullible ends keep sessions and tickets by default.
        let (their_server, their_client) =
            (gullible_server(&chain, version), gullible_client(Some(&chain), version));
        for _ in 0..3 {
            let met = meet(&client, &their_server, "cart");
            assert_eq!(met.client.unwrap().handshake_kind(), Some(Full), "{version:?}");
            let met = meet(&their_client, &server, "cart");
            assert_eq!(met.server.unwrap().handshake_kind(), Some(Full), "{version:?}");
        }
    }
}

#[test]
fn both_ends_agree_on_a_protocol_by_alpn() {
    let root = Ca::root("root");
    let own = root.sign(&Leaf::of(&["spiffe://ours/ns/shop/sa/cart"])).identity();
    let roots = roots(&[("ours", &[&root])]);
    let expect = || Expect::AnyOf(vec![domain("ours")]);
    let client = client_config(&own, &roots, expect(), &["istio-http/1.1", "istio"]);
    let server = server_config(&own, &roots, expect(), &["h2", "istio"]);
    let met = meet(&client, &server, "cart");
    assert_eq!(met.client.unwrap().alpn_protocol(), Some(&b"istio"[..]));
    let other = server_config(&own, &roots, expect(), &["h2"]);
    assert!(meet(&client, &other, "cart").server.is_err());
}
