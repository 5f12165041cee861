//! A CA, an API server that says what a test wants, and requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use diolkos_ops::metrics::Registry;
use diolkos_trust::TrustDomain;
use diolkos_trust_service::{
    ApiSettings, Asked, Authority, Boxed, CertificateApi, LiveAuthority, Review, ReviewError,
    Reviewed, Reviewer, Token, Validity,
};
use rcgen::{CertificateParams, KeyPair};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Says what it was told to say, and remembers what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) review: Mutex<Review>,
    pub(crate) asked: Mutex<Vec<(String, String, Vec<String>)>>,
    pub(crate) slow: Option<Duration>,
}

pub(crate) const KNOWN: [&str; 2] = ["east", "west"];

impl Reviewer for Fake {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        token: &'a Token,
        audiences: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        let audiences = audiences.iter().map(ToString::to_string).collect();
        self.asked.lock().unwrap().push((cluster.into(), token.as_str().into(), audiences));
        let review = self.review.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(slow) = self.slow {
                tokio::time::sleep(slow).await;
            }
            let cluster = if cluster.is_empty() { "west" } else { cluster };
            match (KNOWN.contains(&cluster), token.as_str()) {
                (false, _) => Err(ReviewError::UnknownCluster {
                    asked: cluster.into(),
                    known: KNOWN.map(str::to_owned).to_vec(),
                }),
                (true, "away") => Err(ReviewError::Unavailable {
                    cluster: cluster.into(),
                    cause: "connection refused".into(),
                }),
                (true, _) => Ok(Reviewed { cluster: cluster.into(), review }),
            }
        })
    }
}

/// What an honest API server says of a pod's projected token.
pub(crate) fn honest(namespace: &str, account: &str) -> Review {
    let one = |key: &str, value: &str| {
        (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()])
    };
    Review {
        authenticated: true,
        error: String::new(),
        audiences: vec!["diolkos-ca".into()],
        username: format!("system:serviceaccount:{namespace}:{account}"),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ],
        extra: BTreeMap::from([one("pod-name", "cart-1"), one("pod-uid", "uid-1")]),
    }
}

/// `west` may hold everything, `east` all but what the system's namespaces hold.
pub(crate) fn grants(cluster: &str, namespace: &str, _account: &str) -> Result<(), String> {
    match (cluster, namespace) {
        ("east", "kube-system" | "diolkos-system") => {
            Err(format!("namespace {namespace} is not granted to it"))
        }
        _ => Ok(()),
    }
}

pub(crate) struct Ground {
    pub(crate) api: CertificateApi,
    pub(crate) fake: Arc<Fake>,
    pub(crate) live: LiveAuthority,
    pub(crate) registry: Registry,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::with(Fake { review: Mutex::new(honest("shop", "cart")), ..Fake::default() })
    }

    pub(crate) fn with(fake: Fake) -> Self {
        let now = SystemTime::now();
        let validity = Validity { not_before: now, not_after: now + 100 * HOUR };
        let root = Authority::new_root("mesh", validity).unwrap();
        let west = root.intermediate("west", validity).unwrap();
        let live = LiveAuthority::new(west).unwrap();
        let fake = Arc::new(fake);
        let mut registry = Registry::new();
        let settings = ApiSettings {
            authority: live.clone(),
            trust_domain: domain(),
            reviewer: fake.clone(),
            grants: Arc::new(grants),
        };
        let api = CertificateApi::new(settings, &mut registry);
        Self { api, fake, live, registry }
    }

    pub(crate) fn says(&self, change: impl FnOnce(&mut Review)) {
        change(&mut self.fake.review.lock().unwrap());
    }
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

pub(crate) fn csr() -> String {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

pub(crate) fn with_token(cluster: &str) -> Asked {
    Asked {
        token: Some(Token::new("a token")),
        cluster: cluster.into(),
        csr: csr(),
        ..Asked::default()
    }
}
