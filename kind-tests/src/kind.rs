//! The provider for machines with a Docker engine: writes what kind needs, and runs it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use diolkos_kind_plan::{Places, Plan, Slot, kind_files};

use crate::library::Source;
use crate::part::Mint;
use crate::state::{Settings, State};
use crate::tools::{Wanted, on_path};

/// Whether kind can be used here.
///
/// # Errors
/// What is missing, and where it comes from.
pub fn kind_is_there() -> anyhow::Result<()> {
    for (program, from) in [
        ("kind", "https://kind.sigs.k8s.io"),
        ("kubectl", "https://kubernetes.io/docs/tasks/tools"),
        ("docker", "https://docs.docker.com/engine"),
    ] {
        if on_path(program).is_none() {
            bail!("kind needs the program {program}: see {from}");
        }
    }
    let mut engine = Command::new("docker");
    match engine.arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("kind needs a Docker engine that runs; `docker info` finds none"),
    }
}

/// Writes the files and scripts for kind into a folder, which it makes.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_kind(
    folder: &Path,
    source: &Source,
    wanted: &Wanted,
    diolkos: &Path,
    mint: &dyn Mint,
) -> anyhow::Result<()> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
    };
    let places = Places {
        state: text(folder)?,
        tools: String::new(),
        crds: wanted.crds.as_deref().map(text).transpose()?,
        diolkos: text(diolkos)?,
        envoy: wanted.envoy.as_deref().map(text).transpose()?,
        nft: "/usr/sbin/nft".to_owned(),
    };
    // One topology at a time: Docker networks of one range exclude each other anyway.
    let slot = Slot::new(0).context("there is a first slot")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for file in kind_files(&source.topology, slot, &places) {
        let path = folder.join(&file.path);
        std::fs::write(&path, &file.text).with_context(|| path.display().to_string())?;
        if path.extension().is_some_and(|extension| extension == "sh") {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    let plan = Plan::new(source.topology.clone(), slot, places);
    plan.roots.iter().try_for_each(|root| mint.mint(root))
}

/// Writes the files into the topology's folder and runs them.
///
/// # Errors
/// When a script fails; what came up stays, for `down` or for a look.
pub fn up_kind(
    state: &State,
    source: &Source,
    wanted: &Wanted,
    diolkos: &Path,
    mint: &dyn Mint,
) -> anyhow::Result<()> {
    kind_is_there()?;
    let settings = Settings {
        tools: state.path("kind"),
        crds: wanted.crds.clone(),
        nft: "nft".into(),
        envoy: wanted.envoy.clone(),
        diolkos: diolkos.to_owned(),
    };
    state.create(source, &settings)?;
    let folder = state.path("kind");
    write_kind(&folder, source, wanted, diolkos, mint)?;
    script(&folder, "up.sh")?;
    std::fs::copy(folder.join("kubeconfig"), state.path("kubeconfig"))?;
    Ok(())
}

/// Whether a topology's clusters are kind's.
pub(crate) fn is_kind(state: &State) -> bool {
    state.path("kind/down.sh").is_file()
}

pub(crate) fn down_kind(state: &State) -> anyhow::Result<()> {
    script(&state.path("kind"), "down.sh")
}

/// Its output goes to standard error: data alone goes to standard output.
fn script(folder: &Path, name: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    let shown = path.display();
    let status = Command::new("sh")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown} ended with {status}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diolkos_kind_plan::Root;

    struct Noting(std::sync::Mutex<Vec<String>>);

    impl Mint for Noting {
        fn mint(&self, root: &Root) -> anyhow::Result<()> {
            let folders = root.intermediates.iter().map(|of| of.folder.clone());
            self.0.lock().unwrap().extend(folders);
            Ok(())
        }
    }

    #[test]
    fn files_scripts_and_authorities_are_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("kind");
        let source = crate::library::load("two-networks").unwrap();
        let mint = Noting(std::sync::Mutex::default());
        let diolkos = Path::new("/bin/diolkos");
        write_kind(&into, &source, &Wanted::default(), diolkos, &mint).unwrap();
        for name in ["kind-east.yaml", "metallb-west.yaml", "workloads-east.yaml", "Dockerfile"] {
            assert!(into.join(name).is_file(), "{name}");
        }
        let mode = std::fs::metadata(into.join("up.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let script = Command::new("sh").arg("-n").arg(into.join("up.sh")).status().unwrap();
        assert!(script.success());
        let routes = Command::new("sh").arg("-n").arg(into.join("routes.sh")).status().unwrap();
        assert!(routes.success());
        let minted = mint.0.into_inner().unwrap();
        let expected = into.join("cacerts/mesh1/east").display().to_string();
        assert_eq!(minted[0], expected);
    }
}
