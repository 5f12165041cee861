//! An API server that answers by a list: TLS and HTTP/1.1, on a loopback address.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "as beside it: a test stops where its ground does not hold"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::support::{DAY, valid};

/// The credential it knows.
pub const TOKEN: &str = "operators-token";

/// Method, path and body of a request.
pub type Asked = (String, String, Value);
type Answers = dyn Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync;

/// Ends when dropped.
pub struct Api {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    root: String,
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    /// `answers` is given method, path and body.
    pub fn start(
        answers: impl Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let (acceptor, root) = tls();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bound).unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answers, log): (Arc<Answers>, _) = (Arc::new(answers), asked.clone());
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, answers, log) = (acceptor.clone(), answers.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(|request| answer(request, &*answers, &log));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { address, asked, root, _runtime: runtime }
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Of its operator, with more in its one cluster; context `west`.
    pub fn kubeconfig(&self, folder: &Path, token: &str, more: &str) -> PathBuf {
        let (address, root) = (self.address, STANDARD.encode(&self.root));
        let path = folder.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: west\nclusters:\n- name: c\n  cluster: \
             {{server: 'https://{address}', certificate-authority-data: {root}{more}}}\ncontexts:\n\
             - name: west\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{token: \
             {token}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: &Answers,
    log: &Mutex<Vec<Asked>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let known =
        parts.headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let (code, value) = match known {
        false => refusal(401, "Unauthorized"),
        true => {
            log.lock().unwrap().push((method.to_owned(), path.to_owned(), body.clone()));
            answers(method, path, &body)
        }
    };
    let response = Response::builder().status(code).header("content-type", "application/json");
    Ok(response.body(Full::from(value.to_string())).unwrap())
}

/// As API servers say no.
pub fn refusal(code: u16, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code});
    (code, status)
}

fn tls() -> (TlsAcceptor, String) {
    let root = Authority::new_root("kubernetes", valid(SystemTime::now(), DAY)).unwrap();
    let domain = TrustDomain::new("kubernetes.test").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let leaf = LeafRequest {
        id: SpiffeId::workload(&domain, "kube-system", "api").unwrap(),
        dns: Vec::new(),
        ips: vec![[127, 0, 0, 1].into()],
        validity: valid(SystemTime::now(), DAY / 2),
    };
    root.issue(&leaf).unwrap().write(folder.path()).unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let chain =
        CertificateDer::pem_slice_iter(&read("cert-chain.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), root.root_pem())
}
