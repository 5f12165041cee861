//! What clients get, and what arrives when facts change.

use diolkos_xds::ResourceType::{Cluster, Endpoint, Listener};
use diolkos_xds_client::{Incoming, Subscription, connect};

use crate::world::{World, cluster_name, ip, names, until, update, update_that};

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_sidecar_gets_its_own_endpoints_as_they_are_and_others_behind_their_gateway() {
    let world = World::new();
    let running = world.start().await;
    let subscribe = vec![
        (Cluster, Subscription::Wildcard),
        (Endpoint, Subscription::Names(vec![cluster_name("west-shop"), cluster_name("east-shop")])),
    ];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    let clusters = update(&mut incoming, Cluster).await;
    for service in ["west-shop", "east-shop"] {
        assert!(names(&clusters).contains(&cluster_name(service).as_str()), "{clusters:?}");
    }
    clusters.accept();
    let endpoints = update(&mut incoming, Endpoint).await;
    let body = |service: &str| {
        let name = cluster_name(service);
        let found = endpoints.upserts.iter().find(|(found, _)| *found == name);
        found.map(|(_, body)| body.clone()).unwrap_or_else(|| panic!("no {name}: {endpoints:?}"))
    };
    let west = body("west-shop");
    assert!(contains(&west, &ip("west", 1).to_string()) && contains(&west, "127.1.0.2"));
    let east = body("east-shop");
    assert!(contains(&east, &ip("east", 77).to_string()), "behind the gateway");
    assert!(!contains(&east, &ip("east", 1).to_string()), "and not as it is");
    running.stop().await;
}

#[tokio::test]
async fn an_edited_manifest_arrives_and_nothing_else_does() {
    let world = World::new();
    let running = world.start().await;
    let name = cluster_name("west-shop");
    let subscribe = vec![(Endpoint, Subscription::Names(vec![name.clone()]))];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Endpoint).await.accept();

    world.service("west", "west-shop", &[1, 2, 3]);
    let change = update(&mut incoming, Endpoint).await;
    assert_eq!(names(&change), [name.as_str()]);
    assert!(contains(&change.upserts[0].1, &ip("west", 3).to_string()));
    change.accept();

    until("what the client has is shown", async || {
        let endpoint = running.debug().await["streams"][0]["types"][1].clone();
        endpoint["named"] == 1 && endpoint["held"] == 1 && endpoint["ackedNonce"] == "2"
    })
    .await;
    let pushes = running.metric("diolkos_xds_pushes_total{type=\"eds\"}").await;
    assert_eq!(pushes, 2.0);
    let converged = running.metric("diolkos_convergence_seconds_count").await;
    assert!(converged >= 1.0);
    running.stop().await;
}

#[tokio::test]
async fn a_refused_update_is_shown_with_its_reason_and_the_next_change_is_offered_again() {
    let world = World::new();
    let running = world.start().await;
    let name = cluster_name("west-shop");
    let subscribe = vec![(Endpoint, Subscription::Names(vec![name.clone()]))];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Endpoint).await.accept();

    world.service("west", "west-shop", &[1, 3]);
    update(&mut incoming, Endpoint).await.reject(format!("{name}: I will not"));
    let reason = format!("{name}: I will not");
    until("the nack is shown", async || {
        let debug = running.debug().await;
        let endpoint = debug["streams"][0]["types"][1].clone();
        endpoint["nacks"] == 1 && endpoint["lastNack"]["reason"] == *reason && endpoint["acks"] == 1
    })
    .await;
    assert_eq!(running.metric("diolkos_xds_nacks_total{type=\"eds\"}").await, 1.0);

    world.service("west", "west-shop", &[1, 4]);
    let better = update(&mut incoming, Endpoint).await;
    assert!(contains(&better.upserts[0].1, &ip("west", 4).to_string()));
    running.stop().await;
}

#[tokio::test]
async fn two_audiences_are_told_different_things_of_the_same_service() {
    let world = World::new();
    let running = world.start().await;
    let name = cluster_name("west-shop");
    let mut bodies = Vec::new();
    let mut handles = Vec::new();
    for cluster in ["west", "east"] {
        let subscribe = vec![(Endpoint, Subscription::Names(vec![name.clone()]))];
        let (handle, mut incoming) = connect(world.sidecar(&running, cluster), subscribe);
        let told = update(&mut incoming, Endpoint).await;
        bodies.push(told.upserts[0].1.clone());
        told.accept();
        handles.push((handle, incoming));
    }
    assert!(contains(&bodies[0], &ip("west", 1).to_string()));
    assert!(contains(&bodies[1], &ip("west", 77).to_string()), "through west's gateway");
    let debug = running.debug().await;
    let audiences: Vec<&str> = debug["audiences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|audience| audience["audience"].as_str().unwrap())
        .collect();
    assert_eq!(
        audiences,
        ["sidecar in west on west at r/west-a", "sidecar in east on east at r/east-a"]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_client_whose_network_changed_comes_back_to_another_audience() {
    let world = World::new();
    let running = world.start().await;
    let mut settings = world.sidecar(&running, "west");
    settings.node.network = None;
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(settings, subscribe);
    update(&mut incoming, Cluster).await.accept();

    world.network("west", "elsewhere");
    let why = loop {
        match tokio::time::timeout(crate::world::PATIENCE, incoming.recv()).await.unwrap().unwrap()
        {
            Incoming::Disconnected { why } => break why.to_string(),
            _ => continue,
        }
    };
    assert!(why.contains("is sidecar in west on elsewhere at r/west-a now"), "{why}");
    until("it is back", async || {
        let debug = running.debug().await;
        debug["streams"][0]["audience"] == "sidecar in west on elsewhere at r/west-a"
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_gateway_gets_one_listener_and_the_routes_of_its_own_network() {
    let world = World::new();
    let running = world.start().await;
    let mut settings = world.client(&running, "west", "istio-system", "eastwest", "eastwest-1");
    settings.node.kind = "router".into();
    let subscribe = vec![(Cluster, Subscription::Wildcard), (Listener, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(settings, subscribe);
    let routes = update(&mut incoming, Cluster).await;
    let shown = names(&routes).join(" ");
    assert!(shown.contains("west-shop.shop.svc") && !shown.contains("east-shop"), "{shown}");
    routes.accept();
    let listeners = update_that(&mut incoming, Listener, |update| !update.upserts.is_empty()).await;
    assert_eq!(listeners.upserts.len(), 1);
    running.stop().await;
}
