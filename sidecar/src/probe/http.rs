//! An HTTP probe: any answer from 200 to 399 is well, as the kubelet counts.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use diolkos_inject::{Header, Scheme};
use http::header::{HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::connect;
use super::trusting::config;
use crate::limit::PROBE_HEADER_BYTES_MAX;

pub(super) async fn get(
    address: SocketAddr,
    path: &str,
    scheme: Scheme,
    headers: &[Header],
) -> Result<String, String> {
    let tcp = connect(address).await?;
    let request = request(address, path, headers)?;
    let status = match scheme {
        Scheme::Http => exchange(tcp, request).await?,
        Scheme::Https => {
            let name = ServerName::IpAddress(address.ip().into());
            let tls = TlsConnector::from(Arc::new(config())).connect(name, tcp).await;
            exchange(tls.map_err(|error| format!("{address}: {error}"))?, request).await?
        }
    };
    match status.as_u16() {
        200..=399 => Ok(format!("answered {status}")),
        _ => Err(format!("answered {status}")),
    }
}

/// What does not parse is left out: the kubelet would have failed on it too.
fn request(
    address: SocketAddr,
    path: &str,
    headers: &[Header],
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(path)
        .header(USER_AGENT, "kube-probe/diolkos")
        .header(HOST, address.to_string())
        .body(Empty::new())
        .map_err(|error| format!("path {path:?}: {error}"))?;
    let mut seen = Vec::new();
    for Header { name, value } in headers {
        let name: HeaderName = name.parse().map_err(|_| format!("header {name:?}: no name"))?;
        let value: HeaderValue =
            value.parse().map_err(|_| format!("header {name}: a value that cannot be sent"))?;
        // The probe's own replace ours; of its own, all are sent.
        if seen.contains(&name) {
            request.headers_mut().append(name, value);
        } else {
            request.headers_mut().insert(name.clone(), value);
            seen.push(name);
        }
    }
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(PROBE_HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    // Its body is nobody's to read.
    driver.abort();
    answer.map(|response| response.status()).map_err(|error| error.to_string())
}
