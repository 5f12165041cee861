//! What is a SPIFFE id and what is not, as a table and as a property.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use diolkos_trust::{
    Bundle, BundleError, Bundles, SPIFFE_ID_BYTES_MAX, SpiffeError, SpiffeId,
    TRUST_DOMAIN_BYTES_MAX, TrustDomain, WorkloadName,
};
use proptest::prelude::*;

fn domain(text: &str) -> TrustDomain {
    TrustDomain::new(text).unwrap()
}

fn id_of_bytes(bytes: usize) -> String {
    let mut text = String::from("spiffe://td.example/");
    text.extend(std::iter::repeat_n('a', bytes - text.len()));
    text
}

#[test]
fn well_formed_ids_are_kept_as_they_are() {
    for text in [
        "spiffe://cluster.local/ns/shop/sa/cart",
        "spiffe://td/a",
        "spiffe://td/A/B.c-d_e",
        "spiffe://td/...",
        "spiffe://td/..a",
        "spiffe://a_b-c.1/x",
        "spiffe://1.2.3.4/x",
        "spiffe://-/x",
        "spiffe://xn--bcher-kva.example/x",
        &id_of_bytes(SPIFFE_ID_BYTES_MAX),
    ] {
        let id = SpiffeId::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(id.as_str(), text);
        assert_eq!(SpiffeId::parse(&id.to_string()), Ok(id));
    }
}

/// A text, and whether an error is the one it deserves.
type Refused<'a> = (&'a str, fn(&SpiffeError) -> bool);

#[test]
fn a3_what_is_no_spiffe_id_is_refused_with_its_reason() {
    use SpiffeError::{Character, Empty, NoPath, Scheme, Segment, TooLong};
    let long_domain = format!("spiffe://{}/x", "a".repeat(TRUST_DOMAIN_BYTES_MAX + 1));
    let long = id_of_bytes(SPIFFE_ID_BYTES_MAX + 1);
    let rows: &[Refused<'_>] = &[
        ("", |e| matches!(e, Scheme { .. })),
        ("td/x", |e| matches!(e, Scheme { .. })),
        ("https://td/x", |e| matches!(e, Scheme { .. })),
        ("SPIFFE://td/x", |e| matches!(e, Scheme { .. })),
        (" spiffe://td/x", |e| matches!(e, Scheme { .. })),
        ("spiffe:/td/x", |e| matches!(e, Scheme { .. })),
        ("spiffe://", |e| matches!(e, NoPath { .. })),
        ("spiffe://td", |e| matches!(e, NoPath { .. })),
        ("spiffe:///x", |e| matches!(e, Empty { .. })),
        ("spiffe://td/", |e| matches!(e, Segment { .. })),
        ("spiffe://td/a/", |e| matches!(e, Segment { .. })),
        ("spiffe://td//a", |e| matches!(e, Segment { .. })),
        ("spiffe://td/a//b", |e| matches!(e, Segment { .. })),
        ("spiffe://td/./a", |e| matches!(e, Segment { .. })),
        ("spiffe://td/a/..", |e| matches!(e, Segment { .. })),
        ("spiffe://td/ns/../sa/x", |e| matches!(e, Segment { .. })),
        ("spiffe://TD/x", |e| matches!(e, Character { found: 'T', .. })),
        ("spiffe://cluster.Local/x", |e| matches!(e, Character { found: 'L', .. })),
        ("spiffe://user@td/x", |e| matches!(e, Character { found: '@', .. })),
        ("spiffe://user:secret@td/x", |e| matches!(e, Character { found: ':', .. })),
        ("spiffe://td:443/x", |e| matches!(e, Character { found: ':', .. })),
        ("spiffe://[::1]/x", |e| matches!(e, Character { found: '[', .. })),
        ("spiffe://t%64/x", |e| matches!(e, Character { found: '%', .. })),
        ("spiffe://td?/x", |e| matches!(e, Character { found: '?', .. })),
        ("spiffe://bücher/x", |e| matches!(e, Character { found: 'ü', .. })),
        ("spiffe://td\0/x", |e| matches!(e, Character { found: '\0', .. })),
        ("spiffe://td/x\0", |e| matches!(e, Character { found: '\0', .. })),
        ("spiffe://td/x\0.evil", |e| matches!(e, Character { found: '\0', .. })),
        ("spiffe://td/%2e%2e/x", |e| matches!(e, Character { found: '%', .. })),
        ("spiffe://td/a%2fb", |e| matches!(e, Character { found: '%', .. })),
        ("spiffe://td/x?y=z", |e| matches!(e, Character { found: '?', .. })),
        ("spiffe://td/x#y", |e| matches!(e, Character { found: '#', .. })),
        ("spiffe://td/x y", |e| matches!(e, Character { found: ' ', .. })),
        ("spiffe://td/x\n", |e| matches!(e, Character { found: '\n', .. })),
        ("spiffe://td/x\\y", |e| matches!(e, Character { found: '\\', .. })),
        ("spiffe://td/x*", |e| matches!(e, Character { found: '*', .. })),
        ("spiffe://td/é", |e| matches!(e, Character { found: 'é', .. })),
        // Looks like "a" and is a Cyrillic letter.
        ("spiffe://td/\u{430}", |e| matches!(e, Character { found: '\u{430}', .. })),
        ("spiffe://td/\u{202e}x", |e| matches!(e, Character { .. })),
        (&long_domain, |e| matches!(e, TooLong { bytes: 256, bytes_max: 255 })),
        (&long, |e| matches!(e, TooLong { bytes: 2049, bytes_max: 2048 })),
    ];
    for (text, expected) in rows {
        match SpiffeId::parse(text) {
            Ok(id) => panic!("{text:?} was accepted as {id}"),
            Err(error) => assert!(expected(&error), "{text:?} was refused for {error:?}"),
        }
    }
}

#[test]
fn errors_are_one_line_whatever_the_text() {
    for text in ["spiffe://td/a\nb", "spiffe://td\r\n/x", "\u{1b}[31mred"] {
        let said = SpiffeId::parse(text).unwrap_err().to_string();
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
}

#[test]
fn a_trust_domain_has_at_most_255_bytes() {
    assert!(TrustDomain::new(&"a".repeat(TRUST_DOMAIN_BYTES_MAX)).is_ok());
    assert!(TrustDomain::new(&"a".repeat(TRUST_DOMAIN_BYTES_MAX + 1)).is_err());
    assert!(matches!(TrustDomain::new(""), Err(SpiffeError::Empty { .. })));
}

#[test]
fn only_istios_exact_shape_names_a_workload() {
    let named = |text: &str| {
        let id = SpiffeId::parse(text).unwrap();
        id.workload_name().map(|name| format!("{}/{}", name.namespace, name.service_account))
    };
    assert_eq!(named("spiffe://td/ns/shop/sa/cart").as_deref(), Some("shop/cart"));
    for other in [
        "spiffe://td/ns/shop/sa",
        "spiffe://td/ns/shop/sa/cart/more",
        "spiffe://td/sa/cart/ns/shop",
        "spiffe://td/NS/shop/sa/cart",
        "spiffe://td/x/ns/shop/sa/cart",
        "spiffe://td/spire/server",
    ] {
        assert_eq!(named(other), None, "{other}");
    }
}

#[test]
fn a3_a_name_cannot_smuggle_further_segments_into_a_workload_id() {
    let td = domain("td");
    let good = SpiffeId::workload(&td, "shop", "cart").unwrap();
    assert_eq!(good.as_str(), "spiffe://td/ns/shop/sa/cart");
    assert_eq!(
        good.workload_name(),
        Some(WorkloadName { namespace: "shop", service_account: "cart" })
    );
    for (namespace, service_account) in [
        ("shop/sa/admin", "x"),
        ("shop", "cart/sa/admin"),
        ("", "cart"),
        ("shop", ""),
        ("..", "cart"),
        ("shop", "car\0t"),
        ("shop", "%2e"),
    ] {
        assert!(SpiffeId::workload(&td, namespace, service_account).is_err());
    }
}

#[test]
fn a11_bundles_are_found_by_their_domain_and_never_pooled() {
    let (ours, theirs) = (domain("ours"), domain("theirs"));
    let bundle = |td: &TrustDomain, root: &[u8]| Bundle::new(td.clone(), [root.to_vec()]).unwrap();
    let mut all = Bundles::from_iter([bundle(&ours, b"root 1"), bundle(&theirs, b"root 2")]);
    let roots = |all: &Bundles, td: &TrustDomain| -> Vec<Vec<u8>> {
        all.get(td).into_iter().flat_map(Bundle::roots).map(<[u8]>::to_vec).collect()
    };
    assert_eq!(roots(&all, &ours), [b"root 1"]);
    assert_eq!(roots(&all, &theirs), [b"root 2"]);
    assert_eq!(all.get(&domain("others")), None);

    all.insert(bundle(&ours, b"root 3"));
    assert_eq!(roots(&all, &ours), [b"root 3"], "a bundle is replaced, not added to");
    assert_eq!(roots(&all, &theirs), [b"root 2"]);
}

#[test]
fn a_bundle_has_roots_and_each_once() {
    let td = domain("td");
    assert_eq!(Bundle::new(td.clone(), []), Err(BundleError::Empty { trust_domain: td.clone() }));
    let twice = Bundle::new(td, [vec![1], vec![2], vec![1]]).unwrap();
    assert_eq!(twice.roots().collect::<Vec<_>>(), [&[1][..], &[2]]);
}

proptest! {
    #[test]
    fn parse_never_panics_and_accepts_only_what_it_gives_back(text in ".*") {
        let whole = SpiffeId::parse(&text);
        let inside = SpiffeId::parse(&format!("spiffe://{text}"));
        for id in [whole, inside].into_iter().flatten() {
            let path = id.as_str().strip_prefix("spiffe://").unwrap();
            prop_assert!(path.is_ascii() && !path.contains("//") && !path.ends_with('/'));
            prop_assert!(path.starts_with(id.trust_domain().as_str()));
            prop_assert_eq!(TrustDomain::new(id.trust_domain().as_str()), Ok(id.trust_domain()));
        }
    }

    #[test]
    fn parts_survive_the_way_into_an_id_and_back(
        td in "[a-z0-9._-]{1,40}",
        namespace in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        account in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?",
    ) {
        let id = SpiffeId::workload(&domain(&td), &namespace, &account).unwrap();
        prop_assert_eq!(id.trust_domain(), domain(&td));
        prop_assert_eq!(
            id.workload_name(),
            Some(WorkloadName { namespace: &namespace, service_account: &account })
        );
    }

    /// One byte put anywhere into a good id either makes another good id or is refused.
    #[test]
    fn a_byte_outside_the_alphabet_is_refused_anywhere(at in 9_usize..32, byte in 0_u8..128) {
        let mut text = String::from("spiffe://cluster.local/ns/a/sa/b");
        text.insert(at, char::from(byte));
        let allowed = byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert!(allowed, "{} was accepted", id);
        }
    }
}
