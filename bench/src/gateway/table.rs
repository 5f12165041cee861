//! Figures as tables, ratios, goals and notes.

use super::All;
use super::job::{Figures, Job};
use super::peer::Kind;
use crate::goal::Goal;
use crate::report::{Cell, Table};

/// The columns are peers.
const COLUMNS: [&str; 9] = [
    "what",
    "routes",
    "diolkos",
    "envoy",
    "haproxy",
    "haproxy, forced splice",
    "nginx",
    "direct",
    "diolkos / best peer",
];
const ORDER: [Kind; 6] =
    [Kind::Diolkos, Kind::Envoy, Kind::Haproxy, Kind::HaproxySplice, Kind::Nginx, Kind::Direct];

type Pick = fn(&Figures) -> f64;

const CPU: [(Job, &str); 8] = [
    (Job::Connect, "us a new connection"),
    (Job::Down, "s a GB, down"),
    (Job::Up, "s a GB, up"),
    (Job::Copied, "s a GB, down, both ends copying"),
    (Job::One, "us a request, one at a time"),
    (Job::Many, "us a request, 64 connections"),
    (Job::Clocked, "us a request, 10,000 a second"),
    (Job::Churn, "us a request, while routes change"),
];
const TIMES: [(Job, &str, Pick); 9] = [
    (Job::Connect, "us to connect, p50", |one| one.p50),
    (Job::Connect, "us to connect, p99", |one| one.p99),
    (Job::One, "us a request alone, p50", |one| one.p50),
    (Job::One, "us a request alone, p99", |one| one.p99),
    (Job::Clocked, "us at 10,000 a second, p50", |one| one.p50),
    (Job::Clocked, "us at 10,000 a second, p99", |one| one.p99),
    (Job::Connect, "connections a second", |one| one.rate),
    (Job::Down, "GB a second, down", |one| one.rate),
    (Job::Many, "requests a second, 64 connections", |one| one.rate),
];
const MEMORY: [(Job, &str); 4] = [
    (Job::Base, "MiB with nobody connected"),
    (Job::Idle, "KiB an idle connection"),
    (Job::AfterBurst, "KiB the same after 64 KiB"),
    (Job::Pending, "KiB a connection whose hello is awaited"),
];

pub(super) fn tables(all: &All) -> Vec<Table> {
    let mut cpu = Table::new("cpu", "CPU of the gateway", &COLUMNS);
    cpu.rows = CPU.iter().flat_map(|(job, what)| rows(all, *job, what, |one| one.cpu)).collect();
    let mut times = Table::new("times", "What callers see", &COLUMNS);
    times.rows = TIMES.iter().flat_map(|(job, what, pick)| rows(all, *job, what, *pick)).collect();
    let mut memory = Table::new("memory", "Memory of the gateway's process", &COLUMNS);
    let of = MEMORY.iter().flat_map(|(job, what)| rows(all, *job, what, |one| one.cpu));
    memory.rows = of.collect();
    vec![cpu, times, memory]
}

fn rows(all: &All, job: Job, what: &str, pick: Pick) -> Vec<Vec<Cell>> {
    let mut counts: Vec<usize> =
        all.keys().filter(|(_, known, _)| *known == job).map(|(routes, ..)| *routes).collect();
    counts.dedup();
    counts.into_iter().map(|routes| row(all, (routes, job), what, pick)).collect()
}

fn row(all: &All, (routes, job): (usize, Job), what: &str, pick: Pick) -> Vec<Cell> {
    let of = |kind: Kind| all.get(&(routes, job, kind)).map_or(f64::NAN, pick);
    let peers = [Kind::Envoy, Kind::Haproxy, Kind::HaproxySplice, Kind::Nginx];
    let best = peers.into_iter().map(of).fold(f64::NAN, f64::min);
    let mut row = vec![Cell::Text(what.into()), Cell::Count(routes as u64)];
    row.extend(ORDER.map(|kind| Cell::Number(of(kind))));
    row.push(Cell::Number(of(Kind::Diolkos) / best));
    row
}

pub(super) fn goals(all: &All) -> Vec<Goal> {
    let of = |job, kind| all.get(&(1, job, kind)).map_or(f64::NAN, |one| one.cpu);
    let bulk =
        |kind| [Job::Down, Job::Up, Job::Copied].map(|job| of(job, kind)).iter().sum::<f64>();
    let own = Kind::Diolkos;
    let ratio = |job, peer| of(job, own) / of(job, peer);
    let mut goals = Vec::new();
    let mut goal = |name: &str, bound, unit, measured| {
        goals.push(Goal::at_most(name, bound, unit, measured));
    };
    let to_splice = bulk(own) / bulk(Kind::HaproxySplice);
    goal("bulk: down, up and copying together", 0.85, "of haproxy, forced splice", to_splice);
    goal("bulk: down, up and copying together", 0.25, "of envoy", bulk(own) / bulk(Kind::Envoy));
    goal("a new connection", 1.0, "of nginx", ratio(Job::Connect, Kind::Nginx));
    goal("a new connection", 0.45, "of envoy", ratio(Job::Connect, Kind::Envoy));
    goal("a small request", 1.05, "of nginx", ratio(Job::Many, Kind::Nginx));
    goal("a small request", 0.75, "of envoy", ratio(Job::Many, Kind::Envoy));
    for (job, what) in [(Job::Idle, "idle connection"), (Job::AfterBurst, "idle after a burst")] {
        goal(what, 1.0, "KiB", of(job, own));
        goal(what, 0.3, "of haproxy", ratio(job, Kind::Haproxy));
        goal(what, 0.055, "of envoy", ratio(job, Kind::Envoy));
    }
    goal("a hello awaited", 8.0, "KiB", of(Job::Pending, own));
    let with = |routes, job| all.get(&(routes, job, own)).map_or(f64::NAN, |one| one.cpu);
    goal("base memory with 1,000 routes", 15.0, "MiB", with(1_000, Job::Base));
    for routes in all.keys().map(|(routes, ..)| *routes).filter(|routes| *routes > 1) {
        if goals_have(&goals, routes) {
            continue;
        }
        let more =
            |job| with(routes, job) / with(1, if job == Job::Churn { Job::Many } else { job });
        let mut goal = |what: &str, measured| {
            let name = format!("{what}, {routes} routes");
            goals.push(Goal::at_most(&name, 1.1, "of one route's", measured));
        };
        goal("a new connection", more(Job::Connect));
        goal("a small request", more(Job::Many));
        goal("a small request while routes change", more(Job::Churn));
    }
    goals
}

fn goals_have(goals: &[Goal], routes: usize) -> bool {
    goals.iter().any(|goal| goal.name.ends_with(&format!(", {routes} routes")))
}

pub(super) fn notes(missing: &[&str]) -> Vec<String> {
    let mut notes: Vec<String> = [
        "CPU is what the scheduler counted for all threads of the gateway, softirq work that its \
         sends caused included; 'direct' is the load's own thread, both ends of it.",
        "diolkos runs with metrics, limits and its access log; the others without a log. It also \
         has a primary, whose stream it keeps: that is in its CPU and memory.",
        "Nobody copies in 'down' and 'up': the sender sends a file, the receiver drops what came.",
        "Envoy is not asked for 100,000 routes: as filter chains they cost it minutes to start.",
    ]
    .map(str::to_owned)
    .into();
    if !missing.is_empty() {
        notes.push(format!("not here, so not compared: {}", missing.join(", ")));
    }
    notes
}
