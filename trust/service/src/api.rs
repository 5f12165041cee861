//! The certificate API: gRPC requests in, signed leaves out.
//!
//! A tower service for the paths below [`diolkos_trust_wire::SERVICE_PREFIX`], to be mounted on a
//! port that somebody else listens on. What that one knows of the connection comes in the request's
//! extensions: a verified [`Peer`], if the client presented a certificate, and its `SocketAddr`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use diolkos_ops::metrics::Registry;
use diolkos_ops::printable;
use diolkos_tls::Peer;
use diolkos_trust::TrustDomain;
use diolkos_trust_wire as wire;
use diolkos_trust_wire::{IstioCertificateRequest, IstioCertificateResponse};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::body::Body as Answer;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};
use tonic::{Extensions, Status};
use tonic_prost::ProstCodec;

use crate::caller::{Caller, Proof};
use crate::csr::RequestKey;
use crate::limit;
use crate::live::LiveAuthority;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::request::{Signed, Subject, ttl_of};
use crate::review::{AUDIENCES, Grants, Reviewer, Token};

/// Clones share one CA, one pace and one set of metrics.
#[derive(Clone, Debug)]
pub struct CertificateApi(Arc<Shared>);

/// What signs, and who says for whom.
pub struct ApiSettings {
    pub authority: LiveAuthority,
    pub trust_domain: TrustDomain,
    pub reviewer: Arc<dyn Reviewer>,
    pub grants: Arc<dyn Grants>,
}

struct Shared {
    settings: ApiSettings,
    metrics: Metrics,
    pace: Mutex<Pace>,
    reviews: Semaphore,
    waiting: Semaphore,
}

/// One request, as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub token: Option<Token>,
    /// Whose API server knows the token; empty: the primary's own.
    pub cluster: String,
    /// Of the connection.
    pub peer: Option<Peer>,
    pub csr: String,
    pub ttl_s: i64,
    pub impersonates: bool,
}

impl CertificateApi {
    pub fn new(settings: ApiSettings, registry: &mut Registry) -> Self {
        let metrics = Metrics::new(registry, &settings.authority);
        Self(Arc::new(Shared {
            settings,
            metrics,
            pace: Mutex::default(),
            reviews: Semaphore::new(limit::REVIEWS_MAX),
            waiting: Semaphore::new(limit::REQUESTS_WAITING_MAX),
        }))
    }

    /// The whole decision, without the wire.
    ///
    /// # Errors
    /// When nothing is signed, and why.
    pub async fn create(&self, asked: &Asked) -> Result<(Caller, Signed), Refusal> {
        let shared = &self.0;
        let _place = shared.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        if asked.impersonates {
            return Err(Refusal::Impersonation);
        }
        // Before anybody is asked: what is no request costs the API server nothing.
        let key = RequestKey::of_pem(&asked.csr).map_err(Refusal::Csr)?;
        let caller = shared.caller(asked).await?;
        shared.keep_pace(&caller)?;
        let subject = Subject { id: &caller.id, cluster: &caller.cluster };
        let authority = shared.settings.authority.get();
        let signed = authority
            .sign(&key, &subject, ttl_of(asked.ttl_s), SystemTime::now())
            .map_err(Refusal::Authority)?;
        Ok((caller, signed))
    }

    async fn answer(
        &self,
        asked: &Asked,
        from: Option<SocketAddr>,
    ) -> Result<IstioCertificateResponse, Status> {
        let from = from.map(|address| address.to_string()).unwrap_or_default();
        match self.create(asked).await {
            Ok((caller, signed)) => {
                self.0.metrics.issued(&caller.proof);
                log_issued(&caller, &signed, &from);
                let Signed { mut chain, roots, .. } = signed;
                chain.push(roots);
                Ok(IstioCertificateResponse { cert_chain: chain })
            }
            Err(refusal) => {
                self.0.metrics.refused(&refusal);
                let why = refusal.to_string();
                let cluster = printable(&asked.cluster);
                tracing::warn!(from, %cluster, why = %printable(&why), "no certificate");
                Err(Status::from(&refusal))
            }
        }
    }
}

impl Shared {
    async fn caller(&self, asked: &Asked) -> Result<Caller, Refusal> {
        let ApiSettings { authority, trust_domain, reviewer, grants } = &self.settings;
        let Some(token) = &asked.token else {
            let peer = asked.peer.as_ref().ok_or(Refusal::NoCredential)?;
            return Caller::of_peer(peer, &authority.issuers(), trust_domain, grants.as_ref());
        };
        let began = Instant::now();
        let review = async {
            let _turn = self.reviews.acquire().await;
            reviewer.review(&asked.cluster, token, AUDIENCES).await
        };
        let reviewed = timeout(limit::REVIEW_MAX, review).await.map_err(|_| Refusal::Late)?;
        self.metrics.reviewed(began.elapsed());
        let reviewed = reviewed.map_err(Refusal::Reviewer)?;
        Caller::of_review(&reviewed, trust_domain, grants.as_ref())
    }

    /// All pods of a Deployment share an identity, so each is a caller of its own. Without a token
    /// a pod is not known, and those share.
    fn keep_pace(&self, caller: &Caller) -> Result<(), Refusal> {
        let pod = match &caller.proof {
            Proof::Token { pod_uid, .. } => pod_uid,
            Proof::Certificate => "",
        };
        let name = format!("{}/{}/{pod}", caller.cluster, caller.id);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.ask(&name, Instant::now())
            .map_err(|wait| Refusal::TooOften { id: caller.id.clone(), wait_s: wait.as_secs() + 1 })
    }
}

fn log_issued(caller: &Caller, signed: &Signed, from: &str) {
    let (by, pod) = match &caller.proof {
        Proof::Token { pod, .. } => ("token", printable(pod)),
        Proof::Certificate => ("certificate", "".into()),
    };
    let left = signed.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    tracing::info!(
        cluster = %caller.cluster, identity = %caller.id, by, %pod, from,
        serial = signed.serial, valid_min = left.as_secs() / 60, "certificate issued"
    );
}

/// What a request's headers and message say.
fn asked_of(
    metadata: &MetadataMap,
    extensions: &Extensions,
    message: IstioCertificateRequest,
) -> Result<Asked, Refusal> {
    let cluster = one(metadata, wire::CLUSTER_KEY)?.unwrap_or_default();
    if cluster.len() > limit::CLUSTER_BYTES_MAX {
        return Err(Refusal::Metadata(format!(
            "{} has {} bytes, at most {} name a cluster",
            wire::CLUSTER_KEY,
            cluster.len(),
            limit::CLUSTER_BYTES_MAX
        )));
    }
    let impersonates = message
        .metadata
        .is_some_and(|metadata| metadata.fields.contains_key(wire::IMPERSONATED_KEY));
    Ok(Asked {
        token: token(metadata)?,
        cluster: cluster.to_owned(),
        peer: extensions.get::<Peer>().cloned(),
        csr: message.csr,
        ttl_s: message.validity_duration,
        impersonates,
    })
}

fn token(metadata: &MetadataMap) -> Result<Option<Token>, Refusal> {
    let Some(text) = one(metadata, "authorization")? else { return Ok(None) };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::Metadata("authorization is not a bearer token".into()));
    }
    if token.len() > limit::TOKEN_BYTES_MAX {
        return Err(Refusal::Metadata(format!(
            "authorization: a token of {} bytes, at most {} are looked at",
            token.len(),
            limit::TOKEN_BYTES_MAX
        )));
    }
    Ok(Some(Token::new(token)))
}

/// Several values of one name would leave it to the reader which counts.
fn one<'m>(metadata: &'m MetadataMap, key: &'static str) -> Result<Option<&'m str>, Refusal> {
    let mut values = metadata.get_all(key).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| Refusal::Metadata(format!("{key} is not plain text"))),
        (Some(_), Some(_)) => Err(Refusal::Metadata(format!("{key} came more than once"))),
    }
}

impl UnaryService<IstioCertificateRequest> for CertificateApi {
    type Response = IstioCertificateResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<IstioCertificateRequest>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let (metadata, extensions, message) = request.into_parts();
            let from = extensions.get::<SocketAddr>().copied();
            let asked = match asked_of(&metadata, &extensions, message) {
                Ok(asked) => asked,
                Err(refusal) => {
                    api.0.metrics.refused(&refusal);
                    tracing::warn!(?from, why = %printable(&refusal.to_string()), "no certificate");
                    return Err(Status::from(&refusal));
                }
            };
            Ok(tonic::Response::new(api.answer(&asked, from).await?))
        })
    }
}

impl<B> tower_service::Service<Request<B>> for CertificateApi
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            if request.uri().path() != wire::CREATE_CERTIFICATE {
                let only = "only CreateCertificate is served below this path";
                return Ok(Status::unimplemented(only).into_http());
            }
            let mut grpc =
                Grpc::new(ProstCodec::default()).max_decoding_message_size(wire::REQUEST_BYTES_MAX);
            Ok(grpc.unary(api, request).await)
        })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateApi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiSettings")
            .field("trust_domain", &self.trust_domain)
            .field("reviewer", &self.reviewer)
            .finish_non_exhaustive()
    }
}
