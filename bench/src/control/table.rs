//! Figures as tables, ratios, goals and notes.

use super::drive::{Changed, Cold, Stage};
use super::peer::{Kind, TUNING};
use super::{Colds, Settings, Stages};
use crate::goal::Goal;
use crate::report::{Cell, Table};

const COLUMNS: [&str; 7] = [
    "what",
    "clusters",
    "diolkos",
    "istiod",
    "istiod tuned",
    "diolkos / istiod",
    "diolkos / tuned",
];

pub(super) fn tables(
    settings: &Settings,
    colds: &Colds,
    stages: &Stages,
    endpoints: usize,
) -> Vec<Table> {
    let Settings { clients, rate, .. } = settings;
    let mut serving = Table::new("serving", "Serving; times until the last client", &COLUMNS);
    let mut counts: Vec<usize> = stages.keys().map(|(clusters, _)| *clusters).collect();
    counts.dedup();
    for clusters in counts {
        let mut row = |what: &str, figure: &dyn Fn(&Stage) -> f64| {
            let of = |kind| stages.get(&(clusters, kind)).map_or(f64::NAN, figure);
            serving.rows.push(cells(what, clusters, Kind::ALL.map(of)));
        };
        row(&format!("{clients} clients connect, s"), &|one| one.joined.seconds);
        row("CPU ms a client", &|one| one.joined.cpu_ms);
        row("KiB a client", &|one| one.joined.kib);
        row("turned away, to come again", &|one| one.joined.refusals);
        row("resident MiB then", &|one| one.joined.resident_mib);
        let churn = format!("{rate} changes a second");
        for (name, part) in PARTS {
            let name = if name.is_empty() { churn.as_str() } else { name };
            let figure = |pick: fn(&Changed) -> f64| {
                move |one: &Stage| part(one).as_ref().map_or(f64::NAN, pick)
            };
            if stages.iter().all(|((count, _), one)| *count != clusters || part(one).is_none()) {
                continue;
            }
            row(&format!("{name}, p50 ms"), &figure(|one| one.p50));
            row(&format!("{name}, p99 ms"), &figure(|one| one.p99));
            row(&format!("{name}, CPU ms each"), &figure(|one| one.cpu_ms));
        }
    }
    vec![serving, cold(colds, endpoints)]
}

type Part = fn(&Stage) -> Option<Changed>;

/// The churn is named by its rate.
const PARTS: [(&str, Part); 3] = [
    ("one change here", |one| Some(one.local)),
    ("one change in another cluster", |one| one.remote),
    ("", |one| Some(one.churn)),
];

fn cold(colds: &Colds, endpoints: usize) -> Table {
    let title = "From the start to the first client that holds everything";
    let mut table = Table::new("cold", title, &COLUMNS);
    let mut counts: Vec<usize> = colds.keys().map(|(clusters, _)| *clusters).collect();
    counts.dedup();
    for clusters in counts {
        let mut row = |what: &str, figure: fn(&Cold) -> f64| {
            let of = |kind| colds.get(&(clusters, kind)).map_or(f64::NAN, figure);
            table.rows.push(cells(what, clusters, Kind::ALL.map(of)));
        };
        row("s", |one| one.seconds);
        row("CPU s", |one| one.cpu_seconds);
        row("resident MiB", |one| one.resident_mib);
    }
    let most = colds.keys().next_back().map_or(0, |(clusters, _)| *clusters);
    let slopes = Kind::ALL.map(|kind| slope(colds, kind, endpoints));
    table.rows.push(cells("KiB for each further endpoint", most, slopes));
    table
}

/// Between the fewest and the most clusters.
fn slope(colds: &Colds, kind: Kind, endpoints: usize) -> f64 {
    let mut of = colds.iter().filter(|((_, one), _)| *one == kind);
    let (Some(((few, _), least)), Some(((many, _), most))) = (of.next(), of.next_back()) else {
        return f64::NAN;
    };
    (most.resident_mib - least.resident_mib) * 1024.0 / ((many - few) * endpoints) as f64
}

fn cells(what: &str, clusters: usize, figures: [f64; 3]) -> Vec<Cell> {
    let [own, istiod, tuned] = figures;
    let mut row = vec![Cell::Text(what.into()), Cell::Count(clusters as u64)];
    row.extend([own, istiod, tuned, own / istiod, own / tuned].map(Cell::Number));
    row
}

pub(super) fn goals(colds: &Colds, stages: &Stages, endpoints: usize) -> Vec<Goal> {
    let mut goals = Vec::new();
    let own = stages.iter().filter(|((_, kind), _)| *kind == Kind::Diolkos);
    for ((clusters, _), stage) in own {
        let named = |what: &str| format!("{what}, {clusters} clusters");
        let mut goal = |what: &str, bound, unit, measured| {
            goals.push(Goal::at_most(&named(what), bound, unit, measured));
        };
        let istiod = stages.get(&(*clusters, Kind::Istiod));
        let connecting = istiod.map_or(f64::NAN, |one| stage.joined.cpu_ms / one.joined.cpu_ms);
        goal("CPU to connect a client", 0.1, "of istiod's", connecting);
        goal("a change here, p99", 5.0, "ms", stage.local.p99);
        goal("a change here, CPU", 3.0, "ms", stage.local.cpu_ms);
        if let Some(remote) = stage.remote {
            goal("a change elsewhere, p99", 5.0, "ms", remote.p99);
            goal("a change elsewhere, CPU", 3.0, "ms", remote.cpu_ms);
        }
        goal("a change in the churn, p99", 10.0, "ms", stage.churn.p99);
        goal("a change in the churn, CPU", 3.0, "ms", stage.churn.cpu_ms);
    }
    for ((clusters, _), cold) in colds.iter().filter(|((_, kind), _)| *kind == Kind::Diolkos) {
        let istiod = colds.get(&(*clusters, Kind::Istiod));
        let ratio = istiod.map_or(f64::NAN, |one| cold.seconds / one.seconds);
        let name = format!("cold start, {clusters} clusters");
        goals.push(Goal::at_most(&name, 0.3, "of istiod's", ratio));
    }
    let slope = slope(colds, Kind::Diolkos, endpoints);
    goals.push(Goal::at_most("memory for each further endpoint", 0.3, "KiB", slope));
    goals
}

pub(super) fn notes(settings: &Settings) -> Vec<String> {
    let tuning = TUNING.map(|(name, value)| format!("{name}={value}")).join(", ");
    vec![
        "Before each figure, every client held exactly the expected endpoints of every service; \
         else there would be no report. Of other clusters that is: no pod's address, both \
         gateways, and weights that add up to the ready endpoints there."
            .into(),
        "Times count from the API server's answer to the write. CPU is that of the control \
         plane's process, user and system, in steps of 10 ms over all changes; etcd, API servers \
         and clients share the cores with it."
            .into(),
        "diolkos is asked over TLS 1.3 with client certificates, istiod in plain text on its port \
         15010: handshakes and encryption count against diolkos alone."
            .into(),
        format!(
            "istiod tuned: {tuning}. diolkos has nothing to tune. istiod neither issues \
             certificates nor injects nor validates here."
        ),
        format!(
            "Each cluster has {} endpoints, a Pod each, and a network of its own; the churn goes \
             through all clusters in turn.",
            settings.services * settings.endpoints
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_slope_is_between_the_fewest_and_the_most_clusters() {
        let cold = |resident_mib| Cold { seconds: 1.0, cpu_seconds: 1.0, resident_mib };
        let mut colds = BTreeMap::new();
        for (clusters, mib) in [(1, 50.0), (2, 90.0), (5, 54.0)] {
            colds.insert((clusters, Kind::Diolkos), cold(mib));
        }
        assert_eq!(slope(&colds, Kind::Diolkos, 1_024), 1.0);
        assert!(slope(&colds, Kind::Istiod, 1_024).is_nan());
    }

    #[test]
    fn what_istiod_was_not_asked_cannot_be_a_goal_that_is_met() {
        let cold = Cold { seconds: 0.1, cpu_seconds: 0.1, resident_mib: 9.0 };
        let colds = BTreeMap::from([((1, Kind::Diolkos), cold)]);
        let goals = goals(&colds, &BTreeMap::new(), 10);
        assert_eq!(goals.len(), 2);
        assert!(goals.iter().all(|goal| !goal.met));
    }
}
