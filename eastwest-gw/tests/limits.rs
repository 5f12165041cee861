//! How much of a gateway one may take, and what is there for the others then.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::ErrorKind::ConnectionReset;
use std::time::Duration;

use diolkos_eastwest_gw::{End, Limits};
use diolkos_route::Refusal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use world::hellos::named;
use world::*;

const OTHER: &str = "outbound_.443_._.ledger.payments.svc.cluster.local";
const UNKNOWN: &str = "outbound_.443_._.nobody.payments.svc.cluster.local";

async fn world(limits: Limits) -> (World, Target) {
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    world.route(OTHER, &[target.address]);
    (world, target)
}

async fn served(world: &World, name: &str) -> TcpStream {
    let mut client = world.connect().await;
    client.write_all(&named(name.as_bytes())).await.unwrap();
    expect_echo(&mut client, &named(name.as_bytes())).await;
    client
}

#[tokio::test]
async fn a7_as_many_connections_as_the_limit_live_and_one_more_is_reset() {
    let (world, _target) = world(Limits { connections_max: 3, ..Limits::default() }).await;
    let mut live = vec![];
    for name in [ISTIO_NAME, OTHER, ISTIO_NAME] {
        live.push(served(&world, name).await);
    }
    assert_eq!(world.fault_from("127.0.2.1").await, Some(ConnectionReset));
    assert_eq!(world.ends(End::ConnectionsFull), 1);
    live.pop();
    world.ended(End::Finished, 1).await;
    served(&world, OTHER).await;
}

#[tokio::test]
async fn a7_a_name_has_its_share_and_the_others_have_theirs() {
    let (world, target) = world(Limits { connections_per_route_max: 2, ..Limits::default() }).await;
    let mut live = vec![served(&world, ISTIO_NAME).await, served(&world, ISTIO_NAME).await];
    // Other targets do not make it another name.
    world.route(ISTIO_NAME, &[target.address, dead_address().await]);
    let mut one_more = world.connect().await;
    one_more.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut one_more).await.0, b"");
    assert_eq!((world.ends(End::RouteFull), target.accepted()), (1, 2));
    served(&world, OTHER).await;
    live.pop();
    world.ended(End::Finished, 2).await;
    served(&world, ISTIO_NAME).await;
}

async fn asks_for_nobody(world: &World, source: &str) {
    let mut client = world.connect_from(source).await;
    client.write_all(&named(UNKNOWN.as_bytes())).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
}

#[tokio::test]
async fn a5_a_source_that_asks_for_too_many_unknown_names_is_reset_until_it_calms_down() {
    let limits = Limits { unknown_names_per_minute_max: 60, ..Limits::default() };
    let (world, target) = world(limits).await;
    for _ in 0..60 {
        asks_for_nobody(&world, "127.0.4.1").await;
    }
    assert_eq!(world.ends(End::Refused(Refusal::UnknownName)), 60);
    assert_eq!(world.fault_from("127.0.4.1").await, Some(ConnectionReset));
    assert_eq!((world.ends(End::SourceShutOut), target.accepted()), (1, 0));
    served(&world, ISTIO_NAME).await;
    // One in a second is forgiven, at 60 a minute.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Ok(mut client) = world.try_from("127.0.4.1").await
            && client.write_all(&hello()).await.is_ok()
            && is_answered(&mut client).await
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is never forgiven");
    }
}

/// Whether anything was said, and not only an end.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut first = [0];
    matches!(tokio::io::AsyncReadExt::read(stream, &mut first).await, Ok(1))
}

#[tokio::test]
async fn a5_names_that_are_there_never_shut_their_source_out() {
    let limits = Limits { unknown_names_per_minute_max: 1, ..Limits::default() };
    let (world, _target) = world(limits).await;
    for _ in 0..50 {
        served(&world, ISTIO_NAME).await;
    }
    assert_eq!(world.ends(End::SourceShutOut), 0);
}
