//! `/debug/diolkos.json`, as far as a status is made of it.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    pub(super) cluster: String,
    pub(super) trust_domain: String,
    pub(super) ready: bool,
    pub(super) waiting_for: Option<String>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) networks: Vec<Network>,
    pub(super) streams: Vec<Stream>,
    pub(super) rejections: Vec<Rejection>,
    pub(super) rejections_untold: u64,
    pub(super) notices: Vec<Told>,
    pub(super) denials: Vec<Told>,
    pub(super) authorities: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) network: String,
    pub(super) state: String,
    pub(super) stale_seconds: Option<u64>,
    pub(super) services: u64,
    pub(super) endpoints: u64,
    pub(super) gateways: u64,
    pub(super) refused: Refused,
    /// Where it is read from an API server.
    pub(super) source: Option<Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refused {
    pub(super) services: u64,
    pub(super) endpoints: u64,
    pub(super) gateways: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    pub(super) registered_by: String,
    pub(super) state: String,
    pub(super) refused_because: Option<String>,
    pub(super) restored_age_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) clusters: Vec<String>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) exits: Vec<Gateway>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gateway {
    pub(super) address: String,
    pub(super) clusters: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stream {
    pub(super) cluster: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) identity: String,
    pub(super) credential: String,
    pub(super) audience: String,
    pub(super) protocol: String,
    /// Seconds since 1970.
    pub(super) opened: u64,
    pub(super) types: Vec<Type>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Type {
    pub(super) r#type: String,
    pub(super) sent_nonce: String,
    pub(super) nacks: u64,
    pub(super) last_nack: Option<Nack>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Nack {
    pub(super) nonce: String,
    pub(super) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rejection {
    pub(super) cluster: Option<String>,
    pub(super) severity: String,
    pub(super) text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    pub(super) text: String,
    pub(super) count: u64,
    /// Seconds since 1970.
    pub(super) last: u64,
}

impl Page {
    /// What an operator should look at: whatever is not as it was meant.
    pub(super) fn is_amiss(&self) -> bool {
        !self.ready
            || self.clusters.iter().any(|cluster| !cluster.is_well())
            || self.rejections.iter().any(Rejection::is_of_the_mesh)
            || self.streams.iter().any(|stream| stream.refuses().is_some())
    }
}

impl Rejection {
    /// The mesh file, or a cluster's registration, is not followed as it is now.
    fn is_of_the_mesh(&self) -> bool {
        self.cluster.is_none() && self.severity == "refused"
    }
}

impl Cluster {
    pub(super) fn is_well(&self) -> bool {
        match &self.source {
            Some(source) => source.state == "synced" && source.refused_because.is_none(),
            None => self.state == "live",
        }
    }
}

impl Type {
    /// The last of what it was sent was refused.
    fn is_refused(&self) -> bool {
        self.last_nack.as_ref().is_some_and(|nack| nack.nonce == self.sent_nonce)
    }
}

impl Stream {
    /// What the client does not take now.
    pub(super) fn refuses(&self) -> Option<&Type> {
        self.types.iter().find(|one| one.is_refused())
    }

    /// What it did not take once, now or earlier.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&Type, &Nack)> {
        self.types.iter().filter_map(|one| Some((one, one.last_nack.as_ref()?)))
    }

    /// Sidecar, gateway, grpc.
    pub(super) fn kind(&self) -> &str {
        self.audience.split(' ').next().unwrap_or_default()
    }
}
