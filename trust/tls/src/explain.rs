//! From the error of a connection to the sentence for the log.

use std::io;

use diolkos_trust::SpiffeId;
use rustls::{CertificateError, OtherError};

use crate::error::{PeerFault, Refusal, TlsError};

/// Why a connection failed: what we refused the other end for, or, where it refused us, who we
/// said we were. In TLS 1.3 a refusal of the client arrives with its first read.
pub fn explain(error: &io::Error, own: &SpiffeId) -> TlsError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) => {
            match cause.downcast_ref::<Refusal>() {
                Some(Refusal(ours)) => ours.clone(),
                None => TlsError::Connection { cause: cause.to_string() },
            }
        }
        Some(rustls::Error::NoCertificatesPresented) => PeerFault::NoCertificate.into(),
        Some(rustls::Error::AlertReceived(alert)) => {
            TlsError::RefusedByPeer { own: own.clone(), alert: format!("{alert:?}") }
        }
        _ => TlsError::Connection { cause: error.to_string() },
    }
}
