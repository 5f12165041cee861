//! Why there is no stream: whose doing it is, and a sentence with the cause and the way out.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use diolkos_ops::HostPort;
use diolkos_tls::TlsError;
use diolkos_trust::SpiffeId;
use tonic::{Code, Status};

use crate::limit;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody answers there, or not in time.
    Away(String),
    /// There was a connection or a stream, and it ended.
    Ended(String),
    /// Something of our own is not as it must be.
    Own(String),
    /// The primary does not take us for who we say we are, or does not want us.
    Refused(String),
    /// We do not take what answers there for the primary.
    Untrusted(String),
}

impl Why {
    pub fn text(&self) -> &str {
        match self {
            Self::Away(text)
            | Self::Ended(text)
            | Self::Own(text)
            | Self::Refused(text)
            | Self::Untrusted(text) => text,
        }
    }

    pub(crate) fn away(address: SocketAddr, cause: &str) -> Self {
        Self::Away(format!(
            "the primary at {address} is away: {cause}; start it, or correct its address"
        ))
    }

    pub(crate) fn unknown(place: &HostPort, cause: &str) -> Self {
        Self::Away(format!(
            "the primary's name {} has no address: {cause}; correct it, or what should resolve it",
            place.host
        ))
    }

    pub(crate) fn silent(address: SocketAddr, step: &str) -> Self {
        let cause = format!("no answer ({step}) within {} ms", limit::CONNECT_MS_MAX);
        Self::away(address, &cause)
    }

    pub(crate) fn ended(address: SocketAddr, cause: &str) -> Self {
        Self::Ended(format!("the stream of the primary at {address} ended: {cause}"))
    }

    fn untrusted(address: SocketAddr, fault: &dyn fmt::Display) -> Self {
        Self::Untrusted(format!(
            "what answers at {address} is not trusted as the primary: {fault}; correct its \
             address, the name expected of it, or our root certificates"
        ))
    }

    /// TLS failed before it was up. In TLS 1.3 that is never the primary's refusal of our
    /// certificate: see [`Why::of_connection`].
    pub(crate) fn of_handshake(
        address: SocketAddr,
        own: Option<&SpiffeId>,
        error: &io::Error,
    ) -> Self {
        if let Some(why) = Self::of_tls(address, own, error) {
            return why;
        }
        match is_tls(error) {
            // What it sent is no TLS.
            true => Self::untrusted(address, error),
            false => Self::away(address, &format!("it hung up on our TLS ({})", plain(error))),
        }
    }

    /// The connection failed once it was up. With its first bytes arrives what the primary has
    /// to say against our certificate.
    pub(crate) fn of_connection(
        address: SocketAddr,
        own: Option<&SpiffeId>,
        error: &io::Error,
    ) -> Self {
        Self::of_tls(address, own, error)
            .unwrap_or_else(|| Self::ended(address, &format!("connection lost: {}", plain(error))))
    }

    fn of_tls(address: SocketAddr, own: Option<&SpiffeId>, error: &io::Error) -> Option<Self> {
        match diolkos_tls::explain(error, own) {
            TlsError::RefusedByPeer { own, alert } => {
                let own = own.map_or("who showed no certificate".into(), |own| own.to_string());
                Some(Self::Refused(format!(
                    "the primary at {address} refuses us, {own}: {alert}; its log says why"
                )))
            }
            TlsError::Peer(fault) => Some(Self::untrusted(address, &fault)),
            _ => None,
        }
    }

    /// A stream's end as the primary told it, or as the transport did.
    pub(crate) fn of_status(address: SocketAddr, status: &Status) -> Self {
        let text = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        let said_by_primary = std::error::Error::source(status).is_none();
        match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
                if said_by_primary =>
            {
                Self::Refused(format!("the primary at {address} refuses us: {text}"))
            }
            _ => Self::ended(address, &text),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// In words, without the number of the operating system.
pub(crate) fn plain(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        // Has no kind of its own, and then the words are the system's.
        (Some(_), kind) if kind.to_string() != "uncategorized error" => kind.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_primarys_own_word_is_a_refusal() {
        let address = "127.0.0.1:15012".parse().expect("an address");
        let status = Status::permission_denied("NETWORK claims \"a\"");
        assert_eq!(
            Why::of_status(address, &status),
            Why::Refused("the primary at 127.0.0.1:15012 refuses us: NETWORK claims \"a\"".into())
        );
        let not_ready = Status::unavailable("not ready");
        assert!(matches!(Why::of_status(address, &not_ready), Why::Ended(_)));
        let mut lost = Status::unauthenticated("cut");
        lost.set_source(std::sync::Arc::new(io::Error::other("cut")));
        assert!(matches!(Why::of_status(address, &lost), Why::Ended(_)));
    }

    #[test]
    fn the_systems_errors_are_told_in_words() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(plain(&refused), "connection refused");
        assert_eq!(plain(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(plain(&io::Error::other("odd")), "odd");
    }
}
