//! What one stream has, and what it should be sent. No socket, no clock.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use prost::Name as _;

use super::secrets::Secrets;
use crate::limit::{SECRET_NAME_BYTES_MAX, SECRET_NAMES_MAX};

/// Why a stream is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    OtherType(String),
    TooManyNames,
    NameTooLong,
}

/// What Envoy says of a secret that it cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nack(pub(crate) String);

/// A stream of whole states.
#[derive(Debug, Default)]
pub(crate) struct Sotw {
    names: BTreeSet<String>,
    /// Of the last answer: names and versions.
    sent: Vec<(String, String)>,
    nonce: u64,
}

/// What came of a request.
#[derive(Debug, PartialEq)]
pub(crate) struct Turn<R> {
    pub(crate) response: Option<R>,
    pub(crate) nack: Option<Nack>,
}

impl<R> Turn<R> {
    fn quiet() -> Self {
        Self { response: None, nack: None }
    }
}

impl Sotw {
    pub(crate) fn request(
        &mut self,
        request: DiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Turn<DiscoveryResponse>, Ended> {
        check_type(&request.type_url)?;
        if !request.response_nonce.is_empty() && request.response_nonce != self.nonce.to_string() {
            // Of an answer that another has overtaken.
            return Ok(Turn::quiet());
        }
        self.names = checked(request.resource_names)?.into_iter().collect();
        let nack = request.error_detail.map(|status| Nack(status.message));
        // What was refused is not sent again before it is another.
        let response = if nack.is_some() { None } else { self.advance(secrets) };
        Ok(Turn { response, nack })
    }

    /// The state, if it is another than the last sent.
    pub(crate) fn advance(&mut self, secrets: &Secrets) -> Option<DiscoveryResponse> {
        let found: Vec<_> = self.names.iter().filter_map(|name| secrets.get(name)).collect();
        let versions: Vec<(String, String)> =
            found.iter().map(|it| (it.name.to_owned(), it.version.clone())).collect();
        if found.is_empty() || versions == self.sent {
            return None;
        }
        self.sent = versions;
        self.nonce += 1;
        Some(DiscoveryResponse {
            version_info: self.nonce.to_string(),
            resources: found.iter().map(|secret| secret.body.clone()).collect(),
            type_url: Secret::type_url(),
            nonce: self.nonce.to_string(),
            ..DiscoveryResponse::default()
        })
    }
}

/// A stream of differences.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Asked for, with the version that was sent, if any.
    names: BTreeMap<String, Option<String>>,
    nonce: u64,
}

impl Delta {
    pub(crate) fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Turn<DeltaDiscoveryResponse>, Ended> {
        check_type(&request.type_url)?;
        for name in request.resource_names_unsubscribe {
            self.names.remove(&name);
        }
        let subscribed = checked(request.resource_names_subscribe)?;
        let unknown: Vec<String> =
            subscribed.iter().filter(|name| secrets.get(name).is_none()).cloned().collect();
        // Asking again is asking for it anew, whatever was sent.
        self.names.extend(subscribed.into_iter().map(|name| (name, None)));
        if self.names.len() > SECRET_NAMES_MAX {
            return Err(Ended::TooManyNames);
        }
        let nack = request.error_detail.map(|status| Nack(status.message));
        let mut response = self.advance(secrets);
        // Said once that it is not there; while there is nothing at all, it may yet come.
        if !unknown.is_empty() && *secrets != Secrets::default() {
            let response = response.get_or_insert_with(|| empty(&mut self.nonce));
            response.removed_resources = unknown;
        }
        Ok(Turn { response, nack })
    }

    pub(crate) fn advance(&mut self, secrets: &Secrets) -> Option<DeltaDiscoveryResponse> {
        let mut resources = Vec::new();
        for (name, sent) in &mut self.names {
            if let Some(secret) = secrets.get(name)
                && sent.as_ref() != Some(&secret.version)
            {
                *sent = Some(secret.version.clone());
                resources.push(Resource {
                    name: name.clone(),
                    version: secret.version.clone(),
                    resource: Some(secret.body.clone()),
                    ..Resource::default()
                });
            }
        }
        if resources.is_empty() {
            return None;
        }
        Some(DeltaDiscoveryResponse { resources, ..empty(&mut self.nonce) })
    }
}

fn empty(nonce: &mut u64) -> DeltaDiscoveryResponse {
    *nonce += 1;
    DeltaDiscoveryResponse {
        type_url: Secret::type_url(),
        nonce: nonce.to_string(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// Empty after the first request of a stream.
fn check_type(url: &str) -> Result<(), Ended> {
    match url.is_empty() || url == Secret::type_url() {
        true => Ok(()),
        false => Err(Ended::OtherType(url.chars().take(SECRET_NAME_BYTES_MAX).collect())),
    }
}

fn checked(names: Vec<String>) -> Result<Vec<String>, Ended> {
    if names.len() > SECRET_NAMES_MAX {
        return Err(Ended::TooManyNames);
    }
    match names.iter().any(|name| name.len() > SECRET_NAME_BYTES_MAX) {
        true => Err(Ended::NameTooLong),
        false => Ok(names),
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherType(url) => write!(f, "only secrets are served here, not {url:?}"),
            Self::TooManyNames => write!(f, "more than {SECRET_NAMES_MAX} secrets on one stream"),
            Self::NameTooLong => {
                write!(f, "a secret's name has more than {SECRET_NAME_BYTES_MAX} bytes")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use diolkos_trust_client::Material;
    use envoy_types::pb::google::rpc::Status;

    use super::*;
    use crate::sds::{DEFAULT, ROOTS};

    fn secrets(before: &Secrets, chain: &str, roots: &str) -> Secrets {
        let material = Material {
            chain_pem: chain.into(),
            key_pem: "key".into(),
            roots_pem: roots.into(),
            since: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
        };
        Secrets::after(before, Some(&material))
    }

    fn sotw(names: &[&str], nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: Secret::type_url(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            response_nonce: nonce.into(),
            ..DiscoveryRequest::default()
        }
    }

    fn delta(names: &[&str]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    #[test]
    fn a_state_is_sent_when_asked_for_and_when_it_changed() {
        let first = secrets(&Secrets::default(), "a", "r");
        let mut stream = Sotw::default();
        let response = stream.request(sotw(&[DEFAULT], ""), &first).unwrap().response.unwrap();
        assert_eq!((response.nonce.as_str(), response.resources.len()), ("1", 1));
        assert_eq!(stream.request(sotw(&[DEFAULT], "1"), &first).unwrap(), Turn::quiet(), "an ACK");
        assert_eq!(stream.advance(&first), None);
        let second = secrets(&first, "b", "r");
        assert_eq!(stream.advance(&second).unwrap().nonce, "2");
        assert_eq!(stream.request(sotw(&[DEFAULT], "1"), &second).unwrap(), Turn::quiet(), "stale");
        let both = stream.request(sotw(&[DEFAULT, ROOTS], "2"), &second).unwrap().response;
        assert_eq!(both.unwrap().resources.len(), 2, "a name more");
    }

    #[test]
    fn a_renewal_does_not_touch_roots_that_stay() {
        let first = secrets(&Secrets::default(), "a", "r");
        let mut stream = Sotw::default();
        stream.request(sotw(&[ROOTS], ""), &first).unwrap().response.unwrap();
        let second = secrets(&first, "b", "r");
        assert_eq!(stream.advance(&second), None);
        assert!(stream.advance(&secrets(&second, "b", "r2")).is_some());
    }

    #[test]
    fn what_was_refused_is_sent_again_only_as_another() {
        let first = secrets(&Secrets::default(), "a", "r");
        let mut stream = Sotw::default();
        stream.request(sotw(&[DEFAULT], ""), &first).unwrap();
        let status = Status { message: "bad key".into(), ..Status::default() };
        let nack = DiscoveryRequest { error_detail: Some(status), ..sotw(&[DEFAULT], "1") };
        let turn = stream.request(nack, &first).unwrap();
        assert_eq!(turn, Turn { response: None, nack: Some(Nack("bad key".into())) });
        assert!(stream.advance(&secrets(&first, "b", "r")).is_some());
    }

    #[test]
    fn nothing_is_sent_before_there_is_a_certificate_and_all_of_it_then() {
        let none = Secrets::default();
        let (mut whole, mut difference) = (Sotw::default(), Delta::default());
        assert_eq!(whole.request(sotw(&[DEFAULT], ""), &none).unwrap(), Turn::quiet());
        assert_eq!(difference.request(delta(&[DEFAULT]), &none).unwrap(), Turn::quiet());
        let first = secrets(&none, "a", "r");
        assert!(whole.advance(&first).is_some());
        assert!(difference.advance(&first).is_some());
    }

    #[test]
    fn a_difference_holds_what_changed_and_what_is_not_there() {
        let first = secrets(&Secrets::default(), "a", "r");
        let mut stream = Delta::default();
        let asked = delta(&[DEFAULT, ROOTS, "other"]);
        let response = stream.request(asked, &first).unwrap().response.unwrap();
        assert_eq!(response.resources.len(), 2);
        assert_eq!(response.removed_resources, ["other"]);
        let ack = DeltaDiscoveryRequest { response_nonce: "1".into(), ..delta(&[]) };
        assert_eq!(stream.request(ack, &first).unwrap(), Turn::quiet());
        let response = stream.advance(&secrets(&first, "b", "r")).unwrap();
        assert_eq!(response.resources.len(), 1);
        assert_eq!((response.resources[0].name.as_str(), response.nonce.as_str()), (DEFAULT, "2"));
        let mut leave = delta(&[]);
        leave.resource_names_unsubscribe = vec![DEFAULT.into()];
        assert_eq!(stream.request(leave, &first).unwrap(), Turn::quiet());
        assert_eq!(stream.advance(&secrets(&first, "c", "r")), None);
    }

    #[test]
    fn as_many_names_as_the_limit_and_not_one_more() {
        let none = Secrets::default();
        let names = |count: usize| -> Vec<String> { (0..count).map(|n| n.to_string()).collect() };
        for (count, good) in [(SECRET_NAMES_MAX, true), (SECRET_NAMES_MAX + 1, false)] {
            let names = names(count);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(Sotw::default().request(sotw(&names, ""), &none).is_ok(), good);
            assert_eq!(Delta::default().request(delta(&names), &none).is_ok(), good);
        }
        for (bytes, good) in [(SECRET_NAME_BYTES_MAX, true), (SECRET_NAME_BYTES_MAX + 1, false)] {
            let name = "n".repeat(bytes);
            assert_eq!(Sotw::default().request(sotw(&[&name], ""), &none).is_ok(), good);
        }
        let other = DiscoveryRequest { type_url: "x".into(), ..sotw(&[], "") };
        assert_eq!(Sotw::default().request(other, &none), Err(Ended::OtherType("x".into())));
    }
}
