//! When to ask again. Time and luck are arguments.

use std::time::{Duration, SystemTime};

use crate::limit::{RETRY_BASE, RETRY_CAP};

/// At half its life, give or take a tenth of it: a thousand sidecars that started together do not
/// come back together. `draw` is uniform in 0.0..1.0.
pub(crate) fn due(since: SystemTime, not_after: SystemTime, draw: f64) -> SystemTime {
    let life = not_after.duration_since(since).unwrap_or_default();
    since + life.mul_f64(0.4 + 0.2 * draw.clamp(0.0, 1.0))
}

/// Doubles from the base to the cap, the upper half of it at random.
pub(crate) fn retry_after(failures: u32, draw: f64) -> Duration {
    let full = RETRY_BASE.saturating_mul(2_u32.saturating_pow(failures)).min(RETRY_CAP);
    full.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_a_certificate_is_renewed_at_half_its_life_give_or_take_a_tenth() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let day = Duration::from_secs(24 * 3600);
        for (draw, hours) in [(0.0, 9.6), (0.5, 12.0), (1.0, 14.4), (7.0, 14.4)] {
            let waits = due(since, since + day, draw).duration_since(since).unwrap();
            let off = waits.as_secs_f64() - hours * 3600.0;
            assert!(off.abs() < 1.0, "{draw}: {waits:?}");
        }
        assert_eq!(due(since, since - day, 0.5), since, "one that ended already is due at once");
    }

    #[test]
    fn attempts_come_less_often_the_longer_they_fail() {
        for (failures, least_ms, most_ms) in [
            (0, 100, 200),
            (1, 200, 400),
            (6, 6_400, 12_800),
            (7, 7_500, 15_000),
            (99, 7_500, 15_000),
        ] {
            assert_eq!(retry_after(failures, 0.0), Duration::from_millis(least_ms));
            assert_eq!(retry_after(failures, 1.0), Duration::from_millis(most_ms));
        }
    }
}
