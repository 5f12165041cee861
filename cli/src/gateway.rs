//! Flags of `diolkos gateway`: with a folder of certificates, or in a cluster with a token; on a
//! primary, or on an istiod.

mod command;
mod istio;
mod sni;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use diolkos_eastwest_gw::limit::CONTROL_PORTS_MAX;
use diolkos_eastwest_gw::{
    ControlPlane, ControlPort, EgressLimits, EgressSettings, GatewaySettings, OwnIdentity,
};
use diolkos_inject::env;
use diolkos_ops::Shutdown;
use diolkos_route::HostName;
use diolkos_tls::{Identity, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_client::{CertificateSettings, ISTIOD_AUDIENCE, PRIMARY_AUDIENCE, PrimaryName};
use diolkos_xds_client::{Backoff, NodeClaims};
use tokio::task::JoinHandle;

pub(crate) use command::GatewayCommand;
use istio::LabelArg;

/// Asked for; the CA may give less.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The trust domain, where nobody says.
const USUAL_DOMAIN: &str = "cluster.local";

/// Flags of `diolkos gateway`. In a pod the manifest sets flags and environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// The primary's name, or address, and port
    #[arg(long, value_name = "NAME:PORT", env = env::PRIMARY, required_unless_present = "istiod")]
    primary: Option<PrimaryName>,
    /// Take the routes from an istiod, in the place of Istio's own east-west gateway; what no flag
    /// says, the environment and the files of such a gateway's pod do
    #[arg(long, value_name = "NAME:PORT", conflicts_with = "primary")]
    istiod: Option<PrimaryName>,
    /// The DNS name in the primary's certificate; default: the name that is dialled, and where that
    /// is an address, diolkos-primary.diolkos-system.svc or istiod.istio-system.svc
    #[arg(long, value_name = "DNS")]
    primary_name: Option<String>,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["token", "istiod"])]
    identity: Option<PathBuf>,
    /// Ask the primary for a certificate instead, by this projected service-account token
    #[arg(long, value_name = "FILE", conflicts_with = "identity",
          requires_all = ["roots", "namespace", "service_account"])]
    token: Option<PathBuf>,
    /// With --token: the roots that the primary is verified against
    #[arg(long, value_name = "FILE", requires = "token")]
    roots: Option<PathBuf>,
    /// With --istiod: show it the token itself and ask for no certificate, where another CA than the
    /// istiod's own issues them
    #[arg(long, requires = "istiod", conflicts_with = "identity")]
    token_only: bool,
    /// With --token: the pod's own
    #[arg(long, env = env::NAMESPACE)]
    namespace: Option<String>,
    /// With --token: the pod's own
    #[arg(long, env = env::SERVICE_ACCOUNT)]
    service_account: Option<String>,
    /// Default: cluster.local
    #[arg(long, env = env::TRUST_DOMAIN)]
    trust_domain: Option<String>,
    #[arg(long, env = env::CLUSTER_DOMAIN, default_value = "cluster.local")]
    cluster_domain: String,
    /// The cluster this gateway runs in
    #[arg(long, env = env::CLUSTER, required_unless_present = "istiod")]
    cluster: Option<String>,
    /// The network it is the gateway of; default: what the facts say
    #[arg(long, env = env::NETWORK)]
    network: Option<String>,
    /// With --istiod: the networks whose endpoints it is told of; default: its own
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', requires = "istiod")]
    network_view: Vec<String>,
    /// With --istiod: a label of the pod, by which Gateways select it (repeatable); default:
    /// istio=eastwestgateway
    #[arg(long, value_name = "KEY=VALUE", requires = "istiod")]
    label: Vec<LabelArg>,
    /// With --istiod: the pod's labels, as the downward API writes them; default:
    /// /etc/istio/pod/labels where it is there
    #[arg(long, value_name = "FILE", requires = "istiod")]
    labels: Option<PathBuf>,
    #[arg(long, env = env::POD)]
    pod: String,
    /// Its own addresses, with commas between; it listens on the first, on the port its primary says
    #[arg(long = "ip", value_name = "ADDRESS", env = env::POD_IPS, value_delimiter = ',',
          required_unless_present = "istiod")]
    ips: Vec<IpAddr>,
    /// Where to listen, whatever the primary says; *:PORT is every address of both IP families
    #[arg(long, value_name = "ADDRESS", value_parser = crate::listen::address)]
    listen: Option<SocketAddr>,
    /// End tunnels (HBONE) here and let each cluster to what is exported to it; usual is *:15008.
    /// Not with --istiod, which does not say what is exported to whom
    #[arg(long, value_name = "ADDRESS", value_parser = crate::listen::address,
          conflicts_with = "istiod")]
    hbone: Option<SocketAddr>,
    /// Be the way out for this cluster: sidecars that dial this address are led to gateways of other
    /// networks, by tunnels that prove the cluster; usual is *:15444. Not with --istiod
    #[arg(long, value_name = "ADDRESS", value_parser = crate::listen::address,
          conflicts_with = "istiod")]
    egress: Option<SocketAddr>,
    /// With --egress: whom gateways of other networks may be (repeatable); default: the gateway's own
    /// id
    #[arg(long, value_name = "SPIFFE-ID", value_parser = SpiffeId::parse, requires = "egress")]
    egress_gateway_id: Vec<SpiffeId>,
    /// Pass a port of the primary's through, for clusters without a primary, as
    /// 15012=diolkos-primary.diolkos-system.svc:15012 (commas between, or repeated)
    #[arg(long, value_name = "PORT=HOST:PORT", value_delimiter = ',')]
    control: Vec<ControlArg>,
    /// By which names clients may ask for the primary there (repeatable)
    #[arg(long = "control-name", value_name = "DNS", requires = "control",
          default_values = [crate::PRIMARY_NAME, crate::ISTIOD_NAME])]
    control_names: Vec<String>,
    /// Dial from this address
    #[arg(long)]
    source: Option<IpAddr>,
    /// Where /healthz/ready, /healthz and /metrics answer whoever asks
    #[arg(long, value_name = "ADDRESS", value_parser = crate::listen::address)]
    health: Option<SocketAddr>,
    /// Where /ready, /metrics and /debug answer (loopback)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// How long connections may live on after the gateway was told to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u64,
    #[command(flatten)]
    path: crate::byte_path::BytePathArgs,
}

pub(crate) async fn run(command: GatewayCommand, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    match command {
        GatewayCommand::Sni(args) => sni::run(args).await,
        GatewayCommand::Run(args) => serve(*args, shutdown).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn serve(args: GatewayArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let environment = istio::environment();
    let (args, control_plane) = match args.istiod.is_some() {
        true => (istio::complete(args, &environment)?, ControlPlane::Istiod),
        false => (args, ControlPlane::Primary),
    };
    let primary = primary(&args)?;
    let Own { id, identity, reload } = own(&args, &primary)?;
    let node = match control_plane {
        ControlPlane::Primary => node(&args, &id)?,
        ControlPlane::Istiod => istio::node(&args, &id, &environment)?,
    };
    // The ports stand together: where data comes in, the primary's ports do too.
    let ip = args.listen.map_or(args.ips[0], |listen| listen.ip());
    let settings = GatewaySettings {
        listen: args.listen,
        control: control_ports(&args.control, &args.control_names, ip)?,
        hbone: args.hbone,
        egress: egress(&args),
        source: args.source,
        primary,
        control_plane,
        identity,
        node,
        backoff: Backoff::default(),
        health: args.health,
        admin: args.admin,
        limits: args.path.limits(),
        path: args.path.path()?,
        drain: Duration::from_secs(args.drain_seconds),
    };
    let ended = diolkos_eastwest_gw::run(settings, shutdown).await;
    if let Some(reload) = reload {
        reload.abort();
    }
    Ok(ended?)
}

fn egress(args: &GatewayArgs) -> Option<EgressSettings> {
    args.egress.map(|listen| EgressSettings {
        listen,
        gateways: args.egress_gateway_id.clone(),
        limits: EgressLimits::default(),
    })
}

/// The control plane, whichever it is.
fn primary(args: &GatewayArgs) -> anyhow::Result<PrimaryName> {
    let (named, usual) = match &args.istiod {
        Some(istiod) => (Some(istiod), crate::ISTIOD_NAME),
        None => (args.primary.as_ref(), crate::PRIMARY_NAME),
    };
    let place = named.context("one of --primary and --istiod is needed")?.place.clone();
    let by_address = place.host.parse::<IpAddr>().is_ok();
    let usual = by_address.then(|| usual.to_owned());
    Ok(PrimaryName { place, server: args.primary_name.clone().or(usual) })
}

/// Who the gateway is, and what follows its folder.
struct Own {
    id: SpiffeId,
    identity: OwnIdentity,
    reload: Option<JoinHandle<()>>,
}

fn own(args: &GatewayArgs, primary: &PrimaryName) -> anyhow::Result<Own> {
    let trust_domain = args.trust_domain.as_deref().unwrap_or(USUAL_DOMAIN);
    let trust_domain = TrustDomain::new(trust_domain)?;
    let asked = (&args.token, &args.roots, &args.namespace, &args.service_account);
    if let (Some(token), Some(roots), Some(namespace), Some(account)) = asked {
        let id = SpiffeId::workload(&trust_domain, namespace, account)?;
        if args.token_only {
            let (token_file, root_file) = (token.clone(), roots.clone());
            let identity = OwnIdentity::Token { token_file, root_file, trust_domain };
            return Ok(Own { id, identity, reload: None });
        }
        let audience = if args.istiod.is_some() { ISTIOD_AUDIENCE } else { PRIMARY_AUDIENCE };
        let identity = OwnIdentity::Issued(CertificateSettings {
            primary: primary.clone(),
            token_file: token.clone(),
            root_file: roots.clone(),
            id: id.clone(),
            cluster: args.cluster.clone().unwrap_or_default(),
            ttl: CERTIFICATE_LIFE,
            audience,
        });
        return Ok(Own { id, identity, reload: None });
    }
    let dir: &Path = args.identity.as_deref().context("one of --identity and --token is needed")?;
    let (identity, roots) = (Identity::load(dir)?, Roots::load(dir, &trust_domain)?);
    let reload = diolkos_tls::spawn_reload(identity.clone(), roots.clone(), dir.to_owned());
    let id = identity.spiffe_id();
    Ok(Own { id, identity: OwnIdentity::Live { identity, roots }, reload: Some(reload) })
}

fn node(args: &GatewayArgs, id: &SpiffeId) -> anyhow::Result<NodeClaims> {
    let name = id
        .workload_name()
        .with_context(|| format!("identity {id} is not a workload's: /ns/NAMESPACE/sa/ACCOUNT"))?;
    let mut extra = BTreeMap::new();
    if args.listen.is_none() {
        extra.insert("BIND_TO_INSTANCE_IP".to_owned(), "true".to_owned());
    }
    if let Some(hbone) = args.hbone {
        extra.insert("HBONE_PORT".to_owned(), hbone.port().to_string());
    }
    if args.ips.len() > 1 {
        let all: Vec<String> = args.ips.iter().map(IpAddr::to_string).collect();
        extra.insert("INSTANCE_IPS".to_owned(), all.join(","));
    }
    Ok(NodeClaims {
        kind: "router".into(),
        ip: args.ips[0],
        pod: args.pod.clone(),
        namespace: name.namespace.to_owned(),
        domain: args.cluster_domain.clone(),
        cluster: args.cluster.clone().unwrap_or_default(),
        network: args.network.clone().filter(|network| !network.is_empty()),
        service_account: Some(name.service_account.to_owned()),
        labels: BTreeMap::new(),
        extra,
    })
}

/// `15012=primary.example:15012`: the port to listen on, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ControlArg {
    port: u16,
    host: String,
    host_port: u16,
}

impl FromStr for ControlArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
            let (port, target) = text.split_once('=')?;
            let (host, host_port) = target.rsplit_once(':')?;
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = bare.unwrap_or(host);
            let (port, host_port) = (number(port)?, number(host_port)?);
            (!host.is_empty() && !host.contains('=')).then(|| Self {
                port,
                host: host.into(),
                host_port,
            })
        };
        read().ok_or_else(|| {
            format!("{text:?} is not PORT=HOST:PORT, such as 15012={}:15012", crate::PRIMARY_NAME)
        })
    }
}

fn control_ports(
    args: &[ControlArg],
    names: &[String],
    ip: IpAddr,
) -> anyhow::Result<Vec<ControlPort>> {
    if args.len() > CONTROL_PORTS_MAX {
        bail!(
            "--control names {} ports, at most {CONTROL_PORTS_MAX} are passed through",
            args.len()
        );
    }
    let name = |name: &String| {
        let read = HostName::new(name.as_bytes());
        read.map_err(|why| anyhow!("--control-name {name:?}: {why}; use a DNS name"))
    };
    let names: Vec<HostName> = names.iter().map(name).collect::<Result<_, _>>()?;
    let port = |arg: &ControlArg| ControlPort {
        listen: SocketAddr::new(ip, arg.port),
        names: names.clone(),
        host: arg.host.clone(),
        port: arg.host_port,
    };
    Ok(args.iter().map(port).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    fn parsed(args: &[&str]) -> Result<GatewayArgs, String> {
        let everyones = ["gateway", "--cluster", "west", "--pod", "eastwest-1"];
        let parsed = Cli::try_parse_from(everyones.iter().chain(args));
        parsed.map(|cli| cli.gateway).map_err(|error| error.to_string())
    }

    const IN_A_POD: [&str; 8] = [
        "--token=token",
        "--roots=roots",
        "--namespace=diolkos-system",
        "--service-account=diolkos-eastwestgateway",
        "--ip=10.1.2.3,fd00::3",
        "--network=south",
        "--listen=*:15443",
        "--control=15012=diolkos-primary.mesh.svc:15012",
    ];

    #[test]
    fn in_a_pod_it_asks_the_primary_that_it_dials_for_a_certificate() {
        let mut args = IN_A_POD.to_vec();
        args.push("--primary=diolkos-primary.mesh.svc:15012");
        let args = parsed(&args).unwrap();
        let primary = primary(&args).unwrap();
        assert_eq!(primary.server(), "diolkos-primary.mesh.svc");
        let own = own(&args, &primary).unwrap();
        let OwnIdentity::Issued(settings) = own.identity else { panic!("{:?}", own.identity) };
        let id = "spiffe://cluster.local/ns/diolkos-system/sa/diolkos-eastwestgateway";
        assert_eq!(settings.id.to_string(), id);
        let node = node(&args, &settings.id).unwrap();
        assert_eq!(node.network.as_deref(), Some("south"));
        let metadata = node.metadata();
        assert_eq!(metadata["INSTANCE_IPS"], "10.1.2.3,fd00::3");
        assert!(!metadata.contains_key("BIND_TO_INSTANCE_IP"), "it was told where to listen");
    }

    #[test]
    fn the_way_out_is_led_to_gateways_of_its_own_id_unless_told_otherwise() {
        let mut args = IN_A_POD.to_vec();
        args.extend(["--primary=diolkos-primary.mesh.svc:15012", "--hbone=*:15008"]);
        assert!(egress(&parsed(&args).unwrap()).is_none());
        let id = "spiffe://cluster.local/ns/other/sa/eastwest";
        let named = format!("--egress-gateway-id={id}");
        let told = parsed(&[&args[..], &[&named]].concat()).unwrap_err();
        assert!(told.contains("--egress <ADDRESS>"), "{told}");
        args.push("--egress=*:15444");
        let usual = egress(&parsed(&args).unwrap()).unwrap();
        assert_eq!((usual.listen.port(), usual.gateways.len()), (15444, 0));
        args.push(&named);
        let named = egress(&parsed(&args).unwrap()).unwrap();
        assert_eq!(named.gateways, [SpiffeId::parse(id).unwrap()]);
        let istiod = ["--istiod=istiod.istio-system.svc:15012", "--egress=*:15444"];
        assert!(parsed(&istiod).unwrap_err().contains("--egress <ADDRESS>"));
    }

    /// The environment of its pods stands here as flags.
    const ENVIRONMENT: [&str; 6] = [
        "--ip=10.1.2.3",
        "--namespace=diolkos-system",
        "--service-account=diolkos-eastwestgateway",
        "--network=south",
        "--trust-domain=cluster.local",
        "--cluster-domain=cluster.local",
    ];

    #[test]
    fn what_its_manifests_say_is_understood() {
        for (manifest, controls) in [
            (include_str!("../../deploy/testdata/gateway.yaml"), 0),
            (include_str!("../../deploy/testdata/gateway-of-a-primary.yaml"), 2),
        ] {
            let (_, args) = manifest.split_once("        args:\n        - gateway\n").unwrap();
            let flags = args.lines().map_while(|line| line.strip_prefix("        - "));
            let args: Vec<&str> = flags.chain(ENVIRONMENT).collect();
            let args = parsed(&args).unwrap();
            let primary = primary(&args).unwrap();
            assert_eq!(primary.to_string(), "diolkos-primary.diolkos-system.svc:15012");
            assert!(matches!(own(&args, &primary).unwrap().identity, OwnIdentity::Issued(_)));
            let everywhere = args.listen.unwrap();
            assert_eq!(everywhere.to_string(), "[::]:15443");
            assert_eq!(args.hbone.unwrap().to_string(), "[::]:15008");
            assert_eq!(args.health.unwrap().to_string(), "[::]:15021");
            let ports = control_ports(&args.control, &args.control_names, everywhere.ip());
            assert_eq!(ports.unwrap().len(), controls);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let primary = "--primary=127.0.0.1:15012";
        for (args, named) in [
            (vec![primary, "--ip=10.1.2.3"], "--identity <FOLDER>"),
            (vec![primary, "--ip=10.1.2.3", "--token=token"], "--roots <FILE>"),
            (vec![primary, "--ip=10.1.2.3", "--roots=r", "--identity=i"], "--token <FILE>"),
            (vec![primary, "--identity=i"], "--ip <ADDRESS>"),
            (vec!["--ip=10.1.2.3", "--identity=i"], "--primary <NAME:PORT>"),
            (vec!["--primary=diolkos-primary", "--ip=10.1.2.3", "--identity=i"], "NAME:PORT"),
        ] {
            let told = parsed(&args).unwrap_err();
            assert!(told.contains(named), "{args:?}: {told}");
        }
    }

    #[test]
    fn a_primary_by_its_address_has_the_usual_name_unless_told_otherwise() {
        let by = |primary: &str, name: &[&str]| {
            let mut args = vec![primary, "--identity=i", "--ip=10.1.2.3"];
            args.extend(name);
            super::primary(&parsed(&args).unwrap()).unwrap().server().to_owned()
        };
        assert_eq!(by("--primary=127.0.0.1:15012", &[]), crate::PRIMARY_NAME);
        assert_eq!(by("--primary=[fd00::1]:15012", &[]), crate::PRIMARY_NAME);
        assert_eq!(by("--primary=a.test:15012", &[]), "a.test");
        assert_eq!(by("--primary=a.test:15012", &["--primary-name=b.test"]), "b.test");
        assert_eq!(by("--istiod=127.0.0.1:15012", &[]), crate::ISTIOD_NAME);
    }

    #[test]
    fn a_port_that_is_passed_through_is_read_with_its_target() {
        for (text, port, host, host_port) in [
            ("15012=diolkos-primary.diolkos-system.svc:15012", 15012, crate::PRIMARY_NAME, 15012),
            ("15017=10.0.0.1:443", 15017, "10.0.0.1", 443),
            ("1=[fd00::1]:65535", 1, "fd00::1", 65535),
        ] {
            let read: ControlArg = text.parse().unwrap();
            assert_eq!(read, ControlArg { port, host: host.into(), host_port }, "{text}");
        }
        for text in ["", "15012", "15012=a", "=a:1", "0=a:1", "1=a:0", "1=:1", "1=2=a:1", "x=a:1"] {
            assert!(text.parse::<ControlArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn as_many_ports_as_the_limit_and_not_one_more() {
        let ports = |count| {
            let arg: ControlArg = "15012=a:1".parse().unwrap();
            let names = [crate::PRIMARY_NAME, crate::ISTIOD_NAME].map(str::to_owned);
            control_ports(&vec![arg; count], &names, IpAddr::from([10, 0, 0, 1]))
        };
        assert_eq!(ports(CONTROL_PORTS_MAX).unwrap().len(), CONTROL_PORTS_MAX);
        assert!(ports(CONTROL_PORTS_MAX + 1).is_err());
    }
}
