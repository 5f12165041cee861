//! One route: its targets in priority order, and the order in which to try them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dialed::LastDial;
use crate::{Dialed, HostName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    /// Share among the targets of its priority. Zero: never chosen first.
    pub weight: u32,
    /// 0 is tried first.
    pub priority: u32,
}

/// Immutable but for what came of dials: a change of its targets makes a new one, connections keep
/// the one they began with.
#[derive(Debug)]
pub struct Route {
    name: HostName,
    /// By priority, within it in the order given.
    targets: Vec<Target>,
    /// How many connections it carries, whichever targets it had when they began.
    load: Arc<AtomicUsize>,
    /// Of the target in the same place.
    dials: Box<[LastDial]>,
}

/// One connection on a route; it leaves the route's load when it is dropped.
#[derive(Debug)]
pub struct Carried(Arc<Route>);

impl Deref for Carried {
    type Target = Arc<Route>;

    fn deref(&self) -> &Arc<Route> {
        &self.0
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What came of dials makes no other route.
impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.targets) == (&other.name, &other.targets)
    }
}

impl Eq for Route {}

impl Route {
    pub fn new(name: HostName, mut targets: Vec<Target>) -> Self {
        targets.sort_by_key(|target| target.priority);
        targets.shrink_to_fit();
        let dials = targets.iter().map(|_| LastDial::default()).collect();
        Self { name, targets, load: Arc::default(), dials }
    }

    /// The same with other targets; what it carries stays counted.
    #[must_use]
    pub fn with_targets(&self, targets: Vec<Target>) -> Self {
        Self { load: Arc::clone(&self.load), ..Self::new(self.name.clone(), targets) }
    }

    /// `None` where it carries `max` already.
    pub fn carry(self: &Arc<Self>, max: usize) -> Option<Carried> {
        // Counted first: two that come at once cannot both take the last place.
        let carried = self.load.fetch_add(1, Ordering::Relaxed);
        let place = Carried(Arc::clone(self));
        (carried < max).then_some(place)
    }

    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// What is known of its targets' last dials from the route before.
    #[must_use]
    pub(crate) fn remembering(mut self, before: &Self) -> Self {
        let known = |(target, dialed): (&Target, Option<_>)| Some((target.address, dialed?));
        let known: HashMap<SocketAddr, Dialed> = before.dials().filter_map(known).collect();
        if !known.is_empty() {
            let last = |target: &Target| LastDial::new(known.get(&target.address).copied());
            self.dials = self.targets.iter().map(last).collect();
        }
        self
    }

    pub fn name(&self) -> &HostName {
        &self.name
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Says what came of an attempt to connect to a target; of another route's it says nothing.
    pub fn note(&self, target: SocketAddr, dialed: Dialed) {
        let at = self.targets.iter().position(|one| one.address == target);
        if let Some(last) = at.and_then(|at| self.dials.get(at)) {
            last.set(dialed);
        }
    }

    /// Every target with the last attempt to connect to it, if there was one.
    pub fn dials(&self) -> impl Iterator<Item = (&Target, Option<Dialed>)> {
        self.targets.iter().zip(self.dials.iter().map(LastDial::get))
    }

    /// Every target once: of each priority first one chosen by weight, then those after it, around.
    ///
    /// `random` is uniform over all of `u64`; the same number always gives the same order.
    pub fn candidates(&self, random: u64) -> Candidates<'_> {
        Candidates { current: &[], start: 0, given: 0, rest: &self.targets, random }
    }
}

/// See [`Route::candidates`].
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    current: &'a [Target],
    start: usize,
    given: usize,
    rest: &'a [Target],
    random: u64,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = &'a Target;

    fn next(&mut self) -> Option<&'a Target> {
        if self.given == self.current.len() {
            let priority = self.rest.first()?.priority;
            let same = self.rest.partition_point(|target| target.priority == priority);
            (self.current, self.rest) = self.rest.split_at(same);
            (self.start, self.given) = (choose(self.current, self.random), 0);
        }
        let target = self.current.get((self.start + self.given) % self.current.len());
        self.given += 1;
        target
    }
}

/// The index whose stretch of the summed weights the random number falls into.
fn choose(targets: &[Target], random: u64) -> usize {
    let sum: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    // A multiplication instead of a remainder: no bias towards the first targets.
    let mut point = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
    for (index, target) in targets.iter().enumerate() {
        let weight = u64::from(target.weight);
        if point < weight {
            return index;
        }
        point -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(targets: &[(u16, u32, u32)]) -> Route {
        let target = |&(port, weight, priority)| Target {
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            weight,
            priority,
        };
        Route::new(HostName::new(b"a.b").unwrap(), targets.iter().map(target).collect())
    }

    fn ports(route: &Route, random: u64) -> Vec<u16> {
        route.candidates(random).map(|target| target.address.port()).collect()
    }

    #[test]
    fn every_target_comes_once_and_a_later_priority_after_all_of_an_earlier() {
        let route = route(&[(1, 1, 1), (2, 1, 0), (3, 1, 0), (4, 1, 0), (5, 1, 7)]);
        assert_eq!(ports(&route, 0), [2, 3, 4, 1, 5]);
        assert_eq!(ports(&route, u64::MAX / 2), [3, 4, 2, 1, 5]);
        assert_eq!(ports(&route, u64::MAX), [4, 2, 3, 1, 5]);
    }

    #[test]
    fn the_first_choice_follows_the_weights_exactly() {
        let route = route(&[(1, 1, 0), (2, 0, 0), (3, 3, 0)]);
        let mut first = [0; 4];
        for step in 0..4000u64 {
            first[usize::from(ports(&route, (2 * step + 1) * (u64::MAX / 8000))[0])] += 1;
        }
        assert_eq!(first, [0, 1000, 0, 3000]);
    }

    #[test]
    fn a_target_keeps_what_came_of_its_dial_across_a_change_of_the_others() {
        let before = route(&[(1, 1, 0), (2, 1, 0)]);
        let dialed = Dialed { connected: false, at_seconds: 7 };
        let address = before.targets()[1].address;
        before.note(address, dialed);
        before.note(([10, 9, 9, 9], 1).into(), dialed);
        let seen = |route: &Route| -> Vec<_> {
            route.dials().map(|(target, dialed)| (target.address.port(), dialed)).collect()
        };
        assert_eq!(seen(&before), [(1, None), (2, Some(dialed))]);
        assert_eq!(before, route(&[(1, 1, 0), (2, 1, 0)]), "it is no other route for that");
        let after = route(&[(2, 5, 0), (3, 1, 0)]).remembering(&before);
        assert_eq!(seen(&after), [(2, Some(dialed)), (3, None)]);
    }

    #[test]
    fn weights_at_their_limit_and_all_zero_still_give_an_order() {
        let max = route(&[(1, u32::MAX, 0), (2, u32::MAX, 0)]);
        assert_eq!(ports(&max, u64::MAX), [2, 1]);
        assert_eq!(ports(&route(&[(1, 0, 0), (2, 0, 0)]), 77), [1, 2]);
        assert_eq!(ports(&route(&[]), 77), Vec::<u16>::new());
    }

    #[test]
    fn a7_a_route_carries_as_many_as_the_limit_and_not_one_more_whatever_its_targets() {
        let first = Arc::new(route(&[(1, 1, 0)]));
        let mut carried: Vec<_> = (0..3).map(|_| first.carry(3).unwrap()).collect();
        let later = Arc::new(first.with_targets(vec![]));
        assert!(later.carry(3).is_none());
        carried.pop();
        assert!(later.carry(3).is_some());
        assert_eq!((first.load(), later.load()), (2, 2));
        drop(carried);
        assert_eq!(later.load(), 0);
    }
}
