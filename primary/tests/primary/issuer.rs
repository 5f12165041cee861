//! API servers that issue service-account tokens, as far as a primary can tell.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

pub(crate) struct Issuer {
    name: String,
    key: Ed25519KeyPair,
}

impl Issuer {
    /// Of `https://<cluster>.test`; another seed is another key.
    pub(crate) fn new(cluster: &str, seed: u8) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self { name: format!("https://{cluster}.test"), key }
    }

    pub(crate) fn jwks(&self) -> String {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "one",
            "x": coded(self.key.public_key().as_ref()),
        });
        json!({ "keys": [key] }).to_string()
    }

    /// What a token of `shop/web` in the pod `web-1` says, for so long.
    pub(crate) fn claims(&self, lives: Duration) -> Value {
        let now = SystemTime::now();
        json!({
            "aud": ["diolkos-xds"],
            "exp": seconds(now + lives),
            "iat": seconds(now),
            "iss": self.name,
            "kubernetes.io": {
                "namespace": "shop",
                "pod": {"name": "web-1"},
                "serviceaccount": {"name": "web"},
            },
            "nbf": seconds(now),
            "sub": "system:serviceaccount:shop:web",
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": "one"});
        let text = format!("{}.{}", coded(header.to_string()), coded(claims.to_string()));
        let signature = self.key.sign(text.as_bytes());
        format!("{text}.{}", coded(signature))
    }

    pub(crate) fn token(&self, lives: Duration) -> String {
        self.sign(&self.claims(lives))
    }
}

/// Whole seconds, as tokens count.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
