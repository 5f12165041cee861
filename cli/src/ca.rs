//! `diolkos ca`: a mesh's root, and an intermediate of it for each cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use diolkos_trust_service::{
    Authority, CA_CERT_FILE, CA_KEY_FILE, CERT_CHAIN_FILE, ROOT_CERT_FILE, Validity,
};

/// Flags of `diolkos ca`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    verb: CaVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum CaVerb {
    /// Make a mesh's root CA; keep its folder offline, no cluster needs it
    Root(RootArgs),
    /// Make a cluster's CA, as the folder for its Secret `cacerts`
    Intermediate(IntermediateArgs),
}

#[derive(Args, Clone, Debug)]
struct RootArgs {
    /// The folder to make, with ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The root's name: O of every CA certificate of the mesh
    #[arg(long, default_value = "diolkos mesh")]
    name: String,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = days())]
    days: u32,
}

#[derive(Args, Clone, Debug)]
struct IntermediateArgs {
    /// The folder that `ca root` made
    #[arg(long, value_name = "FOLDER")]
    root: PathBuf,
    /// The cluster that will sign with it
    #[arg(long)]
    cluster: String,
    /// The folder to make
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How long it is valid; never longer than the root
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = days())]
    days: u32,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

pub(crate) fn run(args: CaArgs) -> anyhow::Result<()> {
    match args.verb {
        CaVerb::Root(args) => root(&args),
        CaVerb::Intermediate(args) => intermediate(&args),
    }
}

fn root(args: &RootArgs) -> anyhow::Result<()> {
    is_free(&args.out)?;
    let authority = Authority::new_root(&args.name, validity(args.days))?;
    authority.write(&args.out)?;
    println!(
        "{out}: the root {name:?}, valid for {days} days\n{out}/{key} signs for the whole mesh: \
         move the folder to where no cluster and no pipeline can read it",
        out = args.out.display(),
        name = args.name,
        days = args.days,
        key = CA_KEY_FILE,
    );
    Ok(())
}

fn intermediate(args: &IntermediateArgs) -> anyhow::Result<()> {
    is_free(&args.out)?;
    let root = Authority::load(&args.root)
        .with_context(|| format!("{} is no CA to sign with", args.root.display()))?;
    let asked = validity(args.days);
    let authority = root.intermediate(&args.cluster, asked)?;
    authority.write(&args.out)?;
    let out = args.out.display();
    println!("{out}: the CA of cluster {}", args.cluster);
    if authority.not_after() < asked.not_after {
        println!("it ends with its root, sooner than {} days from now", args.days);
    }
    let files = [CA_CERT_FILE, CA_KEY_FILE, CERT_CHAIN_FILE, ROOT_CERT_FILE];
    let from: Vec<String> = files.iter().map(|file| format!("--from-file={out}/{file}")).collect();
    println!(
        "give it to the cluster's primary with\n  kubectl create secret generic cacerts -n \
         diolkos-system {}",
        from.join(" ")
    );
    Ok(())
}

/// A CA is never overwritten: what it signed would be worthless from then on.
fn is_free(out: &Path) -> anyhow::Result<()> {
    let taken = [CA_CERT_FILE, CA_KEY_FILE].into_iter().find(|file| out.join(file).exists());
    if let Some(file) = taken {
        bail!(
            "{} is there already: a CA is not overwritten, name another folder with --out or move \
             it away",
            out.join(file).display()
        );
    }
    Ok(())
}

fn validity(days: u32) -> Validity {
    let now = SystemTime::now();
    let length = Duration::from_secs(u64::from(days) * 24 * 3600);
    Validity { not_before: now, not_after: now + length }
}
