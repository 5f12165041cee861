//! Who may be waited for: connections whose first CONNECT is awaited, counted in total and by source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Refused;

/// One source: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(u64);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            // ::/64 has no other use that could come from outside.
            IpAddr::V4(v4) => Self(v4.to_bits().into()),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pending {
    max: usize,
    per_source_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// A place among the pending; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pending: Arc<Pending>,
    source: Source,
}

impl Pending {
    pub(crate) fn new(max: usize, per_source_max: usize) -> Arc<Self> {
        Arc::new(Self { max, per_source_max, counts: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Refused> {
        let source = Source::from(ip);
        let mut counts = self.counts();
        if counts.total >= self.max {
            return Err(Refused::PendingFull);
        }
        let mine = counts.by_source.entry(source).or_default();
        if *mine >= self.per_source_max {
            return Err(Refused::SourceFull);
        }
        *mine += 1;
        counts.total += 1;
        Ok(Place { pending: Arc::clone(self), source })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.pending.counts();
        counts.total -= 1;
        if let Some(mine) = counts.by_source.get_mut(&self.source) {
            *mine -= 1;
            if *mine == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a7_a_source_has_its_places_and_no_more() {
        let pending = Pending::new(100, 64);
        let mut places: Vec<_> = (0..64).map(|_| pending.admit(ip("192.0.2.1")).unwrap()).collect();
        assert_eq!(pending.admit(ip("192.0.2.1")).unwrap_err(), Refused::SourceFull);
        assert_eq!(pending.admit(ip("::ffff:192.0.2.1")).unwrap_err(), Refused::SourceFull);
        assert!(pending.admit(ip("192.0.2.2")).is_ok());
        places.pop();
        assert!(pending.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a7_an_ipv6_network_of_64_bits_is_one_source() {
        let pending = Pending::new(100, 1);
        let _place = pending.admit(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(pending.admit(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Refused::SourceFull);
        assert!(pending.admit(ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn a7_all_sources_together_have_their_places_and_no_more() {
        let pending = Pending::new(4096, 64);
        let source = |n: u32| IpAddr::from((0x0a00_0000 + n / 64).to_be_bytes());
        let places: Vec<_> = (0..4096).map(|n| pending.admit(source(n)).unwrap()).collect();
        assert_eq!(pending.admit(ip("198.51.100.1")).unwrap_err(), Refused::PendingFull);
        drop(places);
        assert_eq!(pending.counts().total, 0);
        assert!(pending.counts().by_source.is_empty());
    }
}
