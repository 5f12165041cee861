//! What must not get through: closed without a byte, and without a dial.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use diolkos_eastwest_gw::limit::{LONG_HELLO_BYTES, LONG_HELLO_SHARE};
use diolkos_eastwest_gw::{End, Limits};
use diolkos_route::Refusal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};
use world::hellos::*;
use world::*;

/// Closed, with FIN or RST, and never a byte.
async fn expect_closed(stream: &mut TcpStream) {
    let (bytes, _) = read_to_end(stream).await;
    assert!(bytes.is_empty(), "not a byte is said to someone refused");
}

async fn refused(cases: Vec<(&str, Vec<u8>, Refusal)>) {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    for (name, bytes, refusal) in cases {
        let before = world.ends(End::Refused(refusal));
        let mut client = world.connect().await;
        client.write_all(&bytes).await.unwrap();
        expect_closed(&mut client).await;
        assert_eq!(world.ends(End::Refused(refusal)), before + 1, "{name}");
    }
    assert_eq!(target.accepted(), 0);
}

#[tokio::test]
async fn a5_a_name_that_is_no_route_is_closed_without_a_dial() {
    use Refusal::*;
    let hello = |extensions: &[Extension]| records(&message(extensions), 16384);
    let name = || sni(&[ISTIO_NAME.as_bytes()]);
    refused(vec![
        ("unknown", named(b"outbound_.8080_._.ledger.shop.svc.cluster.local"), UnknownName),
        ("another port", named(b"outbound_.8081_._.catalog.shop.svc.cluster.local"), UnknownName),
        ("the plain host", named(b"catalog.shop.svc.cluster.local"), UnknownName),
        ("a wildcard", named(b"*.shop.svc.cluster.local"), NameCharacter),
        ("a trailing dot", named(format!("{ISTIO_NAME}.").as_bytes()), TrailingDot),
        ("a target's address", named(b"127.0.0.2"), NoSni),
        ("no name", hello(&[alpn(&["istio"])]), NoSni),
        ("no ALPN", hello(&[name()]), NoMeshAlpn),
        ("foreign ALPN", hello(&[name(), alpn(&["h2", "http/1.1"])]), NoMeshAlpn),
    ])
    .await;
}

#[tokio::test]
async fn a6_what_is_no_clean_hello_is_closed_without_a_dial() {
    use Refusal::*;
    let split = post_quantum(ISTIO_NAME.as_bytes());
    let alert_inside = [record(22, &split[..100]), record(21, &[1, 0])].concat();
    let two = records(&message(&[sni(&[ISTIO_NAME.as_bytes(), b"b.c"]), alpn(&["istio"])]), 16384);
    refused(vec![
        ("plaintext", b"GET / HTTP/1.1\r\n\r\n".to_vec(), NotHandshake),
        ("an alert inside", alert_inside, Interleaved),
        ("two names", two, SniShape),
        ("a NUL", named(&[ISTIO_NAME.as_bytes(), b"\0.evil"].concat()), NameCharacter),
        ("oversized", of_size(21_000), HelloTooLarge),
        ("one byte beyond the cap", of_size(16 * 1024 + 1), HelloTooLarge),
    ])
    .await;
}

#[tokio::test]
async fn a5_a_scan_dials_nothing_and_adds_no_series() {
    let limits = Limits { unknown_names_per_minute_max: 0, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let series = || world.gateway.metrics().registry().text().lines().count();
    let before = series();
    for number in 0..1000u32 {
        let label = number.wrapping_mul(2_654_435_761);
        let name =
            format!("outbound_.{}_._.s{label:08x}.scan.svc.cluster.local", number % 60_000 + 1);
        let mut client = world.connect().await;
        client.write_all(&named(name.as_bytes())).await.unwrap();
        expect_closed(&mut client).await;
    }
    assert_eq!(world.ends(End::Refused(Refusal::UnknownName)), 1000);
    assert_eq!((target.accepted(), series()), (0, before));
    let text = world.gateway.metrics().registry().text();
    assert!(!text.contains("scan"), "no name from the wire is a label");
}

#[tokio::test]
async fn a7_half_a_hello_is_closed_after_three_seconds_however_it_drips() {
    assert_eq!(Limits::default().hello, Duration::from_secs(3));
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let began = Instant::now();
    let mut silent = world.connect().await;
    let dripping = world.connect().await;
    let (mut reader, mut writer) = dripping.into_split();
    tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(100));
        for byte in hello() {
            tick.tick().await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let mut nothing = Vec::new();
    let dripped = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut nothing);
    let (_, dripped) = tokio::join!(expect_closed(&mut silent), dripped);
    let took = began.elapsed();
    assert!(dripped.is_err() || nothing.is_empty());
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(6), "{took:?}");
    world.ended(End::HelloTimeout, 2).await;
    assert_eq!(target.accepted(), 0);
}

#[tokio::test]
async fn a_client_that_goes_before_its_hello_is_complete_is_counted() {
    let world = World::start().await;
    let mut client = world.connect().await;
    client.write_all(&hello()[..50]).await.unwrap();
    drop(client);
    world.ended(End::HelloClosed, 1).await;
}

#[tokio::test]
async fn a7_good_traffic_flows_beside_300_that_never_finish_their_hello() {
    let limits = Limits { hello: PATIENCE, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut loris = Vec::new();
    for number in 0..300 {
        let mut client = world.connect_from(&format!("127.0.1.{}", 1 + number / 60)).await;
        client.write_all(&hello()[..number % 100]).await.unwrap();
        loris.push(client);
    }
    until(|| world.gateway.pending() == 300, "300 are pending").await;
    for _ in 0..50 {
        let mut client = world.connect().await;
        client.write_all(&hello()).await.unwrap();
        expect_echo(&mut client, &hello()).await;
    }
    assert_eq!((world.gateway.pending(), target.accepted()), (300, 50));
    drop(loris);
    world.ended(End::HelloClosed, 300).await;
    assert_eq!(world.gateway.pending(), 0);
}

#[tokio::test]
async fn a7_a_source_beyond_its_places_is_reset_at_once_and_others_are_served() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut pending = Vec::new();
    for _ in 0..Limits::default().pending_per_source_max {
        pending.push(world.connect_from("127.0.2.1").await);
    }
    until(|| world.gateway.pending() == 64, "64 are pending").await;
    let fault = world.fault_from("127.0.2.1").await;
    assert_eq!(fault, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(world.ends(End::SourceFull), 1);
    let mut other = world.connect_from("127.0.2.2").await;
    other.write_all(&hello()).await.unwrap();
    expect_echo(&mut other, &hello()).await;
}

#[tokio::test]
async fn a7_of_one_source_an_eighth_may_have_a_long_hello_and_it_may_still_come_to_its_end() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let hello = of_size(LONG_HELLO_BYTES + 11);
    let (half, rest) = hello.split_at(LONG_HELLO_BYTES + 1);
    let mut long = Vec::new();
    for _ in 0..64 / LONG_HELLO_SHARE {
        let mut client = world.connect_from("127.0.2.1").await;
        client.write_all(half).await.unwrap();
        long.push(client);
    }
    until(|| world.gateway.pending() == long.len(), "all are pending").await;
    let mut beyond = world.connect_from("127.0.2.1").await;
    beyond.write_all(half).await.unwrap();
    world.ended(End::SourceFull, 1).await;
    let mut shorter = world.connect_from("127.0.2.1").await;
    shorter.write_all(&half[..LONG_HELLO_BYTES]).await.unwrap();
    let mut elsewhere = world.connect_from("127.0.2.2").await;
    elsewhere.write_all(half).await.unwrap();
    until(|| world.gateway.pending() == long.len() + 2, "they are pending as well").await;
    for client in &mut long {
        client.write_all(rest).await.unwrap();
        expect_echo(client, &hello).await;
    }
    elsewhere.write_all(rest).await.unwrap();
    expect_echo(&mut elsewhere, &hello).await;
}

#[tokio::test]
async fn a7_all_places_taken_means_that_nobody_is_waited_for() {
    let limits = Limits { pending_max: 2, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let _pending = (world.connect_from("127.0.2.1").await, world.connect_from("127.0.2.2").await);
    until(|| world.gateway.pending() == 2, "2 are pending").await;
    let fault = world.fault_from("127.0.2.3").await;
    assert_eq!(fault, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(world.ends(End::PendingFull), 1);
}
