//! What a client proved, before it said anything.

use std::fmt;
use std::time::SystemTime;

use diolkos_tls::{Peer, Stranger};
use diolkos_topology::ClusterId;
use diolkos_trust::{ServiceAccountToken, SpiffeId};

use super::Denied;
use crate::authority::Authorities;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Presented in TLS. It counts alone: no token beside it is looked at.
    Certificate(Peer),
    /// Sent with the stream, by a client that presented no certificate.
    Token(ServiceAccountToken),
}

/// How refusals speak of it.
pub(super) struct Words {
    pub(super) says: &'static str,
    pub(super) issued_by: &'static str,
    pub(super) account: &'static str,
}

const CERTIFICATE: Words = Words {
    says: "the certificate says",
    issued_by: "the certificate was issued for cluster",
    account: "the certificate's service account",
};
const TOKEN: Words = Words {
    says: "the token says",
    issued_by: "the token was issued by cluster",
    account: "the token's service account",
};

impl Credential {
    /// Who it is for and which cluster issued it, as far as that is known now.
    pub(crate) fn owner(&self, authorities: &Authorities) -> Result<(SpiffeId, ClusterId), Denied> {
        match self {
            Self::Certificate(peer) => {
                let id = || peer.id.to_string();
                let cluster =
                    authorities.callers.cluster_of(peer).map_err(|stranger| match stranger {
                        Stranger::Issuer => Denied::UnknownIssuer { id: id() },
                        Stranger::Cluster(cluster) => Denied::UnknownCluster { id: id(), cluster },
                    })?;
                Ok((peer.id.clone(), cluster.clone()))
            }
            Self::Token(token) => {
                let unknown = || Denied::TokenIssuer { issuer: token.issuer.clone() };
                let (cluster, domain) = authorities.tokens.cluster_of(token).ok_or_else(unknown)?;
                let subject = &token.subject;
                let id = SpiffeId::workload(domain, &subject.namespace, &subject.service_account)
                    .map_err(|error| Denied::NoWorkload { id: error.to_string() })?;
                Ok((id, cluster.clone()))
            }
        }
    }

    pub(crate) fn expires(&self) -> SystemTime {
        match self {
            Self::Certificate(peer) => peer.not_after,
            Self::Token(token) => token.expires,
        }
    }

    /// What a stream is told that ends with it.
    pub(crate) fn expired(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "the client's certificate has expired; renew it",
            Self::Token(_) => "the client's token has expired; come again with a fresh one",
        }
    }

    /// For people: how a client is known.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Token(_) => "token",
        }
    }

    /// The pod that it was made for.
    pub(super) fn pod(&self) -> Option<&str> {
        match self {
            Self::Certificate(_) => None,
            Self::Token(token) => token.subject.pod.as_deref(),
        }
    }

    pub(super) fn words(&self) -> &'static Words {
        match self {
            Self::Certificate(_) => &CERTIFICATE,
            Self::Token(_) => &TOKEN,
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(peer) => fmt::Display::fmt(&peer.id, f),
            Self::Token(ServiceAccountToken { issuer, subject, .. }) => {
                write!(f, "{}/{} of {issuer}", subject.namespace, subject.service_account)
            }
        }
    }
}
