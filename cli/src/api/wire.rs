//! The way of a request to one API server: TCP, TLS, HTTP/1.1, and the credential on top.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::tls;

/// To one address of the server; kubectl waits longer, but says nothing meanwhile.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A client by this configuration. What it names for a credential is run here.
pub(super) fn client(config: &Config) -> anyhow::Result<Client> {
    let connector = Connector {
        tls: TlsConnector::from(Arc::new(tls::config(config)?)),
        name: config.tls_server_name.clone(),
    };
    let way = Way(Http::builder(TokioExecutor::new()).build(connector));
    let builder = ClientBuilder::new(way, config.default_namespace.clone())
        .with_layer(&config.base_uri_layer())
        .with_layer(&config.extra_headers_layer()?);
    let auth = config.auth_layer().context("its credential")?;
    match auth {
        Some(auth) => Ok(builder.with_layer(&auth).build()),
        None if config.auth_info.exec.is_some() => bail!(
            "its plug-in answered with a client certificate, which is not taken from plug-ins; put \
             certificate and key into the kubeconfig"
        ),
        None => Ok(builder.build()),
    }
}

/// Fails as the layers above it do.
#[derive(Clone)]
struct Way(Http<Connector, Body>);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let asked = self.0.request(request);
        Box::pin(async move { asked.await.map_err(Into::into) })
    }
}

#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
    /// What the server's certificate must name, where that is not its host.
    name: Option<String>,
}

impl Service<Uri> for Connector {
    type Response = Conn;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Conn>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, name } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(443);
            let name = ServerName::try_from(name.unwrap_or_else(|| host.clone()));
            let name = name.map_err(io::Error::other)?;
            let opened = async {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                tls.connect(name, stream).await
            };
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            Ok(Conn(TokioIo::new(timeout(CONNECT_MAX, opened).await.map_err(late)??)))
        })
    }
}

/// What the client wants to know of a connection, it does not ask of a plain TLS stream.
struct Conn(TokioIo<TlsStream<TcpStream>>);

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
