//! The primary of the gateway under test: an ADS server that has so many routes, all to one backend,
//! and changes some when it is told to.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use diolkos_xds::ResourceType;
use discovery::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::resource;

pub(crate) const SERVER_NAME: &str = "primary.bench.example";
pub(crate) const DOMAIN: &str = "bench.example";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Resources in one message: far below the 4 MiB that gRPC takes.
const BATCH: usize = 2_000;

#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    changes: watch::Sender<u64>,
    /// Ends with it.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct Mesh {
    routes: usize,
    listen: SocketAddr,
    backend: SocketAddr,
    changes: watch::Receiver<u64>,
}

pub(crate) fn route_name(number: usize) -> String {
    format!("outbound_.80_._.s-{number}.bench.svc.cluster.local")
}

/// Certificates of a primary and of a gateway, each in a folder of its name.
pub(crate) fn write_certificates(folder: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let validity = Validity { not_before: now, not_after: now + DAY };
    let authority =
        Authority::new_root("diolkos bench", validity)?.intermediate("east", validity)?;
    let domain = TrustDomain::new(DOMAIN)?;
    for (name, dns) in [("primary", vec![SERVER_NAME.to_owned()]), ("gateway", Vec::new())] {
        let id = SpiffeId::workload(&domain, "diolkos-system", name)?;
        let issued = authority.issue(&LeafRequest { id, dns, ips: Vec::new(), validity })?;
        issued.write(&folder.join(name))?;
    }
    Ok(())
}

impl Primary {
    pub(crate) fn start(
        certificates: &Path,
        routes: usize,
        listen: SocketAddr,
        backend: SocketAddr,
    ) -> anyhow::Result<Self> {
        let folder = certificates.join("primary");
        let domain = TrustDomain::new(DOMAIN)?;
        let (identity, roots) = (Identity::load(&folder)?, Roots::load(&folder, &domain)?);
        let tls =
            diolkos_tls::server_config(&identity, &roots, Expect::AnyOf(vec![domain]), &["h2"]);
        let (changes, heard) = watch::channel(0);
        let mesh = Arc::new(Mesh { routes, listen, backend, changes: heard });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.3", 0)))
            .context("cannot listen on 127.0.0.3")?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, TlsAcceptor::from(tls), mesh));
        Ok(Self { address, changes, _runtime: runtime })
    }

    /// One more route leads elsewhere, or back.
    pub(crate) fn change_one(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

async fn accept(listener: tokio::net::TcpListener, tls: TlsAcceptor, mesh: Arc<Mesh>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, mesh) = (tls.clone(), Arc::clone(&mesh));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = ads::AggregatedDiscoveryServiceServer::new(Service(mesh));
            // The gateway leaves when it has been measured.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                .await;
        });
    }
}

struct Service(Arc<Mesh>);

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;
type Sender = mpsc::Sender<Result<discovery::DeltaDiscoveryResponse, Status>>;

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the gateway speaks delta"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(stream(Arc::clone(&self.0), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn stream(
    mesh: Arc<Mesh>,
    mut requests: Streaming<discovery::DeltaDiscoveryRequest>,
    to: Sender,
) {
    let mut changes = mesh.changes.clone();
    let mut said = *changes.borrow_and_update();
    loop {
        let sent = tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                answer(&mesh, &request, &to).await
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = *changes.borrow_and_update();
                let names = (said..now).map(|number| mesh.changing(number)).collect();
                said = now;
                send(&mesh, ResourceType::Endpoint, names, now, &to).await
            }
        };
        if sent.is_none() {
            return;
        }
    }
}

/// All of a kind on its first request; of endpoints those that are asked for.
async fn answer(
    mesh: &Mesh,
    request: &discovery::DeltaDiscoveryRequest,
    to: &Sender,
) -> Option<()> {
    let kind = ResourceType::from_url(&request.type_url)?;
    let first = request.response_nonce.is_empty();
    let names = match kind {
        ResourceType::Listener if first => vec!["sni".to_owned()],
        ResourceType::Cluster if first => (0..mesh.routes).map(route_name).collect(),
        ResourceType::Endpoint => request.resource_names_subscribe.clone(),
        _ => Vec::new(),
    };
    send(mesh, kind, names, 0, to).await
}

async fn send(
    mesh: &Mesh,
    kind: ResourceType,
    names: Vec<String>,
    version: u64,
    to: &Sender,
) -> Option<()> {
    for names in names.chunks(BATCH) {
        let resources = names.iter().map(|name| discovery::Resource {
            name: name.clone(),
            version: version.to_string(),
            resource: Some(Any {
                type_url: kind.url().into(),
                value: mesh.body(kind, name, version),
            }),
            ..discovery::Resource::default()
        });
        let response = discovery::DeltaDiscoveryResponse {
            type_url: kind.url().into(),
            nonce: version.to_string(),
            resources: resources.collect(),
            ..discovery::DeltaDiscoveryResponse::default()
        };
        to.send(Ok(response)).await.ok()?;
    }
    Some(())
}

impl Mesh {
    /// Never the first, which the load uses.
    fn changing(&self, number: u64) -> String {
        route_name(1 + number as usize % self.routes.saturating_sub(1).max(1))
    }

    fn body(&self, kind: ResourceType, name: &str, version: u64) -> Vec<u8> {
        match kind {
            ResourceType::Listener => resource::listener(self.listen),
            ResourceType::Cluster => resource::cluster(name),
            _ => {
                let mut target = self.backend;
                target.set_port(target.port() ^ u16::from(version % 2 == 1));
                resource::endpoints(name, target)
            }
        }
    }
}
