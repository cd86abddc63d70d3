//! What the kernel says of processes, by their ids as the host sees them: see proc(5).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Ticks a second in `/proc`: `USER_HZ`, the same on every architecture that Rust has Linux for.
pub const TICKS: f64 = 100.0;

/// The only child of a process.
///
/// # Errors
/// Where it has none, or the kernel does not tell (`CONFIG_PROC_CHILDREN`).
pub fn child_of(pid: u32) -> Result<u32> {
    let text = read(pid, &format!("task/{pid}/children"))?;
    let first = text.split_whitespace().next();
    first
        .and_then(|child| child.parse().ok())
        .with_context(|| format!("process {pid} has no child"))
}

/// Seconds that all threads of a process have computed, for themselves and in the kernel. Packets
/// that the kernel handled for it in interrupts are in nobody's account.
///
/// # Errors
/// Where it is gone.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = read(pid, "stat")?;
    let ticks = cpu_ticks(&text).with_context(|| format!("process {pid} tells no CPU time"))?;
    Ok(ticks / TICKS)
}

/// Adds up utime and stime, fields 14 and 15. The name before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Megabytes of memory that a process takes, shared pages in proportion (PSS).
///
/// # Errors
/// Where it is gone, or not ours.
pub fn megabytes(pid: u32) -> Result<f64> {
    let text = read(pid, "smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let kilobytes = kilobytes.with_context(|| format!("process {pid} tells no PSS"))?;
    Ok(kilobytes * 1_024.0 / 1e6)
}

/// How many descriptors a process has open.
///
/// # Errors
/// Where it is gone, or not ours.
pub fn descriptors(pid: u32) -> Result<usize> {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    Ok(entries.count())
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_time_whatever_the_name_is() {
        let stat = "7 (a) R (b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 5 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).is_ok());
        assert!(megabytes(pid).expect("it is ours") > 0.1);
        assert!(descriptors(pid).expect("it is ours") >= 3);
    }
}
