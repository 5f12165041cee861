//! The way out: a client, its own gateway, the gateway of another network, a server behind it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use diolkos_eastwest_gw::{Direction, EgressLimits, End, Fault, Limits};
use diolkos_hbone::{Probes, Refused};
use diolkos_route::Refusal;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use world::ends::{call, tls_target};
use world::hellos::named;
use world::mesh::Mesh;
use world::tunnels::{Far, GATEWAY, Near, Wire, Wording};
use world::*;

const OTHER: &str = "outbound_.443_._.ledger.payments.svc.cluster.local";

/// A way out to one gateway that leads to one target.
async fn joined(wording: Wording, target: &Target) -> (Near, Far) {
    let mesh = Mesh::new();
    let (near, far) = (Near::with(&mesh, wording).await, Far::start(&mesh).await);
    far.route(target.address);
    near.route(&[far.address]);
    (near, far)
}

async fn plain() -> (Near, Far, Target) {
    let target = Target::echo().await;
    let (near, far) = joined(Wording::default(), &target).await;
    (near, far, target)
}

/// A client whose first bytes came back.
async fn served(near: &Near) -> TcpStream {
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
    client
}

/// A client that is closed without a byte.
async fn refused(near: &Near, bytes: &[u8]) {
    let mut client = near.connect().await;
    client.write_all(bytes).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
}

/// Says that every gateway is gone within moments, to not wait for it.
fn hasty() -> EgressLimits {
    let (after, patience) = (Duration::from_millis(100), Duration::from_millis(500));
    EgressLimits {
        open: Duration::from_secs(1),
        probes: Probes { after, patience },
        ..EgressLimits::default()
    }
}

#[tokio::test]
async fn a_call_crosses_two_gateways_with_every_identity_verified() {
    let east = Mesh::new();
    let west = east.cluster("west");
    let target = tls_target(&east).await;
    let (near, far) = (Near::start(&west).await, Far::start(&east).await);
    far.route_for(target.address, &[("east", &east), ("west", &west)], &["east", "west"]);
    near.route(&[far.address]);
    // Client and server see each other, as if there were no gateway.
    assert_eq!(call(&west, near.address).await.unwrap(), Mesh::id("web").to_string());
    let callers = far.callers.lock().unwrap().clone();
    assert_eq!(callers, [(Mesh::id(GATEWAY).to_string(), Some("west".to_owned()))]);
    assert_eq!(near.egress.metrics().opened.get(), 1);
    assert_eq!(near.last_dials(), [Some(true)]);
    near.ended(End::Finished, 1).await;
}

#[tokio::test]
async fn a9_a_cluster_that_an_export_does_not_name_is_refused_though_its_gateway_asks() {
    let east = Mesh::new();
    let west = east.cluster("west");
    let target = Target::echo().await;
    let (near, far) = (Near::start(&west).await, Far::start(&east).await);
    far.route_for(target.address, &[("east", &east), ("west", &west)], &["east", "north"]);
    near.route(&[far.address]);
    refused(&near, &hello()).await;
    far.refused(Refused::NotExported, 1).await;
    near.ended(End::NoTarget, 1).await;
    assert_eq!((near.failures(Fault::Refused), target.accepted()), (1, 0));
    assert_eq!(near.last_dials(), [Some(false)]);
}

#[tokio::test]
async fn a5_what_leads_nowhere_is_closed_without_a_dial() {
    let (near, far, target) = plain().await;
    let subset = "outbound_.8080_.v1_.catalog.shop.svc.cluster.local";
    near.route_of(subset, &[far.address]);
    for (bytes, refusal) in [
        (named(OTHER.as_bytes()), Refusal::UnknownName),
        (named(subset.as_bytes()), Refusal::UnknownName),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Refusal::NotHandshake),
    ] {
        let before = near.ends(End::Refused(refusal));
        refused(&near, &bytes).await;
        assert_eq!(near.ends(End::Refused(refusal)), before + 1);
    }
    assert_eq!((target.accepted(), far.metrics.accepted.get()), (0, 0));
}

#[tokio::test]
async fn a7_a_source_beyond_its_places_is_reset_at_the_way_out_too() {
    let (near, _far, _target) = plain().await;
    let mut pending = Vec::new();
    for _ in 0..Limits::default().pending_per_source_max {
        pending.push(near.connect().await);
    }
    let waiting = &near.gateway.metrics().pending;
    until(|| waiting.get() == 64, "64 are pending").await;
    let one_more = fault(TcpStream::connect(near.address).await).await;
    assert_eq!(one_more, Some(ErrorKind::ConnectionReset));
    assert_eq!(near.ends(End::SourceFull), 1);
    drop(pending);
    near.ended(End::HelloClosed, 64).await;
    served(&near).await;
}

#[tokio::test]
async fn a7_a_source_that_asks_for_unknown_names_is_shut_out_at_the_way_out_too() {
    let limits = Limits { unknown_names_per_minute_max: 5, ..Limits::default() };
    let target = Target::echo().await;
    let (near, _far) = joined(Wording { limits, ..Wording::default() }, &target).await;
    for _ in 0..5 {
        refused(&near, &named(OTHER.as_bytes())).await;
    }
    let shut_out = fault(TcpStream::connect(near.address).await).await;
    assert_eq!(shut_out, Some(ErrorKind::ConnectionReset));
    assert_eq!(near.ends(End::SourceShutOut), 1);
}

#[tokio::test]
async fn much_and_little_passes_as_it_is_and_a_half_close_leaves_the_other_half_open() {
    let (near, _far, _target) = plain().await;
    let mut client = served(&near).await;
    client.write_all(b"little").await.unwrap();
    expect_echo(&mut client, b"little").await;
    let bytes = pattern(5, 9 << 20);
    let (mut from, mut to) = client.split();
    let sending = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    // What comes back after our FIN says that the other half was open.
    let mut back = Vec::new();
    let reading = async { from.read_to_end(&mut back).await.unwrap() };
    timeout(PATIENCE, async { tokio::join!(sending, reading) }).await.unwrap();
    assert!(back == bytes, "other bytes came back");
    near.ended(End::Finished, 1).await;
    let passed = (hello().len() + b"little".len() + bytes.len()) as u64;
    let metrics = near.gateway.metrics();
    assert_eq!(metrics.bytes(Direction::ToTarget), passed);
    assert_eq!(metrics.bytes(Direction::ToClient), passed);
    near.tunnels(0).await;
    assert_eq!(metrics.active.get(), 0);
}

/// As long as it has room.
fn by_one_connection() -> Wording {
    let egress = EgressLimits { connections_sharing: 1, ..EgressLimits::default() };
    Wording { egress, ..Wording::default() }
}

#[tokio::test]
async fn a_connection_has_its_places_and_those_beyond_them_get_another() {
    let target = Target::echo().await;
    let (near, far) = joined(by_one_connection(), &target).await;
    let max = i64::try_from(EgressLimits::default().tunnels_per_connection_max).unwrap();
    let mut clients = Vec::new();
    for _ in 0..max {
        clients.push(served(&near).await);
    }
    assert_eq!(far.metrics.accepted.get(), 1, "one connection carries them all");
    for _ in 0..max {
        clients.push(served(&near).await);
    }
    assert_eq!((far.metrics.accepted.get(), near.egress.metrics().tunnels.get()), (2, 2 * max));
    // A place that is given back is used again.
    drop(clients.split_off(10));
    near.tunnels(10).await;
    clients.push(served(&near).await);
    assert_eq!(far.metrics.accepted.get(), 2);
}

#[tokio::test]
async fn four_connections_share_what_comes_before_any_is_full() {
    let (near, far, _target) = plain().await;
    let mut clients = Vec::new();
    for (tunnels, connections) in [(8, 1), (16, 2), (24, 3), (32, 4), (4 * 64, 4), (4 * 64 + 1, 5)]
    {
        while clients.len() < tunnels {
            clients.push(served(&near).await);
        }
        assert_eq!(far.metrics.accepted.get(), connections, "of {tunnels} tunnels");
    }
}

#[tokio::test]
async fn those_who_come_together_share_attempts() {
    let limits = Limits { pending_per_source_max: 100, ..Limits::default() };
    let target = Target::echo().await;
    let (near, far) = joined(Wording { limits, ..Wording::default() }, &target).await;
    let near = Arc::new(near);
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let near = Arc::clone(&near);
        clients.spawn(async move { served(&near).await });
    }
    let clients = clients.join_all().await;
    assert_eq!((clients.len(), far.metrics.accepted.get()), (100, 4));
}

#[tokio::test]
async fn a7_as_many_connections_as_the_limit_and_not_one_more() {
    let egress = EgressLimits {
        connections_per_gateway_max: 2,
        tunnels_per_connection_max: 1,
        connections_max: 3,
        ..EgressLimits::default()
    };
    let target = Target::echo().await;
    let mesh = Mesh::new();
    let near = Near::with(&mesh, Wording { egress, ..Wording::default() }).await;
    let (first, second) = (Far::start(&mesh).await, Far::start(&mesh).await);
    first.route(target.address);
    second.route(target.address);
    near.route(&[first.address, second.address]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(served(&near).await);
    }
    let accepted = (first.metrics.accepted.get(), second.metrics.accepted.get());
    assert_eq!(accepted, (2, 1), "the next gateway has room");
    refused(&near, &hello()).await;
    near.ended(End::NoTarget, 1).await;
    assert_eq!(near.failures(Fault::Full), 3);
    clients.pop();
    near.tunnels(2).await;
    served(&near).await;
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_passed_over() {
    let target = Target::echo().await;
    let (near, far) = joined(Wording::default(), &target).await;
    near.route(&[dead_address().await, far.address]);
    served(&near).await;
    assert_eq!((near.failures(Fault::Connect), near.egress.metrics().opened.get()), (1, 1));
    assert_eq!(near.last_dials(), [Some(false), Some(true)]);
    assert_eq!(near.gateway.metrics().dial_failures.get(), 1);
}

#[tokio::test]
async fn a9_a_gateway_that_is_another_than_it_should_be_gets_no_byte() {
    let mesh = Mesh::new();
    let target = Target::echo().await;
    let near = Near::start(&mesh).await;
    let impostor = Far::with(&mesh, "impostor", diolkos_hbone::Limits::default()).await;
    let stranger = Far::start(&Mesh::new()).await;
    impostor.route(target.address);
    stranger.route(target.address);
    near.route(&[impostor.address, stranger.address]);
    refused(&near, &hello()).await;
    near.ended(End::NoTarget, 1).await;
    assert_eq!((near.failures(Fault::Identity), target.accepted()), (2, 0));
    assert_eq!(
        (impostor.callers.lock().unwrap().len(), near.last_dials()),
        (0, vec![Some(false); 2])
    );
}

#[tokio::test]
async fn a9_gateways_that_are_named_are_believed_and_nobody_else_then() {
    let mesh = Mesh::new();
    let target = Target::echo().await;
    let wording = Wording { gateways: vec!["other", "third"], ..Wording::default() };
    let near = Near::with(&mesh, wording).await;
    let usual = Far::start(&mesh).await;
    let named = Far::with(&mesh, "third", diolkos_hbone::Limits::default()).await;
    usual.route(target.address);
    named.route(target.address);
    near.route(&[usual.address, named.address]);
    served(&near).await;
    assert_eq!(
        (near.failures(Fault::Identity), near.last_dials()),
        (1, vec![Some(false), Some(true)])
    );
}

/// A gateway on a runtime of its own, which can be taken away under it.
struct Mortal {
    far: Far,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    async fn start(mesh: &Arc<Mesh>, target: &Target) -> Self {
        let mut building = tokio::runtime::Builder::new_multi_thread();
        let runtime = building.enable_all().worker_threads(1).build().unwrap();
        let mesh = Arc::clone(mesh);
        let far = runtime.spawn(async move { Far::start(&mesh).await }).await.unwrap();
        far.route(target.address);
        Self { far, runtime: Some(runtime) }
    }

    /// Its sockets go with it, without a GOAWAY.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test]
async fn r17_a_gateway_that_is_killed_is_left_at_once() {
    let (mesh, target) = (Arc::new(Mesh::new()), Target::echo().await);
    let near = Near::start(&mesh).await;
    let mut first = Mortal::start(&mesh, &target).await;
    let second = Far::start(&mesh).await;
    second.route(target.address);
    near.route(&[first.far.address, second.address]);
    let mut client = served(&near).await;
    assert_eq!(first.far.metrics.accepted.get(), 1);
    first.kill();
    let killed = Instant::now();
    let (_, fault) = read_to_end(&mut client).await;
    assert_eq!(fault, Some(ErrorKind::ConnectionReset), "a broken tunnel is no orderly end");
    served(&near).await;
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    near.ended(End::TargetFault, 1).await;
    assert_eq!((second.metrics.accepted.get(), near.last_dials()[0]), (1, Some(false)));
}

#[tokio::test]
async fn r17_a_gateway_that_swallows_everything_is_left_and_its_tunnels_end() {
    let (mesh, target) = (Mesh::new(), Target::echo().await);
    let near = Near::with(&mesh, Wording { egress: hasty(), ..Wording::default() }).await;
    let (first, second) = (Far::start(&mesh).await, Far::start(&mesh).await);
    first.route(target.address);
    second.route(target.address);
    let wire = Wire::to(first.address).await;
    near.route(&[wire.address, second.address]);
    let mut client = served(&near).await;
    wire.die();
    let died = Instant::now();
    // The first to ask finds out, and goes on to the next.
    served(&near).await;
    assert_eq!(near.failures(Fault::Timeout) + near.failures(Fault::Broken), 1);
    let (_, fault) = read_to_end(&mut client).await;
    assert_eq!(fault, Some(ErrorKind::ConnectionReset));
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    near.ended(End::TargetFault, 1).await;
    // Nothing answers a new connection either.
    served(&near).await;
    assert_eq!((wire.accepted(), second.metrics.accepted.get()), (2, 1));
}

#[tokio::test]
async fn a_connect_that_a_breaking_connection_did_not_answer_is_asked_once_more() {
    let (mesh, target, deaf) = (Mesh::new(), Target::echo().await, Deaf::start().await);
    let (near, far) = (Near::start(&mesh).await, Far::start(&mesh).await);
    let wire = Wire::to(far.address).await;
    near.route(&[wire.address]);
    far.route(deaf.address);
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    until(|| far.callers.lock().unwrap().len() == 1, "it is asked").await;
    far.route(target.address);
    wire.cut();
    expect_echo(&mut client, &hello()).await;
    assert_eq!((wire.accepted(), target.accepted()), (2, 1));
    assert_eq!(near.last_dials(), [Some(true)]);
    // Once, and not again and again.
    far.route(deaf.address);
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    until(|| far.callers.lock().unwrap().len() == 3, "it is asked").await;
    wire.cut();
    until(|| far.callers.lock().unwrap().len() == 4, "it is asked once more").await;
    wire.cut();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    near.ended(End::NoTarget, 1).await;
    assert_eq!((near.failures(Fault::Broken), far.callers.lock().unwrap().len()), (1, 4));
}

#[test]
fn r17_a_silent_gateways_tunnels_end_within_twenty_seconds() {
    let EgressLimits { probes, open, .. } = EgressLimits::default();
    assert!(probes.after + probes.patience + open < Duration::from_secs(20));
}

#[tokio::test]
async fn r16_a_gateway_that_drains_keeps_its_tunnels_and_loses_no_new_connection() {
    let (mesh, target) = (Mesh::new(), Target::echo().await);
    let near = Near::start(&mesh).await;
    let (first, second) = (Far::start(&mesh).await, Far::start(&mesh).await);
    first.route(target.address);
    second.route(target.address);
    near.route(&[first.address, second.address]);
    let mut live = served(&near).await;
    let near = Arc::new(near);
    let mut clients = JoinSet::new();
    let mut pace = interval(Duration::from_millis(2));
    for number in 0..200 {
        if number == 50 {
            first.trigger.fire();
        }
        let near = Arc::clone(&near);
        clients.spawn(async move { drop(served(&near).await) });
        pace.tick().await;
    }
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    assert_eq!(clients.join_all().await.len(), 200);
    assert!(second.metrics.opened.get() > 0, "the other took over");
    assert_eq!(read_to_end(&mut live).await, (vec![], None), "an end, no reset");
    timeout(PATIENCE, first.ended).await.unwrap().unwrap();
    assert_eq!(near.ends(End::NoTarget), 0);
}

#[tokio::test]
async fn r16_the_drain_of_the_way_out_ends_tunnels_with_fin() {
    let target = Target::echo().await;
    let drain = Some(Duration::from_millis(1500));
    let (near, _far) = joined(Wording { drain, ..Wording::default() }, &target).await;
    let mut live = served(&near).await;
    let began = Instant::now();
    near.trigger.fire();
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    let drained = tokio::spawn({
        let gateway = Arc::clone(&near.gateway);
        async move { gateway.drained().await }
    });
    assert_eq!(read_to_end(&mut live).await, (vec![], None), "FIN, not RST");
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    drop(live);
    drained.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(6500), "{:?}", began.elapsed());
    assert_eq!(near.ends(End::Drained), 1);
    assert!(TcpStream::connect(near.address).await.is_err(), "it listens no more");
}

/// How many clients or targets are stuck: their windows are more than a connection's usual one.
const STUCK: usize = 20;

/// Answers one greeting, then does as it is asked: says much, reads nothing, or gives back.
async fn moody() -> Target {
    Target::start(|mut stream| async move {
        let mut first = vec![0; hello().len() + 1];
        stream.read_exact(&mut first).await.unwrap();
        stream.write_all(&first[..hello().len()]).await.unwrap();
        match first.last() {
            Some(b'm') => while stream.write_all(&[7; 64 * 1024]).await.is_ok() {},
            Some(b'n') => std::future::pending().await,
            _ => {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        }
    })
    .await
}

async fn asked(near: &Near, mood: u8) -> TcpStream {
    let mut client = near.connect().await;
    client.write_all(&[&hello()[..], &[mood]].concat()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
    client
}

/// How much is in the tunnels: one end has sent it, and the other could not pass it on.
fn waiting(near: &Near, far: &Far, direction: Direction) -> u64 {
    let by_near = near.gateway.metrics().bytes(direction);
    let (sent, taken) = match direction {
        Direction::ToTarget => (by_near, far.metrics.passed(diolkos_hbone::Direction::ToTarget)),
        Direction::ToClient => (far.metrics.passed(diolkos_hbone::Direction::ToClient), by_near),
    };
    sent.saturating_sub(taken)
}

/// Until the windows of all who are stuck are full.
async fn filled(near: &Near, far: &Far, direction: Direction) {
    let full = || waiting(near, far, direction) > STUCK as u64 * 900_000;
    until(full, "their windows are full").await;
}

async fn talks(client: &mut TcpStream) {
    for turn in 0..50 {
        let bytes = pattern(turn, 10_000);
        client.write_all(&bytes).await.unwrap();
        expect_echo(client, &bytes).await;
    }
}

#[tokio::test]
async fn clients_that_read_nothing_stall_no_other() {
    let (near, far) = joined(by_one_connection(), &moody().await).await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(asked(&near, b'm').await);
    }
    filled(&near, &far, Direction::ToClient).await;
    talks(&mut asked(&near, b'e').await).await;
    assert_eq!(far.metrics.accepted.get(), 1, "all by the same connection");
    assert_eq!(near.egress.metrics().tunnels.get(), STUCK as i64 + 1);
}

#[tokio::test]
async fn targets_that_read_nothing_stall_no_other() {
    let (near, far) = joined(by_one_connection(), &moody().await).await;
    let mut filling = JoinSet::new();
    for _ in 0..STUCK {
        let mut client = asked(&near, b'n').await;
        filling.spawn(async move { while client.write_all(&[7; 64 * 1024]).await.is_ok() {} });
    }
    filled(&near, &far, Direction::ToTarget).await;
    talks(&mut asked(&near, b'e').await).await;
    assert_eq!(far.metrics.accepted.get(), 1, "all by the same connection");
    assert!(filling.try_join_next().is_none(), "a stuck tunnel was ended");
}

#[tokio::test]
async fn a_side_that_breaks_off_breaks_off_the_other() {
    // The target.
    let breaking = Target::start(|mut stream| async move {
        let mut all = vec![0; hello().len()];
        stream.read_exact(&mut all).await.unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let (near, _far) = joined(Wording::default(), &breaking).await;
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.1, Some(ErrorKind::ConnectionReset));
    near.ended(End::TargetFault, 1).await;

    // The client, also one whose bytes nobody takes.
    for stuck in [false, true] {
        let (reset, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, open) = (Arc::clone(&reset), Arc::clone(&seen));
        let target = Target::start(move |mut stream| {
            let (told, open) = (Arc::clone(&told), Arc::clone(&open));
            async move {
                let mut all = vec![0; hello().len()];
                stream.read_exact(&mut all).await.unwrap();
                open.notify_one();
                if stuck {
                    stream.ready(tokio::io::Interest::ERROR).await.unwrap();
                } else {
                    let end = stream.read(&mut all).await;
                    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
                }
                told.notify_one();
            }
        })
        .await;
        let (near, _far) = joined(Wording::default(), &target).await;
        let mut client = near.connect().await;
        client.write_all(&hello()).await.unwrap();
        timeout(PATIENCE, seen.notified()).await.unwrap();
        if stuck {
            let bytes = vec![0; 1 << 20];
            while timeout(Duration::from_secs(1), client.write_all(&bytes)).await.is_ok() {}
        }
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        timeout(PATIENCE, reset.notified()).await.unwrap();
        near.ended(End::ClientFault, 1).await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_by_the_next_tunnel() {
    let east = Mesh::new();
    let target = Target::echo().await;
    let (near, far) = (Near::start(&east).await, Far::start(&east).await);
    far.route(target.address);
    near.route(&[far.address]);
    let mut live = served(&near).await;
    served(&near).await;
    assert_eq!(far.metrics.accepted.get(), 1);
    east.identity(GATEWAY, &[]);
    assert!(near.identity.reload().unwrap(), "there is another leaf");
    served(&near).await;
    assert_eq!(far.metrics.accepted.get(), 2);
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    drop(live);
    near.connections(1).await;
    assert_eq!(far.metrics.tunnels.get(), 0);
}

#[tokio::test]
async fn a_connection_without_tunnels_is_closed_after_its_time() {
    let idle_connection = Duration::from_millis(300);
    let egress = EgressLimits { idle_connection, ..EgressLimits::default() };
    let target = Target::echo().await;
    let (near, far) = joined(Wording { egress, ..Wording::default() }, &target).await;
    let live = served(&near).await;
    tokio::time::sleep(2 * idle_connection).await;
    assert_eq!(far.metrics.connections.get(), 1, "a tunnel keeps it");
    drop(live);
    near.connections(0).await;
    until(|| far.metrics.connections.get() == 0, "the connection goes").await;
    served(&near).await;
    assert_eq!(far.metrics.accepted.get(), 2);
}

#[tokio::test]
async fn a_tunnel_in_which_nobody_speaks_is_closed_in_order() {
    let limits = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let target = Target::echo().await;
    let (near, _far) = joined(Wording { limits, ..Wording::default() }, &target).await;
    let mut client = served(&near).await;
    assert_eq!(read_to_end(&mut client).await, (vec![], None), "an end, no reset");
    near.ended(End::Idle, 1).await;
}

/// A far gateway takes longer to find a target than a tunnel is waited for: it lives all the same.
#[tokio::test]
async fn a_gateway_that_is_slow_to_dial_keeps_its_tunnels() {
    let egress = EgressLimits { open: Duration::from_millis(700), ..hasty() };
    let (target, deaf) = (Target::echo().await, Deaf::start().await);
    let (near, far) = joined(Wording { egress, ..Wording::default() }, &target).await;
    let mut live = served(&near).await;
    far.route(deaf.address);
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    assert_eq!(read_to_end(&mut client).await.0, b"");
    near.ended(End::NoTarget, 1).await;
    assert_eq!(near.failures(Fault::Timeout), 1);
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    far.route(target.address);
    let _later = served(&near).await;
    assert_eq!(far.metrics.accepted.get(), 1, "it was not left");
    // Nor is a CONNECT given up: who does that too often is cut off, and everybody else with it.
    let no_target = || far.metrics.ends(diolkos_hbone::End::NoTarget) == 1;
    until(no_target, "the other gateway gives its answer").await;
    assert_eq!(far.metrics.ends(diolkos_hbone::End::Abandoned), 0);
    near.tunnels(2).await;
}
