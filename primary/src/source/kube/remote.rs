//! An API server and what it takes to be let in. Nothing here prints a secret.

use std::fmt;
use std::path::PathBuf;

use diolkos_topology::ClusterId;

/// Text that no log, page or `Debug` repeats.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How one cluster's API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub cluster: ClusterId,
    pub server: Server,
    /// PEM; never empty.
    pub ca: String,
    /// The name in its certificate, where that is not the host.
    pub tls_server_name: Option<String>,
    pub credential: Credential,
}

/// `https://host:port/prefix`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    pub port: u16,
    /// Begins with a slash and does not end with one; or empty.
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Token(Secret),
    /// Read again when it changes; the own cluster's service account.
    TokenFile(PathBuf),
    /// PEM.
    Certificate {
        chain: String,
        key: Secret,
    },
}

impl Credential {
    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::TokenFile(_) => "service account",
            Self::Certificate { .. } => "client certificate",
        }
    }
}

impl Server {
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_debug_repeats_no_secret() {
        for credential in [
            Credential::Token(Secret::new("canary")),
            Credential::Certificate { chain: String::new(), key: Secret::new("canary") },
        ] {
            let remote = Remote {
                cluster: ClusterId::new("west").unwrap(),
                server: Server { host: "fd00::1".into(), port: 6443, prefix: String::new() },
                ca: String::new(),
                tls_server_name: None,
                credential,
            };
            let shown = format!("{remote:?}");
            assert!(!shown.contains("canary"), "{shown}");
            assert_eq!(remote.server.to_string(), "https://[fd00::1]:6443");
        }
    }
}
