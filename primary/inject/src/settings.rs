//! What every injected pod gets, whatever it says itself.

use std::collections::BTreeMap;

/// Requests and limits of a container, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectSettings {
    /// Holds `diolkos`, `envoy` and `nft`.
    pub image: String,
    /// `None` leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// Used where the webhook's path names none.
    pub cluster: String,
    pub network: Option<String>,
    pub trust_domain: String,
    pub cluster_domain: String,
    /// `name:port`.
    pub primary: String,
    /// How long connections may live on after a pod was told to end.
    pub drain_s: u32,
    pub token_s: u32,
    pub proxy: Resources,
    pub init: Resources,
}

/// Kubernetes gives a token ten minutes at least, and renews it at four fifths.
const TOKEN_S: u32 = 12 * 3600;
/// As Istio's `terminationDrainDuration`.
const DRAIN_S: u32 = 5;

impl InjectSettings {
    pub fn new(image: &str, cluster: &str) -> Self {
        let quantities = |pairs: [(&str, &str); 2]| {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        Self {
            image: image.into(),
            pull_policy: None,
            cluster: cluster.into(),
            network: None,
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            primary: "diolkos-primary.diolkos-system.svc:15012".into(),
            drain_s: DRAIN_S,
            token_s: TOKEN_S,
            proxy: Resources {
                requests: quantities([("cpu", "50m"), ("memory", "96Mi")]),
                limits: quantities([("cpu", "2"), ("memory", "1Gi")]),
            },
            init: Resources {
                requests: quantities([("cpu", "10m"), ("memory", "16Mi")]),
                limits: quantities([("cpu", "1"), ("memory", "64Mi")]),
            },
        }
    }
}
