//! Clusters registered by files instead of secrets: each file is one cluster's kubeconfig.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::limit;
use super::plan::Name;
use super::remote::Secret;
use super::secrets::Letter;
use crate::source::files::scan::{Look, Seen, look};

/// A folder of kubeconfigs, named after their clusters: `west.yaml` registers `west`.
pub(super) struct Directory {
    path: PathBuf,
    files: BTreeMap<String, (Option<Seen>, Letter)>,
    /// Looked at once.
    looked: bool,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new(), looked: false }
    }

    /// Everything, when anything changed. A folder that cannot be read takes nothing away.
    pub(super) fn look(&mut self) -> Option<Vec<(Name, Letter)>> {
        let found = match names(&self.path) {
            Ok(found) => found,
            Err(error) => {
                if !self.looked {
                    tracing::warn!("{}: {error}; no remote cluster is known", self.path.display());
                }
                return None;
            }
        };
        let before = self.files.len();
        self.files.retain(|name, _| found.contains(name));
        let mut changed = self.files.len() != before || !self.looked;
        self.looked = true;
        for name in found {
            let path = self.path.join(&name);
            let (seen, letter) = self.files.entry(name.clone()).or_default();
            match look(&path, seen) {
                Look::Same | Look::Gone => {}
                Look::Changed(text) => {
                    *letter = Letter::default();
                    letter.kubeconfigs.insert(cluster(&name), Secret::new(text));
                    changed = true;
                }
                // The last good version counts.
                Look::Unreadable(why) => {
                    changed |= letter.complaints.first() != Some(&why);
                    letter.complaints = vec![why];
                }
            }
        }
        changed.then(|| {
            let all = self.files.iter();
            let named = |name: &String| Name { namespace: String::new(), name: name.clone() };
            all.map(|(name, (_, letter))| (named(name), letter.clone())).collect()
        })
    }
}

fn cluster(file: &str) -> String {
    let ends = [".yaml", ".yml", ".json", ".kubeconfig"];
    let stem = ends.into_iter().find_map(|end| file.strip_suffix(end));
    stem.unwrap_or(file).to_owned()
}

/// Whatever is hidden, and what a mounted secret keeps beside its files, is no kubeconfig.
fn names(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = std::fs::metadata(entry.path()).is_ok_and(|kind| kind.is_file());
        if is_file && !name.starts_with('.') && names.len() < limit::SECRETS_MAX {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
