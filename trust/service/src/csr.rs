//! A certificate signing request, of which only the public key is taken.
//!
//! Whatever else it asks for is ignored: names, subject, validity. What could do harm in the hands
//! of someone who does not ignore it, and what shows that the asker is confused, is refused.

use pem::Pem;
use rcgen::SubjectPublicKeyInfo;
use x509_parser::asn1_rs::{Oid, Tag};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::AlgorithmIdentifier;

use crate::limit::{CSR_BYTES_MAX, RSA_BITS_MAX, RSA_BITS_MIN};

/// A public key whose owner proved to have the private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey(pub(crate) SubjectPublicKeyInfo);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrFault {
    #[error("the CSR has {bytes} bytes, at most {CSR_BYTES_MAX} are read")]
    TooLarge { bytes: usize },
    #[error("the CSR is not one PEM block of type CERTIFICATE REQUEST: {0}")]
    NotPem(String),
    #[error("the CSR cannot be read: {0}")]
    Encoding(String),
    #[error("the CSR is signed with {0}; use ECDSA or RSA with SHA-256 or better, or Ed25519")]
    Signature(String),
    #[error("the CSR's key is {0}; use ECDSA P-256 or P-384, Ed25519 or RSA of 2048 to 8192 bits")]
    Key(String),
    #[error("the CSR is not signed by the key that it holds; make it with that key's private half")]
    NotOwned,
    #[error("the CSR asks for {0}, which no workload is given; leave it out")]
    Power(&'static str),
}

impl RequestKey {
    /// # Errors
    /// When it is no sound request, its key too weak, or what it asks for is no workload's.
    pub fn of_pem(text: &str) -> Result<Self, CsrFault> {
        if text.len() > CSR_BYTES_MAX {
            return Err(CsrFault::TooLarge { bytes: text.len() });
        }
        let blocks = pem::parse_many(text).map_err(|error| CsrFault::NotPem(cut(&error)))?;
        let [block] = blocks.as_slice() else {
            return Err(CsrFault::NotPem(format!("it has {} blocks", blocks.len())));
        };
        if !matches!(block.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(CsrFault::NotPem("its block is of another type".into()));
        }
        Self::of_der(Pem::contents(block))
    }

    /// # Errors
    /// As [`RequestKey::of_pem`].
    pub fn of_der(der: &[u8]) -> Result<Self, CsrFault> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| CsrFault::Encoding(cut(&error)))?;
        if !rest.is_empty() {
            return Err(CsrFault::Encoding("bytes follow it".into()));
        }
        check_signature_algorithm(&request.signature_algorithm)?;
        let key = &request.certification_request_info.subject_pki;
        check_key(key)?;
        request.verify_signature().map_err(|_| CsrFault::NotOwned)?;
        check_extensions(&request)?;
        SubjectPublicKeyInfo::from_der(key.raw)
            .map(Self)
            .map_err(|error| CsrFault::Key(format!("of an unknown kind ({error})")))
    }
}

const SIGNATURES: &[&str] = &[
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    ED25519,
];
const ED25519: &str = "1.3.101.112";
const ECDSA: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";

fn check_signature_algorithm(algorithm: &AlgorithmIdentifier<'_>) -> Result<(), CsrFault> {
    let oid = shown(&algorithm.algorithm);
    if SIGNATURES.contains(&oid.as_str()) {
        return Ok(());
    }
    Err(CsrFault::Signature(match oid.as_str() {
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => "SHA-1".into(),
        "1.2.840.113549.1.1.4" => "MD5".into(),
        "1.2.840.113549.1.1.10" => "RSA-PSS".into(),
        _ => format!("algorithm {oid}"),
    }))
}

fn check_key(key: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<(), CsrFault> {
    let refused = |what: String| Err(CsrFault::Key(what));
    match shown(&key.algorithm.algorithm).as_str() {
        ECDSA => {
            let curve = key.algorithm.parameters.clone();
            let curve = curve.filter(|it| it.tag() == Tag::Oid).and_then(|it| it.oid().ok());
            match curve.map(|curve| shown(&curve)).as_deref() {
                Some(P256 | P384) => Ok(()),
                Some("1.3.132.0.33") => refused("on the curve P-224".into()),
                Some("1.3.132.0.35") => refused("on the curve P-521".into()),
                Some(other) => refused(format!("on the curve {other}")),
                None => refused("on a curve without a name".into()),
            }
        }
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => match bits(rsa.modulus) {
                RSA_BITS_MIN..=RSA_BITS_MAX => Ok(()),
                bits => refused(format!("RSA of {bits} bits")),
            },
            _ => refused("RSA that cannot be read".into()),
        },
        ED25519 => Ok(()),
        other => refused(format!("of the kind {other}")),
    }
}

/// Readers repeat what they could not read: as much as a line holds is enough.
fn cut(cause: &dyn std::fmt::Display) -> String {
    cause.to_string().chars().take(CAUSE_CHARS_MAX).collect()
}

const CAUSE_CHARS_MAX: usize = 120;

/// It is a stranger's, and may be thousands of numbers long.
fn shown(oid: &Oid<'_>) -> String {
    oid.to_id_string().chars().take(OID_CHARS_MAX).collect()
}

const OID_CHARS_MAX: usize = 64;

/// Of a number in big-endian bytes.
fn bits(number: &[u8]) -> usize {
    let significant = &number[number.iter().take_while(|&&byte| byte == 0).count()..];
    let unused = significant.first().map_or(0, |first| first.leading_zeros() as usize);
    significant.len() * 8 - unused
}

fn check_extensions(request: &X509CertificationRequest<'_>) -> Result<(), CsrFault> {
    // Of every request for extensions, not of the first alone.
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &asked.extensions {
            check_extension(extension.parsed_extension())?;
        }
    }
    Ok(())
}

fn check_extension(extension: &ParsedExtension<'_>) -> Result<(), CsrFault> {
    match extension {
        ParsedExtension::BasicConstraints(asked) if asked.ca => Err(CsrFault::Power("CA:TRUE")),
        ParsedExtension::KeyUsage(asked) if asked.key_cert_sign() || asked.crl_sign() => {
            Err(CsrFault::Power("a key that signs certificates"))
        }
        ParsedExtension::ExtendedKeyUsage(asked) if !is_ordinary(asked) => {
            Err(CsrFault::Power("another use than TLS server and client"))
        }
        ParsedExtension::ParseError { .. } => {
            Err(CsrFault::Encoding("an extension that it asks for is malformed".into()))
        }
        _ => Ok(()),
    }
}

fn is_ordinary(asked: &ExtendedKeyUsage<'_>) -> bool {
    let more = asked.any
        || asked.code_signing
        || asked.email_protection
        || asked.time_stamping
        || asked.ocsp_signing;
    !more && asked.other.is_empty()
}
