//! A primary with a CA, whose API server is a list: this test binary, started again.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "as beside it: a test stops where its ground does not hold"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diolkos_ops::metrics::Registry;
use diolkos_ops::{LogFormat, Shutdown};
use diolkos_primary::{Beside, OwnIdentity, Primary, PrimarySettings};
use diolkos_trust::TrustDomain;
use diolkos_trust_service::{
    ApiSettings, Authority, Boxed, CertificateApi, LiveAuthority, OwnCertificate, OwnNames, Review,
    ReviewError, Reviewed, Reviewer, Token, spawn_folder_watch,
};
use diolkos_trust_wire::SERVICE_PREFIX;
use diolkos_xds::SecretSource;
use diolkos_xds::bootstrap::SDS_CLUSTER;
use serde_json::{Value, json};

const PRIMARY: &str = "DIOLKOS_TEST_PRIMARY";

/// Tokens and whose they are, as `namespace/account`.
pub type Tokens = BTreeMap<String, String>;

/// The arguments of a primary with the CA of that folder.
pub fn primary(
    command: &mut Command,
    cluster: &str,
    mesh: &Path,
    ca: &Path,
    listen: SocketAddr,
    tokens: &[(&str, &str)],
) {
    command.args(["--exact", "plays_the_primary", "--nocapture", "--test-threads", "1"]);
    let tokens: Tokens = tokens.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let settings =
        json!({ "cluster": cluster, "mesh": mesh, "ca": ca, "listen": listen, "tokens": tokens });
    command.env(PRIMARY, settings.to_string());
}

/// What the test `plays_the_primary` does.
pub fn play() {
    let Ok(settings) = std::env::var(PRIMARY) else { return };
    let settings: Value = serde_json::from_str(&settings).unwrap();
    // Whoever started it holds its standard input.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    diolkos_ops::init_logs(LogFormat::Text, "info").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve(&settings));
}

async fn serve(settings: &Value) {
    let text = |key: &str| settings[key].as_str().unwrap();
    let domain = TrustDomain::new("cluster.local").unwrap();
    let live = LiveAuthority::new(Authority::load(text("ca").as_ref()).unwrap()).unwrap();
    let _watch = spawn_folder_watch(live.clone(), text("ca").into());
    let names = OwnNames::in_cluster(&domain, "diolkos-system", "diolkos-primary").unwrap();
    let own = OwnCertificate::keep(&live, names).unwrap();
    let tokens: Tokens = serde_json::from_value(settings["tokens"].clone()).unwrap();
    let mut registry = Registry::new();
    let api = CertificateApi::new(
        ApiSettings {
            authority: live.clone(),
            trust_domain: domain,
            reviewer: Arc::new(Listed(tokens)),
            grants: Arc::new(|_: &str, _: &str, _: &str| Ok(())),
        },
        &mut registry,
    );
    let listen = text("listen").parse().unwrap();
    let (mesh, cluster) = (text("mesh").into(), text("cluster").into());
    let mut primary = PrimarySettings::new(mesh, cluster, listen, "".into());
    primary.identity =
        OwnIdentity::Live { identity: own.identity.clone(), roots: own.roots.clone() };
    primary.own_issuers = live.issuers();
    primary.beside = Some(Beside::new(SERVICE_PREFIX, api));
    primary.registry = Some(registry);
    primary.secrets = SecretSource::Cluster(SDS_CLUSTER.into());
    let (_trigger, shutdown) = Shutdown::new();
    Primary::start(primary, shutdown).await.unwrap().ended().await;
}

#[derive(Debug)]
struct Listed(Tokens);

impl Reviewer for Listed {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        token: &'a Token,
        _: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        let review = match self.0.get(token.as_str()) {
            None => Review::default(),
            Some(workload) => {
                let (namespace, account) = workload.split_once('/').unwrap();
                let one = |key: &str| {
                    let key = format!("authentication.kubernetes.io/{key}");
                    (key, vec![format!("{account}-1")])
                };
                Review {
                    authenticated: true,
                    audiences: vec!["diolkos-ca".into()],
                    username: format!("system:serviceaccount:{namespace}:{account}"),
                    groups: vec![
                        "system:serviceaccounts".into(),
                        format!("system:serviceaccounts:{namespace}"),
                    ],
                    extra: [one("pod-name"), one("pod-uid")].into(),
                    ..Review::default()
                }
            }
        };
        let cluster = cluster.to_owned();
        Box::pin(async move { Ok(Reviewed { cluster, review }) })
    }
}
