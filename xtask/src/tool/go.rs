//! Programs that Go builds from modules in this tree, at the versions their go.sum holds.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Missing, given, given_folder, step};
use crate::workshop::Workshop;

/// Where a test finds Kubernetes' own programs, kubectl among them: a folder.
pub(crate) const KUBERNETES: &str = "DIOLKOS_TEST_KUBERNETES";
/// Where a test finds etcd; etcdutl and etcdctl are beside it.
pub(crate) const ETCD: &str = "DIOLKOS_TEST_ETCD";
/// Where a test finds CoreDNS.
pub(crate) const COREDNS: &str = "DIOLKOS_TEST_COREDNS";
/// Where a test finds pilot-discovery and istioctl: a folder.
pub(crate) const ISTIO: &str = "DIOLKOS_TEST_ISTIO";
/// Where a test finds the program that is the nodes of a cluster without Docker.
pub(crate) const NODE: &str = "DIOLKOS_TEST_NODE";

/// Where built programs go.
const BIN: &str = ".tools/bin";

/// Programs of one module.
struct Module {
    folder: &'static str,
    /// What the version of this required module is told to the programs by, if they ask.
    stamped: Option<(&'static str, &'static [&'static str])>,
    /// Each program and its package.
    programs: &'static [(&'static str, &'static str)],
}

const KUBERNETES_MODULE: Module = Module {
    folder: "kind-tests/tools/kubernetes",
    stamped: Some((
        "k8s.io/kubernetes",
        &["k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"],
    )),
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
};

const ETCD_MODULE: Module = Module {
    folder: "kind-tests/tools/etcd",
    stamped: None,
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
        ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    ],
};

const COREDNS_MODULE: Module =
    Module { folder: "kind-tests/tools/coredns", stamped: None, programs: &[("coredns", ".")] };

const ISTIO_MODULE: Module = Module {
    folder: "kind-tests/tools/istio",
    stamped: Some(("istio.io/istio", &["istio.io/istio/pkg/version.buildVersion"])),
    programs: &[
        ("pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery"),
        ("istioctl", "istio.io/istio/istioctl/cmd/istioctl"),
    ],
};

/// The folder of Kubernetes' programs.
pub(crate) fn kubernetes(workshop: &Workshop) -> Result<PathBuf, Missing> {
    match given_folder(KUBERNETES)? {
        Some(folder) => Ok(folder),
        None => KUBERNETES_MODULE.build(workshop, KUBERNETES),
    }
}

pub(crate) fn etcd(workshop: &Workshop) -> Result<PathBuf, Missing> {
    match given(ETCD)? {
        Some(binary) => Ok(binary),
        None => Ok(ETCD_MODULE.build(workshop, ETCD)?.join("etcd")),
    }
}

pub(crate) fn coredns(workshop: &Workshop) -> Result<PathBuf, Missing> {
    match given(COREDNS)? {
        Some(binary) => Ok(binary),
        None => Ok(COREDNS_MODULE.build(workshop, COREDNS)?.join("coredns")),
    }
}

/// The folder of Istio's programs. Slow to build, and only comparisons with a peer need them.
pub(crate) fn istio(workshop: &Workshop) -> Result<PathBuf, Missing> {
    match given_folder(ISTIO)? {
        Some(folder) => Ok(folder),
        None => ISTIO_MODULE.build(workshop, ISTIO),
    }
}

/// The same, where somebody built them before; a test that finds none says so.
pub(crate) fn istio_if_built(workshop: &Workshop) -> Option<PathBuf> {
    match std::env::var_os(ISTIO) {
        Some(_) => istio(workshop).ok(),
        None => ISTIO_MODULE.is_built(workshop).then(|| workshop.path(BIN)),
    }
}

/// The node program, from its source in the tree. Go's cache makes a second build short.
pub(crate) fn node(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(binary) = given(NODE)? {
        return Ok(binary);
    }
    let binary = workshop.path(BIN).join("diolkos-node");
    let mut build = go(&workshop.path("kind-tests/node"));
    build.args(["build", "-ldflags", "-s -w", "-o"]).arg(&binary).arg(".");
    step(&mut build, "Go, to build kind-tests/node", &format!("or set {NODE} to a built one"))?;
    Ok(binary)
}

/// `go` in a module, by its go.sum and nothing else, whatever this machine is set to.
pub(crate) fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command.env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false");
    command
}

impl Module {
    /// Builds what is missing or of another version; the folder it is in.
    fn build(&self, workshop: &Workshop, variable: &str) -> Result<PathBuf, Missing> {
        let bin = workshop.path(BIN);
        let module = workshop.path(self.folder);
        let text = Stamp::text(&module)
            .map_err(|cause| Missing(format!("{} cannot be read: {cause}", self.folder)))?;
        if self.is_built_of(workshop, &text) {
            return Ok(bin);
        }
        let flags = self.linker_flags(&text);
        for (name, package) in self.programs {
            println!("building {name} into {BIN}; the first time takes minutes");
            let mut build = go(&module);
            build.args(["build", "-ldflags", &flags, "-o"]).arg(bin.join(name)).arg(package);
            let need = format!("Go, and its module proxy once, to build {name}");
            step(&mut build, &need, &format!("or set {variable} to what is built already"))?;
        }
        Stamp::of(workshop, self.folder).write(&text)?;
        Ok(bin)
    }

    fn is_built(&self, workshop: &Workshop) -> bool {
        let text = Stamp::text(&workshop.path(self.folder));
        text.is_ok_and(|text| self.is_built_of(workshop, &text))
    }

    fn is_built_of(&self, workshop: &Workshop, text: &str) -> bool {
        let bin = workshop.path(BIN);
        let is_there = |(name, _): &(&str, &str)| bin.join(name).is_file();
        Stamp::of(workshop, self.folder).holds(text) && self.programs.iter().all(is_there)
    }

    fn linker_flags(&self, go_mod: &str) -> String {
        let mut flags = "-s -w".to_owned();
        if let Some((module, variables)) = self.stamped
            && let Some(version) = required(go_mod, module)
        {
            for variable in variables {
                flags.push_str(&format!(" -X {variable}={version}"));
            }
        }
        flags
    }
}

/// What was built last from a module, told by all that decides it.
pub(super) struct Stamp(PathBuf);

impl Stamp {
    pub(super) fn of(workshop: &Workshop, folder: &str) -> Self {
        Self(workshop.path(".tools/stamps").join(folder.replace('/', "-")))
    }

    /// The module's own files: versions, their sums, and what source there is.
    pub(super) fn text(module: &Path) -> std::io::Result<String> {
        let mut text = String::new();
        for name in ["go.mod", "go.sum", "main.go"] {
            let path = module.join(name);
            if name != "main.go" || path.is_file() {
                text.push_str(&std::fs::read_to_string(path)?);
            }
        }
        Ok(text)
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.0).is_ok_and(|written| written == text)
    }

    pub(super) fn write(&self, text: &str) -> Result<(), Missing> {
        let parent = self.0.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&self.0, text))
            .map_err(|cause| Missing(format!("{} cannot be written: {cause}", self.0.display())))
    }
}

/// The version that a go.mod requires of `module`.
fn required<'t>(go_mod: &'t str, module: &str) -> Option<&'t str> {
    let mut lines = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    lines.find_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_a_module_requires_is_found_among_others() {
        let go_mod = "module m\n\nrequire (\n\tk8s.io/kubernetes-x v1.0.0\n\
                      \tk8s.io/kubernetes v1.36.3 // indirect\n)\nrequire b.io/c v2.0.0\n\
                      replace k8s.io/api => k8s.io/api v0.36.3\n";
        assert_eq!(required(go_mod, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required(go_mod, "b.io/c"), Some("v2.0.0"));
        assert_eq!(required(go_mod, "k8s.io"), None);
    }

    #[test]
    fn programs_are_told_their_version() {
        let flags = ISTIO_MODULE.linker_flags("require istio.io/istio v0.0.1-x // indirect\n");
        assert_eq!(flags, "-s -w -X istio.io/istio/pkg/version.buildVersion=v0.0.1-x");
        assert_eq!(COREDNS_MODULE.linker_flags(""), "-s -w");
    }

    #[test]
    fn every_module_here_requires_what_it_is_stamped_with() {
        let workshop = Workshop::here();
        for module in [&KUBERNETES_MODULE, &ETCD_MODULE, &COREDNS_MODULE, &ISTIO_MODULE] {
            let text = Stamp::text(&workshop.path(module.folder)).unwrap();
            let version =
                module.stamped.map(|(required_module, _)| required(&text, required_module));
            assert_ne!(version, Some(None), "{}", module.folder);
        }
    }

    #[test]
    fn a_stamp_holds_only_for_the_very_text() {
        let home = tempfile::tempdir().unwrap();
        let stamp = Stamp(home.path().join("stamps/a"));
        assert!(!stamp.holds(""));
        stamp.write("one").unwrap();
        assert!(stamp.holds("one") && !stamp.holds("two"));
    }
}
