//! From the error of a connection to the sentence for the log.

use std::io;

use diolkos_trust::SpiffeId;
use rustls::{AlertDescription, CertificateError, OtherError};

use crate::error::{PeerFault, Refusal, TlsError};

/// Why a connection failed: what we refused the other end for, or, where it refused us, who we
/// said we were, if we said it. In TLS 1.3 a refusal of the client arrives with its first read.
pub fn explain<'a>(error: &io::Error, own: impl Into<Option<&'a SpiffeId>>) -> TlsError {
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
            TlsError::RefusedByPeer { own: own.into().cloned(), alert: words(*alert) }
        }
        _ => TlsError::Connection { cause: error.to_string() },
    }
}

/// `CertificateUnknown` is certificate unknown, `UnknownCA` is unknown CA.
fn words(alert: AlertDescription) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut after_small = true;
    for c in format!("{alert:?}").chars() {
        match words.last_mut() {
            Some(word) if !(c.is_uppercase() && after_small) => word.push(c),
            _ => words.push(c.to_string()),
        }
        after_small = !c.is_uppercase();
    }
    let small = |word: &String| match word.chars().any(char::is_lowercase) {
        true => word.to_lowercase(),
        false => word.clone(),
    };
    words.iter().map(small).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_in_words() {
        for (alert, told) in [
            (AlertDescription::CertificateUnknown, "certificate unknown"),
            (AlertDescription::UnknownCA, "unknown CA"),
            (AlertDescription::CertificateRequired, "certificate required"),
            (AlertDescription::AccessDenied, "access denied"),
            (AlertDescription::BadCertificate, "bad certificate"),
        ] {
            assert_eq!(words(alert), told);
        }
    }
}
