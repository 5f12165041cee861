//! The programs that a topology is made of, and what a machine lacks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;

/// Built from Go modules by `cargo xtask tools`.
const BUILT: &[&str] = &[
    "etcd",
    "etcdctl",
    "etcdutl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "coredns",
    "diolkos-node",
];

/// Of the machine, each with the Debian package that has it.
const SYSTEM: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    pub built: PathBuf,
    pub crds: Option<PathBuf>,
    pub nft: PathBuf,
    pub envoy: Option<PathBuf>,
}

/// Where to look first.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The folder of the built programs.
    pub tools: Option<PathBuf>,
    pub envoy: Option<PathBuf>,
    /// Debian's lies about, but is not always on the PATH.
    pub nft: Option<PathBuf>,
    /// Custom resource definitions: `mcs-api` and `gateway-api/standard`.
    pub crds: Option<PathBuf>,
}

impl Tools {
    /// # Errors
    /// Everything that is missing, at once, each with the way to have it.
    pub fn find(wanted: &Wanted) -> anyhow::Result<Self> {
        let mut missing = String::new();
        if !rustix::process::geteuid().is_root() {
            missing.push_str("\n- to be root: network namespaces are made; use sudo");
        }
        let built = wanted.tools.clone().unwrap_or_else(|| PathBuf::from(".tools/bin"));
        let absent: Vec<&str> =
            BUILT.iter().copied().filter(|name| !built.join(name).is_file()).collect();
        if !absent.is_empty() {
            let _ = write!(
                missing,
                "\n- {} in {}: `cargo xtask tools` builds them into .tools/bin, or name another \
                 folder by --tools",
                absent.join(", "),
                built.display()
            );
        }
        for (name, package) in SYSTEM {
            let given = *name == "nft" && wanted.nft.is_some();
            if !given && on_path(name).is_none() {
                let _ = write!(missing, "\n- the program {name}: apt-get install {package}");
            }
        }
        if !missing.is_empty() {
            bail!("a topology in network namespaces needs:{missing}");
        }
        let built = std::path::absolute(built)?;
        let beside = || built.parent().map(|above| above.join("crds"));
        let crds = wanted.crds.clone().or_else(beside).filter(|path| path.is_dir());
        let envoy = wanted.envoy.clone().or_else(|| on_path("envoy"));
        let nft = wanted.nft.clone().or_else(|| on_path("nft")).unwrap_or_default();
        Ok(Self { built, crds, nft, envoy })
    }
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path);
    // A user's PATH often lacks what only root runs.
    let system = ["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_owned);
    folders.chain(system).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once_with_the_way_to_have_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let wanted = Wanted { tools: Some(folder.path().to_owned()), ..Wanted::default() };
        let error = Tools::find(&wanted).unwrap_err().to_string();
        assert!(error.contains("kube-apiserver") && error.contains("cargo xtask tools"), "{error}");
        assert!(error.contains("etcdctl, etcdutl"), "{error}");
        assert!(!error.contains(" etcd,"), "{error}");
    }
}
