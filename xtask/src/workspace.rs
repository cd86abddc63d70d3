//! The workspace on disk and as cargo describes it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// Every file below the root but what is built, hidden or not ours, in a stable order.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(root(), &mut found)?;
    found.sort();
    Ok(found)
}

/// `path` as people name it: from the root of the workspace.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let ours = [".ci", ".cargo", ".config"].iter().any(|own| name == *own);
            let hidden = name.to_string_lossy().starts_with('.') && !ours;
            if !hidden && name != "target" {
                collect(&entry.path(), found)?;
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// What `cargo metadata` says of the workspace and all it depends on.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// Every package, ours too.
    pub(crate) packages: Vec<Package>,
    /// Who depends on whom, features resolved.
    pub(crate) resolve: Resolve,
    /// Ids of our own packages.
    pub(crate) workspace_members: Vec<String>,
    /// Where cargo builds.
    pub(crate) target_directory: PathBuf,
}

/// One package.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Cargo's unique id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence, an SPDX expression.
    pub(crate) license: Option<String>,
}

/// The resolved graph.
#[derive(Deserialize)]
pub(crate) struct Resolve {
    /// One node for every package.
    pub(crate) nodes: Vec<Node>,
}

/// One package's edges.
#[derive(Deserialize)]
pub(crate) struct Node {
    /// Whose edges these are.
    pub(crate) id: String,
    /// Its direct dependencies.
    pub(crate) deps: Vec<Dependency>,
}

/// One edge.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// The id of the package depended on.
    pub(crate) pkg: String,
    /// Normal, development, build.
    pub(crate) dep_kinds: Vec<DependencyKind>,
}

/// Why an edge exists.
#[derive(Deserialize)]
pub(crate) struct DependencyKind {
    /// `dev`, `build`, or nothing for a normal dependency.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo, for the platform Guywire runs on.
    pub(crate) fn load() -> Result<Self> {
        let mut cargo = command::cargo();
        cargo.current_dir(root()).args([
            "metadata",
            "--format-version=1",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ]);
        let text = command::output(&mut cargo)?;
        serde_json::from_str(&text).context("cannot understand cargo's metadata")
    }

    /// The ids of all that `start` reaches over dependencies that `follow` accepts by their
    /// kind (nothing stands for a normal one), `start` included, in a stable order.
    pub(crate) fn reach(
        &self,
        start: &[String],
        follow: fn(Option<&str>) -> bool,
    ) -> Vec<&Package> {
        let mut seen: Vec<&str> = Vec::new();
        let mut waiting: Vec<&str> = start.iter().map(String::as_str).collect();
        while let Some(id) = waiting.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let Some(node) = self.resolve.nodes.iter().find(|node| node.id == id) else {
                continue;
            };
            let wanted = node.deps.iter().filter(|edge| {
                edge.dep_kinds
                    .iter()
                    .any(|kind| follow(kind.kind.as_deref()))
            });
            waiting.extend(wanted.map(|edge| edge.pkg.as_str()));
        }
        let mut reached: Vec<&Package> = self
            .packages
            .iter()
            .filter(|package| seen.contains(&package.id.as_str()))
            .collect();
        reached.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        reached
    }

    /// The id of our package called `name`.
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        self.packages
            .iter()
            .find(|package| package.name == name && self.workspace_members.contains(&package.id))
            .map(|package| package.id.clone())
    }
}
