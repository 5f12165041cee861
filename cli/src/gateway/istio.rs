//! In the place of Istio's own gateway: what its pods' environment and files say, where no flag does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use diolkos_trust::SpiffeId;
use diolkos_xds_client::NodeClaims;

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

/// Said of the node by [`NodeClaims`] itself.
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

/// As Istio's own gateway would say it.
pub(super) fn node(
    args: &GatewayArgs,
    id: &SpiffeId,
    environment: &Environment,
) -> anyhow::Result<NodeClaims> {
    let mut node = super::node(args, id)?;
    node.labels = labels(args)?;
    // It is ours; an istiod says where its own gateways listen.
    node.extra.remove("BIND_TO_INSTANCE_IP");
    node.extra.extend(metadata(args, environment));
    Ok(node)
}

/// Everything that Istio's agent would pass on.
fn metadata(args: &GatewayArgs, env: &Environment) -> BTreeMap<String, String> {
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
fn labels(args: &GatewayArgs) -> anyhow::Result<BTreeMap<String, String>> {
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

/// `istio=eastwestgateway`: a label of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelArg {
    pub(super) key: String,
    pub(super) value: String,
}

impl FromStr for LabelArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        Ok(Self { key: key.into(), value: value.into() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use diolkos_eastwest_gw::OwnIdentity;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    /// Of a pod that Istio's own gateway runs in.
    fn istios_pod(more: &[(&str, &str)]) -> Environment {
        let pod = [
            ("INSTANCE_IP", "10.1.2.3,fd00::3"),
            ("TRUST_DOMAIN", "mesh.test"),
            ("ISTIO_META_CLUSTER_ID", "south-1"),
            ("ISTIO_META_NETWORK", "south"),
            ("ISTIO_META_MESH_ID", "mesh1"),
            ("ISTIO_META_REQUESTED_NETWORK_VIEW", "south"),
        ];
        pod.iter().chain(more).map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn on_an_istiod(flags: &[&str], env: &Environment) -> anyhow::Result<GatewayArgs> {
        let usual = ["gateway", "--istiod=istiod.istio-system.svc:15012", "--pod=eastwest-1"];
        let parsed = Cli::try_parse_from(usual.iter().chain(flags))?;
        complete(parsed.gateway, env)
    }

    const ACCOUNT: [&str; 2] =
        ["--namespace=istio-system", "--service-account=istio-eastwestgateway"];

    #[test]
    fn in_a_pod_of_istios_gateway_its_environment_says_the_rest() {
        let env = istios_pod(&[]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels");
        std::fs::write(&file, "istio=\"eastwestgateway\"\napp=\"gateway\"\n").unwrap();
        let labels = format!("--labels={}", file.display());
        let args = on_an_istiod(&[&ACCOUNT[..], &[&labels]].concat(), &env).unwrap();
        let primary = super::super::primary(&args).unwrap();
        assert_eq!(primary.server(), "istiod.istio-system.svc");
        let own = super::super::own(&args, &primary).unwrap();
        let OwnIdentity::Issued(settings) = own.identity else { panic!("{:?}", own.identity) };
        let id = "spiffe://mesh.test/ns/istio-system/sa/istio-eastwestgateway";
        assert_eq!(settings.id.to_string(), id);
        assert_eq!(settings.token_file, Path::new("/var/run/secrets/tokens/istio-token"));
        assert_eq!(settings.root_file, Path::new("/var/run/secrets/istio/root-cert.pem"));
        assert_eq!(settings.audience, "istio-ca");
        let node = node(&args, &settings.id, &env).unwrap();
        let metadata: Vec<_> =
            node.metadata().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            metadata,
            [
                "CLUSTER_ID=south-1",
                "INSTANCE_IPS=10.1.2.3,fd00::3",
                "MESH_ID=mesh1",
                "NAMESPACE=istio-system",
                "NETWORK=south",
                "REQUESTED_NETWORK_VIEW=south",
                "SERVICE_ACCOUNT=istio-eastwestgateway",
            ]
        );
        let labels: Vec<_> =
            node.labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let wanted = ["app=gateway", "istio=eastwestgateway", "topology.istio.io/network=south"];
        assert_eq!(labels, wanted);
    }

    #[test]
    fn a_flag_goes_before_the_environment() {
        let env = istios_pod(&[]);
        let flags = ["--ip=10.9.9.9", "--cluster=c", "--network=n", "--trust-domain=t.test"];
        let more = ["--network-view=n,m", "--label=istio=other", "--token-only"];
        let args = on_an_istiod(&[&ACCOUNT[..], &flags, &more].concat(), &env).unwrap();
        let own = super::super::own(&args, &super::super::primary(&args).unwrap()).unwrap();
        assert!(matches!(own.identity, OwnIdentity::Token { .. }));
        assert_eq!(own.id.trust_domain().as_str(), "t.test");
        let node = node(&args, &own.id, &env).unwrap();
        let metadata = node.metadata();
        let said = ["CLUSTER_ID", "INSTANCE_IPS", "NETWORK", "REQUESTED_NETWORK_VIEW"];
        assert_eq!(said.map(|key| metadata[key].as_str()), ["c", "10.9.9.9", "n", "n,m"]);
        assert_eq!(node.labels["istio"], "other");
    }

    #[test]
    fn what_neither_flag_nor_environment_says_is_named() {
        let told = |flags: &[&str], env: &Environment| {
            format!("{:#}", on_an_istiod(flags, env).unwrap_err())
        };
        let account = Environment::new();
        assert_eq!(told(&ACCOUNT, &account), "the pod's address is not known; give --ip");
        let wrong = istios_pod(&[("INSTANCE_IP", "here")]);
        assert_eq!(told(&ACCOUNT, &wrong), "INSTANCE_IP \"here\" is no address; give --ip");
        if std::env::var_os(diolkos_inject::env::NAMESPACE).is_none() {
            let missing = "the pod's namespace is not known; give --namespace";
            assert_eq!(told(&[], &istios_pod(&[])), missing);
        }
        let both = on_an_istiod(&["--primary=a:1"], &istios_pod(&[])).unwrap_err().to_string();
        assert!(both.contains("'--istiod <NAME:PORT>' cannot be used with"), "{both}");
        assert!("a".parse::<LabelArg>().is_err() && "=a".parse::<LabelArg>().is_err());
    }
}
