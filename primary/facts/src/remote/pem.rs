//! Certificates and keys inside base64 inside a document. Nothing in between is left in memory, and
//! no error repeats any of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::credential::{KeyKind, PrivateKey};
use crate::limit;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// At least one certificate and nothing else, as DER.
pub(super) fn certificates(field: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    let blocks = blocks(field)?;
    if blocks.len() > limit::CERTIFICATES_MAX {
        return Err("holds too many certificates");
    }
    if blocks.iter().any(|(label, _)| label != "CERTIFICATE") {
        return Err("holds something other than certificates");
    }
    Ok(blocks.into_iter().map(|(_, der)| der.to_vec()).collect())
}

/// One private key and nothing else.
pub(super) fn private_key(field: &str) -> Result<PrivateKey, &'static str> {
    let mut blocks = blocks(field)?;
    let (Some((label, der)), true) = (blocks.pop(), blocks.is_empty()) else {
        return Err("holds more than one private key");
    };
    let kind = match label.as_str() {
        "EC PRIVATE KEY" => KeyKind::Sec1,
        "PRIVATE KEY" => KeyKind::Pkcs8,
        "RSA PRIVATE KEY" => KeyKind::Pkcs1,
        "ENCRYPTED PRIVATE KEY" => return Err("holds an encrypted private key"),
        _ => return Err("holds no private key"),
    };
    Ok(PrivateKey::new(kind, der))
}

type Block = (String, Zeroizing<Vec<u8>>);

fn blocks(field: &str) -> Result<Vec<Block>, &'static str> {
    let pem = decoded(field.bytes()).ok_or("is not base64")?;
    let pem = std::str::from_utf8(&pem).map_err(|_| "is not PEM inside base64")?;
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some(at) = rest.find(BEGIN) {
        let (block, after) = block(&rest[at + BEGIN.len()..]).ok_or("is not whole PEM")?;
        blocks.push(block);
        rest = after;
    }
    if blocks.is_empty() {
        return Err("is not PEM inside base64");
    }
    Ok(blocks)
}

/// What follows the begin mark, up to the end mark of the same label.
fn block(text: &str) -> Option<(Block, &str)> {
    let (label, text) = text.split_once(DASHES)?;
    let (body, after) = text.split_once(END)?;
    let after = after.strip_prefix(label)?.strip_prefix(DASHES)?;
    // A colon would be a header, as of a key in OpenSSL's own encryption; base64 has none.
    let der = decoded(body.bytes())?;
    is_der(&der).then(|| ((label.to_owned(), der), after))
}

/// Line ends are no part of base64.
fn decoded(text: impl Iterator<Item = u8>) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.filter(|byte| !matches!(byte, b'\r' | b'\n')).collect());
    STANDARD.decode(text.as_slice()).ok().map(Zeroizing::new)
}

/// One SEQUENCE, as long as it says: the rest is for whoever uses it.
fn is_der(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else { return false };
    let count = usize::from(length & 0x7f);
    if length & 0x80 == 0 {
        return rest.len() == count;
    }
    let Some((digits, body)) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))
    else {
        return false;
    };
    digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)) == body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("{BEGIN}{label}{DASHES}\n{}\n{END}{label}{DASHES}\n", STANDARD.encode(der))
    }

    fn field(pem: &str) -> String {
        STANDARD.encode(pem)
    }

    const DER: &[u8] = &[0x30, 3, 2, 1, 7];

    #[test]
    fn whole_pem_of_the_right_kind_is_read() {
        let one = pem("CERTIFICATE", DER);
        assert_eq!(certificates(&field(&one)), Ok(vec![DER.to_vec()]));
        let many = format!("a comment\n{one}\r\n{}", one.replace('\n', "\r\n"));
        assert_eq!(certificates(&field(&many)), Ok(vec![DER.to_vec(); 2]));
        let wrapped: String = field(&one).chars().flat_map(|c| [c, '\n']).collect();
        assert_eq!(certificates(&wrapped), Ok(vec![DER.to_vec()]));
        for (label, kind) in [
            ("PRIVATE KEY", KeyKind::Pkcs8),
            ("RSA PRIVATE KEY", KeyKind::Pkcs1),
            ("EC PRIVATE KEY", KeyKind::Sec1),
        ] {
            let key = private_key(&field(&pem(label, DER))).expect(label);
            assert_eq!((key.kind(), key.expose()), (kind, DER));
            assert!(!format!("{key:?}").contains('7'), "{key:?}");
        }
    }

    #[test]
    fn as_many_certificates_as_the_limit_and_not_one_more() {
        let chain = |count: usize| field(&pem("CERTIFICATE", DER).repeat(count));
        assert!(certificates(&chain(limit::CERTIFICATES_MAX)).is_ok());
        assert_eq!(
            certificates(&chain(limit::CERTIFICATES_MAX + 1)),
            Err("holds too many certificates")
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let cert = pem("CERTIFICATE", DER);
        let key = pem("PRIVATE KEY", DER);
        let cases = [
            ("no base64!".to_owned(), "is not base64"),
            (cert.clone(), "is not base64"),
            (field(""), "is not PEM inside base64"),
            (field("text"), "is not PEM inside base64"),
            (STANDARD.encode([0xff, 0xfe]), "is not PEM inside base64"),
            (STANDARD.encode(DER), "is not PEM inside base64"),
            (field(&cert[..cert.len() - 9]), "is not whole PEM"),
            (field(&cert.replacen("CERTIFICATE", "X", 1)), "is not whole PEM"),
            (field(&pem("CERTIFICATE", &DER[..4])), "is not whole PEM"),
            (field(&pem("CERTIFICATE", &[])), "is not whole PEM"),
            (field(&pem("CERTIFICATE", &[0x30, 0x85, 0, 0, 0, 0, 0])), "is not whole PEM"),
            (field(&pem("CERTIFICATE", &[0x30, 0x80, 0, 0])), "is not whole PEM"),
            (field(&(cert.clone() + BEGIN)), "is not whole PEM"),
            (field(&(cert.clone() + &key)), "holds something other than certificates"),
        ];
        for (field, why) in cases {
            assert_eq!(certificates(&field), Err(why), "{field}");
        }
        let encrypted = key.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let cases = [
            (field(&cert), "holds no private key"),
            (field(&key.repeat(2)), "holds more than one private key"),
            (field(&pem("ENCRYPTED PRIVATE KEY", DER)), "holds an encrypted private key"),
            (field(&encrypted), "is not whole PEM"),
        ];
        for (field, why) in cases {
            assert_eq!(private_key(&field), Err(why), "{field}");
        }
    }

    #[test]
    fn long_forms_of_length_count() {
        let long = |size: usize, head: &[u8]| [head, &vec![0; size]].concat();
        assert!(is_der(&long(127, &[0x30, 127])));
        assert!(is_der(&long(128, &[0x30, 0x81, 128])));
        assert!(is_der(&long(300, &[0x30, 0x82, 1, 44])));
        assert!(!is_der(&long(301, &[0x30, 0x82, 1, 44])));
        assert!(!is_der(&[0x31, 0]));
        assert!(!is_der(&[]));
    }
}
