//! A client and a server of the mesh, with TLS that only the two can read.

use std::net::SocketAddr;
use std::time::SystemTime;

use diolkos_tls::{Expect, Usage, client_config, peer_of, server_config, server_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::mesh::Mesh;
use super::{ISTIO_NAME, PATIENCE, Target};

/// A server that says whom it saw.
pub(crate) async fn tls_target(mesh: &Mesh) -> Target {
    let (identity, roots) = mesh.identity("catalog", &[]);
    let expect = Expect::Ids(vec![Mesh::id("web")]);
    let acceptor = TlsAcceptor::from(server_config(&identity, &roots, expect, &["istio"]));
    Target::start(move |stream| {
        let (acceptor, roots) = (acceptor.clone(), roots.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let presented = stream.get_ref().1.peer_certificates().unwrap();
            let peer = peer_of(presented, &roots, SystemTime::now(), Usage::Client).unwrap();
            stream.write_all(peer.id.to_string().as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await
}

/// What the server says it saw, over TLS that only the two ends can read.
pub(crate) async fn call(mesh: &Mesh, gateway: SocketAddr) -> std::io::Result<String> {
    let (identity, roots) = mesh.identity("web", &[]);
    let config =
        client_config(&identity, &roots, Expect::Ids(vec![Mesh::id("catalog")]), &["istio"]);
    let stream = TcpStream::connect(gateway).await?;
    let name = server_name(ISTIO_NAME).unwrap();
    let mut stream = timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await??;
    let mut seen = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut seen)).await??;
    Ok(seen)
}
