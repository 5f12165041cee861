//! The reviewed bootstrap of a sidecar, as Envoy reads it.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::process::Command;

#[test]
fn a_sidecars_bootstrap_is_one_that_envoy_takes() {
    let Some(envoy) = std::env::var_os("DIOLKOS_TEST_ENVOY") else {
        eprintln!(
            "skipped: DIOLKOS_TEST_ENVOY names no Envoy; `cargo xtask test envoy` installs one"
        );
        return;
    };
    let golden =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../primary/xds/testdata/sidecar-bootstrap.json");
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "warning", "-c", golden])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("[warning]") && !told.contains("deprecated"), "{told}");
}
