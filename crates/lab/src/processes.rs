//! The lab's processes as the host sees them. Inside its process namespace a
//! process has another number than outside; /proc knows both.

use std::collections::HashMap;
use std::fs;

use crate::place::Place;

/// The lab's processes: from the number inside the lab to the one that this
/// process sees. Empty when the lab is gone.
pub fn by_inner_id(place: &Place) -> HashMap<u32, u32> {
    let keeper = fs::read_to_string(place.keeper_pid()).unwrap_or_default();
    let Some(namespace) = namespace(keeper.trim()) else {
        return HashMap::new();
    };
    let mut found = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let Some((outer, inner)) = both_ids(&status) else {
            continue;
        };
        if self::namespace(name).is_some_and(|other| other == namespace) {
            found.insert(inner, outer);
        }
    }
    found
}

/// A process's namespace of process ids.
fn namespace(pid: &str) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// The outermost and the innermost id in /proc/PID/status; `None` for a
/// process that has only one.
fn both_ids(status: &str) -> Option<(u32, u32)> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let mut ids = line.split_whitespace().map(str::parse);
    let outer = ids.next()?.ok()?;
    let inner = ids.next_back()?.ok()?;
    Some((outer, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_status() {
        let status = "Name:\tguywire\nNSpid:\t4711\t35\t2\nNSpgid:\t1\n";
        assert_eq!(both_ids(status), Some((4711, 2)));
        assert_eq!(both_ids("Name:\tsh\nNSpid:\t4711\n"), None);
        assert_eq!(both_ids("Name:\tsh\n"), None);
    }
}
