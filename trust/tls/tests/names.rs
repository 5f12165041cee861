//! Servers known by a DNS name or an address: the primary, istiod.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use diolkos_tls::{Expect, Roots, client_config};
use mesh::{Ca, Chain, Leaf, gullible_server, meet, roots};
use rustls::version::{TLS12, TLS13};

const PRIMARY: &str = "primary.diolkos-system.svc";
const PRIMARY_ID: &str = "spiffe://ours/ns/diolkos-system/sa/primary";

/// What a client that expects the name says of the server; the SNI is always another name.
fn verdict(name: &str, roots: &Roots, presented: &Chain) -> Result<(), String> {
    let own = Ca::root("own").sign(&Leaf::of(&["spiffe://ours/ns/a/sa/b"])).identity();
    let client = client_config(&own, roots, Expect::Dns(name.into()), &[]);
    let [old, new] = [&TLS12, &TLS13].map(|version| {
        let met = meet(&client, &gullible_server(presented, version), "sni.is.only.sent");
        met.client.map(drop).map_err(|error| error.to_string())
    });
    assert_eq!(old, new);
    old
}

#[track_caller]
fn refused(verdict: &Result<(), String>, reason: &str) {
    let said = verdict.as_ref().expect_err("this must be refused");
    assert!(said.contains(reason), "refused for {said:?}, not for {reason:?}");
}

#[test]
fn a_name_is_expected_of_the_certificate_not_of_the_sni() {
    let root = Ca::root("root");
    let roots = roots(&[("ours", &[&root])]);
    let leaf = Leaf::of(&[PRIMARY_ID]).dns(PRIMARY).ip([127, 0, 0, 1].into());
    let chain = root.sign(&leaf);
    for good in [PRIMARY, "PRIMARY.diolkos-system.SVC", "primary.diolkos-system.svc.", "127.0.0.1"]
    {
        assert_eq!(verdict(good, &roots, &chain), Ok(()), "{good}");
    }
    let other = verdict("istiod.istio-system.svc", &roots, &chain);
    refused(
        &other,
        "the certificate is for [primary.diolkos-system.svc, 127.0.0.1], \
         not for \"istiod.istio-system.svc\"",
    );
    refused(&verdict("127.0.0.2", &roots, &chain), "the certificate is for");
    refused(&verdict("svc", &roots, &chain), "the certificate is for");
    refused(&verdict("sni.is.only.sent", &roots, &chain), "the certificate is for");
    for nonsense in ["", "two names", "*.svc", "a..b"] {
        refused(&verdict(nonsense, &roots, &chain), "neither a DNS name nor an address");
    }
}

#[test]
fn a_certificate_with_names_and_no_spiffe_id_will_do() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let chain = ours.sign(&Leaf::of(&[]).dns("istiod.istio-system.svc"));
    let name = "istiod.istio-system.svc";
    for bundles in [
        roots(&[("ours", &[&ours])]),
        roots(&[("a", &[&theirs]), ("b", &[&ours])]),
        roots(&[("a", &[&ours]), ("b", &[&theirs])]),
        roots(&[("a", &[&theirs, &ours])]),
    ] {
        assert_eq!(verdict(name, &bundles, &chain), Ok(()));
    }
    let untrusted = verdict(name, &roots(&[("theirs", &[&theirs])]), &chain);
    refused(&untrusted, "istiod.istio-system.svc is signed by a root this mesh does not trust");
    refused(&verdict(name, &roots(&[]), &chain), "is signed by a root this mesh does not trust");
}

#[test]
fn a11_a_foreign_root_cannot_name_our_primary_under_our_id() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let roots = roots(&[("ours", &[&ours]), ("theirs", &[&theirs])]);
    let forged = theirs.sign(&Leaf::of(&[PRIMARY_ID]).dns(PRIMARY));
    refused(&verdict(PRIMARY, &roots, &forged), "is signed by a root this mesh does not trust");
}

#[test]
fn a3_a_name_excuses_no_fault_of_the_leaf() {
    let root = Ca::root("root");
    let roots = roots(&[("ours", &[&root])]);
    let sign = |leaf: Leaf| root.sign(&leaf.dns(PRIMARY));
    let past = std::time::SystemTime::now() - 5 * mesh::HOUR;
    for (chain, reason) in [
        (sign(Leaf::of(&[PRIMARY_ID, PRIMARY_ID])), "has 2 URI names"),
        (sign(Leaf::of(&["https://primary"])), "is no SPIFFE id"),
        (sign(Leaf::of(&[]).valid(past, past + mesh::HOUR)), "expired 4 h ago"),
        (sign(Leaf::of(&[PRIMARY_ID]).valid(past, past + mesh::HOUR)), "expired 4 h ago"),
    ] {
        refused(&verdict(PRIMARY, &roots, &chain), reason);
    }
}
