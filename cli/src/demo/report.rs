//! What the demo found, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// The object that `--output json` prints.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) requests: usize,
    /// Every failed request, also the excused.
    pub(crate) failed: usize,
    /// Failed while under way on the gateway that was killed.
    pub(crate) failed_in_flight_on_killed_gateway: usize,
    pub(crate) direct: usize,
    pub(crate) cross_network: usize,
    /// Requests by way: `direct`, or the gateway's address.
    pub(crate) paths: BTreeMap<String, usize>,
    /// Percent of requests to the service in both clusters, by way, while nothing changed.
    pub(crate) split: BTreeMap<String, f64>,
    /// From each edit to the last request on the old route or the first on the new.
    pub(crate) convergence_ms: Vec<f64>,
    /// Requests in which both ends verified the other's SPIFFE id.
    pub(crate) identities_verified: usize,
    pub(crate) refused_as_expected: usize,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) seconds: f64,
    /// Why the demo did not pass; empty if it did.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    pub(crate) attempt: String,
    pub(crate) refused: bool,
    pub(crate) by: String,
    pub(crate) why: String,
}

impl Report {
    pub(crate) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }
}
