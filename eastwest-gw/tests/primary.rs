//! The whole gateway as its operator runs it: a primary, real TLS through it, the admin endpoint.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use diolkos_eastwest_gw::{ControlPort, GatewayError, GatewaySettings, run};
use diolkos_ops::{Shutdown, Trigger};
use diolkos_route::HostName;
use diolkos_xds::ResourceType;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use world::ends::{call, tls_target};
use world::mesh::Mesh;
use world::pages::{free, until_answered};
use world::primary::Primary;
use world::*;

struct Running {
    address: SocketAddr,
    admin: SocketAddr,
    trigger: Trigger,
    task: JoinHandle<Result<(), GatewayError>>,
}

fn start(mesh: &Mesh, primary: &Primary, listen: Option<SocketAddr>, admin: SocketAddr) -> Running {
    started(GatewaySettings { listen, admin: Some(admin), ..primary.settings(mesh) })
}

fn started(settings: GatewaySettings) -> Running {
    let (trigger, shutdown) = Shutdown::new();
    let admin = settings.admin.unwrap();
    let address = settings.listen.unwrap_or(admin);
    Running { address, admin, trigger, task: tokio::spawn(run(settings, shutdown)) }
}

fn put_route(primary: &Primary, target: SocketAddr) {
    primary.put(ResourceType::Cluster, ISTIO_NAME, resources::cluster(ISTIO_NAME));
    primary.put(ResourceType::Endpoint, ISTIO_NAME, resources::endpoints(ISTIO_NAME, &[target]));
}

#[tokio::test]
async fn a_request_crosses_with_both_identities_verified_also_while_the_primary_is_away() {
    let mesh = Mesh::new();
    let mut primary = Primary::start(&mesh).await;
    let target = tls_target(&mesh).await;
    let (address, admin) = (free("127.0.0.4"), free("127.0.0.5"));
    let gateway = start(&mesh, &primary, None, admin);
    let ready = |answer: &str| answer.starts_with("HTTP/1.1 200");
    until_answered(admin, "/ready", |answer| answer.starts_with("HTTP/1.1 503")).await;
    assert!(TcpStream::connect(address).await.is_err(), "it listens before it is told where");

    put_route(&primary, target.address);
    primary.put(ResourceType::Listener, "sni", resources::listener(address));
    until_answered(admin, "/ready", ready).await;
    assert_eq!(call(&mesh, address).await.unwrap(), "spiffe://cluster.local/ns/shop/sa/web");

    primary.go_away().await;
    let state = "/debug/diolkos.json";
    until_answered(admin, state, |answer| answer.contains("\"connected\":false")).await;
    assert_eq!(call(&mesh, address).await.unwrap(), "spiffe://cluster.local/ns/shop/sa/web");
    until_answered(admin, "/ready", ready).await;

    primary.remove(ResourceType::Cluster, ISTIO_NAME);
    primary.come_back();
    until_answered(admin, state, |answer| answer.contains("\"routes\":0")).await;
    assert!(call(&mesh, address).await.is_err());
    until_answered(admin, state, |answer| answer.contains("\"unknown_name\":1")).await;

    gateway.trigger.fire();
    timeout(PATIENCE, gateway.task).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_bad_resource_is_refused_with_its_reason_and_the_rest_is_served() {
    let mesh = Mesh::new();
    let primary = Primary::start(&mesh).await;
    let target = tls_target(&mesh).await;
    let listen = free("127.0.0.6");
    primary.put(ResourceType::Listener, "sni", resources::listener(listen));
    primary.put(ResourceType::Cluster, "outbound|80||a.b", resources::cluster("outbound|80||a.b"));
    put_route(&primary, target.address);
    let gateway = start(&mesh, &primary, Some(listen), free("127.0.0.7"));
    until_answered(gateway.admin, "/ready", |answer| answer.starts_with("HTTP/1.1 200")).await;
    assert_eq!(call(&mesh, gateway.address).await.unwrap(), Mesh::id("web").to_string());
    until(|| !primary.nacks().is_empty(), "the primary hears of the bad cluster").await;
    let reason = primary.nacks().remove(0);
    assert!(reason.starts_with("outbound|80||a.b: "), "{reason}");
    let state = until_answered(gateway.admin, "/debug/diolkos.json", |_| true).await;
    assert!(state.contains("\"last_nack\":\"CDS: outbound|80||a.b: "), "{state}");
    let routes = until_answered(gateway.admin, "/debug/routes", |_| true).await;
    assert!(routes.contains(&format!("\"address\":\"{}\"", target.address)), "{routes}");
    let metrics = until_answered(gateway.admin, "/metrics", |_| true).await;
    assert!(metrics.contains("diolkos_gateway_routes 1"), "{metrics}");
    drop(gateway.trigger);
    timeout(PATIENCE, gateway.task).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn the_gateway_moves_when_the_listener_does() {
    let mesh = Mesh::new();
    let primary = Primary::start(&mesh).await;
    let target = tls_target(&mesh).await;
    let (first, second) = (free("127.0.0.8"), free("127.0.0.9"));
    put_route(&primary, target.address);
    primary.put(ResourceType::Listener, "sni", resources::listener(first));
    let gateway = start(&mesh, &primary, None, free("127.0.0.10"));
    until_answered(gateway.admin, "/ready", |answer| answer.starts_with("HTTP/1.1 200")).await;
    assert!(call(&mesh, first).await.is_ok());
    primary.put(ResourceType::Listener, "sni", resources::listener(second));
    let deadline = Instant::now() + PATIENCE;
    while call(&mesh, second).await.is_err() {
        assert!(Instant::now() < deadline, "it does not listen on the new address");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(TcpStream::connect(first).await.is_err(), "the old address is left");
    gateway.trigger.fire();
    timeout(PATIENCE, gateway.task).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn r16_health_says_what_holds_it_up_and_that_it_drains_until_the_last_connection_ended() {
    let mesh = Mesh::new();
    let primary = Primary::start(&mesh).await;
    let target = Target::echo().await;
    let (listen, health) = (free("127.0.0.18"), free("127.0.0.19"));
    let gateway = started(GatewaySettings {
        listen: Some(listen),
        health: Some(health),
        admin: Some(free("127.0.0.20")),
        drain: Duration::from_secs(20),
        ..primary.settings(&mesh)
    });
    let path = "/healthz/ready";
    until_answered(health, path, |told| told.ends_with("\nwaiting for its first routes\n")).await;
    put_route(&primary, target.address);
    primary.put(ResourceType::Listener, "sni", resources::listener(listen));
    until_answered(health, path, |told| told.starts_with("HTTP/1.1 200")).await;
    let metrics = until_answered(health, "/metrics", |_| true).await;
    assert!(metrics.contains("diolkos_gateway_accepted_total 0"), "{metrics}");
    for page in ["/ready", "/debug/routes", "/debug/diolkos.json"] {
        until_answered(health, page, |told| told.starts_with("HTTP/1.1 404")).await;
    }

    let mut live = TcpStream::connect(listen).await.unwrap();
    live.write_all(&hello()).await.unwrap();
    expect_echo(&mut live, &hello()).await;
    gateway.trigger.fire();
    until_answered(health, path, |told| told.ends_with("\ndraining\n")).await;
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    drop(live);
    timeout(PATIENCE, gateway.task).await.expect("it ends").unwrap().unwrap();
    assert!(TcpStream::connect(health).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_said_with_the_way_out() {
    let mesh = Mesh::new();
    let primary = Primary::start(&mesh).await;
    let taken = std::net::TcpListener::bind("127.0.0.11:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let gateway = start(&mesh, &primary, Some(listen), free("127.0.0.12"));
    let error = timeout(PATIENCE, gateway.task).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {listen}: ")), "{error}");
    assert!(error.ends_with("is another gateway running there?"), "{error}");
    drop(gateway.trigger);
}

/// The second gateway is in a cluster without a primary: it has its routes from the first one's,
/// through it, and both ends of that stream verify each other.
#[tokio::test]
async fn a_cluster_without_a_primary_reaches_one_through_its_gateway() {
    let mesh = Mesh::new();
    let primary = Primary::start(&mesh).await;
    let target = tls_target(&mesh).await;
    let [first, second] = [free("127.0.0.13"), free("127.0.0.14")];
    put_route(&primary, target.address);
    primary.put(ResourceType::Listener, "sni", resources::listener(first));
    let mut settings = GatewaySettings {
        listen: Some(first),
        control: vec![ControlPort {
            listen: free("127.0.0.15"),
            names: vec![HostName::new(b"primary.test").unwrap()],
            host: primary.address.ip().to_string(),
            port: primary.address.port(),
        }],
        admin: Some(free("127.0.0.16")),
        ..primary.settings(&mesh)
    };
    let near = started(settings.clone());
    until_answered(near.admin, "/ready", |answer| answer.starts_with("HTTP/1.1 200")).await;

    settings.primary.place = settings.control[0].listen.into();
    settings.control.clear();
    (settings.listen, settings.admin) = (Some(second), Some(free("127.0.0.17")));
    let far = started(settings);
    until_answered(far.admin, "/ready", |answer| answer.starts_with("HTTP/1.1 200")).await;
    assert_eq!(call(&mesh, second).await.unwrap(), Mesh::id("web").to_string());
    let state = until_answered(near.admin, "/debug/diolkos.json", |_| true).await;
    let shown = format!("\"addresses\":[\"{}\"],\"fault\":null", primary.address);
    assert!(state.contains("\"names\":[\"primary.test\"]"), "{state}");
    assert!(state.contains(&shown), "{state}");
    for gateway in [far, near] {
        gateway.trigger.fire();
        timeout(PATIENCE, gateway.task).await.expect("it ends").unwrap().unwrap();
    }
}
