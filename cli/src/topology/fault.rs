//! `diolkos topology fault`: what can be broken, in words.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use diolkos_kind_plan::{Between, LinkFault, Spoil};
use diolkos_kind_tests::{Fault, State, StateRoot, Stopped};

use super::NameArgs;

/// See docs/adr/0004-in-a-cluster.md.
const GATEWAY: &str = "istio=eastwestgateway";

/// Flags of `diolkos topology fault`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FaultArgs {
    #[command(flatten)]
    which: NameArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Break(Break),
    /// Set a fault and take it back, by turns
    Flap(FlapArgs),
    /// Take back one fault, or all when none is named
    Heal(HealArgs),
}

#[derive(Clone, Debug, Subcommand)]
enum Break {
    /// Packets between two clusters vanish
    Cut(BetweenArgs),
    /// Little passes between two clusters, or late
    Slow(SlowArgs),
    /// Connections between two clusters pass through a proxy that spoils them
    Streams(StreamArgs),
    /// The API server of a cluster does not answer
    StopApi(StopApiArgs),
    /// The east-west gateway of a cluster has no replicas
    StopGateway(ClusterArgs),
    /// Kill every process of a cluster's east-west gateway; it starts again by itself
    KillGateway(ClusterArgs),
    /// Kill every process of the pods with these labels; whoever runs them starts them again
    KillPods(KillPodsArgs),
    /// Put the store of a cluster back to a snapshot, see `diolkos topology snapshot`
    RestoreEtcd(RestoreArgs),
}

#[derive(Args, Clone, Debug)]
struct BetweenArgs {
    from: String,
    to: String,
    /// Only what goes from the first to the second
    #[arg(long)]
    one_way: bool,
    /// Only connections to this TCP port; 15443 is gateways', 6443 API servers'
    #[arg(long)]
    port: Option<u16>,
}

#[derive(Args, Clone, Debug)]
struct SlowArgs {
    #[command(flatten)]
    between: BetweenArgs,
    /// At most so much, of all packets: 64kbit, 1mbit
    #[arg(long, value_parser = kilobits, required_unless_present = "delay")]
    rate: Option<u64>,
    /// Later by so much, of TCP connections made from now on: 50ms
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    /// With --delay: and by up to so much more
    #[arg(long, value_parser = duration, requires = "delay")]
    jitter: Option<Duration>,
}

#[derive(Args, Clone, Debug)]
struct StreamArgs {
    #[command(flatten)]
    between: BetweenArgs,
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    #[arg(long, value_parser = duration)]
    jitter: Option<Duration>,
    /// At most so many bytes a second, each connection and direction
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    bytes_per_second: u64,
    /// In pieces of so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    slice: usize,
    /// Reset once so many bytes went one way
    #[arg(long, value_name = "BYTES")]
    reset_after: Option<u64>,
    /// Nothing passes, one way or both
    #[arg(long, value_enum)]
    stall: Option<Stall>,
    /// Answered, and never passed on
    #[arg(long)]
    half_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stall {
    /// From the one who dialled
    Out,
    /// To the one who dialled
    Back,
    Both,
}

#[derive(Args, Clone, Debug)]
struct ClusterArgs {
    cluster: String,
}

#[derive(Args, Clone, Debug)]
struct StopApiArgs {
    cluster: String,
    /// frozen leaves its connections open and silent, killed resets them
    #[arg(long, value_enum, default_value_t = How::Frozen)]
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    Frozen,
    Killed,
}

#[derive(Args, Clone, Debug)]
struct KillPodsArgs {
    cluster: String,
    /// As for kubectl: app=catalog,version=v1
    labels: String,
}

#[derive(Args, Clone, Debug)]
struct RestoreArgs {
    cluster: String,
    #[arg(long, value_name = "FILE", required_unless_present = "empty")]
    from: Option<PathBuf>,
    /// As if the disk were lost
    #[arg(long, conflicts_with = "from")]
    empty: bool,
}

#[derive(Args, Clone, Debug)]
struct FlapArgs {
    /// In force for so long, and then not for so long
    #[arg(long, default_value = "1s", value_parser = duration)]
    period: Duration,
    #[arg(long, default_value_t = 60)]
    times: u32,
    #[command(subcommand)]
    fault: Break,
}

#[derive(Args, Clone, Debug)]
struct HealArgs {
    #[command(subcommand)]
    fault: Option<Break>,
}

pub(super) async fn run(root: &StateRoot, args: FaultArgs) -> anyhow::Result<()> {
    let state = root.find(args.which.name.as_deref())?;
    match args.verb {
        Verb::Break(verb) => {
            for fault in faults(verb)? {
                eprintln!("{}", state.set(fault).await?);
            }
        }
        Verb::Flap(args) => {
            for fault in faults(args.fault)? {
                eprintln!("{}", state.flap(fault, args.period, args.times).await?);
            }
        }
        Verb::Heal(args) => heal(&state, args).await?,
    }
    Ok(())
}

async fn heal(state: &State, args: HealArgs) -> anyhow::Result<()> {
    let Some(fault) = args.fault else {
        eprintln!("{}", state.heal(None).await?);
        return Ok(());
    };
    for fault in faults(fault)? {
        eprintln!("{}", state.heal(Some(fault)).await?);
    }
    Ok(())
}

fn faults(verb: Break) -> anyhow::Result<Vec<Fault>> {
    let fault = match verb {
        Break::Cut(args) => Fault::Link(LinkFault::Cut(args.between())),
        Break::Slow(args) => return Ok(slow(&args)),
        Break::Streams(args) => {
            let spoil = args.spoil();
            if spoil == Spoil::default() {
                bail!("no way to spoil the connections is given; see --help");
            }
            Fault::Link(LinkFault::Streams { between: args.between.between(), spoil })
        }
        Break::StopApi(args) => Fault::StopApi {
            cluster: args.cluster,
            how: match args.how {
                How::Frozen => Stopped::Frozen,
                How::Killed => Stopped::Killed,
            },
        },
        Break::StopGateway(args) => Fault::StopGateway(args.cluster),
        Break::KillGateway(args) => {
            Fault::KillPods { cluster: args.cluster, labels: GATEWAY.to_owned() }
        }
        Break::KillPods(args) => Fault::KillPods { cluster: args.cluster, labels: args.labels },
        Break::RestoreEtcd(args) => {
            let from = args.from.map(std::path::absolute).transpose()?;
            Fault::RestoreEtcd { cluster: args.cluster, from }
        }
    };
    Ok(vec![fault])
}

/// A rate is the link's, a delay each connection's: two faults, set one after the other.
fn slow(args: &SlowArgs) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(kbit) = args.rate {
        faults.push(Fault::Link(LinkFault::Rate { between: args.between.between(), kbit }));
    }
    if let Some(delay) = args.delay {
        let (delay_ms, jitter_ms) = (millis(Some(delay)), millis(args.jitter));
        let spoil = Spoil { delay_ms, jitter_ms, ..Spoil::default() };
        faults.push(Fault::Link(LinkFault::Streams { between: args.between.between(), spoil }));
    }
    faults
}

impl BetweenArgs {
    fn between(&self) -> Between {
        Between {
            from: self.from.clone(),
            to: self.to.clone(),
            one_way: self.one_way,
            port: self.port,
        }
    }
}

impl StreamArgs {
    fn spoil(&self) -> Spoil {
        Spoil {
            delay_ms: millis(self.delay),
            jitter_ms: millis(self.jitter),
            bytes_per_second: self.bytes_per_second,
            slice_bytes: self.slice,
            reset_after_bytes: self.reset_after,
            stall_out: matches!(self.stall, Some(Stall::Out | Stall::Both)),
            stall_in: matches!(self.stall, Some(Stall::Back | Stall::Both)),
            half_open: self.half_open,
        }
    }
}

fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Whole numbers with ms, s or m, as in mesh files.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => bail!("{text:?} has no unit; use ms, s or m"),
    };
    Ok(Duration::from_millis(number.checked_mul(millis).context("too long")?))
}

fn kilobits(text: &str) -> anyhow::Result<u64> {
    let (number, unit) = split(text)?;
    let kilobits = match unit {
        "kbit" => 1,
        "mbit" => 1000,
        _ => bail!("{text:?} has no unit; use kbit or mbit"),
    };
    match number.checked_mul(kilobits) {
        Some(rate @ 1..=10_000_000) => Ok(rate),
        _ => bail!("{text} is no rate; use 1kbit to 10000mbit"),
    }
}

fn split(text: &str) -> anyhow::Result<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().with_context(|| format!("{text:?} begins with no number"))?;
    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_are_read_with_their_units() {
        for (text, millis) in [("50ms", 50), ("1s", 1000), ("2m", 120_000), ("0ms", 0)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for (text, rate) in [("64kbit", 64), ("1mbit", 1000), ("10000mbit", 10_000_000)] {
            assert_eq!(kilobits(text).unwrap(), rate, "{text}");
        }
        for text in ["", "5", "s", "1h", "-1s", "1.5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "1", "0kbit", "10001mbit", "1bit"] {
            assert!(kilobits(text).is_err(), "{text}");
        }
    }
}
