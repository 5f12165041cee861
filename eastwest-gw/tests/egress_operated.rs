//! The way out as its operator runs and sees it: two whole gateways, each with its primary, real TLS
//! through both, the log and the pages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::SocketAddr;

use diolkos_eastwest_gw::{EgressSettings, End, Fault, GatewayError, GatewaySettings, run};
use diolkos_ops::{Shutdown, Trigger};
use diolkos_xds::ResourceType;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use world::ends::{call, tls_target};
use world::lines::Lines;
use world::mesh::Mesh;
use world::pages::{free, until_answered};
use world::primary::{Primary, Way};
use world::tunnels::{Far, Near};
use world::*;

struct Running {
    trigger: Trigger,
    task: JoinHandle<Result<(), GatewayError>>,
}

impl Running {
    fn start(settings: GatewaySettings) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        Self { trigger, task: tokio::spawn(run(settings, shutdown)) }
    }

    async fn end(self) {
        self.trigger.fire();
        timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
    }
}

fn put(primary: &Primary, way: Way, listen: SocketAddr, target: SocketAddr) {
    primary.put_on(way, ResourceType::Cluster, ISTIO_NAME, resources::cluster(ISTIO_NAME));
    let endpoints = resources::endpoints(ISTIO_NAME, &[target]);
    primary.put_on(way, ResourceType::Endpoint, ISTIO_NAME, endpoints);
    primary.put_on(way, ResourceType::Listener, "sni", resources::listener(listen));
}

fn is_ready(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn the_way_out_is_told_on_a_stream_of_its_own_and_shown() {
    let mesh = Mesh::new();
    let target = tls_target(&mesh).await;
    // The other network.
    let far_primary = Primary::start(&mesh).await;
    let [data, hbone, far_admin] = [free("127.0.0.31"), free("127.0.0.32"), free("127.0.0.33")];
    put(&far_primary, Way::In, data, target.address);
    let far = Running::start(GatewaySettings {
        listen: Some(data),
        hbone: Some(hbone),
        admin: Some(far_admin),
        ..far_primary.settings(&mesh)
    });
    until_answered(far_admin, "/ready", is_ready).await;

    // Ours: it is not ready before it was told both.
    let primary = Primary::start(&mesh).await;
    let [listen, out, admin] = [free("127.0.0.34"), free("127.0.0.35"), free("127.0.0.36")];
    let egress = EgressSettings { listen: out, gateways: vec![], limits: Default::default() };
    let near = Running::start(GatewaySettings {
        listen: Some(listen),
        egress: Some(egress),
        admin: Some(admin),
        ..primary.settings(&mesh)
    });
    primary.put(ResourceType::Listener, "sni", resources::listener(listen));
    let path = "/ready";
    until_answered(admin, path, |told| told.ends_with("waiting for its first routes out\n")).await;
    put(&primary, Way::Out, out, hbone);
    until_answered(admin, path, is_ready).await;
    let state = until_answered(admin, "/debug/diolkos.json", |_| true).await;
    assert!(state.contains("\"routes\":0,"), "what leads out is not let in: {state}");

    assert_eq!(call(&mesh, out).await.unwrap(), Mesh::id("web").to_string());
    let metrics = until_answered(admin, "/metrics", |_| true).await;
    for line in [
        "diolkos_gateway_egress_opened_total 1",
        "diolkos_gateway_egress_connections 1",
        "diolkos_gateway_egress_tunnels 0",
        "diolkos_gateway_egress_routes 1",
        "diolkos_gateway_egress_xds_connected 1",
        "diolkos_gateway_egress_failures_total{reason=\"timeout\"} 0",
        "diolkos_gateway_routes 0",
        "diolkos_gateway_xds_connected 1",
        "diolkos_gateway_ended_total{reason=\"finished\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let state = until_answered(admin, "/debug/diolkos.json", |_| true).await;
    let shown =
        format!("\"gateways\":[{{\"address\":\"{hbone}\",\"connections\":1,\"tunnels\":0}}]");
    assert!(state.contains(&shown), "{state}");
    assert!(state.contains("\"listener\":\"sni\""), "{state}");
    let routes = until_answered(admin, "/debug/egress?name=catalog", |_| true).await;
    let dialed = format!("\"address\":\"{hbone}\",\"weight\":1,\"priority\":0,\"last_dial\":{{");
    assert!(routes.contains(&dialed), "{routes}");
    let others = until_answered(admin, "/debug/egress?name=ledger", |_| true).await;
    assert!(others.ends_with("\n[]\n") || others.ends_with("\n[]"), "{others}");

    // The other gateway has none, and says so.
    until_answered(far_admin, "/debug/egress", |told| told.starts_with("HTTP/1.1 404")).await;
    near.end().await;
    far.end().await;
}

#[tokio::test]
async fn each_connection_out_ends_in_one_line() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let mesh = Mesh::new();
    let (near, far) = (Near::start(&mesh).await, Far::start(&mesh).await);
    let target = Target::echo().await;
    far.route(target.address);
    near.route(&[far.address]);
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    shut_down_write(&client);
    read_to_end(&mut client).await;
    near.ended(End::Finished, 1).await;
    let dead = dead_address().await;
    near.route(&[dead]);
    let mut client = near.connect().await;
    client.write_all(&hello()).await.unwrap();
    read_to_end(&mut client).await;
    near.ended(End::NoTarget, 1).await;
    assert_eq!(near.failures(Fault::Connect), 1);

    // The far gateway writes one of its own for each tunnel.
    let lines: Vec<String> =
        lines.all().into_iter().filter(|line| !line.contains("caller=")).collect();
    let [passed, missed] = lines.as_slice() else { panic!("{lines:#?}") };
    let bytes = hello().len();
    for part in [
        &format!("sni={ISTIO_NAME:?} "),
        &format!("dialed={} ", far.address),
        "tunnel=\"hbone\" ",
        &format!("to_target={bytes} to_client={bytes} "),
        "end=\"finished\"",
    ] {
        assert!(passed.contains(part), "{part} in {passed}");
    }
    assert!(!passed.contains("why="), "{passed}");
    for part in
        [&format!("dialed={dead} "), "tunnel=\"hbone\" why=\"connect: ", "end=\"no_target\""]
    {
        assert!(missed.contains(part), "{part} in {missed}");
    }
}
