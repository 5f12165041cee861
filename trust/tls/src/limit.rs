//! Limits of what is read from files. What a peer presents is bounded by rustls (64 KiB a message)
//! and by rustls-webpki's budget of signatures and paths.

/// A bundle of a hundred roots is some 200 KiB.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Leaf and intermediates; rustls-webpki follows at most six of the latter.
pub const CHAIN_CERTIFICATES_MAX: usize = 7;
