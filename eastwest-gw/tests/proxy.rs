//! The PROXY header: believed of those who are named, and of nobody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::Ipv4Addr;
use std::time::Duration;

use diolkos_eastwest_gw::{BytePath, End, Limits};
use diolkos_route::{Refusal, proxy};
use tokio::io::AsyncWriteExt;
use world::hellos::named;
use world::*;

const BALANCER: &str = "127.0.7.1";
const STRANGER: &str = "127.0.8.1";

fn header(command: u8, source: Ipv4Addr) -> Vec<u8> {
    let addresses = [&source.octets()[..], &[198, 51, 100, 1], &[0x9c, 0x40, 0x3c, 0x53]].concat();
    [&proxy::SIGNATURE[..], &[command, 0x11, 0, 12], &addresses].concat()
}

fn of(last: u8) -> Vec<u8> {
    header(0x21, Ipv4Addr::new(192, 0, 2, last))
}

async fn behind_a_balancer(limits: Limits) -> (World, Target) {
    let proxy_protocol_from = vec!["127.0.7.0/24".parse().unwrap()];
    let path = BytePath { proxy_protocol_from, ..BytePath::default() };
    let world = World::moving(path, limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    (world, target)
}

#[tokio::test]
async fn a8_the_header_is_taken_off_however_it_is_cut_and_the_hello_goes_on() {
    let (world, _target) = behind_a_balancer(Limits::default()).await;
    let local = [&proxy::SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
    for header in [of(7), local] {
        for cut in [1, 7, 16, header.len(), header.len() + 3, usize::MAX] {
            let mut client = world.connect_from(BALANCER).await;
            client.set_nodelay(true).unwrap();
            for piece in [&header[..], &hello()].concat().chunks(cut) {
                client.write_all(piece).await.unwrap();
            }
            expect_echo(&mut client, &hello()).await;
        }
    }
}

#[tokio::test]
async fn a8_a_stranger_with_a_header_has_sent_a_bad_hello() {
    let (world, target) = behind_a_balancer(Limits::default()).await;
    let mut client = world.connect_from(STRANGER).await;
    client.write_all(&[of(7), hello()].concat()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    assert_eq!(world.ends(End::Refused(Refusal::NotHandshake)), 1);
    assert_eq!(target.accepted(), 0);
    let mut client = world.connect_from(STRANGER).await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
}

#[tokio::test]
async fn a8_without_networks_that_are_named_nobody_is_believed() {
    let world = World::start().await;
    let mut client = world.connect_from(BALANCER).await;
    client.write_all(&[of(7), hello()].concat()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    assert_eq!(world.ends(End::Refused(Refusal::NotHandshake)), 1);
}

#[tokio::test]
async fn a8_whoever_has_to_say_for_whom_it_connects_is_refused_without_and_nothing_is_dialed() {
    let (world, target) = behind_a_balancer(Limits::default()).await;
    let mut long = header(0x21, Ipv4Addr::LOCALHOST);
    long[14..16].copy_from_slice(&[0xff, 0xff]);
    let cases = [
        ("no header", hello()),
        ("version 1", b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 15443\r\n".to_vec()),
        ("an unknown command", [header(0x22, Ipv4Addr::LOCALHOST), hello()].concat()),
        ("too long", [long, hello()].concat()),
    ];
    for (number, (case, bytes)) in cases.iter().enumerate() {
        let mut client = world.connect_from(BALANCER).await;
        client.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut client).await.0, b"", "{case}");
        assert_eq!(world.ends(End::ProxyHeader), number as u64 + 1, "{case}");
    }
    assert_eq!(target.accepted(), 0);
}

#[tokio::test]
async fn a8_the_time_for_the_hello_is_that_of_the_header_too() {
    let limits = Limits { hello: Duration::from_millis(300), ..Limits::default() };
    let (world, _target) = behind_a_balancer(limits).await;
    let mut client = world.connect_from(BALANCER).await;
    client.write_all(&of(7)[..20]).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    world.ended(End::HelloTimeout, 1).await;
}

#[tokio::test]
async fn a8_places_and_refusals_are_those_of_whom_it_connects_for() {
    let limits = Limits {
        pending_per_source_max: 2,
        unknown_names_per_minute_max: 2,
        hello: PATIENCE,
        ..Limits::default()
    };
    let (world, _target) = behind_a_balancer(limits).await;
    let mut pending = vec![];
    for last in [1, 1, 2, 2] {
        let mut client = world.connect_from(BALANCER).await;
        client.write_all(&of(last)).await.unwrap();
        pending.push(client);
    }
    until(|| world.gateway.pending() == 4, "4 are pending").await;
    let mut one_more = world.connect_from(BALANCER).await;
    one_more.write_all(&of(1)).await.unwrap();
    assert!(read_to_end(&mut one_more).await.1.is_some(), "reset");
    world.ended(End::SourceFull, 1).await;
    let unknown = named(b"outbound_.1_._.nobody.shop.svc.cluster.local");
    for _ in 0..2 {
        let mut client = world.connect_from(BALANCER).await;
        client.write_all(&[of(3), unknown.clone()].concat()).await.unwrap();
        assert_eq!(read_to_end(&mut client).await.0, b"");
    }
    let mut shut_out = world.connect_from(BALANCER).await;
    shut_out.write_all(&[of(3), hello()].concat()).await.unwrap();
    assert!(read_to_end(&mut shut_out).await.1.is_some(), "reset");
    world.ended(End::SourceShutOut, 1).await;
    let mut other = world.connect_from(BALANCER).await;
    other.write_all(&[of(4), hello()].concat()).await.unwrap();
    expect_echo(&mut other, &hello()).await;
}
