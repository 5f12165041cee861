//! From nothing to everything, and what comes later.

use std::time::Duration;

use diolkos_primary::source::Listed;
use diolkos_primary::source::kube::Credential;
use serde_json::json;

use crate::fake::{EXPORTS, GATEWAYS, NODES, PODS, SERVICES, SLICES};
use crate::world::{World, fill, node, pod, slice};

#[tokio::test]
async fn own_and_remote_clusters_are_listed_page_by_page_and_followed() {
    let world = World::new().await;
    world.own.change(|state| state.page = 2);
    let west = world.remote("west").await;
    west.change(|state| state.page = 3);
    fill(&world.own, "web", 1, &[1, 2]);
    fill(&west, "web", 2, &[1, 2, 3, 4, 5, 6, 7]);
    let mut heard = world.start();
    heard.until("both are there", |heard| heard.count("web") == 9).await;
    assert!(heard.left.is_empty());
    heard.until("the mesh is complete", |heard| heard.listed == Some(Listed::All)).await;
    assert_eq!(heard.mesh.iter().map(String::as_str).collect::<Vec<_>>(), ["home", "west"]);

    pod(&west, "web", 8);
    slice(&west, "web", 2, &[8]);
    heard
        .until("a change arrives", |heard| {
            heard.endpoints("web") == ["10.1.0.1:8080", "10.1.0.2:8080", "10.2.0.8:8080"]
        })
        .await;
    west.delete(SLICES, "shop", "web-1");
    heard.until("a removal arrives", |heard| heard.count("web") == 2).await;
    assert!(
        west.count(|request| request.contains("GET api/v1/pods?") && request.contains("continue="))
            >= 2
    );
    let watched = |request: &str| {
        request.contains("WATCH api/v1/pods?")
            && request.contains("allowWatchBookmarks=true")
            && request.contains("status.phase%21%3DFailed")
    };
    assert!(west.count(watched) >= 1, "{:?}", west.lock().requests);
}

#[tokio::test]
async fn a_cluster_whose_pods_are_late_serves_no_endpoint_without_identity() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    slice(&world.own, "web", 1, &[1, 2]);
    heard
        .until("it says what it waits for", |heard| {
            heard.rejected.values().flatten().any(|text| text.contains("waits for its pod"))
        })
        .await;
    assert_eq!(heard.count("web"), 1);
    pod(&world.own, "web", 2);
    heard.until("the pod is known", |heard| heard.count("web") == 2).await;
    heard
        .until("nothing is wrong any more", |heard| {
            heard.rejected.values().flatten().all(|text| !text.contains("waits for its pod"))
        })
        .await;
}

#[tokio::test]
async fn custom_resources_are_found_when_they_are_installed_and_hold_nobody_up() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let mut heard = world.start();
    heard.until("synced without them", |heard| heard.count("web") == 1).await;
    let shown = heard.shown_of("home").to_string();
    assert!(shown.contains("left out: it is not installed"), "{shown}");
    world.own.change(|state| {
        state.installed.insert(GATEWAYS);
        state.installed.insert(EXPORTS);
    });
    world.own.put(
        GATEWAYS,
        json!({"metadata": {"namespace": "istio-system", "name": "ew",
        "labels": {"topology.istio.io/network": "n2"}},
        "spec": {"gatewayClassName": "istio",
            "listeners": [{"name": "tls", "port": 15443, "protocol": "TLS",
                "tls": {"mode": "Passthrough"}}],
            "addresses": [{"type": "IPAddress", "value": "192.0.2.7"}]}}),
    );
    heard.until("the gateway is known", |heard| heard.gateways("home") == 1).await;
    // Uninstalled: its objects are gone with it.
    world.own.change(|state| {
        state.lose(GATEWAYS);
        state.installed.remove(GATEWAYS);
        let (version, gone) = (state.version + 1, crate::fake::GATEWAYS);
        state.version = version;
        state.end_watches(gone);
    });
    heard.until("and goes with its kind", |heard| heard.gateways("home") == 0).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_said_and_only_what_is_needed_holds_up() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    world.own.change(|state| state.forbidden.extend([NODES]));
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    west.change(|state| state.forbidden.extend([PODS]));
    let mut heard = world.start();
    heard.until("the own one works without nodes", |heard| heard.count("web") == 1).await;
    let shown = heard.shown_of("home").to_string();
    assert!(shown.contains("left out: does not allow it (403)"), "{shown}");
    let board = || heard.source.shown()["west"].to_string();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !board().contains("refused because it does not allow it (403): api/v1/pods") {
        assert!(std::time::Instant::now() < deadline, "{}", board());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    west.change(|state| state.forbidden.clear());
    heard.until("allowed at last", |heard| heard.count("web") == 2).await;
    node(&world.own, "n1", "a");
    world.own.change(|state| state.forbidden.clear());
    heard
        .until("nodes are taken when they are allowed", |heard| {
            heard.shown().contains("nodes=1") || heard.shown().contains("nodes: 1")
        })
        .await;
}

#[tokio::test]
async fn pages_and_watches_are_of_one_version() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    let requests = world.own.lock().requests.clone();
    let watch = requests.iter().find(|request| request.starts_with("WATCH api/v1/services"));
    let watch = watch.expect("services are watched");
    assert!(watch.contains("resourceVersion=10"), "from where the list ended: {watch}");
    world.own.put(
        SERVICES,
        json!({"metadata": {"namespace": "shop", "name": "other"},
        "spec": {"ports": [{"name": "http", "port": 81}]}}),
    );
    heard.until("the new service", |heard| heard.view.services.len() == 2).await;
}

#[tokio::test]
async fn the_own_token_is_read_again_when_the_kubelet_replaces_it() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let token = world.dir.path().join("token");
    std::fs::write(&token, format!("{}\n", crate::fake::TOKEN)).unwrap();
    let mut settings = world.settings();
    settings.own.credential = Credential::TokenFile(token.clone());
    let mut heard = world.start_with(settings);
    heard.until("synced", |heard| heard.count("web") == 1).await;
    heard.forget();
    std::fs::write(&token, "the-next-one").unwrap();
    world.own.change(|state| state.tokens.extend(["the-next-one".to_owned()]));
    let probes = || world.own.count(|request| request.contains("kube-system"));
    let before = probes();
    heard.while_not("time passes", || probes() > before + 5).await;
    world.own.change(|state| state.tokens.retain(|token| token != crate::fake::TOKEN));
    world.own.set_up(false);
    heard.while_not("all connections end", || world.own.lock().connections == 0).await;
    world.own.set_up(true);
    fill(&world.own, "web", 1, &[1, 2]);
    heard.until("heard by the next one", |heard| heard.count("web") == 2).await;
}
