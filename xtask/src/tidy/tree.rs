//! The files of the repository, as git would take them: tracked, or new and not ignored.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workshop::Workshop;

/// Texts by path, with `/` and relative to the root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn read(workshop: &Workshop) -> Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workshop.root())
            .output()
            .context("cannot start git")?;
        ensure!(output.status.success(), "git ls-files failed: tidy reads a git checkout");
        let mut files = BTreeMap::new();
        for path in output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let path = String::from_utf8_lossy(path).into_owned();
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
