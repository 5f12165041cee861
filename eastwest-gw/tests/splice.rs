//! What gets through: every byte as it was, each direction for itself, to a target that lives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use diolkos_eastwest_gw::{End, Limits};
use diolkos_xds::ResourceType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use world::hellos::*;
use world::*;

#[tokio::test]
async fn a6_a_fragmented_hello_and_8_mib_each_way_arrive_byte_for_byte() {
    const BYTES: usize = 8 * 1024 * 1024;
    let (heard, hears) = oneshot::channel();
    let heard = Arc::new(Mutex::new(Some(heard)));
    let target = Target::start(move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            let source = stream.peer_addr().unwrap().ip();
            let (mut read, mut write) = stream.split();
            let mut all = Vec::new();
            let answer = pattern(2, BYTES);
            let (sent, _) = tokio::join!(write.write_all(&answer), read.read_to_end(&mut all));
            sent.unwrap();
            let _ = heard.lock().await.take().unwrap().send((source, all));
        }
    })
    .await;
    let world = World::start().await;
    world.route(ISTIO_NAME, &[target.address]);
    let said = [records(&post_quantum(ISTIO_NAME.as_bytes()), 1), pattern(1, BYTES)].concat();
    let client = world.connect().await;
    let (mut read, mut write) = client.into_split();
    let saying = said.clone();
    let writes = tokio::spawn(async move {
        let (hello, rest) = saying.split_at(8_000);
        for piece in hello.chunks(701) {
            write.write_all(piece).await.unwrap();
            write.as_ref().writable().await.unwrap();
        }
        write.write_all(rest).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut answer = Vec::new();
    timeout(PATIENCE, read.read_to_end(&mut answer)).await.unwrap().unwrap();
    writes.await.unwrap();
    assert!(answer == pattern(2, BYTES), "the target's bytes are the client's");
    let (source, heard) = hears.await.unwrap();
    assert!(heard == said, "the client's bytes are the target's, the hello included");
    assert_eq!(source.to_string(), "127.0.0.77", "targets are dialed from the address set");
    world.ended(End::Finished, 1).await;
    let text = world.gateway.metrics().registry().text();
    for (direction, bytes) in [("to_target", said.len()), ("to_client", BYTES)] {
        let line = format!("diolkos_gateway_bytes_total{{direction=\"{direction}\"}} {bytes}");
        assert!(text.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_is_done_speaking_still_hears() {
    let target = Target::start(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let world = World::start().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    shut_down_write(&client);
    assert_eq!(read_to_end(&mut client).await, (hello(), None));
    world.ended(End::Finished, 1).await;
}

#[tokio::test]
async fn a_target_that_is_done_speaking_still_hears() {
    let (heard, hears) = oneshot::channel();
    let heard = Arc::new(Mutex::new(Some(heard)));
    let target = Target::start(move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            stream.write_all(b"done").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            let _ = heard.lock().await.take().unwrap().send(all);
        }
    })
    .await;
    let world = World::start().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (b"done".to_vec(), None));
    client.write_all(b"and more").await.unwrap();
    drop(client);
    assert_eq!(hears.await.unwrap(), [&hello()[..], b"and more"].concat());
    world.ended(End::Finished, 1).await;
}

#[tokio::test]
async fn r17_a_dead_target_is_passed_over_for_the_next() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[dead_address().await, dead_address().await, target.address]);
    for _ in 0..10 {
        let mut client = world.connect().await;
        client.write_all(&hello()).await.unwrap();
        expect_echo(&mut client, &hello()).await;
    }
    assert_eq!(world.gateway.metrics().dial_failures.get(), 20);
}

#[tokio::test]
async fn r17_a_target_that_says_nothing_at_all_is_passed_over_in_its_time() {
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    // Whoever connects to a full queue hears nothing.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&"127.0.0.2:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let _queued = std::net::TcpStream::connect(address).unwrap();
    world.route(ISTIO_NAME, &[address, target.address]);
    let began = tokio::time::Instant::now();
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
    assert!(began.elapsed() >= limits.connect, "{:?}", began.elapsed());
    assert_eq!(world.gateway.metrics().dial_failures.get(), 1);
}

#[tokio::test]
async fn at_most_three_targets_are_tried() {
    let world = World::start().await;
    let target = Target::echo().await;
    let dead = [dead_address().await, dead_address().await, dead_address().await];
    world.route(ISTIO_NAME, &[&dead[..], &[target.address]].concat());
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    world.ended(End::NoTarget, 1).await;
    assert_eq!((target.accepted(), world.gateway.metrics().dial_failures.get()), (0, 3));
}

#[tokio::test]
async fn a_removed_route_refuses_new_connections_and_leaves_live_ones_alone() {
    let world = World::start().await;
    let target = Target::echo().await;
    let other = "outbound_.443_._.ledger.payments.svc.cluster.local";
    world.route(ISTIO_NAME, &[target.address]);
    world.route(other, &[target.address]);
    let mut live = world.connect().await;
    live.write_all(&hello()).await.unwrap();
    expect_echo(&mut live, &hello()).await;

    world.apply(ResourceType::Cluster, &[], &[ISTIO_NAME]);

    let mut refused = world.connect().await;
    refused.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut refused).await.0, b"");
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    let mut beside = world.connect().await;
    beside.write_all(&named(other.as_bytes())).await.unwrap();
    expect_echo(&mut beside, &named(other.as_bytes())).await;
}

#[tokio::test]
async fn silence_for_the_idle_time_ends_a_connection_and_bytes_renew_it() {
    let limits = Limits { idle: Duration::from_millis(400), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
    let began = tokio::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..8 {
        tick.tick().await;
        client.write_all(b"x").await.unwrap();
        expect_echo(&mut client, b"x").await;
    }
    assert_eq!(read_to_end(&mut client).await, (vec![], None));
    assert!(began.elapsed() >= Duration::from_millis(700 + 400));
    world.ended(End::Idle, 1).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_does_not_look_done_to_the_target() {
    let (closed, sees) = oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let target = Target::start(move |mut stream| {
        let closed = Arc::clone(&closed);
        async move {
            stream.write_all(b"hello").await.unwrap();
            let mut all = Vec::new();
            let end = stream.read_to_end(&mut all).await.map_err(|error| error.kind());
            let _ = closed.lock().await.take().unwrap().send(end);
        }
    })
    .await;
    let world = World::start().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, b"hello").await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let seen = timeout(PATIENCE, sees).await.expect("the target is told").unwrap();
    assert_eq!(seen, Err(std::io::ErrorKind::ConnectionReset));
    world.ended(End::ClientFault, 1).await;
}
