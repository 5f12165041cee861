//! Flags of what runs in a pod: `diolkos sidecar` and `diolkos redirect`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use diolkos_inject::{Probes, env};
use diolkos_ops::Shutdown;
use diolkos_sidecar::redirect::{self, Nft, RedirectSettings};
use diolkos_sidecar::{EnvoySettings, SidecarSettings, Workload};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_client::{CertificateSettings, PRIMARY_AUDIENCE, PrimaryName};
use ipnet::IpNet;

/// Flags of `diolkos sidecar`. In a pod the injector sets the environment, and no flag is needed.
#[derive(Args, Clone, Debug)]
pub(crate) struct SidecarArgs {
    /// The primary's name and port
    #[arg(long, value_name = "NAME:PORT", env = env::PRIMARY,
          default_value = "diolkos-primary.diolkos-system.svc:15012")]
    primary: PrimaryName,
    /// The DNS name in the primary's certificate, where it is dialled by another
    #[arg(long)]
    primary_name: Option<String>,
    /// The projected service-account token
    #[arg(long, value_name = "FILE", default_value_os_t = token_file())]
    token: PathBuf,
    /// The roots that the primary is verified against
    #[arg(long, value_name = "FILE", default_value_os_t = root_file())]
    roots: PathBuf,
    #[arg(long, env = env::TRUST_DOMAIN, default_value = "cluster.local")]
    trust_domain: String,
    #[arg(long, env = env::CLUSTER_DOMAIN, default_value = "cluster.local")]
    cluster_domain: String,
    /// The cluster this pod runs in
    #[arg(long, env = env::CLUSTER)]
    cluster: String,
    #[arg(long, env = env::NETWORK, default_value = "")]
    network: String,
    #[arg(long, env = env::POD)]
    pod: String,
    #[arg(long, env = env::NAMESPACE)]
    namespace: String,
    #[arg(long, env = env::SERVICE_ACCOUNT)]
    service_account: String,
    /// The pod's addresses, with commas between; the first is where the application is probed
    #[arg(long = "ip", value_name = "ADDRESS", env = env::POD_IPS, value_delimiter = ',',
          required = true)]
    ips: Vec<IpAddr>,
    /// The lifetime to ask for; the primary may give less
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    ttl_seconds: u64,
    /// The Envoy to run: a path, or a name to look up in PATH
    #[arg(long, env = "DIOLKOS_ENVOY", default_value = "envoy")]
    envoy: PathBuf,
    /// Where bootstrap and socket are written
    #[arg(long, value_name = "FOLDER", default_value = env::RUN_DIR)]
    dir: PathBuf,
    /// Envoy's own admin address (loopback)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    envoy_admin: SocketAddr,
    /// Envoy's worker threads; 0: one for each core
    #[arg(long, value_name = "THREADS", env = "DIOLKOS_CONCURRENCY", default_value_t = 2)]
    concurrency: u32,
    #[arg(long, env = "DIOLKOS_ENVOY_LOG_LEVEL", default_value = "warning")]
    envoy_log_level: String,
    /// Where /healthz/ready, /healthz and /metrics answer; default: port 15021 of every address
    #[arg(long, value_name = "ADDRESS")]
    health: Option<SocketAddr>,
    /// Where the application's probes are answered; default: port 15020 of every address
    #[arg(long, value_name = "ADDRESS")]
    probes: Option<SocketAddr>,
    /// The application's probes, as the injector writes them
    #[arg(long, value_name = "JSON", env = env::PROBES, default_value = "{}", hide = true)]
    probes_json: String,
    /// How long connections may live on after the sidecar was told to end
    #[arg(long, value_name = "SECONDS", env = env::DRAIN_SECONDS, default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain_seconds: u64,
    /// Further claims of the node, KEY=VALUE (repeatable)
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    metadata: Vec<String>,
    /// Let Envoy dial from this address
    #[arg(long, hide = true)]
    source: Option<IpAddr>,
}

fn token_file() -> PathBuf {
    Path::new(env::TOKEN_DIR).join(env::TOKEN_FILE)
}

fn root_file() -> PathBuf {
    Path::new(env::ROOT_DIR).join(env::ROOT_FILE)
}

pub(crate) async fn sidecar(args: SidecarArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    if !args.envoy_admin.ip().to_canonical().is_loopback() {
        bail!(
            "--envoy-admin {} can be reached from other machines, and whoever reaches it rules \
             this Envoy: use a loopback address",
            args.envoy_admin
        );
    }
    let trust_domain = TrustDomain::new(&args.trust_domain)?;
    let id = SpiffeId::workload(&trust_domain, &args.namespace, &args.service_account)?;
    let everywhere = match args.ips.iter().any(IpAddr::is_ipv6) {
        true => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::from(Ipv4Addr::UNSPECIFIED),
    };
    let at = |asked: Option<SocketAddr>, port| asked.unwrap_or(SocketAddr::new(everywhere, port));
    let settings = SidecarSettings {
        claims: claims(&args)?,
        certificate: CertificateSettings {
            primary: PrimaryName { server: args.primary_name, ..args.primary },
            token_file: args.token,
            root_file: args.roots,
            id,
            cluster: args.cluster.clone(),
            ttl: Duration::from_secs(args.ttl_seconds),
            audience: PRIMARY_AUDIENCE,
        },
        pod_ip: args.ips[0],
        workload: Workload {
            pod: args.pod,
            namespace: args.namespace,
            service_account: args.service_account,
            ips: args.ips,
            cluster: args.cluster,
            network: Some(args.network).filter(|network| !network.is_empty()),
            cluster_domain: args.cluster_domain,
        },
        envoy: EnvoySettings {
            program: args.envoy,
            dir: args.dir,
            admin: args.envoy_admin,
            concurrency: args.concurrency,
            log_level: args.envoy_log_level,
            source: args.source,
        },
        health: at(args.health, env::HEALTH_PORT),
        probes_at: at(args.probes, env::PROBE_PORT),
        probes: Probes::parse(&args.probes_json).context(env::PROBES)?,
        drain: Duration::from_secs(args.drain_seconds),
    };
    diolkos_sidecar::run(settings, shutdown).await?;
    Ok(())
}

fn claims(args: &SidecarArgs) -> anyhow::Result<BTreeMap<String, String>> {
    let claim = |pair: &String| {
        pair.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .with_context(|| format!("--metadata {pair:?} is not KEY=VALUE"))
    };
    args.metadata.iter().map(claim).collect()
}

/// Flags of `diolkos redirect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RedirectArgs {
    /// Ports whose incoming connections are left alone, with commas between
    #[arg(long, value_name = "PORTS", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..))]
    exclude_inbound_ports: Vec<u16>,
    /// Ports that connections may be made to without the mesh, with commas between
    #[arg(long, value_name = "PORTS", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..))]
    exclude_outbound_ports: Vec<u16>,
    /// Address ranges that connections may be made to without the mesh, with commas between
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    exclude_outbound_ranges: Vec<IpNet>,
    /// The user that Envoy runs as, whose traffic is left alone
    #[arg(long, value_name = "UID", default_value_t = env::PROXY_UID)]
    proxy_uid: u32,
    /// Where Envoy takes outgoing connections
    #[arg(long, value_name = "PORT", default_value_t = env::OUTBOUND_PORT,
          value_parser = clap::value_parser!(u16).range(1..))]
    outbound_port: u16,
    /// Where Envoy takes incoming connections
    #[arg(long, value_name = "PORT", default_value_t = env::INBOUND_PORT,
          value_parser = clap::value_parser!(u16).range(1..))]
    inbound_port: u16,
    /// The nft to run: a path, or a name to look up in PATH
    #[arg(long, env = "DIOLKOS_NFT", default_value = "nft")]
    nft: PathBuf,
    /// Only verify that the rules are in place
    #[arg(long, conflicts_with = "undo")]
    check: bool,
    /// Take the rules away
    #[arg(long)]
    undo: bool,
    /// Print the rules and change nothing
    #[arg(long, conflicts_with_all = ["check", "undo"])]
    print: bool,
}

pub(crate) fn redirect(args: RedirectArgs) -> anyhow::Result<()> {
    for (flag, ports) in [
        ("--exclude-inbound-ports", &args.exclude_inbound_ports),
        ("--exclude-outbound-ports", &args.exclude_outbound_ports),
    ] {
        if ports.len() > diolkos_inject::limit::EXCLUDED_PORTS_MAX {
            bail!("{flag} lists {} ports, more than are taken", ports.len());
        }
    }
    if let Some(range) = args.exclude_outbound_ranges.iter().find(|it| it.trunc() != **it) {
        bail!(
            "--exclude-outbound-ranges: {range} is not the start of a range; write {}",
            range.trunc()
        );
    }
    let nft = Nft(args.nft);
    let settings = RedirectSettings {
        outbound_port: args.outbound_port,
        inbound_port: args.inbound_port,
        uid: args.proxy_uid,
        exclude_inbound_ports: args.exclude_inbound_ports,
        exclude_outbound_ports: args.exclude_outbound_ports,
        exclude_outbound_ranges: args.exclude_outbound_ranges,
    };
    if args.print {
        print!("{}", redirect::ruleset(&settings));
    } else if args.undo {
        redirect::undo(&nft)?;
    } else if args.check {
        redirect::check(&settings, &nft)?;
        println!("this pod's traffic is redirected");
    } else {
        redirect::apply(&settings, &nft)?;
        tracing::info!("this pod's traffic is redirected to its Envoy");
    }
    Ok(())
}
