//! What a node's kernel says of its connections and devices, read from `/proc` without any tool.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::Lab;

/// An established TCP connection of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its own address, as the kernel writes it: hexadecimal, each 32-bit word in host order.
    pub local: String,
    /// The port at the other end.
    pub remote_port: u16,
}

/// Reads the established connections in what `/proc/net/tcp` and `/proc/net/tcp6` hold.
#[must_use]
pub fn connections(text: &str) -> Vec<Connection> {
    text.lines().filter_map(connection).collect()
}

/// The state ESTABLISHED, see `include/net/tcp_states.h` of the kernel.
const ESTABLISHED: &str = "01";

fn connection(line: &str) -> Option<Connection> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?.split_once(':')?.0;
    let remote_port = fields.next()?.split_once(':')?.1;
    if fields.next()? != ESTABLISHED {
        return None;
    }
    Some(Connection {
        local: local.to_owned(),
        remote_port: u16::from_str_radix(remote_port, 16).ok()?,
    })
}

/// How many established connections to `port` each local address of `node` has.
///
/// # Errors
/// Where the node cannot be asked.
pub fn connections_to(lab: &Lab, node: &str, port: u16) -> Result<BTreeMap<String, usize>> {
    let text = lab.output(node, &["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
    let mut counts = BTreeMap::new();
    for connection in connections(&text) {
        if connection.remote_port == port {
            *counts.entry(connection.local).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Bytes that each device of a node has received and sent, at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Seconds since the machine started.
    pub uptime: f64,
    /// Received and sent bytes by device.
    pub devices: BTreeMap<String, (u64, u64)>,
}

/// Seconds since the machine started, as [`Snapshot::uptime`] counts them.
///
/// # Errors
/// Where `/proc/uptime` cannot be read.
pub fn uptime() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?;
    let first = text.split_whitespace().next();
    first
        .and_then(|seconds| seconds.parse().ok())
        .context("cannot understand /proc/uptime")
}

/// Snapshots of a node's devices, taken every 100 ms or so until it is stopped.
pub struct Watch {
    child: Child,
    /// Tells the reader to close its end, at which the script ends even where its starter, killed,
    /// has left it behind.
    stopped: Arc<AtomicBool>,
    reader: Option<JoinHandle<Vec<Snapshot>>>,
}

impl Watch {
    /// Starts watching the devices of `node`.
    ///
    /// # Errors
    /// Where nothing can be run in the node.
    pub fn start(lab: &Lab, node: &str) -> Result<Self> {
        let script = "while cat /proc/uptime /proc/net/dev; do sleep 0.1; done";
        let mut child = lab
            .exec(node, &["sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot watch the devices of {node}"))?;
        let output = child.stdout.take().context("the watch has no output")?;
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let reader = std::thread::spawn(move || {
            let mut snapshots = Vec::new();
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines.take_while(|_| !told.load(Ordering::Relaxed)) {
                add(&line, &mut snapshots);
            }
            snapshots
        });
        Ok(Self {
            child,
            stopped,
            reader: Some(reader),
        })
    }

    /// Stops, and returns what was seen.
    #[must_use]
    pub fn stop(mut self) -> Vec<Snapshot> {
        self.end();
        let reader = self.reader.take();
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    }

    fn end(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// Adds one line of the watch's output: an uptime begins a snapshot, a device's line adds to it.
fn add(line: &str, snapshots: &mut Vec<Snapshot>) {
    if let Some((device, counters)) = line.split_once(':') {
        let numbers: Vec<u64> = counters
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        // The first column is bytes received, the ninth bytes sent.
        if let (Some(snapshot), Some(received), Some(sent)) =
            (snapshots.last_mut(), numbers.first(), numbers.get(8))
        {
            snapshot
                .devices
                .insert(device.trim().to_owned(), (*received, *sent));
        }
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [uptime, _idle] = words[..]
        && let Ok(uptime) = uptime.parse()
    {
        snapshots.push(Snapshot {
            uptime,
            ..Snapshot::default()
        });
    }
}

/// Bytes a second, both directions together, that `device` carried between `from` and `to`
/// (uptimes), from the first snapshot in between to the last; nothing where there are not two. What
/// happens to the device at `to` is never seen.
#[must_use]
pub fn rate(snapshots: &[Snapshot], device: &str, from: f64, to: f64) -> Option<f64> {
    let mut between = snapshots
        .iter()
        .filter(|snapshot| (from..=to).contains(&snapshot.uptime));
    let first = between.next()?;
    carried(first, between.next_back()?, device)
}

/// Bytes a second that `device` carried from one snapshot to another.
fn carried(first: &Snapshot, last: &Snapshot, device: &str) -> Option<f64> {
    let time = last.uptime - first.uptime;
    let bytes = |snapshot: &Snapshot| snapshot.devices.get(device).map(|(a, b)| a + b);
    // A device that was made anew counts from zero again.
    let carried = bytes(last)?.saturating_sub(bytes(first)?);
    (time > 0.0).then(|| carried as f64 / time)
}

/// Seconds after `since` (an uptime) until `device` carries at least `wanted` bytes a second over
/// a fifth of a second; nothing where it never does.
#[must_use]
pub fn back_after(snapshots: &[Snapshot], device: &str, since: f64, wanted: f64) -> Option<f64> {
    let later = || snapshots.iter().filter(|snapshot| snapshot.uptime >= since);
    let used = |first: &&Snapshot| {
        let last = later().find(|last| last.uptime >= first.uptime + 0.2);
        last.and_then(|last| carried(first, last, device))
            .is_some_and(|rate| rate >= wanted)
    };
    later().find(used).map(|first| first.uptime - since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_connections() {
        let text = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0201000A:C5A4 0A6433C6:01BB 01 00000000:00000000 00:00000000 00000000     0
   1: 0201000A:C5A6 0A6433C6:01BB 06 00000000:00000000 00:00000000 00000000     0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
  sl  local_address                         remote_address                        st
   0: B80D01200A0100000000000002000000:A0F2 B80D0120020000000000000010000000:01BB 01 0";
        let found = connections(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Connection {
                local: "0201000A".to_owned(),
                remote_port: 443
            }
        );
        assert_eq!(found[1].local, "B80D01200A0100000000000002000000");
    }

    fn snapshots(rates: &[u64]) -> Vec<Snapshot> {
        let mut all = Vec::new();
        let mut bytes = 0;
        for (index, rate) in rates.iter().enumerate() {
            add(
                &format!("{:.2} 99.0", 100.0 + index as f64 / 10.0),
                &mut all,
            );
            add("Inter-|   Receive  |  Transmit", &mut all);
            add(
                &format!("  wan1: {bytes} 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0"),
                &mut all,
            );
            bytes += rate / 10;
        }
        all
    }

    #[test]
    fn reads_snapshots() {
        let all = snapshots(&[1_000, 1_000]);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].devices["wan1"], (100, 7));
    }

    #[test]
    fn a_rate_up_to_a_devices_end_is_known() {
        let mut all = snapshots(&[1_000, 1_000, 1_000, 0]);
        all[3].devices.clear();
        // The last snapshot that has the device is older than its end.
        let before = rate(&all, "wan1", 99.0, 100.25).expect("it was there");
        assert!((before - 1_000.0).abs() < 1.0, "{before}");
        assert_eq!(rate(&all, "wan1", 100.15, 100.25), None, "one snapshot");
    }

    #[test]
    fn finds_when_a_device_is_used_again() {
        let all = snapshots(&[1_000, 1_000, 0, 0, 0, 100, 800, 800, 800, 800, 800]);
        let before = rate(&all, "wan1", 100.0, 100.2).expect("it is covered");
        assert!((before - 1_000.0).abs() < 1.0, "{before}");
        let back = back_after(&all, "wan1", 100.35, 400.0).expect("it comes back");
        assert!((back - 0.15).abs() < 0.01, "{back}");
        assert_eq!(back_after(&all, "wan1", 100.35, 5_000.0), None);
        assert_eq!(back_after(&all, "wan2", 100.35, 1.0), None);
    }
}
