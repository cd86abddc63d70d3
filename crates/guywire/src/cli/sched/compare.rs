//! `guywire sched compare`: what every scheduler that is built in makes of links like yours.

use std::io::IsTerminal as _;

use comfy_table::{Table, presets};
use guywire_sched::Factory;
use guywire_sim::schedulers;
use guywire_sim::trial::{self, Course, Tried};

/// A row for each scheduler, a column for each course: Mbit/s, or where a link is cut the longest pause.
pub(super) fn table(courses: &[Course], markdown: bool) -> anyhow::Result<String> {
    let factories = schedulers::all();
    if std::io::stderr().is_terminal() {
        let (count, courses) = (factories.len(), courses.len());
        eprintln!("taking {count} schedulers over {courses} courses ...");
    }
    let compared = trial::compare(&factories, courses)?;
    let mut table = Table::new();
    table.load_style(match markdown {
        true => presets::ASCII_MARKDOWN,
        false => presets::NOTHING,
    });
    table.set_header(header(compared.first().map_or(&[], Vec::as_slice)));
    for (factory, tried) in factories.iter().zip(&compared) {
        table.add_row(row(factory, tried));
    }
    Ok(table.trim_fmt() + "\n")
}

fn header(tried: &[Tried]) -> Vec<String> {
    let course = |tried: &Tried| match tried.cut {
        None => format!("{}, Mbit/s", tried.course),
        Some(_) => format!("{}, pause", tried.course),
    };
    let first = std::iter::once("scheduler".to_owned());
    let last = std::iter::once("sent twice".to_owned());
    first.chain(tried.iter().map(course)).chain(last).collect()
}

fn row(factory: &Factory, tried: &[Tried]) -> Vec<String> {
    let cell = |tried: &Tried| match (tried.ejected, tried.cut) {
        (Some(reason), _) => format!("ejected: {reason}"),
        (None, None) => format!("{:.0}", tried.mbps),
        (None, Some(_)) => format!("{:.0} ms", tried.pause * 1e3),
    };
    let twice = tried.iter().map(|tried| tried.twice).fold(0.0, f64::max);
    let first = std::iter::once(factory.name().to_owned());
    let last = std::iter::once(format!("{:.0} %", twice * 100.0));
    first.chain(tried.iter().map(cell)).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_scheduler_and_a_column_for_each_course() {
        let courses = trial::over(&"20mbit/20ms,10mbit/60ms".parse().unwrap());
        let text = table(&courses, true).unwrap();
        let mut lines = text.lines();
        let columns = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let header: Vec<String> = columns(lines.next().unwrap_or_default());
        assert_eq!(
            header[1..6],
            [
                "scheduler",
                "your links, Mbit/s",
                "your link 1 cut, pause",
                "your link 2 cut, pause",
                "sent twice"
            ]
        );
        let default = lines.nth(1).unwrap_or_default();
        assert!(
            default.contains("default") && default.contains(" ms"),
            "{text}"
        );
        assert_eq!(lines.count(), schedulers::all().len() - 1);
    }
}
