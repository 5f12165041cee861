//! The fuzz tier: each target of each fuzz crate, for seconds, on stable Rust.
//!
//! cargo-fuzz wants nightly; the compiler's coverage pass does not. Its flags stand in the fuzz
//! crate's `.cargo/config.toml`, which counts because cargo is started in that folder. Without them
//! libFuzzer itself ends with a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::count::Count;
use crate::tidy::Tree;
use crate::tool::{self, Missing};
use crate::workshop::Workshop;

const SECONDS_PER_TARGET: u32 = 20;
const SECONDS_PER_INPUT_MAX: u32 = 5;
/// Beyond every bound a reader of bytes has here (16 KiB for a hello), so that both sides of it
/// are tried.
const INPUT_BYTES_MAX: u32 = 20 * 1024;

/// A crate of fuzz targets: a folder named `fuzz`, a workspace of its own.
pub(crate) struct FuzzCrate {
    pub(crate) folder: PathBuf,
    targets: Vec<String>,
}

pub(crate) fn run(workshop: &Workshop) -> Result<Result<Count, Missing>> {
    let crates = find(workshop)?;
    if crates.is_empty() {
        return Ok(Err(Missing("no crate in a folder named fuzz".to_owned())));
    }
    if let Err(missing) = tool::cxx() {
        return Ok(Err(missing));
    }
    let triple = host()?;
    let mut count = Count::default();
    for FuzzCrate { folder, targets } in crates {
        for target in targets {
            println!("--- {target}, {SECONDS_PER_TARGET} s");
            let ok = run_target(workshop, &folder, &target, &triple)?;
            println!("fuzz {target} ... {}", if ok { "ok" } else { "FAILED" });
            count += if ok { Count::PASSED } else { Count::FAILED };
        }
    }
    Ok(Ok(count))
}

pub(crate) fn find(workshop: &Workshop) -> Result<Vec<FuzzCrate>> {
    let tree = Tree::read(workshop)?;
    let mut found = Vec::new();
    for folder in tree.crates().filter(|folder| folder.ends_with("/fuzz")) {
        let text = tree.text(&format!("{folder}/Cargo.toml")).unwrap_or_default();
        let manifest: toml::Table = text.parse().with_context(|| format!("{folder}/Cargo.toml"))?;
        let bins = manifest.get("bin").and_then(toml::Value::as_array);
        let names = bins.into_iter().flatten().filter_map(|bin| bin.get("name")?.as_str());
        let targets = names.map(str::to_owned).collect();
        found.push(FuzzCrate { folder: workshop.path(folder), targets });
    }
    Ok(found)
}

/// Builds and runs one target. What libFuzzer learns goes below the target folder, the committed
/// corpus is only read; of what it says, a success shows the figures and a failure everything.
fn run_target(workshop: &Workshop, folder: &Path, target: &str, triple: &str) -> Result<bool> {
    let scratch = target_folder(workshop).join("fuzz");
    let mut build = cargo::cargo(workshop, "build");
    // Flags of the environment would replace those of the crate.
    build.current_dir(folder).env_remove("RUSTFLAGS");
    build.args(["--release", "--target", triple, "--bin", target]);
    if !cargo::succeeds(build.arg("--target-dir").arg(&scratch))? {
        return Ok(false);
    }
    let learned = scratch.join("learned").join(target);
    let artifacts = scratch.join("found").join(target);
    for place in [&learned, &artifacts] {
        std::fs::create_dir_all(place).with_context(|| place.display().to_string())?;
    }
    let mut fuzz = Command::new(scratch.join(triple).join("release").join(target));
    fuzz.current_dir(folder).arg(&learned);
    let corpus = folder.join("corpus").join(target);
    if corpus.is_dir() {
        fuzz.arg(corpus);
    }
    fuzz.arg(format!("-max_total_time={SECONDS_PER_TARGET}"));
    fuzz.arg(format!("-timeout={SECONDS_PER_INPUT_MAX}"));
    fuzz.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzz.arg("-print_final_stats=1");
    let output = fuzz.output().with_context(|| format!("cannot start {target}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let is_figure = |line: &&str| line.starts_with("stat::");
    for line in text.lines().filter(|line| !output.status.success() || is_figure(line)) {
        println!("{line}");
    }
    Ok(output.status.success())
}

fn target_folder(workshop: &Workshop) -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR");
    workshop.root().join(given.unwrap_or_else(|| "target".into()))
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot start rustc")?;
    ensure!(output.status.success(), "rustc -vV failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    triple.map(str::to_owned).context("rustc -vV names no host")
}
