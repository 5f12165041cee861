//! From a request's headers to a granted stream, or a refusal that says why.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use diolkos_tls::Peer;
use diolkos_xds::Protocol;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::body::{AdsBody, Opening};
use super::listen::Served;
use super::requests::{self, Requests};
use super::stall::Stalls;
use super::stranger::{Proof, Standing};
use crate::caller::{Credential, Denied, check_length};
use crate::core::Asked;
use crate::limit;

/// The service as one connection's peer sees it.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    served: Arc<Served>,
    /// Whom the connection's certificate names, if there is one.
    peer: Option<Peer>,
    proof: Arc<Proof>,
    address: SocketAddr,
    stalls: Arc<Stalls>,
}

const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const GRPC: &str = "application/grpc";

impl Service {
    pub(super) fn new(
        served: Arc<Served>,
        peer: Option<Peer>,
        proof: Arc<Proof>,
        address: SocketAddr,
        stalls: Arc<Stalls>,
    ) -> Self {
        Self(Arc::new(Shared { served, peer, proof, address, stalls }))
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<AdsBody>;
    type Error = Infallible;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<AdsBody>, Infallible>> + Send + 'static>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            // Before anything else of it is read: a stranger is not worth a megabyte.
            let credential = match shared.credential(request.headers()) {
                Ok(credential) => credential,
                Err(status) => {
                    return Ok(shared.refuse(&format!("at {}", shared.address.ip()), status));
                }
            };
            let who = credential.to_string();
            let answer = shared.answer(request, credential).await;
            Ok(answer.unwrap_or_else(|status| shared.refuse(&who, status)))
        })
    }
}

impl Shared {
    fn refuse(&self, who: &str, status: Status) -> Response<AdsBody> {
        // Who comes before we are ready, or while we end, did nothing wrong.
        if status.code() != Code::Unavailable {
            self.served.deny(&format!("client {who}: {}", status.message()));
        }
        status.into_http()
    }

    /// By the certificate if there is one, else by the token in the stream's headers.
    fn credential(&self, headers: &HeaderMap) -> Result<Credential, Status> {
        if let Some(peer) = &self.peer {
            return Ok(Credential::Certificate(peer.clone()));
        }
        if self.proof.standing() == Standing::Refused {
            return Err(Status::unauthenticated("refused before; open another connection"));
        }
        let issuers = self.served.tokens.borrow().clone();
        let issuers =
            issuers.ok_or_else(|| Status::unavailable("not ready, waiting for the mesh file"))?;
        let verified = bearer(headers).and_then(|token| {
            let token = token.ok_or(Denied::NoCredential)?;
            issuers.verify(token, SystemTime::now())
        });
        match verified {
            Ok(token) => {
                self.proof.proven();
                Ok(Credential::Token(token))
            }
            Err(denied) => {
                self.proof.refused();
                Err(denied.into())
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        credential: Credential,
    ) -> Result<Response<AdsBody>, Status> {
        let protocol = protocol(&request)?;
        let clusterid = clusterid(request.headers())?;
        let mut requests = Requests::new(protocol, request.into_body());
        let first = timeout(limit::FIRST_REQUEST_MAX, poll_fn(|cx| requests.poll(cx)))
            .await
            .map_err(|_| Status::deadline_exceeded("no request came on the stream"))?
            .ok_or_else(|| {
                Status::invalid_argument("the stream ended before its first request")
            })??;
        let (expires, expired) = (credential.expires(), credential.expired());
        let asked = Asked {
            credential,
            clusterid,
            node: requests::node(&first).cloned(),
            protocol,
            address: self.address,
        };
        let granted = self.served.owner.open(asked).await?;
        let body = AdsBody::open(Opening {
            protocol,
            requests,
            first,
            granted,
            expires,
            expired,
            stall: self.stalls.stream(),
            metrics: self.served.metrics.clone(),
        });
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        Ok(response)
    }
}

/// What stands behind `Bearer`.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let malformed = |cause: &str| Denied::Authorization { cause: cause.into() };
    let Some(value) = only(headers, AUTHORIZATION.as_str()).map_err(|cause| malformed(&cause))?
    else {
        return Ok(None);
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim_start_matches(' ')))
        }
        _ => Err(malformed("it is no bearer token; send Bearer <service-account token>")),
    }
}

/// Istio's word for the cluster of a client. It decides nothing; empty means not said.
fn clusterid(headers: &HeaderMap) -> Result<Option<String>, Denied> {
    let name = "clusterid";
    let value = only(headers, name)
        .map_err(|cause| Denied::Node { cause: format!("{name}: {cause}") })?
        .unwrap_or_default();
    check_length(name, value)?;
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

/// Of two, another might read the other one.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err("it is there twice".into());
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| "it is no plain text".into())
}

fn protocol(request: &Request<Incoming>) -> Result<Protocol, Status> {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if request.method() != Method::POST
        || !content_type.is_some_and(|text| text.starts_with(GRPC.as_bytes()))
    {
        return Err(Status::invalid_argument("this port speaks gRPC only"));
    }
    match request.uri().path() {
        DELTA => Ok(Protocol::Delta),
        SOTW => Ok(Protocol::StateOfTheWorld),
        _ => Err(Status::unimplemented("only the aggregated discovery service is served here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_read_in_one_way_only() {
        let read = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            bearer(&headers(&pairs)).map(|token| token.map(str::to_owned))
        };
        assert_eq!(read(&[]), Ok(None));
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(read(&[value]), Ok(Some("a.b.c".into())), "{value}");
        }
        for values in [&["a.b.c"][..], &["Basic a"], &["Bearer"], &["Bearer a", "Bearer a"], &["ä"]]
        {
            let denied = read(values).unwrap_err();
            assert!(denied.to_string().starts_with("authorization: it is "), "{denied}");
            assert!(!denied.to_string().contains("a.b.c"), "a token is not repeated");
        }
    }

    #[test]
    fn a12_clusterid_is_short_and_there_once() {
        let read = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("clusterid", *value)).collect();
            clusterid(&headers(&pairs)).map_err(|denied| denied.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[""]), Ok(None));
        let longest = "c".repeat(limit::NODE_VALUE_BYTES_MAX);
        assert_eq!(read(&[&longest]), Ok(Some(longest.clone())));
        let told = read(&[&format!("{longest}c")]).unwrap_err();
        assert_eq!(told, "clusterid has 1025 bytes, at most 1024 are allowed");
        assert_eq!(read(&["east", "east"]).unwrap_err(), "clusterid: it is there twice");
    }
}
