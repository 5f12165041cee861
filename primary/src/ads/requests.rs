//! Requests of either protocol, decoded, one after the other.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use diolkos_xds::{Protocol, Request};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use hyper::body::Incoming;
use tokio_stream::Stream;
use tonic::Status;
use tonic::codec::Streaming;
use tonic_prost::ProstDecoder;

use crate::limit;

#[derive(Debug)]
pub(super) enum Requests {
    Delta(Streaming<DeltaDiscoveryRequest>),
    Sotw(Streaming<DiscoveryRequest>),
}

impl Requests {
    pub(super) fn new(protocol: Protocol, body: Incoming) -> Self {
        let max = Some(limit::REQUEST_BYTES_MAX);
        match protocol {
            Protocol::Delta => {
                Self::Delta(Streaming::new_request(ProstDecoder::default(), body, None, max))
            }
            Protocol::StateOfTheWorld => {
                Self::Sotw(Streaming::new_request(ProstDecoder::default(), body, None, max))
            }
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Request, Status>>> {
        let request = match self {
            Self::Delta(stream) => {
                ready!(Pin::new(stream).poll_next(cx)).map(|next| next.map(Request::Delta))
            }
            Self::Sotw(stream) => {
                ready!(Pin::new(stream).poll_next(cx)).map(|next| next.map(Request::Sotw))
            }
        };
        Poll::Ready(request)
    }
}

pub(super) fn node(request: &Request) -> Option<&Node> {
    match request {
        Request::Delta(request) => request.node.as_ref(),
        Request::Sotw(request) => request.node.as_ref(),
    }
}

/// Type, nonce and whether it refuses what it answers.
pub(super) fn answer(request: &Request) -> (&str, &str, bool) {
    match request {
        Request::Delta(request) => {
            (&request.type_url, &request.response_nonce, request.error_detail.is_some())
        }
        Request::Sotw(request) => {
            (&request.type_url, &request.response_nonce, request.error_detail.is_some())
        }
    }
}
