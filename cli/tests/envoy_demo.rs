//! The demo with stock Envoys in the places of our own client and gateway.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_passes_with_envoy_as_sidecar() {
    passes(&["--proxy", "envoy"]);
}

#[test]
fn the_demo_passes_with_envoy_as_gateway() {
    passes(&["--gateway", "envoy"]);
}

#[test]
fn the_demo_passes_with_envoy_as_sidecar_and_as_gateway() {
    passes(&["--proxy", "envoy", "--gateway", "envoy"]);
}

fn passes(args: &[&str]) {
    let Ok(envoy) = std::env::var("DIOLKOS_TEST_ENVOY") else {
        eprintln!(
            "skipped: DIOLKOS_TEST_ENVOY names no Envoy; `cargo xtask test envoy` installs one"
        );
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(["demo", "--output", "json", "--envoy-bin", &envoy])
        .args(args)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["paths"].as_object().unwrap().len(), 3, "{report:#}");
    assert_eq!(report["failed"], report["failed_in_flight_on_killed_gateway"], "{report:#}");
}
