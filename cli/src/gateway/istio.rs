//! In the place of Istio's own gateway: what its pods' environment and files say, where no flag does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::GatewayArgs;

/// For the audience `istio-ca`.
const TOKEN_FILE: &str = "/var/run/secrets/tokens/istio-token";
const ROOT_FILE: &str = "/var/run/secrets/istio/root-cert.pem";
/// The pod's labels, as the downward API writes them.
const LABELS_FILE: &str = "/etc/istio/pod/labels";
/// As Istio's own, by which its samples' Gateways select it.
const USUAL_LABEL: (&str, &str) = ("istio", "eastwestgateway");
const NETWORK_LABEL: &str = "topology.istio.io/network";
/// What an istiod calls a cluster that nobody named.
const USUAL_CLUSTER: &str = "Kubernetes";
const METADATA: &str = "ISTIO_META_";
/// A pod's annotations and labels together may have 256 KiB.
const LABELS_BYTES_MAX: u64 = 256 * 1024;

/// Said of the node by [`diolkos_xds_client::NodeClaims`] itself.
const CLAIMED: [&str; 5] =
    ["CLUSTER_ID", "INSTANCE_IPS", "NAMESPACE", "NETWORK", "SERVICE_ACCOUNT"];

pub(super) type Environment = BTreeMap<String, String>;

/// Only what can be text, and what is not empty.
pub(super) fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok().filter(|text| !text.is_empty())?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// What no flag said, as a pod of Istio's says it.
pub(super) fn complete(mut args: GatewayArgs, env: &Environment) -> anyhow::Result<GatewayArgs> {
    let said = |name: &str| env.get(name).cloned();
    if args.ips.is_empty() {
        let ips = said("INSTANCE_IP").context("the pod's address is not known; give --ip")?;
        let ip = |text: &str| {
            text.parse::<IpAddr>()
                .map_err(|_| anyhow!("INSTANCE_IP {text:?} is no address; give --ip"))
        };
        args.ips = ips.split(',').map(ip).collect::<Result<_, _>>()?;
    }
    args.cluster = args.cluster.or(said("ISTIO_META_CLUSTER_ID")).or(Some(USUAL_CLUSTER.into()));
    args.network = args.network.or(said("ISTIO_META_NETWORK"));
    args.trust_domain = args.trust_domain.or(said("TRUST_DOMAIN"));
    if args.network_view.is_empty() {
        let view = said("ISTIO_META_REQUESTED_NETWORK_VIEW").or(args.network.clone());
        args.network_view = view.into_iter().collect();
    }
    if args.identity.is_none() {
        args.token = args.token.or(Some(TOKEN_FILE.into()));
        args.roots = args.roots.or(Some(ROOT_FILE.into()));
        let missing = |what: &str| format!("the pod's {what} is not known; give --{what}");
        args.namespace.as_ref().with_context(|| missing("namespace"))?;
        args.service_account.as_ref().with_context(|| missing("service-account"))?;
    }
    Ok(args)
}

/// Everything that Istio's agent would pass on.
pub(super) fn metadata(args: &GatewayArgs, env: &Environment) -> BTreeMap<String, String> {
    let pairs = env.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(METADATA).filter(|key| !CLAIMED.contains(key))?;
        Some((key.to_owned(), value.clone()))
    });
    let mut metadata: BTreeMap<String, String> = pairs.collect();
    // Without it an istiod would send us to the gateways of other networks, and those to us.
    metadata.remove("REQUESTED_NETWORK_VIEW");
    if !args.network_view.is_empty() {
        metadata.insert("REQUESTED_NETWORK_VIEW".into(), args.network_view.join(","));
    }
    metadata
}

/// By which Gateways select us.
pub(super) fn labels(args: &GatewayArgs) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = match &args.labels {
        Some(file) => read_labels(file)
            .with_context(|| format!("labels {} cannot be read", file.display()))?,
        None => match read_labels(Path::new(LABELS_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            read => read.with_context(|| format!("labels {LABELS_FILE} cannot be read"))?,
        },
    };
    labels.extend(args.label.iter().map(|label| (label.key.clone(), label.value.clone())));
    if labels.is_empty() {
        labels.insert(USUAL_LABEL.0.into(), USUAL_LABEL.1.into());
    }
    if let Some(network) = &args.network {
        labels.entry(NETWORK_LABEL.into()).or_insert(network.clone());
    }
    Ok(labels)
}

fn read_labels(file: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut text = String::new();
    File::open(file)?.take(LABELS_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LABELS_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {LABELS_BYTES_MAX} bytes")));
    }
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}
