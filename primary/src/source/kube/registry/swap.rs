//! A generation takes over from the one before it.

use diolkos_facts::EndpointLoss;

use super::super::cluster::Control;
use super::super::guard::{Signs, Verdict};
use super::super::sight::State;
use super::super::writer::{self, Whose};
use super::*;

impl Registry {
    pub(super) async fn report(&mut self, report: Report) {
        let Report::Full { source } = report;
        let Some(member) = self.state.members.get_mut(&source.cluster) else { return };
        let next = member.next.as_mut();
        let next = next.filter(|next| next.running.sight.generation == source.generation.0);
        // One that was ended meanwhile may still be heard.
        let Some(next) = next else { return };
        next.full = true;
        self.swap(&source.cluster).await;
    }

    /// Those that were held are looked at again.
    pub(super) async fn swap_held(&mut self) {
        let full = |member: &Member| member.next.as_ref().is_some_and(|next| next.full);
        let members = self.state.members.iter().filter(|(_, member)| full(member));
        for cluster in members.map(|(cluster, _)| cluster.clone()).collect::<Vec<_>>() {
            self.swap(&cluster).await;
        }
    }

    async fn swap(&mut self, cluster: &ClusterId) {
        let Some(member) = self.state.members.get_mut(cluster) else { return };
        let Some(mut next) = member.next.take_if(|next| next.full) else { return };
        if let Verdict::Hold(why) = judge(member, &next) {
            if next.running.sight.set(State::Held(why.clone())) {
                tracing::warn!(%cluster, "the new credential is held: {why}");
            }
            member.next = Some(next);
            return;
        }
        // From here to the new one's first word nobody speaks for the cluster; what was said
        // stays, and what changes meanwhile the new one knows.
        if let Some(live) = member.live.take() {
            live.running.end().await;
        }
        self.clients.put(cluster, next.client.clone());
        next.running.tell(Control::Go).await;
        if let Some(orders) = &self.orders {
            let whose = match *cluster == self.own.cluster {
                true => Whose::Own,
                false => Whose::Remote { own: self.own.cluster.to_string() },
            };
            next.writes.spawn(writer::run(next.client.clone(), whose, orders.clone()));
        }
        let sight = next.running.sight.clone();
        self.board.of(cluster, |shown| {
            shown.live = Some(sight);
            shown.next = None;
            shown.restored = None;
        });
        member.restored = None;
        member.live = Some(next);
    }
}

fn judge(member: &mut Member, next: &Generation) -> Verdict {
    let sight = &next.running.sight;
    let before = match (&member.live, member.restored) {
        (Some(live), _) => live.running.sight.endpoints(),
        (None, Some(restored)) => restored,
        (None, None) => 0,
    };
    let after = sight.endpoints();
    let loss = EndpointLoss { before, after, gone: before.saturating_sub(after) };
    let uid = sight.uid();
    member.guard.judge(loss, Signs { uid: uid.as_deref(), rewound: false })
}
