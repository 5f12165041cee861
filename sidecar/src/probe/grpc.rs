//! A gRPC probe: `grpc.health.v1.Health/Check` says SERVING.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::connect;

/// Field numbers of gRPC's own health protocol.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

pub(super) async fn check(address: SocketAddr, service: &str) -> Result<String, String> {
    let tcp = connect(address).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let origin = http::Uri::builder().scheme("http").authority(address.to_string());
    let origin = origin.path_and_query("/").build().map_err(|error| error.to_string())?;
    let mut grpc = Grpc::with_origin(Calls(sender), origin);
    let answer = async {
        grpc.ready().await.map_err(|error| error.to_string())?;
        let request = tonic::Request::new(CheckRequest { service: service.to_owned() });
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
        grpc.unary(request, path, codec).await.map_err(|status| status.message().to_owned())
    };
    let answer = answer.await;
    driver.abort();
    match answer?.into_inner().status {
        SERVING => Ok("serving".into()),
        other => Err(format!("its health is {other}, not SERVING")),
    }
}

#[derive(Clone)]
struct Calls(SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Calls {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
