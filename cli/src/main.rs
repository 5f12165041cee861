//! The one binary: every role, and every word an operator says.

mod admin;
mod api;
mod byte_path;
mod ca;
mod call;
mod certificates;
mod demo;
mod echo;
mod envoy;
mod exit;
mod explain;
mod gateway;
mod kubernetes;
mod leash;
mod listen;
mod manifest;
mod plain;
mod remote_secret;
mod roles;
mod sidecar;
mod status;
mod table;
mod topology;
mod walk;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use diolkos_ops::{LogFormat, Shutdown};
use mimalloc::MiMalloc;

/// Facts and views are many small pieces, which the system's own allocator hands out slowly.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// For roles of which there are many: with huge pages, 10 MiB would be held for 2 that are used. A
/// primary gains by them. What was allocated before stays large, so this comes before anything is,
/// and whoever mentions such a role is taken for one.
fn keep_small(mut words: impl Iterator<Item = OsString>) {
    if words.any(|word| word == "gateway" || word == "sidecar") {
        // Refused, it is as before.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

/// The DNS name that a primary's certificate carries unless told otherwise.
pub(crate) const PRIMARY_NAME: &str = "diolkos-primary.diolkos-system.svc";

/// The name by which clients of Istio's know it.
pub(crate) const ISTIOD_NAME: &str = "istiod.istio-system.svc";

/// A multi-cluster federation mesh with an east-west gateway.
#[derive(Debug, Parser)]
#[command(name = "diolkos", version, arg_required_else_help = true)]
struct Cli {
    /// How to log, to standard error
    #[arg(long, global = true, value_enum, default_value_t = Log::Text)]
    log_format: Log,
    /// What to log: error, warn, info, debug, trace, or a filter such as diolkos_primary=debug
    #[arg(long, global = true, default_value = "info")]
    log_level: String,
    /// End when standard input ends
    #[arg(long, global = true, hide = true)]
    leash: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    Json,
    Text,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run two clusters on this machine and show a request crossing from one to the other
    Demo(demo::DemoArgs),
    /// Run a primary: facts of the clusters in, xDS out
    Primary(Box<roles::PrimaryArgs>),
    /// Run an east-west gateway, or ask one that runs
    Gateway(gateway::GatewayCommand),
    /// Keep a workload's certificate and run the Envoy beside it
    Sidecar(Box<sidecar::SidecarArgs>),
    /// Lead this pod's connections to its Envoy
    Redirect(sidecar::RedirectArgs),
    /// Make the CAs of a mesh
    Ca(ca::CaArgs),
    /// Print the Kubernetes objects that make a cluster part of a mesh
    Manifest(Box<manifest::ManifestArgs>),
    /// Print the Secret that lets primaries read another cluster
    RemoteSecret(remote_secret::RemoteSecretArgs),
    /// Show what a running primary sees, and whom it serves
    Status(Box<status::StatusArgs>),
    /// Say of every endpoint of a service what a client is told of it, and why
    Explain(Box<explain::ExplainArgs>),
    /// Run a server that says who it is and whom it saw
    Echo(echo::EchoArgs),
    /// Call services through the mesh, as a proxy would
    Call(call::CallArgs),
    /// Write the bootstrap that makes a stock Envoy a client of a primary
    Bootstrap(roles::BootstrapArgs),
    /// Bring up real clusters on this machine, break them and take them down
    Topology(topology::TopologyArgs),
    /// Run a program that ends with standard input
    #[command(hide = true)]
    Leash(leash::LeashArgs),
}

fn main() -> ExitCode {
    keep_small(std::env::args_os().skip(1));
    let cli = Cli::parse();
    if let Verb::Topology(args) = &cli.verb
        && let Some(result) = args.first_process()
    {
        return ended(result.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(1))));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli));
    // Whatever still waits (a read of standard input, say) must not hold up the end.
    runtime.shutdown_background();
    ended(result)
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit::code(&error)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let format = match cli.log_format {
        Log::Json => LogFormat::Json,
        Log::Text => LogFormat::Text,
    };
    diolkos_ops::init_logs(format, &cli.log_level)?;
    let (trigger, shutdown) = Shutdown::new();
    trigger.fire_on_signals()?;
    if cli.leash || matches!(cli.verb, Verb::Leash(_)) {
        leash::follow_stdin(trigger.clone());
    }
    let done = match cli.verb {
        Verb::Topology(args) => return topology::run(args, shutdown).await,
        Verb::Status(args) => return status::run(*args).await,
        Verb::Gateway(command) => return gateway::run(command, shutdown).await,
        Verb::Bootstrap(args) => roles::bootstrap(args),
        Verb::Ca(args) => ca::run(args),
        Verb::Call(args) => call::run(args, shutdown).await,
        Verb::Demo(args) => demo::run(args, shutdown).await,
        Verb::Echo(args) => echo::run(args, shutdown).await,
        Verb::Leash(args) => leash::run(args, shutdown).await,
        Verb::Primary(args) => roles::primary(*args, shutdown).await,
        Verb::Redirect(args) => sidecar::redirect(args),
        Verb::Sidecar(args) => sidecar::sidecar(*args, shutdown).await,
        Verb::Manifest(args) => manifest::run(*args),
        Verb::RemoteSecret(args) => remote_secret::run(args).await,
        Verb::Explain(args) => explain::run(*args).await,
    };
    drop(trigger);
    done.map(|()| ExitCode::SUCCESS)
}
