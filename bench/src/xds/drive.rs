//! Changes, and when who heard of them.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use diolkos_xds::ResourceType;

use super::ground::{Ground, Subject};
use super::resource_name;
use super::server::Server;
use crate::ads::Fleet;
use crate::clock;
use crate::mesh::{cluster_name, region, zone};
use crate::stats;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Local10,
    /// An endpoint in another cluster: its gateways' weights change.
    WideWeight,
    /// Two endpoints of one group in another cluster swap readiness.
    WideSwap,
    Local1000,
}

impl Case {
    pub(super) const ALL: [Self; 4] =
        [Self::Local10, Self::WideWeight, Self::WideSwap, Self::Local1000];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Local10 => "10 local",
            Self::WideWeight => "10 in each cluster, weight changes",
            Self::WideSwap => "10 in each cluster, weights stay",
            Self::Local1000 => "1000 local",
        }
    }

    pub(super) fn subject(self) -> Subject {
        match self {
            Self::Local10 => Subject::Local10,
            Self::WideWeight | Self::WideSwap => Subject::Wide,
            Self::Local1000 => Subject::Local1000,
        }
    }
}

/// Times in milliseconds.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) case: Case,
    pub(super) streams: usize,
    pub(super) changes: usize,
    /// Of all streams and changes.
    pub(super) messages: usize,
    /// From the edit to the first and to the last client: medians over changes.
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) last_most: f64,
    /// Between the first client and the last: median, and the highest.
    pub(super) spread: f64,
    pub(super) spread_most: f64,
    /// The primary's own word: from an event to a client's frame, on average.
    pub(super) convergence: f64,
    /// Microseconds for each client and change.
    pub(super) cpu_us: f64,
    /// As much, but of the load.
    pub(super) load_us: f64,
    /// Milliseconds for each change.
    pub(super) source_ms: f64,
    /// Milliseconds for each change in which the primary could have run, but others had its core.
    pub(super) waited_ms: f64,
    /// On the wire, for each client and change.
    pub(super) bytes: f64,
}

/// Receipts of one change, in milliseconds after it.
#[derive(Debug, Default)]
struct Receipts {
    heard: usize,
    messages: usize,
    first: f64,
    last: f64,
}

const CHANGE_MAX: Duration = Duration::from_secs(10);
const JOIN_MAX: Duration = Duration::from_secs(60);
/// Long enough for answers to answers, and for what should not come.
const QUIET: Duration = Duration::from_millis(60);
const WARM_UP: usize = 2;

pub(super) struct Driver<'a> {
    fleet: &'a mut Fleet,
    server: &'a Server,
    ground: &'a mut Ground,
}

impl<'a> Driver<'a> {
    pub(super) fn new(fleet: &'a mut Fleet, server: &'a Server, ground: &'a mut Ground) -> Self {
        Self { fleet, server, ground }
    }

    /// Waits until those who joined hold all they asked for.
    pub(super) fn settle(&mut self, joined: usize) -> anyhow::Result<()> {
        let wanted = joined * 2 * Subject::ALL.len();
        let (begin, mut held) = (Instant::now(), 0);
        while held < wanted {
            self.fleet.pump(QUIET, |_, _, response| held += response.resources)?;
            ensure!(begin.elapsed() < JOIN_MAX, "only {held} of {wanted} resources came");
        }
        self.quiet(QUIET).map(|_| ())
    }

    pub(super) fn run(&mut self, case: Case, changes: usize) -> anyhow::Result<Figures> {
        for _ in 0..WARM_UP {
            self.change(case)?;
        }
        let streams = self.fleet.len();
        let (cpu, convergence) = (self.server.cpu()?, self.server.convergence()?);
        let (bytes, load_ns) = (self.fleet.bytes(), clock::thread_ns());
        let mut all = Vec::new();
        for _ in 0..changes {
            all.push(self.change(case)?);
        }
        let load_us = (clock::thread_ns() - load_ns) as f64 / 1e3;
        let bytes = self.fleet.bytes() - bytes;
        let (cpu_after, after) = (self.server.cpu()?, self.server.convergence()?);
        if case == Case::WideSwap {
            // As it was: all ready.
            self.ground.unswap(case.subject())?;
            self.await_quiet()?;
        }
        let each = (streams * changes) as f64;
        let of = |pick: fn(&Receipts) -> f64| all.iter().map(pick).collect::<Vec<f64>>();
        let mut spread = of(|one| one.last - one.first);
        let mut last = of(|one| one.last);
        Ok(Figures {
            case,
            streams,
            changes,
            messages: all.iter().map(|one| one.messages).sum(),
            first: stats::median(&mut of(|one| one.first)),
            last: stats::median(&mut last),
            last_most: stats::percentile(&mut last, 100.0),
            spread: stats::median(&mut spread),
            spread_most: stats::percentile(&mut spread, 100.0),
            convergence: (after.seconds - convergence.seconds) * 1e3
                / (after.count - convergence.count),
            cpu_us: (cpu_after.serving - cpu.serving) * 1e6 / each,
            source_ms: (cpu_after.source - cpu.source) * 1e3 / changes as f64,
            waited_ms: (cpu_after.waited - cpu.waited) * 1e3 / changes as f64,
            load_us: load_us / each,
            bytes: bytes as f64 / each,
        })
    }

    fn change(&mut self, case: Case) -> anyhow::Result<Receipts> {
        let receipts = match case {
            Case::WideSwap => self.swap(case.subject())?,
            _ => self.toggle(case.subject())?,
        };
        let more = self.quiet(QUIET)?;
        Ok(Receipts { messages: receipts.messages + more, ..receipts })
    }

    /// Until every client heard of it.
    fn toggle(&mut self, subject: Subject) -> anyhow::Result<Receipts> {
        let name = resource_name(self.ground, subject);
        let mut waiting = vec![true; self.fleet.len()];
        let mut receipts = Receipts::default();
        let begin = self.ground.toggle(subject)?;
        while receipts.heard < waiting.len() {
            self.fleet.pump(QUIET, |client, at, response| {
                receipts.messages += 1;
                let expected = response.type_url == ResourceType::Endpoint.url();
                if expected && response.first == name && waiting[client] {
                    waiting[client] = false;
                    receipts.heard += 1;
                    receipts.last = (at - begin).as_secs_f64() * 1e3;
                    if receipts.heard == 1 {
                        receipts.first = receipts.last;
                    }
                }
            })?;
            if begin.elapsed() > CHANGE_MAX {
                bail!("only {} of {} clients heard of a change", receipts.heard, waiting.len());
            }
        }
        Ok(receipts)
    }

    /// Until the primary's explanation shows it. Nobody should hear of it.
    fn swap(&mut self, subject: Subject) -> anyhow::Result<Receipts> {
        let before = self.explanation(subject)?;
        let begin = self.ground.swap(subject)?;
        let mut messages = self.quiet(QUIET)?;
        while self.explanation(subject)? == before {
            ensure!(begin.elapsed() < CHANGE_MAX, "the primary did not see a swap");
            messages += self.quiet(QUIET / 4)?;
        }
        let none = Receipts { first: f64::NAN, last: f64::NAN, ..Receipts::default() };
        Ok(Receipts { messages, ..none })
    }

    fn explanation(&self, subject: Subject) -> anyhow::Result<String> {
        let service = self.ground.service(subject);
        let (cluster, zone) = (cluster_name(0), format!("{}/{}", region(0), zone(0, 0)));
        let path = format!("/debug/explain?service={service}&cluster={cluster}&zone={zone}");
        let answer = self.server.get(&path)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(body.to_owned())
    }

    /// How many messages come in `wait`.
    fn quiet(&mut self, wait: Duration) -> anyhow::Result<usize> {
        let until = Instant::now() + wait;
        let mut messages = 0;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.fleet.pump(left, |_, _, _| messages += 1)?;
        }
        Ok(messages)
    }

    /// Until nothing came for twice as long as a watcher may take.
    fn await_quiet(&mut self) -> anyhow::Result<()> {
        while self.quiet(4 * QUIET)? > 0 {}
        Ok(())
    }
}
