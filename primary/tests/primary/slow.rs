//! R22: a client that does not read holds up nobody, and is cut in the end.

use std::time::Duration;

use diolkos_xds::ResourceType::{Cluster, Endpoint};
use diolkos_xds_client::{ClientSettings, Subscription, connect};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};

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

/// On a busy machine a storm is longer than a handshake may take: who is late comes again.
async fn patiently(
    settings: &ClientSettings,
    first: &DeltaDiscoveryRequest,
) -> raw::Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
    for _ in 0..20 {
        if let Ok(stream) = raw::delta(settings, raw::WINDOW, first.clone()).await {
            return stream;
        }
    }
    panic!("no stream after many attempts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_storm_of_clients_shares_one_audience_and_each_gets_the_next_change() {
    const CLIENTS: usize = 200;
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let name = cluster_name("west-shop");
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (settings, name) = (world.sidecar(&running, "west"), name.clone());
        opening.spawn(async move {
            let first = DeltaDiscoveryRequest {
                node: Some(raw::node(&settings)),
                type_url: Endpoint.url().into(),
                resource_names_subscribe: vec![name],
                ..DeltaDiscoveryRequest::default()
            };
            let mut stream = patiently(&settings, &first).await;
            let response = stream.next().await.unwrap();
            let ack = DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..DeltaDiscoveryRequest::default()
            };
            stream.requests.send(ack).await.unwrap();
            stream
        });
    }
    let mut streams = opening.join_all().await;
    until("all have answered", async || {
        let debug = running.debug().await;
        let answered = |stream: &&serde_json::Value| stream["types"][1]["acks"] == 1;
        debug["streams"].as_array().unwrap().iter().filter(answered).count() == CLIENTS
    })
    .await;
    let debug = running.debug().await;
    assert_eq!(debug["audiences"].as_array().unwrap().len(), 1);
    assert_eq!(debug["audiences"][0]["streams"], CLIENTS);
    assert_eq!(debug["scopes"], 1);

    world.service("west", "west-shop", &[1, 2, 3]);
    for stream in &mut streams {
        let change = stream.next().await.unwrap();
        assert_eq!(change.resources.len(), 1);
    }
    drop(streams);
    until("all are closed", async || running.metric("diolkos_xds_streams").await == 0.0).await;
    running.stop().await;
}

#[tokio::test]
async fn a12_a_request_of_more_than_the_limit_ends_its_stream_and_no_other() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let settings = world.sidecar(&running, "west");
    let of_bytes = |bytes: usize| DeltaDiscoveryRequest {
        node: Some(raw::node(&settings)),
        type_url: Cluster.url().into(),
        resource_names_unsubscribe: vec!["x".repeat(bytes)],
        ..DeltaDiscoveryRequest::default()
    };
    let max = diolkos_primary::limit::REQUEST_BYTES_MAX;
    let mut honest = raw::delta(&settings, raw::WINDOW, of_bytes(1)).await.unwrap();
    honest.next().await.unwrap();
    // The rest of the message is some hundred bytes.
    let too_large = raw::delta(&settings, raw::WINDOW, of_bytes(max)).await;
    let status = too_large.err().expect("was taken");
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{}", status.message());

    world.service("west", "new-shop", &[5]);
    let ack = DeltaDiscoveryRequest {
        type_url: Cluster.url().into(),
        response_nonce: "1".into(),
        ..DeltaDiscoveryRequest::default()
    };
    honest.requests.send(ack).await.unwrap();
    let change = honest.next().await.unwrap();
    assert_eq!(change.resources[0].name, cluster_name("new-shop"));
    running.stop().await;
}
