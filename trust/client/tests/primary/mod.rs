//! A certificate API on a socket, whose API server knows one token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_ops::listen;
use diolkos_ops::metrics::Registry;
use diolkos_tls::{Expect, open_server_config};
use diolkos_trust::TrustDomain;
use diolkos_trust_service::{
    ApiSettings, Authority, Boxed, CertificateApi, LiveAuthority, OwnCertificate, OwnNames, Review,
    ReviewError, Reviewed, Reviewer, Token, Validity,
};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub(crate) const NAME: &str = "diolkos-primary.diolkos-system.svc";
pub(crate) const TOKEN: &str = "of the gateway";

pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    pub(crate) root_pem: String,
    root: Authority,
    authority: LiveAuthority,
    api: CertificateApi,
    tls: TlsAcceptor,
    running: Option<JoinHandle<()>>,
    _own: OwnCertificate,
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn valid(life: Duration) -> Validity {
    let now = SystemTime::now();
    Validity { not_before: now, not_after: now + life }
}

impl Primary {
    /// No certificate outlives the CA that signed it.
    pub(crate) fn start(ca_life: Duration) -> Self {
        let domain = TrustDomain::new("cluster.local").unwrap();
        let root = Authority::new_root("mesh", valid(DAY)).unwrap();
        let ca = root.intermediate("west", valid(ca_life)).unwrap();
        let authority = LiveAuthority::new(ca).unwrap();
        let names = OwnNames::in_cluster(&domain, "diolkos-system", "diolkos-primary").unwrap();
        let own = OwnCertificate::keep(&authority, names).unwrap();
        let expect = Expect::AnyOf(vec![domain.clone()]);
        let settings = ApiSettings {
            authority: authority.clone(),
            trust_domain: domain,
            reviewer: Arc::new(OneToken),
            grants: Arc::new(|_: &str, _: &str, _: &str| Ok(())),
        };
        let mut primary = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            root_pem: root.root_pem(),
            root,
            authority,
            api: CertificateApi::new(settings, &mut Registry::new()),
            tls: open_server_config(&own.identity, &own.roots, expect, &["h2"]).into(),
            running: None,
            _own: own,
        };
        primary.come_back();
        primary
    }

    /// What it signs from now on lives longer.
    pub(crate) fn renew_ca(&self) {
        let ca = self.root.intermediate("west", valid(DAY)).unwrap();
        self.authority.replace(ca).unwrap();
    }

    /// Nothing listens any more, and every connection is cut.
    pub(crate) async fn go_away(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub(crate) fn come_back(&mut self) {
        let listener = listen(self.address, 16).unwrap();
        self.address = listener.local_addr().unwrap();
        let (api, tls) = (self.api.clone(), self.tls.clone());
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (api, tls) = (api.clone(), tls.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(tcp).await else { return };
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(api))
                        .await;
                });
            }
        }));
    }
}

#[derive(Debug)]
struct OneToken;

impl Reviewer for OneToken {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        token: &'a Token,
        _: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        let review = match token.as_str() {
            TOKEN => known(),
            _ => Review::default(),
        };
        let cluster = cluster.to_owned();
        Box::pin(std::future::ready(Ok(Reviewed { cluster, review })))
    }
}

fn known() -> Review {
    let of_the_pod =
        |key: &str| (format!("authentication.kubernetes.io/{key}"), vec!["eastwest-1".to_owned()]);
    Review {
        authenticated: true,
        audiences: vec!["diolkos-ca".into()],
        username: "system:serviceaccount:diolkos-system:eastwest".into(),
        groups: vec![
            "system:serviceaccounts".into(),
            "system:serviceaccounts:diolkos-system".into(),
        ],
        extra: ["pod-name", "pod-uid"].map(of_the_pod).into(),
        ..Review::default()
    }
}
