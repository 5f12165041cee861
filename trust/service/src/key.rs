//! CA keys from PEM: PKCS#8, and the two older shapes that openssl and Istio still write.

use std::path::Path;

use rcgen::KeyPair;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::AuthorityError;

pub(crate) fn parse(file: &Path, pem: &[u8]) -> Result<KeyPair, AuthorityError> {
    let unusable = |cause: String| AuthorityError::KeyUnusable { file: file.to_path_buf(), cause };
    let key = pkcs8(diolkos_tls::parse_key(file, pem)?).map_err(unusable)?;
    KeyPair::try_from(&key).map_err(|error| unusable(error.to_string()))
}

const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const NULL: &[u8] = &[0x05, 0x00];
const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;

/// ring reads PKCS#8 only; PKCS#1 and SEC1 are what PKCS#8 wraps.
fn pkcs8(key: PrivateKeyDer<'static>) -> Result<PrivatePkcs8KeyDer<'static>, String> {
    match key {
        PrivateKeyDer::Pkcs8(key) => Ok(key),
        PrivateKeyDer::Pkcs1(key) => Ok(wrapped(&[OID_RSA, NULL], key.secret_pkcs1_der())),
        PrivateKeyDer::Sec1(key) => {
            let inner = key.secret_sec1_der();
            let names = |oid: &[u8]| inner.windows(oid.len()).any(|window| window == oid);
            let curve = [OID_P256, OID_P384].into_iter().find(|oid| names(oid));
            let curve = curve.ok_or("its curve is neither P-256 nor P-384")?;
            Ok(wrapped(&[OID_EC, curve], inner))
        }
        _ => Err("its format is unknown".into()),
    }
}

fn wrapped(algorithm: &[&[u8]], inner: &[u8]) -> PrivatePkcs8KeyDer<'static> {
    let algorithm = tagged(SEQUENCE, &algorithm.concat());
    let inner = tagged(OCTET_STRING, inner);
    PrivatePkcs8KeyDer::from(tagged(SEQUENCE, &[VERSION_0, &algorithm, &inner].concat()))
}

/// DER: tag, length, value.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let bytes = value.len().to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    let mut out = vec![tag];
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        long => {
            // At most eight bytes, so this cannot be lost.
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
    out
}
