//! What an audience is told of gateways: of each network its own, of a way out the sum.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Job, Turn};
use crate::index::Index;
use crate::intern::Id;
use crate::name::{ClusterId, Locality, NetworkId, Port};
use crate::told::{ToldGateway, ToldPort};
use crate::view::{ViewGateway, WEIGHT_MAX, What};

impl Job<'_> {
    pub(super) fn tell_gateways(
        &mut self,
        turn: &Turn<'_>,
        told: &mut ToldPort,
        own: Id<NetworkId>,
    ) {
        let mut networks = match &turn.touched {
            Some(touched) => touched.networks.clone(),
            None => {
                let known = told.gateways.iter();
                let known = known.filter_map(|one| self.index.gateways.network_of(one.gateway));
                let mut all = self.networks();
                all.extend(known);
                all.into_iter().collect()
            }
        };
        networks.retain(|network| *network != own);
        let (mut all_was, mut all_now) = (Vec::new(), Vec::new());
        let mut changed = 0;
        for network in networks {
            let now = self.unit(turn, told.port, network);
            let gateways = &self.index.gateways;
            let was = told.gateways.those(|id| gateways.network_of(id) == Some(network));
            if was != now {
                changed += 1;
                all_was.extend(was);
                all_now.extend(now);
            }
        }
        // At once: a gateway that changed networks is one address, which stays.
        if changed > 1 {
            all_was.sort_unstable_by_key(|told| told.gateway);
            all_now.sort_unstable_by_key(|told| told.gateway);
        }
        told.gateways.replace(&all_was, &all_now);
        self.emit_gateways(turn, told, &all_was, &all_now);
    }

    /// All networks on which anybody has endpoints of the service.
    fn networks(&self) -> BTreeSet<Id<NetworkId>> {
        let members = self.index.services[self.service].members.iter();
        let mut networks = BTreeSet::new();
        for (_, member) in members {
            let member = &self.index.members[*member];
            networks.extend(member.rows.iter().map(|row| row.at.network));
            let summary = member.summary.iter().flat_map(|summary| &summary.groups);
            networks.extend(summary.map(|group| self.index.said_at(group.place).network));
        }
        networks
    }

    /// Sorted by gateway number.
    fn unit(&mut self, turn: &Turn<'_>, port: Port, network: Id<NetworkId>) -> Vec<ToldGateway> {
        let shares = self
            .shares
            .entry((port, network))
            .or_insert_with(|| self.index.shares(self.service, port, network));
        self.work.units_derived += 1;
        self.work.shares_visited += shares.len() as u64;
        let unit = self.index.unit(&turn.who, turn.scope, network, shares);
        unit.iter()
            .map(|share| ToldGateway {
                gateway: share.gateway,
                locality: share.locality.id,
                weight: share.weight.min(WEIGHT_MAX),
                priority: share.priority,
            })
            .collect()
    }

    /// Of the addresses of `was` and `now`, those about which there is something else to say. A way
    /// out is one address for all the networks behind it: what is told of the others counts too.
    fn emit_gateways(
        &mut self,
        turn: &Turn<'_>,
        told: &ToldPort,
        was: &[ToldGateway],
        now: &[ToldGateway],
    ) {
        if was == now {
            return;
        }
        let index = self.index;
        let mut sums: BTreeMap<SocketAddr, [Option<ToldGateway>; 2]> = BTreeMap::new();
        for (side, list) in [was, now].into_iter().enumerate() {
            for told in list {
                let at = index.gateways.get(told.gateway);
                add(index, &mut sums.entry(at.address).or_default()[side], told);
            }
        }
        if was.iter().chain(now).any(|told| index.gateways.is_way_out(told.gateway)) {
            let is_new = |told: &ToldGateway| {
                now.binary_search_by_key(&told.gateway, |new| new.gateway).is_ok()
            };
            for told in told.gateways.iter().filter(|told| !is_new(told)) {
                let at = index.gateways.get(told.gateway);
                for side in sums.get_mut(&at.address).into_iter().flatten() {
                    add(index, side, &told);
                }
            }
        }
        let port = self.service_port(told.port);
        for (address, [was, now]) in sums {
            if was.map(|told| said(index, &told)) == now.map(|told| said(index, &told)) {
                continue;
            }
            let entry = now.map(|told| {
                Arc::new(ViewGateway {
                    cluster: index.gateways.get(told.gateway).cluster.clone(),
                    locality: index.localities.get(told.locality).clone(),
                    priority: told.priority,
                    weight: told.weight,
                })
            });
            let port = port.clone();
            self.emit(turn.audience, What::Gateway { port, address, entry });
        }
    }
}

/// One number more that is told of an address.
fn add(index: &Index, known: &mut Option<ToldGateway>, told: &ToldGateway) {
    let Some(known) = known else {
        *known = Some(*told);
        return;
    };
    known.weight = known.weight.saturating_add(told.weight).min(WEIGHT_MAX);
    let rank = |told: &ToldGateway| (told.priority, index.localities.get(told.locality));
    if rank(told) < rank(known) {
        (known.priority, known.locality) = (told.priority, told.locality);
    }
    let owner = |told: &ToldGateway| &index.gateways.get(told.gateway).cluster;
    if owner(told) < owner(known) {
        known.gateway = told.gateway;
    }
}

/// All that a view says of it: its number is nobody's business.
fn said<'i>(index: &'i Index, told: &ToldGateway) -> (&'i ClusterId, Id<Locality>, u8, u64) {
    let cluster = &index.gateways.get(told.gateway).cluster;
    (cluster, told.locality, told.priority, told.weight)
}
