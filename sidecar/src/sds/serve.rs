//! Streams on a Unix socket.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use diolkos_ops::{Shutdown, printable};
use diolkos_trust_client::Kept;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::secrets::Secrets;
use super::state::{Delta, Ended, Nack, Sotw, Turn};
use crate::limit::{SDS_ANSWERS_MAX, SDS_CONNECTIONS_MAX, SDS_REQUEST_BYTES_MAX};

/// In the place of one that an earlier process left.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Whoever can connect gets the key.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Until shutdown.
pub(crate) async fn serve(listener: UnixListener, mut kept: Kept, shutdown: Shutdown) {
    let (publish, secrets) = watch::channel(Secrets::default());
    let follow = async move {
        loop {
            let next = kept.borrow_and_update().clone();
            publish.send_modify(|secrets| *secrets = Secrets::after(secrets, next.as_deref()));
            if kept.changed().await.is_err() {
                // Nothing more comes; what is there is served on.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = shutdown.wait() => {}
        () = follow => {}
        () = accept(listener, secrets) => {}
    }
}

async fn accept(listener: UnixListener, secrets: watch::Receiver<Secrets>) {
    let own = rustix::process::geteuid().as_raw();
    let places = Arc::new(Semaphore::new(SDS_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely; do not spin until some come back.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if !is_ours(&stream, own) {
            tracing::warn!("another user asked for secrets and was turned away");
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let service = SecretDiscoveryServiceServer::new(Service { secrets: secrets.clone() })
            .max_decoding_message_size(SDS_REQUEST_BYTES_MAX);
        connections.spawn(async move {
            let _place = place;
            let connection = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            // However it ended, Envoy connects again.
            let _ = connection.await;
        });
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The mode of the socket says so already, where the folder's file system knows modes.
fn is_ours(stream: &UnixStream, own: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

struct Service {
    secrets: watch::Receiver<Secrets>,
}

type Answers<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(answer(request.into_inner(), self.secrets.clone(), Delta::default()))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(answer(request.into_inner(), self.secrets.clone(), Sotw::default()))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are served on streams only"))
    }
}

/// What both protocols have in common.
trait StreamState: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;

    fn request(
        &mut self,
        request: Self::Request,
        secrets: &Secrets,
    ) -> Result<Turn<Self::Response>, Ended>;
    fn advance(&mut self, secrets: &Secrets) -> Option<Self::Response>;
}

impl StreamState for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn request(
        &mut self,
        request: DiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Turn<DiscoveryResponse>, Ended> {
        Self::request(self, request, secrets)
    }

    fn advance(&mut self, secrets: &Secrets) -> Option<DiscoveryResponse> {
        Self::advance(self, secrets)
    }
}

impl StreamState for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<Turn<DeltaDiscoveryResponse>, Ended> {
        Self::request(self, request, secrets)
    }

    fn advance(&mut self, secrets: &Secrets) -> Option<DeltaDiscoveryResponse> {
        Self::advance(self, secrets)
    }
}

fn answer<S: StreamState>(
    requests: Streaming<S::Request>,
    secrets: watch::Receiver<Secrets>,
    state: S,
) -> Response<Answers<S::Response>> {
    let (answers, outgoing) = mpsc::channel(SDS_ANSWERS_MAX);
    tokio::spawn(converse(requests, secrets, state, answers));
    Response::new(Box::pin(ReceiverStream::new(outgoing)))
}

async fn converse<S: StreamState>(
    mut requests: Streaming<S::Request>,
    mut secrets: watch::Receiver<Secrets>,
    mut state: S,
    answers: mpsc::Sender<Result<S::Response, Status>>,
) {
    loop {
        let response = tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                let turn = state.request(request, &secrets.borrow());
                match turn {
                    Ok(Turn { response, nack }) => {
                        if let Some(Nack(why)) = nack {
                            tracing::error!(why = %printable(&why), "Envoy refused a secret");
                        }
                        response
                    }
                    Err(ended) => {
                        // One that went away needs no telling.
                        let _ = answers.send(Err(Status::invalid_argument(ended.to_string()))).await;
                        return;
                    }
                }
            }
            changed = secrets.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = secrets.borrow_and_update().clone();
                state.advance(&now)
            }
        };
        if let Some(response) = response
            && answers.send(Ok(response)).await.is_err()
        {
            return;
        }
    }
}
