//! TCP, TLS and HTTP/1.1.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{FakeApi, server_leaf};

pub(super) fn tls() -> (TlsAcceptor, String) {
    let (chain, key, root) = server_leaf();
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), root)
}

pub(super) async fn run(api: FakeApi, listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let mut up = api.up.subscribe();
        if !*up.borrow() {
            continue;
        }
        let (api, acceptor) = (api.clone(), acceptor.clone());
        tokio::spawn(async move {
            let serve = async {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let counted = Counted::new(&api);
                let service = service_fn(|request| super::answer::answer(api.clone(), request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                drop(counted);
            };
            tokio::select! {
                () = serve => {}
                _ = up.wait_for(|up| !up) => {}
            }
        });
    }
}

/// One connection, for as long as it is open.
struct Counted(FakeApi);

impl Counted {
    fn new(api: &FakeApi) -> Self {
        api.lock().connections += 1;
        Self(api.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().connections -= 1;
    }
}
