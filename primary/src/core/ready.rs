//! Ready: every declared cluster was heard once, or waiting any longer would help nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use diolkos_topology::{ClusterId, Event, Tick};
use tokio::sync::watch;

use crate::source::Listed;

/// `Ok` once clients may be served, else what is waited for. Once ready, always ready.
#[derive(Clone, Debug)]
pub(crate) struct Readiness(Arc<watch::Sender<Result<(), String>>>);

impl Readiness {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::channel(Err("the mesh file".to_owned())).0))
    }

    pub(crate) fn set(&self, ready: Result<(), String>) {
        drop(self.0.send_replace(ready));
    }

    pub(crate) fn get(&self) -> Result<(), String> {
        self.0.borrow().clone()
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    by: Tick,
    declared: Option<BTreeSet<ClusterId>>,
    /// Whether `declared` is all there is.
    listed: Listed,
    heard: BTreeSet<ClusterId>,
    ready: Readiness,
    done: bool,
}

impl Waiting {
    pub(super) fn new(by: Tick, ready: Readiness) -> Self {
        let (listed, heard) = (Listed::SoFar, BTreeSet::new());
        Self { by, declared: None, listed, heard, ready, done: false }
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        self.ready.get()
    }

    pub(super) fn declare<'a>(
        &mut self,
        clusters: impl Iterator<Item = &'a ClusterId>,
        listed: Listed,
    ) {
        self.declared = Some(clusters.cloned().collect());
        self.listed = listed;
    }

    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Activate { source } = event
            && !self.done
        {
            self.heard.insert(source.cluster.clone());
        }
    }

    pub(super) fn deadline(&self) -> Option<Tick> {
        // Without a mesh file there is nothing to serve, however late it is.
        (!self.done && self.declared.is_some()).then_some(self.by)
    }

    pub(super) fn check(&mut self, now: Tick) {
        let Some(declared) = &self.declared else { return };
        if self.done {
            return;
        }
        let mut missing: Vec<&str> =
            declared.difference(&self.heard).map(ClusterId::as_str).collect();
        if self.listed == Listed::SoFar {
            missing.push("whoever registers the clusters");
        }
        if missing.is_empty() {
            tracing::info!(clusters = declared.len(), "ready");
        } else if now >= self.by {
            tracing::warn!(
                missing = missing.join(", "),
                "ready without having heard every cluster"
            );
        } else {
            let waited_for = format!("the first facts of {}", missing.join(", "));
            self.ready.set(Err(waited_for));
            return;
        }
        self.done = true;
        self.ready.set(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_topology::{Generation, Source};

    fn cluster(name: &str) -> ClusterId {
        ClusterId::new(name).unwrap()
    }

    fn heard(waiting: &mut Waiting, name: &str) {
        let source = Source { cluster: cluster(name), generation: Generation(1) };
        waiting.note(&Event::Activate { source });
    }

    #[test]
    fn ready_after_the_last_declared_cluster_was_heard() {
        let ready = Readiness::new();
        let mut waiting = Waiting::new(Tick(100), ready.clone());
        waiting.check(Tick(0));
        assert_eq!(ready.get(), Err("the mesh file".into()));
        waiting.declare([cluster("east"), cluster("west")].iter(), Listed::All);
        heard(&mut waiting, "west");
        waiting.check(Tick(1));
        assert_eq!(ready.get(), Err("the first facts of east".into()));
        heard(&mut waiting, "east");
        waiting.check(Tick(2));
        assert_eq!(ready.get(), Ok(()));
        waiting.declare([cluster("north")].iter(), Listed::All);
        waiting.check(Tick(3));
        assert_eq!(ready.get(), Ok(()), "once ready, always ready");
    }

    #[test]
    fn r3_a_silent_cluster_holds_nobody_up_after_the_deadline() {
        let ready = Readiness::new();
        let mut waiting = Waiting::new(Tick(100), ready.clone());
        assert_eq!(waiting.deadline(), None);
        waiting.declare([cluster("east")].iter(), Listed::All);
        assert_eq!(waiting.deadline(), Some(Tick(100)));
        waiting.check(Tick(99));
        assert!(ready.get().is_err());
        waiting.check(Tick(100));
        assert_eq!(ready.get(), Ok(()));
        assert_eq!(waiting.deadline(), None);
    }

    #[test]
    fn regress_istio_sync_gate_own_facts_alone_are_not_ready() {
        let ready = Readiness::new();
        let mut waiting = Waiting::new(Tick(100), ready.clone());
        waiting.declare([cluster("own")].iter(), Listed::SoFar);
        heard(&mut waiting, "own");
        waiting.check(Tick(1));
        assert!(ready.get().is_err(), "remotes may still be registered");
        waiting.declare([cluster("own"), cluster("west")].iter(), Listed::All);
        waiting.check(Tick(2));
        assert_eq!(ready.get(), Err("the first facts of west".into()));
        heard(&mut waiting, "west");
        waiting.check(Tick(3));
        assert_eq!(ready.get(), Ok(()));
    }
}
