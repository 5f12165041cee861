//! `diolkos remote-secret`: what lets a primary read another cluster, on standard output.

mod lifetime;
mod make;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use diolkos_deploy::{Grants, RemoteSecret, names, to_yaml};
use diolkos_facts::remote::AllowedRanges;
use diolkos_topology::{ClusterId, Namespace};
use ipnet::IpNet;

use crate::api::{Cluster, ClusterArgs};
use crate::exit::Usage;
use lifetime::Lifetime;
pub(crate) use make::{Made, Reader, create_reader, make};

/// Certificates of one API server.
const ROOTS_BYTES_MAX: u64 = 256 * 1024;

/// Flags of `diolkos remote-secret`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoteSecretArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Print the Secret that lets the primaries of other clusters read this one
    Create(Box<CreateArgs>),
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The cluster's name in the mesh
    #[arg(long, value_name = "CLUSTER")]
    name: String,
    /// Where the primaries look for the Secret
    #[arg(long, value_name = "NAME", default_value = names::SYSTEM_NAMESPACE)]
    namespace: String,
    /// The Secret's own name [default: istio-remote-secret-CLUSTER]
    #[arg(long, value_name = "NAME")]
    secret_name: Option<String>,
    /// By which account the cluster is read; Istio's is istio-reader-service-account
    #[arg(long, value_name = "NAME", default_value = names::READER)]
    reader_account: String,
    /// Where that account is, in the cluster [default: as --namespace]
    #[arg(long, value_name = "NAME")]
    reader_namespace: Option<String>,
    /// Make the account, or bring its rights up to date, before asking for its token
    #[arg(long)]
    create_reader: bool,
    /// For how long the token is good, such as 12h or 90d
    #[arg(long, value_name = "TIME", default_value = "90d")]
    lifetime: Lifetime,
    /// Where the primaries reach the API server, if not where the kubeconfig says
    #[arg(long, value_name = "https://HOST:PORT")]
    server: Option<String>,
    /// The name in the API server's certificate, if not its host
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// What vouches for the API server, if not what the kubeconfig says
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// A reserved range (loopback, link-local) that the primaries were told to allow
    #[arg(long, value_name = "RANGE")]
    allow_cidr: Vec<IpNet>,
    #[command(flatten)]
    grants: GrantArgs,
}

/// Each narrows what the cluster may claim.
#[derive(Args, Clone, Debug)]
struct GrantArgs {
    /// Which services it may have, as "shop/*, pay/api" [default: all but the reserved ones]
    #[arg(long, value_name = "PATTERNS")]
    services: Option<String>,
    /// Which identities its endpoints may show, as "shop/*" [default: all but the reserved ones]
    #[arg(long, value_name = "PATTERNS")]
    identities: Option<String>,
    /// Where its pods and gateways may be, as "10.20.0.0/16, fd00:20::/64" [default: anywhere]
    #[arg(long, value_name = "RANGES")]
    addresses: Option<String>,
    /// On which networks it may be, as "west" [default: on any; gateways into its own]
    #[arg(long, value_name = "NETWORKS")]
    networks: Option<String>,
    /// Whose its identities are [default: the mesh's]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
}

pub(crate) async fn run(args: RemoteSecretArgs) -> anyhow::Result<()> {
    let Verb::Create(args) = args.verb;
    create(*args).await
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let reader = reader(&args).map_err(Usage::of)?;
    let cluster = args.cluster.cluster().await?;
    let draft = draft(&args, &cluster).map_err(Usage::of)?;
    let allowed = AllowedRanges(args.allow_cidr);
    let of_cluster = || format!("context {}", cluster.context);
    if args.create_reader {
        create_reader(&cluster.client, &reader).await.with_context(of_cluster)?;
    }
    let made = make(&cluster.client, &reader, draft, &allowed).await.with_context(of_cluster)?;
    let text = format!("# Holds a credential of cluster {}.\n{}", args.name, made.text());
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    let less = match made.is_cut_short(&reader, SystemTime::now()) {
        true => " (the API server gives it for less than was asked)",
        false => "",
    };
    eprintln!("the token of {reader} ends at {}{less}; create the secret anew before", made.ends.0);
    Ok(())
}

impl Made {
    /// By more than the clocks of two machines may differ.
    fn is_cut_short(&self, reader: &Reader, now: SystemTime) -> bool {
        let wanted = now + reader.lifetime;
        let lost = wanted.duration_since(SystemTime::from(self.ends.0)).unwrap_or_default();
        lost > reader.lifetime / 10
    }

    /// As YAML.
    pub(crate) fn text(&self) -> String {
        to_yaml(&[self.secret.object()])
    }
}

fn reader(args: &CreateArgs) -> anyhow::Result<Reader> {
    let namespace = args.reader_namespace.as_deref().unwrap_or(&args.namespace);
    let account = &args.reader_account;
    if !is_object_name(account) {
        return Err(anyhow!("--reader-account {account:?} is no name of a service account"));
    }
    Ok(Reader {
        namespace: Namespace::new(namespace).context("--reader-namespace")?,
        account: account.clone(),
        lifetime: args.lifetime.into(),
    })
}

/// All but the token.
fn draft(args: &CreateArgs, cluster: &Cluster) -> anyhow::Result<RemoteSecret> {
    let name = ClusterId::new(&args.name).context("--name")?;
    let secret_name = args.secret_name.clone().unwrap_or_else(|| RemoteSecret::usual_name(&name));
    if !is_object_name(&secret_name) {
        return Err(anyhow!(
            "{secret_name:?} is no name of a Secret; give --secret-name, of lower-case letters, \
             digits, '-' and '.'"
        ));
    }
    let roots = match &args.certificate_authority {
        Some(path) => Some(read_roots(path)?),
        None => cluster.roots.clone(),
    };
    let GrantArgs { services, identities, addresses, networks, trust_domain } = args.grants.clone();
    Ok(RemoteSecret {
        cluster: name,
        namespace: Namespace::new(&args.namespace).context("--namespace")?,
        name: secret_name,
        server: args.server.clone().unwrap_or_else(|| cluster.server.to_string()),
        roots: roots.context(
            "the kubeconfig names no certificate authority of the API server; give \
             --certificate-authority",
        )?,
        tls_server_name: args.tls_server_name.clone().or_else(|| cluster.tls_server_name.clone()),
        token: String::new(),
        grants: Grants { services, identities, addresses, networks, trust_domain },
    })
}

fn read_roots(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if size > ROOTS_BYTES_MAX {
        return Err(anyhow!("{shown} has {size} bytes, at most {ROOTS_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))
}

/// As Kubernetes has it: labels of lower-case letters, digits and hyphens, with dots between.
fn is_object_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}
