//! A cluster does not lose most of its endpoints because an API server forgot them.
//!
//! An etcd that lost its disk answers with an empty list, and one that was restored from a backup
//! with an old one; both are answers like any other. A list that takes more than half of a cluster's
//! endpoints away, and bears a sign of such a past, has to be said twice, a minute apart, or accepted
//! by a person.

use std::fmt;

use diolkos_topology::Tick;

use crate::limit::{HOLD_MS, SUSPICIOUS_ENDPOINTS_MIN};
use crate::loss::Loss;

/// One cluster's guard.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Of the cluster whose word counts: that of its namespace kube-system.
    uid: Option<String>,
    hold: Option<Hold>,
    accept_removal: bool,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Tick,
    released: bool,
}

/// A list that is complete and has no effect yet; or a whole new generation of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Relist<'a> {
    /// When it was asked for.
    pub listed_at: Tick,
    /// Against what counts now, not against what was held back.
    pub loss: Loss,
    /// `None`: it could not be read.
    pub uid: Option<&'a str>,
    pub rewound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Apply {
        /// It is another cluster than before, by its uid. Somebody should know.
        another: bool,
    },
    /// Keep what counts, and list again at the deadline.
    Hold(Suspicion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub loss: Loss,
    pub another: bool,
    pub rewound: bool,
    pub until: Tick,
    /// For the first time: worth a notice.
    pub fresh: bool,
}

impl Guard {
    /// `accept_removal`: the operator said beforehand that whatever vanishes is meant to.
    pub fn new(accept_removal: bool) -> Self {
        Self { accept_removal, ..Self::default() }
    }

    pub fn judge(&mut self, now: Tick, relist: &Relist<'_>) -> Judged {
        let another = relist.uid.zip(self.uid.as_deref()).is_some_and(|(new, known)| new != known);
        let confirmed =
            self.hold.is_some_and(|hold| hold.released || relist.listed_at >= hold.until);
        if self.accept_removal || confirmed || !suspicious(relist, another) {
            self.hold = None;
            if let Some(uid) = relist.uid {
                self.uid = Some(uid.to_owned());
            }
            return Judged::Apply { another };
        }
        let fresh = self.hold.is_none();
        let until = Tick(now.0.saturating_add(HOLD_MS));
        let hold = *self.hold.get_or_insert(Hold { until, released: false });
        let (loss, rewound) = (relist.loss, relist.rewound);
        Judged::Hold(Suspicion { loss, another, rewound, until: hold.until, fresh })
    }

    /// When to list again, while something is held.
    pub fn deadline(&self) -> Option<Tick> {
        self.hold.map(|hold| hold.until)
    }

    /// A person accepts what is held: the next judgement is `Apply`. False where nothing is held,
    /// so that nothing is accepted that nobody has seen.
    pub fn accept(&mut self) -> bool {
        match &mut self.hold {
            Some(hold) => {
                hold.released = true;
                true
            }
            None => false,
        }
    }
}

fn suspicious(relist: &Relist<'_>, another: bool) -> bool {
    let Loss { before, after, gone } = relist.loss;
    let massive = gone >= SUSPICIOUS_ENDPOINTS_MIN && gone > before / 2;
    massive && (another || relist.rewound || after == 0)
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at once", self.loss)?;
        if self.loss.after == 0 {
            f.write_str(", and the list is empty")?;
        }
        if self.another {
            f.write_str(", and the cluster has another uid than before")?;
        }
        if self.rewound {
            f.write_str(", and its versions went back")?;
        }
        let seconds = HOLD_MS / 1_000;
        write!(
            f,
            ": held for {seconds} s, then a second list decides; accept the removal if it is meant"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = HOLD_MS;

    fn loss(before: usize, gone: usize, after: usize) -> Loss {
        Loss { before, after, gone }
    }

    fn relist(at: u64, loss: Loss) -> Relist<'static> {
        Relist { listed_at: Tick(at), loss, uid: Some("one"), rewound: false }
    }

    /// A guard that knows its cluster.
    fn guard() -> Guard {
        let mut guard = Guard::new(false);
        let first = guard.judge(Tick(0), &relist(0, loss(0, 0, 60)));
        assert_eq!(first, Judged::Apply { another: false });
        guard
    }

    fn held(judged: Judged) -> bool {
        matches!(judged, Judged::Hold(_))
    }

    #[test]
    fn r10_only_much_at_once_with_a_sign_is_suspicious() {
        let none = |one: Relist<'static>| one;
        let uid = |one: Relist<'static>| Relist { uid: Some("two"), ..one };
        let rewound = |one: Relist<'static>| Relist { rewound: true, ..one };
        let unknown = |one: Relist<'static>| Relist { uid: None, ..one };
        type Change = fn(Relist<'static>) -> Relist<'static>;
        let cases: &[(Loss, Change, bool)] = &[
            (loss(60, 60, 0), none, true),
            (loss(20, 20, 0), none, true),
            (loss(19, 19, 0), none, false),
            (loss(60, 60, 0), unknown, true),
            (loss(60, 60, 5), none, false),
            (loss(60, 60, 5), uid, true),
            (loss(60, 60, 5), rewound, true),
            (loss(60, 31, 29), rewound, true),
            (loss(60, 30, 30), rewound, false),
            (loss(61, 30, 31), rewound, false),
            (loss(61, 31, 30), rewound, true),
            (loss(39, 20, 19), uid, true),
            (loss(40, 20, 20), uid, false),
            (loss(60, 59, 1), none, false),
            (loss(60, 59, 1), unknown, false),
            (loss(0, 0, 0), uid, false),
        ];
        for (loss, change, expected) in cases {
            let judged = guard().judge(Tick(10), &change(relist(10, *loss)));
            assert_eq!(held(judged), *expected, "{loss:?} {judged:?}");
        }
    }

    #[test]
    fn r10_a_second_list_after_a_minute_confirms() {
        let mut guard = guard();
        let empty = |at| relist(at, loss(60, 60, 0));
        let Judged::Hold(first) = guard.judge(Tick(1_000), &empty(900)) else { panic!("applied") };
        assert_eq!((first.until, first.fresh), (Tick(1_000 + MINUTE), true));
        assert_eq!(guard.deadline(), Some(first.until));
        let Judged::Hold(again) = guard.judge(Tick(30_000), &empty(29_000)) else {
            panic!("applied too early")
        };
        assert_eq!(again, Suspicion { fresh: false, ..first }, "the minute does not begin anew");
        // Complete after the minute, but asked for before it was over.
        assert!(held(guard.judge(Tick(1_500 + MINUTE), &empty(999 + MINUTE))));
        let judged = guard.judge(Tick(1_500 + MINUTE), &empty(1_000 + MINUTE));
        assert_eq!(judged, Judged::Apply { another: false });
        assert_eq!(guard.deadline(), None);
    }

    #[test]
    fn r10_a_list_that_has_everything_again_ends_it_and_the_next_loss_waits_anew() {
        let mut guard = guard();
        assert!(held(guard.judge(Tick(0), &relist(0, loss(60, 60, 0)))));
        let whole = guard.judge(Tick(5_000), &relist(5_000, loss(60, 0, 60)));
        assert_eq!(whole, Judged::Apply { another: false });
        let Judged::Hold(held) = guard.judge(Tick(90_000), &relist(90_000, loss(60, 60, 0))) else {
            panic!("applied")
        };
        assert_eq!((held.until, held.fresh), (Tick(90_000 + MINUTE), true));
    }

    #[test]
    fn r10_a_person_can_accept_what_is_held_and_nothing_else() {
        let mut guard = guard();
        assert!(!guard.accept(), "there is nothing to accept");
        assert!(held(guard.judge(Tick(0), &relist(0, loss(60, 60, 0)))));
        assert!(guard.accept());
        let judged = guard.judge(Tick(1), &relist(0, loss(60, 60, 0)));
        assert_eq!(judged, Judged::Apply { another: false });
        assert!(held(guard.judge(Tick(2), &relist(2, loss(60, 60, 0)))), "once");
        let mut always = Guard::new(true);
        let judged = always.judge(Tick(0), &relist(0, loss(60, 60, 0)));
        assert_eq!(judged, Judged::Apply { another: false });
    }

    #[test]
    fn r10_another_cluster_is_told_and_known_only_once_its_word_counts() {
        let mut guard = guard();
        let other = |at, loss| Relist { uid: Some("two"), ..relist(at, loss) };
        let Judged::Hold(first) = guard.judge(Tick(0), &other(0, loss(60, 60, 30))) else {
            panic!("applied")
        };
        assert!(first.another);
        assert!(held(guard.judge(Tick(1), &other(1, loss(60, 60, 30)))), "it is still another");
        let judged = guard.judge(Tick(MINUTE), &other(MINUTE, loss(60, 60, 30)));
        assert_eq!(judged, Judged::Apply { another: true });
        let judged = guard.judge(Tick(MINUTE + 1), &other(MINUTE + 1, loss(30, 30, 1)));
        assert_eq!(judged, Judged::Apply { another: false }, "it is the one now");
        // With little lost it counts at once, and is told.
        let judged = guard.judge(Tick(MINUTE + 2), &relist(MINUTE + 2, loss(30, 1, 30)));
        assert_eq!(judged, Judged::Apply { another: true });
    }

    #[test]
    fn a_suspicion_says_what_and_why_and_what_to_do() {
        let suspicion = Suspicion {
            loss: loss(60, 60, 0),
            another: true,
            rewound: true,
            until: Tick(0),
            fresh: true,
        };
        assert_eq!(
            suspicion.to_string(),
            "60 of 60 endpoints would be gone at once, and the list is empty, and the cluster has \
             another uid than before, and its versions went back: held for 60 s, then a second \
             list decides; accept the removal if it is meant"
        );
    }
}
