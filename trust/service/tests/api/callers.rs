//! Who is believed.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Peer, Roots, Usage, peer_of};
use diolkos_trust_service::limit::CALLER_REQUESTS_MAX;
use diolkos_trust_service::{Asked, Proof, Refusal, Review, Signed, Token};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::ground::{Fake, Ground, csr, domain, honest, with_token};

#[tokio::test]
async fn a_pods_token_is_worth_its_identity_and_its_cluster() {
    let ground = Ground::new();
    for (said, cluster) in [("", "west"), ("west", "west"), ("east", "east")] {
        let (caller, signed) = ground.api.create(&with_token(said)).await.unwrap();
        assert_eq!(caller.cluster, cluster);
        assert_eq!(caller.id.as_str(), "spiffe://cluster.local/ns/shop/sa/cart");
        let pod = Proof::Token { pod: "cart-1".into(), pod_uid: "uid-1".into() };
        assert_eq!(caller.proof, pod);
        assert_eq!(peer(&signed).organization.as_deref(), Some(cluster));
    }
    let asked = ground.fake.asked.lock().unwrap();
    assert_eq!(asked[2].0, "east");
    assert_eq!(asked[2].2, ["diolkos-ca", "istio-ca"]);
}

fn peer(signed: &Signed) -> Peer {
    let chain = signed.chain.concat();
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let roots = Roots::of_pem(signed.roots.as_bytes(), &domain()).unwrap();
    peer_of(&chain, &roots, SystemTime::now(), Usage::Client).unwrap()
}

/// One thing an API server says that no honest one would, or that is not enough.
type Lie = (&'static str, fn(&mut Review), &'static str);

const LIES: &[Lie] = &[
    ("not authenticated", |it| it.authenticated = false, "does not know it"),
    ("an error", |it| it.error = "expired".into(), "its API server says: expired"),
    ("no audience", |it| it.audiences.clear(), "audience is none of diolkos-ca, istio-ca"),
    ("another audience", |it| it.audiences = vec!["vault".into()], "audience is none of"),
    ("a person", |it| it.username = "admin".into(), "no service account"),
    ("a node", |it| it.username = "system:node:n1".into(), "no service account"),
    ("no account", |it| it.username = "system:serviceaccount:shop".into(), "no service account"),
    ("an empty account", |it| it.username = account("shop", ""), "no service account"),
    ("an empty namespace", |it| it.username = account("", "cart"), "no service account"),
    ("a third part", |it| it.username = account("shop", "cart:x"), "no service account"),
    ("a slash", |it| it.username = account("shop", "cart/../x"), "no service account"),
    ("upper case", |it| it.username = account("Shop", "cart"), "no service account"),
    ("a dotted namespace", |it| it.username = account("a.b", "cart"), "no service account"),
    ("a line break", |it| it.username = account("shop", "cart\nx"), "no service account"),
    ("no groups", |it| it.groups.clear(), "not in group system:serviceaccounts"),
    ("groups of another", |it| it.username = account("pay", "cart"), "serviceaccounts:pay"),
    ("no pod", |it| it.extra.clear(), "bound to no pod"),
    ("two pods", |it| it.extra.get_mut(NAME).unwrap().push("b".into()), "bound to no pod"),
    ("a pod without a uid", |it| drop(it.extra.remove(UID)), "bound to no pod"),
    ("an empty uid", |it| it.extra.get_mut(UID).unwrap()[0].clear(), "bound to no pod"),
];
const NAME: &str = "authentication.kubernetes.io/pod-name";
const UID: &str = "authentication.kubernetes.io/pod-uid";

fn account(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

#[tokio::test]
async fn a13_each_part_of_a_review_is_checked() {
    for (name, lie, says) in LIES {
        let ground = Ground::new();
        ground.says(lie);
        let refusal = ground.api.create(&with_token("west")).await.unwrap_err().to_string();
        assert!(refusal.contains(says), "{name}: {refusal}");
        assert!(!refusal.contains("a token"), "{name}: the token is repeated: {refusal}");
    }
}

#[tokio::test]
async fn istios_audience_is_accepted() {
    let ground = Ground::new();
    ground.says(|it| it.audiences = vec!["istio-ca".into()]);
    assert!(ground.api.create(&with_token("west")).await.is_ok());
}

#[tokio::test]
async fn a3_an_api_server_that_lies_gains_no_identity_that_its_cluster_was_not_granted() {
    let ground = Ground::new();
    ground.says(|it| *it = honest("kube-system", "admin"));
    let refusal = ground.api.create(&with_token("east")).await.unwrap_err();
    assert_eq!(refusal.reason(), "not_granted");
    assert_eq!(
        refusal.to_string(),
        "cluster east may not hold spiffe://cluster.local/ns/kube-system/sa/admin: namespace \
         kube-system is not granted to it"
    );
    assert!(ground.api.create(&with_token("west")).await.is_ok(), "it is granted to west");
}

#[tokio::test]
async fn an_unknown_cluster_is_told_which_are_known() {
    let ground = Ground::new();
    let refusal = ground.api.create(&with_token("north")).await.unwrap_err();
    assert_eq!(refusal.to_string(), "cluster \"north\" is not one of those known here: east, west");
}

#[tokio::test]
async fn an_api_server_that_is_away_is_named() {
    let ground = Ground::new();
    let asked = Asked { token: Some(Token::new("away")), ..with_token("east") };
    let refusal = ground.api.create(&asked).await.unwrap_err();
    assert_eq!(refusal.reason(), "api_server");
    assert!(refusal.to_string().contains("cluster east cannot be asked: connection refused"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_not_waited_for_without_end() {
    let review = Mutex::new(honest("shop", "cart"));
    let slow = Some(Duration::from_secs(3600));
    let ground = Ground::with(Fake { review, slow, ..Fake::default() });
    assert_eq!(ground.api.create(&with_token("west")).await.unwrap_err(), Refusal::Late);
}

#[tokio::test]
async fn nobody_is_asked_about_what_is_no_request() {
    let ground = Ground::new();
    let no_csr = Asked { csr: "hello".into(), ..with_token("west") };
    assert_eq!(ground.api.create(&no_csr).await.unwrap_err().reason(), "csr");
    let other = Asked { impersonates: true, ..with_token("west") };
    assert_eq!(ground.api.create(&other).await.unwrap_err(), Refusal::Impersonation);
    let nothing = Asked { csr: csr(), ..Asked::default() };
    assert_eq!(ground.api.create(&nothing).await.unwrap_err(), Refusal::NoCredential);
    assert!(ground.fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_of_ours_renews_itself_for_the_same_identity_and_cluster() {
    let ground = Ground::new();
    let (_, first) = ground.api.create(&with_token("east")).await.unwrap();
    let renewal = |peer: Peer| Asked { peer: Some(peer), csr: csr(), ..Asked::default() };
    let (caller, second) = ground.api.create(&renewal(peer(&first))).await.unwrap();
    assert_eq!((caller.cluster.as_str(), caller.proof), ("east", Proof::Certificate));
    assert_eq!(peer(&second).id, peer(&first).id);

    let mut unsigned_for = peer(&first);
    unsigned_for.organization = None;
    let mut strangers = peer(&first);
    strangers.issuer = strangers_key();
    let mut system = peer(&first);
    system.id = "spiffe://cluster.local/ns/kube-system/sa/admin".parse_id();
    let mut foreign = peer(&first);
    foreign.id = "spiffe://elsewhere/ns/shop/sa/cart".parse_id();
    for (peer, reason) in [
        (unsigned_for, "certificate"),
        (strangers, "certificate"),
        (system, "not_granted"),
        (foreign, "certificate"),
    ] {
        let refusal = ground.api.create(&renewal(peer)).await.unwrap_err();
        assert_eq!(refusal.reason(), reason, "{refusal}");
    }
}

#[tokio::test]
async fn a_bad_token_is_not_forgiven_for_a_good_certificate() {
    let ground = Ground::new();
    let (_, first) = ground.api.create(&with_token("west")).await.unwrap();
    ground.says(|it| it.authenticated = false);
    let both = Asked { peer: Some(peer(&first)), ..with_token("west") };
    assert_eq!(ground.api.create(&both).await.unwrap_err().reason(), "token");
}

fn strangers_key() -> diolkos_tls::IssuerKey {
    let ground = Ground::new();
    diolkos_tls::IssuerKey::of_certificate(ground.live.get().certificate_der()).unwrap()
}

trait ParseId {
    fn parse_id(&self) -> diolkos_trust::SpiffeId;
}

impl ParseId for str {
    fn parse_id(&self) -> diolkos_trust::SpiffeId {
        diolkos_trust::SpiffeId::parse(self).unwrap()
    }
}

#[tokio::test]
async fn one_pod_that_asks_without_end_holds_up_only_itself() {
    let ground = Ground::new();
    for _ in 0..CALLER_REQUESTS_MAX {
        ground.api.create(&with_token("west")).await.unwrap();
    }
    let refusal = ground.api.create(&with_token("west")).await.unwrap_err();
    assert_eq!(refusal.reason(), "too_often");
    ground.says(|it| it.extra.get_mut(UID).unwrap()[0] = "uid-2".into());
    assert!(ground.api.create(&with_token("west")).await.is_ok(), "another pod of the same name");
    assert!(ground.api.create(&with_token("east")).await.is_ok());
}
