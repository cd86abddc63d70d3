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
        // In a linked worktree `.git` is a file, and git's own.
        } else if kind.is_file() && name != ".git" {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A package we build with.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version, as `v1.2.3`.
    pub(crate) version: String,
    /// Its licence, an SPDX expression; empty where it names none.
    pub(crate) licence: String,
}

/// Every package that the selection `arguments` of `cargo tree` reaches, in a stable order.
///
/// Not from `cargo metadata`: its graph also contains optional packages that nothing enables.
pub(crate) fn packages(arguments: &[&str]) -> Result<Vec<Package>> {
    let mut cargo = command::cargo();
    cargo
        .current_dir(root())
        .args(["tree", "--prefix=none", "--format={p}\t{l}"])
        .args(arguments);
    let text = command::output(&mut cargo)?;
    let mut packages: Vec<Package> = text.lines().filter_map(package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// Reads a line like `serde v1.0.0 (proc-macro)<tab>MIT OR Apache-2.0 (*)`.
fn package(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split_whitespace();
    Some(Package {
        name: words.next()?.to_owned(),
        version: words.next()?.to_owned(),
        licence: licence.trim_end_matches(" (*)").trim().to_owned(),
    })
}

/// Where cargo builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut cargo = command::cargo();
    cargo
        .current_dir(root())
        .args(["metadata", "--format-version=1", "--no-deps"]);
    let text = command::output(&mut cargo)?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot understand cargo's metadata")?;
    Ok(metadata.target_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_packages() {
        let expected = Package {
            name: "a".to_owned(),
            version: "v1.2.3".to_owned(),
            licence: "MIT OR ISC".to_owned(),
        };
        for line in [
            "a v1.2.3\tMIT OR ISC",
            "a v1.2.3 (proc-macro)\tMIT OR ISC (*)",
        ] {
            assert_eq!(package(line).as_ref(), Some(&expected), "{line}");
        }
        assert_eq!(package(""), None);
    }
}
