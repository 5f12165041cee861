//! Every bound of the CA, unit last, with its reason.

use std::time::Duration;

/// An RSA-8192 request with a hundred names is half of it.
pub const CSR_BYTES_MAX: usize = 16 * 1024;
/// Weaker keys are within reach of who wants them.
pub const RSA_BITS_MIN: usize = 2048;
/// What ring verifies at most.
pub const RSA_BITS_MAX: usize = 8192;
/// Sooner than that nobody could renew in time.
pub const TTL_MIN: Duration = Duration::from_secs(10 * 60);
pub const TTL_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// As Istio's: what leaks is of use no longer than that.
pub const TTL_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// A service-account token with its claims is 1 to 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longer cluster names are none of this mesh's.
pub const CLUSTER_BYTES_MAX: usize = 253;
/// An API server that takes longer is in trouble, and the asker comes again. Below the ten seconds
/// that a primary listens to somebody who has proved nothing.
pub const REVIEW_MAX: Duration = Duration::from_secs(8);
/// Reviews under way: a thousand pods that start together must not be a thousand requests at once
/// for their API server.
pub const REVIEWS_MAX: usize = 64;
/// Requests that wait for a review; more are told to come again.
pub const REQUESTS_WAITING_MAX: usize = 4_096;
/// One caller's requests at once: a pod that restarts, and one that rolls its roots.
pub const CALLER_REQUESTS_MAX: u32 = 10;
/// One more after each such time.
pub const CALLER_REQUEST_INTERVAL: Duration = Duration::from_secs(6);
/// Callers whose requests are counted; beyond it the one asked for least recently is forgotten.
pub const CALLERS_MAX: usize = 20_000;
/// Roots in the last part of an answer.
pub const ROOTS_MAX: usize = 100;
/// The primary's own certificate, which it renews by itself at half of it.
pub const OWN_TTL: Duration = Duration::from_secs(24 * 3600);
/// How often the CA's folder is looked at.
pub const FOLDER_INTERVAL: Duration = Duration::from_secs(1);
/// A root that a primary made for itself.
pub const OWN_ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
