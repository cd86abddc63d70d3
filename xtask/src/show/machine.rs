//! Whether a measurement can be believed: the machine had time to spare, and the emulator released
//! its packets when they were due.

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::lab::Lab;
use xtask::lab::processes::TICKS;

use super::report::Report;

/// Less of the machine idle than this (in percent), and it was measured rather than Guywire.
const LEAST_IDLE: f64 = 10.0;
/// More packets released late than this (in percent), and the links were not what they claim.
const MOST_LATE: f64 = 0.1;
/// Times that what was void is measured.
const TRIES: u32 = 3;

/// Does `work` and voids `report` where the machine or the lab's emulator was too busy meanwhile.
pub(super) fn steadily<T>(
    lab: &Lab,
    report: &mut Report,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (done, why) = watched(lab, work)?;
    why.into_iter().for_each(|why| report.void(why));
    Ok(done)
}

/// Does `work` again, up to [`TRIES`] times in all, until it can be believed; voids `report` where
/// it never can.
pub(super) fn steadily_again<T>(
    lab: &Lab,
    report: &mut Report,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    for _ in 1..TRIES {
        let (done, why) = watched(lab, &mut work)?;
        if why.is_empty() {
            return Ok(done);
        }
    }
    steadily(lab, report, work)
}

/// Does `work`, and tells why it is not to be believed, if it is not.
fn watched<T>(lab: &Lab, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<String>)> {
    let cpu_before = cpu()?;
    let packets_before = packets(&lab.status()?);
    let done = work()?;
    let mut why = Vec::new();
    let idle = cpu()?.idle_since(&cpu_before);
    if idle < LEAST_IDLE {
        why.push(format!(
            "the machine was only {idle:.0} % idle, {LEAST_IDLE} % are needed"
        ));
    }
    let spoilt = packets(&lab.status()?).spoilt_since(&packets_before);
    if spoilt > MOST_LATE {
        why.push(format!(
            "the emulator was late for {spoilt:.2} %, {MOST_LATE} % are allowed"
        ));
    }
    Ok((done, why))
}

/// Time the machine's processors spent, in ticks.
pub(super) struct Cpu {
    idle: u64,
    all: u64,
}

impl Cpu {
    /// Percent of the time since `before` that nothing was to be done.
    fn idle_since(&self, before: &Self) -> f64 {
        percent(self.idle - before.idle, self.all - before.all)
    }

    /// Seconds of work since `before`, all processors together: whoever did it, interrupts too.
    pub(super) fn busy_since(&self, before: &Self) -> f64 {
        ((self.all - self.idle) - (before.all - before.idle)) as f64 / TICKS
    }
}

/// The time spent until now.
pub(super) fn cpu() -> Result<Cpu> {
    let text = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse_cpu(&text).context("cannot understand /proc/stat")
}

/// Reads the first line of `/proc/stat`, see proc_stat(5).
fn parse_cpu(text: &str) -> Option<Cpu> {
    let ticks: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        // Guest time, which follows, is counted in user time already.
        .take(8)
        .collect();
    let (idle, waiting) = (ticks.get(3)?, ticks.get(4)?);
    Some(Cpu {
        idle: idle + waiting,
        all: ticks.iter().sum(),
    })
}

/// Packets of all the emulator's links.
#[derive(Default)]
struct Packets {
    delivered: u64,
    /// Delivered too late, or lost because the emulator was not up to it.
    spoilt: u64,
}

impl Packets {
    /// Percent of the packets since `before` that the emulator spoilt.
    fn spoilt_since(&self, before: &Self) -> f64 {
        // A link that was made anew counts from zero again.
        let delivered = self.delivered.saturating_sub(before.delivered);
        percent(self.spoilt.saturating_sub(before.spoilt), delivered)
    }
}

/// Adds up the counters of every direction of every link in `status`.
fn packets(status: &Value) -> Packets {
    let mut sum = Packets::default();
    add(&status["links"], &mut sum);
    sum
}

fn add(value: &Value, sum: &mut Packets) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add(item, sum)),
        Value::Object(fields) => {
            if let Some(late) = fields.get("late_packets").and_then(Value::as_u64) {
                let drops = ["memory", "oversize", "missed"].map(|cause| &value["drops"][cause]);
                let dropped: u64 = drops.iter().filter_map(|count| count.as_u64()).sum();
                sum.delivered += fields.get("packets").and_then(Value::as_u64).unwrap_or(0);
                sum.spoilt += late + dropped;
            }
            fields.values().for_each(|field| add(field, sum));
        }
        _ => {}
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_idle_time() {
        let before = parse_cpu("cpu  100 0 100 700 100 0 0 0 5 5\ncpu0 1 2").expect("it is one");
        let after = parse_cpu("cpu  160 0 120 710 110 0 0 0 5 5").expect("it is one");
        assert_eq!(before.all, 1_000);
        assert!((after.idle_since(&before) - 20.0).abs() < 1e-9);
        assert!((after.busy_since(&before) - 0.8).abs() < 1e-9);
        assert!(parse_cpu("intr 5").is_none());
    }

    #[test]
    fn adds_up_spoilt_packets() {
        let before = json!({"links": [{"down": {"packets": 500, "late_packets": 0}}]});
        let after = json!({"links": [
            {"down": {"packets": 1_500, "late_packets": 1, "drops": {"missed": 1, "loss": 9}}},
            {"down": {"packets": 1_000, "late_packets": 0}, "state": "up"},
        ]});
        let spoilt = packets(&after).spoilt_since(&packets(&before));
        assert!((spoilt - 0.1).abs() < 1e-9, "{spoilt}");
        let nothing = packets(&json!({})).spoilt_since(&Packets::default());
        assert!(nothing.abs() < 1e-9);
    }
}
