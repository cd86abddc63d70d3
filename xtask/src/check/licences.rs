//! Licences of all we build with, and crates the binary must not contain.
//!
//! Both lists are those of `deny.toml`, so that cargo-deny, where somebody has it, says the same;
//! this step needs nothing but cargo and runs everywhere.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Finding;
use crate::workspace;

/// The parts of `deny.toml` that this step reads.
#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    /// SPDX identifiers that we accept.
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    /// Crates the binary must not contain.
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Every package's licence is allowed; no banned crate is in the binary.
pub(super) fn check() -> Result<Finding> {
    let text =
        fs::read_to_string(workspace::root().join("deny.toml")).context("cannot read deny.toml")?;
    let rules: Rules = toml_edit::de::from_str(&text).context("cannot understand deny.toml")?;
    let mut complaints = Vec::new();

    let all = workspace::packages(&["--workspace", "--edges=all"])?;
    for package in &all {
        let name = format!("{} {}", package.name, package.version);
        let text = &package.licence;
        if text.is_empty() {
            complaints.push(format!("{name} names no licence"));
            continue;
        }
        match allowed(text, &rules.licenses.allow) {
            Ok(true) => {}
            Ok(false) => complaints.push(format!("{name}: `{text}` is not allowed by deny.toml")),
            Err(error) => complaints.push(format!("{name}: {error}")),
        }
    }

    let inside = workspace::packages(&["--package=guywire", "--edges=normal"])?;
    for ban in &rules.bans.deny {
        if inside.iter().any(|package| package.name == ban.name) {
            complaints.push(format!("the binary contains {}: {}", ban.name, ban.reason));
        }
    }
    let remark = format!("{} packages, {} in the binary", all.len(), inside.len());
    Ok(Finding::of(&complaints, remark))
}

/// Whether the SPDX expression `text` can be met with licences from `allow` alone.
///
/// Knows `AND`, `OR`, parentheses, `WITH` and the old `/` for `OR`; `AND` binds closer.
///
/// # Errors
/// Where `text` is no such expression.
fn allowed(text: &str, allow: &[String]) -> Result<bool> {
    let spaced = text
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut parser = Expression {
        words: spaced.split_whitespace().collect(),
        at: 0,
        allow,
    };
    let verdict = parser.alternatives()?;
    match parser.peek() {
        None => Ok(verdict),
        Some(word) => bail!("unexpected `{word}` in the licence `{text}`"),
    }
}

struct Expression<'a> {
    words: Vec<&'a str>,
    at: usize,
    allow: &'a [String],
}

impl Expression<'_> {
    fn alternatives(&mut self) -> Result<bool> {
        let mut verdict = self.conjunction()?;
        while self.take("OR") {
            verdict |= self.conjunction()?;
        }
        Ok(verdict)
    }

    fn conjunction(&mut self) -> Result<bool> {
        let mut verdict = self.licence()?;
        while self.take("AND") {
            verdict &= self.licence()?;
        }
        Ok(verdict)
    }

    fn licence(&mut self) -> Result<bool> {
        if self.take("(") {
            let verdict = self.alternatives()?;
            if !self.take(")") {
                bail!("a parenthesis of the licence is not closed");
            }
            return Ok(verdict);
        }
        let Some(name) = self.peek().map(str::to_owned) else {
            bail!("the licence ends too early");
        };
        if ["AND", "OR", "WITH", ")"].contains(&name.as_str()) {
            bail!("unexpected `{name}` in the licence");
        }
        self.at += 1;
        // An exception only ever permits more than the licence alone.
        if self.take("WITH") {
            self.at += 1;
        }
        Ok(self.allow.contains(&name))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_expressions() {
        let allow = ["MIT", "Apache-2.0", "ISC"].map(str::to_owned);
        let table = [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("MIT/Apache-2.0", true),
            ("ISC AND (GPL-2.0 OR MIT)", true),
            ("GPL-2.0 OR ISC AND LGPL-2.1", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ];
        for (text, expected) in table {
            assert_eq!(allowed(text, &allow).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_expression() {
        for text in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "AND MIT", "MIT )"] {
            assert!(allowed(text, &[]).is_err(), "{text}");
        }
    }
}
