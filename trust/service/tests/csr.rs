//! Threat A3: whatever a CSR asks for, the leaf is the caller's, and what is dangerous is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, SystemTime};

use diolkos_trust::SpiffeId;
use diolkos_trust_service::limit::{CSR_BYTES_MAX, TTL_DEFAULT, TTL_MAX, TTL_MIN};
use diolkos_trust_service::{Authority, RequestKey, Subject, Validity, ttl_of};
use rcgen::{
    Attribute, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose as Use, KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const HOUR: Duration = Duration::from_secs(3600);
const SAN: &[u64] = &[2, 5, 29, 17];
const BASIC: &[u64] = &[2, 5, 29, 19];
const CA_TRUE: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xff];

/// A sound request but for what `with` does to it.
fn csr(with: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    with(&mut params);
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// Subject alternative names as raw tagged values: what no library would write.
fn names(names: &[(u8, &[u8])]) -> String {
    let mut values = Vec::new();
    for (tag, value) in names {
        values.push(*tag);
        values.extend(length(value.len()));
        values.extend_from_slice(value);
    }
    let content = [vec![0x30], length(values.len()), values].concat();
    csr(|params| {
        params.custom_extensions.push(CustomExtension::from_oid_content(SAN, content));
    })
}

fn length(bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short @ 0..0x80) => vec![short],
        _ => [vec![0x82], u16::try_from(bytes).unwrap().to_be_bytes().to_vec()].concat(),
    }
}

fn uri(text: &str) -> String {
    names(&[(0x86, text.as_bytes())])
}

fn extension(oid: &'static [u64], content: &[u8]) -> String {
    let extension = CustomExtension::from_oid_content(oid, content.to_vec());
    csr(|params| params.custom_extensions.push(extension))
}

fn uses(purposes: &[Use]) -> String {
    csr(|params| params.extended_key_usages = purposes.to_vec())
}

/// The extension asked for in a second attribute, where a lazy reader does not look.
fn second_attribute() -> String {
    let oid = [0x06, 0x03, 0x55, 0x1d, 0x13];
    let octets = [&[0x04, 0x05][..], CA_TRUE].concat();
    let one = [&[0x30, (oid.len() + octets.len()) as u8][..], &oid, &octets].concat();
    let list = [&[0x30, one.len() as u8][..], &one].concat();
    let values = [&[0x31, list.len() as u8][..], &list].concat();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
    let attribute = Attribute { oid: &[1, 2, 840, 113_549, 1, 9, 14], values };
    let key = KeyPair::generate().unwrap();
    let request = params.serialize_request_with_attributes(&key, vec![attribute]).unwrap();
    request.pem().unwrap()
}

/// Signed by another key than the one it holds.
fn not_owned() -> String {
    let ours = csr(|_| {});
    let mut der = pem::parse(&ours).unwrap().into_contents();
    let other = KeyPair::generate().unwrap();
    let own = X509CertificationRequest::from_der(&der).unwrap().1;
    let spki = own.certification_request_info.subject_pki.raw.to_vec();
    let at = der.windows(spki.len()).position(|window| window == spki).unwrap();
    der[at..at + spki.len()]
        .copy_from_slice(&rcgen::PublicKeyData::subject_public_key_info(&other));
    armour("CERTIFICATE REQUEST", &der)
}

fn armour(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der.to_vec()))
}

fn of_alg(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

/// `None`: the caller's leaf and nothing else is issued; else what the refusal says.
type Row = (&'static str, String, Option<&'static str>);

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("csr/", $name, ".pem")).to_owned()
    };
}

fn names_and_subjects() -> Vec<Row> {
    let long = format!("spiffe://cluster.local/ns/shop/sa/{}", "a".repeat(2048));
    let admin = "spiffe://cluster.local/ns/kube-system/sa/admin";
    let two: &[(u8, &[u8])] = &[(0x86, CART.as_bytes()), (0x86, admin.as_bytes())];
    let utf8_name: &[u8] =
        &[0x06, 0x0a, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x14, 2, 3, 0xa0, 0x03, 0x0c, 0x01, b'x'];
    vec![
        ("asks for nothing", csr(|_| {}), None),
        ("asks for its own id", uri(CART), None),
        ("asks for another's id", uri(admin), None),
        ("two ids", names(two), None),
        ("NUL in the id", uri("spiffe://cluster.local/ns/shop/sa/cart\0.evil"), None),
        ("escaped dots", uri("spiffe://cluster.local/ns/%2e%2e/sa/cart"), None),
        ("upper-case trust domain", uri("spiffe://CLUSTER.LOCAL/ns/shop/sa/cart"), None),
        ("user in the id", uri("spiffe://a@cluster.local/ns/shop/sa/cart"), None),
        ("port in the id", uri("spiffe://cluster.local:1/ns/shop/sa/cart"), None),
        ("2 KB of path", uri(&long), None),
        ("empty segment", uri("spiffe://cluster.local/ns//sa/cart"), None),
        ("trailing slash", uri("spiffe://cluster.local/ns/shop/sa/cart/"), None),
        ("punycode", uri("spiffe://xn--cluster-9za.local/ns/shop/sa/cart"), None),
        ("no SPIFFE id", uri("https://cluster.local/"), None),
        ("a DNS name", names(&[(0x82, b"istiod.istio-system.svc")]), None),
        ("an address", names(&[(0x87, &[10, 0, 0, 1])]), None),
        ("an e-mail address", names(&[(0x81, b"admin@cluster.local")]), None),
        ("an other name", names(&[(0xa0, utf8_name)]), None),
        ("another subject", subject("east"), None),
        ("a subject of two clusters", file!("subject_two_clusters"), None),
        ("a subject in BMPString", file!("subject_bmp"), None),
        ("a new-style PEM tag", csr(|_| {}).replace(" CERT", " NEW CERT"), None),
        ("an unknown extension", extension(&[1, 3, 6, 1, 4, 1, 9], b"\x05\x00"), None),
        ("ordinary uses", uses(&[Use::ServerAuth, Use::ClientAuth]), None),
    ]
}

fn subject(organization: &str) -> String {
    csr(|params| params.distinguished_name.push(DnType::OrganizationName, organization))
}

fn powers() -> Vec<Row> {
    let ca = Some("asks for CA:TRUE, which no workload is given");
    let signs = Some("asks for a key that signs certificates");
    let other = Some("asks for another use than TLS server and client");
    let usage =
        |one| csr(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature, one]);
    vec![
        ("CA:TRUE", extension(BASIC, CA_TRUE), ca),
        ("CA:TRUE in a second attribute", second_attribute(), ca),
        ("keyCertSign", usage(KeyUsagePurpose::KeyCertSign), signs),
        ("cRLSign", usage(KeyUsagePurpose::CrlSign), signs),
        ("code signing", uses(&[Use::ClientAuth, Use::CodeSigning]), other),
        ("any use", uses(&[Use::Any]), other),
        ("a use of one's own", uses(&[Use::Other(vec![1, 3, 6, 1, 4, 1, 9])]), other),
    ]
}

fn keys() -> Vec<Row> {
    vec![
        ("P-256", of_alg(&rcgen::PKCS_ECDSA_P256_SHA256), None),
        ("P-384", of_alg(&rcgen::PKCS_ECDSA_P384_SHA384), None),
        ("Ed25519", of_alg(&rcgen::PKCS_ED25519), None),
        ("RSA 2048", file!("rsa_2048"), None),
        ("RSA 3072 with SHA-512", file!("rsa_3072_sha512"), None),
        ("RSA 1024", file!("rsa_1024"), Some("key is RSA of 1024 bits; use ECDSA")),
        ("RSA 2047", file!("rsa_2047"), Some("key is RSA of 2047 bits")),
        ("P-224", file!("p224"), Some("key is on the curve P-224")),
        ("P-521", file!("p521"), Some("key is on the curve P-521")),
        ("secp256k1", file!("secp256k1"), Some("key is on the curve 1.3.132.0.10")),
        ("P-256 spelt out", file!("p256_explicit"), Some("key is on a curve without a name")),
        ("Ed448", file!("ed448"), Some("signed with algorithm 1.3.101.113")),
        ("RSA with SHA-1", file!("rsa_sha1"), Some("signed with SHA-1; use ECDSA or RSA")),
        ("ECDSA with SHA-1", file!("p256_sha1"), Some("signed with SHA-1")),
        ("RSA with MD5", file!("rsa_md5"), Some("signed with MD5")),
        ("RSA-PSS", file!("rsa_pss"), Some("signed with RSA-PSS")),
        ("another's key", not_owned(), Some("not signed by the key that it holds")),
    ]
}

fn shapes() -> Vec<Row> {
    let good = csr(|_| {});
    let der = pem::parse(&good).unwrap().into_contents();
    let more = [&der[..], b"more"].concat();
    let cut = &der[..der.len() - 9];
    let key = KeyPair::generate().unwrap().serialize_pem();
    vec![
        // Found by the fuzz target: the reader of PEM repeats a tag that it does not expect.
        (
            "tags without an end",
            format!("-----BEGIN A-----\nMIIB\n-----END {}-----\n", "b".repeat(9000)),
            Some("not one PEM block"),
        ),
        ("nothing", String::new(), Some("not one PEM block of type CERTIFICATE REQUEST")),
        ("two requests", good.repeat(2), Some("it has 2 blocks")),
        ("a private key", key, Some("its block is of another type")),
        ("cut short", armour("CERTIFICATE REQUEST", cut), Some("cannot be read")),
        ("with more behind", armour("CERTIFICATE REQUEST", &more), Some("bytes follow it")),
        (
            "no base64",
            "-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n".into(),
            Some("not one PEM block"),
        ),
        ("empty", armour("CERTIFICATE REQUEST", b""), Some("cannot be read")),
        ("as long as may be", padded(&good, CSR_BYTES_MAX), None),
        ("a byte longer", padded(&good, CSR_BYTES_MAX + 1), Some("has 16385 bytes, at most 16384")),
    ]
}

fn padded(csr: &str, bytes: usize) -> String {
    format!("{}{csr}", "\n".repeat(bytes - csr.len()))
}

#[test]
fn a3_the_corpus() {
    let now = SystemTime::now();
    let validity = Validity { not_before: now, not_after: now + 48 * HOUR };
    let root = Authority::new_root("mesh", validity).unwrap();
    let west = root.intermediate("west", validity).unwrap();
    let rows = [names_and_subjects(), powers(), keys(), shapes()].concat();
    assert!(rows.len() >= 40, "{}", rows.len());
    for (name, csr, refusal) in rows {
        match (RequestKey::of_pem(&csr), refusal) {
            (Ok(key), None) => check_leaf(name, &west, &key, &csr),
            (Err(fault), Some(says)) => {
                let told = fault.to_string();
                assert!(told.contains(says), "{name}: {told}");
                assert!(told.len() < 300, "{name}: {told}");
            }
            (got, wanted) => panic!("{name}: {got:?}, wanted {wanted:?}"),
        }
    }
}

/// The caller's id, the caller's cluster, the request's key; and nothing else of the request.
fn check_leaf(name: &str, ca: &Authority, key: &RequestKey, csr: &str) {
    let id = SpiffeId::parse(CART).unwrap();
    let subject = Subject { id: &id, cluster: "west" };
    let signed = ca.sign(key, &subject, HOUR, SystemTime::now()).unwrap();
    let leaf = pem::parse(&signed.chain[0]).unwrap().into_contents();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI(CART)], "{name}");
    assert_eq!(leaf.subject().to_string(), "O=west", "{name}");
    assert!(!leaf.is_ca(), "{name}");
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && uses.client_auth && !uses.any && uses.other.is_empty(), "{name}");
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign(), "{name}");
    let request = pem::parse(csr).unwrap().into_contents();
    let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
    let asked = request.certification_request_info.subject_pki.raw;
    assert_eq!(leaf.public_key().raw, asked, "{name}");
}

#[test]
fn r15_a_leaf_is_backdated_and_lives_as_asked_within_bounds() {
    for (asked, ttl) in [
        (0, TTL_DEFAULT),
        (-1, TTL_DEFAULT),
        (i64::MIN, TTL_DEFAULT),
        (1, TTL_MIN),
        (599, TTL_MIN),
        (600, TTL_MIN),
        (601, Duration::from_secs(601)),
        (86_400 * 90, TTL_MAX),
        (86_400 * 90 + 1, TTL_MAX),
        (i64::MAX, TTL_MAX),
    ] {
        assert_eq!(ttl_of(asked), ttl, "{asked}");
    }
    let now = SystemTime::now();
    let validity = Validity { not_before: now, not_after: now + 2 * HOUR };
    let root = Authority::new_root("mesh", validity).unwrap();
    let key = RequestKey::of_pem(&csr(|_| {})).unwrap();
    let id = SpiffeId::parse(CART).unwrap();
    let subject = Subject { id: &id, cluster: "west" };
    for (ttl, lives) in [(HOUR, HOUR), (TTL_MAX, 2 * HOUR)] {
        let signed = root.sign(&key, &subject, ttl, now).unwrap();
        let der = pem::parse(&signed.chain[0]).unwrap().into_contents();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let seconds = |time: SystemTime| {
            i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
        };
        assert_eq!(leaf.validity().not_before.timestamp(), seconds(now) - 60);
        assert_eq!(leaf.validity().not_after.timestamp(), seconds(now + lives));
        assert_eq!(seconds(signed.not_after), seconds(now + lives));
        assert_eq!(signed.chain.len(), 1, "a root signs without anything between");
        assert_eq!(signed.roots, root.root_pem());
    }
    let after = root.sign(&key, &subject, HOUR, now + 3 * HOUR).unwrap_err().to_string();
    assert!(after.starts_with("nothing can be issued: the CA's own certificate"), "{after}");
}

#[test]
fn a_cluster_that_cannot_stand_in_a_subject_is_refused() {
    let now = SystemTime::now();
    let validity = Validity { not_before: now, not_after: now + HOUR };
    let root = Authority::new_root("mesh", validity).unwrap();
    let key = RequestKey::of_pem(&csr(|_| {})).unwrap();
    let id = SpiffeId::parse(CART).unwrap();
    let sign = |cluster: &str| root.sign(&key, &Subject { id: &id, cluster }, HOUR, now);
    for (cluster, good) in [
        ("west", true),
        (&"w".repeat(253), true),
        (&"w".repeat(254), false),
        ("", false),
        ("a\nb", false),
    ] {
        assert_eq!(sign(cluster).is_ok(), good, "{cluster:?}");
    }
}
