//! `diolkos call --token-file`: known to the primary by a service-account token.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use support::{World, call, pod_manifest, service_manifest};

const OCTET: u8 = 66;
const URL: &str = "http://catalog.shop:8080/";

fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

/// Of `shop/client` in the pod `client`, as the API server of west signs it.
fn token(audience: &str) -> String {
    let until = SystemTime::now() + Duration::from_secs(600);
    let claims = json!({
        "aud": [audience],
        "exp": until.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
        "iss": "https://west.example",
        "kubernetes.io": {
            "namespace": "shop", "pod": {"name": "client"}, "serviceaccount": {"name": "client"},
        },
        "sub": "system:serviceaccount:shop:client",
    });
    let header = json!({"alg": "EdDSA", "kid": "k"}).to_string();
    let text = format!("{}.{}", coded(header), coded(claims.to_string()));
    let signature = key().sign(text.as_bytes());
    format!("{text}.{}\n", coded(signature))
}

#[test]
fn a_caller_with_a_token_asks_the_primary_by_it() {
    let world = World::new(&[("west", OCTET)]);
    let jwks = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": coded(key().public_key()),
    }]});
    world.write("jwks.json", &jwks.to_string());
    let mesh = std::fs::read_to_string(world.path("mesh.yaml")).unwrap();
    // Nobody of west is known by a certificate here.
    let by_certificate = "caCertificate: cacerts/west/ca-cert.pem";
    let by_token = "tokens: {issuer: 'https://west.example', jwks: jwks.json}";
    assert!(mesh.contains(by_certificate));
    world.write("mesh.yaml", &mesh.replace(by_certificate, by_token));
    let pods = [("catalog-west-1", "127.66.1.1", "catalog")];
    let client = pod_manifest("client", "127.66.0.9", "client");
    let service = service_manifest("catalog", "http", &pods);
    world.write("clusters/west/catalog.yaml", &format!("{service}{client}"));
    let _primary = world.primary("west", OCTET);
    let _catalog = world.echo("west", OCTET, 1, "catalog");

    let identity = world.leaf("client", "west", "shop/client", &[]);
    let mut args = world.caller("west", OCTET, &identity);
    args.push(URL.into());
    let line = call(&args);
    let why = line["failure"]["why"].as_str().unwrap();
    assert!(why.contains("set caCertificate of its cluster"), "{why}");

    // The pod is the token's.
    let at = args.iter().position(|arg| arg == "--pod").unwrap();
    args.drain(at..at + 2);
    world.write("token", &token("diolkos-xds"));
    args.extend(["--token-file".into(), world.path("token").display().to_string()]);
    let answered = |line: &Value| line["echo"]["pod"] == "catalog-west-1";
    world.call_until("it is answered", &args, answered);

    world.write("token", &token("diolkos-ca"));
    let line = call(&args);
    assert_eq!(line["failure"]["refused_by"], "primary", "{line:#}");
    let why = line["failure"]["why"].as_str().unwrap();
    assert!(why.contains("the token is for \"diolkos-ca\", not for \"diolkos-xds\""), "{why}");
}
