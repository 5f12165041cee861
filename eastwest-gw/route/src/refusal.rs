//! Why a connection is closed without a dial: a closed set, fit for a metric's label.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident => $label:literal, $text:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal { $($(#[$doc])* $variant,)* }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label: constant, lower case, without spaces.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

refusals! {
    // The bytes are not a ClientHello that this crate accepts.
    NotHandshake => "not_handshake", "the first byte is not that of a TLS handshake record";
    RecordVersion => "record_version", "the record's major version is not 3";
    RecordEmpty => "record_empty", "a handshake record without content";
    RecordTooLong => "record_too_long", "a record longer than 16384 bytes";
    Interleaved => "interleaved", "a record of another type inside the ClientHello";
    NotClientHello => "not_client_hello", "the first handshake message is not a ClientHello";
    HelloTooLarge => "hello_too_large", "the ClientHello does not fit into 16384 bytes";
    Trailing => "trailing", "the ClientHello's last record goes on after its end";
    HelloVersion => "hello_version", "the ClientHello's major version is not 3";
    Lengths => "lengths", "lengths inside the ClientHello contradict each other";
    DuplicateExtension => "duplicate_extension", "an extension occurs twice";
    SniShape => "sni_shape", "server_name is not exactly one host_name";
    AlpnShape => "alpn_shape", "the ALPN list is empty or malformed";
    // The name is not a DNS name.
    NameEmpty => "name_empty", "the server name is empty";
    NameTooLong => "name_too_long", "the server name is longer than 253 bytes";
    NameCharacter => "name_character", "the server name holds a character not allowed in one";
    NameLabel => "name_label", "a label is empty, over 63 bytes, or begins or ends with a hyphen";
    NameNumeric => "name_numeric", "the server name's last label is a number";
    /// RFC 6066 sends names without it; Envoy does not match such a name either.
    TrailingDot => "trailing_dot", "the server name ends with a dot";
    // The hello is well formed; the table has no way for it.
    NoSni => "no_sni", "no server name, or an address in its place";
    NoMeshAlpn => "no_mesh_alpn", "no ALPN protocol that the listener accepts";
    UnknownName => "unknown_name", "the server name has no route here";
    NoEndpoints => "no_endpoints", "the route has no endpoint";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}
