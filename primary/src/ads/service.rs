//! From a request's headers to a granted stream, or a refusal that says why.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use diolkos_tls::Peer;
use diolkos_xds::Protocol;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::body::{AdsBody, Opening};
use super::listen::Served;
use super::requests::{self, Requests};
use super::stall::Stalls;
use crate::beside::Beside;
use crate::core::Asked;
use crate::limit;

/// The service as one connection's peer sees it.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    served: Arc<Served>,
    /// Of a client that presented no certificate: none.
    peer: Option<Peer>,
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
        address: SocketAddr,
        stalls: Arc<Stalls>,
    ) -> Self {
        Self(Arc::new(Shared { served, peer, address, stalls }))
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
            if let Some(beside) = &shared.served.beside
                && beside.serves(request.uri().path())
            {
                return Ok(shared.pass(beside, request).await);
            }
            Ok(shared.answer(request).await.unwrap_or_else(|status| {
                // Who comes before we are ready, or while we end, did nothing wrong.
                if status.code() != Code::Unavailable {
                    let client = match &shared.peer {
                        Some(peer) => peer.id.to_string(),
                        None => format!("at {}", shared.address.ip()),
                    };
                    shared.served.deny(&format!("client {client}: {}", status.message()));
                }
                status.into_http()
            }))
        })
    }
}

impl Shared {
    async fn pass(&self, beside: &Beside, mut request: Request<Incoming>) -> Response<AdsBody> {
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        request.extensions_mut().insert(self.address);
        match timeout(limit::BESIDE_MAX, beside.answer(request)).await {
            Ok(response) => response.map(AdsBody::other),
            Err(_) => Status::deadline_exceeded("not answered in time; come again").into_http(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<AdsBody>, Status> {
        let protocol = protocol(&request)?;
        let peer = self.peer.as_ref().ok_or_else(|| {
            Status::unauthenticated(
                "the discovery service needs a client certificate; get one from the certificate \
                 API on this port",
            )
        })?;
        let mut requests = Requests::new(protocol, request.into_body());
        let first = timeout(limit::FIRST_REQUEST_MAX, poll_fn(|cx| requests.poll(cx)))
            .await
            .map_err(|_| Status::deadline_exceeded("no request came on the stream"))?
            .ok_or_else(|| {
                Status::invalid_argument("the stream ended before its first request")
            })??;
        let asked = Asked {
            peer: peer.clone(),
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
            not_after: peer.not_after,
            stall: self.stalls.stream(),
            metrics: self.served.metrics.clone(),
        });
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        Ok(response)
    }
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
