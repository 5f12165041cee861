//! Measurements against goals and peers.
//!
//! ```text
//!  seed ── mesh ──> events ──> core: heap, ingest, one change to its ViewDelta, a cold audience
//!             ├───> folder ──> xds:  a primary in its own process, one change to N TLS streams
//!             └───> API servers ──> control-plane:  diolkos and istiod side by side
//!  clients and a backend ──> gateway:  diolkos, Envoy, HAProxy and nginx side by side
//!             └────────────> hbone:  diolkos and Envoy side by side
//! ```
//!
//! A goal that is missed is printed as missed; nothing is left out because it looks bad. Every
//! report names the machine, and what was recorded elsewhere is labelled so.

mod ads;
mod clock;
mod control;
mod core;
mod gateway;
mod goal;
mod hbone;
mod machine;
mod memory;
mod mesh;
mod netns;
mod process;
mod report;
mod stats;
mod xds;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::report::Report;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measure diolkos against its goals and its peers")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The federation alone: memory, ingest, and the cost of one change
    Core {
        #[command(flatten)]
        settings: core::Settings,
        #[command(flatten)]
        output: Output,
    },
    /// A primary and its clients: one change to every delta stream
    Xds {
        #[command(flatten)]
        settings: xds::Settings,
        #[command(flatten)]
        output: Output,
    },
    /// diolkos and istiod in turn, on the same real API servers
    ControlPlane {
        #[command(flatten)]
        settings: control::Settings,
        #[command(flatten)]
        output: Output,
    },
    /// Who passes connections on by SNI: diolkos, Envoy, HAProxy and nginx, on the same core
    Gateway {
        #[command(flatten)]
        settings: gateway::Settings,
        #[command(flatten)]
        output: Output,
    },
    /// Who ends outer tunnels: diolkos and Envoy, on the same core
    Hbone {
        #[command(flatten)]
        settings: hbone::Settings,
        #[command(flatten)]
        output: Output,
    },
    /// The primary that `xds` measures
    #[command(hide = true)]
    Serve(xds::ServeSettings),
}

#[derive(Debug, clap::Args)]
struct Output {
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    /// Also write the report to bench/results, as Markdown and JSON, under today's date
    #[arg(long)]
    save: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Text,
}

fn main() -> ExitCode {
    match run(Arguments::parse().bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Core { settings, output } => output.print(&core::run(&settings)?),
        Bench::Xds { settings, output } => output.print(&xds::run(&settings)?),
        Bench::ControlPlane { settings, output } => output.print(&control::run(&settings)?),
        Bench::Gateway { settings, output } => {
            let report = gateway::run(&settings)?;
            output.print(&report)?;
            output.plot(&report, &gateway::plot(&report))
        }
        Bench::Hbone { settings, output } => output.print(&hbone::run(&settings)?),
        Bench::Serve(settings) => xds::serve(settings),
    }
}

impl Output {
    fn print(&self, report: &Report) -> anyhow::Result<()> {
        match self.output {
            Format::Json => println!("{}", serde_json::to_string_pretty(&report.to_json())?),
            Format::Text => print!("{report}"),
        }
        if self.save {
            for path in report.save()? {
                eprintln!("saved {}", path.display());
            }
        }
        Ok(())
    }

    fn plot(&self, report: &Report, svg: &str) -> anyhow::Result<()> {
        if self.save {
            eprintln!("saved {}", report.save_beside("svg", svg)?.display());
        }
        Ok(())
    }
}
