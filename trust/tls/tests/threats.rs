//! Each threat meets the same verifier four times: as a server and as a client, over TLS 1.2 and
//! 1.3.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use std::time::SystemTime;

use diolkos_tls::{Expect, client_config, server_config};
use mesh::{
    Ca, Chain, HOUR, Leaf, Version, domain, gullible_client, gullible_server, id, meet, roots,
};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

const CART: &str = "spiffe://ours/ns/shop/sa/cart";
const ADMIN: &str = "spiffe://ours/ns/kube-system/sa/admin";
const THEIR_CART: &str = "spiffe://theirs/ns/shop/sa/cart";
const SNI: &str = "outbound_.80_._.cart.shop.svc.cluster.local";

/// Two meshes that trust each other, each for itself. All stands on our side.
struct World {
    ours: Ca,
    theirs: Ca,
    west: Ca,
    abroad: Ca,
}

impl World {
    fn new() -> Self {
        let (ours, theirs) = (Ca::root("our root"), Ca::root("their root"));
        let (west, abroad) = (ours.intermediate("west"), theirs.intermediate("abroad"));
        Self { ours, theirs, west, abroad }
    }

    /// A good chain for these URI names.
    fn chain(&self, uris: &[&str]) -> Chain {
        self.west.sign(&Leaf::of(uris)).with(&[&self.west])
    }

    /// What the verifying end says of the other: nothing, or the reason. The same each time.
    fn verdict(&self, presented: &Chain, expect: &Expect) -> Result<(), String> {
        let verdicts: Vec<_> = [&TLS12, &TLS13]
            .into_iter()
            .flat_map(|version| self.verdicts(presented, expect, version))
            .collect();
        assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:?}");
        verdicts.into_iter().next().unwrap()
    }

    fn verdicts(
        &self,
        presented: &Chain,
        expect: &Expect,
        version: Version,
    ) -> [Result<(), String>; 2] {
        let roots = roots(&[("ours", &[&self.ours]), ("theirs", &[&self.theirs])]);
        let own = self.chain(&["spiffe://ours/ns/shop/sa/self"]).identity();
        let client = client_config(&own, &roots, expect.clone(), &[]);
        let server = server_config(&own, &roots, expect.clone(), &[]);
        let as_server = meet(&client, &gullible_server(presented, version), SNI);
        let as_client = meet(&gullible_client(Some(presented), version), &server, SNI);
        [as_server.client.map(drop), as_client.server.map(drop)]
            .map(|result| result.map_err(|error| error.to_string()))
    }

    #[track_caller]
    fn refuses(&self, presented: &Chain, reason: &str) {
        let said = self.verdict(presented, &cart()).expect_err("this must be refused");
        assert!(said.contains(reason), "refused for {said:?}, not for {reason:?}");
    }
}

fn cart() -> Expect {
    Expect::Ids(vec![id(CART)])
}

#[test]
fn the_right_identity_is_accepted() {
    let world = World::new();
    let chain = world.chain(&[CART]);
    assert_eq!(world.verdict(&chain, &cart()), Ok(()));
    assert_eq!(world.verdict(&chain, &Expect::AnyOf(vec![domain("ours")])), Ok(()));
    let several = Expect::Ids(vec![id(ADMIN), id(CART)]);
    assert_eq!(world.verdict(&chain, &several), Ok(()));
}

#[test]
fn a_leaf_directly_under_the_root_is_accepted() {
    let world = World::new();
    assert_eq!(world.verdict(&world.ours.sign(&Leaf::of(&[CART])), &cart()), Ok(()));
}

#[test]
fn a_leaf_without_extended_key_usage_is_accepted() {
    let world = World::new();
    let leaf = Leaf { uses: Vec::new(), ..Leaf::of(&[CART]) };
    assert_eq!(world.verdict(&world.west.sign(&leaf).with(&[&world.west]), &cart()), Ok(()));
}

#[test]
fn a3_a_wrong_identity_of_the_right_root_is_refused() {
    let world = World::new();
    world.refuses(&world.chain(&[ADMIN]), &format!("identity {ADMIN} is not one of [{CART}]"));
    let nobody = world.verdict(&world.chain(&[CART]), &Expect::Ids(Vec::new())).unwrap_err();
    assert!(nobody.contains("is not one of [none]"), "{nobody}");
}

#[test]
fn a3_ids_are_compared_exactly() {
    let world = World::new();
    for near in [
        "spiffe://ours/ns/shop/sa/cart2",
        "spiffe://ours/ns/shop/sa/car",
        "spiffe://ours/ns/shop/sa/Cart",
        "spiffe://ours/ns/shop/sa/cart/x",
    ] {
        world.refuses(&world.chain(&[near]), "is not one of");
    }
}

#[test]
fn a3_a_leaf_has_exactly_one_uri_name() {
    let world = World::new();
    world.refuses(&world.chain(&[]), "has no SPIFFE id");
    world.refuses(&world.chain(&[CART, ADMIN]), "has 2 URI names");
    world.refuses(&world.chain(&[ADMIN, CART]), "has 2 URI names");
    world.refuses(&world.chain(&[CART, CART]), "has 2 URI names");
    world.refuses(&world.chain(&[CART, "https://shop.example/cart"]), "has 2 URI names");
    let dns_only = Leaf::of(&[]).dns("cart.shop.svc");
    let dns_only = world.west.sign(&dns_only).with(&[&world.west]);
    world.refuses(&dns_only, "the leaf has no SPIFFE id, only the names [cart.shop.svc]");
}

#[test]
fn a3_a_dns_name_beside_the_id_changes_nothing() {
    let world = World::new();
    let leaf = |uri| world.west.sign(&Leaf::of(&[uri]).dns(SNI)).with(&[&world.west]);
    assert_eq!(world.verdict(&leaf(CART), &cart()), Ok(()));
    world.refuses(&leaf(ADMIN), "is not one of");
}

#[test]
fn a3_a_malformed_id_is_refused() {
    let world = World::new();
    for uri in [
        "spiffe://OURS/ns/shop/sa/cart",
        "spiffe://ours/ns/shop/sa/cart\0.evil",
        "spiffe://ours/ns/shop/sa/%63art",
        "spiffe://user@ours/ns/shop/sa/cart",
        "spiffe://ours:443/ns/shop/sa/cart",
        "spiffe://ours",
        "https://ours/ns/shop/sa/cart",
    ] {
        world.refuses(&world.chain(&[uri]), "the leaf's URI name is no SPIFFE id");
    }
}

/// To another reader the second name may be the one that counts.
#[test]
fn a3_names_that_cannot_be_read_spoil_the_leaf() {
    const URI: u8 = 0x86;
    const DNS: u8 = 0x82;
    let world = World::new();
    let named = |names: &[(u8, &[u8])]| {
        let leaf = Leaf::of(&[]).raw_names(names);
        world.west.sign(&leaf).with(&[&world.west])
    };
    assert_eq!(world.verdict(&named(&[(URI, CART.as_bytes())]), &cart()), Ok(()));
    for names in [
        [(URI, CART.as_bytes()), (URI, b"\xff\xfe")].as_slice(),
        &[(URI, b"\xff\xfe"), (URI, CART.as_bytes())],
        &[(URI, CART.as_bytes()), (DNS, b"\xff\xfe")],
        &[(URI, CART.as_bytes()), (URI, b"")],
        &[(URI, CART.as_bytes()), (0x8f, b"x")],
        &[(URI, b"spiffe://ours/ns/shop/sa/c\xc3\xa4rt")],
    ] {
        assert!(world.verdict(&named(names), &cart()).is_err(), "{names:?}");
    }
}

#[test]
fn a3_two_name_extensions_are_refused() {
    let world = World::new();
    let leaf = Leaf::of(&[CART]).raw_names(&[(0x86, ADMIN.as_bytes())]);
    let presented = world.west.sign(&leaf).with(&[&world.west]);
    assert!(world.verdict(&presented, &cart()).is_err());
    let leaf = Leaf::of(&[ADMIN]).raw_names(&[(0x86, CART.as_bytes())]);
    let presented = world.west.sign(&leaf).with(&[&world.west]);
    assert!(world.verdict(&presented, &cart()).is_err());
}

#[test]
fn a3_a_certificate_that_may_sign_others_is_no_leaf() {
    let world = World::new();
    for (is_ca, key_usages) in [
        (IsCa::Ca(BasicConstraints::Unconstrained), vec![KeyUsagePurpose::DigitalSignature]),
        (IsCa::NoCa, vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]),
        (IsCa::NoCa, vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]),
    ] {
        let leaf = Leaf { is_ca, key_usages, ..Leaf::of(&[CART]) };
        // Straight under the root: a path length of 0 must not be what refuses it.
        world.refuses(&world.ours.sign(&leaf), "may sign others, so it is no leaf");
    }
}

#[test]
fn a3_a_leaf_cannot_issue() {
    let world = World::new();
    let leaf = Leaf::of(&[ADMIN]);
    let holder = world.west.sign(&leaf);
    let forged = holder.as_ca(&leaf).sign(&Leaf::of(&[CART]));
    let below = holder.as_ca(&leaf);
    assert!(world.verdict(&forged.with(&[&below, &world.west]), &cart()).is_err());
}

#[test]
fn a3_an_intermediate_cannot_make_a_ca_below_itself() {
    let world = World::new();
    let below = world.west.intermediate("below");
    let forged = below.sign(&Leaf::of(&[CART])).with(&[&below, &world.west]);
    assert!(world.verdict(&forged, &cart()).is_err());
}

#[test]
fn a3_a_certificate_without_its_key_is_refused() {
    let world = World::new();
    let mut stolen = world.chain(&[CART]);
    stolen.key = rcgen::KeyPair::generate().unwrap();
    for version in [&TLS12, &TLS13] {
        for verdict in world.verdicts(&stolen, &cart(), version) {
            assert!(verdict.is_err(), "{version:?}");
        }
    }
}

#[test]
fn a10_garbage_for_a_certificate_is_refused() {
    let world = World::new();
    let mut cut = world.chain(&[CART]);
    let der = cut.certificates[0].to_vec();
    cut.certificates[0] = CertificateDer::from(der[..der.len() / 2].to_vec());
    world.refuses(&cut, "the certificate cannot be read");
    let mut long = world.chain(&[CART]);
    long.certificates[0] = CertificateDer::from([&der[..], b"more"].concat());
    world.refuses(&long, "the certificate cannot be read");
}

#[test]
fn a10_a_client_without_certificate_is_refused() {
    let world = World::new();
    let own = world.chain(&[CART]).identity();
    let roots = roots(&[("ours", &[&world.ours])]);
    let server = server_config(&own, &roots, Expect::AnyOf(vec![domain("ours")]), &[]);
    for version in [&TLS12, &TLS13] {
        let met = meet(&gullible_client(None, version), &server, SNI);
        assert_eq!(met.server.err(), Some(rustls::Error::NoCertificatesPresented));
        assert!(matches!(met.client.err(), Some(rustls::Error::AlertReceived(_))));
    }
}

#[test]
fn a10_dates_are_checked() {
    let world = World::new();
    let now = SystemTime::now();
    let dated = |from, to| world.west.sign(&Leaf::of(&[CART]).valid(from, to)).with(&[&world.west]);
    let expired = dated(now - 5 * HOUR, now - 7 * HOUR / 2);
    world.refuses(&expired, &format!("the leaf of {CART} expired 3 h ago; issue a new one"));
    let early = dated(now + 7 * HOUR / 2, now + 5 * HOUR);
    world.refuses(&early, &format!("the leaf of {CART} is not valid for another 3 h"));
}

#[test]
fn a10_an_expired_root_vouches_for_nobody() {
    let mut world = World::new();
    world.ours = Ca::root_until("our root", SystemTime::now() - 50 * HOUR);
    world.west = world.ours.intermediate("west");
    let presented = world.chain(&[CART]);
    world.refuses(&presented, "a CA above it expired 2 d ago");
}

#[test]
fn a10_a_leaf_is_used_only_for_what_it_allows() {
    let world = World::new();
    let only = |uses: ExtendedKeyUsagePurpose| {
        let leaf = Leaf { uses: vec![uses], ..Leaf::of(&[CART]) };
        world.west.sign(&leaf).with(&[&world.west])
    };
    let [as_server, as_client] =
        world.verdicts(&only(ExtendedKeyUsagePurpose::ClientAuth), &cart(), &TLS13);
    assert!(as_server.unwrap_err().contains("may not be used as a server"));
    assert_eq!(as_client, Ok(()));
    let [as_server, as_client] =
        world.verdicts(&only(ExtendedKeyUsagePurpose::ServerAuth), &cart(), &TLS13);
    assert_eq!(as_server, Ok(()));
    assert!(as_client.unwrap_err().contains("may not be used as a client"));
}

const UNTRUSTED: &str = "is signed by a root this mesh does not trust for it";

#[test]
fn a11_a_root_nobody_knows_is_refused() {
    let world = World::new();
    let stranger = Ca::root("stranger");
    world.refuses(&stranger.sign(&Leaf::of(&[CART])), UNTRUSTED);
    world.refuses(&stranger.sign(&Leaf::of(&[CART])).with(&[&stranger]), UNTRUSTED);
    world.refuses(
        &stranger.sign(&Leaf::of(&["spiffe://nowhere/x"])),
        "no roots are known for trust domain nowhere of spiffe://nowhere/x; \
         known are [ours, theirs]",
    );
}

#[test]
fn a11_a_federated_root_vouches_only_for_its_own_domain() {
    let world = World::new();
    let theirs = |uri| world.abroad.sign(&Leaf::of(&[uri])).with(&[&world.abroad]);
    // Their root is trusted, for their ids.
    let expected = Expect::Ids(vec![id(THEIR_CART)]);
    assert_eq!(world.verdict(&theirs(THEIR_CART), &expected), Ok(()));
    // Not for ours, with their intermediate, ours, both, or none.
    world.refuses(&theirs(CART), UNTRUSTED);
    world.refuses(&theirs(CART).with(&[&world.west]), UNTRUSTED);
    world.refuses(&theirs(CART).with(&[&world.theirs, &world.ours]), UNTRUSTED);
    world.refuses(&world.theirs.sign(&Leaf::of(&[CART])), UNTRUSTED);
    // Nor ours for theirs.
    let crossed = world.verdict(&world.chain(&[THEIR_CART]), &expected).unwrap_err();
    assert!(crossed.contains(UNTRUSTED), "{crossed}");
}

#[test]
fn a11_a_good_identity_of_another_domain_is_not_any_of_ours() {
    let world = World::new();
    let theirs = world.abroad.sign(&Leaf::of(&[THEIR_CART])).with(&[&world.abroad]);
    let said = world.verdict(&theirs, &Expect::AnyOf(vec![domain("ours")])).unwrap_err();
    assert!(said.contains("is of trust domain theirs, not of [ours]"), "{said}");
    let either = Expect::AnyOf(vec![domain("ours"), domain("theirs")]);
    assert_eq!(world.verdict(&theirs, &either), Ok(()));
}

#[test]
fn a11_roots_of_equal_name_are_told_apart_by_key() {
    let mut world = World::new();
    world.theirs = Ca::root("our root");
    world.abroad = world.theirs.intermediate("west");
    let forged = |uri| world.abroad.sign(&Leaf::of(&[uri]));
    world.refuses(&forged(CART).with(&[&world.abroad]), UNTRUSTED);
    world.refuses(&forged(CART).with(&[&world.west]), UNTRUSTED);
    world.refuses(&forged(CART).with(&[&world.abroad, &world.west]), UNTRUSTED);
    assert_eq!(world.verdict(&world.chain(&[CART]), &cart()), Ok(()));
}

#[test]
fn a11_a_chain_lacking_its_intermediate_is_refused() {
    let world = World::new();
    world.refuses(&world.west.sign(&Leaf::of(&[CART])), UNTRUSTED);
}
