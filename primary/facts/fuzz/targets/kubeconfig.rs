//! A kubeconfig from elsewhere, whatever its bytes.

#![no_main]

use std::sync::LazyLock;

use diolkos_facts::remote::{
    AllowedRanges, Credential, Host, Outcome, Setup, may_connect, read_file,
};
use diolkos_topology::ClusterId;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What the seeds have as token. With its digits it is no name of a field, and only these are
/// repeated.
const SECRET: &str = "C4N4RY";

static SETUP: LazyLock<Setup> = LazyLock::new(|| Setup {
    own: ClusterId::new("east").expect("a name"),
    namespace: "istio-system".into(),
    allowed: AllowedRanges::default(),
});

fuzz_target!(|input: &[u8]| {
    let outcome = read_file("fuzz", input, &SETUP);
    let debug = format!("{outcome:?}");
    match &outcome {
        Ok(remote) => {
            let connection = &remote.connection;
            assert!(connection.to_string().starts_with("https://"));
            assert!(!connection.to_string().contains(char::is_control));
            assert!(!connection.roots.is_empty());
            match &connection.server.host {
                Host::Address(address) => assert!(may_connect(*address, &SETUP.allowed).is_ok()),
                Host::Name(name) => assert!(name.contains(|c: char| c.is_ascii_alphabetic())),
            }
            match &connection.credential {
                Credential::ClientCertificate { chain, .. } => assert!(!chain.is_empty()),
                Credential::Token(token) => {
                    assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
            if let Ok(json) = serde_json::from_slice::<Value>(input) {
                has_nothing_forbidden(&json);
            }
        }
        Err(remark) => {
            let text = remark.to_string();
            assert!(!text.contains(char::is_control), "{text}");
            assert!(text.len() < 600, "{text}");
            assert!(!text.contains(SECRET) && !debug.contains(SECRET), "{text}");
        }
    }
    for end in ["\n# said again\n", "\n\n"] {
        same(&outcome, &read_file("fuzz", &[input, end.as_bytes()].concat(), &SETUP));
    }
});

/// Accepted stays accepted, as the same.
fn same(outcome: &Outcome, other: &Outcome) {
    if let Ok(remote) = outcome {
        assert_eq!(other.as_ref(), Ok(remote), "a comment more is another cluster");
    }
}

fn has_nothing_forbidden(json: &Value) {
    let users = json["users"].as_array().expect("a list of users");
    let clusters = json["clusters"].as_array().expect("a list of clusters");
    assert_eq!((users.len(), clusters.len()), (1, 1));
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().expect("a map").keys().cloned().collect()
    };
    let fine = ["token", "client-certificate-data", "client-key-data", "extensions"];
    for key in keys(&users[0]["user"]) {
        assert!(fine.contains(&key.as_str()), "{key} of the user");
    }
    let fine = [
        "server",
        "certificate-authority-data",
        "tls-server-name",
        "disable-compression",
        "extensions",
    ];
    for key in keys(&clusters[0]["cluster"]) {
        let verifies = key == "insecure-skip-tls-verify" && clusters[0]["cluster"][&key] == false;
        assert!(fine.contains(&key.as_str()) || verifies, "{key} of the cluster");
    }
}
