//! One request for one page, over whatever carries bytes to the primary.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use diolkos_deploy::names::ADMIN_PORT;
use http::header::HOST;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api;
use crate::exit::Unreachable;

/// A page of the largest mesh; what is more is no page of a primary's.
const PAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The primary itself gives up sooner.
const PAGE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

pub(super) async fn by_address(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    within(async {
        let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Unreachable::of(anyhow!(
                "nobody listens there; start it with --admin {address}, or correct the address"
            )),
            _ => Unreachable::of(error),
        })?;
        exchange(stream, path).await.map_err(Unreachable::of)
    })
    .await
}

pub(super) async fn by_pod(
    client: &Client,
    namespace: &str,
    pod: &str,
    path: &str,
) -> anyhow::Result<Answer> {
    within(async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let mut forward = api::answer("port-forward", pods.portforward(pod, &[ADMIN_PORT])).await?;
        // Both are there once: the port was asked for.
        let stream = forward.take_stream(ADMIN_PORT).context("no stream")?;
        let failed = forward.take_error(ADMIN_PORT).context("no errors")?;
        match exchange(stream, path).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                forward.abort();
                Err(Unreachable::of(match failed.await {
                    Some(why) => anyhow!("port-forward: {}", diolkos_ops::printable(&why)),
                    None => error.context("port-forward"),
                }))
            }
        }
    })
    .await
}

async fn within<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let late = |_| Unreachable::of(anyhow!("no whole answer within {} s", PAGE_MAX.as_secs()));
    timeout(PAGE_MAX, asked).await.map_err(late)?
}

async fn exchange<S>(stream: S, path: &str) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer: the primary closes after one.
    let driven = tokio::spawn(connection);
    // Asked by a name, it would not answer.
    let request = Request::get(path)
        .header(HOST, format!("127.0.0.1:{ADMIN_PORT}"))
        .body(Empty::<Bytes>::new())?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("{path}: the answer broke off: {error}"))?;
        Ok(Answer { status, body: body.to_bytes().into() })
    };
    let answer = answered.await;
    driven.abort();
    answer
}
