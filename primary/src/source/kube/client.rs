//! A client of one API server, built by hand from what was checked: no kubeconfig reaches it, it
//! follows no redirect, unpacks nothing, and reads no more than it was told to.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use diolkos_facts::remote;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::client::Body;
use serde::de::DeserializeOwned;

use super::connect::{Connector, Reach};
use super::error::ApiError;
use super::limit::{self, Pace};
use super::remote::{Credential, Remote, Secret, authority};

/// One API server. Dropping the last copy closes its connections.
#[derive(Clone)]
pub(crate) struct ApiClient {
    kube: kube::Client,
    token: Token,
    pace: Pace,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl ApiClient {
    /// # Errors
    /// Says what cannot be used; repeats no secret.
    pub(crate) fn new(remote: &Remote, reach: &Reach, pace: Pace) -> Result<Self, String> {
        let connector = Connector::new(remote, reach, pace)?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(pace.answer_max)
            .pool_max_idle_per_host(limit::IDLE_CONNECTIONS_MAX)
            .build(connector);
        let token = Token(match &remote.credential {
            Credential::Given(remote::Credential::Token(token)) => {
                TokenFrom::Fixed(Secret::new(token.expose()))
            }
            Credential::Given(remote::Credential::ClientCertificate { .. }) => TokenFrom::Nothing,
            Credential::TokenFile(path) => {
                TokenFrom::File(Arc::new(TokenFile::new(path, pace.probe)))
            }
        });
        let prefix = remote.server.path.clone();
        let authority = authority(&remote.server);
        let service = Outbound { client, authority, prefix, token: token.clone(), pace };
        Ok(Self { kube: kube::Client::new(service, "default"), token, pace })
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Sends, and waits for the headers of an answer that is JSON.
    pub(crate) async fn open(&self, request: Request<Vec<u8>>) -> Result<Body, ApiError> {
        let sent = self.kube.send(request.map(Body::from));
        // The inner service has its own bound; this one also covers waiting for it.
        let sent = tokio::time::timeout(self.pace.connect_max + self.pace.read_max, sent).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(ApiError::Unreachable("no answer in time".into())),
        };
        let status = response.status();
        if status.is_success() {
            check_headers(&response).map_err(ApiError::Malformed)?;
            return Ok(response.into_body());
        }
        if status.is_redirection() {
            let cause = format!("answers {status}, and redirects are not followed");
            return Err(ApiError::Malformed(cause));
        }
        let body = self.collect(response.into_body(), limit::ANSWER_BYTES_MAX).await;
        let said = body.ok().and_then(|body| serde_json::from_slice::<Status>(&body).ok());
        let message = said.and_then(|status| status.message).unwrap_or_default();
        Err(ApiError::of_status(status, self.scrub(&message)))
    }

    /// One answer, read to its end.
    pub(crate) async fn bytes(
        &self,
        request: Request<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Bytes, ApiError> {
        let all = async {
            let body = self.open(request).await?;
            self.collect(body, bytes_max).await
        };
        let limit = self.pace.answer_max;
        tokio::time::timeout(limit, all).await.unwrap_or_else(|_| {
            Err(ApiError::Unreachable(format!("no whole answer within {} s", limit.as_secs())))
        })
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<T, ApiError> {
        let body = self.bytes(request, limit::ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|error| ApiError::unreadable(&error))
    }

    async fn collect(&self, mut body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            if bytes.len() + piece.len() > bytes_max {
                let cause = format!("the answer has more than {bytes_max} bytes");
                return Err(ApiError::Malformed(cause));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }

    async fn piece(&self, body: &mut Body) -> Result<Option<Bytes>, ApiError> {
        loop {
            let frame = tokio::time::timeout(self.pace.read_max, body.frame()).await;
            let frame =
                frame.map_err(|_| ApiError::Unreachable("the answer stopped half-way".into()))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.unreachable(&error)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    pub(super) fn unreachable(&self, error: &dyn std::error::Error) -> ApiError {
        // The outer layers say only that something below them failed.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        ApiError::Unreachable(self.scrub(&innermost.to_string()))
    }

    /// A server may repeat what it was sent.
    fn scrub(&self, text: &str) -> String {
        let text = match self.token.last() {
            Some(token) if !token.reveal().is_empty() => text.replace(token.reveal(), "(token)"),
            _ => text.to_owned(),
        };
        super::error::short(&text)
    }
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").finish_non_exhaustive()
    }
}

fn check_headers(response: &Response<Body>) -> Result<(), String> {
    if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err("answers packed, which nobody asked for".into());
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(()),
        other => {
            let other = super::error::short(other);
            Err(format!("answers with {other:?} instead of JSON: this is no API server"))
        }
    }
}

/// What every request gets, and nothing else does.
struct Outbound {
    client: legacy::Client<Connector, Body>,
    authority: String,
    prefix: String,
    token: Token,
    pace: Pace,
}

impl Outbound {
    fn dressed(&self, request: Request<Body>) -> Result<Request<Body>, BoxError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::builder()
            .scheme("https")
            .authority(self.authority.as_str())
            .path_and_query(format!("{}{path}", self.prefix))
            .build()?;
        parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = self.token.read()? {
            let value = format!("Bearer {}", token.reveal());
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| "the token has characters that no HTTP header can carry".to_owned())?;
            value.set_sensitive(true);
            parts.headers.insert(AUTHORIZATION, value);
        }
        Ok(Request::from_parts(parts, body))
    }
}

impl tower_service::Service<Request<Body>> for Outbound {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, limit) = (self.client.clone(), self.pace.connect_max + self.pace.read_max);
        let request = self.dressed(request);
        Box::pin(async move {
            let answer = tokio::time::timeout(limit, client.request(request?)).await;
            match answer {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err("no answer in time".into()),
            }
        })
    }
}

#[derive(Clone)]
struct Token(TokenFrom);

#[derive(Clone)]
enum TokenFrom {
    Nothing,
    Fixed(Secret),
    File(Arc<TokenFile>),
}

/// A projected token is replaced every hour or so. It is small and local: read in place.
struct TokenFile {
    path: std::path::PathBuf,
    /// A new token is valid long before the old one ends.
    age_max: Duration,
    last: Mutex<Option<(Secret, Instant)>>,
}

impl Token {
    fn read(&self) -> Result<Option<Secret>, String> {
        match &self.0 {
            TokenFrom::Nothing => Ok(None),
            TokenFrom::Fixed(token) => Ok(Some(token.clone())),
            TokenFrom::File(file) => file.read().map(Some),
        }
    }

    fn last(&self) -> Option<Secret> {
        match &self.0 {
            TokenFrom::Nothing => None,
            TokenFrom::Fixed(token) => Some(token.clone()),
            TokenFrom::File(file) => file.lock().as_ref().map(|(token, _)| token.clone()),
        }
    }
}

impl TokenFile {
    fn new(path: &Path, age_max: Duration) -> Self {
        Self { path: path.to_owned(), age_max, last: Mutex::new(None) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Secret, Instant)>> {
        // Replacing a value does not panic half-way.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Secret, String> {
        let mut last = self.lock();
        let now = Instant::now();
        if let Some((token, at)) = last.as_ref()
            && now.duration_since(*at) < self.age_max
        {
            return Ok(token.clone());
        }
        match std::fs::read_to_string(&self.path) {
            Ok(text) if text.len() <= limit::TOKEN_BYTES_MAX && !text.trim().is_empty() => {
                let token = Secret::new(text.trim());
                *last = Some((token.clone(), now));
                Ok(token)
            }
            Ok(_) => Err(format!("{}: not a token", self.path.display())),
            // While the kubelet exchanges it, the last one will do.
            Err(error) => last
                .as_ref()
                .map(|(token, _)| token.clone())
                .ok_or_else(|| format!("{}: {error}", self.path.display())),
        }
    }
}
