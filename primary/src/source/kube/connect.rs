//! One connection to an API server: the address that was checked is the address that is dialled.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::limit::Pace;
use super::remote::{Credential, Remote};

/// Whether an address may be dialled; asked again for each connection, so that a name that points
/// elsewhere now leads nowhere.
pub type MayConnect = Arc<dyn Fn(IpAddr) -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector(Arc<Target>);

struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    may_connect: MayConnect,
    pace: Pace,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Connector {
    /// # Errors
    /// Says what of the certificates or names cannot be used; repeats no secret.
    pub(super) fn new(remote: &Remote, may: &MayConnect, pace: Pace) -> Result<Self, String> {
        let name = remote.tls_server_name.as_deref().unwrap_or(&remote.server.host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is no name that a certificate could have"))?;
        Ok(Self(Arc::new(Target {
            host: remote.server.host.clone(),
            port: remote.server.port,
            name,
            tls: TlsConnector::from(Arc::new(tls_config(remote)?)),
            may_connect: may.clone(),
            pace,
        })))
    }
}

fn tls_config(remote: &Remote) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("the CA", &remote.ca)? {
        roots.add(certificate).map_err(|error| format!("the CA certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the CA: no certificate in it".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &remote.credential {
        Credential::Certificate { chain, key } => {
            let chain = certificates("the client certificate", chain)?;
            // The parser's own words could repeat what it parsed.
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                .map_err(|_| "the client key: not a private key in PEM".to_owned())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| "the client certificate and key do not belong together".to_owned())?
        }
        Credential::Token(_) | Credential::TokenFile(_) => builder.with_no_client_auth(),
    };
    // One connection per watch: what one of them does not read holds up no other.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("{what}: not a certificate in PEM"))
}

impl Target {
    async fn connect(&self) -> Result<Wire, BoxError> {
        let dialled = tokio::time::timeout(self.pace.connect_max, self.dial()).await;
        let stream = dialled.map_err(|_| {
            format!("no connection within {} ms", self.pace.connect_max.as_millis())
        })??;
        Ok(Wire(TokioIo::new(stream)))
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, BoxError> {
        let mut last: Option<BoxError> = None;
        for address in self.addresses().await? {
            if let Err(why) = (self.may_connect)(address.ip()) {
                last = Some(format!("{address} is not dialled: {why}").into());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    keep_alive(&tcp, self.pace);
                    let tls = self.tls.connect(self.name.clone(), tcp).await;
                    return tls.map_err(|error| format!("TLS with {address}: {error}").into());
                }
                Err(error) => last = Some(format!("{address}: {error}").into()),
            }
        }
        Err(last.unwrap_or_else(|| format!("{} has no address", self.host).into()))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, BoxError> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|error| format!("{}: {error}", self.host))?;
        Ok(found.collect())
    }
}

/// A server that vanished without a word is noticed also by a watch that only listens.
fn keep_alive(tcp: &TcpStream, pace: Pace) {
    let keepalive = socket2::TcpKeepalive::new().with_time(pace.read_max);
    // A connection without it works too, and the probe notices as well.
    let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
    let _ = tcp.set_nodelay(true);
}

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// Whatever the URI says, this is the one server it may dial.
    fn call(&mut self, _: Uri) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move { target.connect().await })
    }
}

/// A TLS stream in hyper's dress.
pub(super) struct Wire(TokioIo<TlsStream<TcpStream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}
