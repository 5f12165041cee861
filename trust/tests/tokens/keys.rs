//! What a file of keys may say.

use diolkos_trust::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, Jwks};
use serde_json::{Value, json};

use crate::issuer::{Keys, coded};

/// The P-256 key, but for one member (`null` takes it away).
fn but(member: &str, value: Value) -> Value {
    let mut key = Keys::new().jwks()["keys"][0].clone();
    match value {
        Value::Null => drop(key.as_object_mut().unwrap().remove(member)),
        value => key[member] = value,
    }
    key
}

fn refusal(keys: &Value) -> String {
    let text = json!({ "keys": keys }).to_string();
    Jwks::parse(text.as_bytes()).expect_err(&text).to_string()
}

#[test]
fn a_set_that_is_not_what_an_issuer_publishes_is_refused() {
    let rsa = |n: &[u8]| json!([{"kty": "RSA", "kid": "a", "n": coded(n), "e": "AQAB"}]);
    for (keys, told) in [
        (json!([]), "holds no key for RS256, ES256 or EdDSA"),
        (json!([1]), "key 1: it is no object"),
        (json!([but("kty", Value::Null)]), "key 1: it has no kty"),
        (json!([but("kid", Value::Null)]), "key 1: it has no kid"),
        (json!([but("kid", json!(""))]), "key 1: it has no kid"),
        (json!([but("kid", json!(7))]), "key 1: its kid is no text"),
        (json!([but("x", Value::Null)]), "key 1: it has no x"),
        (json!([but("x", json!("AA"))]), "key 1: its x has 1 bytes, not 32"),
        (json!([but("y", json!("a+b="))]), "key 1: its y: Invalid"),
        (json!([but("d", json!("AA"))]), "key 1: it is secret; write only public keys"),
        (json!([{"kty": "oct", "kid": "a", "k": "AA"}]), "key 1: it is secret"),
        (json!([but("x", json!(coded(&[1; 32]))), but("alg", json!("ES256"))]), "key 2: another"),
        (rsa(&[0xff; 128]), "key 1: its modulus has 1024 bits; 2048 to 8192"),
        (rsa(&[0x7f; 256]), "key 1: its modulus has 2047 bits"),
        (rsa(&[0xff; 1025]), "key 1: its modulus has 8200 bits"),
        (rsa(&[&[0][..], &[0xff; 256]].concat()), "key 1: its n begins with a zero"),
    ] {
        let said = refusal(&keys);
        assert!(said.contains(told), "{told}: {said}");
    }
    for (text, told) in [
        ("", "no set of keys: EOF"),
        ("[]", "no set of keys: it is no object"),
        ("{}", "it has no list \"keys\"; write what the API server says at /openid/v1/jwks"),
        (r#"{"keys": [], "keys": []}"#, "a key is there twice"),
    ] {
        let said = Jwks::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(told), "{text}: {said}");
    }
}

#[test]
fn a_key_for_something_else_is_passed_over() {
    for other in [
        but("use", json!("enc")),
        but("alg", json!("ES384")),
        but("crv", json!("P-384")),
        json!({"kty": "OKP", "crv": "X25519", "kid": "a", "x": coded(&[1; 32])}),
        json!({"kty": "RSA", "kid": "a", "alg": "RS512"}),
        json!({"kty": "AKP"}),
    ] {
        assert!(refusal(&json!([other.clone()])).contains("holds no key"), "{other}");
        let text = json!({"keys": [other, but("kid", json!("good"))]}).to_string();
        assert_eq!(Jwks::parse(text.as_bytes()).unwrap().keys().count(), 1, "{text}");
    }
}

#[test]
fn as_many_keys_and_bytes_as_the_limit_and_not_one_more() {
    let keys = |count: usize| -> Value {
        let of = |index: usize| but("kid", json!(index.to_string()));
        json!({"keys": (0..count).map(of).collect::<Vec<_>>()})
    };
    let parse = |set: &Value| Jwks::parse(set.to_string().as_bytes());
    assert_eq!(parse(&keys(JWKS_KEYS_MAX)).unwrap().keys().count(), JWKS_KEYS_MAX);
    let told = parse(&keys(JWKS_KEYS_MAX + 1)).unwrap_err().to_string();
    assert_eq!(told, "it holds 33 keys, at most 32 are read");

    let mut text = keys(1).to_string();
    text.extend(std::iter::repeat_n(' ', JWKS_BYTES_MAX - text.len()));
    assert!(Jwks::parse(text.as_bytes()).is_ok());
    text.push(' ');
    let told = Jwks::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(told, "it has 65537 bytes, at most 65536 are read");
}
