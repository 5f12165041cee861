//! An issuer with a key of each kind, and tokens that a test bends before they are signed.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diolkos_trust::{Jwks, TokenIssuer};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

pub(crate) const NAME: &str = "https://east.example";
/// 2026-01-01, and the moment at which everything is verified.
pub(crate) const NOW: u64 = 1_767_225_600;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(crate) struct Keys {
    pub(crate) p256: EcdsaKeyPair,
    pub(crate) ed25519: Ed25519KeyPair,
    pub(crate) rsa: RsaKeyPair,
}

/// A token before it is signed. Texts, for a fault may be one that no JSON value can hold.
pub(crate) struct Draft {
    pub(crate) header: String,
    pub(crate) claims: String,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let p256 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self {
            p256: EcdsaKeyPair::from_pkcs8(algorithm, p256.as_ref(), &random).unwrap(),
            ed25519: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
            // ring makes no RSA keys. This one was made for this test and is nobody's.
            rsa: RsaKeyPair::from_der(include_bytes!("../testdata/rsa-2048.der")).unwrap(),
        }
    }

    /// As the API server publishes them.
    pub(crate) fn jwks(&self) -> Value {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "p256", "use": "sig", "alg": "ES256",
             "x": coded(&self.p256.public_key().as_ref()[1..33]),
             "y": coded(&self.p256.public_key().as_ref()[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed25519", "use": "sig",
             "x": coded(self.ed25519.public_key().as_ref())},
            {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256",
             "n": coded(&rsa.n),
             "e": coded(&rsa.e)},
        ]})
    }

    pub(crate) fn issuer(&self) -> TokenIssuer {
        let keys = Jwks::parse(self.jwks().to_string().as_bytes()).unwrap();
        TokenIssuer { name: NAME.into(), keys }
    }

    pub(crate) fn es256(&self, draft: &Draft) -> String {
        signed(draft, |text| self.p256.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec())
    }

    pub(crate) fn eddsa(&self, draft: &Draft) -> String {
        signed(draft, |text| self.ed25519.sign(text).as_ref().to_vec())
    }

    pub(crate) fn rs256(&self, draft: &Draft) -> String {
        signed(draft, |text| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            let random = SystemRandom::new();
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
            signature
        })
    }
}

impl Draft {
    /// As the kubelet puts it into a pod: `shop/web`, for the pod `web-1`.
    pub(crate) fn honest() -> Self {
        Self::of(&header("ES256", "p256"), &claims())
    }

    pub(crate) fn of(header: &Value, claims: &Value) -> Self {
        Self { header: header.to_string(), claims: claims.to_string() }
    }
}

pub(crate) fn header(algorithm: &str, kid: &str) -> Value {
    json!({"alg": algorithm, "kid": kid})
}

pub(crate) fn claims() -> Value {
    json!({
        "aud": ["diolkos-xds"],
        "exp": NOW + 600,
        "iat": NOW - 10,
        "iss": NAME,
        "jti": "9a9bb2c4-0c62-4a5c-8d5b-5e5e8c2c6b0a",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node-1", "uid": "1"},
            "pod": {"name": "web-1", "uid": "2"},
            "serviceaccount": {"name": "web", "uid": "3"},
            "warnafter": NOW + 300,
        },
        "nbf": NOW - 10,
        "sub": "system:serviceaccount:shop:web",
    })
}

pub(crate) fn coded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn signed(draft: &Draft, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", coded(draft.header.as_bytes()), coded(draft.claims.as_bytes()));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", coded(&signature))
}
