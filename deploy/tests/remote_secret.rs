//! What is printed as a remote secret is what a primary takes, and says what was granted.
#![allow(clippy::disallowed_methods, reason = "goldens are files")]
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::path::Path;

use diolkos_deploy::{Grants, RemoteSecret, to_yaml};
use diolkos_facts::remote::{self, AllowedRanges, RemoteCluster, Setup};
use diolkos_topology::{ClusterId, Namespace};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

/// Of no key that anybody has.
const ROOT: &str = include_str!("../testdata/root.pem");

fn secret(server: &str, grants: Grants) -> RemoteSecret {
    let cluster = ClusterId::new("west").unwrap();
    RemoteSecret {
        name: RemoteSecret::usual_name(&cluster),
        cluster,
        namespace: Namespace::new("diolkos-system").unwrap(),
        server: server.into(),
        roots: ROOT.into(),
        tls_server_name: None,
        token: "header.claims.signature".into(),
        grants,
    }
}

/// As the API server has it after `kubectl apply`: strings become bytes.
fn stored(text: &str) -> remote::RemoteSecret {
    let mut secret: Secret = serde_saphyr::from_str(text).unwrap();
    let data = secret.string_data.take().unwrap_or_default();
    let bytes = data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes())));
    secret.data = Some(bytes.collect());
    remote::RemoteSecret::from(secret)
}

fn taken(secret: &RemoteSecret) -> Result<RemoteCluster, String> {
    let setup = Setup {
        own: ClusterId::new("east").unwrap(),
        namespace: "diolkos-system".into(),
        allowed: AllowedRanges::default(),
    };
    let text = to_yaml(&[secret.object()]);
    let mut read = remote::read_secret(&stored(&text), &setup);
    assert_eq!(read.len(), 1, "{text}");
    let read = read.remove(0).1.map_err(|remark| remark.to_string());
    let checked = secret.check(&AllowedRanges::default()).map_err(|remark| remark.to_string());
    assert_eq!(checked, read.as_ref().map(|_| ()).map_err(Clone::clone), "as it was read");
    read
}

#[test]
fn a_secret_is_printed_as_istio_prints_it() {
    let text = to_yaml(&[secret("https://203.0.113.7:6443", Grants::default()).object()]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/remote-secret.yaml");
    if std::env::var_os("DIOLKOS_REWRITE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "DIOLKOS_REWRITE=1 writes it anew");
}

#[test]
fn a_primary_takes_it_and_grants_what_was_said() {
    let plain = taken(&secret("https://203.0.113.7:6443", Grants::default())).unwrap();
    assert_eq!(plain.cluster.as_str(), "west");
    assert_eq!(plain.connection.to_string(), "https://203.0.113.7:6443 by a token");
    assert_eq!(plain.claims, remote::Claims::plain());

    let said = |text: &str| Some(text.to_owned());
    let grants = Grants {
        services: said("shop/*, pay/api"),
        identities: said("*/*, diolkos-system/diolkos-eastwestgateway"),
        addresses: said("10.20.0.0/16, fd00:20::/64"),
        networks: said(""),
        trust_domain: said("west.example"),
    };
    let mut narrow = secret("https://west.example:6443/k8s", grants);
    narrow.tls_server_name = Some("kubernetes".into());
    let narrow = taken(&narrow).unwrap();
    assert_eq!(narrow.connection.tls_server_name.as_deref(), Some("kubernetes"));
    assert_eq!(narrow.claims.addresses.len(), 2);
    assert_eq!(narrow.claims.trust_domain.unwrap().as_str(), "west.example");
    assert_ne!(narrow.claims.grants, remote::Claims::plain().grants);
}

#[test]
fn what_a_primary_would_refuse_is_refused_with_its_code() {
    let grants = Grants { services: Some("shop".into()), ..Grants::default() };
    let refused = taken(&secret("https://203.0.113.7", grants)).unwrap_err();
    assert!(refused.ends_with("[annotation]"), "{refused}");
    let refused = taken(&secret("https://127.0.0.1:6443", Grants::default())).unwrap_err();
    assert!(refused.ends_with("[server-address]"), "{refused}");
}

#[test]
fn a_range_that_the_primary_allows_is_allowed_here() {
    let secret = secret("https://127.0.0.1:6443", Grants::default());
    assert!(secret.check(&AllowedRanges(vec!["127.0.0.0/8".parse().unwrap()])).is_ok());
}

#[test]
fn a_cluster_of_any_name_is_another_than_the_primarys() {
    for name in ["own", "other"] {
        let cluster = ClusterId::new(name).unwrap();
        let secret = RemoteSecret { cluster, ..secret("https://203.0.113.7", Grants::default()) };
        assert_eq!(secret.check(&AllowedRanges::default()), Ok(()));
    }
}

#[test]
fn a13_a_token_is_not_shown() {
    let shown = format!("{:?}", secret("https://203.0.113.7", Grants::default()));
    assert_eq!(shown, "RemoteSecret(west at https://203.0.113.7)");
}
