//! Incidents on disk: a JSON object a line in `incidents.jsonl` of the state directory, for people who look
//! after a reboot. When it has grown to [`MAX_FILE`] bytes it becomes `incidents.1.jsonl`, and the one before that
//! goes. Written by a task of its own: nobody waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::status::Incident;

/// Bytes after which a new file is begun.
const MAX_FILE: u64 = 512 << 10;
/// Incidents that may wait for the disk; more are dropped.
const QUEUE: usize = 64;
/// Incidents that are read at most, the newest.
const MAX_READ: usize = 256;

/// Where incidents are written to and read from.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    file: PathBuf,
    queue: mpsc::Sender<Incident>,
}

impl Journal {
    /// The journal in a state directory. Needs a tokio runtime.
    pub(super) fn open(state_dir: &Path) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Incident>(QUEUE);
        let file = state_dir.join("incidents.jsonl");
        let path = file.clone();
        tokio::task::spawn_blocking(move || {
            while let Some(incident) = waiting.blocking_recv() {
                if let Err(error) = append(&path, &incident) {
                    tracing::warn!(%error, "an incident is not kept in {}", path.display());
                }
            }
        });
        Self { file, queue }
    }

    /// Keeps an incident.
    pub(super) fn keep(&self, incident: Incident) {
        if self.queue.try_send(incident).is_err() {
            tracing::warn!("an incident is not kept: too many wait for the disk");
        }
    }

    /// The newest incidents, oldest first. Lines that cannot be read, as after a power cut, are passed over.
    pub(super) fn read(&self) -> io::Result<Vec<Incident>> {
        let mut incidents = Vec::new();
        for path in [before(&self.file), self.file.clone()] {
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).split(b'\n') {
                incidents.extend(serde_json::from_slice(&line?).ok());
            }
        }
        let skipped = incidents.len().saturating_sub(MAX_READ);
        Ok(incidents.split_off(skipped))
    }
}

fn before(file: &Path) -> PathBuf {
    file.with_extension("1.jsonl")
}

fn append(path: &Path, incident: &Incident) -> io::Result<()> {
    let mut line = serde_json::to_vec(incident)?;
    line.push(b'\n');
    if fs::metadata(path).is_ok_and(|file| file.len() + line.len() as u64 > MAX_FILE) {
        fs::rename(path, before(path))?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(path)?;
    file.write_all(&line)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn incident(number: u64) -> Incident {
        Incident {
            at: number,
            kind: "test".into(),
            text: "x".repeat(1000),
            ejection: None,
        }
    }

    #[tokio::test]
    async fn incidents_are_kept_across_restarts_within_bounds() {
        let dir = TempDir::new("journal");
        let path = dir.path().join("incidents.jsonl");
        for number in 0..1_500 {
            append(&path, &incident(number)).unwrap();
        }
        // What a power cut leaves.
        let cut = OpenOptions::new().append(true).open(&path);
        cut.unwrap().write_all(b"{\"at\": 7, \"ki").unwrap();
        let journal = Journal::open(dir.path());
        let read = journal.read().unwrap();
        assert_eq!((read.len(), read[255].at), (MAX_READ, 1_499));
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 2);
        for file in fs::read_dir(dir.path()).unwrap() {
            assert!(file.unwrap().metadata().unwrap().len() <= MAX_FILE + 20);
        }
    }

    #[tokio::test]
    async fn the_task_writes() {
        let dir = TempDir::new("journal-task");
        let journal = Journal::open(dir.path());
        journal.keep(incident(1));
        while journal.read().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
