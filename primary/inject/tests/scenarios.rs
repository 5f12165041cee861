//! Pods as their owners write them, and what becomes of them: reviewed text.
#![allow(clippy::disallowed_methods, reason = "reads its scenario files")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use diolkos_inject::{InjectPath, InjectSettings, Verdict, answer};
use serde_json::{Map, Value, json};

/// Set it to write the answers anew.
const ANEW: &str = "DIOLKOS_REWRITE";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn settings() -> InjectSettings {
    InjectSettings::new("registry.example/diolkos:1", "own")
}

/// What an API server would send, with `pod` in it.
fn review(pod: &Map<String, Value>) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "shop",
            "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod,
        },
    });
    serde_json::to_vec(&review).unwrap()
}

fn told(verdict: &Verdict, pod: &Map<String, Value>) -> String {
    let mut text = String::new();
    match verdict {
        Verdict::Skipped { reason } => writeln!(text, "skipped: {reason}").unwrap(),
        Verdict::Refused { reason } => writeln!(text, "refused: {reason}").unwrap(),
        Verdict::Injected { patch, warnings } => {
            let mut patched = Value::Object(pod.clone());
            let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
            json_patch::patch(&mut patched, &patch).unwrap();
            for warning in warnings {
                writeln!(text, "warning: {warning}").unwrap();
            }
            writeln!(text, "{}", serde_json::to_string_pretty(&patched).unwrap()).unwrap();
        }
    }
    text
}

#[test]
fn each_pod_becomes_what_was_reviewed() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    assert!(files.len() >= 8);
    let path = InjectPath::parse("/inject/cluster/west/net/north").unwrap();
    let mut wrong = Vec::new();
    for file in files {
        let pod: Map<String, Value> =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let reply = answer(&review(&pod), &path, &settings()).unwrap();
        let text = told(&reply.verdict, &pod);
        let golden = file.with_extension("txt");
        if std::env::var_os(ANEW).is_some() {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", golden.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "these pods became something else; {ANEW}=1 cargo test -p diolkos-inject writes the \
         answers anew\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_answer_is_a_review_of_the_same_request() {
    let pod = json!({ "metadata": { "name": "cart" }, "spec": { "containers": [] } });
    let pod = pod.as_object().unwrap();
    let reply = answer(&review(pod), &InjectPath::default(), &settings()).unwrap();
    assert_eq!(reply.pod, "shop/cart");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(body["kind"], "AdmissionReview");
    let response = &body["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
    assert_eq!(response["patchType"], "JSONPatch");
    assert!(response["patch"].as_str().unwrap().starts_with("W3si"), "base64 of [{{\"");
}

#[test]
fn a_refusal_says_why_to_whoever_created_the_pod() {
    let pod = json!({
        "metadata": { "annotations": { "traffic.sidecar.istio.io/excludeInboundPorts": "http" } },
        "spec": {},
    });
    let reply = answer(&review(pod.as_object().unwrap()), &InjectPath::default(), &settings());
    let body: Value = serde_json::from_slice(&reply.unwrap().body).unwrap();
    assert_eq!(body["response"]["allowed"], json!(false));
    assert_eq!(body["response"]["status"]["code"], json!(422));
    let message = body["response"]["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("diolkos cannot inject this pod: annotation traffic."),
        "{message}"
    );
}

#[test]
fn what_is_no_pod_being_created_is_left_alone() {
    let change = |key: &str, value: Value| {
        let mut review: Value = serde_json::from_slice(&review(&Map::new())).unwrap();
        review["request"][key] = value;
        let body = serde_json::to_vec(&review).unwrap();
        answer(&body, &InjectPath::default(), &settings()).unwrap().verdict
    };
    let service = json!({ "group": "", "version": "v1", "kind": "Service" });
    for (key, value) in [("kind", service), ("kind", json!({})), ("operation", "UPDATE".into())] {
        assert!(matches!(change(key, value), Verdict::Skipped { .. }), "{key}");
    }
    assert!(matches!(change("object", Value::Null), Verdict::Refused { .. }));
}

#[test]
fn what_is_no_review_gets_none() {
    let version = br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview",
        "request":{"uid":"1"}}"#;
    for (body, says) in [
        (&b""[..], "the body is no AdmissionReview in JSON"),
        (b"{}", "the body is no AdmissionReview in JSON: missing field"),
        (b"\xff", "the body is no AdmissionReview in JSON"),
        (version, "set admissionReviewVersions: [v1]"),
    ] {
        let error = answer(body, &InjectPath::default(), &settings()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
