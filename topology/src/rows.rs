//! Endpoints as counts: the rows of a member, kept up with each endpoint that comes or goes.

use crate::change::Changes;
use crate::fact::{Health, Mtls};
use crate::index::{At, Class, Endpoint, Index, Member, Row, Targets};
use crate::intern::{Id, push_tight};

impl Index {
    /// Whether endpoints of the class can show an identity to anybody.
    pub(crate) fn shown_by(class: &Class) -> bool {
        class.health == Health::Ready && class.mtls == Mtls::Istio && class.refusal.is_none()
    }

    pub(crate) fn count_in(
        &mut self,
        member: Id<Member>,
        targets: Id<Targets>,
        endpoint: &Endpoint,
        changes: &mut Changes,
    ) {
        let at = self.at(endpoint.place);
        let rows = &mut self.members[member].rows;
        let same =
            |row: &&mut Row| row.class == endpoint.class && row.at == at && row.targets == targets;
        match rows.iter_mut().find(same) {
            Some(row) => {
                row.count += 1;
                self.moved(member, at, changes);
            }
            None => {
                self.note_rows(member, changes);
                let rows = &mut self.members[member].rows;
                push_tight(rows, Row { targets, at, class: endpoint.class, count: 1 });
                self.targets.retain(targets);
                self.moved(member, at, changes);
                self.flipped(member, targets, at, endpoint.class, changes);
            }
        }
        self.count_network(member, at, 1, changes);
    }

    pub(crate) fn count_out(
        &mut self,
        member: Id<Member>,
        targets: Id<Targets>,
        endpoint: &Endpoint,
        changes: &mut Changes,
    ) {
        let at = self.at(endpoint.place);
        let rows = &mut self.members[member].rows;
        let same =
            |row: &Row| row.class == endpoint.class && row.at == at && row.targets == targets;
        let place = rows.iter().position(same).expect("what is counted out was counted in");
        if rows[place].count == 1 {
            self.note_rows(member, changes);
        }
        let rows = &mut self.members[member].rows;
        rows[place].count -= 1;
        if rows[place].count == 0 {
            rows.swap_remove(place);
            self.flipped(member, targets, at, endpoint.class, changes);
            self.targets.release(targets);
        }
        self.moved(member, at, changes);
        self.count_network(member, at, -1, changes);
    }

    /// To be called before a row comes or goes. Which IPv6 endpoints are spare hangs on the rows:
    /// what an audience was told is worked out from them as they were.
    fn note_rows(&self, member: Id<Member>, changes: &mut Changes) {
        let known = &self.members[member];
        let dirt = changes.dirt(known.service);
        if dirt.rows.is_none()
            && dirt.held.is_none()
            && known.rows.iter().any(|row| self.is_v6(row.class))
        {
            dirt.rows = Some(known.rows.clone());
        }
    }

    fn moved(&self, member: Id<Member>, at: At, changes: &mut Changes) {
        changes.work.groups_touched += 1;
        changes.dirt(self.members[member].service).network(at.network);
    }

    /// A row came or went. Its identity did too, unless the member shows it by another row.
    fn flipped(
        &self,
        member: Id<Member>,
        targets: Id<Targets>,
        at: At,
        class: Id<Class>,
        changes: &mut Changes,
    ) {
        let member = &self.members[member];
        let dirt = changes.dirt(member.service);
        dirt.flips = true;
        let shown = self.classes.get(class);
        let (Some(identity), true) = (shown.identity, Self::shown_by(shown)) else { return };
        let elsewhere = member.rows.iter().filter(|row| {
            row.class == class && row.targets == targets && row.at.network == at.network
        });
        // The row itself is among them if it just came.
        let others = elsewhere.filter(|row| row.at != at).count();
        if others == 0 {
            dirt.identity(identity);
        }
    }

    pub(crate) fn count_network(
        &mut self,
        member: Id<Member>,
        at: At,
        by: i64,
        changes: &mut Changes,
    ) {
        let networks = &mut self.clusters[self.members[member].cluster].networks;
        let count = networks.entry(at.network).or_default();
        let before = *count;
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            networks.remove(&at.network);
        }
        if before == 0 || before.saturating_add_signed(by) == 0 {
            changes.networks = true;
        }
    }

    /// Counts the whole member out; `fold` counts it in again, by where and what things are then.
    pub(crate) fn unfold(&mut self, member: Id<Member>, changes: &mut Changes) {
        let rows = std::mem::take(&mut self.members[member].rows);
        for row in rows {
            self.count_network(member, row.at, -i64::from(row.count), changes);
            self.targets.release(row.targets);
        }
        for group in self.said_groups(member) {
            let at = self.said_at(group.place);
            self.count_network(member, at, -i64::from(group.count), changes);
        }
    }

    pub(crate) fn fold(&mut self, member: Id<Member>, changes: &mut Changes) {
        let addresses = self.addresses(member);
        changes.work.endpoints_rekeyed += addresses.len() as u64;
        for address in addresses {
            for (targets, endpoint) in self.effective(member, address, None) {
                self.count_in(member, targets, &endpoint, changes);
                self.targets.release(targets);
            }
        }
        for group in self.said_groups(member) {
            let at = self.said_at(group.place);
            self.count_network(member, at, i64::from(group.count), changes);
        }
        self.draw(member);
    }

    fn addresses(&self, member: Id<Member>) -> Vec<[u8; 16]> {
        let slices = self.members[member].slices.iter().map(|slice| &self.slices[*slice]);
        let mut addresses: Vec<_> =
            slices.flat_map(|slice| slice.endpoints.iter().map(|one| one.address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    pub(crate) fn said_groups(&self, member: Id<Member>) -> Vec<crate::index::SaidGroup> {
        let summary = self.members[member].summary.as_ref();
        summary.map_or_else(Vec::new, |summary| summary.groups.to_vec())
    }
}
