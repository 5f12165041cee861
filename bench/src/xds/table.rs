//! Figures as tables, goals and notes.

use std::collections::BTreeMap;

use super::drive::{Case, Figures};
use super::ground::Subject;
use super::probe::Served;
use crate::goal::Goal;
use crate::report::{Cell, Table};

impl Figures {
    /// From the event to the last client, without the watcher: the spread between clients, and
    /// what the primary itself says of the way to a single client's frame.
    fn past_event(&self, all: &[Self], spread: f64) -> f64 {
        let single = all.iter().find(|one| one.case == self.case && one.streams == 1);
        spread + single.map_or(f64::NAN, |one| one.convergence)
    }
}

pub(super) fn goals(figures: &[Figures]) -> Vec<Goal> {
    let streams = figures.iter().map(|one| one.streams).max().unwrap_or_default();
    let of = |case: Case| figures.iter().find(|one| one.streams == streams && one.case == case);
    let mut goals = Vec::new();
    for (case, bound) in [(Case::Local10, 25.0), (Case::WideWeight, 60.0)] {
        let name = format!("event to the last of {streams} clients, {}", case.name());
        let last = of(case).map_or(f64::NAN, |one| one.past_event(figures, one.spread));
        goals.push(Goal::at_most(&name, bound, "ms", last));
        let name = format!("the primary's CPU for each of {streams} clients, {}", case.name());
        let cpu = of(case).map_or(f64::NAN, |one| one.cpu_us);
        goals.push(Goal::at_most(&name, 15.0, "us", cpu));
    }
    let still = figures.iter().filter(|one| one.case == Case::WideSwap);
    let messages: usize = still.map(|one| one.messages).sum();
    goals.push(Goal::at_most("messages where the weights stay", 0.0, "messages", messages as f64));
    goals
}

pub(super) fn tables(
    figures: &[Figures],
    served: &BTreeMap<Subject, Served>,
    stages: &[(usize, f64)],
) -> Vec<Table> {
    vec![latency(figures), cost(figures, served), streams(stages), recorded()]
}

fn latency(figures: &[Figures]) -> Table {
    let columns = [
        "endpoints",
        "streams",
        "event to last ms",
        "worst",
        "first to last ms",
        "edit to first ms",
        "edit to last ms",
        "worst edit to last",
        "messages",
    ];
    let title = "One change to every stream (medians over changes; worst: of all changes)";
    let mut table = Table::new("latency", title, &columns);
    for one in figures {
        let numbers = [
            one.past_event(figures, one.spread),
            one.past_event(figures, one.spread_most),
            one.spread,
            one.first,
            one.last,
            one.last_most,
        ];
        let mut row = vec![Cell::Text(one.case.name().into()), Cell::Count(one.streams as u64)];
        row.extend(numbers.map(Cell::Number));
        row.push(Cell::Text(format!("{} for {} changes", one.messages, one.changes)));
        table.rows.push(row);
    }
    table
}

fn cost(figures: &[Figures], served: &BTreeMap<Subject, Served>) -> Table {
    let columns = [
        "endpoints",
        "streams",
        "entries",
        "resource B",
        "B on the wire a client",
        "serving CPU us a client",
        "load's CPU us a client",
        "file source CPU ms a change",
        "event to frame ms, mean",
        "waited for its core, ms a change",
    ];
    let title = "What one change costs the primary";
    let mut table = Table::new("cost", title, &columns);
    for one in figures {
        let served = served.get(&one.case.subject());
        table.rows.push(vec![
            Cell::Text(one.case.name().into()),
            Cell::Count(one.streams as u64),
            Cell::Count(served.map_or(0, |served| served.entries as u64)),
            Cell::Count(served.map_or(0, |served| served.bytes as u64)),
            Cell::Number(one.bytes),
            Cell::Number(one.cpu_us),
            Cell::Number(one.load_us),
            Cell::Number(one.source_ms),
            Cell::Number(one.convergence),
            Cell::Number(one.waited_ms),
        ]);
    }
    table
}

fn streams(stages: &[(usize, f64)]) -> Table {
    let title = "Streams: resident memory of the primary for each that joined";
    let mut table = Table::new("streams", title, &["streams", "KiB each"]);
    for (streams, bytes) in stages {
        let cells = vec![Cell::Count(*streams as u64), Cell::Number(bytes / 1024.0)];
        table.rows.push(cells);
    }
    table
}

/// Figures for istiod that were taken elsewhere, on an equal machine, and not in this run.
fn recorded() -> Table {
    let mut table = Table::new(
        "recorded_elsewhere",
        "Recorded elsewhere, not in this run: istiod (86c9f01), in process, without TLS, debounce \
         off; 2-core Xeon VM, 24 GiB",
        &[
            "endpoints of the service",
            "last of 1000 ms",
            "worst",
            "CPU us a client, clients' included",
        ],
    );
    for row in [
        ["10, 1 cluster", "47", "63", "84"],
        ["100, 10 clusters", "51", "57", "92"],
        ["1000, 100 clusters", "186", "229", "341"],
    ] {
        table.rows.push(row.map(|text| Cell::Text(text.into())).to_vec());
    }
    table
}

pub(super) fn notes() -> Vec<String> {
    [
        "'Edit to' counts from the manifest's rename and holds the file watcher: it waits 20 ms \
         for an editor to finish and looks at every folder. The goals are about the rest.",
        "'Event to last' is the time from the first client's receipt to the last's, plus the \
         primary's own mean from an event to its frame when there is a single client.",
        "Clients are light (one thread, no HTTP/2 library), read the clock before they answer, \
         and acknowledge every response; the primary's CPU holds these acknowledgements.",
        "Load and primary have a core each, as far as other work on the machine leaves it to them.",
    ]
    .map(String::from)
    .to_vec()
}
