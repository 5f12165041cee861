//! A13: a service-account token counts for what it says, to whom and as long as it says it, and
//! for nothing at all otherwise.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod issuer;
mod keys;

use diolkos_trust::{
    Jwks, Subject, TOKEN_BYTES_MAX, TOKEN_SKEW, TokenFault, TokenIssuer, UnverifiedToken,
};
use issuer::{Draft, Keys, NAME, NOW, claims, coded, header, now, signed};
use proptest::prelude::{any, prop_assert, proptest};
use ring::hmac;
use ring::signature::KeyPair as _;
use serde_json::{Value, json};

const AUDIENCES: &[&str] = &["diolkos-xds", "istio-ca"];

fn verified(token: &str, issuer: &TokenIssuer) -> Result<Subject, TokenFault> {
    UnverifiedToken::parse(token)?.verify(issuer, AUDIENCES, now()).map(|token| token.subject)
}

/// The honest token, but for what is set at this path (`null` takes it away).
fn but(path: &[&str], value: Value) -> Draft {
    let mut claims = claims();
    let (last, above) = path.split_last().unwrap();
    let inside = above.iter().fold(&mut claims, |inside, key| &mut inside[*key]);
    match value {
        Value::Null => drop(inside.as_object_mut().unwrap().remove(*last)),
        value => inside[*last] = value,
    }
    Draft::of(&header("ES256", "p256"), &claims)
}

fn with_header(header: &Value) -> Draft {
    Draft::of(header, &claims())
}

#[test]
fn a13_honest_tokens_of_each_algorithm_are_accepted() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let web = |pod: Option<&str>| Subject {
        namespace: "shop".into(),
        service_account: "web".into(),
        pod: pod.map(str::to_owned),
    };
    for (what, token) in [
        ("ES256", keys.es256(&Draft::honest())),
        ("EdDSA", keys.eddsa(&with_header(&header("EdDSA", "ed25519")))),
        ("RS256", keys.rs256(&with_header(&header("RS256", "rsa")))),
        ("a type", keys.es256(&with_header(&json!({"typ": "JWT", "alg": "ES256", "kid": "p256"})))),
        ("Istio's audience", keys.es256(&but(&["aud"], json!(["x", "istio-ca"])))),
        ("one audience as a text", keys.es256(&but(&["aud"], json!("diolkos-xds")))),
        ("the last second", keys.es256(&but(&["exp"], json!(NOW + 1)))),
        ("no nbf", keys.es256(&but(&["nbf"], Value::Null))),
        ("nbf within the skew", keys.es256(&but(&["nbf"], json!(NOW + 60)))),
        ("iat within the skew", keys.es256(&but(&["iat"], json!(NOW + 60)))),
    ] {
        assert_eq!(verified(&token, &issuer), Ok(web(Some("web-1"))), "{what}");
    }
    let unbound = keys.es256(&but(&["kubernetes.io", "pod"], Value::Null));
    assert_eq!(verified(&unbound, &issuer), Ok(web(None)), "made by hand, for no pod");
}

#[test]
fn a13_what_is_verified_says_who_signed_and_until_when() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let token = keys.es256(&Draft::honest());
    let token = UnverifiedToken::parse(&token).unwrap();
    assert_eq!(token.issuer(), NAME);
    assert_eq!(token.subject().unwrap().service_account, "web");
    let verified = token.verify(&issuer, AUDIENCES, now()).unwrap();
    assert_eq!(verified.expires, now() + std::time::Duration::from_secs(600));
    assert_eq!(issuer.keys.keys().filter(|key| *key == verified.key).count(), 1);
    let later = verified.expires;
    assert!(matches!(
        token.verify(&issuer, AUDIENCES, later),
        Err(TokenFault::Expired { ago }) if ago.is_zero()
    ));
}

/// Signed as it should be; what is wrong is what it says.
fn dishonest() -> Vec<(&'static str, Draft, &'static str)> {
    let honest = |claims: &str| Draft {
        header: header("ES256", "p256").to_string(),
        claims: claims.to_owned(),
    };
    let text = claims().to_string();
    let twice = |key: &str| honest(&text.replacen('{', &format!("{{\"{key}\": \"x\","), 1));
    let kubernetes = "kubernetes.io";
    vec![
        ("expired", but(&["exp"], json!(NOW - 180)), "expired 180 s ago; send a fresh one"),
        ("expired now", but(&["exp"], json!(NOW)), "expired 0 s ago"),
        ("no exp", but(&["exp"], Value::Null), "no exp, which it must have"),
        ("exp a text", but(&["exp"], json!("2099")), "exp is not a time in whole seconds"),
        ("exp below 0", but(&["exp"], json!(-1)), "exp is not a time"),
        ("exp a fraction", but(&["exp"], json!(4e9 + 0.5)), "exp is not a time"),
        ("exp beyond time", but(&["exp"], json!(u64::MAX)), "exp is not a time"),
        ("not yet valid", but(&["nbf"], json!(NOW + 61)), "nbf is 61 s ahead, at most 60"),
        ("issued ahead", but(&["iat"], json!(NOW + 61)), "iat is 61 s ahead, at most 60"),
        ("nbf a text", but(&["nbf"], json!("now")), "nbf is not a time"),
        (
            "the API server's audience",
            but(&["aud"], json!(["https://kubernetes.default.svc"])),
            "is for \"https://kubernetes.default.svc\", not for \"diolkos-xds\", \"istio-ca\"",
        ),
        ("another purpose", but(&["aud"], json!("diolkos-ca")), "is for \"diolkos-ca\", not"),
        ("a longer audience", but(&["aud"], json!("diolkos-xds2")), "is for \"diolkos-xds2\""),
        ("no audience", but(&["aud"], Value::Null), "no aud, which it must have"),
        ("an empty audience", but(&["aud"], json!([])), "is for nobody"),
        ("an audience of numbers", but(&["aud"], json!([1])), "aud is not a list of texts"),
        (
            "another issuer",
            but(&["iss"], json!("https://west.example")),
            "was issued by \"https://west.example\", not by \"https://east.example\"",
        ),
        ("an issuer with a slash", but(&["iss"], json!("https://east.example/")), "issued by"),
        ("no issuer", but(&["iss"], Value::Null), "no iss"),
        ("a user", but(&["sub"], json!("admin")), "subject \"admin\" is not a service account's"),
        ("no account", but(&["sub"], json!("system:serviceaccount:shop")), "subject"),
        ("five parts", but(&["sub"], json!("system:serviceaccount:shop:web:x")), "subject"),
        ("no name", but(&["sub"], json!("system:serviceaccount:shop:")), "subject"),
        ("a path", but(&["sub"], json!("system:serviceaccount:shop/x:web")), "subject"),
        ("upper case", but(&["sub"], json!("system:serviceaccount:Shop:web")), "subject"),
        ("a node", but(&["sub"], json!("system:node:shop:web")), "subject"),
        ("no subject", but(&["sub"], Value::Null), "no sub"),
        (
            "another account than its subject",
            but(&[kubernetes, "serviceaccount", "name"], json!("admin")),
            "kubernetes.io.serviceaccount.name says \"admin\", its subject \"web\"",
        ),
        (
            "another namespace than its subject",
            but(&[kubernetes, "namespace"], json!("bank")),
            "kubernetes.io.namespace says \"bank\", its subject \"shop\"",
        ),
        ("not of Kubernetes", but(&[kubernetes], Value::Null), "no kubernetes.io"),
        ("no account at all", but(&[kubernetes, "serviceaccount"], Value::Null), "no kubernetes"),
        ("a pod without a name", but(&[kubernetes, "pod"], json!({})), "no kubernetes.io.pod.name"),
        ("a pod that is a text", but(&[kubernetes, "pod"], json!("web-1")), "pod is not an object"),
        ("iss twice", twice("iss"), "claims cannot be read: a key is there twice"),
        ("sub twice", twice("sub"), "a key is there twice"),
        ("an unread key twice", twice("jti"), "a key is there twice"),
        (
            "a name twice, further in",
            honest(&text.replacen("\"pod\":{", "\"pod\":{\"name\":\"x\",", 1)),
            "a key is there twice",
        ),
        ("claims that are a list", honest("[]"), "claims cannot be read: it is no object"),
        ("claims and more", honest(&format!("{text} {{}}")), "claims cannot be read"),
        ("claims that are no text", honest("\u{0}"), "claims cannot be read"),
    ]
}

#[test]
fn a13_what_a_token_says_is_held_against_it() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let cases = dishonest();
    assert!(cases.len() >= 30);
    for (what, draft, told) in cases {
        let fault = verified(&keys.es256(&draft), &issuer).expect_err(what).to_string();
        assert!(fault.contains(told), "{what}: {fault}");
    }
}

/// What it says is right; how it is signed is not.
fn forged(keys: &Keys) -> Vec<(&'static str, String, &'static str)> {
    let honest = keys.es256(&Draft::honest());
    let unsigned = |header: Value| signed(&with_header(&header), |_| Vec::new());
    let hs256 = |secret: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        signed(&with_header(&header("HS256", "p256")), |text| {
            hmac::sign(&key, text).as_ref().into()
        })
    };
    let other = Keys::new();
    let strangers_key = {
        let mut header = header("ES256", "p256");
        header["jwk"] = other.jwks()["keys"][0].clone();
        header["jku"] = json!("https://evil.example/jwks");
        header
    };
    let (text, signature) = honest.rsplit_once('.').unwrap();
    let (first, _) = text.split_once('.').unwrap();
    let with_last = |last: &[u8]| format!("{text}.{}", coded(last));
    let header_twice = Draft {
        header: r#"{"alg":"none","alg":"ES256","kid":"p256"}"#.into(),
        claims: claims().to_string(),
    };
    vec![
        ("alg none", unsigned(header("none", "p256")), "algorithm \"none\" is not accepted"),
        ("alg nOnE", unsigned(header("nOnE", "p256")), "algorithm \"nOnE\" is not accepted"),
        ("no alg", unsigned(json!({"kid": "p256"})), "no alg"),
        ("no signature", unsigned(header("ES256", "p256")), "signature is not its issuer's"),
        ("HS256 by the public key", hs256(keys.p256.public_key().as_ref()), "\"HS256\""),
        ("HS256 by the JWKS", hs256(keys.jwks().to_string().as_bytes()), "\"HS256\""),
        ("HS256 by nothing", hs256(b""), "\"HS256\""),
        ("RS512", unsigned(header("RS512", "rsa")), "\"RS512\" is not accepted"),
        ("PS256", unsigned(header("PS256", "rsa")), "\"PS256\" is not accepted"),
        ("es256", unsigned(header("es256", "p256")), "\"es256\" is not accepted"),
        (
            "a key of another kind",
            keys.es256(&with_header(&header("RS256", "p256"))),
            "key \"p256\" is not one for RS256",
        ),
        (
            "a key that is not there",
            keys.es256(&with_header(&header("ES256", "gone"))),
            "key \"gone\" is none of its issuer's",
        ),
        ("no key", keys.es256(&with_header(&json!({"alg": "ES256"}))), "no kid"),
        ("an empty key", keys.es256(&with_header(&header("ES256", ""))), "kid is not a text"),
        ("a stranger's key", other.es256(&Draft::honest()), "signature is not its issuer's"),
        ("a key it brought", other.es256(&with_header(&strangers_key)), "signature is not"),
        (
            "what must be understood",
            keys.es256(&with_header(&json!({"alg": "ES256", "kid": "p256", "crit": ["b64"]}))),
            "header asks for \"crit\"",
        ),
        (
            "a token of another type",
            keys.es256(&with_header(&json!({"alg": "ES256", "kid": "p256", "typ": "dpop+jwt"}))),
            "header asks for \"typ dpop+jwt\"",
        ),
        ("alg twice", keys.es256(&header_twice), "header cannot be read: a key is there twice"),
        ("a signature of zeros", with_last(&[0; 64]), "signature is not"),
        ("half a signature", with_last(&[1; 32]), "signature is not"),
        ("truncated by one byte", honest[..honest.len() - 2].to_owned(), "signature is not"),
        ("without its signature", text.to_owned(), "it has one dot"),
        ("without a dot", first.to_owned(), "it has no dot"),
        ("nothing", String::new(), "it has no dot"),
        ("two dots", "..".to_owned(), "header cannot be read"),
        ("five parts, as if encrypted", format!("{honest}.a.b"), "more than two dots"),
        ("a newline at its end", format!("{honest}\n"), "last part is no base64url"),
        ("padded", format!("{honest}=="), "last part is no base64url"),
        ("base64 of the other alphabet", format!("{text}.+{}", &signature[1..]), "no base64url"),
    ]
}

#[test]
fn a13_how_a_token_is_signed_is_held_against_it() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let cases = forged(&keys);
    assert!(cases.len() >= 30);
    for (what, token, told) in cases {
        let fault = verified(&token, &issuer).expect_err(what).to_string();
        assert!(fault.contains(told), "{what}: {fault}");
        assert!(!fault.contains(&token) || token.is_empty(), "{what}: the token itself is told");
    }
}

#[test]
fn a13_no_flipped_bit_goes_unnoticed() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let token = keys.eddsa(&with_header(&header("EdDSA", "ed25519")));
    assert!(verified(&token, &issuer).is_ok());
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(verified(&flipped, &issuer).is_err(), "bit {bit} of byte {at}: {flipped}");
        }
    }
}

#[test]
fn a13_a_token_as_long_as_the_limit_is_read_and_a_longer_one_is_not() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    let of_bytes = |claim: usize| keys.es256(&but(&["filler"], json!("x".repeat(claim))));
    let plain = of_bytes(0).len();
    // Four letters of base64 for each three bytes.
    let fits = (TOKEN_BYTES_MAX - plain) / 4 * 3;
    let longest = of_bytes(fits);
    assert!((TOKEN_BYTES_MAX - 4..=TOKEN_BYTES_MAX).contains(&longest.len()));
    assert!(verified(&longest, &issuer).is_ok());
    let fault = verified(&of_bytes(fits + 6), &issuer).unwrap_err();
    assert!(matches!(fault, TokenFault::TooLong { bytes } if bytes > TOKEN_BYTES_MAX), "{fault}");
    let fault = verified(&"a".repeat(TOKEN_BYTES_MAX + 1), &issuer).unwrap_err();
    assert_eq!(fault.to_string(), "the token has 16385 bytes, at most 16384 are read");
}

#[test]
fn the_skew_is_what_the_faults_say() {
    assert_eq!(TOKEN_SKEW.as_secs(), 60);
}

proptest! {
    #[test]
    fn any_text_is_a_fault_and_no_panic(text in ".{0,200}", parts in any::<[Vec<u8>; 3]>()) {
        let issuer = Keys::new().issuer();
        prop_assert!(verified(&text, &issuer).is_err());
        prop_assert!(verified(&parts.map(|part| coded(&part)).join("."), &issuer).is_err());
        prop_assert!(Jwks::parse(text.as_bytes()).is_err());
    }
}
