//! Settings, checked: what cannot become good objects is refused before any is made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use diolkos_topology::{ClusterId, Namespace, NetworkId};
use diolkos_trust::TrustDomain;
use serde_json::{Map, Value};

use crate::error::SettingsError;
use crate::values::{RemoteValues, Values};
use crate::{limit, mesh, names};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub profile: Profile,
    pub cluster: ClusterId,
    pub network: Option<NetworkId>,
    pub mesh_id: String,
    pub trust_domain: TrustDomain,
    pub cluster_domain: String,
    pub export: Export,
    pub mesh: Map<String, Value>,
    /// Which of several meshes in this cluster: namespaces name it.
    pub revision: Option<String>,
    pub namespace: Namespace,
    pub image: Image,
    pub primary: Role,
    pub gateway: Role,
    pub service_annotations: BTreeMap<String, String>,
    /// The gateway passes the primary's ports through.
    pub expose_primary: bool,
    /// The gateway is its cluster's way out as well.
    pub egress: bool,
    pub drain_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    Primary,
    Remote(Remote),
    Gateway,
    Crds,
}

/// What a cluster without a primary has to know of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub primary_cluster: ClusterId,
    /// Where its ports are: of its gateway, most often.
    pub address: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ips(Vec<IpAddr>),
    Host(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    Listed,
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    pub pull_policy: Option<String>,
    pub pull_secrets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub replicas: u32,
    pub args: Vec<String>,
    pub resources: Option<Value>,
}

/// By this name only an error knows it; `--profile crds` has no cluster.
const NO_CLUSTER: &str = "none";

impl Settings {
    /// `image` is used where the values name none.
    ///
    /// # Errors
    /// The first value that is missing, or cannot be what it says.
    pub fn of(profile: &str, image: &str, values: Values) -> Result<Self, SettingsError> {
        let profile = read_profile(profile, values.remote)?;
        let missing = |name, flag| SettingsError::Missing { name, profile: profile.name(), flag };
        let cluster = match values.cluster {
            Some(said) => named("--cluster", ClusterId::new(&said))?,
            None if profile == Profile::Crds => named("--cluster", ClusterId::new(NO_CLUSTER))?,
            None => return Err(missing("the cluster's name", "--cluster")),
        };
        let network = values.network.filter(|network| !network.is_empty());
        if network.is_none() && profile == Profile::Gateway {
            return Err(missing("the network that the gateway leads into", "--network"));
        }
        let expose_primary = values.gateway.expose_primary.unwrap_or(false);
        if expose_primary && matches!(profile, Profile::Remote(_)) {
            let profile = profile.name();
            return Err(SettingsError::Unused { flag: "--expose-primary", profile });
        }
        let settings = Self {
            cluster,
            network: network.as_deref().map(read_network).transpose()?,
            mesh_id: label("--mesh-id", values.mesh_id.unwrap_or_else(|| "mesh".into()))?,
            trust_domain: read_trust_domain(values.trust_domain)?,
            cluster_domain: values.cluster_domain.unwrap_or_else(|| "cluster.local".into()),
            export: read_export(values.export.as_deref())?,
            mesh: values.mesh,
            revision: values.revision.map(|said| label("--revision", said)).transpose()?,
            namespace: read_namespace(values.namespace)?,
            image: Image {
                name: read_image(values.image.unwrap_or_else(|| image.to_owned()))?,
                pull_policy: values.image_pull_policy.map(read_pull_policy).transpose()?,
                pull_secrets: values.image_pull_secrets,
            },
            primary: Role {
                replicas: read_replicas("primary.replicas", values.primary.replicas)?,
                args: values.primary.args,
                resources: values.primary.resources,
            },
            gateway: Role {
                replicas: read_replicas("gateway.replicas", values.gateway.replicas)?,
                args: values.gateway.args,
                resources: values.gateway.resources,
            },
            service_annotations: values.gateway.service_annotations,
            expose_primary,
            egress: values.gateway.egress.unwrap_or(false),
            drain_seconds: read_drain(values.gateway.drain_seconds)?,
            profile,
        };
        mesh::check(&settings)?;
        Ok(settings)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    /// Of an object that is of the whole cluster.
    pub(crate) fn of_cluster(&self, name: &str) -> String {
        names::of_cluster(name, self.namespace())
    }
}

impl Profile {
    pub const NAMES: [&str; 4] = ["primary", "remote", "gateway", "crds"];

    fn name(&self) -> &'static str {
        match self {
            Self::Primary => Self::NAMES[0],
            Self::Remote(_) => Self::NAMES[1],
            Self::Gateway => Self::NAMES[2],
            Self::Crds => Self::NAMES[3],
        }
    }
}

fn read_profile(name: &str, remote: RemoteValues) -> Result<Profile, SettingsError> {
    let missing = |name, flag| SettingsError::Missing { name, profile: "remote", flag };
    match name {
        "primary" => Ok(Profile::Primary),
        "gateway" => Ok(Profile::Gateway),
        "crds" => Ok(Profile::Crds),
        "remote" => {
            let cluster = remote.primary_cluster;
            let cluster =
                cluster.ok_or_else(|| missing("the primary's cluster", "--primary-cluster"))?;
            Ok(Profile::Remote(Remote {
                primary_cluster: named("--primary-cluster", ClusterId::new(&cluster))?,
                address: read_address(&remote.primary_addresses)?,
            }))
        }
        other => Err(value("--profile", other, "is none", "use primary, remote, gateway or crds")),
    }
}

fn read_address(said: &[String]) -> Result<Address, SettingsError> {
    const FLAG: &str = "--primary-address";
    if said.len() > limit::PRIMARY_ADDRESSES_MAX {
        let (said, max) = (said.len() as u64, limit::PRIMARY_ADDRESSES_MAX as u64);
        return Err(SettingsError::Range {
            flag: "number of --primary-address",
            said,
            min: 1,
            max,
        });
    }
    let ips: Vec<Option<IpAddr>> = said.iter().map(|text| text.parse().ok()).collect();
    match (said, ips.iter().all(Option::is_some)) {
        ([], _) => Err(SettingsError::Missing {
            name: "the address by which the primary is reached",
            profile: "remote",
            flag: FLAG,
        }),
        (_, true) => read_ips(ips.into_iter().flatten().collect()),
        ([host], false) => match is_host(host) {
            true => Ok(Address::Host(host.clone())),
            false => {
                let way_out = "use an IP address, or one name in lower case without a port";
                Err(value(FLAG, host, "is neither an address nor a host", way_out))
            }
        },
        (several, false) => {
            let way_out = "give one name, or addresses alone";
            Err(value(FLAG, &several.join(","), "mixes names, or names and addresses", way_out))
        }
    }
}

/// An EndpointSlice refuses the others, and no primary is there.
fn read_ips(mut ips: Vec<IpAddr>) -> Result<Address, SettingsError> {
    let refused = |ip: &IpAddr| {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local
    };
    if let Some(ip) = ips.iter().find(|ip| refused(ip)) {
        let cause = "is loopback, link-local, multicast or unspecified";
        let way_out = "give the address by which other clusters reach the primary's gateway";
        return Err(value("--primary-address", &ip.to_string(), cause, way_out));
    }
    ips.sort_unstable();
    ips.dedup();
    Ok(Address::Ips(ips))
}

fn read_network(said: &str) -> Result<NetworkId, SettingsError> {
    // It becomes a label.
    label("--network", said.to_owned())?;
    named("--network", NetworkId::new(said))
}

fn read_trust_domain(said: Option<String>) -> Result<TrustDomain, SettingsError> {
    let said = said.unwrap_or_else(|| "cluster.local".into());
    let way_out = "use lower-case letters, digits, '-', '_' and '.'";
    TrustDomain::new(&said)
        .map_err(|_| value("--trust-domain", &said, "is no trust domain", way_out))
}

fn read_export(said: Option<&str>) -> Result<Export, SettingsError> {
    match said {
        None | Some("listed") => Ok(Export::Listed),
        Some("all") => Ok(Export::All),
        Some(other) => Err(value("--export", other, "is neither", "use listed or all")),
    }
}

fn read_namespace(said: Option<String>) -> Result<Namespace, SettingsError> {
    let said = said.unwrap_or_else(|| names::SYSTEM_NAMESPACE.into());
    if !is_label(&said) {
        let way_out = "use lower-case letters, digits and '-'";
        return Err(value("--namespace", &said, "is no namespace", way_out));
    }
    named("--namespace", Namespace::new(&said))
}

fn read_image(said: String) -> Result<String, SettingsError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    match !said.is_empty() && said.chars().all(good) {
        true => Ok(said),
        false => {
            Err(value("--image", &said, "is no image", "write it like registry.example/diolkos:1"))
        }
    }
}

fn read_pull_policy(said: String) -> Result<String, SettingsError> {
    match said.as_str() {
        "Always" | "IfNotPresent" | "Never" => Ok(said),
        other => {
            let way_out = "use Always, IfNotPresent or Never";
            Err(value("imagePullPolicy", other, "is no policy", way_out))
        }
    }
}

fn read_replicas(flag: &'static str, said: Option<u32>) -> Result<u32, SettingsError> {
    let (replicas, max) = (said.unwrap_or(2), limit::REPLICAS_MAX);
    match (1..=max).contains(&replicas) {
        true => Ok(replicas),
        false => Err(SettingsError::Range { flag, said: replicas.into(), min: 1, max: max.into() }),
    }
}

fn read_drain(said: Option<u64>) -> Result<u64, SettingsError> {
    let (seconds, max) = (said.unwrap_or(30), limit::DRAIN_SECONDS_MAX);
    match seconds <= max {
        true => Ok(seconds),
        false => {
            let flag = "gateway.drainSeconds";
            Err(SettingsError::Range { flag, said: seconds, min: 0, max })
        }
    }
}

/// The value of a label, and so of nothing that a shell or a URL would trip over.
fn label(flag: &'static str, said: String) -> Result<String, SettingsError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = said.len() <= limit::LABEL_BYTES_MAX
        && said.chars().all(inner)
        && edge(said.chars().next())
        && edge(said.chars().next_back());
    match good {
        true => Ok(said),
        false => Err(value(
            flag,
            &said,
            "cannot be a label",
            "use up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        )),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=limit::LABEL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_host(text: &str) -> bool {
    // What ends in a number is a mistyped address.
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn named<T>(
    flag: &'static str,
    read: Result<T, diolkos_topology::NameError>,
) -> Result<T, SettingsError> {
    read.map_err(|cause| SettingsError::Name { flag, cause })
}

fn value(
    flag: &'static str,
    said: &str,
    cause: &'static str,
    way_out: &'static str,
) -> SettingsError {
    SettingsError::Value { flag, said: said.to_owned(), cause, way_out }
}
