//! Custom resources that clusters of the tests know, copied from the modules of their authors.

use std::path::{Path, PathBuf};

use super::go::{Stamp, go};
use super::{Missing, given_folder, step};
use crate::workshop::Workshop;

/// Where a test finds custom resource definitions: a folder of `mcs-api`, `gateway-api/standard`
/// and `gateway-api/experimental`.
pub(crate) const CRDS: &str = "DIOLKOS_TEST_CRDS";

const FOLDER: &str = "kind-tests/tools/crds";

/// A module, a folder in it, and where its files go.
const SOURCES: &[(&str, &str, &str)] = &[
    ("sigs.k8s.io/mcs-api", "config/crd", "mcs-api"),
    ("sigs.k8s.io/gateway-api", "config/crd/standard", "gateway-api/standard"),
    ("sigs.k8s.io/gateway-api", "config/crd/experimental", "gateway-api/experimental"),
];

pub(crate) fn crds(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(folder) = given_folder(CRDS)? {
        return Ok(folder);
    }
    let home = workshop.path(".tools/crds");
    let module = workshop.path(FOLDER);
    let refuse = |cause: std::io::Error| Missing(format!("copying into .tools/crds: {cause}"));
    let text = Stamp::text(&module).map_err(refuse)?;
    let stamp = Stamp::of(workshop, FOLDER);
    if stamp.holds(&text) && home.is_dir() {
        return Ok(home);
    }
    println!("copying custom resource definitions into .tools/crds");
    if home.is_dir() {
        std::fs::remove_dir_all(&home).map_err(refuse)?;
    }
    for (path, folder, target) in SOURCES {
        let source = place(&module, path)?.join(folder);
        copy_yaml(&source, &home.join(target)).map_err(refuse)?;
    }
    stamp.write(&text)?;
    Ok(home)
}

/// Where Go's module cache has a module, after fetching it.
fn place(module: &Path, path: &str) -> Result<PathBuf, Missing> {
    let way_out = format!("or set {CRDS} to a folder with them");
    let need = format!("Go, and its module proxy once, for {path}");
    step(go(module).args(["mod", "download", path]), &need, &way_out)?;
    let output = go(module).args(["list", "-m", "-f", "{{.Dir}}", path]).output();
    let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match folder {
        Ok(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
        _ => Err(Missing(format!("go list does not say where {path} is; {way_out}"))),
    }
}

fn copy_yaml(source: &Path, target: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(target)?;
    for entry in std::fs::read_dir(source)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // A kustomization is no object for an API server.
        if name.ends_with(".yaml") && name != "kustomization.yaml" {
            // Files of the module cache are read-only, and a copy of one would be too.
            std::fs::write(target.join(name), std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_copied() {
        let home = tempfile::tempdir().unwrap();
        let (source, target) = (home.path().join("a"), home.path().join("b/c"));
        std::fs::create_dir(&source).unwrap();
        for name in ["export.yaml", "kustomization.yaml", "embed.go"] {
            std::fs::write(source.join(name), name).unwrap();
        }
        copy_yaml(&source, &target).unwrap();
        let names: Vec<_> = std::fs::read_dir(&target).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(std::fs::read_to_string(target.join("export.yaml")).unwrap(), "export.yaml");
    }
}
