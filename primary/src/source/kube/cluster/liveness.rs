//! Whether the cluster is in sight.

use std::time::{Instant, SystemTime};

use diolkos_facts::ObjectKind;
use diolkos_topology::Event;

use super::super::error::ApiError;
use super::super::kinds;
use super::super::plan::Need;
use super::super::sight::State;
use super::{ClusterTask, Stage};

#[derive(Debug, Default)]
pub(super) struct Liveness {
    probe: Option<(Instant, ApiError)>,
    stale: bool,
    fresh: bool,
}

impl Liveness {
    /// Answers whether it failed before.
    pub(super) fn probed(&mut self, error: Option<ApiError>) -> bool {
        let failing = self.probe.is_some();
        self.probe = error.map(|error| {
            let since = self.probe.take().map_or_else(Instant::now, |(since, _)| since);
            (since, error)
        });
        failing
    }

    /// Whatever was shown of it last is over.
    pub(super) fn fresh(&mut self) {
        self.fresh = true;
    }
}

impl ClusterTask {
    /// Looks at the time: who is out of sight, what was held long enough, what is to be told.
    pub(super) async fn look(&mut self) {
        let now = Instant::now();
        for (kind, guard) in &self.guards {
            if guard.is_due() {
                self.bells[kind].relist.notify_one();
            }
        }
        match (self.tell_at, self.speech.has_rejections()) {
            (None, true) => self.tell_at = Some(now + self.pace.tell),
            (Some(at), _) if at <= now => {
                self.tell_at = None;
                self.speech.tell();
            }
            _ => {}
        }
        let failing = self.failing();
        if matches!(self.stage, Stage::Live) {
            self.sight.note(self.index.endpoints(), self.uid.as_deref());
            self.look_live(failing, now);
        } else {
            self.sight.set(match failing {
                Some((_, error)) if error.is_refusal() => State::Refused(error.to_string()),
                failing => State::Syncing(failing.map(|(_, error)| error.to_string())),
            });
            self.check_full().await;
        }
    }

    /// Since when any kind that is needed, or the server itself, does not answer as it should.
    fn failing(&self) -> Option<(Instant, ApiError)> {
        let needed = |kind: &&ObjectKind| kinds::plan(**kind).need == Need::Always;
        let feeds = ObjectKind::ALL.iter().filter(needed);
        let feeds = feeds.filter_map(|kind| self.sight.feeds[kind].failing());
        feeds.chain(self.liveness.probe.clone()).min_by_key(|(since, _)| *since)
    }

    fn look_live(&mut self, failing: Option<(Instant, ApiError)>, now: Instant) {
        let cluster = self.source.cluster.clone();
        match failing {
            Some((since, error)) if now.duration_since(since) >= self.pace.stale => {
                if !self.liveness.stale {
                    self.liveness.stale = true;
                    self.speech.event(Event::ClusterStale { cluster: cluster.clone() });
                    tracing::warn!(%cluster, "out of sight: {error}");
                    self.sight.set(match error.is_refusal() {
                        true => State::Refused(error.to_string()),
                        false => State::Stale(SystemTime::now()),
                    });
                }
            }
            Some(_) => {}
            None => {
                self.around.keeper.fresh(&cluster);
                if std::mem::take(&mut self.liveness.stale) {
                    self.speech.event(Event::ClusterFresh { cluster: cluster.clone() });
                    tracing::info!(%cluster, "in sight again");
                    self.sight.set(State::Synced);
                }
                if std::mem::take(&mut self.liveness.fresh) {
                    self.sight.set(State::Synced);
                }
            }
        }
    }
}
