//! What is asked of a peer, and what it costs it.

use std::time::{Duration, Instant};

use super::Settings;
use super::hello::Mode;
use super::load::{Load, Seen};
use super::peer::{Kind, Launch, Peer};
use crate::stats;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// New connections, 64 at a time.
    Connect,
    /// Bytes to the client over eight connections; neither end copies.
    Down,
    /// Bytes to the backend.
    Up,
    /// As `Down`, both ends copying.
    Copied,
    /// A request at a time.
    One,
    /// A request at a time on each of 64 connections.
    Many,
    /// 10,000 requests a second over 256 connections.
    Clocked,
    /// As `Many`, while routes change.
    Churn,
    /// KiB of one idle connection, and after a burst; the figure for each is in `cpu`.
    Idle,
    AfterBurst,
    /// KiB of a connection whose hello is awaited.
    Pending,
    /// MiB with nobody connected.
    Base,
}

/// Where a figure has no meaning it is not a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Microseconds on a core for each connection or request, seconds for each GB; or memory.
    pub(super) cpu: f64,
    /// Each second: connections, requests, GB.
    pub(super) rate: f64,
    /// Microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) failures: u64,
}

const SETTLE: Duration = Duration::from_millis(200);
const FLOWS: usize = 8;
const GB: f64 = 1e9;

pub(super) fn run(
    load: &mut Load,
    launch: &Launch<'_>,
    settings: &Settings,
) -> anyhow::Result<Vec<(Job, Figures)>> {
    let mut peer = launch.start()?;
    let mut figures = Vec::new();
    // With many routes only what a route could cost is asked again.
    let alone = [Job::Connect, Job::Down, Job::Up, Job::Copied, Job::One, Job::Many, Job::Clocked];
    let beside = [Job::Connect, Job::Many, Job::Churn];
    let jobs = if launch.routes == 1 { &alone[..] } else { &beside[..] };
    if launch.kind != Kind::Direct {
        figures.push((Job::Base, memory(peer.bytes() / (1 << 20) as f64)));
    }
    for &job in jobs {
        if job == Job::Churn && peer.primary.is_none() {
            continue;
        }
        figures.push((job, work(load, &mut peer, job, settings)?));
        load.close_all()?;
    }
    drop(peer);
    if launch.kind != Kind::Direct && launch.routes == 1 {
        figures.extend(hold(load, launch, settings.idle)?);
        figures.push(wait(load, launch, settings.idle)?);
    }
    Ok(figures)
}

fn work(
    load: &mut Load,
    peer: &mut Peer,
    job: Job,
    settings: &Settings,
) -> anyhow::Result<Figures> {
    let (call, time) = (peer.call.clone(), Duration::from_millis(settings.watch));
    match job {
        Job::Connect => load.connect_on(&call, 64)?,
        Job::Down => load.pour(&call, Mode::Down, FLOWS, false)?,
        Job::Up => load.pour(&call, Mode::Up, FLOWS, false)?,
        Job::Copied => load.pour(&call, Mode::Down, FLOWS, true)?,
        Job::One => load.ask_on(&call, 1)?,
        Job::Many | Job::Churn => load.ask_on(&call, 64)?,
        Job::Clocked => {
            let (cpu, begin) = (peer.cpu_ns(), Instant::now());
            let seen = load.ask_by_the_clock(&call, 256, 10_000, time)?;
            return Ok(figures(job, &seen, peer.cpu_ns() - cpu, begin.elapsed()));
        }
        _ => {}
    }
    load.watch(SETTLE)?;
    let (cpu, begin) = (peer.cpu_ns(), Instant::now());
    let seen = match (&peer.primary, job) {
        (Some(primary), Job::Churn) => {
            let pause = Duration::from_secs(1) / settings.churn.max(1);
            let mut all = Seen::default();
            while begin.elapsed() < time {
                primary.change_one();
                all.add(load.watch(pause)?);
            }
            all
        }
        _ => load.watch(time)?,
    };
    Ok(figures(job, &seen, peer.cpu_ns() - cpu, begin.elapsed()))
}

fn figures(job: Job, seen: &Seen, cpu_ns: u64, took: Duration) -> Figures {
    let (count, unit_ns) = match job {
        Job::Connect => (seen.connections as f64, 1e3),
        Job::Down | Job::Up | Job::Copied => (seen.bytes as f64 / GB, 1e9),
        _ => (seen.messages as f64, 1e3),
    };
    let mut latencies = seen.latencies.clone();
    Figures {
        cpu: cpu_ns as f64 / unit_ns / count,
        rate: count / took.as_secs_f64(),
        p50: stats::median(&mut latencies),
        p99: stats::percentile(&mut latencies, 99.0),
        failures: seen.failures,
    }
}

/// What connections take that do nothing. In a process that has done nothing else: what an allocator
/// keeps of earlier work would hide it.
fn hold(load: &mut Load, launch: &Launch<'_>, count: usize) -> anyhow::Result<[(Job, Figures); 2]> {
    let peer = launch.start()?;
    load.watch(SETTLE)?;
    let before = peer.bytes();
    load.hold(&peer.call, count)?;
    load.watch(SETTLE)?;
    let idle = peer.bytes() - before;
    load.burst()?;
    load.watch(SETTLE)?;
    let burst = peer.bytes() - before;
    load.close_all()?;
    Ok([(Job::Idle, kib_each(idle, count)), (Job::AfterBurst, kib_each(burst, count))])
}

/// The same of those that have said half of their hello.
fn wait(load: &mut Load, launch: &Launch<'_>, count: usize) -> anyhow::Result<(Job, Figures)> {
    let peer = launch.start()?;
    load.watch(SETTLE)?;
    let before = peer.bytes();
    let halves = Load::halves(&peer.call, count)?;
    load.watch(SETTLE)?;
    let pending = peer.bytes() - before;
    drop(halves);
    Ok((Job::Pending, kib_each(pending, count)))
}

fn kib_each(bytes: f64, count: usize) -> Figures {
    memory(bytes / 1024.0 / count as f64)
}

fn memory(amount: f64) -> Figures {
    Figures { cpu: amount, rate: f64::NAN, p50: f64::NAN, p99: f64::NAN, failures: 0 }
}
