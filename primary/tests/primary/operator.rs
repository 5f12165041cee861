//! What an operator sees.

use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::{Subscription, connect};

use crate::world::{World, start, until, update};

#[tokio::test]
async fn clusterz_is_istios_with_the_own_cluster_first() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let clusters = running.json("/debug/clusterz").await;
    assert_eq!(
        clusters,
        serde_json::json!([
            {"id": "west", "secretName": "", "syncStatus": "synced"},
            {"id": "east", "secretName": "", "syncStatus": "synced"},
        ])
    );
    assert_eq!(running.get("/healthz").await.0, 200);
    let networks = &running.debug().await["networks"];
    assert_eq!(
        networks[0],
        serde_json::json!({"name": "east", "clusters": ["east"],
            "gateways": [{"address": "127.2.0.77:15443", "clusters": ["east"]}]})
    );
    assert_eq!(networks[1]["name"], "west");
    running.stop().await;
}

#[tokio::test]
async fn health_is_anybodys_and_tells_nothing_of_the_mesh() {
    let world = World::new();
    world.mesh("  - {name: west, addresses: [127.1.0.0/16]}\n  - {name: north}\n");
    let mut settings = world.settings();
    settings.health = Some("[::]:0".parse().unwrap());
    let running = start(settings).await;
    until("the admin endpoint says whose facts are waited for", async || {
        running.get("/ready").await == (503, "waiting for the first facts of north\n".into())
    })
    .await;
    let (status, told) = running.health("/healthz/ready").await;
    assert_eq!((status, told.contains("north")), (503, false), "{told}");
    assert_eq!(running.health("/healthz").await.0, 200);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    world.write("clusters/north/any.yaml", namespace);
    running.until_ready().await;
    assert_eq!(running.health("/healthz/ready").await, (200, "ready\n".into()));
    assert!(running.health("/metrics").await.1.contains("diolkos_xds_streams"));
    for page in ["/ready", "/debug/clusterz", "/debug/diolkos.json", "/debug/explain"] {
        assert_eq!(running.health(page).await.0, 404, "{page}");
    }
    running.stop().await;
}

#[tokio::test]
async fn explain_says_line_by_line_why() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let path = "/debug/explain?kind=sidecar&cluster=west&service=shop/east-shop&zone=r/west-a";
    let (status, text) = running.get(path).await;
    assert_eq!(status, 200, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "for a sidecar in west on west at r/west-a:");
    assert_eq!(lines.len(), 3, "one for each endpoint: {text}");
    assert!(lines[1..].iter().all(|line| line.contains("127.2.0.77")), "by its gateway: {text}");

    let by_pod = running.get("/debug/explain?service=shop/east-shop&pod=shop/web-1").await.1;
    assert_eq!(by_pod, text, "the pod is in that zone");
    running.stop().await;
}

#[tokio::test]
async fn explain_as_json_says_the_same() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let explained = running.json("/debug/explain?service=shop/east-shop&output=json").await;
    assert_eq!(explained["service"], "shop/east-shop");
    let client = serde_json::json!({"kind": "sidecar", "cluster": "west", "network": "west",
        "locality": "-", "families": "both"});
    assert_eq!(explained["client"], client);
    let endpoints = explained["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{explained:#}");
    let mut first = endpoints[0].clone();
    assert!(first.as_object_mut().unwrap().remove("said").unwrap().is_string());
    assert_eq!(
        first,
        serde_json::json!({"port": 80, "cluster": "east", "network": "east",
            "locality": "r/east-a", "address": "127.2.0.1:8080", "pod": "east-shop-1",
            "slice": "east-shop-1", "count": 1, "verdict": "replaced",
            "gateways": ["127.2.0.77:15443"]})
    );
    let grpc = "/debug/explain?service=shop/east-shop&output=json&kind=grpc";
    let dropped = &running.json(grpc).await["endpoints"][0];
    assert_eq!(dropped["verdict"], "dropped");
    assert!(dropped["reason"].as_str().unwrap().contains("cannot use gateways"), "{dropped}");
    running.stop().await;
}

#[tokio::test]
async fn explain_says_what_there_is_where_a_name_is_not_known() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    for (query, told) in [
        ("service=shop/nothing", "service shop/nothing: no cluster has it; there are shop/"),
        ("service=pay/east-shop", "no cluster has it; there are shop/east-shop"),
        ("service=pay/nothing", "no cluster has it; there is none like it"),
        (
            "service=shop/east-shop&cluster=north",
            "cluster north: it is not in the mesh; there are east, west",
        ),
        ("service=shop/east-shop&pod=shop/web-9", "pod shop/web-9 of cluster west is not known"),
    ] {
        let (status, text) = running.get(&format!("/debug/explain?{query}")).await;
        assert_eq!(status, 404, "{query}");
        assert!(text.contains(told), "{query}: {text}");
    }
    for (query, told) in [
        ("", "service=<namespace>/<name> is missing"),
        ("?service=nothing", "is not <namespace>/<name>"),
        ("?service=a/b&kind=x", "is none of sidecar, gateway, egress, grpc"),
        ("?service=a/b&cluster=-", "must begin and end with a letter or digit"),
        ("?service=a/b&pod=web", "pod \"web\" is not <namespace>/<name>"),
        ("?service=a/b&output=xml", "is none of text, json"),
    ] {
        let (status, text) = running.get(&format!("/debug/explain{query}")).await;
        assert_eq!(status, 400);
        assert!(text.contains(told), "{text}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_broken_edit_is_one_rejection_and_what_was_good_stays() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Cluster).await.accept();
    world.write("clusters/west/west-shop.yaml", "kind: Service\nmetadata: [\n");
    until("the rejection is shown", async || {
        running.debug().await["rejections"].to_string().contains("west-shop.yaml")
    })
    .await;
    let debug = running.debug().await;
    assert_eq!(debug["clusters"][1]["name"], "west", "{debug:#}");
    assert_eq!(debug["clusters"][1]["services"], 2, "what was last good stays");
    assert!(running.metric("diolkos_rejections_total").await >= 1.0);
    assert_eq!(running.metric("diolkos_xds_pushes_total{type=\"cds\"}").await, 1.0);
    running.stop().await;
}

#[tokio::test]
async fn an_audience_outlives_its_last_client_for_the_linger_and_no_longer() {
    let world = World::new();
    let mut settings = world.settings();
    settings.linger = std::time::Duration::from_millis(300);
    let running = start(settings).await;
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Cluster).await.accept();
    drop((handle, incoming));
    until("the stream is closed", async || running.metric("diolkos_xds_streams").await == 0.0)
        .await;
    until("the audience is down", async || {
        let debug = running.debug().await;
        debug["audiences"].as_array().unwrap().is_empty() && debug["scopes"] == 0
    })
    .await;
    running.stop().await;
}
