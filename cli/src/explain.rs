//! `diolkos explain`: why a client is told of a service what it is told, endpoint by endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use diolkos_ops::printable;
use diolkos_topology::{ClusterId, Namespace, PodName, ServiceKey};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::{PrimaryArgs, escaped};
use crate::call::Output;
use crate::exit::Usage;
use crate::table::Table;

/// Flags of `diolkos explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// As the client calls it: catalog, catalog.shop, catalog.shop.svc.cluster.local or shop/catalog
    service: String,
    /// Who calls; with its pod its network and zone are known
    #[arg(long, value_name = "CLUSTER/NAMESPACE[/POD]")]
    from: From,
    #[arg(long, value_enum, default_value_t = Kind::Sidecar)]
    kind: Kind,
    /// The client's zone, if not its pod's
    #[arg(long, value_name = "REGION/ZONE")]
    zone: Option<String>,
    /// The client's network, if not its pod's or its cluster's
    #[arg(long)]
    network: Option<String>,
    /// The IP families of the client's addresses
    #[arg(long, value_enum, default_value_t = Families::Both)]
    families: Families,
    #[command(flatten)]
    primary: PrimaryArgs,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Sidecar,
    Gateway,
    Egress,
    Grpc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Families {
    Both,
    V4,
    V6,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct From {
    cluster: ClusterId,
    namespace: Namespace,
    pod: Option<PodName>,
}

pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let service = service(&args.service, &args.from.namespace).map_err(Usage::of)?;
    let path = path(&args, &service);
    let value: Value = args.primary.one().await?.page(&path).await?;
    match args.output {
        Output::Json => println!("{value}"),
        Output::Text => print!("{}", Explained::deserialize(&value)?),
    }
    Ok(())
}

fn path(args: &ExplainArgs, service: &ServiceKey) -> String {
    let From { cluster, namespace, pod } = &args.from;
    let named = |kind: &dyn fmt::Debug| format!("{kind:?}").to_lowercase();
    let mut pairs = vec![
        ("output", "json".to_owned()),
        ("service", service.to_string()),
        ("cluster", cluster.to_string()),
        ("kind", named(&args.kind)),
        ("families", named(&args.families)),
    ];
    pairs.extend(pod.as_ref().map(|pod| ("pod", format!("{namespace}/{pod}"))));
    pairs.extend(args.zone.clone().map(|zone| ("zone", zone)));
    pairs.extend(args.network.clone().map(|network| ("network", network)));
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
    format!("/debug/explain?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// What a name means to somebody in that namespace.
fn service(text: &str, namespace: &Namespace) -> anyhow::Result<ServiceKey> {
    let parts = match text.split_once('/') {
        Some((namespace, name)) => Some((namespace, name)),
        None => {
            let mut labels = text.split('.');
            let name = labels.next().unwrap_or_default();
            let of = labels.next().unwrap_or(namespace.as_str());
            match labels.next() {
                None | Some("svc") => Some((of, name)),
                Some(_) => None,
            }
        }
    };
    let (namespace, name) = parts.ok_or_else(|| {
        anyhow!("{text:?} is no service of the mesh; write it like catalog.shop or shop/catalog")
    })?;
    ServiceKey::new(namespace, name).map_err(|why| anyhow!("service {text:?}: {why}"))
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (cluster, namespace, pod) = match parts[..] {
            [cluster, namespace] => (cluster, namespace, None),
            [cluster, namespace, pod] => (cluster, namespace, Some(pod)),
            _ => return Err("write CLUSTER/NAMESPACE or CLUSTER/NAMESPACE/POD".into()),
        };
        Ok(Self {
            cluster: ClusterId::new(cluster).map_err(|why| why.to_string())?,
            namespace: Namespace::new(namespace).map_err(|why| why.to_string())?,
            pod: pod.map(PodName::new).transpose().map_err(|why| why.to_string())?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Explained {
    service: String,
    client: Client,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Client {
    kind: String,
    cluster: String,
    network: String,
    locality: String,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    port: u16,
    cluster: String,
    network: String,
    locality: String,
    address: Option<String>,
    pod: Option<String>,
    count: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Verdict {
    Kept { priority: u8 },
    Replaced { gateways: Vec<String> },
    Dropped { reason: String },
}

/// Of one port.
#[derive(Debug, Default)]
struct Sum {
    kept: u64,
    replaced: u64,
    dropped: u64,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, client, endpoints } = self;
        let Client { kind, cluster, network, locality } = client;
        let told = format!("{service}, as a {kind} in {cluster} is told, on network {network}");
        writeln!(f, "{}, zone {}", printable(&told), printable(locality))?;
        if locality == "-" {
            writeln!(f, "(without a zone none is nearer; give --zone, or the pod in --from)")?;
        }
        if endpoints.is_empty() {
            return writeln!(f, "it has no endpoints in any cluster");
        }
        let head = ["PORT", "ENDPOINT", "POD", "CLUSTER", "NETWORK", "ZONE", "OUTCOME"];
        let mut table = Table::new(&head);
        let mut sums: BTreeMap<u16, Sum> = BTreeMap::new();
        for endpoint in endpoints {
            sums.entry(endpoint.port).or_default().add(endpoint);
            table.row(endpoint.cells());
        }
        write!(f, "\n{}\n", table.text())?;
        for (port, Sum { kept, replaced, dropped }) in sums {
            write!(f, "port {port}: {kept} kept, {replaced} replaced, {dropped} dropped")?;
            let is_left = kept + replaced > 0;
            writeln!(f, "{}", if is_left { "" } else { "; the client reaches none of them" })?;
        }
        Ok(())
    }
}

impl Sum {
    fn add(&mut self, endpoint: &Endpoint) {
        *match endpoint.verdict {
            Verdict::Kept { .. } => &mut self.kept,
            Verdict::Replaced { .. } => &mut self.replaced,
            Verdict::Dropped { .. } => &mut self.dropped,
        } += endpoint.count;
    }
}

impl Endpoint {
    fn cells(&self) -> [String; 7] {
        let said = || format!("{} as said", self.count);
        [
            self.port.to_string(),
            self.address.clone().unwrap_or_else(said),
            self.pod.clone().unwrap_or_default(),
            self.cluster.clone(),
            self.network.clone(),
            self.locality.clone(),
            match &self.verdict {
                Verdict::Kept { priority } => format!("kept, priority {priority}"),
                Verdict::Replaced { gateways } => {
                    format!("replaced by gateway {}", gateways.join(", "))
                }
                Verdict::Dropped { reason } => format!("dropped: {reason}"),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_what_it_means_to_the_caller() {
        let shop = Namespace::new("shop").unwrap();
        for text in
            ["catalog", "catalog.shop", "catalog.shop.svc", "catalog.shop.svc.a.b", "shop/catalog"]
        {
            assert_eq!(service(text, &shop).unwrap().to_string(), "shop/catalog", "{text}");
        }
        assert_eq!(service("a.pay", &shop).unwrap().to_string(), "pay/a");
        for text in ["", "www.example.com", "a/b/c", ".shop"] {
            assert!(service(text, &shop).is_err(), "{text}");
        }
    }

    #[test]
    fn a_caller_is_a_cluster_and_a_namespace_and_perhaps_a_pod() {
        let from: From = "west/shop/web-1".parse().unwrap();
        assert_eq!(from.pod.unwrap().as_str(), "web-1");
        assert_eq!("west/shop".parse::<From>().unwrap().namespace.as_str(), "shop");
        for text in ["", "west", "west/", "/shop", "a/b/c/d", "west/shop/"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
    }
}
