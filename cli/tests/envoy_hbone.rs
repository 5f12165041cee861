//! HBONE with stock Envoys at both ends and the gateway between them: the outer tunnel ends at the
//! gateway, the inner one, which the gateway does not see into, at the workload.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Process, World, call, eventually, gateway_manifest, service_manifest};

const EAST: u8 = 213;
const WEST: u8 = 214;
const AUTHORITY: &str = "catalog.shop.svc.cluster.local:8080";
const GATEWAY: &str = "spiffe://cluster.local/ns/diolkos-system/sa/eastwest";
const CATALOG: &str = "spiffe://cluster.local/ns/shop/sa/catalog";

fn at(octet: u8, rest: [u8; 2], port: u16) -> SocketAddr {
    ([127, octet, rest[0], rest[1]], port).into()
}

fn gateway_at() -> SocketAddr {
    at(EAST, [0, 20], 15008)
}

/// The application: says back what it is sent, after a head that HTTP clients understand.
fn application() -> SocketAddr {
    let listener = TcpListener::bind((at(EAST, [1, 1], 0).ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut seen = [0; 4096];
                let read = stream.read(&mut seen).unwrap_or(0);
                if seen.starts_with(b"GET") {
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
                    let _ = stream.write_all(format!("{head}hello").as_bytes());
                    return;
                }
                let mut back = seen[..read].to_vec();
                // The end of what is sent must come here before the answer can go there.
                if stream.read_to_end(&mut back).is_ok() {
                    let _ = stream.write_all(&back);
                }
            });
        }
    });
    address
}

/// Who an Envoy is, and which roots it believes.
fn certificates(dir: &Path, validation: Value) -> Value {
    let file = |name: &str| json!({ "filename": dir.join(name) });
    let mut validation = validation;
    validation["trusted_ca"] = file("root-cert.pem");
    json!({
        "alpn_protocols": ["h2"],
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            { "certificate_chain": file("cert-chain.pem"), "private_key": file("key.pem") },
        ],
        "validation_context": validation,
    })
}

fn of(id: &str) -> Value {
    json!({ "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": id } }] })
}

const TYPE: &str = "type.googleapis.com/envoy";

/// A cluster that HBONE is spoken to.
fn hbone(name: &str, dir: &Path, server: &str, address: &Value) -> Value {
    let endpoint = json!({ "endpoint": { "address": address } });
    json!({
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                "common_tls_context": certificates(dir, of(server)),
            },
        },
    })
}

fn tunnels(cluster: &str) -> Value {
    json!([{ "filters": [{
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": format!("{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": cluster,
            "cluster": cluster,
            "tunneling_config": { "hostname": AUTHORITY },
        },
    }] }])
}

fn socket(address: SocketAddr) -> Value {
    let (ip, port) = (address.ip(), address.port());
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

/// Bytes come in plainly, and go out in a tunnel in a tunnel.
fn client(dir: &Path, listen: SocketAddr) -> Value {
    let outer = json!({ "envoy_internal_address": { "server_listener_name": "outer" } });
    json!({
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": format!("{TYPE}.extensions.bootstrap.internal_listener.v3.InternalListener"),
            },
        }],
        "static_resources": {
            "listeners": [
                {
                    "name": "application",
                    "address": socket(listen),
                    "filter_chains": tunnels("inner"),
                },
                { "name": "outer", "internal_listener": {}, "filter_chains": tunnels("gateway") },
            ],
            "clusters": [
                hbone("inner", dir, CATALOG, &outer),
                hbone("gateway", dir, GATEWAY, &socket(gateway_at())),
            ],
        },
    })
}

/// As ztunnel or a waypoint ends a tunnel, in front of the application.
fn server(dir: &Path, listen: SocketAddr, application: SocketAddr) -> Value {
    let connect = json!({ "upgrade_type": "CONNECT" });
    let mut route = json!({ "cluster": "application" });
    route["upgrade_configs"] = json!([{ "upgrade_type": "CONNECT", "connect_config": {} }]);
    let manager = json!({
        "@type": format!(
            "{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "inbound",
        "http2_protocol_options": { "allow_connect": true },
        "upgrade_configs": [connect],
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "connect_matcher": {} }, "route": route }],
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router") },
        }],
    });
    let endpoint = json!({ "endpoint": { "address": socket(application) } });
    json!({ "static_resources": {
        "listeners": [{
            "name": "inbound",
            "address": socket(listen),
            "filter_chains": [{
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": format!(
                            "{TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
                        ),
                        "require_client_certificate": true,
                        "common_tls_context": certificates(dir, json!({})),
                    },
                },
                "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }],
            }],
        }],
        "clusters": [{
            "name": "application",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": "application",
                "endpoints": [{ "lb_endpoints": [endpoint] }],
            },
        }],
    } })
}

fn envoy(world: &World, name: &str, envoy: &Path, config: &Value, listen: SocketAddr) -> Process {
    let file = format!("{name}.json");
    world.write(&file, &config.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
    command.args(["leash", "--"]).arg(envoy).arg("-c").arg(world.path(&file));
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
    Process::start(name, &world.path(&format!("{name}.log")), command).listening(listen)
}

fn gateway(world: &World) -> Process {
    let identity = world.leaf("gateway", "east", "diolkos-system/eastwest", &[]);
    let ip = gateway_at().ip().to_string();
    let process = world.own("gateway", |command| {
        command
            .args(["gateway", "--cluster", "east", "--pod", "eastwest-1", "--ip", &ip])
            .args(["--source", &ip, "--primary", &at(EAST, [0, 1], 15012).to_string()])
            .args(["--hbone", &gateway_at().to_string(), "--identity"])
            .arg(identity);
    });
    process.listening(at(EAST, [0, 20], 15443)).listening(gateway_at())
}

#[test]
fn a_tunnel_in_a_tunnel_between_envoys_passes_the_gateway_and_comes_out_as_it_went_in() {
    let Some(program) = std::env::var_os("DIOLKOS_TEST_ENVOY") else {
        eprintln!(
            "skipped: DIOLKOS_TEST_ENVOY names no Envoy; `cargo xtask test envoy` installs one"
        );
        return;
    };
    let world = World::new(&[("east", EAST), ("west", WEST)]);
    let ip = gateway_at().ip().to_string();
    world.write("clusters/east/gateway.yaml", &gateway_manifest("east", &[&ip]));
    let workload = at(EAST, [1, 1], 8080);
    let pods = [("catalog-1", workload.ip().to_string())];
    let pods = pods.each_ref().map(|(pod, ip)| (*pod, ip.as_str(), "catalog"));
    world.write("clusters/east/catalog.yaml", &service_manifest("catalog", "tcp", &pods));
    let (web, catalog) = (
        world.leaf("web", "west", "shop/web", &[]),
        world.leaf("catalog", "east", "shop/catalog", &[]),
    );
    let (program, listen) = (Path::new(&program), at(WEST, [0, 9], 9000));
    let _processes = [
        world.primary("east", EAST),
        gateway(&world),
        envoy(&world, "server", program, &server(&catalog, workload, application()), workload),
        envoy(&world, "client", program, &client(&web, listen), listen),
    ];

    let mut last = Value::Null;
    let reached = eventually(Duration::from_secs(20), || {
        last = call(&[
            format!("--identity={}", web.display()),
            format!("--hbone={}", gateway_at()),
            format!("--gateway-id={GATEWAY}"),
            format!("--expect={CATALOG}"),
            "--double".into(),
            "http://catalog.shop:8080/".into(),
        ]);
        last["server"] == CATALOG && last["failure"].is_null()
    });
    let logs = ["gateway", "server", "client"].map(|name| world.log(name)).join("\n---\n");
    assert!(reached, "our own client: {last:#}\n{logs}");

    let answered = eventually(Duration::from_secs(20), || {
        get(listen).is_ok_and(|answer| answer.ends_with("hello"))
    });
    assert!(answered, "Envoy as client:\n{}\n{}", world.log("gateway"), world.log("client"));
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let mut stream = TcpStream::connect(listen).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} bytes of {} came back\n{logs}", back.len(), sent.len());
    let caller = "caller=spiffe://cluster.local/ns/shop/sa/web cluster=\"west\"";
    world.logged("gateway", &format!("{caller} service=\"{AUTHORITY}\""));
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: catalog\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
