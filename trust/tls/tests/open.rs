//! Ends that need no certificate, identities that never were files, and what a subject says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use std::time::SystemTime;

use diolkos_tls::{
    Expect, Identity, IssuerKey, Issuers, Roots, TlsError, Usage, anonymous_client_config,
    client_config, open_server_config, peer_of, public_server_config, server_config,
};
use mesh::{Ca, Chain, HOUR, Leaf, domain, id, meet, roots};

const CART: &str = "spiffe://ours/ns/shop/sa/cart";
const PRIMARY: &str = "spiffe://ours/ns/diolkos-system/sa/diolkos-primary";
const NAME: &str = "diolkos-primary.diolkos-system.svc";

struct World {
    root: Ca,
    roots: Roots,
    primary: Identity,
}

impl World {
    fn new() -> Self {
        let root = Ca::root("root");
        let roots = roots(&[("ours", &[&root])]);
        let primary = root.sign(&Leaf::of(&[PRIMARY]).dns(NAME)).identity();
        Self { root, roots, primary }
    }

    fn any(&self) -> Expect {
        Expect::AnyOf(vec![domain("ours")])
    }
}

fn pem(chain: &Chain) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), &[]);
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    (read("cert-chain.pem"), read("key.pem"))
}

#[test]
fn a_client_without_a_certificate_verifies_the_server_all_the_same() {
    let world = World::new();
    let server = open_server_config(&world.primary, &world.roots, world.any(), &["h2"]);
    let stranger = Ca::root("stranger");
    for (name, roots, good) in [
        (NAME, world.roots.clone(), true),
        ("other.svc", world.roots, false),
        (NAME, roots(&[("ours", &[&stranger])]), false),
        (NAME, roots(&[]), false),
    ] {
        let client = anonymous_client_config(&roots, Expect::Dns(name.into()), &["h2"]);
        let met = meet(&client, &server, NAME);
        assert_eq!(met.client.is_ok(), good, "{name}");
        if good {
            assert_eq!(met.server.unwrap().peer_certificates(), None);
        }
    }
}

#[test]
fn an_open_server_still_refuses_a_certificate_that_does_not_hold() {
    let world = World::new();
    let open = open_server_config(&world.primary, &world.roots, world.any(), &["h2"]);
    let closed = server_config(&world.primary, &world.roots, world.any(), &["h2"]);
    let expect = || Expect::Dns(NAME.into());
    let with = |ca: &Ca| ca.sign(&Leaf::of(&[CART])).identity();
    let known = client_config(&with(&world.root), &world.roots, expect(), &["h2"]);
    assert!(meet(&known, &open, NAME).server.unwrap().peer_certificates().is_some());
    let stranger = client_config(&with(&Ca::root("other")), &world.roots, expect(), &["h2"]);
    assert!(meet(&stranger, &open, NAME).server.is_err());
    let anonymous = anonymous_client_config(&world.roots, expect(), &["h2"]);
    assert!(meet(&anonymous, &closed, NAME).server.is_err());
}

#[test]
fn a_public_server_asks_nobody() {
    let world = World::new();
    let server = public_server_config(&world.primary, &["http/1.1"]);
    let identity = world.root.sign(&Leaf::of(&[CART])).identity();
    let expect = Expect::Dns(NAME.into());
    let client = client_config(&identity, &world.roots, expect, &["http/1.1"]);
    assert_eq!(meet(&client, &server, NAME).server.unwrap().peer_certificates(), None);
}

#[test]
fn an_identity_in_memory_is_replaced_under_configurations_handed_out_before() {
    let world = World::new();
    let now = SystemTime::now();
    let sign = |uri| world.root.sign(&Leaf::of(&[uri]).dns(NAME));
    let (chain, key) = pem(&sign(PRIMARY));
    let identity = Identity::of_pem(&chain, &key, now).unwrap();
    assert!(!identity.reload().unwrap(), "there is no folder to read");
    let server = open_server_config(&identity, &world.roots, world.any(), &["h2"]);
    let client = anonymous_client_config(&world.roots, Expect::Dns(NAME.into()), &["h2"]);
    let first = meet(&client, &server, NAME).client.unwrap();
    let first = first.peer_certificates().unwrap().to_vec();

    let (next_chain, next_key) = pem(&sign(PRIMARY));
    let mixed = identity.replace_pem(&next_chain, &key, now).unwrap_err().to_string();
    assert!(mixed.starts_with("key in memory: is not the key of the first certificate"), "{mixed}");
    identity.replace_pem(&next_chain, &next_key, now).unwrap();
    let second = meet(&client, &server, NAME).client.unwrap();
    assert_ne!(first, second.peer_certificates().unwrap());

    let late = identity.replace_pem(&chain, &key, now + 2 * HOUR).unwrap_err();
    assert!(matches!(late, TlsError::File { .. }), "{late}");
    assert_eq!(identity.spiffe_id(), id(PRIMARY));
}

#[test]
fn roots_come_from_text_as_from_a_file() {
    let root = Ca::root("root");
    let dir = tempfile::tempdir().unwrap();
    root.sign(&Leaf::of(&[CART])).write(dir.path(), &[&root]);
    let file = dir.path().join("root-cert.pem");
    let text = std::fs::read(&file).unwrap();
    let read = Roots::read(&file, &domain("ours")).unwrap();
    assert_eq!(Roots::of_pem(&text, &domain("ours")).unwrap().get(), read.get());
    assert!(!read.replace_pem(&text, &domain("ours")).unwrap());
    assert!(read.replace_pem(b"nothing", &domain("ours")).is_err());
    assert!(read.replace_pem(&text, &domain("theirs")).unwrap());
    assert_eq!(read.get().iter().count(), 2, "another domain's roots stay");
}

#[test]
fn a_peer_has_the_organization_of_its_subject() {
    let world = World::new();
    for name in [None, Some("west")] {
        let mut leaf = Leaf::of(&[CART]);
        leaf.organization = name.map(str::to_owned);
        let chain = world.root.sign(&leaf);
        let now = SystemTime::now();
        let peer = peer_of(&chain.certificates, &world.roots, now, Usage::Client).unwrap();
        assert_eq!(peer.organization.as_deref(), name);
    }
}

#[test]
fn a_peers_ca_has_a_locality_if_its_root_said_so_of_a_ca_for_leaves() {
    let world = World::new();
    let root = &world.root;
    let (plain, east) = (root.intermediate("a CA"), root.intermediate_at(&["east"], 0));
    let upper = root.intermediate_at(&["east"], 1);
    let below = upper.intermediate_at(&["south"], 0);
    let cases: [(&str, &Ca, &[&Ca], Option<&str>); 6] = [
        ("of a CA of its cluster", &east, &[&east], Some("east")),
        ("of a CA of no locality", &plain, &[&plain], None),
        ("of the root itself", root, &[], None),
        ("of a CA that may sign CAs", &upper, &[&upper], None),
        ("of a CA that no root signed", &below, &[&below, &upper], None),
        ("with another beside the path", &plain, &[&plain, &east], None),
    ];
    for (what, ca, beside, locality) in cases {
        let mut chain = ca.sign(&Leaf::of(&[CART]));
        chain.certificates.extend(beside.iter().map(|ca| ca.der.clone()));
        let now = SystemTime::now();
        let peer = peer_of(&chain.certificates, &world.roots, now, Usage::Client).unwrap();
        assert_eq!(peer.issuer_locality.as_deref(), locality, "{what}");
    }
}

#[test]
fn own_issuers_are_known_to_every_clone_and_stay() {
    let [first, second] = ["a", "b"].map(|name| {
        let ca = Ca::root(name);
        IssuerKey::of_certificate(&ca.der).unwrap()
    });
    let issuers = Issuers::default();
    let clone = issuers.clone();
    issuers.add(first);
    assert!(clone.contains(&first) && !clone.contains(&second));
    issuers.add(second);
    assert!(clone.contains(&first) && clone.contains(&second));
}
