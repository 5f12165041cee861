//! The topologies that come with the binary, and those in files.

use std::path::Path;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::{Topology, parse, parse_istio};

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../topologies/", $name, ".yaml")))),+]
    };
}

const EMBEDDED: &[(&str, &str)] = embedded![
    "single",
    "one-network",
    "two-networks",
    "one-way-by-tunnel",
    "three-zones",
    "primary-remote-one-network",
    "primary-remote-two-networks",
    "external-control-plane",
    "two-meshes",
    "isolated-meshes",
    "one-namespace",
];

/// A topology, and the text it was read from.
#[derive(Clone, Debug)]
pub struct Source {
    pub topology: Topology,
    pub text: String,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Ours,
    /// Named after its file.
    Istio,
}

/// Every topology that comes with the binary.
#[must_use]
pub fn embedded() -> Vec<Topology> {
    EMBEDDED.iter().filter_map(|(_, text)| parse(text).ok()).collect()
}

/// A topology by its name, or by the path of a file: ours, or Istio's JSON.
///
/// # Errors
/// When there is none of that name, or the file is wrong.
pub fn load(name: &str) -> anyhow::Result<Source> {
    if let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
        return read(name, text, Format::Ours);
    }
    let path = Path::new(name);
    if !name.contains('/') && !path.is_file() {
        let names: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        bail!("no topology is named {name}; use a file, or one of: {}", names.join(", "));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    read(stem, &text, if is_json { Format::Istio } else { Format::Ours })
        .with_context(|| name.to_owned())
}

pub(crate) fn read(name: &str, text: &str, format: Format) -> anyhow::Result<Source> {
    let topology = match format {
        Format::Ours => parse(text)?,
        Format::Istio => parse_istio(name, text)?,
    };
    Ok(Source { topology, text: text.to_owned(), format })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_binary_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let mut names: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
        for (name, _) in EMBEDDED {
            assert_eq!(load(name).unwrap().topology.name.as_str(), *name);
        }
        assert_eq!(embedded().len(), EMBEDDED.len());
    }

    #[test]
    fn a_name_that_is_none_lists_those_that_are() {
        let error = load("triangle").unwrap_err().to_string();
        assert!(error.contains("no topology is named triangle; use a file, or one of: single"));
    }

    #[test]
    fn files_are_read_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.json");
        std::fs::write(&path, r#"[{"clusterName": "one", "network": "n"}]"#).unwrap();
        let source = load(path.to_str().unwrap()).unwrap();
        assert_eq!((source.topology.name.as_str(), source.format), ("mine", Format::Istio));
        let path = folder.path().join("broken.yaml");
        std::fs::write(&path, "kind: Topology\n").unwrap();
        let error = format!("{:#}", load(path.to_str().unwrap()).unwrap_err());
        assert!(error.contains("broken.yaml: ") && error.contains("missing field"), "{error}");
    }
}
