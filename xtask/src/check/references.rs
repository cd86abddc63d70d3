//! What the documents point to exists: files that are linked, symbols that are said to be in a file,
//! tests that are said to hold a promise.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace;

/// Reads every Markdown file of the workspace.
pub(super) fn check() -> Result<Finding> {
    let mut complaints = Vec::new();
    let mut checked = 0;
    for path in workspace::files()? {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let name = workspace::relative(&path);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let directory = path.parent().unwrap_or(workspace::root());
        for target in links(&text) {
            checked += 1;
            if !directory.join(target).exists() {
                complaints.push(format!("{name} links to {target}, which is not there"));
            }
        }
        for line in text.lines() {
            let row = row(line);
            checked += row.symbols.len();
            complaints.extend(
                row.missing(workspace::root())
                    .map(|what| format!("{name}: {what}")),
            );
        }
    }
    Ok(Finding::of(&complaints, format!("{checked} references")))
}

/// Files that Markdown links to: not other sites, not places within a page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, mark)| {
        let target = text[at + mark.len()..].split([')', '#']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// A row of a table that names a Rust file, and after it symbols within it.
struct Row<'a> {
    file: &'a str,
    symbols: Vec<&'a str>,
}

fn row(line: &str) -> Row<'_> {
    let mut words = line.split('`').skip(1).step_by(2);
    let file = words.find(|word| word.ends_with(".rs")).unwrap_or_default();
    let symbols = if line.starts_with('|') {
        words.collect()
    } else {
        Vec::new()
    };
    Row { file, symbols }
}

impl Row<'_> {
    fn missing(&self, root: &Path) -> impl Iterator<Item = String> {
        let text = match self.file {
            "" => Some(String::new()),
            file => fs::read_to_string(root.join(file)).ok(),
        };
        let absent = text.is_none().then(|| format!("there is no {}", self.file));
        let text = text.unwrap_or_default();
        let lost = self
            .symbols
            .iter()
            .filter(move |symbol| !text.contains(**symbol))
            .map(|symbol| format!("{} has no `{symbol}`", self.file));
        absent
            .into_iter()
            .chain(lost)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_to_files() {
        let text = "see [a](docs/a.md), [b](https://x.org/b), [c](#c), [d](d.md#part)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md", "d.md"]);
    }

    #[test]
    fn reads_rows() {
        let found = row("| why? | `src/a.rs` | `One`, `two` |");
        assert_eq!(
            (found.file, found.symbols),
            ("src/a.rs", vec!["One", "two"])
        );
        assert!(row("| no file | `x` |").symbols.is_empty());
        assert!(row("in `src/a.rs` there is `One`").symbols.is_empty());
    }

    #[test]
    fn tells_what_is_missing() {
        let root = workspace::root();
        let here = row("| | `xtask/src/check/references.rs` | `fn row`, `fn nothing_like_it_at` |");
        // The second is found too, in this very test.
        assert_eq!(here.missing(root).count(), 0);
        assert_eq!(row("| | `no/such.rs` | `x` |").missing(root).count(), 2);
    }
}
