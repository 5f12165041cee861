//! The driver against a small server that says exactly what a test tells it to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod frost;
mod refusals;
mod server;

use std::time::Duration;

use diolkos_xds::ResourceType::{Cluster, Endpoint};
use diolkos_xds_client::{
    Backoff, ClientSettings, Incoming, PING_MS, PONG_MS_MAX, Subscription, Update, connect,
};
use server::{Server, response};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(8);

async fn next(incoming: &mut Receiver<Incoming>) -> Incoming {
    timeout(PATIENCE, incoming.recv()).await.expect("nothing came").expect("the driver ended")
}

async fn update(incoming: &mut Receiver<Incoming>) -> Update {
    match next(incoming).await {
        Incoming::Update(update) => update,
        other => panic!("expected an update, got {other:?}"),
    }
}

async fn connected(incoming: &mut Receiver<Incoming>) {
    loop {
        match next(incoming).await {
            Incoming::Connected => return,
            Incoming::Disconnected { .. } => {}
            Incoming::Update(update) => panic!("update before connected: {update:?}"),
        }
    }
}

fn quick(mut settings: ClientSettings) -> ClientSettings {
    settings.backoff = Backoff {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(50),
        ..Backoff::default()
    };
    settings
}

#[tokio::test]
async fn a_lost_stream_is_taken_up_with_the_versions_that_were_accepted() {
    let mut server = Server::start().await;
    let (_handle, mut incoming) =
        connect(quick(server.settings()), vec![(Cluster, Subscription::Wildcard)]);
    let mut stream = server.stream().await;
    let first = stream.request().await;
    assert_eq!(first.node.unwrap().id, "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local");
    connected(&mut incoming).await;

    stream.send(response(Cluster, "n1", &[("a", "1", "A"), ("b", "1", "B")])).await;
    let first = update(&mut incoming).await;
    assert_eq!(first.upserts[0], ("a".to_owned(), "A".into()));
    first.accept();
    assert_eq!(stream.request().await.response_nonce, "n1");
    stream.send(response(Cluster, "n2", &[("a", "2", "bad")])).await;
    update(&mut incoming).await.reject("a: bad");
    let nack = stream.request().await;
    assert_eq!(nack.error_detail.unwrap().message, "a: bad");

    drop(stream);
    match next(&mut incoming).await {
        Incoming::Disconnected { .. } => {}
        other => panic!("expected the end of the stream, got {other:?}"),
    }
    let mut stream = server.stream().await;
    let again = stream.request().await;
    assert_eq!(again.initial_resource_versions.len(), 2);
    assert_eq!(again.initial_resource_versions["b"], "1");
    assert_eq!(
        again.initial_resource_versions["a"], "",
        "of what was refused good parts may be used"
    );
    assert!(again.node.is_some());
    connected(&mut incoming).await;
}

#[tokio::test]
async fn one_update_is_out_at_a_time_and_subscriptions_go_out_meanwhile() {
    let mut server = Server::start().await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let subscribe = vec![(Endpoint, Subscription::Names(names(&["a"])))];
    let (handle, mut incoming) = connect(quick(server.settings()), subscribe);
    let mut stream = server.stream().await;
    stream.request().await;
    connected(&mut incoming).await;
    stream.send(response(Endpoint, "n1", &[("a", "1", "A")])).await;
    stream.send(response(Endpoint, "n2", &[("a", "2", "A2")])).await;
    let held = update(&mut incoming).await;

    handle.subscribe(Endpoint, names(&["b"]));
    assert_eq!(stream.request().await.resource_names_subscribe, ["b"]);
    handle.unsubscribe(Endpoint, names(&["b"]));
    assert_eq!(stream.request().await.resource_names_unsubscribe, ["b"]);
    assert!(incoming.try_recv().is_err(), "the second waits for the first's verdict");
    drop(held);
    assert_eq!(stream.request().await.response_nonce, "n1", "dropping accepts");
    assert_eq!(update(&mut incoming).await.upserts[0].1, "A2");
}

#[tokio::test]
async fn wishes_made_while_the_primary_is_away_are_in_the_first_request() {
    let mut server = Server::start().await;
    let (handle, mut incoming) = connect(quick(server.settings()), vec![]);
    handle.subscribe(Endpoint, vec!["a".into(), "b".into()]);
    handle.unsubscribe(Endpoint, vec!["b".into()]);
    let mut stream = server.stream().await;
    let first = stream.request().await;
    assert_eq!(first.resource_names_subscribe, ["a"]);
    connected(&mut incoming).await;
}

#[tokio::test]
async fn dropping_the_handle_or_the_receiver_ends_the_stream() {
    let mut server = Server::start().await;
    let subscribe = || vec![(Cluster, Subscription::Wildcard)];
    let (handle, mut incoming) = connect(quick(server.settings()), subscribe());
    let mut stream = server.stream().await;
    stream.request().await;
    connected(&mut incoming).await;
    drop(handle);
    stream.ended().await;
    assert!(timeout(PATIENCE, incoming.recv()).await.unwrap().is_none());

    let (_handle, incoming) = connect(quick(server.settings()), subscribe());
    drop(incoming);
    let mut stream = server.stream().await;
    stream.request().await;
    stream.ended().await;
}

#[tokio::test]
async fn it_dials_from_the_source_address_it_was_given() {
    let mut server = Server::start().await;
    let mut settings = quick(server.settings());
    settings.source = Some("127.0.0.77".parse().unwrap());
    let (_handle, _incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let stream = server.stream().await;
    assert_eq!(stream.peer.ip().to_string(), "127.0.0.77");
}

/// Where `localhost` is both, nobody answers at the one that is tried first.
#[tokio::test]
async fn a_primary_by_name_is_dialled_at_each_of_its_addresses() {
    let mut server = Server::start().await;
    let mut settings = quick(server.settings());
    settings.place.host = "localhost".into();
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let _stream = server.stream().await;
    connected(&mut incoming).await;
}

#[tokio::test]
async fn a_peer_that_fell_silent_is_noticed_by_pings() {
    let mut server = Server::start().await;
    let mut settings = quick(server.settings());
    let frost = frost::Frost::before(settings.place.to_string().parse().unwrap()).await;
    settings.place = frost.address.into();
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let _stream = server.stream().await;
    connected(&mut incoming).await;
    let begin = std::time::Instant::now();
    frost.fall();
    let limit = Duration::from_millis(PING_MS + PONG_MS_MAX) + Duration::from_secs(1);
    match timeout(limit, incoming.recv()).await.expect("not noticed").unwrap() {
        Incoming::Disconnected { .. } => {}
        other => panic!("expected the end of the stream, got {other:?}"),
    }
    assert!(begin.elapsed() >= Duration::from_millis(PONG_MS_MAX), "it had time to answer");
}
