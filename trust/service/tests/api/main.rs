//! The certificate API: who is given what, over the wire and against API servers that lie.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod callers;
mod ground;
mod live;
mod wire;
