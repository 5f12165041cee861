//! `diolkos remote-secret` as a process, against an API server that answers by a list.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

#[path = "support/kube.rs"]
mod kube;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use diolkos_facts::remote::{self, AllowedRanges, RemoteCluster, Setup};
use diolkos_topology::ClusterId;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, TOKEN, refusal};
use serde_json::{Value, json};

const TOKEN_PATH: &str = "/api/v1/namespaces/diolkos-system/serviceaccounts/diolkos-reader/token";
const ENDS: &str = "2999-02-24T12:00:00Z";

fn given() -> (u16, Value) {
    let status = json!({"token": "header.claims.signature", "expirationTimestamp": ENDS});
    (
        201,
        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {}, "spec": {"audiences": ["api"]}, "status": status}),
    )
}

/// Gives tokens of the usual reader, and has nothing else.
fn giving() -> Api {
    Api::start(|_, path, _| match path {
        TOKEN_PATH => given(),
        _ => refusal(404, "not found"),
    })
}

struct Ran {
    code: i32,
    out: String,
    told: String,
}

fn create(kubeconfig: &Path, more: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(["remote-secret", "create", "--kubeconfig"])
        .arg(kubeconfig)
        // A flag that is given twice would be refused for that.
        .args(if more.contains(&"--name") { &[][..] } else { &["--name", "west"] })
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        told: String::from_utf8(output.stderr).unwrap(),
    }
}

const LOOPBACK: [&str; 2] = ["--allow-cidr", "127.0.0.0/8"];

/// As a primary in cluster east reads what was applied.
fn taken(text: &str, namespace: &str) -> RemoteCluster {
    let mut secret: Secret = serde_saphyr::from_str(text).unwrap();
    let data = secret.string_data.take().unwrap().into_iter();
    secret.data = Some(data.map(|(key, text)| (key, ByteString(text.into_bytes()))).collect());
    let setup = Setup {
        own: ClusterId::new("east").unwrap(),
        namespace: namespace.into(),
        allowed: AllowedRanges(vec!["127.0.0.0/8".parse().unwrap()]),
    };
    let mut read = remote::read_secret(&secret.into(), &setup);
    assert_eq!(read.len(), 1, "{text}");
    read.remove(0).1.unwrap()
}

#[test]
fn a_secret_with_a_bound_token_is_printed_and_its_end_is_told() {
    let api = giving();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(folder.path(), TOKEN, "");
    let ran = create(&kubeconfig, &LOOPBACK);
    assert_eq!(ran.code, 0, "{}", ran.told);
    let remote = taken(&ran.out, "diolkos-system");
    assert_eq!(remote.cluster.as_str(), "west");
    assert_eq!(remote.connection.to_string(), format!("https://{} by a token", api.address));
    assert_eq!(remote.claims, remote::Claims::plain());
    assert!(ran.out.contains("token: header.claims.signature"), "{}", ran.out);
    assert!(!ran.out.contains(TOKEN), "the operator's own credential stays at home");
    assert_eq!(
        ran.told.lines().last().unwrap(),
        format!(
            "the token of service account diolkos-system/diolkos-reader ends at {ENDS}; create the \
             secret anew before"
        )
    );
    let asked = api.asked();
    let days_90 = 90 * 24 * 60 * 60;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((&*asked[0].0, &*asked[0].1), ("POST", TOKEN_PATH));
    assert_eq!(asked[0].2["spec"]["expirationSeconds"], days_90);
}

#[test]
fn a_token_that_ends_sooner_than_was_asked_is_told() {
    let api = Api::start(|_, _, _| {
        let (code, mut answer) = given();
        answer["status"]["expirationTimestamp"] = json!("2020-01-01T00:00:00Z");
        (code, answer)
    });
    let folder = tempfile::tempdir().unwrap();
    let ran = create(&api.kubeconfig(folder.path(), TOKEN, ""), &LOOPBACK);
    assert!(ran.told.contains("00:00Z (the API server gives it for less than was"), "{}", ran.told);
}

#[test]
fn every_choice_reaches_the_secret() {
    const ISTIO: &str = "/api/v1/namespaces/istio-system/serviceaccounts/\
                         istio-reader-service-account/token";
    let api = Api::start(|_, path, _| if path == ISTIO { given() } else { refusal(404, "no") });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(folder.path(), TOKEN, ", tls-server-name: 127.0.0.1");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, include_str!("../../deploy/testdata/root.pem")).unwrap();
    let choices = [
        "--context=west",
        "--namespace=mesh-a",
        "--secret-name=of-west",
        "--reader-namespace=istio-system",
        "--reader-account=istio-reader-service-account",
        "--lifetime=12h",
        "--server=https://west.example:6443/k8s",
        "--tls-server-name=kubernetes",
        "--services=shop/*, pay/api",
        "--identities=shop/*",
        "--addresses=10.20.0.0/16, fd00:20::/64",
        "--networks=west",
        "--trust-domain=west.example",
        "--certificate-authority",
        root.to_str().unwrap(),
    ];
    let ran = create(&kubeconfig, &choices);
    assert_eq!(ran.code, 0, "{}", ran.told);
    assert_eq!(api.asked()[0].2["spec"]["expirationSeconds"], 12 * 60 * 60);
    assert!(ran.out.contains("name: of-west\n"), "{}", ran.out);
    let RemoteCluster { connection, claims, .. } = taken(&ran.out, "mesh-a");
    assert_eq!(connection.to_string(), "https://west.example:6443/k8s as kubernetes by a token");
    assert_eq!(claims.addresses.len(), 2);
    assert_eq!(claims.trust_domain.unwrap().as_str(), "west.example");
    assert_ne!(claims.grants, remote::Claims::plain().grants);
}

#[test]
fn a4_what_a_primary_would_refuse_is_refused_before_a_token_is_made() {
    let api = giving();
    let folder = tempfile::tempdir().unwrap();
    for (in_kubeconfig, flags, words) in [
        ("", &[][..], &["is loopback", "--server", "[server-address]"][..]),
        ("", &["--server", "http://203.0.113.7"], &["without TLS", "https://", "[server-scheme]"]),
        (
            "",
            &["--server", "https://203.0.113.7", "--services", "shop"],
            &["diolkos.dev/services", "[annotation]"],
        ),
        (
            ", insecure-skip-tls-verify: true",
            &[],
            &["context west", "insecure-skip-tls-verify", "certificate-authority-data instead"],
        ),
        (", proxy-url: 'http://127.0.0.1:1'", &[], &["proxy-url"]),
        ("", &["--name", "We st"], &["--name"]),
        ("", &["--name", "West"], &["istio-remote-secret-West", "--secret-name"]),
        ("", &["--reader-account", "a/b"], &["--reader-account", "a/b"]),
        ("", &["--context", "north"], &["context north"]),
        ("", &["--certificate-authority", "nowhere.pem"], &["nowhere.pem"]),
    ] {
        let kubeconfig = api.kubeconfig(folder.path(), TOKEN, in_kubeconfig);
        let ran = create(&kubeconfig, flags);
        assert_eq!(ran.code, 2, "{flags:?} {in_kubeconfig}: {}", ran.told);
        assert!(words.iter().all(|word| ran.told.contains(word)), "{words:?}: {}", ran.told);
        assert_eq!(ran.told.lines().count(), 1, "{}", ran.told);
        assert_eq!(ran.out, "");
    }
    assert_eq!(api.asked(), [], "no token was made");
}

#[test]
fn a_reader_that_is_not_there_is_named_and_made_on_request() {
    let made = std::sync::atomic::AtomicUsize::new(0);
    let api = Api::start(move |method, path, body| {
        use std::sync::atomic::Ordering::SeqCst;
        match (method, path) {
            ("PATCH", _) => {
                made.fetch_add(1, SeqCst);
                (200, body.clone())
            }
            ("POST", TOKEN_PATH) if made.load(SeqCst) > 0 => given(),
            _ => refusal(404, "serviceaccounts \"diolkos-reader\" not found"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(folder.path(), TOKEN, "");
    let ran = create(&kubeconfig, &LOOPBACK);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.told.trim(),
        "error: context west: a token of service account diolkos-system/diolkos-reader: there is no \
         such service account; give --create-reader, or --reader-account and --reader-namespace"
    );
    let ran = create(&kubeconfig, &[&LOOPBACK[..], &["--create-reader"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.told);
    let paths: Vec<_> = api.asked().into_iter().skip(1).map(|(_, path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "/api/v1/namespaces/diolkos-system/serviceaccounts/diolkos-reader",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/diolkos-reader",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/diolkos-reader",
            TOKEN_PATH,
        ]
    );
}

#[test]
fn a_no_and_no_answer_end_with_codes_of_their_own() {
    let api = Api::start(|_, _, _| refusal(403, "serviceaccounts/token is forbidden\u{1b}[31m"));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(folder.path(), TOKEN, "");
    let ran = create(&kubeconfig, &LOOPBACK);
    assert_eq!(ran.code, 1);
    assert!(
        ran.told.contains("you may not (403): serviceaccounts/token is forbidden"),
        "{}",
        ran.told
    );
    assert!(!ran.told.contains('\u{1b}'), "{:?}", ran.told);

    let kubeconfig = api.kubeconfig(folder.path(), "another", "");
    let ran = create(&kubeconfig, &LOOPBACK);
    assert_eq!(ran.code, 1);
    assert!(ran.told.contains("not known (401); sign in anew"), "{}", ran.told);

    drop(api);
    let ran = create(&kubeconfig, &LOOPBACK);
    assert_eq!(ran.code, 4, "{}", ran.told);
    assert!(ran.told.contains("context west: a token of"), "{}", ran.told);
}
