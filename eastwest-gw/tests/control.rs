//! The primary's ports, passed through: who names it, and nobody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use diolkos_eastwest_gw::{Control, ControlPort, End, Limits};
use diolkos_ops::listen;
use diolkos_route::{HostName, Refusal};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use world::hellos::*;
use world::*;

const PRIMARY: &str = "diolkos-primary.diolkos-system.svc";
const ISTIOD: &str = "istiod.istio-system.svc";

/// One more listener of the world's gateway, before `host`.
async fn passing(world: &World, host: &str, port: u16) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
    let listen = listener.local_addr().unwrap();
    let names = [PRIMARY, ISTIOD].map(|name| HostName::new(name.as_bytes()).unwrap());
    let control =
        Control::new(ControlPort { listen, names: names.into(), host: host.into(), port });
    let (gateway, followed) = (Arc::clone(&world.gateway), Arc::clone(&control));
    tokio::spawn(async move { followed.follow().await });
    tokio::spawn(async move { gateway.serve_control(listener, control).await });
    listen
}

fn with(extensions: &[Extension]) -> Vec<u8> {
    records(&message(extensions), 16384)
}

/// Says hello until somebody answers: the target's name is looked up in the background.
async fn answered(address: SocketAddr, hello: &[u8]) -> TcpStream {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(hello).await.unwrap();
        client.readable().await.unwrap();
        let mut first = [0];
        if client.peek(&mut first).await.is_ok_and(|bytes| bytes == 1) {
            return client;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody answers");
    }
}

#[tokio::test]
async fn whoever_names_the_primary_is_passed_on_whatever_protocol_it_offers() {
    let world = World::start().await;
    let target = Target::echo().await;
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    let name = |text: &str| sni(&[text.as_bytes()]);
    for hello in [
        with(&[name(PRIMARY), alpn(&["h2"])]),
        with(&[name(PRIMARY), alpn(&["http/1.1"])]),
        with(&[name(PRIMARY)]),
        with(&[name(&PRIMARY.to_uppercase())]),
        with(&[name(ISTIOD), alpn(&["istio"])]),
        records(&message(&[name(ISTIOD), alpn(&["h2"])]), 1),
    ] {
        let mut client = answered(address, &hello).await;
        expect_echo(&mut client, &hello).await;
        let more = pattern(3, 100_000);
        let (mut read, mut write) = client.split();
        let (sent, mut back) = (more.clone(), vec![0; more.len()]);
        let both = tokio::join!(
            write.write_all(&sent),
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut back)
        );
        assert!(both.0.is_ok() && both.1.is_ok() && back == more, "every byte as it was");
    }
}

#[tokio::test]
async fn a5_no_other_name_is_let_through_and_nothing_is_dialed_for_it() {
    use Refusal::*;
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    drop(answered(address, &with(&[sni(&[PRIMARY.as_bytes()])])).await);
    let accepted = target.accepted();
    let longer = format!("x.{PRIMARY}");
    for (case, bytes, refusal) in [
        ("a service of the data port", hello(), UnknownName),
        ("a name above", named(b"diolkos-system.svc"), UnknownName),
        ("a name below", named(longer.as_bytes()), UnknownName),
        ("the whole name", named(format!("{PRIMARY}.cluster.local").as_bytes()), UnknownName),
        ("a trailing dot", named(format!("{PRIMARY}.").as_bytes()), TrailingDot),
        ("two names", with(&[sni(&[PRIMARY.as_bytes(), b"b.c"])]), SniShape),
        ("no name", with(&[alpn(&["h2"])]), NoSni),
        ("an address", named(b"127.0.0.2"), NoSni),
        ("plaintext", b"GET / HTTP/1.1\r\n\r\n".to_vec(), NotHandshake),
    ] {
        let before = world.ends(End::Refused(refusal));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&bytes).await.unwrap();
        assert!(read_to_end(&mut client).await.0.is_empty(), "{case}");
        assert_eq!(world.ends(End::Refused(refusal)), before + 1, "{case}");
    }
    assert_eq!(target.accepted(), accepted);
}

#[tokio::test]
async fn a5_the_data_port_does_not_lead_to_the_primary() {
    let world = World::start().await;
    let target = Target::echo().await;
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    drop(answered(address, &named(PRIMARY.as_bytes())).await);
    let accepted = target.accepted();
    let mut client = world.connect().await;
    client.write_all(&named(PRIMARY.as_bytes())).await.unwrap();
    assert!(read_to_end(&mut client).await.0.is_empty());
    assert_eq!(world.ends(End::Refused(Refusal::UnknownName)), 1);
    assert_eq!(target.accepted(), accepted);
}

#[tokio::test]
async fn a_primary_whose_name_is_not_found_is_not_dialed_and_the_data_port_works() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let address = passing(&world, "primary.invalid", 15012).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&named(PRIMARY.as_bytes())).await.unwrap();
    assert!(read_to_end(&mut client).await.0.is_empty());
    assert_eq!(world.ends(End::Refused(Refusal::NoEndpoints)), 1);
    assert!(world.gateway.ready().is_ok());
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
}

#[tokio::test]
async fn a7_half_hellos_at_the_primarys_port_take_no_place_of_the_data_port() {
    let limits = Limits { pending_max: 2, hello: Duration::from_secs(1), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    let silent =
        [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let fault = fault(TcpStream::connect(address).await).await;
    assert_eq!(fault, Some(std::io::ErrorKind::ConnectionReset), "as many as the limit");
    for _ in 0..5 {
        let mut client = world.connect().await;
        client.write_all(&hello()).await.unwrap();
        expect_echo(&mut client, &hello()).await;
    }
    for mut client in silent {
        assert!(read_to_end(&mut client).await.0.is_empty());
    }
    world.ended(End::HelloTimeout, 2).await;
}

#[tokio::test]
async fn a7_the_data_port_and_the_primarys_each_have_their_own_connections() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    let _primarys = answered(address, &named(PRIMARY.as_bytes())).await;
    let one_more = fault(TcpStream::connect(address).await).await;
    assert_eq!(
        one_more,
        Some(std::io::ErrorKind::ConnectionReset),
        "a sixteenth, and at least one"
    );
    let mut live = vec![];
    for _ in 0..2 {
        let mut client = world.connect().await;
        client.write_all(&hello()).await.unwrap();
        expect_echo(&mut client, &hello()).await;
        live.push(client);
    }
    assert_eq!(world.fault_from("127.0.2.1").await, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(world.ends(End::ConnectionsFull), 2);
}

#[tokio::test]
async fn r16_the_primarys_port_drains_like_the_data_port() {
    let world = World::with(Limits::default(), Duration::from_millis(500)).await;
    let target = Target::echo().await;
    let address = passing(&world, "127.0.0.2", target.address.port()).await;
    let hello = named(PRIMARY.as_bytes());
    let mut live = answered(address, &hello).await;
    expect_echo(&mut live, &hello).await;
    world.trigger.fire();
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    assert_eq!(read_to_end(&mut live).await, (vec![], None), "FIN, not RST");
    world.ended(End::Drained, 1).await;
}
