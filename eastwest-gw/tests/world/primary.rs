//! A primary that serves what the test puts in, and can go away and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diolkos_eastwest_gw::{BytePath, ControlPlane, GatewaySettings, Limits, OwnIdentity};
use diolkos_ops::listen;
use diolkos_tls::{Expect, server_config};
use diolkos_trust_client::PrimaryName;
use diolkos_xds::ResourceType;
use diolkos_xds_client::{Backoff, NodeClaims};
use discovery::aggregated_discovery_service_server as ads;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::mesh::Mesh;

const NAME: &str = "primary.test";

pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    tls: Arc<rustls::ServerConfig>,
    running: Option<tokio::task::JoinHandle<()>>,
}

/// The kind as a number, and the name.
type Key = (usize, String);

/// Which of a gateway's streams: the one of what its network has, or the one of the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    In,
    Out,
}

/// By which a stream of the way out is known.
const EGRESS_PORT: &str = "EGRESS_PORT";

/// The version, and the body.
type Body = (String, Vec<u8>);

#[derive(Default)]
struct State {
    resources: Mutex<BTreeMap<(Way, Key), Body>>,
    changes: watch::Sender<u64>,
    nacks: Mutex<Vec<String>>,
}

impl Primary {
    pub(crate) async fn start(mesh: &Mesh) -> Self {
        let (identity, roots) = mesh.identity("primary", &[NAME]);
        let expect = Expect::AnyOf(vec![Mesh::domain()]);
        let mut primary = Self {
            address: "127.0.0.3:0".parse().unwrap(),
            state: Arc::default(),
            tls: server_config(&identity, &roots, expect, &["h2"]),
            running: None,
        };
        primary.come_back();
        primary
    }

    /// Of a gateway that has its certificate already.
    pub(crate) fn settings(&self, mesh: &Mesh) -> GatewaySettings {
        let (identity, roots) = mesh.identity("gateway", &[]);
        GatewaySettings {
            listen: None,
            control: vec![],
            hbone: None,
            egress: None,
            source: None,
            primary: PrimaryName { place: self.address.into(), server: Some(NAME.into()) },
            control_plane: ControlPlane::Primary,
            identity: OwnIdentity::Live { identity, roots },
            node: NodeClaims {
                kind: "router".into(),
                ip: "127.0.0.1".parse().unwrap(),
                pod: "gateway-1".into(),
                namespace: "shop".into(),
                domain: "cluster.local".into(),
                cluster: "east".into(),
                network: Some("east".into()),
                service_account: None,
                labels: BTreeMap::new(),
                extra: BTreeMap::new(),
            },
            backoff: Backoff { base: Duration::from_millis(20), ..Backoff::default() },
            health: None,
            admin: None,
            limits: Limits::default(),
            path: BytePath::default(),
            drain: Duration::from_millis(200),
        }
    }

    pub(crate) fn put(&self, kind: ResourceType, name: &str, body: Vec<u8>) {
        self.put_on(Way::In, kind, name, body);
    }

    pub(crate) fn put_on(&self, way: Way, kind: ResourceType, name: &str, body: Vec<u8>) {
        let mut resources = self.state.resources.lock().unwrap();
        // Where each byte stands counts: two listeners that differ in address and port are two.
        let step = |hash: u64, byte: &u8| hash.wrapping_mul(31).wrapping_add(u64::from(*byte));
        let version = format!("{:x}", body.iter().fold(0, step));
        resources.insert((way, (kind as usize, name.to_owned())), (version, body));
        drop(resources);
        self.state.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn remove(&self, kind: ResourceType, name: &str) {
        let key = (kind as usize, name.to_owned());
        self.state.resources.lock().unwrap().remove(&(Way::In, key));
        self.state.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn nacks(&self) -> Vec<String> {
        self.state.nacks.lock().unwrap().clone()
    }

    /// Nothing listens any more, and every stream is cut.
    pub(crate) async fn go_away(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub(crate) fn come_back(&mut self) {
        let listener = listen(self.address, 16).unwrap();
        self.address = listener.local_addr().unwrap();
        let (state, acceptor) = (Arc::clone(&self.state), TlsAcceptor::from(Arc::clone(&self.tls)));
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = ads::AggregatedDiscoveryServiceServer::new(Service(state));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                        .await;
                });
            }
        }));
    }
}

struct Service(Arc<State>);

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

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
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(stream(Arc::clone(&self.0), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// What one client asked for, and what it has.
#[derive(Default)]
struct Client {
    way: Option<Way>,
    wildcard: [bool; 4],
    names: BTreeSet<Key>,
    has: BTreeMap<Key, String>,
    nonce: u64,
}

async fn stream(
    state: Arc<State>,
    mut requests: Streaming<discovery::DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<discovery::DeltaDiscoveryResponse, Status>>,
) {
    let mut client = Client::default();
    let mut changes = state.changes.subscribe();
    loop {
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => client.note(&state, request),
                _ => return,
            },
            changed = changes.changed() => if changed.is_err() { return },
        }
        for response in client.owed(&state) {
            if responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

impl Client {
    fn note(&mut self, state: &State, request: discovery::DeltaDiscoveryRequest) {
        if let Some(error) = request.error_detail {
            state.nacks.lock().unwrap().push(error.message);
        }
        if let Some(metadata) = request.node.and_then(|node| node.metadata) {
            let out = metadata.fields.contains_key(EGRESS_PORT);
            self.way = Some(if out { Way::Out } else { Way::In });
        }
        let kind = ResourceType::from_url(&request.type_url).unwrap() as usize;
        let first = request.response_nonce.is_empty();
        let subscribes = &request.resource_names_subscribe;
        let unnamed = subscribes.is_empty() && kind != ResourceType::Endpoint as usize;
        self.wildcard[kind] |= subscribes.iter().any(|name| name == "*") || (first && unnamed);
        for name in request.resource_names_subscribe {
            self.has.remove(&(kind, name.clone()));
            self.names.insert((kind, name));
        }
        let held = request.initial_resource_versions.into_iter();
        self.has.extend(held.map(|(name, version)| ((kind, name), version)));
        for name in request.resource_names_unsubscribe {
            self.names.remove(&(kind, name.clone()));
            self.has.remove(&(kind, name));
        }
    }

    fn owed(&mut self, state: &State) -> Vec<discovery::DeltaDiscoveryResponse> {
        let Some(way) = self.way else { return Vec::new() };
        let resources = state.resources.lock().unwrap();
        let of_way = resources.iter().filter(|((of, _), _)| *of == way);
        let resources: BTreeMap<&Key, &Body> = of_way.map(|((_, key), body)| (key, body)).collect();
        let mut responses = Vec::new();
        for of in ResourceType::ORDER {
            let kind = of as usize;
            let wants =
                |key: &Key| key.0 == kind && (self.wildcard[kind] || self.names.contains(key));
            let differs = |key: &Key, version: &String| self.has.get(key) != Some(version);
            let new: Vec<_> = resources
                .iter()
                .filter(|(key, (version, _))| wants(key) && differs(key, version))
                .map(|(key, value)| ((*key).clone(), (*value).clone()))
                .collect();
            let gone: Vec<_> = self
                .has
                .keys()
                .filter(|key| key.0 == kind && !resources.contains_key(*key))
                .cloned()
                .collect();
            if new.is_empty() && gone.is_empty() {
                continue;
            }
            self.nonce += 1;
            let mut response = discovery::DeltaDiscoveryResponse {
                type_url: of.url().into(),
                nonce: self.nonce.to_string(),
                ..Default::default()
            };
            for (key, (version, body)) in new {
                response.resources.push(discovery::Resource {
                    name: key.1.clone(),
                    version: version.clone(),
                    resource: Some(Any { type_url: of.url().into(), value: body }),
                    ..Default::default()
                });
                self.has.insert(key, version);
            }
            for key in gone {
                self.has.remove(&key);
                response.removed_resources.push(key.1);
            }
            responses.push(response);
        }
        responses
    }
}
