//! Who may be waited for: connections that have not said yet what they want, counted in total and by
//! source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One source: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            // ::/64 has no other use that could come from outside.
            IpAddr::V4(v4) => Self(v4.to_bits().into()),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Everywhere,
    Source,
}

#[derive(Debug)]
pub struct Pending {
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
pub struct Place {
    pending: Arc<Pending>,
    /// Not known yet where somebody else is to say who it is.
    source: Option<Source>,
}

impl Pending {
    pub fn new(max: usize, per_source_max: usize) -> Arc<Self> {
        Arc::new(Self { max, per_source_max, counts: Mutex::default() })
    }

    /// # Errors
    /// Where there is no place for it. `None`: the source is announced later, see [`Place::is_of`].
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Place, Full> {
        let source = source.map(Source::from);
        let mut counts = self.counts();
        if counts.total >= self.max {
            return Err(Full::Everywhere);
        }
        if let Some(source) = source {
            counts.add(source, self.per_source_max)?;
        }
        counts.total += 1;
        Ok(Place { pending: Arc::clone(self), source })
    }

    pub fn total(&self) -> usize {
        self.counts().total
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Now it is known whose it is.
    ///
    /// # Errors
    /// Where that source has all its places.
    pub fn is_of(&mut self, source: IpAddr) -> Result<(), Full> {
        let source = Source::from(source);
        self.pending.counts().add(source, self.pending.per_source_max)?;
        self.source = Some(source);
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, source: Source, max: usize) -> Result<(), Full> {
        let mine = self.by_source.entry(source).or_default();
        if *mine >= max {
            return Err(Full::Source);
        }
        *mine += 1;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.pending.counts();
        counts.total -= 1;
        let Some(source) = self.source else { return };
        if let Some(mine) = counts.by_source.get_mut(&source) {
            *mine -= 1;
            if *mine == 0 {
                counts.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a7_a_source_has_its_places_and_no_more() {
        let pending = Pending::new(100, 64);
        let mut places: Vec<_> = (0..64).map(|_| pending.admit(ip("192.0.2.1")).unwrap()).collect();
        assert_eq!(pending.admit(ip("192.0.2.1")).unwrap_err(), Full::Source);
        assert_eq!(pending.admit(ip("::ffff:192.0.2.1")).unwrap_err(), Full::Source);
        assert!(pending.admit(ip("192.0.2.2")).is_ok());
        places.pop();
        assert!(pending.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a7_an_ipv6_network_of_64_bits_is_one_source() {
        let pending = Pending::new(100, 1);
        let _place = pending.admit(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(pending.admit(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Full::Source);
        assert!(pending.admit(ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn a7_all_sources_together_have_their_places_and_no_more() {
        let pending = Pending::new(4096, 64);
        let source = |n: u32| Some(IpAddr::from((0x0a00_0000 + n / 64).to_be_bytes()));
        let places: Vec<_> = (0..4096).map(|n| pending.admit(source(n)).unwrap()).collect();
        assert_eq!(pending.admit(ip("198.51.100.1")).unwrap_err(), Full::Everywhere);
        assert_eq!(pending.total(), 4096);
        drop(places);
        assert_eq!(pending.total(), 0);
        assert!(pending.counts().by_source.is_empty());
    }

    #[test]
    fn a8_a_source_that_is_announced_later_has_its_places_and_no_more() {
        let pending = Pending::new(100, 1);
        let mut places: Vec<_> = (0..3).map(|_| pending.admit(None).unwrap()).collect();
        let announced = IpAddr::from([192, 0, 2, 1]);
        assert!(places[0].is_of(announced).is_ok());
        assert_eq!(places[1].is_of(announced), Err(Full::Source));
        assert!(places[2].is_of(IpAddr::from([192, 0, 2, 2])).is_ok());
        drop(places);
        assert_eq!(pending.total(), 0);
        assert!(pending.counts().by_source.is_empty());
    }
}
