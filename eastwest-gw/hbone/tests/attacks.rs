//! What must not work (A9 of the threat model), each by its name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../trust/tls/tests/mesh/mod.rs"]
mod certificates;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certificates::{Ca, Leaf, gullible_client};
use diolkos_hbone::{End, Limits, OuterError, Refused, TunnelError};
use diolkos_tls::Expect;
use rustls::version::{TLS12, TLS13};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use world::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, Raw, SETTINGS,
    connect, fields, frame, status,
};
use world::*;

/// HTTP/2's ENHANCE_YOUR_CALM.
const CALM: u32 = 0xb;

const OTHER: &str = "ledger.payments.svc.cluster.local:443";

/// The service, with a target that says back what it hears.
async fn ground() -> (World, Target) {
    let (world, target) = (World::start().await, Target::echo().await);
    world.route(CATALOG, &[target.address]);
    (world, target)
}

/// Somebody decent is still served, at once.
async fn serves(world: &World) {
    let mut tunnel = in_time(world.outer().await.open(CATALOG)).await.unwrap();
    tunnel.write_all(b"well?").await.unwrap();
    expect_echo(&mut tunnel, b"well?").await;
}

#[tokio::test]
async fn a9_no_open_proxy() {
    let (world, target) = ground().await;
    let admin = Target::echo().await;
    let outer = world.outer().await;
    let by_address = |port| format!("127.0.0.2:{port}");
    let admin_port = admin.address.port();
    for (authority, want) in [
        (by_address(admin_port).as_str(), 404),
        (&by_address(target.address.port()), 404),
        ("127.0.0.1:15000", 404),
        ("169.254.169.254:80", 404),
        ("[::1]:15000", 404),
        (&format!("localhost:{admin_port}"), 404),
        ("kubernetes.default.svc.cluster.local:443", 404),
        ("catalog.shop.svc.cluster.local:8081", 404),
        ("catalog.other.svc.cluster.local:8080", 404),
        ("catalog.shop:8080", 404),
        ("catalog.shop.svc.cluster.local", 400),
        ("catalog.shop.svc.cluster.local.:8080", 400),
        ("catalog.shop.svc.cluster.local:08080", 400),
        ("web@catalog.shop.svc.cluster.local:8080", 400),
        ("*.shop.svc.cluster.local:8080", 400),
        (&format!("2130706434:{admin_port}"), 400),
        (&format!("0x7f000002:{admin_port}"), 400),
        ("outbound_.8080_._.catalog.shop.svc.cluster.local:8080", 404),
    ] {
        match in_time(outer.open(authority)).await {
            Err(TunnelError::Refused { status, .. }) => assert_eq!(status, want, "{authority}"),
            // h2 itself refuses what is no authority.
            Err(other) => assert_eq!(want, 400, "{authority}: {other}"),
            Ok(_) => panic!("a tunnel to {authority}"),
        }
    }
    assert_eq!((target.accepted(), admin.accepted()), (0, 0), "somebody was dialed");
    serves(&world).await;
    let upper = CATALOG.to_uppercase();
    in_time(outer.open(&upper)).await.expect("a name is a name in upper case as well");
}

#[tokio::test]
async fn a9_nothing_but_connect() {
    let (world, target) = ground().await;
    let mut raw = Raw::open(&world).await;
    let [get, post] = ["GET", "POST"].map(|method| {
        let scheme = (":scheme", "https");
        fields(&[(":method", method), scheme, (":authority", CATALOG), (":path", "/")])
    });
    for (stream, block) in [(1, get), (3, post)] {
        raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await.unwrap();
        assert_eq!(status(&raw.read_of(stream).await.unwrap()), 400);
    }
    // Extended CONNECT was not offered, and one with a path is none.
    let extended = [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "https")];
    let more = [(":authority", CATALOG), (":path", "/")];
    let block = fields(&[extended.as_slice(), &more].concat());
    raw.write(&frame(HEADERS, END_HEADERS, 5, &block)).await.unwrap();
    let answer = raw.read_of(5).await.unwrap();
    assert!(answer.kind == RST_STREAM || status(&answer) == 400, "{answer:?}");
    assert_eq!(target.accepted(), 0);
    serves(&world).await;
}

/// CVE-2025-64763: bytes sent along with a CONNECT wait until it is answered, and those of one that
/// is refused go nowhere.
#[tokio::test]
async fn a9_2xx_before_data() {
    let (world, target) = ground().await;
    let mut raw = Raw::open(&world).await;
    for (stream, authority) in [(1, CATALOG), (3, OTHER)] {
        raw.write(&frame(HEADERS, END_HEADERS, stream, &connect(authority))).await.unwrap();
        raw.write(&frame(DATA, 0, stream, b"early")).await.unwrap();
    }
    let first = raw.read_of(1).await.unwrap();
    let mut heard = vec![first];
    while heard.len() < 2 {
        heard.push(raw.read_of(1).await.unwrap());
    }
    assert_eq!(status(&heard[0]), 200, "the answer comes first");
    assert_eq!((heard[1].kind, heard[1].payload.as_slice()), (DATA, b"early".as_slice()));
    world.refused(Refused::UnknownService, 1).await;
    assert_eq!(target.accepted(), 1);
}

/// A target whose kernel leaves connections unanswered.
struct Silent {
    _listener: Socket,
    _waiting: Vec<Socket>,
    address: SocketAddr,
}

impl Silent {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let waiting = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // Those in the queue are connected, those after it wait.
            let _ = socket.connect(&address.into());
            socket
        };
        Self { _waiting: (0..4).map(waiting).collect(), _listener: listener, address }
    }
}

#[tokio::test]
async fn a9_early_data_is_bounded() {
    let world = World::start().await;
    let silent = Silent::new();
    world.route(CATALOG, &[silent.address]);
    let mut raw = Raw::open(&world).await;
    raw.write(&frame(HEADERS, END_HEADERS, 1, &connect(CATALOG))).await.unwrap();
    until(|| world.asked() == 1, "it is being dialed").await;
    let piece = frame(DATA, 0, 1, &[7; 16 * 1024]);
    for _ in 0..5 {
        raw.write(&piece).await.unwrap();
    }
    let broken = raw.read_of(1).await;
    let told = broken.as_ref().map(|frame| frame.kind);
    assert!(matches!(told, None | Some(RST_STREAM)), "80 KiB were taken early: {broken:?}");
    world.ended(End::Abandoned, 1).await;
}

/// CVE-2023-44487. What is given up before it is answered is dialed a bounded number of times.
#[tokio::test]
async fn a9_rapid_reset() {
    let (world, target) = ground().await;
    let mut raw = Raw::open(&world).await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, &connect(CATALOG)));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    // It may be cut while it still speaks.
    let _ = raw.write(&flood).await;
    let code = raw.goaway().await;
    assert!(matches!(code, None | Some(CALM)), "{code:?}");
    until(|| world.metrics.connections.get() == 0, "the connection is cut").await;
    assert!(target.accepted() < 300, "{} dials", target.accepted());
    serves(&world).await;
}

/// The same, slowly enough for each to be dialed: the connection is cut as well.
#[tokio::test]
async fn a9_patient_resets() {
    let world = World::start().await;
    let silent = Silent::new();
    let target = Target::echo().await;
    world.route(OTHER, &[silent.address]);
    world.route(CATALOG, &[target.address]);
    let mut raw = Raw::open(&world).await;
    let mut gone = false;
    for round in 0..60_u64 {
        let asked = world.asked();
        let streams = (0..10).map(|n| (round as u32 * 10 + n) * 2 + 1);
        for stream in streams.clone() {
            let request = frame(HEADERS, END_HEADERS, stream, &connect(OTHER));
            gone |= raw.write(&request).await.is_err();
        }
        if gone || world.metrics.refusals(Refused::Abandoning) == 1 {
            break;
        }
        until(
            || world.asked() == asked + 10 || world.metrics.refusals(Refused::Abandoning) == 1,
            "ten CONNECTs are being dialed",
        )
        .await;
        for stream in streams {
            let _ = raw.write(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        }
    }
    world.refused(Refused::Abandoning, 1).await;
    assert_eq!(raw.goaway().await, Some(CALM));
    serves(&world).await;
}

/// RUSTSEC-2024-0332, and fields without end.
#[tokio::test]
async fn a9_header_flood() {
    let (world, target) = ground().await;
    let long = "x".repeat(100);
    let block = fields(&[("x-long", &long)]);
    let mut raw = Raw::open(&world).await;
    let mut flood = frame(HEADERS, 0, 1, &connect(CATALOG));
    for _ in 0..1_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &block.repeat(20)));
    }
    let before = resident();
    let _ = raw.write(&flood).await;
    raw.goaway().await;
    until(|| world.metrics.connections.get() == 0, "the connection is cut").await;
    assert!(resident() < before + RESIDENT_BYTES_MAX, "2 MiB of fields were kept");

    // One that ends, and is larger than the limit: refused, and the connection lives.
    let mut raw = Raw::open(&world).await;
    let (head, rest) = (connect(CATALOG), block.repeat(150));
    raw.write(&frame(HEADERS, 0, 1, &head)).await.unwrap();
    for piece in rest.chunks(16 * 1024) {
        raw.write(&frame(CONTINUATION, 0, 1, piece)).await.unwrap();
    }
    raw.write(&frame(CONTINUATION, END_HEADERS, 1, &[])).await.unwrap();
    let answer = raw.read_of(1).await;
    let opened = answer.as_ref().is_some_and(|one| one.kind == HEADERS && one.payload[0] == 0x88);
    assert!(!opened, "16 KiB of fields are the limit");
    assert_eq!(target.accepted(), 0);
    serves(&world).await;
}

/// RUSTSEC-2026-0258, and frames that ask for an answer each.
#[tokio::test]
async fn a9_frame_floods() {
    for (what, count, piece) in [
        ("empty DATA", 100_000, frame(DATA, 0, 1, &[])),
        ("SETTINGS", 10_000, frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING", 100_000, frame(PING, 0, 0, &[7; 8])),
        ("small DATA", 20_000, frame(DATA, 0, 1, b"x")),
    ] {
        let (world, _target) = ground().await;
        let mut raw = Raw::open(&world).await;
        raw.write(&frame(HEADERS, END_HEADERS, 1, &connect(CATALOG))).await.unwrap();
        assert_eq!(status(&raw.read_of(1).await.unwrap()), 200);
        let before = resident();
        // Answers are not read: whoever piles them up, it is not to be the server.
        let flood = piece.repeat(count);
        let written =
            tokio::time::timeout(Duration::from_millis(500), raw.0.write_all(&flood)).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < RESIDENT_BYTES_MAX, "{what}: {grown} bytes more, {written:?}");
        serves(&world).await;
    }
}

const RESIDENT_BYTES_MAX: usize = 64 << 20;

/// Of this process, server and all.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a9_no_more_streams_than_are_allowed() {
    let limits = Limits { streams_max: 3, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let mut raw = Raw::open(&world).await;
    for stream in [1, 3, 5, 7] {
        raw.write(&frame(HEADERS, END_HEADERS, stream, &connect(CATALOG))).await.unwrap();
    }
    let refused = raw.read_of(7).await.unwrap();
    assert_eq!((refused.kind, refused.payload), (RST_STREAM, 7_u32.to_be_bytes().to_vec()));
    world.opened(3).await;
    assert_eq!(target.accepted(), 3);
}

#[tokio::test]
async fn a9_no_more_tunnels_than_are_allowed() {
    let limits = Limits { tunnels_max: 2, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let outer = world.outer().await;
    let first = in_time(outer.open(CATALOG)).await.unwrap();
    let _second = in_time(outer.open(CATALOG)).await.unwrap();
    let refused = in_time(world.outer().await.open(CATALOG)).await.unwrap_err();
    assert!(refused.to_string().contains("as many tunnels are open as there may be"), "{refused}");
    drop(first);
    until(|| world.metrics.tunnels.get() == 1, "a tunnel ends").await;
    in_time(outer.open(CATALOG)).await.unwrap();
}

#[tokio::test]
async fn a9_who_insists_gets_no_more_and_keeps_what_is_there() {
    let (world, _target) = ground().await;
    let outer = world.outer().await;
    let mut tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    let mut refused = 0;
    while let Err(TunnelError::Refused { .. }) = in_time(outer.open(OTHER)).await {
        refused += 1;
        assert!(refused < 5_000, "it may ask for ever");
    }
    assert!(refused >= 1_000, "{refused}");
    world.refused(Refused::Insisting, 1).await;
    tunnel.write_all(b"as ever").await.unwrap();
    expect_echo(&mut tunnel, b"as ever").await;
    serves(&world).await;
}

/// By certificate, not by what anybody says.
#[tokio::test]
async fn a9_wrong_identity() {
    let (world, target) = ground().await;
    let own = Ca::root("test");
    for (who, leaf) in [
        ("of a root of the same name", own.sign(&Leaf::of(&[&account("web")]))),
        ("of another trust domain", own.sign(&Leaf::of(&["spiffe://other/ns/shop/sa/web"]))),
        ("without a SPIFFE id", own.sign(&Leaf::of(&[]).dns("web.shop"))),
    ] {
        let mut config = (*gullible_client(Some(&leaf), &TLS13)).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(!is_heard(&world, Arc::new(config)).await, "a client {who} was heard");
    }
    world.refused(Refused::Handshake, 3).await;
    assert_eq!((target.accepted(), world.asked()), (0, 0));
    serves(&world).await;
}

#[tokio::test]
async fn a9_a_client_without_a_certificate_is_refused() {
    let (world, _target) = ground().await;
    let mut config = (*gullible_client(None, &TLS13)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(!is_heard(&world, Arc::new(config)).await);
    world.refused(Refused::Handshake, 1).await;
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a9_tls_1_2_is_refused() {
    let (world, _target) = ground().await;
    let leaf = Ca::root("test").sign(&Leaf::of(&[&account("web")]));
    let mut config = (*gullible_client(Some(&leaf), &TLS12)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = Raw::tls(&world, Arc::new(config)).await.err().unwrap();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    world.refused(Refused::Handshake, 1).await;
}

#[tokio::test]
async fn a9_a_client_that_does_not_offer_h2_is_refused() {
    let (world, _target) = ground().await;
    let (identity, roots) = world.mesh.identity(&account("web"));
    for (count, alpn) in [(1, [].as_slice()), (2, &["istio"]), (3, &["http/1.1", "istio-h2"])] {
        let expect = Expect::Ids(vec![id(GATEWAY)]);
        let config = diolkos_tls::client_config(&identity, &roots, expect, alpn);
        assert!(!is_heard(&world, config).await, "{alpn:?}");
        world.refused(Refused::Handshake, count).await;
    }
}

/// Whether a CONNECT over this TLS gets any answer.
async fn is_heard(world: &World, config: Arc<rustls::ClientConfig>) -> bool {
    let Ok(mut raw) = Raw::tls(world, config).await else { return false };
    let mut all = PREFACE.to_vec();
    all.extend(frame(SETTINGS, 0, 0, &[]));
    all.extend(frame(HEADERS, END_HEADERS, 1, &connect(CATALOG)));
    raw.write(&all).await.is_ok() && raw.read_of(1).await.is_some()
}

#[tokio::test]
async fn a9_a_client_refuses_a_gateway_of_another_name() {
    let (world, _target) = ground().await;
    let (identity, roots) = world.mesh.identity(&account("web"));
    let refused = world.outer_as(&identity, &roots, &account("eastwest")).await.unwrap_err();
    let OuterError::Peer(why) = &refused else { panic!("{refused}") };
    assert!(why.contains("is not one of"), "{why}");
}

/// To whom a service is not exported, it does not exist, whatever else the client says of itself.
#[tokio::test]
async fn a9_guessing_a_name_that_is_exported_to_others() {
    let world = World::start().await;
    let target = Target::echo().await;
    world.route_for(CATALOG, &[target.address], &[&account("friend")]);
    let mut raw = Raw::open(&world).await;
    let says = [
        ("baggage", "k8s.cluster.name=west,k8s.namespace.name=shop,service.name=friend"),
        ("forwarded", "for=10.0.0.1;by=friend"),
        ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/friend"),
        ("x-istio-source", "gateway"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let block = [connect(CATALOG), fields(&says)].concat();
    raw.write(&frame(HEADERS, END_HEADERS, 1, &block)).await.unwrap();
    raw.write(&frame(HEADERS, END_HEADERS, 3, &connect(OTHER))).await.unwrap();
    let (guessed, unknown) = (raw.read_of(1).await.unwrap(), raw.read_of(3).await.unwrap());
    assert_eq!((status(&guessed), status(&unknown)), (404, 404));
    world.refused(Refused::NotExported, 1).await;
    world.refused(Refused::UnknownService, 1).await;
    assert_eq!(target.accepted(), 0);
    let outer = world.outer_of(&account("friend")).await.unwrap();
    in_time(outer.open(CATALOG)).await.unwrap();
    assert_eq!(target.accepted(), 1);
}

/// The two answers must be the same to the last byte.
#[tokio::test]
async fn a9_a_refusal_does_not_tell_what_there_is() {
    let world = World::start().await;
    world.route_for(CATALOG, &[], &[&account("friend")]);
    let outer = world.outer().await;
    let guessed = in_time(outer.open(CATALOG)).await.unwrap_err();
    assert_eq!(guessed, in_time(outer.open(OTHER)).await.unwrap_err());
}

#[tokio::test]
async fn a7_a_handshake_has_its_time_in_total() {
    let limits = Limits { handshake: Duration::from_secs(1), ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut dripping = TcpStream::connect(world.address).await.unwrap();
    let drip = tokio::spawn(async move {
        for byte in [22, 3, 1, 2, 0, 1].into_iter().chain(std::iter::repeat(0)) {
            if dripping.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // TLS and HTTP/2, and then half a CONNECT for ever.
    let mut half = Raw::open(&world).await;
    half.write(&frame(HEADERS, 0, 1, &connect(CATALOG))).await.unwrap();
    assert_eq!(in_time(silent.read(&mut [0])).await.unwrap_or(0), 0);
    in_time(drip).await.unwrap();
    half.goaway().await;
    world.refused(Refused::HandshakeTimeout, 3).await;
    // However busily one of them dripped.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(world.metrics.pending.get(), 0);
}

#[tokio::test]
async fn a7_one_source_has_its_places_among_those_that_are_awaited() {
    let limits = Limits { pending_per_source_max: 2, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    // Whoever has asked for a tunnel is awaited no more.
    let outer = world.outer().await;
    let _tunnel = in_time(outer.open(CATALOG)).await.unwrap();
    let _waiting = [0; 2].map(|_| std::net::TcpStream::connect(world.address).unwrap());
    until(|| world.metrics.pending.get() == 2, "two are awaited").await;
    let mut shed = TcpStream::connect(world.address).await.unwrap();
    let end = in_time(shed.read(&mut [0])).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    world.refused(Refused::SourceFull, 1).await;
}

#[tokio::test]
async fn a7_no_more_connections_than_are_allowed() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let world = World::with(limits, Duration::from_secs(30)).await;
    let target = Target::echo().await;
    world.route(CATALOG, &[target.address]);
    let (first, second) = (world.outer().await, world.outer().await);
    let _tunnels = [in_time(first.open(CATALOG)).await, in_time(second.open(CATALOG)).await];
    let mut shed = TcpStream::connect(world.address).await.unwrap();
    assert!(in_time(shed.read(&mut [0])).await.is_err(), "a reset");
    world.refused(Refused::ConnectionsFull, 1).await;
}
