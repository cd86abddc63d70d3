//! Whether what processes hold stays the same while nothing is asked of them.
//!
//! Each is looked at after each round, at rest. Of every process that lived through enough rounds, the
//! median of the last third of its looks is compared with that of the first third, its first look
//! left out: until then buffers come that every busy process has.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;
use xtask::lab::Lab;
use xtask::lab::processes;
use xtask::lab::service::Service;

use super::super::super::report::{Bound, Report};
use super::super::super::sample::{median, worst};

/// Looks at a process that are enough, the first one left out.
const ENOUGH: usize = 3;
/// The most megabytes (PSS) that a process may grow by.
const MEGABYTES: f64 = 3.0;
/// The most descriptors.
const DESCRIPTORS: f64 = 3.0;

/// What a process held at one time: megabytes (PSS) and descriptors.
type Look = (f64, f64);

/// What was seen of each process, in the order of the rounds.
#[derive(Default)]
pub(super) struct Looks(BTreeMap<(String, u32), Vec<Look>>);

impl Looks {
    /// Looks at the processes of both ends as they are now; `supervisors` are those that the lab did
    /// not start.
    pub(super) fn look(
        &mut self,
        lab: &Lab,
        supervisors: &BTreeMap<&'static str, Service>,
    ) -> Result<()> {
        for role in ["router", "server"] {
            let supervisor = match supervisors.get(role) {
                Some(service) => service.pid()?,
                None => lab.pid(&format!("{role}_supervisor"))?,
            };
            let worker = lab.pid(&format!("{role}_worker"))?;
            for (what, pid) in [("supervisor", supervisor), ("worker", worker)] {
                let look = (
                    processes::megabytes(pid)?,
                    processes::descriptors(pid)? as f64,
                );
                let process = (format!("{role}'s {what}"), pid);
                self.0.entry(process).or_default().push(look);
            }
        }
        Ok(())
    }

    /// Judges the growth of all processes, and keeps what was seen.
    pub(super) fn judge(&self, report: &mut Report) {
        let lives: Vec<&[Look]> = self.0.values().filter_map(|looks| enough(looks)).collect();
        report.judge(
            "processes that lived long enough to be judged",
            lives.len() as f64,
            "",
            Bound::AtLeast(2.0),
        );
        let growth = |part: fn(&Look) -> f64| {
            let all: Vec<f64> = lives.iter().map(|looks| growth(looks, part)).collect();
            worst(&all)
        };
        report.judge(
            "memory of a process grew by, at most",
            growth(|look| look.0),
            "MB",
            Bound::AtMost(MEGABYTES),
        );
        report.judge(
            "its descriptors, at most",
            growth(|look| look.1),
            "",
            Bound::AtMost(DESCRIPTORS),
        );
        for ((process, pid), looks) in &self.0 {
            report.sample(
                json!({"process": process, "pid": pid, "megabytes_and_descriptors": looks}),
            );
        }
    }
}

/// The looks that count, where they are enough.
fn enough(looks: &[Look]) -> Option<&[Look]> {
    let counted = looks.get(1..)?;
    (counted.len() >= ENOUGH).then_some(counted)
}

/// How much more the last third has than the first.
fn growth(looks: &[Look], part: fn(&Look) -> f64) -> f64 {
    let third = looks.len() / 3;
    let middle = |looks: &[Look]| median(&looks.iter().map(part).collect::<Vec<f64>>());
    middle(&looks[looks.len() - third..]) - middle(&looks[..third])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_thirds_without_the_first_look() {
        let looks = [5.0, 10.0, 11.0, 30.0, 10.0, 12.0, 12.0].map(|megabytes| (megabytes, 7.0));
        let counted = enough(&looks).expect("these are enough");
        assert_eq!(growth(counted, |look| look.0), 2.0);
        assert_eq!(growth(counted, |look| look.1), 0.0);
        assert_eq!(enough(&looks[..3]), None);
    }
}
