//! What goes over the wire, through tonic's own client.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use diolkos_trust_service::CertificateApi;
use diolkos_trust_wire::{Answer, IstioCertificateRequest, IstioCertificateResponse};
use http::uri::PathAndQuery;
use prost_types::Struct;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::ground::{Ground, csr};

/// The service without a socket: what a connection would add, it adds.
#[derive(Clone)]
struct Direct(CertificateApi);

impl tower_service::Service<http::Request<Body>> for Direct {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, std::convert::Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, 7], 4711)));
        self.0.call(request)
    }
}

async fn call(
    ground: &Ground,
    path: &'static str,
    headers: &[(&'static str, &str)],
    message: IstioCertificateRequest,
) -> Result<IstioCertificateResponse, Status> {
    let mut grpc = tonic::client::Grpc::new(Direct(ground.api.clone()));
    let mut request = tonic::Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    let path = PathAndQuery::from_static(path);
    Ok(grpc.unary(request, path, ProstCodec::default()).await?.into_inner())
}

fn message() -> IstioCertificateRequest {
    IstioCertificateRequest { csr: csr(), validity_duration: 0, metadata: None }
}

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

#[tokio::test]
async fn the_answer_is_leaf_intermediates_and_last_the_roots() {
    let ground = Ground::new();
    let headers = [("authorization", "Bearer a token"), ("clusterid", "east")];
    let response = call(&ground, PATH, &headers, message()).await.unwrap();
    assert_eq!(response.cert_chain.len(), 3);
    assert_eq!(response.cert_chain[2], ground.live.get().root_pem());
    let answer = Answer::of(&response).unwrap();
    assert_eq!(answer.chain_pem, response.cert_chain[..2].concat());
    let text = ground.registry.text();
    assert!(text.contains("diolkos_ca_issued_total{by=\"token\"} 1"), "{text}");
    assert!(text.contains("diolkos_ca_review_seconds_count 1"), "{text}");
}

#[tokio::test]
async fn istios_agent_is_served_with_the_metadata_it_sends() {
    let ground = Ground::new();
    let headers = [("authorization", "bearer a token"), ("clusterid", "")];
    let signer = |key: &str| {
        let value = prost_types::Value { kind: None };
        Some(Struct { fields: [(key.to_owned(), value)].into() })
    };
    let ordinary = IstioCertificateRequest { metadata: signer("CertSigner"), ..message() };
    assert!(call(&ground, PATH, &headers, ordinary).await.is_ok());
    let other = IstioCertificateRequest { metadata: signer("ImpersonatedIdentity"), ..message() };
    let status = call(&ground, PATH, &headers, other).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("not served yet"), "{status}");
}

/// Headers, and the refusal's code and words.
type Row<'a> = (&'a [(&'static str, &'a str)], Code, &'a str);

#[tokio::test]
async fn what_cannot_be_read_without_doubt_is_refused() {
    let ground = Ground::new();
    let long = format!("Bearer {}", "t".repeat(16 * 1024 + 1));
    let wide = "w".repeat(254);
    let token = ("authorization", "Bearer a token");
    let rows: &[Row<'_>] = &[
        (&[], Code::Unauthenticated, "neither a bearer token nor a client certificate"),
        (&[token, token], Code::InvalidArgument, "authorization came more than once"),
        (&[token, ("clusterid", "a"), ("clusterid", "b")], Code::InvalidArgument, "clusterid came"),
        (&[("authorization", "Basic eHg=")], Code::InvalidArgument, "not a bearer token"),
        (&[("authorization", "Bearer ")], Code::InvalidArgument, "not a bearer token"),
        (&[("authorization", &long)], Code::InvalidArgument, "a token of 16385 bytes"),
        (&[token, ("clusterid", &wide)], Code::InvalidArgument, "clusterid has 254 bytes"),
        (&[token, ("clusterid", "north")], Code::Unauthenticated, "known here: east, west"),
    ];
    for (headers, code, says) in rows {
        let status = call(&ground, PATH, headers, message()).await.unwrap_err();
        assert_eq!(status.code(), *code, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let text = ground.registry.text();
    assert!(text.contains("diolkos_ca_refused_total{reason=\"unknown_cluster\"} 1"), "{text}");
}

#[tokio::test]
async fn another_method_and_an_oversized_message_are_refused() {
    let ground = Ground::new();
    let headers = [("authorization", "Bearer a token")];
    let other = "/istio.v1.auth.IstioCertificateService/Other";
    let status = call(&ground, other, &headers, message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let large = IstioCertificateRequest { csr: "x".repeat(70_000), ..message() };
    let status = call(&ground, PATH, &headers, large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}
