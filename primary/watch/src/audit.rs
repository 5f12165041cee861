//! A look at the truth beside a watch, for events that never came (istio/istio#54997).
//!
//! One list alone cannot tell a missed event from one that is under way. So what differs is looked
//! at twice: where two lists, [`AUDIT_GRACE_MS`] apart, agree with each other, and what is known
//! stayed the same in between and agrees with neither, an event was missed.

use std::collections::BTreeMap;
use std::fmt;

use diolkos_topology::Tick;

use crate::limit::{AUDIT_GRACE_MS, AUDIT_INTERVAL_MS, AUDIT_SUSPECTS_MAX};

/// Each object's resourceVersion, as a list or a watch said it.
pub type Versions<K> = BTreeMap<K, String>;

/// Where between nine and eleven minutes: from 0 to 1000, from whoever has dice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u16);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// List, then [`Audit::compare`].
    Compare,
    /// Copy what is known, list, then [`Audit::confirm`].
    Confirm,
    Wait(Tick),
}

/// How many objects are known otherwise than they are. Any is a reason to list everything anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Known, and not there.
    pub extra: usize,
    /// There, and not known.
    pub missing: usize,
    /// Known as they were before.
    pub stale: usize,
}

#[derive(Clone, Debug)]
pub struct Audit<K> {
    phase: Phase<K>,
}

#[derive(Clone, Debug)]
enum Phase<K> {
    Idle { due: Tick },
    Waiting { due: Tick, suspects: BTreeMap<K, Suspect> },
}

#[derive(Clone, Debug)]
struct Suspect {
    known: Option<String>,
    listed: Option<String>,
}

impl Jitter {
    pub fn new(permille: u16) -> Self {
        Self(permille.min(1_000))
    }
}

impl Drift {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub fn total(&self) -> usize {
        self.extra + self.missing + self.stale
    }
}

impl<K: Ord + Clone> Audit<K> {
    pub fn new(now: Tick, jitter: Jitter) -> Self {
        Self { phase: Phase::Idle { due: next(now, jitter) } }
    }

    pub fn step(&self, now: Tick) -> Step {
        match &self.phase {
            Phase::Idle { due } | Phase::Waiting { due, .. } if now < *due => Step::Wait(*due),
            Phase::Idle { .. } => Step::Compare,
            Phase::Waiting { .. } => Step::Confirm,
        }
    }

    /// A list failed, or everything was listed anew for another reason: later, from the beginning.
    pub fn put_off(&mut self, now: Tick, jitter: Jitter) {
        self.phase = Phase::Idle { due: next(now, jitter) };
    }

    /// The first list is complete, and is compared with what is known right now. `version` is the
    /// list's own: what is newer than the list is no suspect.
    pub fn compare(
        &mut self,
        now: Tick,
        jitter: Jitter,
        known: &Versions<K>,
        listed: &Versions<K>,
        version: &str,
    ) {
        let newer = |known: Option<&String>| {
            let known: Option<u64> = known.and_then(|text| text.parse().ok());
            known.zip(version.parse().ok()).is_some_and(|(known, list): (u64, u64)| known > list)
        };
        let all = known.keys().chain(listed.keys().filter(|key| !known.contains_key(*key)));
        let differing = all.filter_map(|key| {
            let (known, listed) = (known.get(key), listed.get(key));
            (known != listed && !newer(known)).then(|| {
                let suspect = Suspect { known: known.cloned(), listed: listed.cloned() };
                (key.clone(), suspect)
            })
        });
        let suspects: BTreeMap<K, Suspect> = differing.take(AUDIT_SUSPECTS_MAX).collect();
        self.phase = if suspects.is_empty() {
            Phase::Idle { due: next(now, jitter) }
        } else {
            Phase::Waiting { due: Tick(now.0.saturating_add(AUDIT_GRACE_MS)), suspects }
        };
    }

    /// The second list is complete. `known` is what was known before it was asked for.
    pub fn confirm(
        &mut self,
        now: Tick,
        jitter: Jitter,
        known: &Versions<K>,
        listed: &Versions<K>,
    ) -> Drift {
        let idle = Phase::Idle { due: next(now, jitter) };
        let mut drift = Drift::default();
        let Phase::Waiting { suspects, .. } = std::mem::replace(&mut self.phase, idle) else {
            return drift;
        };
        for (key, suspect) in suspects {
            let still = known.get(&key) == suspect.known.as_ref()
                && listed.get(&key) == suspect.listed.as_ref();
            match (still, &suspect.known, &suspect.listed) {
                (true, Some(_), None) => drift.extra += 1,
                (true, None, Some(_)) => drift.missing += 1,
                (true, Some(_), Some(_)) => drift.stale += 1,
                _ => {}
            }
        }
        drift
    }
}

fn next(now: Tick, jitter: Jitter) -> Tick {
    let spread = AUDIT_INTERVAL_MS / 5;
    let ahead = AUDIT_INTERVAL_MS - spread / 2 + spread * u64::from(jitter.0) / 1_000;
    Tick(now.0.saturating_add(ahead))
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { extra, missing, stale } = self;
        write!(f, "{missing} objects missing, {extra} too many, {stale} out of date")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Jitter = Jitter(500);
    const MINUTE: u64 = 60_000;

    fn versions(entries: &[(&'static str, &str)]) -> Versions<&'static str> {
        entries.iter().map(|(key, version)| (*key, (*version).to_owned())).collect()
    }

    type Entries = &'static [(&'static str, &'static str)];

    /// What was known and listed, first and second.
    fn drift(known: [Entries; 2], listed: [Entries; 2], version: &str) -> Drift {
        let mut audit = Audit::new(Tick(0), HALF);
        let [first, second] = [0, 1].map(|place| (versions(known[place]), versions(listed[place])));
        audit.compare(Tick(10 * MINUTE), HALF, &first.0, &first.1, version);
        match audit.step(Tick(10 * MINUTE)) {
            Step::Wait(until) if until == Tick(10 * MINUTE + AUDIT_GRACE_MS) => {
                assert_eq!(audit.step(until), Step::Confirm);
                audit.confirm(until, HALF, &second.0, &second.1)
            }
            _ => Drift::default(),
        }
    }

    #[test]
    fn regress_istio_54997_an_event_that_never_came_is_found() {
        let both = |entries: Entries| [entries, entries];
        let cases = [
            (both(&[("a", "1")]), both(&[("a", "1")]), (0, 0, 0)),
            (both(&[("a", "1"), ("b", "2")]), both(&[("a", "1")]), (1, 0, 0)),
            (both(&[("a", "1")]), both(&[("a", "1"), ("b", "2")]), (0, 1, 0)),
            (both(&[("a", "1")]), both(&[("a", "3")]), (0, 0, 1)),
            (both(&[]), both(&[("a", "1"), ("b", "2")]), (0, 2, 0)),
            // Versions that cannot be compared differ all the same.
            (both(&[("a", "x")]), both(&[("a", "y")]), (0, 0, 1)),
        ];
        for (known, listed, (extra, missing, stale)) in cases {
            let expected = Drift { extra, missing, stale };
            assert_eq!(drift(known, listed, "100"), expected, "{known:?} {listed:?}");
        }
    }

    #[test]
    fn what_was_under_way_is_no_drift() {
        let none = Drift::default();
        // The event came in between.
        assert_eq!(drift([&[], &[("a", "5")]], [&[("a", "5")], &[("a", "5")]], "9"), none);
        assert_eq!(drift([&[("a", "5")], &[]], [&[], &[]], "9"), none);
        assert_eq!(
            drift([&[("a", "4")], &[("a", "5")]], [&[("a", "5")], &[("a", "5")]], "9"),
            none
        );
        // It changes all the time, and the watch is a little behind.
        assert_eq!(
            drift([&[("a", "4")], &[("a", "4")]], [&[("a", "5")], &[("a", "6")]], "9"),
            none
        );
        // The watch was ahead of the list.
        assert_eq!(drift([&[("a", "12")]; 2], [&[("a", "8")]; 2], "9"), none);
        assert_eq!(drift([&[("a", "12")]; 2], [&[]; 2], "9"), none);
    }

    #[test]
    fn an_audit_comes_every_ten_minutes_more_or_less() {
        for (permille, minutes) in [(0, 9), (500, 10), (1_000, 11), (u16::MAX, 11)] {
            let audit: Audit<u8> = Audit::new(Tick(7), Jitter::new(permille));
            assert_eq!(audit.step(Tick(7)), Step::Wait(Tick(7 + minutes * MINUTE)));
            assert_eq!(audit.step(Tick(7 + minutes * MINUTE)), Step::Compare);
        }
        let mut audit = Audit::new(Tick(0), HALF);
        audit.compare(Tick(MINUTE), HALF, &versions(&[]), &versions(&[]), "1");
        assert_eq!(audit.step(Tick(MINUTE)), Step::Wait(Tick(11 * MINUTE)));
        audit.compare(Tick(MINUTE), HALF, &versions(&[("a", "1")]), &versions(&[]), "1");
        audit.put_off(Tick(MINUTE), HALF);
        assert_eq!(audit.step(Tick(MINUTE)), Step::Wait(Tick(11 * MINUTE)));
        assert!(audit.confirm(Tick(MINUTE), HALF, &versions(&[]), &versions(&[])).is_none());
    }

    #[test]
    fn as_many_suspects_as_the_limit_and_not_one_more() {
        for (count, found) in
            [(AUDIT_SUSPECTS_MAX, AUDIT_SUSPECTS_MAX), (AUDIT_SUSPECTS_MAX + 1, AUDIT_SUSPECTS_MAX)]
        {
            let listed: Versions<usize> = (0..count).map(|key| (key, "1".to_owned())).collect();
            let mut audit = Audit::new(Tick(0), HALF);
            audit.compare(Tick(0), HALF, &Versions::new(), &listed, "9");
            let drift = audit.confirm(Tick(0), HALF, &Versions::new(), &listed);
            assert_eq!((drift.missing, drift.total()), (found, found));
        }
    }
}
