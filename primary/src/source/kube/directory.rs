//! Clusters registered by files instead of secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diolkos_facts::limit::REMOTE_ENTRIES_MAX;

use crate::source::files::scan::{Look, Seen, look};

/// A folder of kubeconfigs.
pub(super) struct Directory {
    path: PathBuf,
    files: BTreeMap<String, (Option<Seen>, Vec<u8>)>,
    /// Looked at once.
    looked: bool,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new(), looked: false }
    }

    /// Everything, when anything changed. What cannot be read takes nothing away.
    pub(super) fn look(&mut self) -> Option<BTreeMap<String, Vec<u8>>> {
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
            let (seen, bytes) = self.files.entry(name).or_default();
            match look(&path, seen) {
                Look::Same | Look::Gone => {}
                Look::Changed(text) => {
                    *bytes = text.into_bytes();
                    changed = true;
                }
                Look::Unreadable(why) => tracing::warn!("{}: {why}", path.display()),
            }
        }
        changed.then(|| {
            let all = self.files.iter().map(|(name, (_, bytes))| (name.clone(), bytes.clone()));
            all.collect()
        })
    }
}

/// One more than are read, so that whoever reads them says that there are too many.
fn names(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = std::fs::metadata(entry.path()).is_ok_and(|kind| kind.is_file());
        if is_file && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    names.truncate(REMOTE_ENTRIES_MAX + 1);
    Ok(names)
}
