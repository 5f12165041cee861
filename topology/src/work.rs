//! What the federation did, counted, so that tests can hold the work to the change.

/// Totals since the federation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub events: u64,
    /// Slices compared with what they were.
    pub slices_diffed: u64,
    /// Endpoints that differed in such a slice.
    pub endpoints_diffed: u64,
    /// Counters of groups that moved.
    pub groups_touched: u64,
    /// Endpoints visited because something they hang on changed (node, network, grants, ports).
    pub endpoints_rekeyed: u64,
    /// (audience, service port, network) folded and spread.
    pub units_derived: u64,
    /// Clusters' shares visited while doing so.
    pub shares_visited: u64,
    /// (audience, service) whose service entry was derived.
    pub services_derived: u64,
    /// (audience, service port) whose identities were united.
    pub identities_united: u64,
    /// (audience, endpoint) classified because that endpoint changed.
    pub endpoints_classified: u64,
    /// Changes sent.
    pub entries_emitted: u64,
}

impl Work {
    /// What was done after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            events: self.events - earlier.events,
            slices_diffed: self.slices_diffed - earlier.slices_diffed,
            endpoints_diffed: self.endpoints_diffed - earlier.endpoints_diffed,
            groups_touched: self.groups_touched - earlier.groups_touched,
            endpoints_rekeyed: self.endpoints_rekeyed - earlier.endpoints_rekeyed,
            units_derived: self.units_derived - earlier.units_derived,
            shares_visited: self.shares_visited - earlier.shares_visited,
            services_derived: self.services_derived - earlier.services_derived,
            identities_united: self.identities_united - earlier.identities_united,
            endpoints_classified: self.endpoints_classified - earlier.endpoints_classified,
            entries_emitted: self.entries_emitted - earlier.entries_emitted,
        }
    }
}
