//! Kubernetes service-account tokens, verified offline against their issuer's published keys.
//!
//! ```text
//!  text ─> UnverifiedToken::parse ─> issuer() ─> TokenIssuer of that name, if there is one
//!                                                  │
//!          ServiceAccountToken <── verify(issuer, audiences, now)
//! ```
//!
//! - Accepted are JWTs (RFC 7519) in the compact form, signed with RS256, ES256 or EdDSA by the key
//!   that their `kid` names among those of the issuer. The key decides the algorithm; what else the
//!   header says (`jwk`, `jku`, `x5c`) is not followed, and `crit` refuses the token (RFC 8725).
//! - `exp` must be there and lie ahead; `nbf` and `iat` may be ahead by [`TOKEN_SKEW`]. One of the
//!   audiences must be an accepted one.
//! - `sub` is a service account's, and the claim `kubernetes.io` says the same account.
//! - Time is an argument. A fault names what is wrong and never repeats the token.
//!
//! Another way to the same [`ServiceAccountToken`], asking an API server, would replace `verify`
//! alone.

mod claims;
mod fault;
mod json;
mod jwks;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::json::{Json, Map};
use self::jwks::Algorithm;

pub use self::claims::Subject;
pub use self::fault::{JwksError, Quoted, QuotedList, TokenFault};
pub use self::jwks::{Jwks, TokenKey};

/// Kubernetes' own are some 1 KiB; a header of HTTP/2 has to carry them.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// What clocks may differ by, for what must lie behind us. An expiry is not prolonged by it.
pub const TOKEN_SKEW: Duration = Duration::from_secs(60);
/// An RSA key of 4096 bits is some 800 bytes.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;
/// An API server has the key it signs with and those that tokens in use were signed with.
pub const JWKS_KEYS_MAX: usize = 32;

/// Who signs, by the name that stands in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    pub name: String,
    pub keys: Jwks,
}

/// A token that could be read. Nothing it says is to be believed.
#[derive(Clone)]
pub struct UnverifiedToken<'a> {
    /// The first two parts, with the dot between them.
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: String,
    issuer: String,
    claims: Map,
}

/// What a token proved: its issuer says that the bearer is this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountToken {
    pub issuer: String,
    /// The key that signed it. A token is worth no more than its key.
    pub key: TokenKey,
    pub subject: Subject,
    pub expires: SystemTime,
}

impl<'a> UnverifiedToken<'a> {
    pub fn parse(text: &'a str) -> Result<Self, TokenFault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong { bytes: text.len() });
        }
        let shape = |cause| TokenFault::Shape { cause };
        let (signed, signature) = text.rsplit_once('.').ok_or(shape("it has no dot"))?;
        let (header, claims) = signed.split_once('.').ok_or(shape("it has one dot"))?;
        if claims.contains('.') {
            return Err(shape("it has more than two dots"));
        }
        let header = object("header", header)?;
        let claims = object("claims", claims)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| shape("its last part is no base64url"))?;
        let algorithm = algorithm(&header)?;
        let kid = claims::text(&header, "kid")?.to_owned();
        let issuer = claims::text(&claims, "iss")?.to_owned();
        Ok(Self { signed, signature, algorithm, kid, issuer, claims })
    }

    /// Whose keys to verify it with.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whom it speaks of. For its own bearer, who has no need to doubt it.
    pub fn subject(&self) -> Result<Subject, TokenFault> {
        claims::subject(&self.claims)
    }

    /// The signature first: of what is not signed, no more is said.
    pub fn verify(
        &self,
        issuer: &TokenIssuer,
        audiences: &[&str],
        now: SystemTime,
    ) -> Result<ServiceAccountToken, TokenFault> {
        if self.issuer != issuer.name {
            let (said, expected) = (Quoted::of(&self.issuer), Quoted::of(&issuer.name));
            return Err(TokenFault::Issuer { said, expected });
        }
        let kid = || Quoted::of(&self.kid);
        let key = issuer.keys.get(&self.kid).ok_or(TokenFault::UnknownKey { kid: kid() })?;
        if key.algorithm() != self.algorithm {
            return Err(TokenFault::KeyUse { kid: kid(), said: self.algorithm.as_str() });
        }
        if !key.signed(self.signed.as_bytes(), &self.signature) {
            return Err(TokenFault::Signature);
        }
        claims::check_audience(&self.claims, audiences)?;
        let expires = claims::check_times(&self.claims, now)?;
        let subject = claims::subject(&self.claims)?;
        let issuer = issuer.name.clone();
        Ok(ServiceAccountToken { issuer, key: key.print(), subject, expires })
    }
}

/// Without its text: a token is a secret.
impl std::fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnverifiedToken({} by {})", Quoted::of(&self.kid), Quoted::of(&self.issuer))
    }
}

fn object(part: &'static str, text: &str) -> Result<Map, TokenFault> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenFault::Json { part, cause: "it is no base64url".into() })?;
    Json::object(&bytes).map_err(|cause| TokenFault::Json { part, cause })
}

fn algorithm(header: &Map) -> Result<Algorithm, TokenFault> {
    // What must be understood and is not refuses the token (RFC 7515, 4.1.11).
    if header.contains_key("crit") {
        return Err(TokenFault::Header { said: Quoted::of("crit") });
    }
    if header.contains_key("typ") {
        let typ = claims::text(header, "typ")?;
        if !typ.eq_ignore_ascii_case("JWT") {
            return Err(TokenFault::Header { said: Quoted(format!("typ {typ}")) });
        }
    }
    let said = claims::text(header, "alg")?;
    Algorithm::named(said).ok_or_else(|| TokenFault::Algorithm { said: Quoted::of(said) })
}
