//! `guywire sched list` and `guywire sched explain`: the schedulers that are built in.

use anyhow::bail;
use comfy_table::{ContentArrangement, Table, presets};
use guywire_ebpf::embedded::{EMBEDDED, Embedded};
use guywire_sched::{NATIVE, native};

/// A table of all.
pub(super) fn list() -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["NAME", "KIND", "WHAT IT DOES"]);
    for native in NATIVE {
        table.add_row([native.name, "native", native.summary]);
    }
    for embedded in EMBEDDED {
        let overview = overview(embedded);
        table.add_row([embedded.name, "BPF", &overview]);
    }
    table.trim_fmt() + "\n"
}

/// What there is to know of one.
pub(super) fn explain(name: &str) -> anyhow::Result<String> {
    if let Some(embedded) = EMBEDDED.iter().find(|embedded| embedded.name == name) {
        return Ok(embedded.page.to_owned());
    }
    match native(name) {
        Some(native) => Ok(format!("{name} (native)\n\n{}\n", native.summary)),
        None => bail!("there is no scheduler `{name}`; `guywire sched list` shows all"),
    }
}

/// The first sentence of its page.
fn overview(embedded: &Embedded) -> String {
    let text = embedded.page.split_once("## Overview\n");
    let text = text.map_or(embedded.page, |(_, text)| text);
    let sentence = text.split_once(". ").map_or(text, |(sentence, _)| sentence);
    let first = sentence
        .split_once("\n\n")
        .map_or(sentence, |(first, _)| first);
    first.replace('\n', " ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_with_a_sentence() {
        let list = list();
        for name in NATIVE
            .iter()
            .map(|it| it.name)
            .chain(EMBEDDED.iter().map(|it| it.name))
        {
            assert!(list.contains(name), "{list}");
            assert!(explain(name).unwrap().contains(name));
        }
        for embedded in EMBEDDED {
            let overview = overview(embedded);
            assert!((10..300).contains(&overview.len()), "{overview}");
        }
        assert!(
            explain("none")
                .unwrap_err()
                .to_string()
                .contains("sched list")
        );
    }
}
