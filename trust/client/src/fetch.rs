//! One attempt to get a certificate from the primary.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use diolkos_tls::{Expect, Roots, TlsError, anonymous_client_config, client_config};
use diolkos_trust_wire::{
    ANSWER_BYTES_MAX, Answer, CLUSTER_KEY, CREATE_CERTIFICATE, IstioCertificateRequest,
};
use http::uri::PathAndQuery;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::limit;
use crate::material::{FreshKey, Material, MaterialFault};
use crate::settings::CertificateSettings;

/// How we prove who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Token,
    /// The certificate before: where the cluster's API server, which knows tokens, is away.
    Certificate,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("token {}: {cause}", file.display())]
    Token { file: PathBuf, cause: String },
    #[error("roots: {0}; without them no primary is believed")]
    Roots(TlsError),
    #[error("{name} has no address: {cause}")]
    Name { name: String, cause: io::Error },
    #[error("cannot connect to {name} at {address}: {cause}")]
    Connect { name: String, address: SocketAddr, cause: String },
    #[error("the primary refuses: {} ({:?})", .0.message(), .0.code())]
    Refused(Status),
    #[error(
        "the primary refuses: {}; write into {} a projected token of this pod, which the API server \
         of cluster {cluster} made for {audience}",
        status.message(), file.display()
    )]
    TokenRefused { status: Status, file: PathBuf, cluster: String, audience: &'static str },
    #[error("the primary did not answer within {} s", limit::ANSWER_MAX.as_secs())]
    Late,
    #[error("{0}")]
    Material(#[from] MaterialFault),
}

impl FetchError {
    /// The primary is there, but whoever could vouch for the token is not.
    pub(crate) fn is_of_the_api_server(&self) -> bool {
        match self {
            Self::Refused(status) => {
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            }
            Self::Late | Self::Token { .. } => true,
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Fetcher {
    settings: Arc<CertificateSettings>,
}

impl Fetcher {
    pub(crate) fn new(settings: Arc<CertificateSettings>) -> Self {
        Self { settings }
    }

    /// `before` is used only where `by` says so.
    pub(crate) async fn fetch(
        &self,
        by: By,
        before: Option<&Material>,
    ) -> Result<Material, FetchError> {
        let settings = &self.settings;
        // First of all: to whom to speak.
        let roots = Roots::read(&settings.root_file, &settings.id.trust_domain())
            .map_err(FetchError::Roots)?;
        let expect = Expect::Dns(settings.primary.server().to_owned());
        let (tls, token) = match (by, before) {
            (By::Certificate, Some(before)) => {
                let identity = before.identity().map_err(MaterialFault::from)?;
                (client_config(&identity, &roots, expect, &["h2"]), None)
            }
            _ => {
                let token = read_token(&settings.token_file)?;
                (anonymous_client_config(&roots, expect, &["h2"]), Some(token))
            }
        };
        let key = FreshKey::make()?;
        let channel = self.connect(tls).await?;
        let request = self.request(&key, token)?;
        let response = timeout(limit::ANSWER_MAX, call(&channel, request, &self.settings))
            .await
            .map_err(|_| FetchError::Late)?
            .map_err(|status| self.refused(by, status))?;
        let answer = Answer::of(&response).map_err(MaterialFault::from)?;
        Ok(Material::of(&key, answer, &settings.id, SystemTime::now())?)
    }

    fn refused(&self, by: By, status: Status) -> FetchError {
        match (by, status.code()) {
            (By::Token, Code::Unauthenticated) => FetchError::TokenRefused {
                status,
                file: self.settings.token_file.clone(),
                cluster: self.settings.cluster.clone(),
                audience: self.settings.audience,
            },
            _ => FetchError::Refused(status),
        }
    }

    fn request(
        &self,
        key: &FreshKey,
        token: Option<String>,
    ) -> Result<tonic::Request<IstioCertificateRequest>, FetchError> {
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: key.csr_pem.clone(),
            validity_duration: i64::try_from(self.settings.ttl.as_secs()).unwrap_or_default(),
            metadata: None,
        });
        let metadata = request.metadata_mut();
        if let Some(token) = token {
            let unsendable = |_| FetchError::Token {
                file: self.settings.token_file.clone(),
                cause: "it is no text that can be sent".into(),
            };
            let mut value: AsciiMetadataValue =
                format!("Bearer {token}").parse().map_err(unsendable)?;
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        if let Ok(cluster) = self.settings.cluster.parse::<AsciiMetadataValue>() {
            metadata.insert(CLUSTER_KEY, cluster);
        }
        Ok(request)
    }

    /// Each address of the name in turn, looked up anew: a primary may move.
    async fn connect(&self, tls: Arc<ClientConfig>) -> Result<Channel, FetchError> {
        let primary = &self.settings.primary;
        let name = primary.to_string();
        let unknown = |cause| FetchError::Name { name: name.clone(), cause };
        let addresses = primary.place.look_up().await.map_err(unknown)?;
        let mut last = unknown(io::Error::other("its name resolves to none"));
        for address in addresses {
            let dialled = dial(address, &self.settings, tls.clone());
            match timeout(limit::CONNECT_MAX, dialled).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(cause)) => {
                    last = FetchError::Connect { name: name.clone(), address, cause };
                }
                Err(_) => {
                    let cause = format!("no answer within {} s", limit::CONNECT_MAX.as_secs());
                    last = FetchError::Connect { name: name.clone(), address, cause };
                }
            }
        }
        Err(last)
    }
}

fn read_token(file: &Path) -> Result<String, FetchError> {
    let unreadable = |cause: String| FetchError::Token { file: file.to_path_buf(), cause };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|error| unreadable(error.to_string()))?;
    opened
        .take(limit::TOKEN_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    match text.trim() {
        "" => Err(unreadable("it is empty".into())),
        _ if text.len() as u64 > limit::TOKEN_BYTES_MAX => {
            Err(unreadable(format!("it is larger than {} bytes", limit::TOKEN_BYTES_MAX)))
        }
        token => Ok(token.to_owned()),
    }
}

/// An open connection; closed when dropped.
struct Channel {
    sender: SendRequest<Body>,
    driver: AbortHandle,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn dial(
    address: SocketAddr,
    settings: &CertificateSettings,
    tls: Arc<ClientConfig>,
) -> Result<Channel, String> {
    let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = diolkos_tls::server_name(settings.primary.server());
    let tls = TlsConnector::from(tls)
        .connect(name.map_err(|error| error.to_string())?, tcp)
        .await
        .map_err(|error| diolkos_tls::explain(&error, &settings.id).to_string())?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok(Channel { sender, driver })
}

async fn call(
    channel: &Channel,
    request: tonic::Request<IstioCertificateRequest>,
    settings: &CertificateSettings,
) -> Result<diolkos_trust_wire::IstioCertificateResponse, Status> {
    let origin = http::Uri::builder()
        .scheme("https")
        .authority(settings.primary.to_string())
        .path_and_query("/")
        .build()
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut grpc = Grpc::with_origin(Calls(channel.sender.clone()), origin)
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(CREATE_CERTIFICATE);
    Ok(grpc.unary(request, path, ProstCodec::default()).await?.into_inner())
}

/// tonic speaks to anything that is a tower service.
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

/// Another whenever the roots are.
pub(crate) fn roots_print(file: &Path) -> Option<Vec<u8>> {
    diolkos_tls::read_pem(file).ok()
}
