//! `diolkos manifest`: the objects that make a cluster part of a mesh, on standard output.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use diolkos_deploy::limit::VALUES_BYTES_MAX;
use diolkos_deploy::{
    GatewayValues, RemoteValues, RoleValues, Settings, SettingsError, Values, manifest, to_yaml,
};

use crate::exit::Usage;

/// Of this very version, wherever the operator keeps it.
const IMAGE: &str = concat!("diolkos:", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// A primary, in its own cluster
    Primary,
    /// What a cluster without a primary needs to use that of another
    Remote,
    /// An east-west gateway
    Gateway,
    /// Definitions of custom resources that are read, for clusters without Istio
    Crds,
}

/// Flags of `diolkos manifest`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ManifestArgs {
    #[arg(long, value_enum)]
    profile: Profile,
    /// The cluster that the objects are for
    #[arg(long)]
    cluster: Option<String>,
    /// The network that the cluster is on
    #[arg(long)]
    network: Option<String>,
    #[arg(long, value_name = "NAME")]
    mesh_id: Option<String>,
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
    /// Which services are known in other clusters: listed (by a ServiceExport) or all
    #[arg(long, value_name = "listed|all")]
    export: Option<String>,
    /// The mesh's name in the label istio.io/rev, where several share the cluster
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// The system namespace [default: diolkos-system]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[arg(long)]
    image: Option<String>,
    /// Of the profile's Deployment [default: 2]
    #[arg(long)]
    replicas: Option<u32>,
    /// For profile remote: the cluster of the primary
    #[arg(long, value_name = "CLUSTER")]
    primary_cluster: Option<String>,
    /// For profile remote: where the primary is reached, of its gateway most often: addresses (with
    /// commas between, or repeated), or one DNS name
    #[arg(long = "primary-address", value_name = "ADDRESS", value_delimiter = ',')]
    primary_addresses: Vec<String>,
    /// For profile gateway: pass the primary's ports through, for clusters without a primary
    #[arg(long)]
    expose_primary: bool,
    /// For profile gateway: make it the cluster's way out to other networks as well, by tunnels that
    /// prove to their gateways which cluster calls
    #[arg(long)]
    egress: bool,
    /// Settings as YAML; flags go over them
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    values: Option<PathBuf>,
}

pub(crate) fn run(args: ManifestArgs) -> anyhow::Result<()> {
    let file = match &args.values {
        None => Values::default(),
        Some(path) => read(path)?,
    };
    let profile = args.profile.to_possible_value().map(|value| value.get_name().to_owned());
    let settings = flags(args)
        .map(|flags| flags.over(file))
        .and_then(|values| Settings::of(&profile.unwrap_or_default(), IMAGE, values))
        .map_err(Usage::of)?;
    let text = to_yaml(&manifest(&settings));
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn flags(args: ManifestArgs) -> Result<Values, SettingsError> {
    let replicas = args.replicas;
    if replicas.is_some() && !matches!(args.profile, Profile::Primary | Profile::Gateway) {
        let profile = if args.profile == Profile::Crds { "crds" } else { "remote" };
        return Err(SettingsError::Unused { flag: "--replicas", profile });
    }
    Ok(Values {
        cluster: args.cluster,
        network: args.network,
        mesh_id: args.mesh_id,
        trust_domain: args.trust_domain,
        export: args.export,
        revision: args.revision,
        namespace: args.namespace,
        image: args.image,
        primary: RoleValues { replicas, ..RoleValues::default() },
        gateway: GatewayValues {
            replicas,
            expose_primary: args.expose_primary.then_some(true),
            egress: args.egress.then_some(true),
            ..GatewayValues::default()
        },
        remote: RemoteValues {
            primary_cluster: args.primary_cluster,
            primary_addresses: args.primary_addresses,
        },
        ..Values::default()
    })
}

fn read(path: &Path) -> anyhow::Result<Values> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    // One byte more than is taken, so that it is told apart.
    file.take(VALUES_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    Values::parse(&text).map_err(Usage::of).with_context(|| shown.to_string())
}
