//! Goals: a bound, what was measured, and whether that is within.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) bound: f64,
    pub(crate) unit: &'static str,
    pub(crate) measured: f64,
    pub(crate) met: bool,
}

impl Goal {
    /// What could not be measured is missed.
    pub(crate) fn at_most(name: &str, bound: f64, unit: &'static str, measured: f64) -> Self {
        Self { name: name.into(), bound, unit, measured, met: measured <= bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_itself_is_met_and_what_was_not_measured_is_missed() {
        for (measured, met) in [(49.9, true), (50.0, true), (50.1, false), (f64::NAN, false)] {
            assert_eq!(Goal::at_most("", 50.0, "us", measured).met, met, "{measured}");
        }
    }
}
