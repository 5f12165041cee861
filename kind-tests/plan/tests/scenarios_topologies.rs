//! Every topology of `kind-tests/topologies`, and what is decided from it, as reviewed text.
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-kind-plan --test scenarios_topologies` writes it anew.
#![allow(clippy::disallowed_methods, reason = "it reads its scenarios")]
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::fs;
use std::path::{Path, PathBuf};

use diolkos_kind_plan::{Places, Plan, Slot, Topology, parse};

fn places() -> Places {
    Places {
        state: "/state".to_owned(),
        tools: "/tools".to_owned(),
        crds: Some("/crds".to_owned()),
        diolkos: "/bin/diolkos".to_owned(),
        envoy: Some("/bin/envoy".to_owned()),
        nft: "/sbin/nft".to_owned(),
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn topologies() -> Vec<Topology> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(here("../topologies")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let topology = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), topology.name.as_str());
        topology
    };
    paths.iter().map(read).collect()
}

fn compare(path: &str, found: &str) {
    let path = here(path);
    if std::env::var_os("DIOLKOS_REWRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if let Some((number, (was, is))) = expected
        .lines()
        .chain(std::iter::repeat("(end)"))
        .zip(found.lines().chain(["(end)"]))
        .enumerate()
        .find(|(_, (was, is))| was != is)
    {
        let path = path.display();
        panic!("{path}:{}:\nwas {was}\nis  {is}\nDIOLKOS_REWRITE=1 writes it anew", number + 1);
    }
    assert_eq!(expected.lines().count(), found.lines().count(), "{}", path.display());
}

#[test]
fn every_topology_has_the_plan_that_was_reviewed() {
    let topologies = topologies();
    assert_eq!(topologies.len(), 10);
    for topology in topologies {
        let path = format!("testdata/{}.txt", topology.name);
        let plan = Plan::new(topology, Slot::new(0).unwrap(), places());
        compare(&path, &plan.to_string());
    }
}
