//! What is in a folder, and whether a file is another than last time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use diolkos_facts::limit::FILE_BYTES_MAX;

/// A folder of manifests is for people; this many are a mistake.
pub(super) const FILES_PER_FOLDER_MAX: usize = 5_000;
/// Links can make a folder endless.
pub(super) const FOLDER_DEPTH_MAX: usize = 16;

/// A file system may give two writes within this time the same stamp.
const STAMP_COARSENESS: Duration = Duration::from_secs(1);

/// Every manifest below `root`, by its path from there. Links are followed; hidden files are not
/// read, and editors' temporary files do not end like manifests.
pub(super) fn manifests(root: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    listed(root, FILES_PER_FOLDER_MAX)
}

fn listed(root: &Path, files_max: usize) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut visited = BTreeSet::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        // The same folder by two links would say everything twice.
        let opened = fs::canonicalize(&folder).and_then(|real| {
            if visited.insert(real) { fs::read_dir(&folder).map(Some) } else { Ok(None) }
        });
        let entries = match opened {
            Ok(Some(entries)) => entries,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A link whose target is gone names nothing.
            let Ok(kind) = fs::metadata(entry.path()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() && depth < FOLDER_DEPTH_MAX {
                folders.push((entry.path(), format!("{prefix}{name}/"), depth + 1));
            } else if kind.is_file() && is_manifest(&name) {
                found.insert(format!("{prefix}{name}"), entry.path());
            }
        }
        if found.len() > files_max {
            let cause = format!("more than {files_max} manifests");
            return Err(io::Error::other(cause));
        }
    }
    Ok(found)
}

fn is_manifest(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    matches!(ending, Some("json" | "yaml" | "yml"))
}

/// A file as it was when it was last read.
#[derive(Clone, Debug)]
pub(in crate::source) struct Seen {
    print: Print,
    at: SystemTime,
    content: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    bytes: u64,
    modified: Option<SystemTime>,
    file: (u64, u64),
}

#[derive(Debug)]
pub(in crate::source) enum Look {
    Changed(String),
    Gone,
    Same,
    Unreadable(String),
}

/// Reads a file if it may be another than `seen`, and says which it is.
pub(in crate::source) fn look(path: &Path, seen: &mut Option<Seen>) -> Look {
    let print = match fs::metadata(path) {
        Ok(metadata) => Print::of(&metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            *seen = None;
            return Look::Gone;
        }
        Err(error) => return unreadable(seen, error.to_string()),
    };
    let at = SystemTime::now();
    if seen.as_ref().is_some_and(|seen| seen.print == print && !seen.may_lie()) {
        return Look::Same;
    }
    let text = match text(path, print.bytes) {
        Ok(text) => text,
        Err(why) => return unreadable(seen, why),
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let content = hasher.finish();
    let same = seen.as_ref().is_some_and(|seen| seen.content == content);
    *seen = Some(Seen { print, at, content });
    if same { Look::Same } else { Look::Changed(text) }
}

/// Looked at again each time: nothing says when it becomes readable.
fn unreadable(seen: &mut Option<Seen>, why: String) -> Look {
    *seen = None;
    Look::Unreadable(why)
}

fn text(path: &Path, bytes: u64) -> Result<String, String> {
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    if bytes > bytes_max {
        return Err(format!("the file has {bytes} bytes, at most {bytes_max} are read"));
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    // It may have grown since.
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        format!("byte {at} (line {line}) is not UTF-8")
    })
}

impl Seen {
    /// It was read so soon after it was written that a later write may bear the same stamp.
    fn may_lie(&self) -> bool {
        self.print.modified.is_none_or(|modified| {
            self.at.duration_since(modified).is_ok_and(|age| age < STAMP_COARSENESS)
        })
    }
}

impl Print {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            file: file_number(metadata),
        }
    }
}

#[cfg(unix)]
pub(super) fn file_number(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub(super) fn file_number(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        manifests(root).expect("a folder").into_keys().collect()
    }

    #[test]
    fn folders_are_read_to_the_deepest_allowed_and_no_deeper() {
        let root = tempfile::tempdir().expect("a folder");
        let mut path = root.path().to_owned();
        for depth in 0..=FOLDER_DEPTH_MAX + 1 {
            fs::write(path.join(format!("{depth:02}.yaml")), "").expect("a file");
            path.push("below");
            fs::create_dir(&path).expect("a folder");
        }
        assert_eq!(names(root.path()).len(), FOLDER_DEPTH_MAX + 1);
    }

    #[test]
    fn a_loop_of_links_ends_and_a_folder_counts_once() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("a")).expect("a folder");
        fs::write(root.path().join("a/one.yaml"), "").expect("a file");
        symlink(root.path(), root.path().join("a/loop")).expect("a link");
        symlink("nowhere", root.path().join("dangling.yaml")).expect("a link");
        assert_eq!(names(root.path()), ["a/one.yaml"]);
    }

    #[test]
    fn a_folder_of_too_many_manifests_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        for index in 0..3 {
            fs::write(root.path().join(format!("{index}.yaml")), "").expect("a file");
        }
        assert_eq!(listed(root.path(), 3).map(|found| found.len()).ok(), Some(3));
        let error = listed(root.path(), 2).expect_err("one too many");
        assert_eq!(error.to_string(), "more than 2 manifests");
    }

    #[test]
    fn a_file_is_read_again_only_when_it_may_be_another() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("one.yaml");
        fs::write(&path, "a").expect("a file");
        let old = SystemTime::now() - Duration::from_secs(60);
        let set_old = || {
            let file = fs::File::options().write(true).open(&path).expect("a file");
            file.set_modified(old).expect("a time");
        };
        set_old();
        let mut seen = None;
        assert!(matches!(look(&path, &mut seen), Look::Changed(text) if text == "a"));
        assert!(matches!(look(&path, &mut seen), Look::Same));
        // Same file, same size, same time: taken for the same, for the time is long past.
        fs::write(&path, "b").expect("a file");
        set_old();
        assert!(matches!(look(&path, &mut seen), Look::Same));
        // Just written: a time stamp may be too coarse to tell.
        fs::write(&path, "c").expect("a file");
        assert!(matches!(look(&path, &mut seen), Look::Changed(text) if text == "c"));
        let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        fs::write(&path, "d").expect("a file");
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(modified).expect("a time");
        assert!(matches!(look(&path, &mut seen), Look::Changed(text) if text == "d"));
        fs::remove_file(&path).expect("it was there");
        assert!(matches!(look(&path, &mut seen), Look::Gone));
    }
}
