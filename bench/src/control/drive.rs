//! One control plane's run: cold start, clients, one change at a time, churn.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Settings;
use super::ground::{Change, Ground};
use super::peer::{Kind, Launch, Peer, ask};
use super::view::{Holdings, Receipt, Seen};
use crate::ads::Fleet;
use crate::stats;

const COMPLETE_MAX: Duration = Duration::from_secs(90);
const RETRY: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(20);
/// What still comes after a change, answers to answers among it, belongs to that change.
const QUIET: Duration = Duration::from_millis(20);

/// From nothing to one client that holds everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) resident_mib: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) seconds: f64,
    pub(super) cpu_ms: f64,
    pub(super) kib: f64,
    pub(super) resident_mib: f64,
    /// How often one of them was turned away and came again.
    pub(super) refusals: f64,
}

/// To the last client, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) cpu_ms: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    pub(super) joined: Joined,
    pub(super) local: Changed,
    pub(super) remote: Option<Changed>,
    pub(super) churn: Changed,
}

pub(super) struct Run<'a> {
    ground: &'a mut Ground,
    clusters: usize,
    peer: Peer,
    fleet: Fleet,
    holdings: Holdings,
}

impl<'a> Run<'a> {
    pub(super) fn start(
        ground: &'a mut Ground,
        launch: &Launch,
        kind: Kind,
        clusters: usize,
    ) -> anyhow::Result<(Self, Cold)> {
        let begin = Instant::now();
        let mut peer = launch.start(kind)?;
        let (fleet, holdings) = loop {
            peer.process.expect_alive()?;
            match first_client(ground, &peer, clusters) {
                Ok(client) => break client,
                Err(error) if begin.elapsed() > COMPLETE_MAX => {
                    let said = peer.process.last_words();
                    return Err(error).context(format!("{} never served:{said}", kind.name()));
                }
                // It is not there yet, or says so.
                Err(_) => std::thread::sleep(RETRY),
            }
        };
        let cold = Cold {
            seconds: begin.elapsed().as_secs_f64(),
            cpu_seconds: peer.process.cpu_seconds(),
            resident_mib: mib(peer.process.resident_bytes()),
        };
        Ok((Self { ground, clusters, peer, fleet, holdings }, cold))
    }

    pub(super) fn stage(&mut self, settings: &Settings) -> anyhow::Result<Stage> {
        let joined = self.join(settings.clients)?;
        let changes = settings.changes;
        let local = self.changes(changes, |_| 0).context("local changes")?;
        let elsewhere = self.clusters - 1;
        let remote = (elsewhere > 0)
            .then(|| self.changes(changes, |at| 1 + at % elsewhere).context("remote changes"))
            .transpose()?;
        let churn = self.churn(settings).context("churn")?;
        self.holdings.recount()?;
        Ok(Stage { joined, local, remote, churn })
    }

    fn join(&mut self, clients: usize) -> anyhow::Result<Joined> {
        self.fleet.be_patient();
        let before = self.fleet.len();
        let (cpu, bytes) = (self.peer.process.cpu_seconds(), self.fleet.bytes());
        let begin = Instant::now();
        let mut last = begin;
        for index in before..clients {
            self.holdings.add_client();
            let ask = ask(self.ground, index);
            let joined = self.fleet.join(self.peer.address, &self.peer.way, &ask);
            joined.with_context(|| format!("client {index}"))?;
            self.pump(Duration::ZERO, |receipt| last = receipt.at)?;
        }
        self.complete(|receipt| last = receipt.at)?;
        self.quiet()?;
        let each = (clients - before) as f64;
        Ok(Joined {
            seconds: (last - begin).as_secs_f64(),
            cpu_ms: (self.peer.process.cpu_seconds() - cpu) * 1e3 / each,
            kib: (self.fleet.bytes() - bytes) as f64 / 1024.0 / each,
            resident_mib: mib(self.peer.process.resident_bytes()),
            refusals: self.fleet.refusals() as f64,
        })
    }

    /// One at a time, each seen by all before the next.
    fn changes(
        &mut self,
        changes: usize,
        cluster: impl Fn(usize) -> usize,
    ) -> anyhow::Result<Changed> {
        let services = self.ground.mesh.shape.services;
        let cpu = self.peer.process.cpu_seconds();
        let mut times = Vec::new();
        for at in 0..changes {
            let change = self.ground.change(cluster(at), at % services)?;
            let expected = self.ground.expected(change.service, self.clusters);
            self.ground.send(&change)?;
            let begin = Instant::now();
            self.holdings.expect(change.service, expected.clone());
            let mut last = begin;
            self.complete(|receipt| {
                if receipt.service == change.service && *receipt.seen == expected {
                    last = last.max(receipt.at);
                }
            })?;
            times.push((last - begin).as_secs_f64() * 1e3);
            self.quiet()?;
        }
        let cpu = self.peer.process.cpu_seconds() - cpu;
        Ok(changed(&mut times, cpu))
    }

    /// At a steady pace, whether they were seen or not.
    fn churn(&mut self, settings: &Settings) -> anyhow::Result<Changed> {
        let services = self.ground.mesh.shape.services;
        let count = settings.rate * settings.seconds;
        let mut changes = Vec::new();
        let mut history = History::new(count, self.fleet.len());
        for at in 0..count {
            let change = self.ground.change(at % self.clusters, at % services)?;
            let after = self.ground.expected(change.service, self.clusters);
            history.will(at, change.service, after);
            changes.push(change);
        }
        for service in 0..services.min(count) {
            self.holdings.expect(service, self.ground.expected(service, self.clusters));
        }
        let cpu = self.peer.process.cpu_seconds();
        let sent = self.write_paced(changes, settings.rate);
        let mut begins = Vec::new();
        let begin = Instant::now();
        let longest = Duration::from_secs(settings.seconds as u64) + COMPLETE_MAX;
        while begins.len() < count || !self.holdings.all_right() {
            self.pump(LOOK, |receipt| history.heard(&receipt))?;
            for moment in sent.try_iter() {
                begins.push(moment?);
            }
            if begin.elapsed() > longest {
                bail!("{} changes sent; {}", begins.len(), self.holdings.first_wrong());
            }
        }
        self.quiet()?;
        let cpu = self.peer.process.cpu_seconds() - cpu;
        Ok(changed(&mut history.times(&begins)?, cpu))
    }

    /// Writes on another thread; says when the API server had answered each.
    fn write_paced(&self, changes: Vec<Change>, rate: usize) -> Receiver<anyhow::Result<Instant>> {
        let (say, heard) = mpsc::channel();
        let access = self.ground.access();
        std::thread::spawn(move || {
            let written = || -> anyhow::Result<()> {
                let mut apis = Vec::new();
                for one in &access {
                    apis.push(one.connect()?);
                }
                let begin = Instant::now();
                for (at, change) in (0u32..).zip(&changes) {
                    let due = Duration::from_secs(1) * at / u32::try_from(rate)?;
                    std::thread::sleep(due.saturating_sub(begin.elapsed()));
                    change.send(&mut apis[change.cluster])?;
                    // Nobody listens once the bench has failed.
                    say.send(Ok(Instant::now()))?;
                }
                Ok(())
            };
            if let Err(error) = written() {
                drop(say.send(Err(error)));
            }
        });
        heard
    }

    /// Until every client holds exactly what it must.
    fn complete(&mut self, mut heard: impl FnMut(Receipt)) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !self.holdings.all_right() {
            self.pump(LOOK, &mut heard)?;
            if begin.elapsed() > COMPLETE_MAX {
                bail!("after {COMPLETE_MAX:?} {}", self.holdings.first_wrong());
            }
        }
        Ok(())
    }

    fn pump(&mut self, wait: Duration, heard: impl FnMut(Receipt)) -> anyhow::Result<()> {
        let holdings = &mut self.holdings;
        let pumped =
            self.fleet.pump(wait, |client, at, response| holdings.take(client, at, response));
        if let Err(error) = pumped {
            self.peer.process.expect_alive()?;
            return Err(error.context(self.peer.process.last_words()));
        }
        self.holdings.digest(heard)
    }

    fn quiet(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + QUIET;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.pump(left, |_| {})?;
        }
        Ok(())
    }
}

fn first_client(
    ground: &Ground,
    peer: &Peer,
    clusters: usize,
) -> anyhow::Result<(Fleet, Holdings)> {
    let mut fleet = Fleet::new()?;
    fleet.join(peer.address, &peer.way, &ask(ground, 0))?;
    let services = 0..ground.mesh.shape.services;
    let expected = services.clone().map(|number| ground.expected(number, clusters));
    let names: HashMap<String, usize> =
        services.map(|number| (resource_name(ground, number), number)).collect();
    let mut holdings = Holdings::new(names, ground.gateways.clone(), expected.collect());
    holdings.add_client();
    let begin = Instant::now();
    while !holdings.all_right() {
        fleet.pump(LOOK, |client, at, response| holdings.take(client, at, response))?;
        holdings.digest(|_| {})?;
        if begin.elapsed() > COMPLETE_MAX {
            bail!("{} clusters: {}", clusters, holdings.first_wrong());
        }
    }
    Ok((fleet, holdings))
}

fn resource_name(ground: &Ground, service: usize) -> String {
    format!("outbound|80||{}", ground.mesh.service(service).host("cluster.local"))
}

fn changed(times: &mut [f64], cpu_seconds: f64) -> Changed {
    Changed {
        p50: stats::median(times),
        p99: stats::percentile(times, 99.0),
        cpu_ms: cpu_seconds * 1e3 / times.len() as f64,
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Which change each client has seen when. A state stands for all changes that led to it: a control
/// plane may tell of several at once.
#[derive(Debug)]
struct History {
    /// By service: each change, and what clients hold after it.
    states: HashMap<usize, Vec<(usize, Seen)>>,
    /// By client and change.
    seen: Vec<Vec<Option<Instant>>>,
}

impl History {
    fn new(changes: usize, clients: usize) -> Self {
        Self { states: HashMap::new(), seen: vec![vec![None; changes]; clients] }
    }

    fn will(&mut self, change: usize, service: usize, after: Seen) {
        self.states.entry(service).or_default().push((change, after));
    }

    fn heard(&mut self, receipt: &Receipt) {
        let Some(states) = self.states.get(&receipt.service) else { return };
        let now = states.iter().rposition(|(_, after)| *after == *receipt.seen);
        let Some(now) = now else { return };
        for (change, _) in &states[..=now] {
            self.seen[receipt.client][*change].get_or_insert(receipt.at);
        }
    }

    /// Of each change, until the last client had it. A client may have it before the writer has
    /// its answer: that is no time at all.
    fn times(&self, begins: &[Instant]) -> anyhow::Result<Vec<f64>> {
        let last = |change: usize| {
            let of = self.seen.iter().map(|client| client[change]);
            let moments: Option<Vec<Instant>> = of.collect();
            moments.and_then(|all| all.into_iter().max())
        };
        let time = |(change, begin): (usize, &Instant)| {
            let last = last(change).with_context(|| format!("change {change} was never seen"))?;
            Ok(last.saturating_duration_since(*begin).as_secs_f64() * 1e3)
        };
        begins.iter().enumerate().map(time).collect()
    }
}

#[cfg(test)]
mod tests;
