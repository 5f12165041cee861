//! One connection to an API server: the address that was checked is the address that is dialled.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use diolkos_facts::remote::{self, AllowedRanges, KeyKind, PrivateKey, may_connect};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::limit::Pace;
use super::remote::{Credential, Remote, host};

/// Where connections may lead. Asked again for each, so that a name that points elsewhere now
/// leads nowhere.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// Whoever runs a primary in a cluster has said where its API server is.
    Anywhere,
    /// Where a document of somebody else's may lead.
    Allowed(AllowedRanges),
}

impl Reach {
    fn check(&self, address: IpAddr) -> Result<(), String> {
        match self {
            Self::Anywhere => Ok(()),
            Self::Allowed(ranges) => may_connect(address, ranges).map_err(|why| why.to_string()),
        }
    }
}

#[derive(Clone)]
pub(super) struct Connector(Arc<Target>);

struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    reach: Reach,
    pace: Pace,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Connector {
    /// # Errors
    /// Says what of the certificates or names cannot be used; repeats no secret.
    pub(super) fn new(remote: &Remote, reach: &Reach, pace: Pace) -> Result<Self, String> {
        let host = host(&remote.server);
        let name = remote.tls_server_name.as_ref().unwrap_or(&host);
        let name = ServerName::try_from(name.clone())
            .map_err(|_| format!("{name:?} is no name that a certificate could have"))?;
        Ok(Self(Arc::new(Target {
            host,
            port: remote.server.port,
            name,
            tls: TlsConnector::from(Arc::new(tls_config(remote)?)),
            reach: reach.clone(),
            pace,
        })))
    }
}

fn tls_config(remote: &Remote) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for der in &remote.roots {
        let root = CertificateDer::from(der.clone());
        roots.add(root).map_err(|error| format!("the CA certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("no CA certificate".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &remote.credential {
        Credential::Given(remote::Credential::ClientCertificate { chain, key }) => {
            let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            builder
                .with_client_auth_cert(chain, private_key(key))
                .map_err(|_| "the client certificate and key do not belong together".to_owned())?
        }
        Credential::Given(remote::Credential::Token(_)) | Credential::TokenFile(_) => {
            builder.with_no_client_auth()
        }
    };
    // One connection per watch: what one of them does not read holds up no other.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn private_key(key: &PrivateKey) -> PrivateKeyDer<'static> {
    let der = key.expose().to_vec();
    match key.kind() {
        KeyKind::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
        KeyKind::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        KeyKind::Sec1 => PrivateKeyDer::Sec1(der.into()),
    }
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
            if let Err(why) = self.reach.check(address.ip()) {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use diolkos_facts::remote::{Host, Server};
    use diolkos_topology::ClusterId;
    use diolkos_trust_service::{Authority, Validity};

    use super::*;

    fn remote(host: Host) -> Remote {
        let now = SystemTime::now();
        let validity = Validity { not_before: now, not_after: now + Duration::from_secs(3_600) };
        let root = Authority::new_root("root", validity).unwrap();
        Remote {
            cluster: ClusterId::new("west").unwrap(),
            server: Server { host, port: 1, path: String::new() },
            roots: vec![root.certificate_der().to_vec()],
            tls_server_name: None,
            credential: Credential::TokenFile("/nowhere".into()),
        }
    }

    #[tokio::test]
    async fn a4_a_name_is_checked_where_it_leads_each_time_it_is_dialled() {
        let named = remote(Host::Name("localhost".into()));
        let nowhere = Reach::Allowed(AllowedRanges::default());
        let connector = Connector::new(&named, &nowhere, Pace::default()).unwrap();
        let error = connector.0.connect().await.err().expect("loopback is not dialled");
        assert!(error.to_string().contains("is not dialled"), "{error}");
        let connector = Connector::new(&named, &Reach::Anywhere, Pace::default()).unwrap();
        let error = connector.0.connect().await.err().expect("nobody listens there");
        assert!(!error.to_string().contains("is not dialled"), "{error}");
    }
}
