//! Flags of the roles, and what they mean to the crates that play them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use diolkos_inject::InjectSettings;
use diolkos_ops::Shutdown;
use diolkos_primary::{PrimarySettings, WebhookSettings};
use diolkos_tls::Identity;
use diolkos_trust::TrustDomain;
use diolkos_xds_client::NodeClaims;

use crate::certificates::{Ca, Own};

/// Flags of `diolkos primary`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PrimaryArgs {
    /// The mesh file; cluster folders lie beside it, where facts come from files
    #[arg(long, value_name = "FILE")]
    mesh: PathBuf,
    #[command(flatten)]
    kubernetes: crate::kubernetes::KubernetesArgs,
    /// The cluster this primary belongs to
    #[arg(long)]
    cluster: String,
    /// Where xDS is served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:15012",
          value_parser = crate::listen::address)]
    listen: SocketAddr,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER", required_unless_present = "ca")]
    identity: Option<PathBuf>,
    /// The CA to sign with, a folder as Istio's cacerts: the primary issues its own certificate,
    /// and answers the certificate API
    #[arg(long, value_name = "FOLDER", conflicts_with = "identity")]
    ca: Option<PathBuf>,
    /// With --ca: whose certificates it issues
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// With --ca: the primary's own namespace
    #[arg(long, default_value = "diolkos-system")]
    namespace: String,
    /// With --ca: the primary's own service account
    #[arg(long, default_value = "diolkos-primary")]
    service_account: String,
    /// With --ca: further DNS names of the primary (repeatable)
    #[arg(long = "name", value_name = "DNS")]
    names: Vec<String>,
    /// Where the webhook that injects sidecars answers, over TLS
    #[arg(long, value_name = "ADDRESS", requires = "inject_image",
          value_parser = crate::listen::address)]
    webhook: Option<SocketAddr>,
    /// The image of injected sidecars
    #[arg(long, value_name = "IMAGE")]
    inject_image: Option<String>,
    /// Where injected sidecars find their primary
    #[arg(long, value_name = "NAME:PORT")]
    inject_primary: Option<diolkos_trust_client::PrimaryName>,
    /// Where /healthz/ready, /healthz and /metrics answer whoever asks
    #[arg(long, value_name = "ADDRESS", value_parser = crate::listen::address)]
    health: Option<SocketAddr>,
    /// Where /ready, /metrics and /debug answer (loopback)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

pub(crate) async fn primary(args: PrimaryArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = args.kubernetes.source(&args.cluster)?;
    let identity = args.identity.unwrap_or_default();
    let cluster = args.cluster.clone();
    let mut settings = PrimarySettings::new(args.mesh, cluster, args.listen, identity);
    settings.source = source;
    (settings.health, settings.admin) = (args.health, args.admin);
    if let (Some(listen), Some(image)) = (args.webhook, &args.inject_image) {
        let mut inject = InjectSettings::new(image, &args.cluster);
        inject.trust_domain.clone_from(&args.trust_domain);
        if let Some(primary) = args.inject_primary {
            inject.primary = primary.to_string();
        }
        settings.webhook = Some(WebhookSettings { listen, inject });
    }
    let _ca = match args.ca {
        None => None,
        Some(dir) => {
            let own = Own {
                trust_domain: TrustDomain::new(&args.trust_domain)?,
                namespace: args.namespace,
                service_account: args.service_account,
                names: args.names,
            };
            let ca = Ca::of_folder(&dir, own)?;
            ca.mount(&mut settings);
            Some(ca)
        }
    };
    diolkos_primary::run(settings, shutdown).await?;
    Ok(())
}

/// Flags of `diolkos bootstrap`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BootstrapArgs {
    /// Envoy's working directory: bootstrap.json and sds/ are written there
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// The primary's ADS address
    #[arg(long, value_name = "ADDRESS")]
    primary: SocketAddr,
    /// The DNS name in the primary's certificate
    #[arg(long, default_value = crate::PRIMARY_NAME)]
    primary_name: String,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
    /// The cluster this Envoy runs in
    #[arg(long)]
    cluster: String,
    #[arg(long)]
    pod: String,
    /// Its own; again for another family
    #[arg(long, required = true)]
    ip: Vec<IpAddr>,
    /// Make it an east-west gateway instead of a sidecar
    #[arg(long)]
    gateway: bool,
    /// As a sidecar: take plain HTTP for the mesh on this port of its own address
    #[arg(long, value_name = "PORT", conflicts_with = "gateway")]
    http_proxy_port: Option<u16>,
    /// As a sidecar: the pod's connections are redirected to it
    #[arg(long, conflicts_with = "gateway")]
    redirected: bool,
    /// Dial from this address
    #[arg(long)]
    source: Option<IpAddr>,
    /// Envoy's own admin address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    envoy_admin: SocketAddr,
}

/// Writes what a stock Envoy needs to be a client of a primary.
pub(crate) fn bootstrap(args: BootstrapArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    let identity = Identity::load(&args.identity)?;
    let id = identity.spiffe_id();
    let name = id
        .workload_name()
        .with_context(|| format!("identity {id} is not a workload's: /ns/NAMESPACE/sa/ACCOUNT"))?;
    let mut extra = std::collections::BTreeMap::new();
    if let Some(port) = args.http_proxy_port {
        extra.insert("HTTP_PROXY_PORT".to_owned(), port.to_string());
    }
    if args.redirected {
        extra.insert("INTERCEPTION_MODE".to_owned(), "REDIRECT".to_owned());
    }
    if args.ip.len() > 1 {
        let all: Vec<String> = args.ip.iter().map(IpAddr::to_string).collect();
        extra.insert("INSTANCE_IPS".to_owned(), all.join(","));
    }
    let node = NodeClaims {
        kind: if args.gateway { "router" } else { "sidecar" }.into(),
        ip: args.ip[0],
        pod: args.pod,
        namespace: name.namespace.to_owned(),
        domain: "cluster.local".into(),
        cluster: args.cluster,
        network: None,
        service_account: Some(name.service_account.to_owned()),
        labels: Default::default(),
        extra,
    };
    let envoy_args = crate::envoy::Envoy {
        dir: &args.dir,
        node: &node,
        identity: &args.identity.canonicalize()?,
        primary: args.primary,
        primary_name: &args.primary_name,
        source: args.source,
        admin: args.envoy_admin,
    }
    .prepare()?;
    println!("cd {} && envoy {}", args.dir.display(), envoy_args.join(" "));
    Ok(())
}
