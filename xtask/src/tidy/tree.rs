//! The files of the repository, as git would take them: tracked, or new and not ignored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workshop::Workshop;

/// Where nothing is written by hand.
const BUILT: &[&str] = &["target", "found"];

/// Texts by path, with `/` and relative to the root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn read(workshop: &Workshop) -> Result<Self> {
        let paths = match listed(workshop) {
            Some(paths) => paths,
            None => walked(workshop.root())?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            // A path that is gone is a removal not yet committed.
            if let Ok(bytes) = std::fs::read(workshop.path(&path)) {
                files.insert(path, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(Self { files })
    }

    /// A made-up tree.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self { files: files.iter().map(owned).collect() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// The folders that hold a crate, `""` never among them.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &str> {
        self.files().filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
    }

    /// The crate a file belongs to: the nearest folder above it with a manifest.
    pub(crate) fn crate_of(&self, path: &str) -> Option<&str> {
        let within = |folder: &&str| path.strip_prefix(folder).is_some_and(|r| r.starts_with('/'));
        self.crates().filter(within).max_by_key(|folder| folder.len())
    }
}

/// What git knows of; nothing where there is no git, as in an unpacked release.
fn listed(workshop: &Workshop) -> Option<Vec<String>> {
    let output = Command::new("git")
        // A checkout may belong to someone else, as it does in many a container.
        .args(["-c", "safe.directory=*"])
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(workshop.root())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let paths = output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let paths: Vec<_> = paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

/// Everything but hidden folders and what is built.
fn walked(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).with_context(|| folder.clone())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && !name.starts_with('.') && !BUILT.contains(&name.as_str()) {
                open.push(format!("{folder}{name}/"));
            } else if !is_folder {
                paths.push(format!("{folder}{name}"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_built_and_hidden_folders_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/src/lib.rs", "a/target/out.rs", ".tools/x.rs", "Cargo.toml"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let mut paths = walked(root.path()).unwrap();
        paths.sort();
        assert_eq!(paths, ["Cargo.toml", "a/src/lib.rs"]);
    }

    #[test]
    fn here_both_ways_find_this_file() {
        let workshop = Workshop::here();
        let own = "xtask/src/tidy/tree.rs".to_owned();
        assert!(walked(workshop.root()).unwrap().contains(&own));
        assert!(listed(&workshop).is_none_or(|paths| paths.contains(&own)));
    }

    #[test]
    fn a_file_belongs_to_the_nearest_manifest_above_it() {
        let tree = Tree::of(&[("a/Cargo.toml", ""), ("a/b/Cargo.toml", "")]);
        assert_eq!(tree.crate_of("a/src/lib.rs"), Some("a"));
        assert_eq!(tree.crate_of("a/b/src/lib.rs"), Some("a/b"));
        assert_eq!(tree.crate_of("ab/src/lib.rs"), None);
    }
}
