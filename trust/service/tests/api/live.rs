//! The CA in force, and the primary's own certificate.

use std::fs;
use std::time::{Duration, SystemTime};

use diolkos_tls::IssuerKey;
use diolkos_trust_service::{
    Authority, FolderLook, LiveAuthority, Looked, OwnCertificate, OwnNames, Validity,
};

use crate::ground::{HOUR, domain};

fn validity() -> Validity {
    let now = SystemTime::now();
    Validity { not_before: now, not_after: now + 100 * HOUR }
}

fn key(authority: &Authority) -> IssuerKey {
    IssuerKey::of_certificate(authority.certificate_der()).unwrap()
}

#[test]
fn an_intermediate_that_changes_in_its_folder_signs_from_then_on() {
    let root = Authority::new_root("mesh", validity()).unwrap();
    let [first, second] = ["a", "b"].map(|name| root.intermediate(name, validity()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    first.write(dir.path()).unwrap();
    let live = LiveAuthority::new(Authority::load(dir.path()).unwrap()).unwrap();
    let mut look = FolderLook::new(live.clone(), dir.path().into());
    let now = SystemTime::now();
    assert_eq!(look.look(now), Looked::Same);
    second.write(dir.path()).unwrap();
    assert_eq!(look.look(now), Looked::Replaced);
    assert_eq!(look.look(now), Looked::Same);
    assert_eq!(key(&live.get()), key(&second));
    let issuers = live.issuers();
    assert!(issuers.contains(&key(&first)), "what it signed lives on");
    assert!(issuers.contains(&key(&second)));
}

#[test]
fn a_folder_that_broke_keeps_the_ca_and_is_told_of_once() {
    let root = Authority::new_root("mesh", validity()).unwrap();
    let first = root.intermediate("a", validity()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    first.write(dir.path()).unwrap();
    let live = LiveAuthority::new(Authority::load(dir.path()).unwrap()).unwrap();
    let mut look = FolderLook::new(live.clone(), dir.path().into());
    let now = SystemTime::now();
    look.look(now);
    fs::write(dir.path().join("ca-key.pem"), "half a").unwrap();
    assert_eq!(look.look(now), Looked::Same, "it may be half written");
    assert!(matches!(look.look(now), Looked::Kept(_)));
    assert_eq!(look.look(now), Looked::Same);
    assert_eq!(key(&live.get()), key(&first));
    first.write(dir.path()).unwrap();
    look.look(now);
    assert_eq!(key(&live.get()), key(&first));
}

#[test]
fn a13_a_root_that_nobody_knows_yet_is_not_switched_to() {
    let [old, new] = ["old", "new"].map(|name| Authority::new_root(name, validity()).unwrap());
    let [first, second] = [&old, &new].map(|root| root.intermediate("a", validity()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let load = |authority: &Authority, roots: &[&Authority]| {
        authority.write(dir.path()).unwrap();
        let roots: String = roots.iter().map(|root| root.root_pem()).collect();
        fs::write(dir.path().join("root-cert.pem"), roots).unwrap();
        Authority::load(dir.path()).unwrap()
    };
    let live = LiveAuthority::new(load(&first, &[&old])).unwrap();
    let refused = live.replace(load(&second, &[&new])).unwrap_err().to_string();
    assert!(refused.contains("first add the new root beside the old one"), "{refused}");
    assert_eq!(key(&live.get()), key(&first));
    // The three steps of a rotation.
    live.replace(load(&first, &[&old, &new])).unwrap();
    live.replace(load(&second, &[&old, &new])).unwrap();
    live.replace(load(&second, &[&new])).unwrap();
    assert_eq!(key(&live.get()), key(&second));
}

#[test]
fn an_own_root_is_kept_as_files_and_signs_again_after_a_restart() {
    let now = SystemTime::now();
    let made = Authority::new_own_root("cluster.local", now).unwrap();
    let files = made.files();
    let names: Vec<_> = files.entries().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"]);
    let again = Authority::of_files("secret diolkos-ca".as_ref(), &files, now).unwrap();
    assert_eq!(again.root_pem(), made.root_pem());
    assert_eq!(key(&again), key(&made));
    let mut broken = files.clone();
    broken.key = b"nothing".to_vec();
    let error = Authority::of_files("secret diolkos-ca".as_ref(), &broken, now).unwrap_err();
    assert!(error.to_string().starts_with("secret diolkos-ca/ca-key.pem: holds no private key"));
    assert!(!format!("{files:?}").contains("PRIVATE"), "a key is never printed");
}

#[tokio::test]
async fn the_primarys_own_certificate_follows_its_ca_and_renews_itself() {
    let root = Authority::new_root("mesh", validity()).unwrap();
    let [first, second] = ["a", "b"].map(|name| root.intermediate(name, validity()).unwrap());
    let live = LiveAuthority::new(first).unwrap();
    let names = OwnNames::in_cluster(&domain(), "diolkos-system", "diolkos-primary").unwrap();
    assert_eq!(names.dns, ["diolkos-primary.diolkos-system.svc", "istiod.istio-system.svc"]);
    let own = OwnCertificate::keep(&live, names).unwrap();
    assert_eq!(
        own.identity.spiffe_id().as_str(),
        "spiffe://cluster.local/ns/diolkos-system/sa/diolkos-primary"
    );
    let before = own.identity.not_after();
    live.replace(second).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    // A second later is another end: certificates count in seconds.
    while own.identity.not_after() == before {
        assert!(tokio::time::Instant::now() < deadline, "never renewed");
        let again = root.intermediate("b", validity()).unwrap();
        live.replace(again).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
