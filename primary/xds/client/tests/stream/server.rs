//! An ADS server without opinions: it hands every stream to the test.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use diolkos_xds::ResourceType;
use diolkos_xds_client::{Backoff, ClientSettings, Credential, NodeClaims};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const NAME: &str = "primary.test";
const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) struct Server {
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    identity: Identity,
    roots: Roots,
    _dir: TempDir,
}

pub(crate) struct Stream {
    pub(crate) peer: SocketAddr,
    /// What came with the stream's headers.
    pub(crate) metadata: tonic::metadata::MetadataMap,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = issue(&dir);
        let domain = TrustDomain::new("test").unwrap();
        let roots = Roots::load(dir.path(), &domain).unwrap();
        let expect = Expect::AnyOf(vec![domain]);
        let tls = diolkos_tls::open_server_config(&identity, &roots, expect, &["h2"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let (tcp, peer) = listener.accept().await.unwrap();
                let (acceptor, sender) = (TlsAcceptor::from(tls.clone()), sender.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = AggregatedDiscoveryServiceServer::new(Service { sender, peer });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(service))
                        .await;
                });
            }
        });
        Self { address, streams, identity, roots, _dir: dir }
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        ClientSettings {
            place: self.address.into(),
            server: NAME.into(),
            credential: Credential::Certificate(self.identity.clone()),
            roots: self.roots.clone(),
            node: NodeClaims {
                kind: "sidecar".into(),
                ip: "127.0.0.1".parse().unwrap(),
                pod: "web-1".into(),
                namespace: "shop".into(),
                domain: "cluster.local".into(),
                cluster: "west".into(),
                network: None,
                service_account: None,
                labels: Default::default(),
                extra: Default::default(),
            },
            source: None,
            backoff: Backoff::default(),
            pings: Default::default(),
        }
    }

    pub(crate) async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("no stream came").unwrap()
    }
}

impl Stream {
    pub(crate) async fn request(&mut self) -> DeltaDiscoveryRequest {
        let request = timeout(PATIENCE, self.requests.message()).await.expect("no request came");
        request.unwrap().expect("the stream ended")
    }

    pub(crate) async fn send(&self, response: DeltaDiscoveryResponse) {
        self.responses.send(Ok(response)).await.unwrap();
    }

    pub(crate) async fn refuse(&self, status: Status) {
        self.responses.send(Err(status)).await.unwrap();
    }

    pub(crate) async fn ended(&mut self) {
        timeout(PATIENCE, async { while let Ok(Some(_)) = self.requests.message().await {} })
            .await
            .expect("the stream goes on");
    }
}

pub(crate) fn response(
    kind: ResourceType,
    nonce: &str,
    upserts: &[(&str, &str, &str)],
) -> DeltaDiscoveryResponse {
    let resource = |(name, version, body): &(&str, &str, &str)| Resource {
        name: (*name).into(),
        version: (*version).into(),
        resource: Some(Any { type_url: kind.url().into(), value: body.as_bytes().to_vec() }),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        type_url: kind.url().into(),
        nonce: nonce.into(),
        resources: upserts.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// `shop/web`, who is also the server, under a root of its own.
pub(crate) fn issue(dir: &TempDir) -> Identity {
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let validity = Validity { not_before: now - day, not_after: now + day };
    let root = Authority::new_root("test", validity).unwrap();
    let leaf = LeafRequest {
        id: SpiffeId::parse("spiffe://test/ns/shop/sa/web").unwrap(),
        dns: vec![NAME.into()],
        ips: vec![],
        validity,
    };
    root.issue(&leaf).unwrap().write(dir.path()).unwrap();
    Identity::load(dir.path()).unwrap()
}

struct Service {
    sender: mpsc::Sender<Stream>,
    peer: SocketAddr,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, outgoing) = mpsc::channel(16);
        let metadata = request.metadata().clone();
        let requests = request.into_inner();
        let stream = Stream { peer: self.peer, metadata, requests, responses };
        self.sender.send(stream).await.map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }
}
