//! Who the peer is, and which CA made it so: the verified path decides, not what is presented.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use std::time::SystemTime;

use diolkos_tls::{Expect, Identity};
use diolkos_tls::{
    IssuerKey, LeafFault, Peer, PeerFault, Roots, TlsError, Usage, client_config, peer_of,
    server_config,
};
use mesh::{Ca, Chain, HOUR, Leaf, domain, id, meet, roots};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;

const CART: &str = "spiffe://ours/ns/shop/sa/cart";

struct World {
    root: Ca,
    west: Ca,
    east: Ca,
    roots: Roots,
}

impl World {
    fn new() -> Self {
        let root = Ca::root("root");
        let (west, east) = (root.intermediate("west"), root.intermediate("east"));
        let roots = roots(&[("ours", &[&root])]);
        Self { root, west, east, roots }
    }

    fn peer(&self, chain: &Chain) -> Result<Peer, TlsError> {
        self.peer_at(&chain.certificates, SystemTime::now())
    }

    fn peer_at(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Peer, TlsError> {
        let as_client = peer_of(chain, &self.roots, now, Usage::Client);
        let as_server = peer_of(chain, &self.roots, now, Usage::Server);
        assert_eq!(as_client, as_server);
        as_client
    }
}

fn issuer(ca: &Ca) -> IssuerKey {
    IssuerKey::of_certificate(&ca.der).unwrap()
}

fn leaf_of(ca: &Ca) -> Chain {
    ca.sign(&Leaf::of(&[CART]))
}

#[test]
fn a_peer_is_its_id_its_end_and_the_ca_that_signed_it() {
    let world = World::new();
    let peer = world.peer(&leaf_of(&world.west).with(&[&world.west])).unwrap();
    assert_eq!(peer.id, id(CART));
    assert_eq!(peer.issuer, issuer(&world.west));
    assert_ne!(issuer(&world.west), issuer(&world.east));
    let left = peer.not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left <= HOUR && left > HOUR / 2);
}

#[test]
fn a_leaf_directly_under_the_root_is_issued_by_the_root() {
    let world = World::new();
    let peer = world.peer(&leaf_of(&world.root)).unwrap();
    assert_eq!(peer.issuer, issuer(&world.root));
    // Also where it presents the root, or an intermediate it has nothing to do with.
    for beside in [&world.root, &world.east] {
        let peer = world.peer(&leaf_of(&world.root).with(&[beside])).unwrap();
        assert_eq!(peer.issuer, issuer(&world.root));
    }
}

#[test]
fn a3_a_peer_cannot_choose_its_cluster_by_what_it_presents() {
    let world = World::new();
    for beside in [
        [&world.west, &world.east].as_slice(),
        &[&world.east, &world.west],
        &[&world.east, &world.root, &world.west],
    ] {
        let peer = world.peer(&leaf_of(&world.west).with(beside)).unwrap();
        assert_eq!(peer.issuer, issuer(&world.west));
    }
    let only_other = world.peer(&leaf_of(&world.west).with(&[&world.east]));
    assert!(matches!(only_other, Err(TlsError::Peer(PeerFault::UntrustedRoot { .. }))));
}

#[test]
fn a3_an_intermediate_of_equal_name_is_told_apart_by_key() {
    let world = World::new();
    let twin = world.root.intermediate("west");
    assert_ne!(issuer(&twin), issuer(&world.west));
    for beside in [[&twin, &world.west], [&world.west, &twin]] {
        let peer = world.peer(&leaf_of(&twin).with(&beside)).unwrap();
        assert_eq!(peer.issuer, issuer(&twin));
    }
}

#[test]
fn an_intermediate_renewed_with_its_key_stays_the_same_issuer() {
    let world = World::new();
    let key = KeyPair::from_pem(&world.west.key_pem()).unwrap();
    let renewed = world.root.intermediate_with_key("west", key);
    assert_ne!(renewed.der, world.west.der);
    assert_eq!(issuer(&renewed), issuer(&world.west));
    let peer = world.peer(&leaf_of(&world.west).with(&[&renewed])).unwrap();
    assert_eq!(peer.issuer, issuer(&world.west));
}

#[test]
fn a_peer_is_judged_at_the_time_given() {
    let world = World::new();
    let chain = leaf_of(&world.west).with(&[&world.west]);
    let now = SystemTime::now();
    let later = world.peer_at(&chain.certificates, now + 3 * HOUR);
    assert!(matches!(later, Err(TlsError::Peer(PeerFault::Leaf(LeafFault::Expired { .. })))));
    let earlier = world.peer_at(&chain.certificates, now - 3 * HOUR);
    assert!(matches!(earlier, Err(TlsError::Peer(PeerFault::Leaf(LeafFault::NotYetValid { .. })))));
    assert_eq!(world.peer_at(&[], now), Err(TlsError::Peer(PeerFault::NoCertificate)));
}

#[test]
fn both_ends_of_a_connection_learn_whom_they_speak_to() {
    let world = World::new();
    let end =
        |ca: &Ca, uri: &str| -> Identity { ca.sign(&Leaf::of(&[uri])).with(&[ca]).identity() };
    let (client_id, server_id) = ("spiffe://ours/ns/web/sa/front", CART);
    let (client, server) = (end(&world.west, client_id), end(&world.east, server_id));
    let expect_server = Expect::Ids(vec![id(server_id)]);
    let expect_client = Expect::AnyOf(vec![domain("ours")]);
    let met = meet(
        &client_config(&client, &world.roots, expect_server, &["istio"]),
        &server_config(&server, &world.roots, expect_client, &["istio"]),
        "outbound_.80_._.cart.shop.svc.cluster.local",
    );
    let (server_chain, client_chain) = met.seen();
    let now = SystemTime::now();
    let seen_server = peer_of(server_chain, &world.roots, now, Usage::Server).unwrap();
    let seen_client = peer_of(client_chain, &world.roots, now, Usage::Client).unwrap();
    assert_eq!((seen_server.id, seen_server.issuer), (id(server_id), issuer(&world.east)));
    assert_eq!((seen_client.id, seen_client.issuer), (id(client_id), issuer(&world.west)));
}
