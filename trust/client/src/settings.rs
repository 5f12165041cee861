//! Who asks whom for a certificate, and by what.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use diolkos_ops::HostPort;
use diolkos_trust::SpiffeId;

#[derive(Clone, Debug)]
pub struct CertificateSettings {
    pub primary: PrimaryName,
    /// A projected service-account token; read anew for each request.
    pub token_file: PathBuf,
    /// Whom to believe that it is the primary; read anew for each request.
    pub root_file: PathBuf,
    /// One's own: what the primary must answer with.
    pub id: SpiffeId,
    /// Whose API server knows the token.
    pub cluster: String,
    /// Asked for; the CA may give less.
    pub ttl: Duration,
    /// For whom a token has to be, to tell of one that is refused.
    pub audience: &'static str,
}

/// Whom a token is for that a primary takes, by docs/adr/0004.
pub const PRIMARY_AUDIENCE: &str = "diolkos-ca";

/// The same of an istiod.
pub const ISTIOD_AUDIENCE: &str = "istio-ca";

/// Where a primary is, and by which name it is known there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryName {
    pub place: HostPort,
    /// Expected instead of the host, where the primary is reached by another way.
    pub server: Option<String>,
}

impl PrimaryName {
    /// The name in the primary's certificate.
    pub fn server(&self) -> &str {
        self.server.as_deref().unwrap_or(&self.place.host)
    }
}

impl FromStr for PrimaryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { place: text.parse()?, server: None })
    }
}

impl fmt::Display for PrimaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}
