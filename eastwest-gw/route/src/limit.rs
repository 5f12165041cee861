//! Every limit of this crate, with its reason.

/// All bytes up to the end of the ClientHello, record headers included. A post-quantum hello is
/// under 2 KiB; Envoy's inspector, the other data plane, refuses beyond 16 KiB as well.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// RFC 8446, section 5.1: the largest plaintext record.
pub const RECORD_BYTES_MAX: usize = 1 << 14;

/// A DNS name in text without the trailing dot (255 bytes on the wire of DNS).
pub const NAME_BYTES_MAX: usize = 253;

/// RFC 1035, section 2.3.4.
pub const LABEL_BYTES_MAX: usize = 63;

/// A header of the PROXY protocol, its extensions included: the specification's own idea of what
/// must fit into one read.
pub const PROXY_HEADER_BYTES_MAX: usize = 536;
