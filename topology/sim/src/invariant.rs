//! What must hold, by name.

use std::fmt;

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident $word:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant { $($(#[$doc])* $name,)* }

        impl fmt::Display for Invariant {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $word,)* })
            }
        }
    };
}

invariants! {
    // After each action, or what the primary heard in its course.
    /// While no cluster changes, whatever else happens, what clients use stays as it is.
    CalmMeshIsStill "calm_mesh_is_still",
    /// Deltas add up to what the oracle derives of what the primary was told.
    DeltasAddUp "deltas_add_up",
    /// Nothing a client takes in names what it was not given.
    NoDanglingReference "no_dangling_reference",
    /// Nobody is served an endpoint or gateway that no cluster ever advertised for that service.
    NothingUnadvertised "nothing_unadvertised",
    /// What an older epoch or generation says changes nothing.
    NothingOlderLands "nothing_older_lands",
    /// No response waits behind another of its type.
    OneResponsePerType "one_response_per_type",
    /// A remote cluster never sets the ports of a service that the client's own cluster has.
    OwnPortsStay "own_ports_stay",
    /// Losing or gaining sight of a cluster removes nothing.
    StaleKeepsEndpoints "stale_keeps_endpoints",
    /// A client is told of another cluster's endpoints only where that cluster exported them to it.
    UnexportedStaysHome "unexported_stays_home",
    /// A gateway's names and targets are exported mTLS endpoints of its own network.
    GatewayKeepsToItsNetwork "gateway_keeps_to_its_network",
    /// A refusal is known to the primary, with its reason.
    NackSurfaces "nack_surfaces",
    /// What sends sidecars to a network's gateways with a name gives those gateways, with the same
    /// word, somewhere to lead it.
    ToldTogether "told_together",
    /// Once a sidecar and a gateway have both taken what they were told, the gateway leads
    /// somewhere whatever the sidecar sends it.
    TakenNamesAreRouted "taken_names_are_routed",
    /// A session takes every request of a client that behaves.
    RequestsAreTaken "requests_are_taken",
    // At rest.
    /// Clients and the primary run out of things to say.
    ComesToRest "comes_to_rest",
    /// Every client is given its stream.
    EveryoneIsServed "everyone_is_served",
    /// Every client has what the oracle derives of the truth.
    ClientsEqualTruth "clients_equal_truth",
    /// Every server name that a sidecar sends to a gateway leads to an endpoint of the truth. (No
    /// more than this, `ToldTogether` and `TakenNamesAreRouted` can be had: see `world::names`.)
    NamesAreRoutable "names_are_routable",
    /// Nothing panics.
    NobodyPanics "nobody_panics",
}

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub why: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, why: impl Into<String>) -> Self {
        Self { invariant, why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.why)
    }
}

pub type Checked<T = ()> = Result<T, Violation>;

/// The violation, unless it holds.
pub(crate) fn holds(holds: bool, invariant: Invariant, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(invariant, why())) }
}
