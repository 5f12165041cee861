//! Which address is next: nearest priority first, by weight within it, without the ejected.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::target::Candidate;

/// Smooth weighted round robin: over any `sum of weights` picks each address has its exact share.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    credit: BTreeMap<SocketAddr, i64>,
    ejected_until: BTreeMap<SocketAddr, Instant>,
}

impl Balance {
    /// `None` where no candidate is left that was not tried already.
    pub(crate) fn pick<'a>(
        &mut self,
        candidates: &'a [Candidate],
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<&'a Candidate> {
        self.ejected_until.retain(|_, until| *until > now);
        let fresh = |candidate: &&Candidate| !tried.contains(&candidate.address);
        let open = |candidate: &&Candidate| !self.ejected_until.contains_key(&candidate.address);
        // With nothing but ejected addresses left, trying one beats failing for certain.
        let pool: Vec<&Candidate> = match candidates.iter().filter(fresh).filter(open).count() {
            0 => candidates.iter().filter(fresh).collect(),
            _ => candidates.iter().filter(fresh).filter(open).collect(),
        };
        let nearest = pool.iter().map(|candidate| candidate.priority).min()?;
        let pool: Vec<_> = pool.into_iter().filter(|c| c.priority == nearest).collect();
        let total: i64 = pool.iter().map(|candidate| i64::from(candidate.weight)).sum();
        for candidate in &pool {
            *self.credit.entry(candidate.address).or_default() += i64::from(candidate.weight);
        }
        let best = pool.into_iter().max_by_key(|candidate| self.credit[&candidate.address])?;
        *self.credit.entry(best.address).or_default() -= total;
        Some(best)
    }

    pub(crate) fn eject(&mut self, address: SocketAddr, now: Instant) {
        self.ejected_until.insert(address, now + EJECTED);
    }

    /// Forgets the past: what went before says nothing about a new set of addresses.
    pub(crate) fn reset(&mut self) {
        self.credit.clear();
    }
}

const EJECTED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::target::Through;
    use super::*;

    fn candidate(last: u8, priority: u32, weight: u32) -> Candidate {
        Candidate {
            address: SocketAddr::from(([127, 0, 0, last], 1)),
            priority,
            weight,
            mtls: true,
            through: Through::Direct { cluster: "west".into() },
        }
    }

    fn shares(candidates: &[Candidate], picks: usize, balance: &mut Balance) -> Vec<usize> {
        let now = Instant::now();
        let mut counts = vec![0; candidates.len()];
        for _ in 0..picks {
            let picked = balance.pick(candidates, &[], now).unwrap().address;
            counts[candidates.iter().position(|c| c.address == picked).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_met_exactly() {
        let candidates = [candidate(1, 0, 2), candidate(2, 0, 1), candidate(3, 0, 1)];
        assert_eq!(shares(&candidates, 400, &mut Balance::default()), [200, 100, 100]);
    }

    #[test]
    fn a_farther_priority_waits_until_the_nearer_is_ejected() {
        let candidates = [candidate(1, 0, 1), candidate(2, 1, 9)];
        let mut balance = Balance::default();
        assert_eq!(shares(&candidates, 10, &mut balance), [10, 0]);
        balance.eject(candidates[0].address, Instant::now());
        assert_eq!(shares(&candidates, 10, &mut balance), [0, 10]);
    }

    #[test]
    fn the_last_address_is_tried_even_if_ejected_but_never_twice_in_one_request() {
        let candidates = [candidate(1, 0, 1)];
        let mut balance = Balance::default();
        balance.eject(candidates[0].address, Instant::now());
        assert_eq!(shares(&candidates, 3, &mut balance), [3]);
        assert!(balance.pick(&candidates, &[candidates[0].address], Instant::now()).is_none());
    }
}
