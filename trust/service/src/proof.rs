//! Whether an authority's leaves will be accepted: sign one, and verify it as a peer would.

use std::time::{Duration, SystemTime};

use rustls_pki_types::UnixTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::authority::{Authority, Validity, new_key, params};

/// The throw-away leaf names nobody, so a CA constrained to some names passes too.
pub(crate) fn leads_to_root(authority: &Authority, now: SystemTime) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let validity = Validity { not_before: now, not_after: now + Duration::from_secs(60) };
    let key = new_key().map_err(|error| text(&error))?;
    let leaf = params(validity)
        .map_err(|error| text(&error))?
        .signed_by(&key, &authority.issuer)
        .map_err(|error| text(&error))?;
    let parsed = EndEntityCert::try_from(leaf.der()).map_err(|error| text(&error))?;
    let own = EndEntityCert::try_from(&authority.certificate).map_err(|error| text(&error))?;
    if parsed.issuer() != own.subject() {
        return Err("its subject repeats or groups name parts, which leaves cannot name as their \
                    issuer; use a subject with each part once"
            .into());
    }
    let anchors = authority
        .roots
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a root cannot be read ({error})"))?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    parsed
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &authority.intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map(drop)
        .map_err(|error| match error {
            webpki::Error::UnknownIssuer => "a certificate between is missing or wrong".into(),
            webpki::Error::InvalidSignatureForPublicKey => {
                "a certificate of the right name has another key".into()
            }
            other => text(&other),
        })
}
