//! R22: a client that does not read holds up nobody, and is cut in the end.

use std::time::Duration;

use diolkos_xds::ResourceType::{Cluster, Endpoint};
use diolkos_xds_client::{Subscription, connect};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::raw;
use crate::world::{World, cluster_name, start, until, update};

#[tokio::test]
async fn r22_a_client_that_does_not_read_is_cut_and_others_are_served_meanwhile() {
    let world = World::new();
    let mut settings = world.settings();
    settings.stall_max = Duration::from_millis(1_500);
    let running = start(settings).await;
    running.until_ready().await;

    let slow = world.sidecar(&running, "west");
    let first = DeltaDiscoveryRequest {
        node: Some(raw::node(&slow)),
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    let _never_read = raw::delta(&slow, 16, first).await.unwrap();
    until("the slow one is open", async || running.metric("diolkos_xds_streams").await == 1.0)
        .await;

    let subscribe = vec![(Endpoint, Subscription::Names(vec![cluster_name("west-shop")]))];
    let (_handle, mut incoming) = connect(world.sidecar(&running, "west"), subscribe);
    update(&mut incoming, Endpoint).await.accept();
    for last in 3..6 {
        world.service("west", "west-shop", &[1, last]);
        update(&mut incoming, Endpoint).await.accept();
    }
    until("the slow one is cut", async || {
        running.metric("diolkos_xds_stalled_total").await == 1.0
            && running.metric("diolkos_xds_streams").await == 1.0
    })
    .await;
    world.service("west", "west-shop", &[1]);
    update(&mut incoming, Endpoint).await.accept();
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_opens_more_streams_than_a_connection_may_have_waits() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let settings = world.sidecar(&running, "west");
    let mut client = raw::connection(&settings, raw::WINDOW).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..diolkos_primary::limit::STREAMS_PER_CONNECTION_MAX {
        let (requests, outgoing) = tokio::sync::mpsc::channel(4);
        let first = DeltaDiscoveryRequest {
            node: Some(raw::node(&settings)),
            type_url: Cluster.url().into(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(first).await.unwrap();
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        open.push((client.delta_aggregated_resources(outgoing).await.unwrap(), requests));
    }
    let most = f64::from(diolkos_primary::limit::STREAMS_PER_CONNECTION_MAX);
    tokio::select! {
        _ = client.delta_aggregated_resources(tokio_stream::pending()) => panic!("one too many"),
        () = until("the others are open", async || {
            running.metric("diolkos_xds_streams").await == most
        }) => {}
    }
    drop((open, client));
    until("all are closed", async || running.metric("diolkos_xds_streams").await == 0.0).await;
    running.stop().await;
}

/// The witness of the fast path: a stream has no task of its own beside its connection's.
#[test]
fn a_stream_runs_in_the_task_of_its_connection() {
    let own = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::new();
    let running = own.block_on(world.start());
    let tasks = || own.metrics().num_alive_tasks();
    clients.block_on(async {
        running.until_ready().await;
        let settings = world.sidecar(&running, "west");
        let mut client = raw::connection(&settings, raw::WINDOW).await.unwrap();
        until("the connection is known, admin pages are answered", async || {
            running.metric("diolkos_xds_connections").await == 1.0
        })
        .await;
        let mut quiet = tasks();
        until("admin tasks are over", async || {
            let before = std::mem::replace(&mut quiet, tasks());
            before == quiet
        })
        .await;
        let mut open = Vec::new();
        for _ in 0..diolkos_primary::limit::STREAMS_PER_CONNECTION_MAX {
            let (requests, outgoing) = tokio::sync::mpsc::channel(4);
            let first = DeltaDiscoveryRequest {
                node: Some(raw::node(&settings)),
                type_url: Cluster.url().into(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(first).await.unwrap();
            let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
            let mut responses =
                client.delta_aggregated_resources(outgoing).await.unwrap().into_inner();
            responses.message().await.unwrap();
            open.push((responses, requests));
        }
        assert!(tasks() <= quiet, "{} tasks, {quiet} before the streams", tasks());
    });
    own.block_on(running.stop());
}
