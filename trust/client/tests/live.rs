//! A certificate of a real certificate API, in force for as long as it is held.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod primary;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use diolkos_ops::metrics::Registry;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_client::{CertificateSettings, Keeper, Live, PRIMARY_AUDIENCE, PrimaryName};
use diolkos_trust_service::Authority;
use primary::{DAY, NAME, Primary, TOKEN, valid};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// A pod's files, and what keeps its certificate.
struct Pod {
    dir: tempfile::TempDir,
    settings: CertificateSettings,
    keeper: Option<Keeper>,
    registry: Registry,
    running: JoinSet<()>,
}

impl Pod {
    fn new(primary: &Primary) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let domain = TrustDomain::new("cluster.local").unwrap();
        let settings = CertificateSettings {
            primary: PrimaryName { place: primary.address.into(), server: Some(NAME.into()) },
            token_file: dir.path().join("token"),
            root_file: dir.path().join("root-cert.pem"),
            id: SpiffeId::workload(&domain, "diolkos-system", "eastwest").unwrap(),
            cluster: "west".into(),
            ttl: DAY,
            audience: PRIMARY_AUDIENCE,
        };
        let mut registry = Registry::new();
        let keeper = Some(Keeper::new(settings.clone(), &mut registry, "test"));
        let pod = Self { dir, settings, keeper, registry, running: JoinSet::new() };
        pod.write("token", TOKEN);
        pod.write("root-cert.pem", &primary.root_pem);
        pod
    }

    fn write(&self, name: &str, text: &str) {
        let fresh = self.dir.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn live(&mut self) -> Live {
        let keeper = self.keeper.take().unwrap();
        let kept = keeper.kept();
        self.running.spawn(keeper.run());
        let live = Live::of(&self.settings, kept);
        timeout(PATIENCE, live).await.expect("a certificate in time").unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.registry.text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let met = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Renewed at half of it, and so while the first is still good.
const SHORT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn r14_a_renewed_certificate_takes_the_place_of_the_one_in_force() {
    let primary = Primary::start(SHORT);
    let mut pod = Pod::new(&primary);
    let live = pod.live().await;
    let (held, first) = (live.identity.clone(), live.identity.not_after());
    assert_eq!(held.spiffe_id(), pod.settings.id);
    primary.renew_ca();
    until("another is in force", || held.not_after() > first).await;
    assert!(SystemTime::now() < first, "before the first had ended");
    assert_eq!(pod.metric("diolkos_test_certificates_total"), 2);
}

#[tokio::test]
async fn a_primary_that_is_away_takes_nothing_out_of_force_and_is_asked_again() {
    let mut primary = Primary::start(SHORT);
    let mut pod = Pod::new(&primary);
    let fault = pod.keeper.as_ref().unwrap().fault();
    let live = pod.live().await;
    let first = live.identity.not_after();
    primary.go_away().await;
    let away = format!("cannot connect to {0} at {0}: ", primary.address);
    until("it is told", || fault.borrow().as_ref().is_some_and(|why| why.starts_with(&away))).await;
    assert_eq!(live.identity.not_after(), first, "what there is stays");
    primary.renew_ca();
    primary.come_back();
    until("another is in force", || live.identity.not_after() > first).await;
    assert_eq!(*fault.borrow(), None);
}

#[tokio::test]
async fn roots_are_those_of_the_file_and_a_broken_one_changes_nothing() {
    let primary = Primary::start(DAY);
    let mut pod = Pod::new(&primary);
    let live = pod.live().await;
    let domain = pod.settings.id.trust_domain();
    let roots = || live.roots.get().get(&domain).unwrap().roots().count();
    assert_eq!(roots(), 1);

    let other = Authority::new_root("other", valid(DAY)).unwrap().root_pem();
    pod.write("root-cert.pem", &format!("{}{other}", primary.root_pem));
    until("the other root is believed", || roots() == 2).await;
    until("a certificate was asked for anew", || {
        pod.metric("diolkos_test_certificates_total") == 2
    })
    .await;

    pod.write("root-cert.pem", "no roots");
    until("it was tried", || pod.metric("diolkos_test_certificate_failures_total") >= 1).await;
    assert_eq!(roots(), 2);
    pod.write("root-cert.pem", &primary.root_pem);
    until("the other root is gone", || roots() == 1).await;
}

#[tokio::test]
async fn a_wrong_token_is_told_with_cause_and_way_out_and_the_right_one_is_read() {
    let primary = Primary::start(DAY);
    let mut pod = Pod::new(&primary);
    pod.write("token", "of somebody else");
    let fault = pod.keeper.as_ref().unwrap().fault();
    let file = pod.path("token").display().to_string();
    let right = async {
        until("it is told", || fault.borrow().is_some()).await;
        let why = fault.borrow().clone().unwrap();
        let told = "the primary refuses: the token is refused: its API server does not know it; ";
        assert!(why.starts_with(told), "{why}");
        let way_out = format!(
            "write into {file} a projected token of this pod, which the API server of cluster west \
             made for diolkos-ca"
        );
        assert!(why.ends_with(&way_out), "{why}");
        std::fs::write(&file, TOKEN).unwrap();
    };
    let (live, ()) = tokio::join!(pod.live(), right);
    assert_eq!(live.identity.spiffe_id(), pod.settings.id);
}
