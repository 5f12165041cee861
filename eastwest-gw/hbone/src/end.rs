//! How connections and tunnels end: closed sets, for the access log and for metrics.

use diolkos_ops::Full;
use http::StatusCode;

/// Why a connection or a CONNECT got no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    // A connection, before its first CONNECT.
    PendingFull,
    SourceFull,
    ConnectionsFull,
    /// Its first CONNECT did not come in time.
    HandshakeTimeout,
    /// No TLS 1.3 with a certificate of the mesh, no `h2`, or no HTTP/2.
    Handshake,
    // A connection with tunnels.
    /// It gave up too many CONNECTs.
    Abandoning,
    /// It asked for too much that it may not have.
    Insisting,
    // A CONNECT.
    NotConnect,
    BadAuthority,
    /// It asks for an address, and only services are routes.
    Address,
    /// No cluster of this mesh is known to have issued the caller's certificate.
    Stranger,
    UnknownService,
    /// Exported, but not to the caller's cluster.
    NotExported,
    NoEndpoints,
    TunnelsFull,
}

impl Refused {
    pub const ALL: [Self; 15] = [
        Self::PendingFull,
        Self::SourceFull,
        Self::ConnectionsFull,
        Self::HandshakeTimeout,
        Self::Handshake,
        Self::Abandoning,
        Self::Insisting,
        Self::NotConnect,
        Self::BadAuthority,
        Self::Address,
        Self::Stranger,
        Self::UnknownService,
        Self::NotExported,
        Self::NoEndpoints,
        Self::TunnelsFull,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::PendingFull => "pending_full",
            Self::SourceFull => "source_full",
            Self::ConnectionsFull => "connections_full",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Handshake => "handshake",
            Self::Abandoning => "abandoning",
            Self::Insisting => "insisting",
            Self::NotConnect => "not_connect",
            Self::BadAuthority => "bad_authority",
            Self::Address => "address",
            Self::Stranger => "stranger",
            Self::UnknownService => "unknown_service",
            Self::NotExported => "not_exported",
            Self::NoEndpoints => "no_endpoints",
            Self::TunnelsFull => "tunnels_full",
        }
    }

    /// What a CONNECT is answered with. To whom a service is not exported it does not exist.
    pub(crate) fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotConnect => (StatusCode::BAD_REQUEST, "only CONNECT is served here"),
            Self::BadAuthority => (
                StatusCode::BAD_REQUEST,
                "the authority is not HOST:PORT of a service, such as \
                 catalog.shop.svc.cluster.local:8080",
            ),
            Self::Address => (
                StatusCode::NOT_FOUND,
                "the authority is an address; only services are reached here, by HOST:PORT",
            ),
            Self::Stranger => (
                StatusCode::FORBIDDEN,
                "the certificate was issued by no cluster of this mesh; the mesh file names the \
                 certificate that signs for each cluster",
            ),
            Self::UnknownService | Self::NotExported => {
                (StatusCode::NOT_FOUND, "no such service is exported to the caller's cluster")
            }
            Self::NoEndpoints => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service has no endpoint here")
            }
            Self::TunnelsFull
            | Self::PendingFull
            | Self::SourceFull
            | Self::ConnectionsFull
            | Self::HandshakeTimeout
            | Self::Handshake
            | Self::Abandoning
            | Self::Insisting => {
                (StatusCode::SERVICE_UNAVAILABLE, "as many tunnels are open as there may be")
            }
        }
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        match full {
            Full::Everywhere => Self::PendingFull,
            Full::Source => Self::SourceFull,
        }
    }
}

/// How one CONNECT ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Refused(Refused),
    /// The client gave up before it was answered.
    Abandoned,
    /// No target of the route could be connected to.
    NoTarget,
    /// Both sides said that they were done.
    Finished,
    ClientFault,
    TargetFault,
    Idle,
    Drained,
    /// The tunnel's task was dropped: the runtime ended, or it panicked.
    Aborted,
}

impl End {
    /// Every end of a CONNECT that was not refused.
    pub const ENDINGS: [Self; 8] = [
        Self::Abandoned,
        Self::NoTarget,
        Self::Finished,
        Self::ClientFault,
        Self::TargetFault,
        Self::Idle,
        Self::Drained,
        Self::Aborted,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.label(),
            Self::Abandoned => "abandoned",
            Self::NoTarget => "no_target",
            Self::Finished => "finished",
            Self::ClientFault => "client_fault",
            Self::TargetFault => "target_fault",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Aborted => "aborted",
        }
    }
}
