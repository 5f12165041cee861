//! The aggregated discovery service: TLS, HTTP/2, gRPC, one session per stream.
//!
//! ```text
//!  accept ─> handshake (deadline, bound) ─> connection task (a stranger: deadline, bound)
//!                                            ├─ HTTP/2
//!                                            └─ stream bodies, polled by the same task:
//!                                               request or published change ─> session ─> frames
//! ```
//!
//! Written by hand between hyper and the session, rather than generated: responses are shared
//! bytes that go out as they are, and a published change wakes one task per connection.

mod body;
mod connection;
mod frames;
mod inline;
mod listen;
mod requests;
mod service;
mod stall;
mod status;
mod stranger;

pub(crate) use listen::{Listener, Served};
pub(crate) use status::{StreamShown, StreamStatus};
