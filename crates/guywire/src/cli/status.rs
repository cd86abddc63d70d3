//! `guywire router status` and `guywire server status`.

use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use guywire_control::client::{Client, ClientError};
use guywire_control::supervisor::{Status, class_label};
use guywire_control::worker::{PathStatus, SchedulerReport};

use super::EXIT_NOT_RUNNING;
use super::output::print;

/// Asks the supervisor behind `socket` and prints what it says.
pub(super) async fn show(socket: PathBuf, json: bool) -> anyhow::Result<ExitCode> {
    let status: Status = match Client::new(socket).get("/status").await {
        Ok(status) => status,
        Err(error @ ClientError::NotRunning { .. }) => {
            eprintln!("guywire: {error}");
            return Ok(ExitCode::from(EXIT_NOT_RUNNING));
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&status)?))?;
    } else {
        print(&render(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(status: &Status) -> String {
    let worker = status
        .worker
        .as_ref()
        .map_or("no worker".to_owned(), |worker| {
            format!("worker {}", worker.pid)
        });
    let mut out = format!(
        "{role} {name}: {state}, up {up}; supervisor {pid}, {worker}, generation {generation}, {restarts} restarts\n\
         flows: {flows} now, {opened} opened, {reset} reset; {memory} buffered\n",
        role = status.role,
        name = status.name,
        state = status.state,
        up = duration(status.uptime_secs),
        pid = status.supervisor_pid,
        generation = status.generation,
        restarts = status.restarts,
        flows = status.flows,
        opened = status.flows_opened,
        reset = status.flows_reset,
        memory = bytes(status.memory_bytes),
    );
    if !status.scheduler.is_empty() {
        out += &format!("scheduler: {}{}\n", status.scheduler, classes(status));
    }
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    let what = if status.role == "server" {
        "listening on"
    } else {
        "server"
    };
    out += &format!("{what}: {}\n", addresses.join(", "));
    if status.role == "server" {
        out += &format!("routers: {}\n", listed(&status.routers));
    }
    out += &format!(
        "{}\n",
        if status.links.is_empty() {
            paths(status)
        } else {
            links(status)
        }
    );
    for incident in &status.incidents {
        out += &format!("incident: {}\n", incident.text);
    }
    out
}

/// The schedulers of a router's classes of traffic, where there are any.
fn classes(status: &Status) -> String {
    let of_class = |report: &SchedulerReport| {
        let name = status.classes.get(usize::from(report.class));
        let label = class_label(report.class, name.map(String::as_str));
        format!("; {label}: {}", report.here)
    };
    let classes = status.schedulers.iter();
    classes
        .filter(|report| status.role == "router" && report.class > 0)
        .map(of_class)
        .collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none yet; `guywire server invite NAME` lets one join".into()
    } else {
        names.join(", ")
    }
}

const PATH_COLUMNS: [&str; 6] = [
    "state",
    "round trip",
    "rate",
    "connections",
    "sent",
    "received",
];

/// A row for each link, with its path where there is one.
fn links(status: &Status) -> String {
    let mut table = table(&[&["link", "device", "priority"], &PATH_COLUMNS[..]].concat());
    for link in &status.links {
        let priority = if link.priority == guywire_control::worker::Priority::Backup {
            "backup"
        } else {
            "normal"
        };
        let mut row = vec![link.name.clone(), link.device.clone(), priority.into()];
        match status.paths.iter().find(|path| path.link == link.name) {
            Some(path) => row.extend(cells(path)),
            None if !link.present => row.push("no carrier".into()),
            None if link.addresses.is_empty() => row.push("no address or route".into()),
            None => row.push("down".into()),
        }
        table.add_row(row);
    }
    table.to_string()
}

/// A row for each path of each router.
fn paths(status: &Status) -> String {
    let mut table = table(&[&["router", "link"], &PATH_COLUMNS[..]].concat());
    for path in &status.paths {
        let mut row = vec![path.session.clone(), path.link.clone()];
        row.extend(cells(path));
        table.add_row(row);
    }
    table.to_string()
}

fn cells(path: &PathStatus) -> [String; 6] {
    let known = |value: u64, text: String| if value == 0 { "-".to_owned() } else { text };
    [
        path.state.to_string(),
        known(
            path.srtt_us,
            format!("{:.1} ms", path.srtt_us as f64 / 1000.0),
        ),
        known(
            path.rate_bps,
            format!("{:.1} Mbit/s", path.rate_bps as f64 / 1e6),
        ),
        path.subflows.to_string(),
        bytes(path.sent_bytes),
        bytes(path.received_bytes),
    ]
}

/// A table whose last five columns are figures.
fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns);
    for column in table.column_iter_mut().skip(columns.len() - 5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn bytes(count: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let unit = units.iter().find(|(_, size)| count as f64 >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(name, size)| format!("{:.1} {name}", count as f64 / size),
    )
}

fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_in_fitting_units() {
        assert_eq!(
            [0, 999, 1000, 2_500_000, 3_000_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "2.5 MB", "3.0 GB"]
        );
        assert_eq!(
            [5, 61, 3661, 90_000].map(duration),
            ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn a_router_is_shown_with_its_links() {
        let json = serde_json::json!({
            "role": "router", "name": "home", "version": "0", "state": "running", "supervisor_pid": 1, "worker": {"pid": 2, "report_age_ms": 100},
            "generation": 1, "restarts": 0, "uptime_secs": 5, "addresses": ["198.51.100.10:443"],
            "links": [
                {"id": 1, "name": "wan1", "device": "eth1", "priority": "normal", "cost": 0, "congestion": null,
                 "metered": false, "present": true, "addresses": ["10.0.1.2"]},
                {"id": 2, "name": "wan2", "device": "eth2", "priority": "backup", "cost": 0, "congestion": null,
                 "metered": false, "present": false, "addresses": []},
            ],
            "routers": [],
            "paths": [{"session": "server", "link": "wan1", "state": "up", "srtt_us": 20500, "rate_bps": 100_000_000,
                       "subflows": 2, "sent_bytes": 1000, "received_bytes": 2_000_000}],
            "flows": 3, "flows_opened": 9, "flows_reset": 1, "scheduler": "default", "classes": ["", "web"],
            "schedulers": [
                {"session": "server", "class": 0, "here": {"name": "default"}, "asked": null, "answer": null, "decisions": 1},
                {"session": "server", "class": 1, "here": {"name": "redundant"}, "asked": null, "answer": null, "decisions": 1},
            ], "memory_bytes": 0, "repeated_bytes": 0,
            "incidents": [{"at": 0, "kind": "x", "text": "something happened"}],
        });
        let text = render(&serde_json::from_value(json).unwrap());
        for part in [
            "router home: running",
            "scheduler: default; web: redundant",
            "20.5 ms",
            "100.0 Mbit/s",
            "no carrier",
            "backup",
            "something happened",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
