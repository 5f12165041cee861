//! The end of a gateway, as its connections see it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use diolkos_eastwest_gw::{End, Gateway, Limits};
use diolkos_ops::{Shutdown, listen};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use world::*;

const DRAIN: Duration = Duration::from_millis(1500);

async fn draining() -> (World, TcpStream) {
    let world = World::with(Limits::default(), DRAIN).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    until(|| world.gateway.ready().is_ok(), "the gateway is ready").await;
    let mut live = world.connect().await;
    live.write_all(&hello()).await.unwrap();
    expect_echo(&mut live, &hello()).await;
    world.trigger.fire();
    (world, live)
}

#[tokio::test]
async fn r16_a_live_connection_lives_for_the_drain_time_and_is_closed_with_fin() {
    let (world, mut live) = draining().await;
    let began = Instant::now();
    let drained = tokio::spawn({
        let gateway = world.gateway.clone();
        async move { gateway.drained().await }
    });
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    assert_eq!(read_to_end(&mut live).await, (vec![], None), "FIN, not RST");
    assert!(began.elapsed() >= DRAIN, "{:?}", began.elapsed());
    drop(live);
    drained.await.unwrap();
    assert!(began.elapsed() < DRAIN + Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(world.ends(End::Drained), 1);
}

#[tokio::test]
async fn r16_new_connections_stop_at_once_and_readiness_is_gone() {
    let (world, _live) = draining().await;
    assert_eq!(world.gateway.ready(), Err("draining"));
    let deadline = Instant::now() + PATIENCE;
    while let Ok(mut accepted) = TcpStream::connect(world.address).await {
        // Between the signal and the closing of the socket the kernel still accepts.
        let _ = read_to_end(&mut accepted).await;
        assert!(Instant::now() < deadline, "it still listens");
    }
}

#[tokio::test]
async fn r16_who_is_in_the_queue_when_the_end_begins_is_still_served() {
    let (trigger, shutdown) = Shutdown::new();
    let gateway = Gateway::new(Limits::default(), None, DRAIN, shutdown).unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let world = World { address: listener.local_addr().unwrap(), gateway: gateway.into(), trigger };
    let target = Target::echo().await;
    world.listener();
    world.route(ISTIO_NAME, &[target.address]);
    let queued = (world.connect().await, world.connect().await);
    world.trigger.fire();
    // Nobody accepted anything until now.
    world.gateway.serve(listener).await;
    for mut client in [queued.0, queued.1] {
        client.write_all(&hello()).await.unwrap();
        expect_echo(&mut client, &hello()).await;
    }
    assert!(TcpStream::connect(world.address).await.is_err(), "it no longer listens");
}

#[tokio::test]
async fn r16_a_gateway_without_connections_ends_at_once() {
    let (world, live) = draining().await;
    drop(live);
    timeout(DRAIN, world.gateway.drained()).await.expect("nothing to wait for");
}

#[tokio::test]
async fn r16_a_client_that_does_not_answer_the_fin_does_not_hold_up_the_exit() {
    let (world, live) = draining().await;
    let began = Instant::now();
    // Neither reads nor closes: the gateway's FIN stays unanswered.
    world.gateway.drained().await;
    assert!(began.elapsed() < DRAIN + Duration::from_secs(5), "{:?}", began.elapsed());
    drop(live);
}

/// A gateway ends while others connect as fast as they can. How many it served; all that were there.
async fn ends_under_load() -> u64 {
    let world = Arc::new(World::with(Limits::default(), DRAIN).await);
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        clients.spawn(async move {
            let mut served = 0;
            while let Ok(mut client) = TcpStream::connect(world.address).await {
                client.write_all(&hello()).await.expect("who is connected is not reset");
                expect_echo(&mut client, &hello()).await;
                served += 1;
            }
            served
        });
    }
    until(|| world.gateway.metrics().accepted.get() > 100, "it serves").await;
    world.trigger.fire();
    let served = clients.join_all().await.into_iter().sum();
    assert_eq!(world.gateway.metrics().accepted.get(), served);
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_restarts_under_load_lose_nobody_who_is_connected() {
    let mut restarts = JoinSet::new();
    (0..10).for_each(|_| drop(restarts.spawn(ends_under_load())));
    for served in restarts.join_all().await {
        assert!(served > 100);
    }
}
