//! For how long a token is good: a number and a unit.

use std::str::FromStr;
use std::time::Duration;

/// What API servers give at least.
const SECONDS_MIN: u64 = 10 * 60;
/// Nobody remembers a credential for longer.
const SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime(Duration);

impl From<Lifetime> for Duration {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.0
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(60 * 60),
            "d" => Some(24 * 60 * 60),
            _ => None,
        };
        let number = number.parse::<u64>().ok();
        let (Some(number), Some(unit)) = (number, unit) else {
            return Err("write a number and a unit: 3600s, 90m, 12h or 90d".into());
        };
        match number.checked_mul(unit) {
            Some(seconds) if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) => {
                Ok(Self(Duration::from_secs(seconds)))
            }
            _ => Err("API servers give tokens for 10m at least; use 10m to 3650d".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_within_bounds() {
        for (text, seconds) in [
            ("600s", 600),
            ("10m", 600),
            ("12h", 43_200),
            ("90d", 7_776_000),
            ("3650d", SECONDS_MAX),
        ] {
            let read: Lifetime = text.parse().unwrap();
            assert_eq!(Duration::from(read).as_secs(), seconds, "{text}");
        }
        for text in ["", "90", "d", "1.5h", "-1d", "1w", "599s", "3651d", "99999999999999999999d"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }
}
