//! Every file of `testdata/bad` against the lines it must give, and the facts that survive it.
//!
//! `DIOLKOS_REWRITE=1` writes what is found; review it as text.

#![allow(clippy::disallowed_methods, reason = "the corpus is a folder")]

use std::fs;
use std::path::Path;

use diolkos_facts::{Folder, MeshNetworks, Rejection, parse_mesh};
use diolkos_topology::{ClusterId, ClusterSettings, Grants, NetworkId};
use diolkos_trust::TrustDomain;

fn settings() -> ClusterSettings {
    ClusterSettings {
        cluster: ClusterId::new("east").expect("a name"),
        trust_domain: TrustDomain::new("mesh.example").expect("a trust domain"),
        network: NetworkId::unnamed(),
        addresses: Vec::new(),
        grants: Grants::everything(),
    }
}

fn lines(rejections: &[Rejection]) -> String {
    rejections.iter().map(|rejection| format!("{} {rejection}\n", rejection.severity)).collect()
}

fn folder_report(name: &str, text: &str) -> String {
    let mut folder = Folder::new(&settings(), &MeshNetworks::default());
    folder.set(name, Some(text));
    let derived = folder.derive();
    let mut report = lines(&derived.rejections);
    for key in derived.facts.keys() {
        report.push_str(&format!("fact {key:?}\n"));
    }
    report
}

fn mesh_report(text: &str) -> String {
    let (mesh, mut rejections) = parse_mesh(text);
    let verdict = match mesh {
        Ok(mesh) => format!("mesh {} with {} clusters\n", mesh.name, mesh.clusters.len()),
        Err(rejection) => {
            rejections.insert(0, rejection);
            String::from("no mesh\n")
        }
    };
    for rejection in &mut rejections {
        rejection.file = String::from("mesh.yaml");
    }
    lines(&rejections) + &verdict
}

#[test]
fn every_bad_manifest_gives_its_lines_and_spoils_no_neighbour() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bad");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("testdata/bad")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".json"))
        .collect();
    names.sort();
    assert!(names.len() > 30, "the corpus is not where it was");
    let mut wrong = Vec::new();
    for name in names {
        let text = fs::read_to_string(folder.join(&name)).expect("a text file");
        let report = match name.strip_prefix("mesh-") {
            Some(_) => mesh_report(&text),
            None => folder_report(&name, &text),
        };
        let golden = folder.join(&name).with_extension("txt");
        if std::env::var_os("DIOLKOS_REWRITE").is_some() {
            fs::write(&golden, &report).expect("the golden file can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if report != expected {
            wrong.push(format!("{name}: expected\n{expected}found\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
