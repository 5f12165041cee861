//! How often a quiet connection is asked for a sign of life.

use std::time::Duration;

use crate::limit::{ISTIOD_PING_MS, ISTIOD_PONG_MS_MAX, PING_MS, PONG_MS_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    pub every: Duration,
    /// Without an answer in this time the connection is given up.
    pub patience: Duration,
}

/// As a primary takes them.
impl Default for Pings {
    fn default() -> Self {
        Self { every: Duration::from_millis(PING_MS), patience: Duration::from_millis(PONG_MS_MAX) }
    }
}

impl Pings {
    /// As an istiod takes them.
    pub fn of_an_istiod() -> Self {
        Self {
            every: Duration::from_millis(ISTIOD_PING_MS),
            patience: Duration::from_millis(ISTIOD_PONG_MS_MAX),
        }
    }
}
