//! Whose token is it?

use diolkos_primary::source::kube::ReviewError;
use diolkos_topology::ClusterId;
use serde_json::json;

use crate::fake::Mood;
use crate::world::{World, fill};

#[tokio::test]
async fn a13_a_token_is_whose_its_own_clusters_server_says() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let settings = world.settings();
    let reviewer = settings.reviewer.clone();
    let cluster = ClusterId::new("west").unwrap();
    let early = reviewer.review(&cluster, "a.b.c", &["diolkos-ca"]).await;
    assert_eq!(
        early,
        Err(ReviewError::UnknownCluster(cluster.clone())),
        "nobody is registered yet"
    );

    let mut heard = world.start_with(settings);
    heard.until("synced", |heard| heard.count("web") == 1).await;
    assert_eq!(reviewer.clusters(), ["home", "west"].map(|name| ClusterId::new(name).unwrap()));
    let status = json!({"authenticated": true, "audiences": ["diolkos-ca"],
        "user": {"username": "system:serviceaccount:shop:web", "groups": ["system:authenticated"],
                 "extra": {"authentication.kubernetes.io/pod-name": ["web-1"]}}});
    let no = json!({"authenticated": false, "error": "token expired"});
    for said in [status, no] {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                            "metadata": {}, "spec": {}, "status": said});
        west.change(|state| state.review = Some(review.clone()));
        let heard = reviewer.review(&cluster, "a.b.c", &["diolkos-ca", "istio-ca"]).await.unwrap();
        assert_eq!(serde_json::to_value(heard).unwrap(), said);
    }
    west.change(|state| state.review = Some(json!({"spec": {}, "metadata": {}})));
    let nothing = reviewer.review(&cluster, "a.b.c", &["diolkos-ca"]).await;
    assert!(matches!(nothing, Err(ReviewError::Unavailable { .. })), "{nothing:?}");
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
