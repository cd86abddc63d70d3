//! Words that do not belong: unfinished work, and places of one machine.

use std::fs;

use anyhow::Result;

use super::Finding;
use crate::workspace;

/// What is looked for, word by word, and what to do about it. Compared as written.
const WORDS: &[(&str, &str)] = &[
    ("TODO", "finish it, or leave it out"),
    ("FIXME", "mend it"),
    ("XXX", "say what is meant"),
    ("HACK", "say why it has to be so"),
    ("/home/", "a path of one machine: let it be given"),
    ("/work/", "a path of one machine: let it be given"),
    ("/root/", "a path of one machine: let it be given"),
    (
        "/tmp/target",
        "a path of one machine: use cargo's own target directory",
    ),
    ("sub-flow", "write subflow"),
    ("subpath", "write subflow or path"),
    ("uplink", "write link"),
    ("whitelist", "write allow list"),
    ("blacklist", "write deny list"),
];

/// Files that may name such words: this one, and what cargo writes.
const EXEMPT: &[&str] = &["xtask/src/check/words.rs", "Cargo.lock"];

/// Reads every text file of the workspace.
pub(super) fn check() -> Result<Finding> {
    let mut complaints = Vec::new();
    let mut read = 0;
    for path in workspace::files()? {
        let name = workspace::relative(&path);
        if EXEMPT.contains(&name.as_str()) {
            continue;
        }
        // What is no text has no words.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        read += 1;
        for (line, word, advice) in found(&text) {
            complaints.push(format!("{name}:{line}: `{word}`: {advice}"));
        }
    }
    Ok(Finding::of(&complaints, format!("{read} files")))
}

fn found(text: &str) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let hits = WORDS.iter().filter(move |(word, _)| has_word(line, word));
        hits.map(move |(word, advice)| (index + 1, *word, *advice))
    })
}

/// Whether `line` has `word` not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let edge = |side: Option<char>, end: Option<char>| {
            // Where the word itself ends in punctuation, anything may follow.
            !end.is_some_and(char::is_alphanumeric)
                || !side.is_some_and(|c| c.is_alphanumeric() || c == '_')
        };
        edge(before, word.chars().next()) && edge(after, word.chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_words_only() {
        assert!(has_word("// TODO: later", "TODO"));
        assert!(has_word("see /home/x", "/home/"));
        assert!(!has_word("MASTODON and TODOS", "TODO"));
        assert!(!has_word("uplinks", "uplink"));
        assert!(!has_word("XXX_PAD", "XXX"));
    }
}
