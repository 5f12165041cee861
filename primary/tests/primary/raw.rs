//! An xDS client without manners: it says what a test wants, and may not read.

use std::pin::Pin;
use std::task::{Context, Poll};

use diolkos_tls::Expect;
use diolkos_xds_client::{ClientSettings, Credential};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as ads;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Status, Streaming};

use crate::world::PATIENCE;

pub(crate) struct Stream<Q, R> {
    pub(crate) requests: mpsc::Sender<Q>,
    pub(crate) responses: Streaming<R>,
}

/// An open connection. `window` is how many bytes a stream may send before they are read.
pub(crate) async fn connection(settings: &ClientSettings, window: u32) -> Result<Client, String> {
    let expect = Expect::Dns(settings.server.clone());
    let config = match &settings.credential {
        Credential::Certificate(identity) => {
            diolkos_tls::client_config(identity, &settings.roots, expect, &["h2"])
        }
        Credential::Token(_) => {
            diolkos_tls::anonymous_client_config(&settings.roots, expect, &["h2"])
        }
    };
    let calls = calls(settings, TlsConnector::from(config), window).await?;
    Ok(Client::with_origin(calls, origin(settings)))
}

pub(crate) fn origin(settings: &ClientSettings) -> http::Uri {
    let uri = http::Uri::builder().scheme("https").authority(settings.server.as_str());
    uri.path_and_query("/").build().unwrap()
}

pub(crate) async fn calls(
    settings: &ClientSettings,
    tls: TlsConnector,
    window: u32,
) -> Result<Calls, String> {
    let tcp = TcpStream::connect((settings.place.host.as_str(), settings.place.port))
        .await
        .map_err(|error| error.to_string())?;
    let name = diolkos_tls::server_name(&settings.server).unwrap();
    let tls = tls.connect(name, tcp).await.map_err(|error| error.to_string())?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(tls))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(Calls(sender))
}

pub(crate) const WINDOW: u32 = 1024 * 1024;

pub(crate) async fn delta(
    settings: &ClientSettings,
    window: u32,
    first: DeltaDiscoveryRequest,
) -> Result<Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>, Status> {
    let mut client = connection(settings, window).await.map_err(Status::unavailable)?;
    let (requests, outgoing) = mpsc::channel(16);
    requests.send(first).await.unwrap();
    let call = client.delta_aggregated_resources(ReceiverStream::new(outgoing));
    let late = |_| Status::deadline_exceeded("no answer");
    let responses = timeout(PATIENCE, call).await.map_err(late)??.into_inner();
    Ok(Stream { requests, responses })
}

pub(crate) async fn sotw(
    settings: &ClientSettings,
    first: DiscoveryRequest,
) -> Result<Stream<DiscoveryRequest, DiscoveryResponse>, Status> {
    let mut client = connection(settings, WINDOW).await.map_err(Status::unavailable)?;
    let (requests, outgoing) = mpsc::channel(16);
    requests.send(first).await.unwrap();
    let call = client.stream_aggregated_resources(ReceiverStream::new(outgoing));
    let responses = timeout(PATIENCE, call).await.expect("no answer")?.into_inner();
    Ok(Stream { requests, responses })
}

pub(crate) type Client = ads::AggregatedDiscoveryServiceClient<Calls>;

/// A delta stream with these headers, on a connection that may have others.
pub(crate) async fn with_headers(
    client: &mut Client,
    headers: &[(&'static str, String)],
    first: DeltaDiscoveryRequest,
) -> Result<Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>, Status> {
    let (requests, outgoing) = mpsc::channel(16);
    requests.send(first).await.unwrap();
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    let call = client.delta_aggregated_resources(request);
    let responses = timeout(PATIENCE, call).await.expect("no answer")?.into_inner();
    Ok(Stream { requests, responses })
}

impl<Q, R> Stream<Q, R> {
    pub(crate) async fn next(&mut self) -> Result<R, Status> {
        let response = timeout(PATIENCE, self.responses.message()).await.expect("nothing came");
        response.map(|response| response.expect("the stream ended"))
    }
}

/// What the settings' claims look like in a request.
pub(crate) fn node(settings: &ClientSettings) -> Node {
    let text = |value| Value { kind: Some(Kind::StringValue(value)) };
    let metadata = settings.node.metadata();
    Node {
        id: settings.node.id(),
        metadata: Some(Struct {
            fields: metadata.into_iter().map(|(key, value)| (key, text(value))).collect(),
        }),
        ..Node::default()
    }
}

#[derive(Clone)]
pub(crate) struct Calls(SendRequest<Body>);

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
