//! The deadlines of one lane: a coarse wheel, one place in it for each connection.
//!
//! A connection is never handed out before its deadline, and at most one tick after it. What lies
//! beyond the horizon is handed out at the horizon: whoever asked for it looks at its own deadline
//! and asks again. So a deadline that moves away (bytes renew the idle time) costs nothing.

use std::time::{Duration, Instant};

const SLOTS: usize = 1024;
const TICK_MS: u64 = 10;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Wheel {
    began: Instant,
    /// Everything up to this tick has been handed out.
    tick: u64,
    /// The first of each slot's list.
    heads: Box<[u32; SLOTS]>,
    /// A bit for each slot that has a list.
    filled: [u64; SLOTS / 64],
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    slot: u32,
    before: u32,
    after: u32,
}

const UNLINKED: Link = Link { slot: NONE, before: NONE, after: NONE };

impl Wheel {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            tick: 0,
            heads: Box::new([NONE; SLOTS]),
            filled: [0; SLOTS / 64],
            links: Vec::new(),
        }
    }

    /// Hands `index` out at `at` or before; an earlier deadline that it has already stays.
    pub(super) fn arm(&mut self, index: u32, at: Instant) {
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, UNLINKED);
        }
        let due = self.due(at);
        let link = self.links[index as usize];
        if link.slot != NONE {
            if self.due_of(link.slot) <= due {
                return;
            }
            self.disarm(index);
        }
        self.link(index, (due % SLOTS as u64) as u32);
    }

    pub(super) fn disarm(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let Link { slot, before, after } = std::mem::replace(link, UNLINKED);
        if slot == NONE {
            return;
        }
        match before {
            NONE => self.heads[slot as usize] = after,
            before => self.links[before as usize].after = after,
        }
        if after != NONE {
            self.links[after as usize].before = before;
        }
        if self.heads[slot as usize] == NONE {
            self.filled[slot as usize / 64] &= !(1 << (slot % 64));
        }
    }

    /// How long there is nothing to hand out; `None`: there is nothing.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let due = self.next_filled()?;
        let at = self.began + Duration::from_millis(due * TICK_MS);
        Some(at.saturating_duration_since(now))
    }

    /// Moves everyone whose time has come into `due`.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let passed = now.saturating_duration_since(self.began);
        let passed = (passed.as_secs() * 1_000 + u64::from(passed.subsec_millis())) / TICK_MS;
        while self.tick < passed {
            match self.next_filled() {
                Some(next) if next <= passed => {
                    self.tick = next;
                    let slot = (next % SLOTS as u64) as usize;
                    while self.heads[slot] != NONE {
                        let index = self.heads[slot];
                        self.disarm(index);
                        due.push(index);
                    }
                }
                _ => self.tick = passed,
            }
        }
    }

    fn link(&mut self, index: u32, slot: u32) {
        let after = std::mem::replace(&mut self.heads[slot as usize], index);
        self.links[index as usize] = Link { slot, before: NONE, after };
        if after != NONE {
            self.links[after as usize].before = index;
        }
        self.filled[slot as usize / 64] |= 1 << (slot % 64);
    }

    /// The tick by which `at` has come, within the horizon.
    fn due(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began);
        let whole_ms = since.as_secs().saturating_mul(1_000);
        let ms = whole_ms.saturating_add(since.subsec_nanos().div_ceil(1_000_000).into());
        ms.div_ceil(TICK_MS).clamp(self.tick + 1, self.tick + SLOTS as u64 - 1)
    }

    fn due_of(&self, slot: u32) -> u64 {
        let first = self.tick + 1;
        let ahead = (u64::from(slot) + SLOTS as u64 - first % SLOTS as u64) % SLOTS as u64;
        first + ahead
    }

    fn next_filled(&self) -> Option<u64> {
        let first = ((self.tick + 1) % SLOTS as u64) as usize;
        let words = self.filled.len();
        // The first word twice: its high bits at the beginning, its low ones at the end.
        (0..=words).find_map(|step| {
            let word = (first / 64 + step) % words;
            let mask = match step {
                0 => !0 << (first % 64),
                step if step == words => !(!0 << (first % 64)),
                _ => !0,
            };
            let bits = self.filled[word] & mask;
            (bits != 0).then(|| self.due_of((word * 64) as u32 + bits.trailing_zeros()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(TICK_MS);

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn nobody_is_handed_out_before_its_deadline_and_everyone_soon_after() {
        let began = Instant::now();
        let mut wheel = Wheel::new(began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        for (index, ms) in [(0, 1), (1, 10), (2, 11), (3, 640), (4, 641), (5, 9_999)] {
            wheel.arm(index, at(ms));
        }
        assert_eq!(wheel.wait(began), Some(TICK));
        assert!(expired(&mut wheel, at(9)).is_empty());
        assert_eq!(expired(&mut wheel, at(10)), [0, 1]);
        assert_eq!(expired(&mut wheel, at(639)), [2]);
        assert_eq!(expired(&mut wheel, at(640)), [3]);
        assert_eq!(wheel.wait(at(640)), Some(TICK));
        assert_eq!(expired(&mut wheel, at(60_000)), [4, 5]);
        assert_eq!(wheel.wait(at(60_000)), None);
    }

    #[test]
    fn an_earlier_deadline_counts_a_later_one_is_asked_for_again() {
        let began = Instant::now();
        let mut wheel = Wheel::new(began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        wheel.arm(7, at(500));
        wheel.arm(7, at(900));
        wheel.arm(8, at(500));
        wheel.arm(8, at(100));
        wheel.disarm(9);
        assert_eq!(expired(&mut wheel, at(400)), [8]);
        assert_eq!(expired(&mut wheel, at(500)), [7]);
    }

    #[test]
    fn what_is_beyond_the_horizon_is_handed_out_there() {
        let began = Instant::now();
        let mut wheel = Wheel::new(began);
        let hour = Duration::from_secs(3600);
        wheel.arm(1, began + hour);
        let horizon = wheel.wait(began).unwrap();
        assert_eq!(horizon, TICK * (SLOTS as u32 - 1));
        assert_eq!(expired(&mut wheel, began + horizon), [1]);
    }

    #[test]
    fn a_wheel_gone_round_many_times_agrees_with_a_list() {
        let began = Instant::now();
        let mut wheel = Wheel::new(began);
        let mut list: Vec<(u64, u32)> = Vec::new();
        let (mut now, mut state) = (0u64, 1u64);
        for step in 0..20_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (index, ahead) = (step % 50, (state >> 40) % 9_000 + 1);
            if (state >> 33).is_multiple_of(3) {
                list.retain(|(_, other)| *other != index);
                wheel.disarm(index);
            } else if list.iter().all(|(_, other)| *other != index) {
                list.push(((now + ahead).div_ceil(10), index));
                wheel.arm(index, began + Duration::from_millis(now + ahead));
            }
            now += (state >> 20) % 40;
            let is_due = |(due, _): &(u64, u32)| *due <= now / 10;
            let mut wanted: Vec<u32> =
                list.iter().filter(|one| is_due(one)).map(|(_, index)| *index).collect();
            wanted.sort_unstable();
            list.retain(|one| !is_due(one));
            assert_eq!(expired(&mut wheel, began + Duration::from_millis(now)), wanted, "{step}");
        }
    }
}
