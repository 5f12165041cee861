//! Another gRPC service on the port of the ADS. A role knows no other role: the binary brings it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A service and the paths that are its own. What is known of the connection comes in the request's
/// extensions: a verified [`diolkos_tls::Peer`], if the client presented a certificate, and the
/// client's `SocketAddr`.
#[derive(Clone)]
pub struct Beside {
    prefix: &'static str,
    call: Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>,
}

impl Beside {
    pub fn new<S>(prefix: &'static str, service: S) -> Self
    where
        S: tower_service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let call = move |request| -> Answering {
            let mut service = service.clone();
            Box::pin(async move {
                if let Err(never) = std::future::poll_fn(|cx| service.poll_ready(cx)).await {
                    match never {}
                }
                match service.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        };
        Self { prefix, call: Arc::new(call) }
    }

    pub(crate) fn serves(&self, path: &str) -> bool {
        path.starts_with(self.prefix)
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        (self.call)(request).await
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
