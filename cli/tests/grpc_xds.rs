//! The ADS as gRPC's own xDS client sees it: a client nobody here wrote.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::{Process, Talking, World, service_manifest};

const OCTET: u8 = 71;

fn peer() -> Option<PathBuf> {
    let path = std::env::var_os("DIOLKOS_TEST_GRPC_PEER").map(PathBuf::from);
    if path.is_none() {
        eprintln!(
            "skipped: DIOLKOS_TEST_GRPC_PEER names no peer; `cargo xtask test grpc` builds it"
        );
    }
    path
}

struct Greeters<'a> {
    world: &'a World,
    peer: PathBuf,
}

impl Greeters<'_> {
    fn server(&self, last: u8, account: &str) -> Process {
        let name = format!("greeter-{last}");
        let identity = self.world.leaf(&name, "west", &format!("shop/{account}"), &[]);
        let listen = format!("127.{OCTET}.1.{last}:8080");
        let mut command = Command::new(&self.peer);
        command.args(["server", "--listen", &listen, "--name", &name]);
        command.arg("--identity").arg(identity);
        let log = self.world.path(&format!("{name}.log"));
        Process::start(&name, &log, command).listening(listen.parse().unwrap())
    }

    fn client(&self) -> Talking {
        let identity = self.world.leaf("client", "west", "shop/client", &[]);
        let file = |name: &str| identity.join(name).display().to_string();
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": format!("passthrough:///127.{OCTET}.0.1:15012"),
                "channel_creds": [{ "type": "tls", "config": {
                    "ca_certificate_file": file("root-cert.pem"),
                    "certificate_file": file("cert-chain.pem"),
                    "private_key_file": file("key.pem"),
                }}],
                "server_features": ["xds_v3"],
            }],
            "node": {
                "id": format!("sidecar~127.{OCTET}.0.9~client.shop~shop.svc.cluster.local"),
                "metadata": {
                    "GENERATOR": "grpc", "CLUSTER_ID": "west", "NAMESPACE": "shop",
                    "INSTANCE_IPS": format!("127.{OCTET}.0.9"),
                },
            },
            "certificate_providers": { "default": { "plugin_name": "file_watcher", "config": {
                "certificate_file": file("cert-chain.pem"),
                "private_key_file": file("key.pem"),
                "ca_certificate_file": file("root-cert.pem"),
                "refresh_interval": "60s",
            }}},
        });
        let path = self.world.path("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        let mut command = Command::new(&self.peer);
        command
            .args(["client", "--target", "xds:///greeter.shop.svc.cluster.local:8080"])
            .env("GRPC_XDS_BOOTSTRAP", path);
        Talking::start(command, &self.world.path("client.log"))
    }

    /// Pods by their last byte, all of account `greeter` as far as the cluster says.
    fn endpoints(&self, lasts: &[u8]) {
        let pods: Vec<(String, String)> = lasts
            .iter()
            .map(|last| (format!("greeter-{last}"), format!("127.{OCTET}.1.{last}")))
            .collect();
        let pods: Vec<(&str, &str, &str)> =
            pods.iter().map(|(pod, ip)| (pod.as_str(), ip.as_str(), "greeter")).collect();
        let text = service_manifest("greeter", "grpc", &pods);
        self.world.write("clusters/west/greeter.yaml", &text);
    }
}

#[test]
fn grpc_resolves_calls_follows_a_change_and_refuses_a_wrong_identity() {
    let Some(peer) = peer() else { return };
    let world = World::new(&[("west", OCTET)]);
    let greeters = Greeters { world: &world, peer };
    greeters.endpoints(&[1]);
    let _primary = world.primary("west", OCTET);
    let _first = greeters.server(1, "greeter");
    let _second = greeters.server(2, "greeter");
    let _third = greeters.server(3, "intruder");

    let client = greeters.client();
    let from = |pod: &'static str| move |line: &Value| line["pod"] == pod;
    let lines = client.until("the first greeter answered", from("greeter-1"));
    let answer = lines.last().unwrap();
    assert_eq!(answer["saw"], "spiffe://cluster.local/ns/shop/sa/client", "{answer:#}");

    greeters.endpoints(&[1, 2]);
    client.until("the second greeter answered too", from("greeter-2"));

    greeters.endpoints(&[2]);
    let mut in_a_row = 0;
    let settled = |line: &Value| {
        in_a_row = if line["pod"] == "greeter-2" { in_a_row + 1 } else { 0 };
        in_a_row == 20
    };
    let lines = client.until("only the second greeter answers", settled);
    let failed: Vec<_> = lines.iter().filter(|line| line["error"].is_string()).collect();
    assert!(failed.is_empty(), "a change of endpoints failed calls: {failed:#?}");

    // grpc-go enforces only the deprecated SAN field: a server with another identity must be refused.
    greeters.endpoints(&[3]);
    let mut errors = 0;
    let refused = |line: &Value| {
        assert_ne!(line["pod"], "greeter-3", "an intruder answered: {line:#}");
        errors += usize::from(line["error"].is_string());
        errors == 3
    };
    client.until("the intruder is refused", refused);
}
