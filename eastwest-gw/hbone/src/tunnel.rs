//! One CONNECT: who asks for what, may they, dial, answer, relay.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use diolkos_ops::metrics::Gauged;
use diolkos_route::Route;
use diolkos_tls::Peer;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tokio::sync::Notify;

use crate::access::Access;
use crate::dial::{dial, tune};
use crate::drain::deadline;
use crate::metrics::Direction;
use crate::relay::{Over, Stream, Tally, Toward, relay};
use crate::server::{Shared, TunnelPlace};
use crate::{Destination, End, Refused};

/// What a CONNECT was to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    Used,
    Refused,
    Abandoned,
}

pub(crate) async fn serve(
    shared: Arc<Shared>,
    at: SocketAddr,
    caller: Arc<Peer>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    proven: Arc<Notify>,
) -> Worth {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let mut access = Access::begin(&shared.metrics, at, &caller, authority);
    let decided = decide(&shared, &caller, &request, authority, &mut access);
    let (route, _place) = match decided {
        Ok(decided) => decided,
        Err(refused) => {
            let (status, why) = refused.answer();
            answer(&mut respond, status, why);
            access.end(End::Refused(refused));
            return Worth::Refused;
        }
    };
    let dialing = dial(&route, shared.source, &shared.limits, &shared.metrics);
    let dialed = tokio::select! {
        dialed = dialing => dialed,
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
            access.end(End::Abandoned);
            return Worth::Abandoned;
        }
    };
    let Some((target, address)) = dialed else {
        answer(&mut respond, StatusCode::SERVICE_UNAVAILABLE, "no endpoint could be connected to");
        access.end(End::NoTarget);
        return Worth::Used;
    };
    drop(route);
    access.dialed(address);
    if let Err(cause) = tune(&target, shared.limits.keepalive) {
        tracing::debug!(%address, %cause, "socket options refused");
    }
    let Ok(send) = respond.send_response(Response::new(()), false) else {
        access.end(End::Abandoned);
        return Worth::Abandoned;
    };
    shared.metrics.opened.inc();
    let _open = Gauged::new(&shared.metrics.tunnels);
    proven.notify_one();
    let stream = Stream { send, receive: request.into_body() };
    let closing = deadline(&shared.drain);
    let over = relay(stream, &target, Bytes::new(), shared.limits.idle, &access, closing).await;
    access.end(match over {
        Over::Finished => End::Finished,
        Over::StreamFault => End::ClientFault,
        Over::SocketFault => End::TargetFault,
        Over::Idle => End::Idle,
        Over::Closed => End::Drained,
    });
    Worth::Used
}

/// The stream is the client's here.
impl Tally for Access {
    fn passed(&self, toward: Toward, bytes: usize) {
        let direction = match toward {
            Toward::Socket => Direction::ToTarget,
            Toward::Stream => Direction::ToClient,
        };
        self.count(direction, bytes as u64);
    }
}

/// The rest of the request (its other headers) is not looked at.
fn decide(
    shared: &Arc<Shared>,
    caller: &Peer,
    request: &Request<RecvStream>,
    authority: &str,
    access: &mut Access,
) -> Result<(Arc<Route>, TunnelPlace), Refused> {
    let uri = request.uri();
    let bare = uri.scheme().is_none() && uri.path_and_query().is_none();
    let extended = request.extensions().get::<h2::ext::Protocol>().is_some();
    if request.method() != Method::CONNECT || extended || !bare {
        return Err(Refused::NotConnect);
    }
    let destination = Destination::parse(authority)?;
    let admission = shared.gate.admit(caller, &destination);
    access.of_cluster(admission.cluster);
    let route = admission.route?;
    access.routed(destination);
    let place = TunnelPlace::take(shared).ok_or(Refused::TunnelsFull)?;
    Ok((route, place))
}

fn answer(respond: &mut SendResponse<Bytes>, status: StatusCode, why: &'static str) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // Fails if the client has gone: then there is nobody to tell.
    if let Ok(mut body) = respond.send_response(response, false) {
        let _ = body.send_data(Bytes::from_static(why.as_bytes()), true);
    }
}
