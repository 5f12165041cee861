//! What cargo knows about the workspace.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cargo;
use crate::workshop::Workshop;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DependencyKind {
    /// Nothing for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    pub(crate) fn read(workshop: &Workshop) -> Result<Self> {
        let mut command = cargo::cargo(workshop, "metadata");
        command.args(["--format-version", "1"]).stderr(Stdio::inherit());
        let output = command.output().context("cannot start cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed");
        serde_json::from_slice(&output.stdout).context("cargo metadata says something unknown")
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The members that ask for `name` themselves, for whatever.
    pub(crate) fn dependents(&self, name: &str) -> impl Iterator<Item = &str> {
        self.members().filter_map(move |package| {
            let node = self.resolve.nodes.iter().find(|node| node.id == package.id)?;
            let asks = node.deps.iter().any(|one| self.name_of(&one.pkg) == name);
            asks.then_some(package.name.as_str())
        })
    }

    pub(crate) fn name_of(&self, id: &str) -> &str {
        self.packages.iter().find(|package| package.id == id).map_or("", |package| &package.name)
    }
}

impl Target {
    pub(crate) fn is_test(&self) -> bool {
        self.kind.iter().any(|kind| kind == "test")
    }
}

impl Dependency {
    pub(crate) fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}
