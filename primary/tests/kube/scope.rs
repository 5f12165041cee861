//! Meshes that share a cluster: each keeps to its own namespaces.

use diolkos_primary::source::kube::{KubeSettings, ReviewError, WriteSettings};
use diolkos_topology::ClusterId;
use serde_json::json;

use crate::fake::{CONFIG_MAPS, FakeApi, NAMESPACES, SECRETS, TOKEN};
use crate::world::{World, fill, secret};

fn namespace(api: &FakeApi, name: &str, revision: &str) {
    let labels = json!({"istio.io/rev": revision});
    api.put(NAMESPACES, json!({"metadata": {"name": name, "labels": labels}}));
}

/// Of mesh red, whose own namespace is `mesh-red`.
fn red(world: &World) -> KubeSettings {
    let mut settings = world.settings();
    settings.namespace = "mesh-red".into();
    settings.revision = Some("red".into());
    settings.accept_removal = true;
    settings
}

#[tokio::test]
async fn only_namespaces_of_the_meshs_revision_are_heard_whichever_they_are_now() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1, 2]);
    namespace(&world.own, "shop", "blue");
    namespace(&world.own, "home", "red");
    let settings = red(&world);
    let reviewer = settings.reviewer.clone();
    let mut heard = world.start_with(settings);
    heard.until("in sight", |heard| heard.shown_of("home").to_string().contains("synced")).await;
    assert_eq!(heard.count("web"), 0);

    let cluster = ClusterId::new("home").unwrap();
    let user = json!({"username": "system:serviceaccount:shop:web"});
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "metadata": {}, "spec": {}, "status": {"authenticated": true, "user": user}});
    world.own.change(|state| state.review = Some(review));
    let ask = || reviewer.review(&cluster, "a.b.c", &["diolkos-ca"]);
    assert_eq!(ask().await, Err(ReviewError::Elsewhere("shop".into(), cluster.clone())));

    namespace(&world.own, "shop", "red");
    heard.until("it came to the mesh", |heard| heard.count("web") == 2).await;
    assert!(ask().await.is_ok());
    namespace(&world.own, "shop", "blue");
    heard.until("it left", |heard| heard.count("web") == 0).await;
    assert!(ask().await.is_err());
}

#[tokio::test]
async fn a_shared_cluster_is_complete_only_with_what_its_namespaces_hold() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1, 2]);
    namespace(&world.own, "shop", "red");
    let mut heard = world.start_with(red(&world));
    // Whatever came before the namespaces was heard of nobody: it is asked for again.
    heard.until("in sight", |heard| heard.shown_of("home").to_string().contains("synced")).await;
    heard.until("all of it", |heard| heard.count("web") == 2).await;
}

#[tokio::test]
async fn roots_are_written_where_the_mesh_is_and_nowhere_else() {
    let world = World::new().await;
    for (name, revision) in [("shop", "red"), ("bank", "blue"), ("mesh-blue", "")] {
        namespace(&world.own, name, revision);
    }
    world.own.put(NAMESPACES, json!({"metadata": {"name": "mesh-red"}}));
    let roots = world.dir.path().join("root-cert.pem");
    std::fs::write(&roots, "red's").unwrap();
    let mut settings = red(&world);
    settings.write = Some(WriteSettings { roots, injector: "injector".into(), lease: None });
    let mut heard = world.start_with(settings);
    let own = world.own.clone();
    let has = |name: &str| own.object(CONFIG_MAPS, name, "istio-ca-root-cert").is_some();
    heard.while_not("written", || has("shop") && has("mesh-red")).await;
    assert!(!has("bank") && !has("mesh-blue") && !has("kube-system"));
    namespace(&own, "bank", "red");
    heard.while_not("where it came", || has("bank")).await;
    assert!(!has("mesh-blue"));
}

#[tokio::test]
async fn a_remote_is_written_if_the_meshs_own_namespace_there_says_so() {
    let world = World::new().await;
    let west = FakeApi::start("uid-west").await;
    let kubeconfig = west.kubeconfig("west", TOKEN);
    world.own.put(SECRETS, secret("mesh-red", "west", &[("west", &kubeconfig)]));
    namespace(&west, "shop", "red");
    let roots = world.dir.path().join("root-cert.pem");
    std::fs::write(&roots, "red's").unwrap();
    let system = |writers: &str| {
        let annotations = json!({"topology.istio.io/controlPlaneClusters": writers});
        let metadata = json!({"name": "mesh-red", "annotations": annotations});
        west.put(NAMESPACES, json!({"metadata": metadata}));
    };
    system("elsewhere");
    let mut settings = red(&world);
    settings.write = Some(WriteSettings { roots, injector: "injector".into(), lease: None });
    let mut heard = world.start_with(settings);
    heard.until("in sight", |heard| heard.shown_of("west").to_string().contains("synced")).await;
    let has = || west.object(CONFIG_MAPS, "shop", "istio-ca-root-cert").is_some();
    assert!(!has());
    system("home");
    heard.while_not("written", has).await;
}
