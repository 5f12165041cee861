//! Whose token is it?

use diolkos_primary::source::kube::{ReviewError, Reviewed};
use diolkos_topology::ClusterId;
use serde_json::{Value, json};

use crate::fake::Mood;
use crate::world::{World, fill};

fn answer(user: &str, audiences: &[&str], extra: &Value) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "metadata": {}, "spec": {}, "status": {"authenticated": true, "audiences": audiences,
        "user": {"username": user, "extra": extra}}})
}

#[tokio::test]
async fn a13_a_token_is_whose_its_clusters_server_says_for_the_audience_asked() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    let reviewer = heard.source.reviewer();
    let cluster = ClusterId::new("west").unwrap();
    let account = "system:serviceaccount:shop:web";
    let pod = json!({"authentication.kubernetes.io/pod-name": ["web-1"]});
    let cases: [(Value, Result<(), &str>); 8] = [
        (answer(account, &["diolkos-ca"], &pod), Ok(())),
        (answer(account, &["another"], &json!({})), Err("another audience")),
        (answer(account, &[], &json!({})), Err("another audience")),
        (answer("alice", &["diolkos-ca"], &json!({})), Err("not a service account")),
        (answer("system:serviceaccount::web", &["diolkos-ca"], &json!({})), Err("not a service")),
        (answer("system:serviceaccount:a:b:c", &["diolkos-ca"], &json!({})), Err("not a service")),
        (
            json!({"spec": {}, "metadata": {}, "status": {"authenticated": false,
            "error": "token expired"}}),
            Err("token expired"),
        ),
        (json!({"spec": {}, "metadata": {}}), Err("no status")),
    ];
    for (said, expected) in cases {
        west.change(|state| state.review = Some(said.clone()));
        let reviewed = reviewer.review(&cluster, "a.b.c", &["diolkos-ca", "istio-ca"]).await;
        match (expected, reviewed) {
            (Ok(()), Ok(reviewed)) => assert_eq!(
                reviewed,
                Reviewed {
                    namespace: "shop".into(),
                    service_account: "web".into(),
                    audiences: vec!["diolkos-ca".into()],
                    pod: Some("web-1".into()),
                    pod_uid: None,
                }
            ),
            (Err(words), Err(ReviewError::Refused(why))) => assert!(why.contains(words), "{why}"),
            (expected, found) => panic!("{said}: expected {expected:?}, found {found:?}"),
        }
    }
    let other = ClusterId::new("nowhere").unwrap();
    let unknown = reviewer.review(&other, "a.b.c", &["diolkos-ca"]).await;
    assert_eq!(unknown, Err(ReviewError::UnknownCluster(other)));
    let long = "x".repeat(17 << 10);
    assert!(matches!(reviewer.review(&cluster, &long, &["a"]).await, Err(ReviewError::Refused(_))));
    assert!(matches!(reviewer.review(&cluster, "a", &[]).await, Err(ReviewError::Refused(_))));
    west.set_mood("tokenreviews", Mood::Hang);
    let hung = reviewer.review(&cluster, "a.b.c", &["diolkos-ca"]).await;
    assert!(matches!(hung, Err(ReviewError::Unavailable { .. })), "{hung:?}");
    world.unregister("west");
    heard.until("gone", |heard| heard.gone.len() == 1).await;
    let unknown = reviewer.review(&cluster, "a.b.c", &["diolkos-ca"]).await;
    assert_eq!(unknown, Err(ReviewError::UnknownCluster(cluster)));
}
