//! A primary that goes and comes back.

use diolkos_xds::ResourceType::{Cluster, Endpoint};
use diolkos_xds_client::{Incoming, Subscription, connect};
use tokio::time::timeout;

use crate::world::{PATIENCE, World, cluster_name, names, start, until, update};

#[tokio::test]
async fn a_restarted_primary_sends_a_client_only_what_it_does_not_have() {
    let world = World::new();
    let running = world.start().await;
    let address = running.address;
    let name = cluster_name("west-shop");
    let subscribe = vec![
        (Cluster, Subscription::Wildcard),
        (Endpoint, Subscription::Names(vec![name.clone(), cluster_name("east-shop")])),
    ];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Cluster).await.accept();
    update(&mut incoming, Endpoint).await.accept();
    until("both are acknowledged", async || {
        let types = running.debug().await["streams"][0]["types"].clone();
        types[0]["acks"] == 1 && types[1]["acks"] == 1
    })
    .await;
    running.stop().await;

    let mut settings = world.settings();
    settings.listen = address;
    let running = start(settings).await;
    loop {
        match timeout(PATIENCE, incoming.recv()).await.expect("it does not come back").unwrap() {
            Incoming::Connected => break,
            Incoming::Disconnected { .. } => {}
            Incoming::Update(update) => panic!("before it was connected: {update:?}"),
        }
    }
    world.service("west", "west-shop", &[1, 2, 3]);
    let changed = update(&mut incoming, Endpoint).await;
    assert_eq!(names(&changed), [name.as_str()], "what is equal is not sent again");
    changed.accept();
    until("one response was counted and answered", async || {
        let types = running.debug().await["streams"][0]["types"].clone();
        types[1]["acks"] == 1 && types[1]["resources"] == 1
    })
    .await;
    let types = running.debug().await["streams"][0]["types"].clone();
    assert_eq!(types[0]["resources"], 0, "no cluster was sent again: {types:#}");
    running.stop().await;
}

#[tokio::test]
async fn r3_nobody_is_served_before_every_declared_cluster_was_heard() {
    let world = World::new();
    world.mesh(
        "  - {name: west, addresses: [127.1.0.0/16], caCertificate: ca/west/ca-cert.pem}
  - {name: north, addresses: [127.3.0.0/16], caCertificate: ca/north/ca-cert.pem}
",
    );
    let running = world.start().await;
    until("west was heard", async || {
        running.get("/ready").await == (503, "waiting for the first facts of north\n".into())
    })
    .await;
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    match timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap() {
        Incoming::Disconnected { why } => {
            assert!(
                why.text().contains("not ready, waiting for the first facts of north"),
                "{why}"
            );
        }
        other => panic!("served too early: {other:?}"),
    }
    world.write(
        "clusters/north/empty.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n",
    );
    running.until_ready().await;
    update(&mut incoming, Cluster).await.accept();
    running.stop().await;
}

#[tokio::test]
async fn r3_a_cluster_that_stays_silent_holds_the_others_up_no_longer_than_the_deadline() {
    let world = World::new();
    world.mesh(
        "  - {name: west, addresses: [127.1.0.0/16], caCertificate: ca/west/ca-cert.pem}
  - {name: north, addresses: [127.3.0.0/16]}
",
    );
    let mut settings = world.settings();
    settings.ready_max = std::time::Duration::from_millis(500);
    let running = start(settings).await;
    running.until_ready().await;
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Cluster).await.accept();
    running.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_clients_certificate_does() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let not_after = std::time::SystemTime::now() + std::time::Duration::from_secs(3);
    let subscribe = vec![(Cluster, Subscription::Wildcard)];
    let (_handle, mut incoming) = connect(world.mortal(&running, not_after), subscribe);
    update(&mut incoming, Cluster).await.accept();
    match timeout(PATIENCE, incoming.recv()).await.expect("it goes on").unwrap() {
        Incoming::Disconnected { why } => {
            assert!(why.text().contains("has expired; renew it"), "{why}");
        }
        other => panic!("expected the end, got {other:?}"),
    }
    running.stop().await;
}
