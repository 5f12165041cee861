//! `diolkos sidecar` and `diolkos ca` as processes, with a stand-in for Envoy that does nothing:
//! certificates, probes, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;
#[path = "support/vouching.rs"]
mod vouching;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use support::{PRIMARY_NAME, Process, World, eventually, http_get, valid};

#[test]
fn plays_the_primary() {
    vouching::play();
}

/// Each test on addresses of its own.
struct Ground {
    world: World,
    octet: u8,
}

impl Ground {
    fn new(octet: u8) -> Self {
        let world = World::new(&[("west", octet)]);
        world.write("pod/token", "t");
        world.write("pod/root-cert.pem", &world.root.root_pem());
        world.write("envoy", "#!/bin/sh\nexec sleep 600\n");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(world.path("envoy"), executable).unwrap();
        Self { world, octet }
    }

    fn at(&self, last: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(127, self.octet, 0, last), port).into()
    }

    fn primary(&self) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let (mesh, ca) = (self.world.path("mesh.yaml"), self.world.path("cacerts/west"));
        let tokens = [("t", "shop/client"), ("another", "shop/other")];
        vouching::primary(&mut command, "west", &mesh, &ca, self.at(1, 15012), &tokens);
        let log = self.world.path("primary.log");
        Process::start("primary", &log, command).listening(self.at(1, 15012))
    }

    fn sidecar(&self, more: &[&str]) -> Process {
        let process = self.world.own("sidecar", |command| {
            command
                .args(["sidecar", "--cluster", "west", "--pod", "client-1"])
                .args(["--ip", &self.at(9, 0).ip().to_string()])
                .args(["--namespace", "shop", "--service-account", "client"])
                .args(["--primary", &self.at(1, 15012).to_string()])
                .args(["--primary-name", PRIMARY_NAME])
                .args(["--envoy-admin", &self.at(9, 15000).to_string()])
                .args(["--health", &self.at(9, 15021).to_string()])
                .args(["--probes", &self.at(9, 15020).to_string()])
                .args(more);
            for (flag, path) in [
                ("--token", "pod/token"),
                ("--roots", "pod/root-cert.pem"),
                ("--dir", "run"),
                ("--envoy", "envoy"),
            ] {
                command.arg(flag).arg(self.world.path(path));
            }
        });
        process.listening(self.at(9, 15021))
    }

    fn metric(&self, name: &str) -> u64 {
        let text = http_get(self.at(9, 15021), "/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let met = eventually(Duration::from_secs(60), holds);
        assert!(met, "in vain waited until {what}:\n{}", self.world.log("sidecar"));
    }
}

#[test]
fn r14_a_certificate_is_renewed_in_time_and_lasts_while_the_primary_is_away() {
    let ground = Ground::new(92);
    // The CA itself ends in 40 s, and with it all that it signs.
    let now = SystemTime::now();
    let ca = ground.world.root.intermediate("west", valid(now, Duration::from_secs(40))).unwrap();
    ca.write(&ground.world.path("cacerts/west")).unwrap();
    let primary = ground.primary();
    let sidecar = ground.sidecar(&[]);
    ground.until("the first came", || ground.metric("diolkos_sidecar_certificates_total") == 1);
    ground.until("the second came", || ground.metric("diolkos_sidecar_certificates_total") >= 2);
    assert!(now.elapsed().unwrap() < Duration::from_secs(38), "before the first had ended");
    primary.kill();
    ground.until("it is tried again", || {
        ground.metric("diolkos_sidecar_certificate_failures_total") > 0
    });
    let told = http_get(ground.at(9, 15021), "/healthz/ready");
    assert!(!told.contains("certificate"), "the one before is used: {told}");
    ground.until("it ended", || {
        http_get(ground.at(9, 15021), "/healthz/ready").contains("certificate ended")
    });
    sidecar.terminate();
    let status = sidecar.ended(Duration::from_secs(15)).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn without_roots_nothing_is_said_to_anybody() {
    let ground = Ground::new(93);
    std::fs::remove_file(ground.world.path("pod/root-cert.pem")).unwrap();
    let listener = TcpListener::bind(ground.at(1, 15012)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let sidecar = ground.sidecar(&[]);
    ground.until("it tried", || ground.metric("diolkos_sidecar_certificate_failures_total") >= 3);
    assert!(listener.accept().is_err(), "somebody was dialled who cannot be believed");
    let log = ground.world.log("sidecar");
    assert!(log.contains("without them no primary is believed"), "{log}");
    let told = http_get(ground.at(9, 15021), "/healthz/ready");
    assert!(told.contains("waiting for the workload's certificate"), "{told}");
    sidecar.terminate();
    let status = sidecar.ended(Duration::from_secs(10)).expect("it ends though it never began");
    assert!(status.success(), "{status}");
}

#[test]
fn a10_a_primary_of_other_roots_is_given_no_token_and_another_pods_token_is_no_use() {
    let ground = Ground::new(94);
    let _primary = ground.primary();
    let stranger = diolkos_trust_service::Authority::new_root(
        "stranger",
        valid(SystemTime::now(), support::DAY),
    );
    ground.world.write("pod/root-cert.pem", &stranger.unwrap().root_pem());
    ground.world.write("pod/token", "another");
    let _sidecar = ground.sidecar(&[]);
    ground.until("the primary was not believed", || {
        ground.world.log("sidecar").contains("signed by a root this mesh does not trust")
    });
    assert!(!ground.world.log("primary").contains("certificate issued"), "it was asked");
    ground.world.write("pod/root-cert.pem", &ground.world.root.root_pem());
    ground.until("the certificate was refused", || {
        let log = ground.world.log("sidecar");
        log.contains("gave a certificate of spiffe://cluster.local/ns/shop/sa/other")
    });
    ground.world.write("pod/token", "t\n");
    ground.until("the right token was read", || {
        ground.metric("diolkos_sidecar_certificates_total") == 1
    });
}

#[test]
fn probes_are_asked_of_the_application_and_nothing_else_is() {
    let ground = Ground::new(95);
    let app = TcpListener::bind(ground.at(9, 8080)).unwrap();
    std::thread::spawn(move || {
        for mut stream in app.incoming().map_while(Result::ok) {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let well = request.starts_with("GET /live?x=1 ") && request.contains("x-token: abc");
            let status = if well { "204 No Content" } else { "500 Internal Server Error" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let probes = r#"{
        "/app-health/web/livez": {"httpGet": {"port": 8080, "path": "/live?x=1", "scheme": "HTTP",
            "headers": [{"name": "X-Token", "value": "abc"}]}, "timeoutS": 2},
        "/app-health/web/readyz": {"httpGet": {"port": 8080, "path": "/other", "scheme": "HTTP"},
            "timeoutS": 2},
        "/app-health/web/startupz": {"tcpSocket": {"port": 8080}, "timeoutS": 1},
        "/app-health/db/livez": {"tcpSocket": {"port": 9}, "timeoutS": 1},
        "/app-health/db/readyz": {"grpc": {"port": 8080}, "timeoutS": 1}}"#;
    let _sidecar = ground.sidecar(&["--probes-json", probes]);
    for (path, status, says) in [
        ("/app-health/web/livez", 200, "answered 204"),
        ("/app-health/web/readyz", 503, "answered 500"),
        ("/app-health/web/startupz", 200, "takes connections"),
        ("/app-health/db/livez", 503, "refused"),
        ("/app-health/db/readyz", 503, ""),
        ("/app-health/web/other", 404, "no such page"),
        ("/metrics", 404, "no such page"),
        ("/healthz", 404, "no such page"),
    ] {
        let (got, told) = ask(ground.at(9, 15020), path);
        assert_eq!(got, status, "{path}: {told}");
        assert!(told.contains(says), "{path}: {told}");
    }
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", address.ip()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn ca(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
    command.arg("ca").args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn cas_are_made_once_and_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let text = |name: &str| path(name).display().to_string();
    let (root, west) = (text("root"), text("west"));
    let made = ca(&["root", "--out", &root, "--name", "test mesh"]);
    assert!(made.status.success(), "{made:?}");
    assert!(String::from_utf8_lossy(&made.stdout).contains("signs for the whole mesh"));
    let args = ["intermediate", "--root", &root, "--cluster", "west", "--out", &west];
    let made = ca(&args);
    assert!(made.status.success(), "{made:?}");
    let told = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(told.contains("kubectl create secret generic cacerts -n diolkos-system"), "{told}");
    diolkos_trust_service::Authority::load(&path("west")).unwrap();
    let key = std::fs::metadata(path("west").join("ca-key.pem")).unwrap().permissions().mode();
    assert_eq!(key & 0o777, 0o600);

    let other = text("other");
    for (args, says) in [
        (vec!["root", "--out", &root], "ca-cert.pem is there already: a CA is not overwritten"),
        (args.to_vec(), "ca-cert.pem is there already"),
        (
            vec!["intermediate", "--root", &other, "--cluster", "a", "--out", &other],
            "is no CA to sign with",
        ),
        (
            vec!["intermediate", "--root", &west, "--cluster", "a", "--out", &other],
            "may not sign another CA",
        ),
        (vec!["intermediate", "--root", &root, "--cluster", "", "--out", &other], "it is empty"),
        (vec!["root", "--out", &other, "--days", "0"], "0 is not in 1..=36500"),
    ] {
        let refused = ca(&args);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(says), "{args:?}: {told}");
    }
}

#[test]
fn a_primary_with_a_ca_issues_its_own_certificate() {
    let world = World::new(&[("west", 96)]);
    let listen = SocketAddr::from(([127, 96, 0, 1], 15012));
    let _primary = world
        .own("primary", |command| {
            command.args(["primary", "--cluster", "west", "--listen", &listen.to_string()]);
            command.arg("--mesh").arg(world.path("mesh.yaml"));
            command.arg("--ca").arg(world.path("cacerts/west"));
        })
        .listening(listen);
    let log = world.logged("primary", "primary started");
    assert!(log.contains("spiffe://cluster.local/ns/diolkos-system/sa/diolkos-primary"), "{log}");
}
