//! Topologies come up, and go without a trace: also when whoever owned them is gone.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use clusters::{Ground, Traces, alive, descendants, eventually, told};

/// Long enough for a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_supervisor_that_is_killed_takes_everything_with_it() {
    let Some(ground) = Ground::find() else { return };
    let before = Traces::now(&ground.path("topologies"));
    for victim in ["supervise", "init", "unshare"] {
        ground.up("single", "single");
        let (starter, _) = ground.supervisor("single");
        let processes = descendants(starter);
        let shown = alive(&processes);
        let is_victim = |line: &&String| match victim {
            "unshare" => line.contains(" unshare "),
            role => line.contains(&format!("topology {role} ")) && !line.contains(" unshare "),
        };
        let pid = shown.iter().find(is_victim).unwrap().split(' ').next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        eventually(PATIENCE, "the kernel took all its processes", || alive(&processes).is_empty());
        let status = ground.run(&["status"]);
        assert!(!status.status.success());
        assert!(told(&status).contains("diolkos topology down single"), "{}", told(&status));
        let again = ground.run(&["up", "single"]);
        assert!(told(&again).contains("take it down first"), "{}", told(&again));
        ground.must(&["down"]);
        assert_eq!(Traces::now(&ground.path("topologies")), before, "{victim}");
        assert_eq!(fs::read_dir(ground.path("topologies")).unwrap().count(), 0, "{victim}");
    }
}

#[test]
fn an_up_that_is_interrupted_leaves_nothing() {
    let Some(ground) = Ground::find() else { return };
    let before = Traces::now(&ground.path("topologies"));
    // Politely, it takes down what it started; killed, it leaves that to `down`.
    for signal in ["-INT", "-KILL"] {
        let mut up =
            ground.command().args(["up", "one-network"]).stderr(Stdio::null()).spawn().unwrap();
        let socket = ground.path("topologies/one-network/control.sock");
        eventually(PATIENCE, "its supervisor is there", || socket.exists());
        let processes = descendants(ground.supervisor("one-network").0);
        let pid = up.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert!(!up.wait().unwrap().success());
        if signal == "-KILL" {
            ground.must(&["down"]);
        }
        assert_eq!(alive(&processes), [""; 0], "{signal}");
        assert_eq!(Traces::now(&ground.path("topologies")), before, "{signal}");
    }
}

#[test]
fn a_topology_that_cannot_come_up_says_why_and_leaves_nothing() {
    let Some(ground) = Ground::find() else { return };
    let before = Traces::now(&ground.path("topologies"));
    let program = ground.path("tools/kube-scheduler");
    fs::remove_file(&program).unwrap();
    fs::write(&program, "#!/bin/sh\necho no scheduler today >&2\nexit 3\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&program).status().unwrap().success());
    let output = ground.run(&["up", "single"]);
    let says = told(&output);
    assert!(!output.status.success(), "{says}");
    assert!(says.contains("kube-scheduler ended by itself (exit status: 3)"), "{says}");
    assert!(says.contains("no scheduler today"), "{says}");
    assert_eq!(Traces::now(&ground.path("topologies")), before);
    assert_eq!(fs::read_dir(ground.path("topologies")).unwrap().count(), 0);
}

#[test]
fn two_topologies_run_side_by_side_and_do_not_see_each_other() {
    let Some(ground) = Ground::find() else { return };
    ground.up_bare("single", "one");
    ground.up_bare("single", "two");
    let (one, two) = (ground.status("one"), ground.status("two"));
    assert_ne!(one["slot"], two["slot"]);
    assert_ne!(one["clusters"][0]["server"], two["clusters"][0]["server"]);
    for name in ["one", "two"] {
        ground.answers(name, "east/shop/client", "http://catalog.shop:8080/", "east");
    }
    let pod = |name: &str| {
        let words = ["get", "pod", "-n", "shop", "-l", "app=catalog", "-o"];
        let path = "jsonpath={.items[0].status.podIP}";
        ground.kubectl(name, "east", &[&words[..], &[path]].concat())
    };
    ground.fails("one", "east/shop/client", &format!("http://{}:8080/", pod("two")), "connect");
    let server = two["clusters"][0]["server"].as_str().unwrap().replace("https", "http");
    ground.fails("one", "east/shop/client", &server, "connect");
    // The one going leaves the other.
    ground.must(&["down", "one"]);
    ground.answers("two", "east/shop/client", "http://catalog.shop:8080/", "east");
    assert!(ground.run(&["status"]).status.success());
    ground.up_bare("single", "three");
    assert_eq!(ground.status("three")["slot"], one["slot"]);
}
