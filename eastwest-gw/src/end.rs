//! Why a connection ended: a closed set, for the access log and for metrics.

use diolkos_ops::Full;
use diolkos_route::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Reset at once, no hello was waited for.
    PendingFull,
    SourceFull,
    ConnectionsFull,
    /// Its source asked for too many names that are not there.
    SourceShutOut,
    /// Someone who has to say for whom it connects did not, or not as it should.
    ProxyHeader,
    HelloTimeout,
    /// The client went before its hello was complete.
    HelloClosed,
    Refused(Refusal),
    /// The route carries as many connections as it may.
    RouteFull,
    /// No target of the route could be connected to.
    NoTarget,
    /// Both sides said that they were done.
    Finished,
    ClientFault,
    TargetFault,
    Idle,
    Drained,
    /// The gateway was dropped, or failed at it.
    Aborted,
}

impl End {
    /// Every end before a target was dialed.
    pub fn refusals() -> impl Iterator<Item = Self> {
        let own = [
            Self::PendingFull,
            Self::SourceFull,
            Self::ConnectionsFull,
            Self::SourceShutOut,
            Self::ProxyHeader,
            Self::HelloTimeout,
            Self::HelloClosed,
            Self::RouteFull,
        ];
        own.into_iter().chain(Refusal::ALL.iter().copied().map(Self::Refused))
    }

    /// Every end after it.
    pub const ENDINGS: [Self; 7] = [
        Self::NoTarget,
        Self::Finished,
        Self::ClientFault,
        Self::TargetFault,
        Self::Idle,
        Self::Drained,
        Self::Aborted,
    ];

    pub fn is_refusal(self) -> bool {
        !Self::ENDINGS.contains(&self)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::PendingFull => "pending_full",
            Self::SourceFull => "source_full",
            Self::ConnectionsFull => "connections_full",
            Self::SourceShutOut => "source_shut_out",
            Self::ProxyHeader => "proxy_header",
            Self::HelloTimeout => "hello_timeout",
            Self::HelloClosed => "hello_closed",
            Self::Refused(refusal) => refusal.label(),
            Self::RouteFull => "route_full",
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

impl From<Full> for End {
    fn from(full: Full) -> Self {
        match full {
            Full::Everywhere => Self::PendingFull,
            Full::Source => Self::SourceFull,
        }
    }
}
