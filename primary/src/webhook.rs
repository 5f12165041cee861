//! The webhook that injects sidecars: HTTPS for API servers, one answer a review.
//!
//! What is answered, `diolkos-inject` decides. An API server presents no certificate that could be
//! verified, so anyone may ask; an answer tells nothing but these settings.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use diolkos_inject::{InjectPath, InjectSettings, Verdict, answer};
use diolkos_ops::metrics::{Counter, Family, Labels, Registry};
use diolkos_ops::{Shutdown, printable};
use diolkos_tls::Identity;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::limit;

#[derive(Clone, Debug)]
pub struct WebhookSettings {
    pub listen: SocketAddr,
    pub inject: InjectSettings,
}

pub(crate) struct Webhook {
    socket: TcpListener,
    served: Arc<Served>,
}

struct Served {
    tls: TlsAcceptor,
    inject: InjectSettings,
    answered: Family<Labels<1>, Counter>,
}

impl Webhook {
    pub(crate) fn bind(
        settings: WebhookSettings,
        identity: &Identity,
        registry: &mut Registry,
    ) -> io::Result<Self> {
        let answered = Family::default();
        registry.register("webhook_reviews", "Admission reviews answered", answered.clone());
        let tls = diolkos_tls::public_server_config(identity, &["http/1.1"]);
        Ok(Self {
            socket: diolkos_ops::listen(settings.listen, limit::BACKLOG)?,
            served: Arc::new(Served { tls: tls.into(), inject: settings.inject, answered }),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) async fn serve(self, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(limit::WEBHOOK_CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                accepted = self.socket.accept() => accepted,
            };
            let Ok((tcp, from)) = accepted else {
                // Out of descriptors, most likely; do not spin until some come back.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // One that finds no place is closed: its API server says so and tries again.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (served, shutdown) = (self.served.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _place = place;
                converse(tcp, from, served, shutdown).await;
            });
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

async fn converse(tcp: TcpStream, from: SocketAddr, served: Arc<Served>, shutdown: Shutdown) {
    let Ok(Ok(tls)) = timeout(limit::HANDSHAKE_MAX, served.tls.accept(tcp)).await else {
        tracing::debug!(%from, "no TLS handshake for the webhook");
        return;
    };
    let service = service_fn(move |request| {
        let served = served.clone();
        async move { Ok::<_, Infallible>(served.answer(request, from).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit::WEBHOOK_IDLE_MAX)
        .serve_connection(TokioIo::new(tls), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            match timeout(limit::DRAIN_MAX, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "webhook connection ended early");
    }
}

impl Served {
    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Response<Full<Bytes>> {
        match timeout(limit::REVIEW_MAX, self.review(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err((status, why))) => {
                self.answered.get_or_create(&[("outcome", "malformed")]).inc();
                tracing::warn!(%from, why = %printable(&why), "webhook request refused");
                respond(status, "text/plain; charset=utf-8", (why + "\n").into_bytes())
            }
            Err(_) => {
                let why = "the review did not arrive in time\n";
                let kind = "text/plain; charset=utf-8";
                respond(StatusCode::REQUEST_TIMEOUT, kind, why.as_bytes().to_vec())
            }
        }
    }

    async fn review(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
        let path = InjectPath::parse(request.uri().path()).map_err(|fault| {
            let status = match fault {
                diolkos_inject::PathFault::Elsewhere => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, fault.to_string())
        })?;
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "reviews are sent with POST".into()));
        }
        let body = Limited::new(request.into_body(), limit::REVIEW_BYTES_MAX);
        let body = body.collect().await.map_err(|error| {
            let status = match error.is::<http_body_util::LengthLimitError>() {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            (status, format!("the review cannot be read: {error}"))
        })?;
        let reply = answer(&body.to_bytes(), &path, &self.inject)
            .map_err(|fault| (StatusCode::BAD_REQUEST, fault.to_string()))?;
        self.note(&reply.pod, &path, &reply.verdict);
        Ok(respond(StatusCode::OK, "application/json", reply.body))
    }

    fn note(&self, pod: &str, path: &InjectPath, verdict: &Verdict) {
        let cluster = path.cluster.as_deref().unwrap_or(&self.inject.cluster);
        let (pod, cluster) = (printable(pod), printable(cluster));
        let outcome = match verdict {
            Verdict::Injected { warnings, .. } => {
                let warnings = warnings.len();
                tracing::info!(%pod, %cluster, warnings, "sidecar injected");
                "injected"
            }
            Verdict::Skipped { reason } => {
                tracing::info!(%pod, %cluster, reason = %printable(reason), "pod not injected");
                "skipped"
            }
            Verdict::Refused { reason } => {
                tracing::warn!(%pod, %cluster, reason = %printable(reason), "pod refused");
                "refused"
            }
        };
        self.answered.get_or_create(&[("outcome", outcome)]).inc();
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
