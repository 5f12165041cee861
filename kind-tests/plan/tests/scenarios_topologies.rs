//! Every topology of `kind-tests/topologies`, and what is decided from it, as reviewed text.
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-kind-plan --test scenarios_topologies` writes it anew.
#![allow(clippy::disallowed_methods, reason = "it reads its scenarios")]
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::fs;
use std::path::{Path, PathBuf};

use diolkos_kind_plan::{
    Between, LinkFault, Places, Plan, Slot, Spoil, Topology, fault_rules, kind_files, parse,
};

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
    assert_eq!(topologies.len(), 11);
    for topology in topologies {
        let path = format!("testdata/{}.txt", topology.name);
        let plan = Plan::new(topology, Slot::new(0).unwrap(), places());
        compare(&path, &plan.to_string());
    }
}

#[test]
fn every_topology_has_the_files_for_kind_that_were_reviewed() {
    for topology in topologies() {
        let files = kind_files(&topology, Slot::new(0).unwrap(), &places());
        let text: String =
            files.iter().map(|file| format!("== {}\n{}\n", file.path, file.text)).collect();
        compare(&format!("testdata/kind/{}.txt", topology.name), &text);
    }
}

#[test]
fn faults_have_the_rules_that_were_reviewed() {
    let topology = topologies().into_iter().find(|t| &t.name == "three-zones").unwrap();
    let between = |from: &str, to: &str, one_way, port| Between {
        from: from.to_owned(),
        to: to.to_owned(),
        one_way,
        port,
    };
    let spoil = Spoil { delay_ms: 50, ..Spoil::default() };
    let faults = [
        LinkFault::Cut(between("oslo", "lisbon", false, None)),
        LinkFault::Cut(between("bergen", "oslo", true, Some(6443))),
        LinkFault::Rate { between: between("oslo", "bergen", false, None), kbit: 1000 },
        LinkFault::Rate { between: between("lisbon", "bergen", true, Some(15443)), kbit: 64 },
        LinkFault::Streams { between: between("oslo", "bergen", true, None), spoil },
    ];
    let mut text = String::new();
    for count in 0..=faults.len() {
        for fault in &faults[..count] {
            text += &format!("{fault}\n");
        }
        let rules = fault_rules(&topology, Slot::new(0).unwrap(), &faults[..count]).unwrap();
        text += &rules.nft;
        for (link, lines) in &rules.queues {
            text += &lines.iter().map(|line| format!("{link}: tc {line}\n")).collect::<String>();
        }
        for proxy in &rules.proxies {
            text += &format!("proxy on {}: {}\n", proxy.port, proxy.spoil);
        }
        text += "\n";
    }
    compare("testdata/faults.txt", &text);
    let unknown = [LinkFault::Cut(between("oslo", "rome", false, None))];
    let told = fault_rules(&topology, Slot::new(0).unwrap(), &unknown).unwrap_err();
    assert_eq!(told, "no cluster is named rome; there are oslo, bergen, lisbon");
    let same = [LinkFault::Cut(between("oslo", "oslo", false, None))];
    assert!(fault_rules(&topology, Slot::new(0).unwrap(), &same).is_err());
}
