//! Who asks for names that are not there, again and again: a source that does is not listened to
//! until it calms down.
//!
//! Each source has one number, the time by which its refusals will have been lived down at the
//! allowed rate. A source is shut out while that lies a minute ahead. So a burst of the limit is
//! free, and what follows is let through at the limit's rate; connections that name a route cost
//! nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use diolkos_ops::Source;

use crate::limit::UNKNOWN_SOURCES_MAX;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Unknown {
    began: Instant,
    /// What one refusal costs, in nanoseconds; zero: there is no limit.
    cost: u64,
    sources: Mutex<HashMap<Source, u64>>,
    /// From this time on nobody is shut out: most gateways never look into the table.
    until: AtomicU64,
}

impl Unknown {
    /// With `per_minute_max` zero there is no limit.
    pub(crate) fn new(per_minute_max: u32) -> Self {
        let cost = MINUTE.as_nanos() as u64;
        Self {
            began: Instant::now(),
            cost: cost.checked_div(per_minute_max.into()).unwrap_or(0),
            sources: Mutex::default(),
            until: AtomicU64::new(0),
        }
    }

    pub(crate) fn refused(&self, source: IpAddr) {
        self.refused_at(Source::from(source), self.now());
    }

    pub(crate) fn is_shut_out(&self, source: IpAddr) -> bool {
        self.until.load(Ordering::Relaxed) != 0
            && self.is_shut_out_at(Source::from(source), self.now())
    }

    fn refused_at(&self, source: Source, now: u64) {
        if self.cost == 0 {
            return;
        }
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= UNKNOWN_SOURCES_MAX && !sources.contains_key(&source) {
            make_room(&mut sources, now);
        }
        let lived_down = sources.entry(source).or_insert(now);
        *lived_down = (*lived_down).max(now) + self.cost;
        if let Some(until @ 1..) = self.shut_out_until(*lived_down).checked_sub(now) {
            self.until.fetch_max(now + until, Ordering::Relaxed);
        }
    }

    fn is_shut_out_at(&self, source: Source, now: u64) -> bool {
        if now >= self.until.load(Ordering::Relaxed) {
            return false;
        }
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(&source).is_some_and(|lived_down| now < self.shut_out_until(*lived_down))
    }

    /// When one more refusal fits into the minute again.
    fn shut_out_until(&self, lived_down: u64) -> u64 {
        (lived_down + self.cost).saturating_sub(MINUTE.as_nanos() as u64)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

/// Those who have lived everything down go; where nobody has, whoever is nearest to it.
fn make_room(sources: &mut HashMap<Source, u64>, now: u64) {
    sources.retain(|_, lived_down| *lived_down > now);
    if sources.len() < UNKNOWN_SOURCES_MAX {
        return;
    }
    let nearest = sources.iter().min_by_key(|(_, lived_down)| **lived_down);
    if let Some(source) = nearest.map(|(source, _)| *source) {
        sources.remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn source(number: u32) -> Source {
        Source::from(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a7_as_many_refusals_as_the_limit_shut_a_source_out_and_one_fewer_does_not() {
        let unknown = Unknown::new(100);
        for _ in 0..99 {
            unknown.refused_at(source(1), SECOND);
        }
        assert!(!unknown.is_shut_out_at(source(1), SECOND));
        unknown.refused_at(source(1), SECOND);
        assert!(unknown.is_shut_out_at(source(1), SECOND));
        assert!(!unknown.is_shut_out_at(source(2), SECOND), "nobody else is");
    }

    #[test]
    fn a7_a_source_that_calms_down_is_listened_to_again_at_the_limits_rate() {
        let unknown = Unknown::new(60);
        for _ in 0..60 {
            unknown.refused_at(source(1), SECOND);
        }
        assert!(unknown.is_shut_out_at(source(1), 2 * SECOND - 1));
        assert!(!unknown.is_shut_out_at(source(1), 2 * SECOND));
        unknown.refused_at(source(1), 2 * SECOND);
        assert!(unknown.is_shut_out_at(source(1), 2 * SECOND));
        assert!(!unknown.is_shut_out_at(source(1), 3 * SECOND));
    }

    #[test]
    fn a7_an_ipv6_network_of_64_bits_is_one_source_here_too() {
        let unknown = Unknown::new(1);
        let at = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        unknown.refused_at(at("2001:db8::1"), SECOND);
        assert!(unknown.is_shut_out_at(at("2001:db8::ffff:2"), SECOND));
        assert!(!unknown.is_shut_out_at(at("2001:db8:0:1::1"), SECOND));
    }

    #[test]
    fn a7_the_table_is_bounded_and_whoever_asked_most_stays_in_it() {
        let unknown = Unknown::new(2);
        unknown.refused_at(source(0), SECOND);
        unknown.refused_at(source(0), SECOND);
        for number in 1..=2 * UNKNOWN_SOURCES_MAX as u32 {
            unknown.refused_at(source(number), SECOND);
        }
        assert_eq!(unknown.sources.lock().unwrap().len(), UNKNOWN_SOURCES_MAX);
        assert!(unknown.is_shut_out_at(source(0), SECOND));
    }

    #[test]
    fn without_a_limit_nobody_is_shut_out() {
        let unknown = Unknown::new(0);
        (0..10_000).for_each(|_| unknown.refused_at(source(1), SECOND));
        assert!(!unknown.is_shut_out_at(source(1), SECOND));
    }
}
