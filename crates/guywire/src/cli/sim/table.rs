//! What `guywire sim` prints: a row for each scheduler, the median of its seeds in each cell.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use guywire_sim::Measured;
use serde_json::{Value, json};

/// What is shown of each run, with its unit in the title.
const COLUMNS: &[Column] = &[
    Column {
        key: "mbps",
        title: "Mbit/s",
        of: |run, skip| Some(run.goodput(skip)),
        digits: 1,
    },
    Column {
        key: "complete",
        title: "complete",
        of: |run, _| Some(run.completions().len() as f64),
        digits: 0,
    },
    Column {
        key: "completion_s",
        title: "s each",
        of: |run, _| percentile(&run.completions(), 50.0),
        digits: 3,
    },
    Column {
        key: "completion_p95_s",
        title: "p95",
        of: |run, _| percentile(&run.completions(), 95.0),
        digits: 3,
    },
    Column {
        key: "longest_gap_ms",
        title: "gap, ms",
        of: |run, _| Some(run.longest_gap() * 1e3),
        digits: 0,
    },
    Column {
        key: "late_percent",
        title: "late, %",
        of: |run, _| Some(run.late_share() * 100.0),
        digits: 1,
    },
    Column {
        key: "twice_percent",
        title: "twice, %",
        of: |run, _| Some(run.repeated_share() * 100.0),
        digits: 1,
    },
    Column {
        key: "ping_p95_ms",
        title: "ping p95, ms",
        of: |run, _| percentile(&sorted(run.links.iter().flat_map(|link| &link.pings)), 95.0),
        digits: 1,
    },
    Column {
        key: "instructions",
        title: "instr.",
        of: |run, _| (run.instructions > 0).then(|| run.instructions_each()),
        digits: 0,
    },
    Column {
        key: "overrides",
        title: "overrides",
        of: |run, _| Some(run.overrides as f64),
        digits: 0,
    },
];

struct Column {
    /// For programs.
    key: &'static str,
    /// For people.
    title: &'static str,
    of: fn(&Measured, Duration) -> Option<f64>,
    digits: usize,
}

/// For people.
pub(super) fn text(runs: &[Measured], skip: Duration) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| runs.iter().any(|run| (column.of)(run, skip).is_some()))
        .collect();
    let titles = shown.iter().map(|column| column.title);
    table.set_header(["SCHEDULER"].into_iter().chain(titles).chain(["ejected"]));
    for of_scheduler in by_scheduler(runs) {
        let cells = shown.iter().map(|column| {
            let values = of_scheduler.iter().filter_map(|run| (column.of)(run, skip));
            let values = sorted(&values.collect::<Vec<f64>>());
            let digits = column.digits;
            percentile(&values, 50.0).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
        });
        let name = [of_scheduler[0].scheduler.clone()];
        table.add_row(
            name.into_iter()
                .chain(cells)
                .chain([ejections(of_scheduler)]),
        );
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt() + "\n"
}

/// For programs: every run, whole, with the same figures beside.
pub(super) fn json(runs: &[Measured], skip: Duration) -> Value {
    let run = |run: &Measured| {
        let figures: serde_json::Map<String, Value> = COLUMNS
            .iter()
            .map(|column| (column.key.to_owned(), json!((column.of)(run, skip))))
            .collect();
        json!({
            "scheduler": run.scheduler, "seed": run.seed, "figures": figures, "run": run,
            "rates_mbps": run.rates(), "pauses_s": run.pauses(),
        })
    };
    runs.iter().map(run).collect()
}

/// Runs of one scheduler lie side by side.
fn by_scheduler(runs: &[Measured]) -> impl Iterator<Item = &[Measured]> {
    runs.chunk_by(|one, other| one.scheduler == other.scheduler)
}

fn ejections(runs: &[Measured]) -> String {
    let ejected: Vec<&Measured> = runs.iter().filter(|run| run.ejected().is_some()).collect();
    match ejected.first().and_then(|run| run.ejected()) {
        None => "never".to_owned(),
        Some(reason) if runs.len() == 1 => reason.to_string(),
        Some(reason) => format!("{} of {}: {reason}", ejected.len(), runs.len()),
    }
}

fn sorted<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().copied().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest value that `percent` of all do not exceed.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
