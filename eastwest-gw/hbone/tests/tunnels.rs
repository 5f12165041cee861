//! What goes through a tunnel, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diolkos_hbone::{Direction, End, Limits, Outer, Refused, TunnelError};
use diolkos_tls::{Expect, server_config, server_name};
use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use world::*;

#[tokio::test]
async fn bytes_pass_both_ways_as_they_are_and_a_half_close_leaves_the_other_half_open() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    assert_eq!(outer.peer().id.to_string(), GATEWAY);
    let mut tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    tunnel.write_all(b"first").await.unwrap();
    expect_echo(&mut tunnel, b"first").await;
    // The target answers to the end only after ours.
    tunnel.write_all(b"last").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    in_time(tunnel.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last");
    world.ended(End::Finished, 1).await;
}

#[tokio::test]
async fn more_than_every_window_passes_at_once_in_both_directions_of_many_tunnels() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    let through = |seed: u64| {
        let outer = outer.clone();
        async move {
            let tunnel = outer.open(CATALOG).await.unwrap();
            let (mut from, mut to) = tokio::io::split(tunnel);
            let bytes = pattern(seed, 3 << 20);
            let sent = bytes.clone();
            let sending = tokio::spawn(async move {
                to.write_all(&sent).await.unwrap();
                to.shutdown().await.unwrap();
                to
            });
            let mut back = Vec::new();
            from.read_to_end(&mut back).await.unwrap();
            assert!(back == bytes, "other bytes came back");
            sending.await.unwrap();
        }
    };
    let all: Vec<_> = (1..=4).map(|seed| tokio::spawn(through(seed))).collect();
    for one in all {
        in_time(one).await.unwrap();
    }
    world.ended(End::Finished, 4).await;
}

/// A target that reads nothing must stop its client, and no other.
#[tokio::test]
async fn a_slow_target_holds_up_its_own_tunnel_and_no_other() {
    holds_up_no_other(16 * 1024).await;
}

/// Of frames that are not read HTTP/2 counts how small they are, for the whole connection.
#[tokio::test]
async fn small_messages_to_a_target_that_reads_nothing_end_no_other_tunnel() {
    holds_up_no_other(20).await;
}

async fn holds_up_no_other(message_bytes: usize) {
    let world = World::start().await;
    let stuck = Target::start(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let target = Target::echo().await;
    world.route("stuck.shop.svc.cluster.local:80", &[stuck.address]);
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    let sent = Arc::new(AtomicU64::new(0));
    let mut filling = JoinSet::new();
    for _ in 0..STUCK {
        let mut slow = in_time(outer.open("stuck.shop.svc.cluster.local:80")).await.unwrap();
        let sent = Arc::clone(&sent);
        filling.spawn(async move {
            let message = pattern(7, message_bytes);
            while slow.write_all(&message).await.is_ok() {
                sent.fetch_add(message.len() as u64, Ordering::Relaxed);
            }
        });
    }
    let waits = || {
        let passed = world.metrics.passed(Direction::ToTarget);
        sent.load(Ordering::Relaxed).saturating_sub(passed) >= WAITING_BYTES
    };
    until(waits, "their windows are full").await;
    let mut tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    for turn in 0..50 {
        let bytes = pattern(turn, 10_000);
        tunnel.write_all(&bytes).await.unwrap();
        expect_echo(&mut tunnel, &bytes).await;
    }
    assert!(filling.try_join_next().is_none(), "a stuck tunnel was ended");
}

const STUCK: usize = 2;

/// Nearly all of their windows.
const WAITING_BYTES: u64 = STUCK as u64 * 1_000_000;

#[tokio::test]
async fn a_target_that_breaks_off_breaks_off_the_stream() {
    let world = World::start().await;
    let target = Target::start(|mut stream| async move {
        let mut one = [0];
        stream.read_exact(&mut one).await.unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    world.route(CATALOG, &[target.address]);
    let mut tunnel = in_time(world.outer().await.open(CATALOG)).await.unwrap();
    tunnel.write_all(b"x").await.unwrap();
    let end = in_time(tunnel.read(&mut [0])).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    world.ended(End::TargetFault, 1).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_off_the_target() {
    for whole_connection in [false, true] {
        let world = World::start().await;
        let (seen, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (reset, open) = (Arc::clone(&seen), Arc::clone(&told));
        let target = Target::start(move |mut stream| {
            let (reset, open) = (Arc::clone(&reset), Arc::clone(&open));
            async move {
                let mut one = [0];
                stream.read_exact(&mut one).await.unwrap();
                open.notify_one();
                let end = stream.read(&mut one).await;
                assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
                reset.notify_one();
            }
        })
        .await;
        world.route(CATALOG, &[target.address]);
        if whole_connection {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.enable_all().worker_threads(1).build().unwrap();
            let (address, caller) = (world.address, world.mesh.identity(&account("web")));
            runtime.spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let expect = Expect::Ids(vec![id(GATEWAY)]);
                let outer = Outer::connect(stream, &caller.0, &caller.1, expect).await.unwrap();
                let mut tunnel = outer.open(CATALOG).await.unwrap();
                tunnel.write_all(b"x").await.unwrap();
                std::future::pending::<()>().await;
            });
            in_time(told.notified()).await;
            // Its socket goes with it, without a GOAWAY.
            runtime.shutdown_background();
        } else {
            let mut tunnel = in_time(world.outer().await.open(CATALOG)).await.unwrap();
            tunnel.write_all(b"x").await.unwrap();
            in_time(told.notified()).await;
            tunnel.reset();
        }
        in_time(seen.notified()).await;
        world.ended(End::ClientFault, 1).await;
    }
}

#[tokio::test]
async fn what_gets_no_tunnel_is_told_why() {
    let world = World::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    world.route("gone.shop.svc.cluster.local:80", &[gone]);
    world.route("empty.shop.svc.cluster.local:80", &[]);
    let outer = world.outer().await;
    for (authority, status, why) in [
        ("gone.shop.svc.cluster.local:80", 503, "no endpoint could be connected to"),
        ("empty.shop.svc.cluster.local:80", 503, "the service has no endpoint here"),
        ("other.shop.svc.cluster.local:80", 404, "no such service is exported"),
        ("gone.shop.svc.cluster.local:81", 404, "no such service is exported"),
    ] {
        let refused = in_time(outer.open(authority)).await.unwrap_err();
        let TunnelError::Refused { status: found, why: said } = &refused else {
            panic!("{authority}: {refused}");
        };
        assert_eq!(found.as_u16(), status, "{authority}");
        assert!(said.starts_with(why), "{authority}: {said}");
    }
    world.ended(End::NoTarget, 1).await;
    world.refused(Refused::NoEndpoints, 1).await;
    world.refused(Refused::UnknownService, 2).await;
}

#[tokio::test]
async fn the_next_target_is_tried_when_one_is_dead() {
    let world = World::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let target = Target::echo().await;
    world.route(CATALOG, &[gone, target.address]);
    let mut tunnel = in_time(world.outer().await.open(CATALOG)).await.unwrap();
    tunnel.write_all(b"hello").await.unwrap();
    expect_echo(&mut tunnel, b"hello").await;
    assert_eq!(world.metrics.dial_failures.get(), 1);
}

/// Client, gateway, workload: the outer tunnel ends at the gateway, the inner one at the workload,
/// which sees the caller itself; the gateway sees neither the inner names nor the bytes.
#[tokio::test]
async fn double_hbone_reaches_a_workload_that_sees_the_caller() {
    let gateway = World::start().await;
    let target = Target::echo().await;
    let workload = World::start_as(&gateway.mesh, &account("catalog")).await;
    workload.route_for(CATALOG, &[target.address], &[&account("web")]);
    gateway.route(CATALOG, &[workload.address]);
    let (identity, roots) = gateway.mesh.identity(&account("web"));
    let outer = gateway.outer_as(&identity, &roots, GATEWAY).await.unwrap();
    let tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    let expect = Expect::Ids(vec![id(&account("catalog"))]);
    let inner = in_time(Outer::connect(tunnel, &identity, &roots, expect)).await.unwrap();
    let mut tunnel = in_time(inner.open(CATALOG)).await.unwrap();
    let bytes = pattern(3, 500_000);
    let (mut from, mut to) = tokio::io::split(&mut tunnel);
    let (sent, ()) =
        in_time(async { tokio::join!(to.write_all(&bytes), expect_echo(&mut from, &bytes)) }).await;
    sent.unwrap();
    // Another account gets to the workload as well, and is refused there, by the workload.
    let (identity, roots) = gateway.mesh.identity(&account("other"));
    let outer = gateway.outer_as(&identity, &roots, GATEWAY).await.unwrap();
    let tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    let expect = Expect::Ids(vec![id(&account("catalog"))]);
    let inner = in_time(Outer::connect(tunnel, &identity, &roots, expect)).await.unwrap();
    let refused = in_time(inner.open(CATALOG)).await.unwrap_err();
    assert!(matches!(refused, TunnelError::Refused { status: StatusCode::NOT_FOUND, .. }));
}

/// What a sidecar speaks on 15443, it may speak through a tunnel.
#[tokio::test]
async fn mutual_tls_inside_a_tunnel_is_between_its_ends() {
    let world = World::start().await;
    let (identity, roots) = world.mesh.identity(&account("catalog"));
    let expect = Expect::Ids(vec![id(&account("web"))]);
    let acceptor = TlsAcceptor::from(server_config(&identity, &roots, expect, &["istio"]));
    let target = Target::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.write_all(b"it is you").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    world.route(CATALOG, &[target.address]);
    let (identity, roots) = world.mesh.identity(&account("web"));
    let outer = world.outer_as(&identity, &roots, GATEWAY).await.unwrap();
    let tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    let expect = Expect::Ids(vec![id(&account("catalog"))]);
    let config = diolkos_tls::client_config(&identity, &roots, expect, &["istio"]);
    let name = server_name("outbound_.8080_._.catalog.shop.svc.cluster.local").unwrap();
    let mut stream = in_time(TlsConnector::from(config).connect(name, tunnel)).await.unwrap();
    let mut said = String::new();
    in_time(stream.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "it is you");
}

#[tokio::test]
async fn a_tunnel_in_which_nobody_speaks_is_closed_in_order() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let mut tunnel = in_time(world.outer().await.open(CATALOG)).await.unwrap();
    assert_eq!(in_time(tunnel.read(&mut [0])).await.unwrap(), 0, "an end, no reset");
    world.ended(End::Idle, 1).await;
}

#[tokio::test]
async fn a_connection_without_tunnels_is_asked_to_go() {
    let limits = Limits { idle_connection: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    let mut tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    tunnel.write_all(b"hello").await.unwrap();
    expect_echo(&mut tunnel, b"hello").await;
    assert_eq!(world.metrics.connections.get(), 1, "a tunnel keeps it");
    drop(tunnel);
    in_time(outer.closed()).await;
    until(|| world.metrics.connections.get() == 0, "the connection goes").await;
}

/// R16, for tunnels: those there are live on, new ones go elsewhere, and the end is an end.
#[tokio::test]
async fn r16_a_drain_says_goaway_keeps_tunnels_for_their_time_and_ends_them_in_order() {
    let world = World::with(Limits::default(), Duration::from_secs(2)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    let mut tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    world.trigger.fire();
    in_time(outer.closed()).await;
    assert!(matches!(in_time(outer.open(CATALOG)).await, Err(TunnelError::Broken(_))));
    let late = TcpStream::connect(world.address).await;
    assert!(late.is_err(), "it listens no more");
    tunnel.write_all(b"still here").await.unwrap();
    expect_echo(&mut tunnel, b"still here").await;
    assert_eq!(in_time(tunnel.read(&mut [0])).await.unwrap(), 0, "an end, no reset");
    in_time(world.ended).await.unwrap();
    assert_eq!(world.metrics.ends(End::Drained), 1);
    assert_eq!(world.metrics.connections.get(), 0);
}
