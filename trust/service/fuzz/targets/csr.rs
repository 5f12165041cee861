//! The reader of CSRs: whatever the bytes, an answer; and what is accepted changes nothing but the
//! key of the leaf.

#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use diolkos_trust::SpiffeId;
use diolkos_trust_service::{Authority, RequestKey, Subject, Validity};
use libfuzzer_sys::fuzz_target;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const LINE_CHARS_MAX: usize = 400;

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else { return };
    let (read, der) = match kind % 2 {
        0 => (RequestKey::of_der(rest), rest.to_vec()),
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let der = pem::parse(text).map(pem::Pem::into_contents).unwrap_or_default();
            (RequestKey::of_pem(text), der)
        }
    };
    match read {
        Err(fault) => {
            let told = fault.to_string();
            assert!(told.chars().count() < LINE_CHARS_MAX, "a refusal of {} chars", told.len());
        }
        Ok(key) => check_leaf(&key, &der),
    }
});

fn check_leaf(key: &RequestKey, request: &[u8]) {
    static CA: OnceLock<Authority> = OnceLock::new();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let ca = CA.get_or_init(|| {
        Authority::new_root("mesh", Validity { not_before: now, not_after: now + 24 * hour })
            .expect("a root can be made")
    });
    let id = SpiffeId::parse(CART).expect("it is one");
    let signed = ca.sign(key, &Subject { id: &id, cluster: "west" }, hour, now);
    let signed = signed.expect("a key that was accepted can be signed for");
    let leaf = pem::parse(&signed.chain[0]).expect("it is PEM").into_contents();
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("it is a certificate");
    let names = leaf.subject_alternative_name().expect("once").expect("it has names");
    assert_eq!(names.value.general_names, [GeneralName::URI(CART)]);
    assert_eq!(leaf.subject().to_string(), "O=west");
    assert!(!leaf.is_ca());
    let (_, request) = X509CertificationRequest::from_der(request).expect("it was accepted");
    let asked = request.certification_request_info.subject_pki.raw;
    assert_eq!(leaf.public_key().raw, asked, "the leaf is for another key");
}
