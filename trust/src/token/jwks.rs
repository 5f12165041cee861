//! The keys of a token issuer, as an OIDC provider publishes them (RFC 7517).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use super::fault::JwksError;
use super::json::{Json, Map};
use super::{JWKS_BYTES_MAX, JWKS_KEYS_MAX};

/// The signatures that are accepted: each by a key of its own kind, none by a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256, Self::Rs256].into_iter().find(|one| one.as_str() == name)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// The keys of one issuer, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks(BTreeMap<String, VerifyingKey>);

/// SHA-256 of a verifying key: what tells two keys apart, whatever they are called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey([u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VerifyingKey {
    Ed25519([u8; 32]),
    /// Uncompressed: 4, x, y.
    P256([u8; 65]),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl Jwks {
    /// A key that verifies nothing we accept is passed over; a malformed one, a secret one or a
    /// second of the same id refuses the set, for then it is not what the issuer publishes.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLong { bytes: text.len() });
        }
        let set = Json::object(text).map_err(|cause| JwksError::Json { cause })?;
        let Some(Json::List(list)) = set.get("keys") else {
            return Err(JwksError::Json { cause: "it has no list \"keys\"".into() });
        };
        if list.len() > JWKS_KEYS_MAX {
            return Err(JwksError::TooManyKeys { found: list.len() });
        }
        let mut keys = BTreeMap::new();
        for (index, entry) in list.iter().enumerate() {
            let refused = |cause: String| JwksError::Key { position: index + 1, cause };
            let Json::Map(entry) = entry else { return Err(refused("it is no object".into())) };
            let Some((kid, key)) = key_of(entry).map_err(refused)? else { continue };
            if keys.insert(kid.to_owned(), key).is_some() {
                return Err(refused("another has the same kid".into()));
            }
        }
        match keys.is_empty() {
            true => Err(JwksError::NoUsableKey),
            false => Ok(Self(keys)),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = TokenKey> {
        self.0.values().map(VerifyingKey::print)
    }

    pub(super) fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        self.0.get(kid)
    }
}

/// `None` for a key of another use or kind.
fn key_of(entry: &Map) -> Result<Option<(&str, VerifyingKey)>, String> {
    let text = |name: &str| match entry.get(name) {
        Some(Json::Text(text)) => Ok(Some(text.as_str())),
        None => Ok(None),
        Some(_) => Err(format!("its {name} is no text")),
    };
    let kind = text("kty")?.ok_or("it has no kty")?;
    // Whoever reads this file could sign with it.
    if kind == "oct" || entry.contains_key("d") || entry.contains_key("k") {
        return Err("it is secret; write only public keys, and replace this one".into());
    }
    let algorithm = match (kind, text("crv")?) {
        ("RSA", _) => Algorithm::Rs256,
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
        _ => return Ok(None),
    };
    let other_use = text("use")?.is_some_and(|found| found != "sig");
    if other_use || text("alg")?.is_some_and(|found| found != algorithm.as_str()) {
        return Ok(None);
    }
    let kid = text("kid")?.filter(|kid| !kid.is_empty()).ok_or("it has no kid")?;
    let bytes = |name: &str| -> Result<Vec<u8>, String> {
        let text = text(name)?.ok_or_else(|| format!("it has no {name}"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("its {name}: {error}"))
    };
    let key = match algorithm {
        Algorithm::Rs256 => rsa(bytes("n")?, bytes("e")?)?,
        Algorithm::Es256 => {
            let mut point = [4; 65];
            point[1..33].copy_from_slice(&exactly::<32>("x", &bytes("x")?)?);
            point[33..].copy_from_slice(&exactly::<32>("y", &bytes("y")?)?);
            VerifyingKey::P256(point)
        }
        Algorithm::EdDsa => VerifyingKey::Ed25519(exactly("x", &bytes("x")?)?),
    };
    Ok(Some((kid, key)))
}

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<VerifyingKey, String> {
    // ring verifies with no others; better said of the file than of each token.
    let bits = match modulus.first() {
        None | Some(0) => return Err("its n begins with a zero".into()),
        Some(first) => modulus.len() * 8 - first.leading_zeros() as usize,
    };
    if !(2048..=8192).contains(&bits) {
        return Err(format!("its modulus has {bits} bits; 2048 to 8192 are accepted"));
    }
    if matches!(exponent.first(), None | Some(0)) {
        return Err("its e begins with a zero".into());
    }
    Ok(VerifyingKey::Rsa { modulus, exponent })
}

fn exactly<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], String> {
    let wrong = |_| format!("its {name} has {} bytes, not {N}", bytes.len());
    bytes.try_into().map_err(wrong)
}

impl VerifyingKey {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    pub(super) fn print(&self) -> TokenKey {
        let mut hash = Context::new(&SHA256);
        hash.update(self.algorithm().as_str().as_bytes());
        match self {
            Self::Ed25519(key) => hash.update(key),
            Self::P256(point) => hash.update(point),
            Self::Rsa { modulus, exponent } => {
                hash.update(&(modulus.len() as u64).to_be_bytes());
                hash.update(modulus);
                hash.update(exponent);
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        TokenKey(bytes)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
