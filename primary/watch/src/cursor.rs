//! One collection's place in its stream, and whether the stream can be believed.
//!
//! An etcd that is restored from a snapshot counts its revisions from there again. A watch that was
//! ahead of it waits in silence for a number that comes late, and misses everything until then
//! (kubernetes/kubernetes#107457). So each version that is heard is compared with the highest seen,
//! and a watch that says nothing is checked by a consistent read.

use std::fmt;

/// What the API server said of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// It has nothing to tell up to this version.
    Bookmark {
        version: &'a str,
    },
    /// An object came, changed or went. Not those of a streamed list before its end: they come in
    /// any order, and its end is [`Cursor::listed`].
    Event {
        version: &'a str,
    },
    Failed(Failure),
    /// The answer to a consistent read (without resourceVersion) of the collection.
    Probed {
        probe: Probe,
        version: &'a str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 410: the version is too old to go on from.
    Expired,
    /// 504, `ResourceVersionTooLarge`: the version is yet to come.
    Ahead,
    /// The connection ended, timed out, or was refused: nothing about versions.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, or watch again from where it was.
    Continue,
    /// List everything, consistently (without resourceVersion: to ask for the one that is not there
    /// ends in a circle, kubernetes/kubernetes#91073), and watch from there.
    Relist(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Ahead,
    Expired,
    /// Nothing was listed yet.
    Never,
    /// Versions went back.
    Rewound {
        from: u64,
        to: u64,
    },
}

/// What was known when a read began. Whatever the answer says, it must not be older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    seen: Option<u64>,
}

/// What a list says about the stream before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// It is older than what was seen before: a sign for the guard.
    pub rewound: Option<(u64, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The highest version, as far as versions are numbers.
    seen: Option<u64>,
    lost: Lost,
}

/// Why the stream is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    No,
    Yes(Reason),
}

impl Default for Lost {
    fn default() -> Self {
        Self::Yes(Reason::Never)
    }
}

impl Cursor {
    /// Of a collection that was seen up to a version in another life.
    pub fn remembered(version: &str) -> Self {
        Self { seen: number(version), lost: Lost::default() }
    }

    /// A consistent list is complete. From here on it counts, older or not.
    pub fn listed(&mut self, version: &str) -> Listing {
        let now = number(version);
        let rewound = self.seen.zip(now).filter(|(seen, now)| now < seen);
        *self = Self { seen: now, lost: Lost::No };
        Listing { rewound }
    }

    /// To be asked before the read is sent.
    pub fn probe(&self) -> Probe {
        Probe { seen: self.seen }
    }

    pub fn hear(&mut self, said: Said<'_>) -> Verdict {
        if let Lost::Yes(reason) = self.lost {
            return Verdict::Relist(reason);
        }
        let reason = match said {
            Said::Failed(Failure::Other) => None,
            Said::Failed(Failure::Ahead) => Some(Reason::Ahead),
            Said::Failed(Failure::Expired) => Some(Reason::Expired),
            Said::Bookmark { version } | Said::Event { version } => {
                let now = number(version);
                let reason = rewound(self.seen, now);
                self.seen = self.seen.max(now);
                reason
            }
            // The watch may be ahead of the answer by now, or behind it.
            Said::Probed { probe, version } => rewound(probe.seen, number(version)),
        };
        match reason {
            None => Verdict::Continue,
            Some(reason) => {
                self.lost = Lost::Yes(reason);
                Verdict::Relist(reason)
            }
        }
    }
}

fn rewound(seen: Option<u64>, now: Option<u64>) -> Option<Reason> {
    let (from, to) = seen.zip(now)?;
    (to < from).then_some(Reason::Rewound { from, to })
}

/// Kubernetes promises numbers that can be compared since 1.35, and had them before. Of anything
/// else nothing can be said, so nothing is.
fn number(version: &str) -> Option<u64> {
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    version.parse().ok().filter(|_| digits)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead => f.write_str("the API server is behind what it said before"),
            Self::Expired => f.write_str("the version is too old to go on from"),
            Self::Never => f.write_str("nothing was listed yet"),
            Self::Rewound { from, to } => {
                write!(f, "versions went back from {from} to {to}, as after a restored backup")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OTHER: Said<'_> = Said::Failed(Failure::Other);

    fn listed(version: &str) -> Cursor {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.listed(version), Listing { rewound: None });
        cursor
    }

    fn event(version: &str) -> Said<'_> {
        Said::Event { version }
    }

    fn bookmark(version: &str) -> Said<'_> {
        Said::Bookmark { version }
    }

    fn back(from: u64, to: u64) -> Verdict {
        Verdict::Relist(Reason::Rewound { from, to })
    }

    #[test]
    fn r9_a_stream_that_goes_on_is_continued() {
        let mut cursor = listed("100");
        let stream =
            [event("101"), event("101"), bookmark("250"), OTHER, event("251"), bookmark("251")];
        for said in stream {
            assert_eq!(cursor.hear(said), Verdict::Continue, "{said:?}");
        }
        let probe = cursor.probe();
        assert_eq!(cursor.hear(Said::Probed { probe, version: "251" }), Verdict::Continue);
        assert_eq!(cursor.hear(Said::Probed { probe, version: "900" }), Verdict::Continue);
        assert_eq!(cursor.hear(event("252")), Verdict::Continue, "a probe moves nothing");
    }

    #[test]
    fn r9_versions_that_go_back_are_noticed_wherever_they_are_heard() {
        for said in [event("99"), bookmark("99")] {
            assert_eq!(listed("100").hear(said), back(100, 99));
        }
        let mut cursor = listed("100");
        let probe = cursor.probe();
        assert_eq!(cursor.hear(Said::Probed { probe, version: "99" }), back(100, 99));
        // Until there is a new list, nothing of the stream counts.
        assert_eq!(cursor.hear(event("101")), back(100, 99));
        assert_eq!(cursor.hear(OTHER), back(100, 99));
        assert_eq!(cursor.listed("99"), Listing { rewound: Some((100, 99)) });
        assert_eq!(cursor.hear(event("100")), Verdict::Continue);
    }

    #[test]
    fn r9_a_probe_is_held_against_what_was_known_when_it_was_sent() {
        let mut cursor = listed("100");
        let probe = cursor.probe();
        assert_eq!(cursor.hear(event("105")), Verdict::Continue);
        assert_eq!(cursor.hear(Said::Probed { probe, version: "100" }), Verdict::Continue);
        assert_eq!(cursor.hear(Said::Probed { probe, version: "99" }), back(100, 99));
    }

    #[test]
    fn r9_a_backup_restored_while_nobody_watched_is_noticed_by_the_first_list() {
        let mut cursor = Cursor::remembered("1000");
        assert_eq!(cursor.hear(event("1001")), Verdict::Relist(Reason::Never));
        assert_eq!(cursor.listed("700"), Listing { rewound: Some((1000, 700)) });
        let mut cursor = Cursor::remembered("1000");
        assert_eq!(cursor.listed("1000"), Listing { rewound: None });
    }

    #[test]
    fn r8_what_expired_or_is_yet_to_come_is_listed_anew() {
        for (failure, reason) in
            [(Failure::Expired, Reason::Expired), (Failure::Ahead, Reason::Ahead)]
        {
            let mut cursor = listed("100");
            assert_eq!(cursor.hear(Said::Failed(failure)), Verdict::Relist(reason));
            assert_eq!(cursor.listed("120"), Listing { rewound: None });
            assert_eq!(cursor.hear(event("121")), Verdict::Continue);
        }
    }

    #[test]
    fn versions_that_are_no_numbers_say_nothing() {
        let mut cursor = listed("abc");
        for version in ["abb", "7", "", "-1", "+9", "99999999999999999999", "6"] {
            let expected = if version == "6" { back(7, 6) } else { Verdict::Continue };
            assert_eq!(cursor.hear(event(version)), expected, "{version:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever comes: a rewind is told exactly where a number is smaller than the highest.
        #[test]
        fn r9_a_rewind_is_told_where_there_is_one_and_nowhere_else(
            first in 0..50u64,
            steps in prop::collection::vec(0..100u64, 1..20),
        ) {
            let mut cursor = listed(&first.to_string());
            let mut highest = first;
            for step in steps {
                let verdict = cursor.hear(event(&step.to_string()));
                if step < highest {
                    prop_assert_eq!(verdict, back(highest, step));
                    break;
                }
                prop_assert_eq!(verdict, Verdict::Continue);
                highest = step;
            }
        }
    }
}
