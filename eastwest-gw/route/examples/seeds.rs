//! Writes the seeds of the fuzz targets: what real clients send, whole and in fragments.
//!
//! `cargo run -p diolkos-route --example seeds` from the workspace's root.
#![allow(clippy::disallowed_methods, reason = "the corpus is a folder")]

#[path = "../tests/hellos/mod.rs"]
mod hellos;

use std::path::Path;
use std::sync::Arc;

use hellos::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

/// How the fuzz target reads a seed: cut into `cut` + 1 bytes; the rest as it is, or in records.
fn seed(cut: u8, wrap: u8, bytes: &[u8]) -> Vec<u8> {
    [&[cut, wrap][..], bytes].concat()
}

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let hellos = corpus.join("client_hello");
    let names = corpus.join("sni");
    std::fs::create_dir_all(&hellos)?;
    std::fs::create_dir_all(&names)?;
    for (name, bytes) in client_hellos() {
        std::fs::write(hellos.join(name), bytes)?;
    }
    for (name, text) in [
        ("istio", ISTIO_NAME),
        ("subset", "outbound_.80_.v1_.x.ns.svc.cluster.local"),
        ("separator_in_host", "outbound_.80_._.a_.b"),
        ("upper_case", "OUTBOUND_.80_._.A.B"),
    ] {
        std::fs::write(names.join(name), text)?;
    }
    let headers = corpus.join("proxy_header");
    std::fs::create_dir_all(&headers)?;
    for (name, bytes) in proxy_headers() {
        std::fs::write(headers.join(name), bytes)?;
    }
    Ok(())
}

/// The first byte says that the signature is left out.
fn proxy_headers() -> Vec<(&'static str, Vec<u8>)> {
    let header = |command: u8, family: u8, body: &[u8]| {
        [&[1, command, family], &(body.len() as u16).to_be_bytes()[..], body].concat()
    };
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x3c, 0x53];
    let v6 = [&[0x20; 32][..], &v4[8..]].concat();
    vec![
        ("ipv4", header(0x21, 0x11, &v4)),
        ("ipv6", header(0x21, 0x21, &v6)),
        ("local", header(0x20, 0, &[])),
        ("unix", header(0x21, 0x31, &[0; 216])),
        ("extensions", header(0x21, 0x11, &[&v4[..], b"\xea\x00\x06vpce-1\x04\x00\x00"].concat())),
        ("checksum", header(0x21, 0x11, &[&v4[..], &[3, 0, 4, 0, 0, 0, 0]].concat())),
        ("overflow", header(0x21, 0x11, &[&v4[..], &[4, 0xff, 0xff, 0]].concat())),
        ("version_1", b"\0PROXY TCP4 192.0.2.7 198.51.100.1 40000 15443\r\n".to_vec()),
    ]
}

fn client_hellos() -> Vec<(&'static str, Vec<u8>)> {
    let tls13 = from_rustls(&[&version::TLS13], ISTIO_NAME);
    let tls12 = from_rustls(&[&version::TLS12], ISTIO_NAME);
    let address = from_rustls(&[&version::TLS13, &version::TLS12], "10.0.0.1");
    let post_quantum = post_quantum(ISTIO_NAME.as_bytes());
    let message_of = |bytes: &[u8]| bytes[5..].to_vec();
    vec![
        ("rustls_tls13", seed(255, 0, &tls13)),
        ("rustls_tls13_1_byte_pieces", seed(0, 0, &tls13)),
        ("rustls_tls13_1_byte_records", seed(99, 1, &message_of(&tls13))),
        ("rustls_tls12", seed(255, 0, &tls12)),
        ("rustls_tls12_64_byte_records", seed(4, 8, &message_of(&tls12))),
        ("rustls_no_name", seed(255, 0, &address)),
        ("post_quantum", seed(255, 0, &records(&post_quantum, 16384))),
        ("post_quantum_256_byte_records", seed(99, 16, &post_quantum)),
        (
            "ech",
            seed(255, 0, &records(&message(&[ech(0), sni(&[b"a.b"]), alpn(&["istio"])]), 16384)),
        ),
        ("two_names", seed(255, 30, &message(&[signature_algorithms(), sni(&[b"a.b", b"c.d"])]))),
        ("trailing_dot", seed(255, 0, &named(b"a.b."))),
        ("address", seed(255, 0, &named(b"10.0.0.1"))),
        ("upper_case", seed(255, 0, &named(b"A.B"))),
        (
            "alert_inside",
            seed(9, 0, &[record(22, &post_quantum[..40]), record(21, &[1, 0])].concat()),
        ),
        ("http", seed(255, 0, b"GET / HTTP/1.1\r\n\r\n")),
    ]
}

/// What rustls sends first to a server of this name.
fn from_rustls(versions: &[&'static SupportedProtocolVersion], server: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("ring has suites for both versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"istio-peer-exchange".to_vec(), b"istio".to_vec()];
    let server = server.to_owned().try_into().expect("a server name");
    let mut client =
        ClientConnection::new(Arc::new(config), server).expect("a valid configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a Vec takes all bytes");
    hello
}
