//! A primary as its clients and its operator see it: real sockets, certificates and manifests.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod a10_impersonation;
mod a13_tokens;
mod changes;
mod issuer;
mod operator;
mod raw;
mod restarts;
mod slow;
mod sotw;
mod world;
