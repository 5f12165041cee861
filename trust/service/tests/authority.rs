//! What is issued, to the extension and the second.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Identity, IssuerKey, Peer, Roots, Usage, peer_of, read_certificates};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, AuthorityError, Issued, LeafRequest, Validity};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const HOUR: Duration = Duration::from_secs(3600);
const CART: &str = "spiffe://ours/ns/shop/sa/cart";

fn lasting(duration: Duration) -> Validity {
    let now = SystemTime::now();
    Validity { not_before: now, not_after: now + duration }
}

fn request(validity: Validity) -> LeafRequest {
    LeafRequest { id: SpiffeId::parse(CART).unwrap(), dns: vec![], ips: vec![], validity }
}

fn root() -> Authority {
    Authority::new_root("diolkos demo", lasting(1000 * HOUR)).unwrap()
}

fn west() -> Authority {
    root().intermediate("west", lasting(100 * HOUR)).unwrap()
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn parsed(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn peer(issued: &Issued, dir: &Path) -> Peer {
    issued.write(dir).unwrap();
    let roots = Roots::load(dir, &TrustDomain::new("ours").unwrap()).unwrap();
    let chain = certificates(&issued.chain_pem);
    peer_of(&chain, &roots, SystemTime::now(), Usage::Client).unwrap()
}

#[test]
fn a_root_is_a_ca_that_signs_itself() {
    let root = root();
    let certificate = parsed(root.certificate_der());
    assert_eq!(certificate.subject().to_string(), "O=diolkos demo, CN=Root CA");
    assert_eq!(certificate.issuer(), certificate.subject());
    assert!(certificate.is_ca());
    assert_eq!(root.root_pem(), String::from_utf8(pem_of(&root)).unwrap());
}

fn pem_of(authority: &Authority) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    authority.write(dir.path()).unwrap();
    std::fs::read(dir.path().join("ca-cert.pem")).unwrap()
}

#[test]
fn an_intermediate_signs_leaves_and_nothing_else() {
    let west = west();
    let certificate = parsed(west.certificate_der());
    assert_eq!(
        certificate.subject().to_string(),
        "O=diolkos demo, CN=Intermediate CA west, L=west"
    );
    assert_eq!(certificate.issuer().to_string(), "O=diolkos demo, CN=Root CA");
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, KEY_CERT_SIGN | CRL_SIGN);
    let below = west.intermediate("below", lasting(HOUR));
    assert!(matches!(below, Err(AuthorityError::PathLength(_))));
}

const DIGITAL_SIGNATURE: u16 = 1;
const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

#[test]
fn a3_a_leaf_has_one_uri_name_and_the_uses_of_a_workload() {
    let address: IpAddr = [127, 8, 0, 1].into();
    let asked = LeafRequest {
        dns: vec!["primary.west".into(), "outbound_.80_._.cart".into()],
        ips: vec![address, "::1".parse().unwrap()],
        ..request(lasting(HOUR))
    };
    let chain = certificates(&west().issue(&asked).unwrap().chain_pem);
    let leaf = parsed(&chain[0]);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "the subject is empty");
    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(
        names.value.general_names,
        [
            GeneralName::URI(CART),
            GeneralName::DNSName("primary.west"),
            GeneralName::DNSName("outbound_.80_._.cart"),
            GeneralName::IPAddress(&[127, 8, 0, 1]),
            GeneralName::IPAddress(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ]
    );
    assert!(!leaf.is_ca());
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, DIGITAL_SIGNATURE);
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && uses.client_auth && !uses.any && uses.other.is_empty());
}

#[test]
fn a_leaf_is_an_identity_whose_issuer_is_its_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (root, west) = (root(), west());
    let issued = west.issue(&request(lasting(HOUR))).unwrap();
    let seen = peer(&issued, dir.path());
    assert_eq!(seen.id.as_str(), CART);
    assert_eq!(seen.issuer, IssuerKey::of_certificate(west.certificate_der()).unwrap());
    assert_eq!(Identity::load(dir.path()).unwrap().spiffe_id().as_str(), CART);

    let under_root = root.issue(&request(lasting(HOUR))).unwrap();
    assert_eq!(certificates(&under_root.chain_pem).len(), 1);
    let seen = peer(&under_root, dir.path());
    assert_eq!(seen.issuer, IssuerKey::of_certificate(root.certificate_der()).unwrap());
}

#[test]
fn serial_numbers_are_random_and_keys_fresh() {
    let west = west();
    let issue = || {
        let chain = certificates(&west.issue(&request(lasting(HOUR))).unwrap().chain_pem);
        let leaf = parsed(&chain[0]);
        (leaf.raw_serial().to_vec(), leaf.public_key().raw.to_vec())
    };
    let ((first, key), (second, other_key)) = (issue(), issue());
    assert!(first.len() == 16 && second.len() == 16 && first[0] < 0x80);
    assert_ne!(first[1..8], second[1..8]);
    assert_ne!(key, other_key);
}

#[test]
fn what_is_issued_starts_a_minute_early_and_outlives_no_ca() {
    let now = SystemTime::now();
    let period = |hours: u32| Validity { not_before: now, not_after: now + hours * HOUR };
    let root = Authority::new_root("root", period(30)).unwrap();
    let west = root.intermediate("west", period(20)).unwrap();
    let dates = |der: &[u8]| {
        let validity = parsed(der).validity().clone();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    };
    let leaf = |authority: &Authority, hours| {
        let issued = authority.issue(&request(period(hours))).unwrap();
        dates(&certificates(&issued.chain_pem)[0])
    };
    let start = seconds(now) - 60;
    let until = |hours: u32| seconds(now + hours * HOUR);
    assert_eq!(dates(root.certificate_der()), (start, until(30)));
    assert_eq!(dates(west.certificate_der()), (start, until(20)));
    assert_eq!(leaf(&west, 10), (start, until(10)));
    assert_eq!(leaf(&west, 20), (start, until(20)));
    assert_eq!(leaf(&west, 21), (start, until(20)), "clamped to the intermediate's end");
    let longer = root.intermediate("east", period(40)).unwrap();
    assert_eq!(dates(longer.certificate_der()), (start, until(30)), "clamped to the root's end");
    assert_eq!(longer.not_after(), now + 30 * HOUR);
}

#[test]
fn nothing_is_issued_outside_the_cas_time_or_for_no_time() {
    let now = SystemTime::now();
    let west = west();
    let later = Validity { not_before: now + 200 * HOUR, not_after: now + 300 * HOUR };
    let backwards = Validity { not_before: now, not_after: now - HOUR };
    let nothing = Validity { not_before: now, not_after: now };
    for validity in [later, backwards, nothing] {
        let refused = west.issue(&request(validity)).map(drop).unwrap_err();
        assert!(matches!(refused, AuthorityError::Validity(_)), "{refused}");
    }
    assert!(matches!(Authority::new_root("r", nothing), Err(AuthorityError::Validity(_))));
    // The last second that X.509 can write, and the one after it.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    for (not_after, good) in [(last, true), (last + Duration::from_secs(1), false)] {
        let made = Authority::new_root("r", Validity { not_before: now, not_after });
        assert_eq!(made.is_ok(), good);
    }
}

#[test]
fn names_that_fit_no_certificate_are_refused() {
    for dns in ["", "two names", "b\u{fc}cher.example", "a..b", "cart\0", "127.0.0.1 "] {
        let asked = LeafRequest { dns: vec![dns.into()], ..request(lasting(HOUR)) };
        let said = west().issue(&asked).map(drop).unwrap_err().to_string();
        assert!(said.starts_with(&format!("DNS name {dns:?} cannot be put")), "{said}");
    }
    for name in ["", "we\nst", "we\0st"] {
        let said = root().intermediate(name, lasting(HOUR)).map(drop).unwrap_err().to_string();
        assert!(said.starts_with(&format!("cluster name {name:?} cannot be put")), "{said}");
        assert!(Authority::new_root(name, lasting(HOUR)).is_err());
    }
}

#[test]
fn debug_output_shows_no_key() {
    let west = west();
    let issued = west.issue(&request(lasting(HOUR))).unwrap();
    let shown = format!("{west:?} {issued:?}");
    let secret = issued.key_pem.lines().nth(1).unwrap();
    assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn an_issue_writes_the_identity_folder_with_a_private_key_file() {
    use std::os::unix::fs::PermissionsExt;
    let kept = tempfile::tempdir().unwrap();
    let dir = kept.path().join("a/b");
    let west = west();
    for _ in 0..2 {
        west.issue(&request(lasting(HOUR))).unwrap().write(&dir).unwrap();
        let mode = std::fs::metadata(dir.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_certificates(&dir.join("cert-chain.pem")).unwrap().len(), 2);
        let mut files: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["cert-chain.pem", "key.pem", "root-cert.pem"]);
        Identity::load(&dir).unwrap();
    }
}
