//! Accepting, checking and answering.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::admin::{AdminRoutes, Answer, Query, Reach};
use crate::{Shutdown, limit};

/// Binds `addr` and answers in the background until `shutdown`; returns the address bound, which
/// matters when the port asked for was 0.
///
/// # Errors
/// When the address cannot be bound, or is no loopback address and the routes' [`Reach`] does not
/// say that others may ask.
pub async fn serve_admin(
    addr: SocketAddr,
    routes: AdminRoutes,
    shutdown: Shutdown,
) -> io::Result<SocketAddr> {
    if routes.reach == Reach::Loopback && !addr.ip().to_canonical().is_loopback() {
        let message = format!(
            "admin address {addr} can be reached from other machines; use a loopback address, or \
             allow it explicitly"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let listener = crate::listen(addr, limit::ADMIN_BACKLOG)
        .map_err(|cause| io::Error::new(cause.kind(), format!("admin address {addr}: {cause}")))?;
    let bound = listener.local_addr()?;
    tokio::spawn(accept(listener, Arc::new(routes), shutdown));
    Ok(bound)
}

async fn accept(listener: TcpListener, routes: Arc<AdminRoutes>, shutdown: Shutdown) {
    let places = match routes.reach {
        Reach::Loopback => limit::ADMIN_CONNECTIONS_MAX,
        Reach::Network => limit::HEALTH_CONNECTIONS_MAX,
    };
    let places = Arc::new(Semaphore::new(places));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(cause) => {
                // Out of descriptors, most likely; do not spin until some come back.
                tracing::warn!(%cause, "admin endpoint cannot accept");
                tokio::time::sleep(limit::ADMIN_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let routes = Arc::clone(&routes);
        tokio::spawn(async move {
            let _place = place;
            converse(stream, &routes).await;
        });
    }
}

async fn converse(stream: TcpStream, routes: &AdminRoutes) {
    let service = service_fn(|request| async move {
        let answer = answer(routes, &request).await;
        Ok::<_, Infallible>(respond(answer))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit::ADMIN_HEADER_MAX)
        .max_buf_size(limit::ADMIN_HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // However it ended, the one who asked knows; there is nothing to do here.
    let _ = timeout(limit::ADMIN_CONNECTION_MAX, connection).await;
}

async fn answer<B>(routes: &AdminRoutes, request: &Request<B>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    }
    if !is_asked_by_address(request) {
        return Answer::plain(
            StatusCode::MISDIRECTED_REQUEST,
            "ask by IP address or localhost: other names are refused, a web page could make one \
             point here",
        );
    }
    let Some(page) = routes.find(request.uri().path()) else {
        return Answer::not_found(format!("no such page; there are\n{}", routes.list()));
    };
    match Query::parse(request.uri().query().unwrap_or_default()) {
        Some(query) => page(query).await,
        None => Answer::bad_request("the query cannot be read: bad escape or too many pairs"),
    }
}

/// A browser lured to a name that resolves to this machine sends that name.
fn is_asked_by_address<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next(), request.uri().authority()) {
        (Some(host), None, None) => host.to_str().unwrap_or_default(),
        (_, None, Some(authority)) => authority.as_str(),
        _ => return false,
    };
    names_an_address(host)
}

fn names_an_address(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "0"),
    };
    if port.parse::<u16>().is_err() {
        return false;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4())
        }
    }
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::names_an_address;

    #[test]
    fn a15_only_addresses_and_localhost_may_be_asked_for() {
        let good = [
            "127.0.0.1",
            "127.0.0.1:15000",
            "localhost",
            "LOCALHOST:80",
            "[::1]",
            "[::1]:15000",
            "10.1.2.3:1",
        ];
        let bad = [
            "",
            "evil.example",
            "evil.example:15000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:port",
            "127.0.0.1:70000",
            "::1",
            "[::1",
            "[127.0.0.1]",
            "localhost:",
        ];
        for host in good {
            assert!(names_an_address(host), "{host}");
        }
        for host in bad {
            assert!(!names_an_address(host), "{host}");
        }
    }
}
