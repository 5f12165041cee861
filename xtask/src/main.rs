//! The one door for people and machines: what runs here runs everywhere.
//!
//! ```text
//!  cargo xtask test [TIER..]   tiers in order, a failing one does not stop the next
//!  cargo xtask soak            the properties, with new seeds, for as long as one likes
//!  cargo xtask lint            format, clippy, tidy, dependencies, Go
//!  cargo xtask tools [NAME..]  fetch and build what tests need, and say where it is
//!  cargo xtask bench NAME ..   a release build of the measurements in bench/
//! ```

mod bench;
mod cargo;
mod count;
mod fuzz;
mod lint;
mod metadata;
mod soak;
mod summary;
mod test;
mod tidy;
mod tier;
mod tool;
mod tools;
mod workshop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::tier::Tier;
use crate::tools::Tool;
use crate::workshop::Workshop;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Build, test and measure diolkos")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run tests, tier by tier; the last line says how many passed, failed and were skipped
    Test {
        /// Which tiers, in their fixed order; all when none is named
        #[arg(value_enum)]
        tiers: Vec<Tier>,
    },
    /// Run the tests of all crates that have properties again and again, optimised
    Soak {
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Check format, lints, the shape of the tree and the dependencies
    Lint,
    /// Fetch and build what tests need, and say where it is
    Tools {
        /// Which tools; when none is named, all but those that only comparisons need
        #[arg(value_enum)]
        tools: Vec<Tool>,
    },
    /// Measure: `cargo xtask bench core --output json`
    Bench {
        name: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let workshop = Workshop::here();
    let done = match Arguments::parse().task {
        Task::Test { tiers } => test::run(&workshop, &tiers),
        Task::Soak { minutes } => soak::run(&workshop, minutes),
        Task::Lint => lint::run(&workshop),
        Task::Tools { tools } => tools::run(&workshop, &tools),
        Task::Bench { name, arguments } => bench::run(&workshop, &name, &arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
