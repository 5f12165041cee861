//! `diolkos topology`: real clusters on this machine, for tests and for looking around.

mod fault;
mod givers;
mod parts;
mod show;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use diolkos_kind_tests::{State, StateRoot, Streams, Tools, Up, Wanted};
use diolkos_ops::{Shutdown, printable};

/// Flags of `diolkos topology`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopologyArgs {
    /// Folder that holds one folder per topology
    #[arg(long, global = true, value_name = "FOLDER", default_value = diolkos_kind_tests::DEFAULT_ROOT)]
    state_root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Show the topologies that can be brought up
    List,
    /// Bring a topology up: progress to standard error, its kubeconfig to standard output
    Up(UpArgs),
    /// Show what runs, and whether it is ready
    Status(StatusArgs),
    /// Take a topology down, also after a crash; nothing is left of it
    Down(DownArgs),
    /// Run a program in a cluster's network, or in one of its pods
    Exec(ExecArgs),
    /// Break something in a chosen way, and heal it
    Fault(fault::FaultArgs),
    /// Save the store of a cluster to a file, for `fault restore-etcd`
    Snapshot(SnapshotArgs),
    /// Apply manifests to a cluster
    Apply(ApplyArgs),
    /// Print the kubeconfig, one context per cluster
    Kubeconfig(NameArgs),
    /// Print what would be made of a topology
    Plan(PlanArgs),
    /// Print who must reach whom, by which way
    Matrix(MatrixArgs),
    /// Write what kind needs for a topology, and scripts that use it
    Kind(KindArgs),
    #[command(hide = true)]
    Init(StateArgs),
    #[command(hide = true)]
    Supervise(StateArgs),
}

#[derive(Args, Clone, Debug)]
struct NameArgs {
    /// Which topology, where several are up
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct UpArgs {
    /// A topology's name, or a file: ours in YAML, Istio's in JSON
    topology: String,
    /// What to call it, to have the same topology twice
    #[arg(long)]
    name: Option<String>,
    /// How clusters are made
    #[arg(long, value_enum, default_value_t = Provider::Auto)]
    provider: Provider,
    #[command(flatten)]
    tools: ToolArgs,
    /// Leave what came up where not all did
    #[arg(long)]
    retain: bool,
}

#[derive(Args, Clone, Debug)]
struct ToolArgs {
    /// Folder of kube-apiserver, etcd and the others
    #[arg(long, value_name = "FOLDER", env = "DIOLKOS_TOOLS")]
    tools: Option<PathBuf>,
    /// Envoy, for sidecars; else the one on the PATH
    #[arg(long, value_name = "FILE", env = "DIOLKOS_ENVOY")]
    envoy: Option<PathBuf>,
    /// nft; else the one on the PATH
    #[arg(long, value_name = "FILE", env = "DIOLKOS_NFT")]
    nft: Option<PathBuf>,
    /// Folder of custom resource definitions; else `crds` beside the folder of tools
    #[arg(long, value_name = "FOLDER", env = "DIOLKOS_CRDS")]
    crds: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// Network namespaces; kind, where those cannot be made
    Auto,
    /// Network namespaces of this machine
    Netns,
    /// Containers, by kind
    Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
    Text,
}

#[derive(Args, Clone, Debug)]
struct StatusArgs {
    /// Which topology; else all
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args, Clone, Debug)]
struct DownArgs {
    /// Which topology, where several are up
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// All of them
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

#[derive(Args, Clone, Debug)]
struct ExecArgs {
    #[command(flatten)]
    which: NameArgs,
    /// Pass standard input on to a pod
    #[arg(long, short = 'i')]
    stdin: bool,
    cluster: String,
    /// A pod's name or a workload's, as NAMESPACE/NAME; without one the program runs on the node
    #[arg(value_name = "NAMESPACE/POD")]
    pod: Option<String>,
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Args, Clone, Debug)]
struct SnapshotArgs {
    #[command(flatten)]
    which: NameArgs,
    cluster: String,
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct ApplyArgs {
    #[command(flatten)]
    which: NameArgs,
    cluster: String,
    /// YAML; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct PlanArgs {
    /// A topology's name, or a file
    topology: String,
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..8))]
    slot: u8,
}

#[derive(Args, Clone, Debug)]
struct MatrixArgs {
    /// A topology's name, or a file
    topology: String,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args, Clone, Debug)]
struct KindArgs {
    /// A topology's name, or a file
    topology: String,
    /// Folder to write to
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    tools: ToolArgs,
}

#[derive(Args, Clone, Debug)]
struct StateArgs {
    #[arg(long)]
    state: PathBuf,
}

impl TopologyArgs {
    /// What has to be done before there is any other thread, if this is that.
    pub(crate) fn first_process(&self) -> Option<anyhow::Result<i32>> {
        let Verb::Init(args) = &self.verb else { return None };
        Some(init(args))
    }
}

fn init(args: &StateArgs) -> anyhow::Result<i32> {
    let own = std::env::current_exe()?.into_os_string();
    let mut supervisor = vec![own];
    supervisor.extend(["topology", "supervise", "--state"].map(OsString::from));
    supervisor.push(args.state.clone().into_os_string());
    diolkos_kind_tests::init(&supervisor)
}

pub(crate) async fn run(args: TopologyArgs, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    if let Verb::Supervise(args) = &args.verb {
        let folder = args.state.clone();
        let name = folder.file_name().and_then(|name| name.to_str()).context("no name")?.to_owned();
        let state = State { name, folder };
        diolkos_kind_tests::supervise(state, givers::givers(), shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let root = StateRoot::new(Some(&args.state_root))?;
    match args.verb {
        Verb::Init(_) | Verb::Supervise(_) => {}
        Verb::List => show::list(),
        Verb::Up(args) => up(&root, args, shutdown).await?,
        Verb::Status(args) => return show::status(&root, args.name.as_deref(), args.output).await,
        Verb::Down(args) => down(&root, &args)?,
        Verb::Exec(args) => return exec(&root, args).await,
        Verb::Fault(args) => fault::run(&root, args).await?,
        Verb::Snapshot(args) => {
            let state = root.find(args.which.name.as_deref())?;
            let to = std::path::absolute(args.to)?;
            eprintln!("{}", state.save_etcd(&args.cluster, to).await?);
        }
        Verb::Apply(args) => apply(&root, args).await?,
        Verb::Kubeconfig(args) => {
            print!("{}", root.find(args.name.as_deref())?.kubeconfig()?);
        }
        Verb::Plan(args) => show::plan(&args.topology, args.slot)?,
        Verb::Matrix(args) => show::matrix(&args.topology, args.output)?,
        Verb::Kind(args) => kind(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn up(root: &StateRoot, args: UpArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = diolkos_kind_tests::load(&args.topology)?;
    let name = match args.name {
        Some(name) => name,
        None => source.topology.name.to_string(),
    };
    // It becomes a folder's name.
    diolkos_kind_plan::Label::new(&name)?;
    let state = root.state(&name);
    eprintln!("topology {name}: {}", source.topology.summary);
    for pair in &source.topology.not_yet {
        eprintln!("not yet from {} to {}: {}", pair.from, pair.to, pair.because);
    }
    let wanted = args.tools.clone().wanted();
    let diolkos = std::env::current_exe()?;
    match choose(args.provider, &wanted)? {
        Chosen::Kind => {
            let mint = givers::givers().mint;
            diolkos_kind_tests::up_kind(&state, &source, &wanted, &diolkos, &*mint)?;
        }
        Chosen::Netns(tools) => {
            let init = ["topology", "init"].map(OsString::from).to_vec();
            let up = Up { source, tools, diolkos, init, retain: args.retain };
            up_netns(&state, &up, shutdown).await?;
        }
    }
    eprintln!("kubeconfig: {}", state.path("kubeconfig").display());
    std::io::stdout().write_all(state.kubeconfig()?.as_bytes())?;
    Ok(())
}

enum Chosen {
    Netns(Tools),
    Kind,
}

fn choose(provider: Provider, wanted: &Wanted) -> anyhow::Result<Chosen> {
    match provider {
        Provider::Kind => Ok(Chosen::Kind),
        Provider::Netns => Tools::find(wanted).map(Chosen::Netns),
        Provider::Auto => match (Tools::find(wanted), diolkos_kind_tests::kind_is_there()) {
            (Ok(tools), _) => Ok(Chosen::Netns(tools)),
            (Err(_), Ok(())) => Ok(Chosen::Kind),
            (Err(netns), Err(kind)) => bail!("{netns}\nand instead of it, {kind}"),
        },
    }
}

async fn up_netns(state: &State, up: &Up, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut tell = |at: f64, cluster: Option<&str>, says: &str| {
        let whom = cluster.map_or(String::new(), |cluster| format!("{cluster}: "));
        for line in says.lines() {
            eprintln!("{at:>6.1} s  {whom}{}", printable(line));
        }
    };
    let came = tokio::select! {
        came = diolkos_kind_tests::up(state, up, &mut tell) => came,
        () = shutdown.wait() => {
            eprintln!("interrupted, taking it down");
            diolkos_kind_tests::down(state)?;
            bail!("interrupted");
        }
    };
    came.with_context(|| format!("topology {} did not come up", state.name))
}

fn kind(args: KindArgs) -> anyhow::Result<()> {
    let source = diolkos_kind_tests::load(&args.topology)?;
    let (folder, diolkos) = (std::path::absolute(&args.to)?, std::env::current_exe()?);
    let mint = givers::givers().mint;
    diolkos_kind_tests::write_kind(&folder, &source, &args.tools.wanted(), &diolkos, &*mint)?;
    eprintln!("written; where kind and Docker are: {}", folder.join("up.sh").display());
    Ok(())
}

impl ToolArgs {
    fn wanted(self) -> Wanted {
        let Self { tools, envoy, nft, crds } = self;
        Wanted { tools, envoy, nft, crds }
    }
}

fn down(root: &StateRoot, args: &DownArgs) -> anyhow::Result<()> {
    let states = if args.all { root.all() } else { vec![root.find(args.name.as_deref())?] };
    for state in states {
        diolkos_kind_tests::down(&state)?;
        eprintln!("topology {} is down", state.name);
    }
    root.remove_if_empty();
    Ok(())
}

async fn exec(root: &StateRoot, args: ExecArgs) -> anyhow::Result<ExitCode> {
    let state = root.find(args.which.name.as_deref())?;
    let Some(pod) = args.pod else {
        let status = state.enter(&args.cluster, &args.program)?.status()?;
        return Ok(exit_code(status.code().unwrap_or(1)));
    };
    let (namespace, pod) = pod.split_once('/').with_context(|| {
        format!("{pod} names no pod; say NAMESPACE/POD, and the program after --")
    })?;
    let text = |word: &OsString| word.to_str().map(str::to_owned);
    let program: Option<Vec<String>> = args.program.iter().map(text).collect();
    let program = program.context("a program in a pod has a name and arguments of text")?;
    let streams = if args.stdin { Streams::InAndOut } else { Streams::Out };
    let cluster = state.cluster(&args.cluster)?;
    cluster.exec_here(namespace, pod, &program, streams).await.map(exit_code)
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

async fn apply(root: &StateRoot, args: ApplyArgs) -> anyhow::Result<()> {
    let state = root.find(args.which.name.as_deref())?;
    let cluster = state.cluster(&args.cluster)?;
    for path in &args.files {
        let shown = path.display();
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.with_context(|| format!("cannot read {shown}"))?;
        cluster.apply_text(&text).await.with_context(|| shown.to_string())?;
        eprintln!("applied {shown} to {}", cluster.name);
    }
    Ok(())
}
