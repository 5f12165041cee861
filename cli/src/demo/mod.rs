//! `diolkos demo`: two clusters on two networks, on this machine, in real processes.

mod cast;
mod children;
mod ground;
mod plan;
mod refusals;
mod report;
mod story;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use diolkos_ops::Shutdown;

use self::cast::{Cast, Stock};
use self::ground::Ground;
use self::plan::Plan;
use self::report::Report;
use self::story::Story;
use crate::call::Output;

/// Flags of `diolkos demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// What stands beside each client
    #[arg(long, value_enum, default_value_t = Part::Diolkos)]
    pub(crate) proxy: Part,
    /// What stands between the networks
    #[arg(long, value_enum, default_value_t = Part::Diolkos)]
    pub(crate) gateway: Part,
    /// The Envoy to run [default: the one in .tools, then the one on the path]
    #[arg(long, value_name = "FILE")]
    pub(crate) envoy_bin: Option<PathBuf>,
    /// Leave everything running until interrupted
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where manifests, certificates and logs go [default: a new folder, removed afterwards]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Diolkos,
    Envoy,
}

pub(crate) async fn run(args: DemoArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the demo needs Linux: it gives each cluster a loopback range of its own");
    }
    let began = Instant::now();
    let stock = stock(&args)?;
    let (dir, temporary) = match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            (dir.canonicalize()?, None)
        }
        None => {
            let temporary = ground::default_dir()?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    let (plan, _claim) = Plan::claim()?;
    let ground = Ground::lay(dir, plan)?;
    let mut report = Report::default();
    let mut cast = Cast::start(&ground, &stock).await?;
    let mut story = Story::new(&ground, &stock, &mut report);
    story.places();
    let told = tokio::select! {
        told = tokio::time::timeout(LENGTH_MAX, story.tell(&mut cast)) => {
            told.unwrap_or_else(|_| bail!("the demo was not over after {LENGTH_MAX:?}"))
        }
        () = shutdown.wait() => bail!("interrupted"),
    };
    if let Err(error) = told {
        report.fault(format!("{error:#}"));
    }
    if let Err(error) = cast.alive() {
        report.fault(format!("{error:#}"));
    }
    report.seconds = began.elapsed().as_secs_f64();
    story::closing(&report);
    if args.output == Output::Json {
        println!("{}", serde_json::to_string(&report)?);
    }
    if args.keep {
        story::commands(&ground, &stock);
        shutdown.wait().await;
    }
    cast.end().await;
    if !report.faults.is_empty() {
        // What went wrong is in the logs: leave them.
        if let Some(kept) = temporary {
            eprintln!("logs and manifests are left in {}", kept.keep().display());
        }
        bail!("the demo failed: {}", report.faults.join("; "));
    }
    Ok(())
}

fn stock(args: &DemoArgs) -> anyhow::Result<Stock> {
    if args.proxy == Part::Diolkos && args.gateway == Part::Diolkos {
        return Ok(Stock::default());
    }
    let envoy = crate::envoy::find(args.envoy_bin.as_deref())?;
    let chosen = |part| (part == Part::Envoy).then(|| envoy.clone());
    Ok(Stock { gateway: chosen(args.gateway), proxy: chosen(args.proxy) })
}

const LENGTH_MAX: Duration = Duration::from_secs(110);
