//! The settings as text: for the terminal and for docs/configuration.md.

use std::fmt::Write as _;

use super::check::dotted;
use super::schema::{Absent, Schema, Setting};

/// All settings with unit, bounds, default and reason, as plain text.
#[must_use]
pub fn explain(schema: &Schema) -> String {
    let mut out = String::new();
    for section in schema.sections {
        let heading = match (section.name, section.repeated) {
            ("", _) => "At the top of the file".to_owned(),
            (name, None) => format!("[{name}]"),
            (name, Some((least, most))) => format!("[[{name}]], {least} to {most} of them"),
        };
        let _ = writeln!(out, "{heading}\n  {}\n", section.text);
        for setting in section.settings {
            let _ = writeln!(
                out,
                "  {}\n      {}",
                dotted(section, setting.key),
                setting.text
            );
            let _ = writeln!(
                out,
                "      value: {}\n      default: {}\n",
                setting.kind,
                default_of(setting)
            );
        }
    }
    out
}

/// The same as a chapter in Markdown.
#[must_use]
pub fn markdown(schema: &Schema) -> String {
    let mut out = format!("## `{}.toml`\n\n", schema.command);
    for section in schema.sections {
        let heading = match (section.name, section.repeated) {
            ("", _) => "At the top".to_owned(),
            (name, None) => format!("`[{name}]`"),
            (name, Some((least, most))) => format!("`[[{name}]]` ({least} to {most} of them)"),
        };
        let _ = writeln!(
            out,
            "### {heading}\n\n{}\n\n| key | value | default | meaning |\n|---|---|---|---|",
            section.text
        );
        for setting in section.settings {
            let (kind, default) = (setting.kind.to_string(), default_of(setting));
            let _ = writeln!(
                out,
                "| `{}` | {kind} | {default} | {} |",
                setting.key, setting.text
            );
        }
        out.push('\n');
    }
    out
}

fn default_of(setting: &Setting) -> String {
    match setting.default {
        Absent::Required => "none, it must be given".to_owned(),
        Absent::Is(value) => format!("`{value}`"),
        Absent::Else(text) => text.to_owned(),
    }
}
