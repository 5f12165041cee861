//! Probes of the application: what the injector takes out of a pod, and the sidecar does in the
//! kubelet's place. Both read and write them here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limit::{
    CONTAINERS_MAX, PROBE_HEADERS_MAX, PROBE_TIMEOUT_S, PROBE_TIMEOUT_S_MAX, PROBES_BYTES_MAX,
};

/// By the path at which the sidecar answers: `/app-health/<container>/livez`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Probes(pub BTreeMap<String, Probe>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    #[serde(flatten)]
    pub action: Action,
    pub timeout_s: u32,
}

/// Always at the pod's own address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    #[serde(rename_all = "camelCase")]
    HttpGet {
        port: u16,
        path: String,
        scheme: Scheme,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<Header>,
    },
    TcpSocket {
        port: u16,
    },
    Grpc {
        port: u16,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    Http,
    /// The certificate is not verified, as the kubelet does not.
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbesFault {
    TooLarge { bytes: usize },
    Encoding(String),
    TooMany { found: usize },
    Path(String),
}

const PREFIX: &str = "/app-health/";
/// A container has three.
const KINDS: [&str; 3] = ["livez", "readyz", "startupz"];

impl Probes {
    /// Of the environment. Strict: the sidecar does nothing that the injector did not write.
    ///
    /// # Errors
    /// When the injector of this version cannot have written it.
    pub fn parse(text: &str) -> Result<Self, ProbesFault> {
        if text.len() > PROBES_BYTES_MAX {
            return Err(ProbesFault::TooLarge { bytes: text.len() });
        }
        let probes: Self =
            serde_json::from_str(text).map_err(|error| ProbesFault::Encoding(error.to_string()))?;
        if probes.0.len() > CONTAINERS_MAX * KINDS.len() {
            return Err(ProbesFault::TooMany { found: probes.0.len() });
        }
        for (path, probe) in &probes.0 {
            let rest = path.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('/'));
            let ours = rest.is_some_and(|(container, kind)| {
                !container.is_empty() && !container.contains('/') && KINDS.contains(&kind)
            });
            if !ours || !probe.is_sound() {
                return Err(ProbesFault::Path(path.clone()));
            }
        }
        Ok(probes)
    }

    /// Where the kubelet asks instead.
    pub(crate) fn path(container: &str, field: &str) -> String {
        let kind = match field {
            "livenessProbe" => KINDS[0],
            "readinessProbe" => KINDS[1],
            _ => KINDS[2],
        };
        format!("{PREFIX}{container}/{kind}")
    }
}

impl Probe {
    fn is_sound(&self) -> bool {
        let port = match &self.action {
            Action::HttpGet { port, headers, path, .. } => {
                if headers.len() > PROBE_HEADERS_MAX || !path.starts_with('/') {
                    return false;
                }
                *port
            }
            Action::TcpSocket { port } | Action::Grpc { port, .. } => *port,
        };
        port != 0 && (PROBE_TIMEOUT_S..=PROBE_TIMEOUT_S_MAX).contains(&self.timeout_s)
    }
}

impl fmt::Display for ProbesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "the probes have {bytes} bytes, at most {PROBES_BYTES_MAX} are read")
            }
            Self::Encoding(cause) => write!(f, "the probes cannot be read: {cause}"),
            Self::TooMany { found } => write!(f, "there are {found} probes, more than a pod has"),
            Self::Path(path) => write!(f, "the probe at {path:?} is none that is ever injected"),
        }
    }
}

impl std::error::Error for ProbesFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = r#"{"/app-health/web/livez":{"httpGet":{"port":8080,"path":"/live",
            "scheme":"HTTPS","headers":[{"name":"a","value":"b"}]},"timeoutS":3},
            "/app-health/web/readyz":{"tcpSocket":{"port":80},"timeoutS":1},
            "/app-health/db/startupz":{"grpc":{"port":90,"service":"x"},"timeoutS":1}}"#;
        let probes = Probes::parse(text).unwrap();
        assert_eq!(probes.0.len(), 3);
        let again = serde_json::to_string(&probes).unwrap();
        assert_eq!(Probes::parse(&again).unwrap(), probes);
        assert_eq!(Probes::parse("{}").unwrap(), Probes::default());
    }

    #[test]
    fn what_no_injector_writes_is_refused() {
        let tcp = r#"{"tcpSocket":{"port":80},"timeoutS":1}"#;
        for text in [
            "",
            "[]",
            &format!(r#"{{"/metrics":{tcp}}}"#),
            &format!(r#"{{"/app-health//livez":{tcp}}}"#),
            &format!(r#"{{"/app-health/a/b/livez":{tcp}}}"#),
            &format!(r#"{{"/app-health/a/other":{tcp}}}"#),
            r#"{"/app-health/a/livez":{"exec":{"command":["sh"]},"timeoutS":1}}"#,
            r#"{"/app-health/a/livez":{"tcpSocket":{"port":0},"timeoutS":1}}"#,
            r#"{"/app-health/a/livez":{"tcpSocket":{"port":80},"timeoutS":0}}"#,
            r#"{"/app-health/a/livez":{"tcpSocket":{"port":80},"timeoutS":301}}"#,
            r#"{"/app-health/a/livez":{"httpGet":{"port":80,"path":"x","scheme":"HTTP"},"timeoutS":1}}"#,
        ] {
            assert!(Probes::parse(text).is_err(), "{text}");
        }
        let large = format!("{{}}{}", " ".repeat(PROBES_BYTES_MAX - 2));
        assert!(Probes::parse(&large).is_ok());
        assert!(matches!(Probes::parse(&(large + " ")), Err(ProbesFault::TooLarge { .. })));
    }
}
