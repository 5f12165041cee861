//! The guard against mass removals, told the time in its own measure.
//!
//! Its times are those of a cluster in earnest; a test makes the time go faster instead.

use std::time::{Duration, Instant};

use diolkos_facts::EndpointLoss;
use diolkos_topology::Tick;
use diolkos_watch::limit::HOLD_MS;
use diolkos_watch::{Guard, Judged, Loss, Relist};

#[derive(Clone, Debug)]
pub(super) struct Watchman {
    guard: Guard,
    began: Instant,
    hold: Duration,
}

/// What may be wrong with whoever says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs<'a> {
    pub(super) uid: Option<&'a str>,
    pub(super) rewound: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Hold(String),
}

impl Watchman {
    pub(super) fn new(accept_removal: bool, hold: Duration) -> Self {
        Self { guard: Guard::new(accept_removal), began: Instant::now(), hold }
    }

    /// Of a list that was just heard.
    pub(super) fn judge(&mut self, loss: EndpointLoss, signs: Signs<'_>) -> Verdict {
        let now = self.now();
        let EndpointLoss { before, after, gone } = loss;
        let relist = Relist {
            listed_at: now,
            loss: Loss { before, after, gone },
            uid: signs.uid,
            rewound: signs.rewound,
        };
        match self.guard.judge(now, &relist) {
            Judged::Apply { .. } => Verdict::Pass,
            Judged::Hold(suspicion) => Verdict::Hold(suspicion.to_string()),
        }
    }

    /// Something is held.
    pub(super) fn holds(&self) -> bool {
        self.guard.deadline().is_some()
    }

    /// It is time for a second list.
    pub(super) fn is_due(&self) -> bool {
        self.guard.deadline().is_some_and(|due| due <= self.now())
    }

    fn now(&self) -> Tick {
        let elapsed = self.began.elapsed().as_secs_f64() / self.hold.as_secs_f64().max(0.001);
        // A float becomes the nearest number there is.
        Tick((elapsed * HOLD_MS as f64) as u64)
    }
}
