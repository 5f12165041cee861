//! The redirect in a network namespace of its own, with a real nft.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::path::PathBuf;
use std::process::{Command, Output};

use diolkos_sidecar::redirect::{Nft, RedirectError, RedirectSettings, apply, check, undo};

/// Names what runs inside the namespace: this same program, once more.
const INSIDE: &str = "DIOLKOS_TEST_INSIDE_NETNS";
const NFT: &str = "DIOLKOS_TEST_NFT";

fn settings() -> RedirectSettings {
    RedirectSettings {
        outbound_port: 15_001,
        inbound_port: 15_006,
        uid: 1337,
        exclude_inbound_ports: vec![22, 9100],
        exclude_outbound_ports: vec![5432],
        exclude_outbound_ranges: vec![
            "169.254.169.254/32".parse().unwrap(),
            "fd00:1::/64".parse().unwrap(),
        ],
    }
}

fn nft() -> Option<PathBuf> {
    let named = std::env::var_os(NFT).map(PathBuf::from);
    let found = named.or_else(|| {
        ["/usr/sbin/nft", "/sbin/nft"].map(PathBuf::from).into_iter().find(|path| path.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: no nft; install nftables, or name one with {NFT}");
    }
    found
}

/// Runs one test of this file again, in namespaces that end with it.
fn inside(test: &str, unshare: &[&str]) -> Option<Output> {
    let nft = nft()?;
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .env(NFT, nft)
        .output();
    match output {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: no network namespace can be made here ({})", why.trim());
            None
        }
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: unshare cannot be started ({error})");
            None
        }
    }
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn passed(output: Option<Output>) {
    let Some(output) = output else { return };
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", told(&output.stdout), told(&output.stderr));
    assert!(told(&output.stdout).contains("1 passed"), "{}", told(&output.stdout));
}

fn tool() -> Nft {
    Nft(nft().unwrap())
}

fn listed() -> String {
    let output = Command::new(nft().unwrap()).args(["list", "ruleset"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

#[test]
fn rules_are_laid_once_however_often_and_taken_away_again() {
    if !is_inside() {
        passed(inside("rules_are_laid_once_however_often_and_taken_away_again", &["--net"]));
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    let before = check(&settings(), &tool()).unwrap_err();
    assert!(before.to_string().starts_with("there is no table inet diolkos"), "{before}");
    undo(&tool()).unwrap();

    apply(&settings(), &tool()).unwrap();
    let first = listed();
    apply(&settings(), &tool()).unwrap();
    assert_eq!(listed(), first, "laid twice is laid once");
    check(&settings(), &tool()).unwrap();

    let other = RedirectSettings { uid: 99, ..settings() };
    let told = check(&other, &tool()).unwrap_err().to_string();
    assert!(told.contains("laid for other settings"), "{told}");
    apply(&other, &tool()).unwrap();
    check(&other, &tool()).unwrap();
    assert!(!listed().contains("1337"), "the former rules are gone:\n{}", listed());

    run(&nft().unwrap().display().to_string(), &["flush", "chain", "inet", "diolkos", "in"]);
    let told = check(&other, &tool()).unwrap_err().to_string();
    assert!(told.contains("chain in of table inet diolkos has 0 rules"), "{told}");
    apply(&other, &tool()).unwrap();
    if std::fs::read_to_string("/proc/net/if_inet6").is_ok() {
        run("ip", &["-6", "addr", "del", "::6/128", "dev", "lo"]);
        let told = check(&other, &tool()).unwrap_err().to_string();
        assert!(told.starts_with("address ::6 is not on lo"), "{told}");
    }
    undo(&tool()).unwrap();
    assert_eq!(listed(), "");
    undo(&tool()).unwrap();
}

#[test]
fn rules_that_do_not_parse_change_nothing() {
    if !is_inside() {
        passed(inside("rules_that_do_not_parse_change_nothing", &["--net"]));
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    apply(&settings(), &tool()).unwrap();
    let before = listed();
    // A port 0 is none that nft takes as a target.
    let bad = RedirectSettings { outbound_port: 0, ..settings() };
    match apply(&bad, &tool()) {
        Err(RedirectError::Refused(_)) => assert_eq!(listed(), before, "all or nothing"),
        Ok(()) => check(&bad, &tool()).unwrap(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_pod_without_ipv6_is_redirected_all_the_same() {
    if !is_inside() {
        passed(inside(
            "a_pod_without_ipv6_is_redirected_all_the_same",
            &["--net", "--mount-proc", "--fork", "--pid"],
        ));
        return;
    }
    let off = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    if std::fs::write(off, "1").is_err() {
        eprintln!("skipped: {off} cannot be written here");
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    apply(&settings(), &tool()).unwrap();
    check(&settings(), &tool()).unwrap();
    undo(&tool()).unwrap();
}

#[test]
fn without_the_capability_or_without_nft_the_way_out_is_told() {
    if !is_inside() {
        let none = Nft("/nowhere/nft".into());
        let told = check(&settings(), &none).unwrap_err().to_string();
        assert!(told.contains("/nowhere/nft cannot be started"), "{told}");
        assert!(told.ends_with("name its nft with --nft or DIOLKOS_NFT"), "{told}");
        let test = "without_the_capability_or_without_nft_the_way_out_is_told";
        let Some(nft) = nft() else { return };
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
            .arg("--no-new-privs")
            .args(["unshare", "--net"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "yes")
            .env(NFT, nft)
            .output();
        match output {
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
                eprintln!("skipped: no network namespace can be made here");
            }
            Ok(output) => passed(Some(output)),
            Err(error) => eprintln!("skipped: setpriv cannot be started ({error})"),
        }
        return;
    }
    let told = apply(&settings(), &tool()).unwrap_err().to_string();
    assert!(told.contains("run it as root with capability NET_ADMIN"), "{told}");
}
