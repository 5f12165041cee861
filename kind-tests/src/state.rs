//! The folder of one topology: what it was made from, who runs it, and all that it writes.
//!
//! ```text
//!  ROOT/NAME/topology.yaml | .json   as it was read
//!            settings.json           where the programs are
//!            supervisor.json         the two processes whose end is the end of everything
//!            control.sock            the supervisor's ear
//!            kubeconfig plan.txt supervisor.log clusters/ cacerts/
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::library::{self, Format, Source};
use crate::process::ProcessId;

/// Where topologies are unless told otherwise. Not below /run, which the supervisor has one of its
/// own of.
pub const DEFAULT_ROOT: &str = "/var/lib/diolkos/topologies";

/// Names the link in this machine's own network.
pub(crate) const LINK_FILE: &str = "link";

/// A folder of topologies.
#[derive(Clone, Debug)]
pub struct StateRoot(PathBuf);

/// A topology's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub name: String,
    pub folder: PathBuf,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) tools: PathBuf,
    pub(crate) crds: Option<PathBuf>,
    pub(crate) nft: PathBuf,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) diolkos: PathBuf,
}

/// `unshare`, and the first process of the process namespace it made.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Supervisor {
    pub(crate) starter: ProcessId,
    pub(crate) first: ProcessId,
}

impl Supervisor {
    pub(crate) fn is_alive(&self) -> bool {
        self.starter.is_alive() || self.first.is_alive()
    }
}

impl StateRoot {
    /// # Errors
    /// When `folder` cannot be one.
    pub fn new(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder.unwrap_or(Path::new(DEFAULT_ROOT)))?;
        if folder.starts_with("/run") || folder.starts_with("/proc") {
            bail!("{} cannot hold topologies; choose a folder outside /run", folder.display());
        }
        Ok(Self(folder))
    }

    #[must_use]
    pub fn state(&self, name: &str) -> State {
        State { name: name.to_owned(), folder: self.0.join(name) }
    }

    /// Those that are there, running or not.
    #[must_use]
    pub fn all(&self) -> Vec<State> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().join("settings.json").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names.iter().map(|name| self.state(name)).collect()
    }

    /// The named one, or the only one.
    ///
    /// # Errors
    /// When there is none, or a name is needed to tell which.
    pub fn find(&self, name: Option<&str>) -> anyhow::Result<State> {
        let all = self.all();
        let names: Vec<&str> = all.iter().map(|state| state.name.as_str()).collect();
        if let Some(name) = name {
            return match all.iter().find(|state| state.name == name) {
                Some(state) => Ok(state.clone()),
                None => bail!("topology {name} is not up; up are: [{}]", names.join(", ")),
            };
        }
        match all.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("no topology is up; start one: diolkos topology up NAME"),
            _ => bail!("several topologies are up; say which: {}", names.join(", ")),
        }
    }

    /// The default folder is ours, and goes with the last topology; one that someone named stays.
    pub fn remove_if_empty(&self) {
        if self.0 == Path::new(DEFAULT_ROOT) && fs::remove_dir(&self.0).is_ok() {
            let _ = self.0.parent().map(fs::remove_dir);
        }
    }
}

impl State {
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// Fails where there is one: two of a name would take each other for themselves.
    pub(crate) fn create(&self, source: &Source, settings: &Settings) -> anyhow::Result<()> {
        let folder = self.folder.display();
        if let Some(above) = self.folder.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(above)
                .with_context(|| format!("cannot create {}", above.display()))?;
        }
        if self.folder.exists() {
            let name = &self.name;
            bail!("{folder} is there; take it down first: diolkos topology down {name}");
        }
        // It holds keys.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.folder)
            .with_context(|| format!("cannot create {folder}"))?;
        let name = match source.format {
            Format::Ours => "topology.yaml",
            Format::Istio => "topology.json",
        };
        self.write(name, source.text.as_bytes())?;
        // Last: it is what makes the folder a topology's.
        self.write("settings.json", &serde_json::to_vec_pretty(settings)?)
    }

    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        for (name, format) in [("topology.yaml", Format::Ours), ("topology.json", Format::Istio)] {
            if let Ok(text) = fs::read_to_string(self.path(name)) {
                return library::read(&self.name, &text, format);
            }
        }
        bail!("{} holds no topology", self.folder.display())
    }

    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        self.read("settings.json")
    }

    pub(crate) fn supervisor(&self) -> anyhow::Result<Supervisor> {
        self.read("supervisor.json")
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> anyhow::Result<T> {
        let path = self.path(name);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Whole or not at all, and for root alone.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        write_private(&self.path(name), content)
    }
}

pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let fresh = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(content)?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let tools = PathBuf::from("/tools");
        Settings { tools, crds: None, nft: "nft".into(), envoy: None, diolkos: "d".into() }
    }

    #[test]
    fn a_topology_is_there_once_and_found_by_name_or_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = StateRoot::new(Some(folder.path())).unwrap();
        assert!(root.find(None).unwrap_err().to_string().contains("no topology is up"));
        let source = library::load("single").unwrap();
        root.state("a").create(&source, &settings()).unwrap();
        let again = root.state("a").create(&source, &settings()).unwrap_err().to_string();
        assert!(again.contains("take it down first: diolkos topology down a"), "{again}");
        assert_eq!(root.find(None).unwrap(), root.state("a"));
        root.state("b").create(&source, &settings()).unwrap();
        assert!(root.find(None).unwrap_err().to_string().contains("say which: a, b"));
        assert_eq!(root.find(Some("b")).unwrap(), root.state("b"));
        assert!(root.find(Some("c")).unwrap_err().to_string().contains("up are: [a, b]"));
        assert_eq!(root.state("b").source().unwrap().topology, source.topology);
        assert_eq!(root.state("b").settings().unwrap(), settings());
    }

    #[test]
    fn folders_that_the_supervisor_would_not_see_are_refused() {
        for folder in ["/run/diolkos", "/run", "/proc/1"] {
            assert!(StateRoot::new(Some(Path::new(folder))).is_err(), "{folder}");
        }
    }
}
