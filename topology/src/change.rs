//! What an event touched, gathered while facts are written, and worked off by `derive`.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_trust::SpiffeId;

use crate::audience::AudienceId;
use crate::index::{Cluster, Endpoint, Row, Service, Targets};
use crate::intern::Id;
use crate::local::LocalEntries;
use crate::name::NetworkId;
use crate::notice::Notice;
use crate::work::Work;

#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) services: BTreeMap<Id<Service>, Dirt>,
    /// Services whose exporters may disagree now.
    pub(crate) merges: BTreeSet<Id<Service>>,
    pub(crate) gateways: bool,
    /// Some cluster has endpoints on a network where it had none, or none where it had some.
    pub(crate) networks: bool,
    pub(crate) notices: Vec<Notice>,
    pub(crate) work: Work,
}

/// What changed about one service. Only one cluster's facts change in one event.
#[derive(Debug, Default)]
pub(crate) struct Dirt {
    /// Who sees it, and by which ports, may have changed.
    pub(crate) scope: bool,
    /// The ways to it, or rules about all of it, may have changed.
    pub(crate) everything: bool,
    /// A row appeared or vanished.
    pub(crate) flips: bool,
    /// Networks on which counts moved.
    pub(crate) networks: Vec<Id<NetworkId>>,
    /// Identities that a member began or ceased to show.
    pub(crate) identities: Vec<Id<SpiffeId>>,
    /// Endpoints that changed, where all else about the member stayed.
    pub(crate) pieces: Vec<Piece>,
    /// The member's rows before the first of them came or went, if it had IPv6 ones by then.
    pub(crate) rows: Option<Vec<Row>>,
    /// Whose facts changed.
    pub(crate) cluster: Option<Id<Cluster>>,
    /// What one cluster had before the change.
    pub(crate) held: Option<Held>,
}

#[derive(Debug)]
pub(crate) struct Held {
    /// To each audience, of its own network.
    pub(crate) entries: BTreeMap<AudienceId, LocalEntries>,
    pub(crate) networks: Vec<Id<NetworkId>>,
    pub(crate) identities: Vec<Id<SpiffeId>>,
}

/// An endpoint of a slice as it was or is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) side: Side,
    pub(crate) targets: Id<Targets>,
    pub(crate) endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Was,
    Is,
}

impl Piece {
    fn says_the_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.endpoint, &other.endpoint);
        self.targets == other.targets
            && (a.address, a.class, a.place, a.workload)
                == (b.address, b.class, b.place, b.workload)
    }
}

impl Changes {
    pub(crate) fn dirt(&mut self, service: Id<Service>) -> &mut Dirt {
        self.services.entry(service).or_default()
    }

    pub(crate) fn scope(&mut self, service: Id<Service>) {
        self.dirt(service).scope = true;
        self.merges.insert(service);
    }
}

impl Dirt {
    pub(crate) fn network(&mut self, network: Id<NetworkId>) {
        if !self.networks.contains(&network) {
            self.networks.push(network);
        }
    }

    pub(crate) fn identity(&mut self, identity: Id<SpiffeId>) {
        if !self.identities.contains(&identity) {
            self.identities.push(identity);
        }
    }

    /// The member's rows before the event.
    pub(crate) fn rows_before<'d>(&'d self, now: &'d [Row]) -> &'d [Row] {
        self.rows.as_deref().unwrap_or(now)
    }

    /// Sorts pieces by address and strikes out what was undone within the same event (an endpoint
    /// that moved from one slice to another, say).
    pub(crate) fn net_pieces(&mut self) {
        if self.held.is_some() {
            self.pieces.clear();
            return;
        }
        self.pieces.sort_by_key(|piece| (piece.endpoint.address, piece.side));
        let mut net: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for group in self.pieces.chunk_by(|a, b| a.endpoint.address == b.endpoint.address) {
            let begin = net.len();
            for piece in group {
                let undone = net[begin..]
                    .iter()
                    .position(|known| known.side != piece.side && known.says_the_same(piece));
                match undone {
                    Some(index) => {
                        net.remove(begin + index);
                    }
                    None => net.push(*piece),
                }
            }
        }
        self.pieces = net;
    }
}
