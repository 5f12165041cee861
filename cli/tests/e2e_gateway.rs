//! `diolkos gateway` as in a pod: by the environment of its manifest, with a token, and a primary
//! that issues certificates.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;
#[path = "support/vouching.rs"]
mod vouching;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{
    PRIMARY_NAME, Process, World, eventually, gateway_manifest, http_get, service_manifest,
};

#[test]
fn plays_the_primary() {
    vouching::play();
}

/// A caller in west, and a service, a gateway and its primary in east. Each test on addresses of its
/// own.
struct Ground {
    world: World,
    west: u8,
    east: u8,
}

const TOKEN: &str = "of the gateway";

impl Ground {
    fn new(octets: [u8; 2]) -> Self {
        let [west, east] = octets;
        let world = World::new(&[("west", west), ("east", east)]);
        let address = format!("127.{east}.0.20");
        world.write("clusters/east/gateway.yaml", &gateway_manifest("east", &[&address]));
        let pods = [("catalog-east-1", format!("127.{east}.1.1"))];
        let pods = pods.each_ref().map(|(pod, ip)| (*pod, ip.as_str(), "catalog"));
        world.write("clusters/east/catalog.yaml", &service_manifest("catalog", "http", &pods));
        world.write("clusters/west/catalog.yaml", &service_manifest("catalog", "http", &[]));
        world.write("pod/token", TOKEN);
        world.write("pod/root-cert.pem", &world.root.root_pem());
        Self { world, west, east }
    }

    fn at(&self, last: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(127, self.east, 0, last), port).into()
    }

    fn primary(&self) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let (mesh, ca) = (self.world.path("mesh.yaml"), self.world.path("cacerts/east"));
        let tokens = [(TOKEN, "diolkos-system/eastwest"), ("of a pod", "shop/catalog")];
        vouching::primary(&mut command, "east", &mesh, &ca, self.at(1, 15012), &tokens);
        let log = self.world.path("primary.log");
        Process::start("primary", &log, command).listening(self.at(1, 15012))
    }

    fn gateway(&self) -> Process {
        let process = self.world.own("gateway", |command| {
            let ip = self.at(20, 0).ip().to_string();
            for (name, value) in [
                ("POD_NAME", "eastwest-1"),
                ("POD_NAMESPACE", "diolkos-system"),
                ("POD_IPS", &ip),
                ("SERVICE_ACCOUNT", "eastwest"),
                ("DIOLKOS_CLUSTER", "east"),
                ("DIOLKOS_NETWORK", "east"),
                ("DIOLKOS_TRUST_DOMAIN", "cluster.local"),
                ("DIOLKOS_CLUSTER_DOMAIN", "cluster.local"),
            ] {
                command.env(name, value);
            }
            command
                .args(["gateway", "--source", &ip, "--primary-name", PRIMARY_NAME])
                .arg(format!("--primary={}", self.at(1, 15012)))
                .arg(format!("--token={}", self.world.path("pod/token").display()))
                .arg(format!("--roots={}", self.world.path("pod/root-cert.pem").display()))
                .arg(format!("--listen={}", self.at(20, 15443)))
                .arg(format!("--health={}", self.at(20, 15021)))
                .arg(format!("--admin={}", self.at(20, 15014)))
                .arg("--drain-seconds=1");
        });
        process.listening(self.at(20, 15021))
    }

    /// What it says of its names to a person, and how that ended.
    fn table(&self) -> (String, Option<i32>) {
        let admin = self.at(20, 15014).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
        // As in its pod, whose environment is a gateway's.
        command.args(["gateway", "sni", "--admin", &admin]).env("POD_NAME", "eastwest-1");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code())
    }

    fn health(&self) -> String {
        http_get(self.at(20, 15021), "/healthz/ready").trim().to_owned()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let met = eventually(Duration::from_secs(30), holds);
        assert!(met, "in vain waited until {what}:\n{}", self.world.log("gateway"));
    }

    fn certificates(&self) -> u64 {
        let text = http_get(self.at(20, 15021), "/metrics");
        let line = text.lines().find_map(|line| {
            line.strip_prefix("diolkos_gateway_certificates_total ")?.parse().ok()
        });
        line.unwrap_or_else(|| panic!("{text}"))
    }

    /// From west, where the service has no pod: there is no way but through the gateway.
    fn crosses(&self) {
        let identity = self.world.path("identities/client");
        let mut args = self.world.caller("west", self.west, &identity);
        args.push("http://catalog.shop:8080/".into());
        let answered = |line: &Value| line["echo"]["pod"] == "catalog-east-1";
        self.world.call_until("catalog in east answers", &args, answered);
    }
}

#[test]
fn a_gateway_with_a_token_is_ready_once_it_has_certificate_and_routes_and_stays_so() {
    let ground = Ground::new([86, 87]);
    ground.world.leaf("client", "west", "shop/client", &[]);
    let _west = ground.world.primary("west", ground.west);
    let _catalog = ground.world.echo("east", ground.east, 1, "catalog");
    let gateway = ground.gateway();
    ground.until("it tried", || ground.world.log("gateway").contains("no certificate yet"));
    assert_eq!(ground.health(), "waiting for its certificate");
    assert_eq!(http_get(ground.at(20, 15021), "/healthz").trim(), "alive");

    let primary = ground.primary();
    ground.until("it is ready", || ground.health() == "ready");
    let name = "outbound_.8080_._.catalog.shop.svc.cluster.local";
    let row = |text: &str| -> Vec<String> {
        let row =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let target = format!("{}:8080", Ipv4Addr::new(127, ground.east, 1, 1));
    assert_eq!(row(&ground.table().0), [&target, "1", "0", "never"]);
    ground.crosses();
    let (text, code) = ground.table();
    assert_eq!(
        (&row(&text)[..4], code),
        (&[&target, "1", "0", "ok,"].map(str::to_owned)[..], Some(0))
    );

    // Other roots are a reason to renew at once.
    let other = ground.world.authority("west").root_pem();
    let text = format!("{}{}", ground.world.root.root_pem(), other);
    ground.world.write("pod/root-cert.pem", &text);
    ground.until("the certificate is another", || ground.certificates() == 2);

    primary.kill();
    let state = || http_get(ground.at(20, 15014), "/debug/diolkos.json");
    ground.until("it sees the primary gone", || state().contains("\"connected\":false"));
    ground.crosses();
    assert_eq!(ground.health(), "ready", "what is known holds");
    let _back = ground.primary();
    ground.until("it is on its primary again", || state().contains("\"connected\":true"));
    ground.crosses();

    gateway.terminate();
    let status = gateway.ended(Duration::from_secs(15)).expect("it ends");
    assert!(status.success(), "{status}");
    let (text, code) = ground.table();
    assert!(text.contains("nobody listens there"), "{text}");
    assert_eq!(code, Some(4));
}

#[test]
fn a10_a_wrong_token_is_told_with_its_cause_and_the_way_out() {
    let ground = Ground::new([88, 89]);
    ground.world.write("pod/token", "of nobody");
    let _primary = ground.primary();
    let _gateway = ground.gateway();
    let ready = || http_get(ground.at(20, 15014), "/ready");
    ground.until("the refusal is told", || ready().contains("does not know it"));
    let told = ready();
    assert!(told.starts_with("waiting for its certificate: the primary refuses: "), "{told}");
    assert!(told.contains("pod/token a projected token of this pod"), "{told}");
    assert_eq!(ground.health(), "waiting for its certificate", "health tells no more");
    let log = ground.world.log("gateway");
    assert!(log.contains("no certificate yet") && log.contains("does not know it"), "{log}");

    ground.world.write("pod/token", "of a pod");
    ground.until("another's certificate is not taken", || {
        ready().contains("gave a certificate of spiffe://cluster.local/ns/shop/sa/catalog")
    });
    ground.world.write("pod/token", TOKEN);
    ground.until("it is ready", || ground.health() == "ready");
    let state = http_get(ground.at(20, 15014), "/debug/diolkos.json");
    assert!(state.contains("\"certificate\":{\"not_after_seconds\":1"), "{state}");
}
