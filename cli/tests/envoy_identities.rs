//! A stock Envoy under load while a service's identities change: no request is lost.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Talking, World, eventually, http_get, service_manifest};

const OCTET: u8 = 81;
const CHANGES: usize = 12;

/// Two pods that stay where they are; only the account that the second is said to have differs. Both
/// really are `catalog`, so an Envoy that knows the latest identities accepts both at any time.
fn catalog(second: &str) -> String {
    let pods = [("catalog-1", "127.81.1.1", "catalog"), ("catalog-2", "127.81.1.2", second)];
    service_manifest("catalog", "http", &pods)
}

fn clusters_modified() -> u64 {
    let admin = format!("127.{OCTET}.0.9:15000").parse().unwrap();
    let stats = http_get(admin, "/stats?filter=cluster_manager.cluster_modified");
    let (_, count) = stats.split_once("cluster_modified: ").unwrap_or_else(|| panic!("{stats:?}"));
    count.lines().next().unwrap().trim().parse().unwrap()
}

#[test]
fn changing_only_a_services_identities_loses_no_request() {
    let Some(envoy) = std::env::var_os("DIOLKOS_TEST_ENVOY") else {
        eprintln!(
            "skipped: DIOLKOS_TEST_ENVOY names no Envoy; `cargo xtask test envoy` installs one"
        );
        return;
    };
    let world = World::new(&[("west", OCTET)]);
    world.write("clusters/west/catalog.yaml", &catalog("catalog"));
    let _primary = world.primary("west", OCTET);
    let _servers = [1, 2].map(|last| world.echo("west", OCTET, last, "catalog"));
    let _sidecar = world.envoy(OCTET, Path::new(&envoy));

    let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
    command.args(["--leash", "call", "--output", "json", "--count", "0", "--rate", "200"]);
    command.args(["--proxy", &format!("127.{OCTET}.0.9:15080"), "http://catalog.shop:8080/"]);
    let load = Talking::start(command, &world.path("call.log"));
    load.until("a request was answered", |line| line["echo"]["pod"].is_string());

    let mut lines = Vec::new();
    for change in 0..CHANGES {
        let before = clusters_modified();
        let second = if change % 2 == 0 { "catalog-b" } else { "catalog" };
        world.write("clusters/west/catalog.yaml", &catalog(second));
        let taken = eventually(std::time::Duration::from_secs(10), || clusters_modified() > before);
        assert!(taken, "change {change} never reached Envoy:\n{}", world.log("primary-west"));
        let mut after = 0;
        lines.extend(load.until("requests went on", |_| {
            after += 1;
            after == 100
        }));
    }
    let failed: Vec<_> = lines.iter().filter(|line| line["failure"].is_object()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:#?}", failed.len(), lines.len(), failed[0]);
}
