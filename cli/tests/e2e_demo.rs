//! The demo, as a newcomer runs it.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::process::Command;

use serde_json::Value;

fn demo(args: &[&str]) -> (bool, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(["demo", "--output", "json"])
        .args(args)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}\n{told}"));
    (output.status.success(), report, told)
}

#[test]
fn the_demo_passes_and_prints_one_object() {
    let (success, report, told) = demo(&[]);
    assert!(success, "{told}");
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report:#}"));
    assert!(number("requests") > 500.0, "{report:#}");
    assert_eq!(number("failed"), number("failed_in_flight_on_killed_gateway"), "{report:#}");
    assert!(number("direct") > 0.0 && number("cross_network") > 0.0, "{report:#}");
    assert_eq!(report["paths"].as_object().unwrap().len(), 3, "{report:#}");
    assert_eq!(report["convergence_ms"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(number("identities_verified"), number("requests") - number("failed"), "{report:#}");
    assert_eq!(number("refused_as_expected"), 4.0, "{report:#}");
    for word in ["network west", "gateway", "split of", "and saw spiffe://", "refused by"] {
        assert!(told.contains(word), "{word:?} is missing:\n{told}");
    }
}
