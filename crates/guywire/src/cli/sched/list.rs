//! `guywire sched list` and `guywire sched explain`: the schedulers there are.

use anyhow::bail;
use comfy_table::{ContentArrangement, Table, presets};
use data_encoding::HEXLOWER;
use guywire_control::client::{Client, ClientError};
use guywire_control::supervisor::{Chosen, SchedulersAnswer};
use guywire_control::worker::{Answer, SchedulerId, SchedulerReport};
use guywire_ebpf::embedded::{self, EMBEDDED, Embedded};
use guywire_sched::{NATIVE, native};

/// A table of all, with their state where a router or server runs.
pub(super) async fn list(client: &Client) -> anyhow::Result<String> {
    let running = match client.get::<SchedulersAnswer>("/schedulers").await {
        Ok(answer) => Some(answer),
        Err(ClientError::NotRunning { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(table(running.as_ref()))
}

/// What a running router or server says.
pub(super) async fn json(client: &Client) -> anyhow::Result<String> {
    let answer: SchedulersAnswer = client.get("/schedulers").await?;
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

fn table(running: Option<&SchedulersAnswer>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["NAME", "KIND", "VERDICT", "STATE", "WHAT IT DOES"]);
    for native in NATIVE {
        let state = state(running, |id| id.hash.is_none() && id.name == native.name);
        table.add_row([native.name, "native", "works", &state, native.summary]);
    }
    let mut own: Vec<(&SchedulerId, Option<&Chosen>)> = Vec::new();
    if let Some(answer) = running {
        let chosen = answer
            .classes
            .iter()
            .filter_map(|class| class.chosen.as_ref());
        own.extend(chosen.map(|chosen| (&chosen.id, Some(chosen))));
        own.extend(answer.in_use.iter().map(|report| (&report.here, None)));
        own.extend(answer.quarantine.iter().map(|entry| (&entry.id, None)));
    }
    for embedded in EMBEDDED {
        let hash = Some(HEXLOWER.encode(&embedded.hash()));
        own.retain(|(id, _)| id.hash != hash);
        let state = state(running, |id| id.hash == hash);
        let overview = overview(embedded);
        table.add_row([embedded.name, "BPF", "works", &state, &overview]);
    }
    let mut listed: Vec<&SchedulerId> = Vec::new();
    for (id, chosen) in own {
        if id.hash.is_none() || listed.contains(&id) {
            continue;
        }
        listed.push(id);
        let state = state(running, |other| other == id);
        let verdict = chosen.map_or("", |chosen| chosen.verdict.as_str());
        let source = chosen.and_then(|chosen| chosen.source.as_deref());
        let source = source.unwrap_or("from elsewhere");
        table.add_row([&id.to_string(), "BPF", verdict, &state, source]);
    }
    let note = match running {
        Some(_) => "",
        None => "\nno router runs here: which ones are in use is not known\n",
    };
    table.trim_fmt() + "\n" + note
}

/// Where a scheduler is in use, or why not.
fn state(running: Option<&SchedulersAnswer>, is: impl Fn(&SchedulerId) -> bool) -> String {
    let Some(answer) = running else {
        return String::new();
    };
    if let Some(entry) = answer.quarantine.iter().find(|entry| is(&entry.id)) {
        return format!("out: {}", entry.reason);
    }
    let place = |report: &SchedulerReport| {
        let there = match &report.answer {
            Some(Answer::Refused { .. }) => ", refused by the server",
            Some(Answer::Ejected { .. }) => ", ejected by the server",
            Some(Answer::InUse) | None => "",
        };
        let class = answer.classes.iter().find(|class| class.id == report.class);
        let until = class.and_then(|class| class.trial_until);
        let trial = until.map_or("", |_| ", on trial");
        match answer.classes.is_empty() {
            // A server: whose flows?
            true => format!("{}: {}", report.session, answer.label(report.class)),
            false => answer.label(report.class) + there + trial,
        }
    };
    let places: Vec<String> = answer
        .in_use
        .iter()
        .filter(|report| is(&report.here))
        .map(place)
        .collect();
    match places.is_empty() {
        true => String::new(),
        false => format!("in use ({})", places.join("; ")),
    }
}

/// What there is to know of one.
pub(super) fn explain(name: &str) -> anyhow::Result<String> {
    if let Some(embedded) = embedded::find(name) {
        return Ok(embedded.page.to_owned());
    }
    match native(name) {
        // Names of the code's own are links in its documentation.
        Some(native) => Ok(native.page.replace("[`", "`").replace("`]", "`")),
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
    fn states_are_told() {
        let hash = || Some("ab".repeat(32));
        let id = |name: &str, hash| SchedulerId {
            name: name.into(),
            hash,
        };
        let answer: SchedulersAnswer = serde_json::from_value(serde_json::json!({
            "classes": [
                {"id": 0, "name": "", "configured": "default", "chosen": null},
                {"id": 1, "name": "ssh", "configured": "redundant", "trial_until": 9, "chosen": {
                    "id": id("mine", hash()), "own": true, "source": "/srv/mine.o", "verdict": "experimental",
                    "in_turn": false, "maps": []}},
            ],
            "in_use": [
                {"session": "server", "class": 0, "here": id("default", None), "asked": null, "answer": null, "decisions": 9},
                {"session": "server", "class": 1, "here": id("mine", hash()), "asked": null,
                 "answer": {"fate": "refused", "text": "no"}, "decisions": 9},
            ],
            "quarantine": [{"id": id("bad", Some("cd".repeat(32))), "reason": "stalled", "text": "", "at": 0}],
        }))
        .unwrap();
        let text = table(Some(&answer));
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name));
        for (name, part) in [
            ("default", "in use (all else)"),
            (
                "mine (abababab)",
                "in use (ssh, refused by the server, on trial",
            ),
            ("mine (abababab)", "experimental"),
            ("bad (cdcdcdcd)", "out: stalled"),
        ] {
            let line = line(name).unwrap_or_default();
            assert!(line.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn all_are_listed_with_a_sentence() {
        let list = table(None);
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
