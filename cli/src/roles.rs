//! Flags of the roles, and what they mean to the crates that play them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use diolkos_eastwest_gw::{GatewaySettings, Limits};
use diolkos_ops::Shutdown;
use diolkos_primary::PrimarySettings;
use diolkos_tls::{Identity, Roots};
use diolkos_trust::TrustDomain;
use diolkos_xds_client::{Backoff, ClientSettings, Credential, NodeClaims};

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
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:15012")]
    listen: SocketAddr,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
    /// Where /ready, /metrics and /debug answer (loopback)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

pub(crate) async fn primary(args: PrimaryArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = args.kubernetes.source(&args.cluster)?;
    let mut settings = PrimarySettings::new(args.mesh, args.cluster, args.listen, args.identity);
    settings.source = source;
    settings.admin = args.admin;
    diolkos_primary::run(settings, shutdown).await?;
    Ok(())
}

/// Flags of `diolkos gateway`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// The primary's ADS address
    #[arg(long, value_name = "ADDRESS")]
    primary: SocketAddr,
    /// The DNS name in the primary's certificate
    #[arg(long, default_value = crate::PRIMARY_NAME)]
    primary_name: String,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER")]
    identity: PathBuf,
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// The cluster this gateway runs in
    #[arg(long)]
    cluster: String,
    #[arg(long)]
    pod: String,
    /// Its own address; it listens there, on the port its primary says
    #[arg(long)]
    ip: IpAddr,
    /// Where to listen, whatever the primary says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Dial from this address
    #[arg(long)]
    source: Option<IpAddr>,
    /// Where /ready, /metrics and /debug answer (loopback)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// How long connections may live on after the gateway was told to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
}

pub(crate) async fn gateway(args: GatewayArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let identity = Identity::load(&args.identity)?;
    let roots = Roots::load(&args.identity, &TrustDomain::new(&args.trust_domain)?)?;
    let _reload = diolkos_tls::spawn_reload(identity.clone(), roots.clone(), args.identity.clone());
    let id = identity.spiffe_id();
    let name = id
        .workload_name()
        .with_context(|| format!("identity {id} is not a workload's: /ns/NAMESPACE/sa/ACCOUNT"))?;
    let node = NodeClaims {
        kind: "router".into(),
        ip: args.ip,
        pod: args.pod,
        namespace: name.namespace.to_owned(),
        domain: "cluster.local".into(),
        cluster: args.cluster,
        network: None,
        service_account: Some(name.service_account.to_owned()),
        extra: [("BIND_TO_INSTANCE_IP".to_owned(), "true".to_owned())].into(),
    };
    let settings = GatewaySettings {
        listen: args.listen,
        source: args.source,
        xds: ClientSettings {
            address: args.primary,
            server: args.primary_name,
            credential: Credential::Certificate(identity),
            roots,
            node,
            source: args.source,
            backoff: Backoff::default(),
        },
        admin: args.admin,
        limits: Limits::default(),
        drain: Duration::from_secs(args.drain_seconds),
    };
    diolkos_eastwest_gw::run(settings, shutdown).await?;
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
    #[arg(long)]
    ip: IpAddr,
    /// Make it an east-west gateway instead of a sidecar
    #[arg(long)]
    gateway: bool,
    /// As a sidecar: take plain HTTP for the mesh on this port of its own address
    #[arg(long, value_name = "PORT", conflicts_with = "gateway")]
    http_proxy_port: Option<u16>,
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
    let node = NodeClaims {
        kind: if args.gateway { "router" } else { "sidecar" }.into(),
        ip: args.ip,
        pod: args.pod,
        namespace: name.namespace.to_owned(),
        domain: "cluster.local".into(),
        cluster: args.cluster,
        network: None,
        service_account: Some(name.service_account.to_owned()),
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
