//! Keeps a data worker running: starts it, hears it, notices its death, decides when the next one starts.
//!
//! It never waits for the worker: what is to be sent goes into a bounded queue that a task empties, and a worker that
//! does not empty its socket is killed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::adopt::Adoptee;
use super::process::{Process, SpawnError, WorkerCommand};
use super::restart::{RestartPolicy, Verdict};
use super::watchdog::{TICK, Watchdog};
use crate::worker::{FromWorker, Identity, Receiver, Sender, SupervisorChannel, ToWorker, pair};

/// Messages that may wait for a worker to read them.
const QUEUE: usize = 64;
/// How long a worker may take to stop when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What happened to the worker.
#[derive(Debug)]
pub(super) enum Event {
    /// It is time to start one: call [`Keeper::start`] with this identity.
    Due(Identity),
    /// It says something.
    Message(FromWorker),
    /// It is dead. In a crash loop the listeners are to be closed until the next `Due`.
    Died {
        /// How it ended, for the log.
        how: String,
        /// Whether it is a crash loop.
        crash_loop: bool,
        /// Whether it was killed because it reported nothing.
        hung: bool,
    },
}

enum State {
    /// No worker until then.
    Waiting(tokio::time::Instant),
    Running(Box<Running>),
}

struct Running {
    process: Process,
    since: Instant,
    outbox: mpsc::Sender<(ToWorker, Vec<OwnedFd>)>,
    inbox: Receiver<FromWorker>,
    /// The inbox ended; only the death is awaited.
    silent: bool,
    watchdog: Watchdog,
    ticks: tokio::time::Interval,
    /// It was killed because it reported nothing for so long.
    hung: Option<Duration>,
}

/// One worker at a time, one generation after the other.
pub(super) struct Keeper {
    command: WorkerCommand,
    record: PathBuf,
    instance: String,
    generation: u32,
    policy: RestartPolicy,
    state: State,
}

impl Keeper {
    /// Starts with nothing running and the first worker due at once.
    pub(super) fn new(command: WorkerCommand, record: PathBuf, instance: String) -> Self {
        let state = State::Waiting(tokio::time::Instant::now());
        Self {
            command,
            record,
            instance,
            generation: 0,
            policy: RestartPolicy::default(),
            state,
        }
    }

    /// Goes on with a worker that an earlier supervisor started; the generations go on from its.
    pub(super) fn adopt(command: WorkerCommand, record: PathBuf, adoptee: Adoptee) -> Self {
        let Identity {
            instance,
            generation,
            ..
        } = adoptee.identity;
        let running = Running::new(Process::Adopted(adoptee.process), adoptee.channel);
        Self {
            command,
            record,
            instance,
            generation,
            policy: RestartPolicy::default(),
            state: State::Running(Box::new(running)),
        }
    }

    /// The generation of the worker that was started last; 0 before the first.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// The process id of the worker that runs.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Running(running) => running.process.id(),
            State::Waiting(_) => None,
        }
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Waiting(until) => {
                tokio::time::sleep_until(*until).await;
                let generation = self.generation + 1;
                Event::Due(Identity {
                    instance: self.instance.clone(),
                    generation,
                    oldest: generation,
                })
            }
            State::Running(running) => match running.next().await {
                Ok(message) => Event::Message(message),
                Err(how) => self.bury(how),
            },
        }
    }

    /// Starts a worker and sends it its first message with descriptors; a failure counts as a death.
    pub(super) fn start(&mut self, message: ToWorker, fds: Vec<OwnedFd>) -> Option<Event> {
        self.generation += 1;
        match self.spawn() {
            Ok(running) => {
                tracing::info!(
                    generation = self.generation,
                    pid = running.process.id(),
                    "data worker started"
                );
                self.state = State::Running(Box::new(running));
                self.send_with(message, fds);
                None
            }
            Err(error) => Some(self.death(error.to_string(), Duration::ZERO)),
        }
    }

    fn spawn(&self) -> Result<Running, SpawnError> {
        let (channel, theirs) = pair()?;
        let child = self.command.spawn(theirs, &self.record)?;
        Ok(Running::new(Process::Child(child), channel))
    }

    /// Counts a start that was not even tried as a death, so that the next one waits.
    pub(super) fn refuse(&mut self, how: &str) -> Event {
        self.death(how.to_owned(), Duration::ZERO)
    }

    /// Sends a message to the worker, if one runs.
    pub(super) fn send(&mut self, message: ToWorker) {
        self.send_with(message, Vec::new());
    }

    /// Sends a message with descriptors to the worker, if one runs.
    pub(super) fn send_with(&mut self, message: ToWorker, fds: Vec<OwnedFd>) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = running.outbox.try_send((message, fds)) {
            tracing::error!("the data worker does not read its messages; it is killed");
            running.process.kill();
        }
    }

    /// Asks the worker to stop, waits for it, kills it if it takes too long.
    pub(super) async fn stop(&mut self) {
        self.send(ToWorker::Stop);
        let now = State::Waiting(tokio::time::Instant::now());
        if let State::Running(mut running) = std::mem::replace(&mut self.state, now) {
            running.process.wait_or_kill(STOP_PATIENCE).await;
        }
        if let Err(error) = crate::store::files::remove(&self.record) {
            tracing::warn!("{error}");
        }
    }

    fn bury(&mut self, how: String) -> Event {
        let (lived, hung) = match &self.state {
            State::Running(running) => (running.since.elapsed(), running.hung),
            State::Waiting(_) => (Duration::ZERO, None),
        };
        let how = match hung {
            Some(silent) => format!(
                "it reported nothing for {:.1} s and was killed",
                silent.as_secs_f32()
            ),
            None => how,
        };
        match self.death(how, lived) {
            Event::Died {
                how, crash_loop, ..
            } => Event::Died {
                how,
                crash_loop,
                hung: hung.is_some(),
            },
            event => event,
        }
    }

    fn death(&mut self, how: String, lived: Duration) -> Event {
        let verdict = self.policy.handle_death(Instant::now(), lived);
        let (Verdict::Restart(wait) | Verdict::CrashLoop(wait)) = verdict;
        self.state = State::Waiting(tokio::time::Instant::now() + wait);
        Event::Died {
            how,
            crash_loop: matches!(verdict, Verdict::CrashLoop(_)),
            hung: false,
        }
    }
}

impl Running {
    fn new(process: Process, channel: SupervisorChannel) -> Self {
        let (sender, inbox) = channel.into_split();
        let (outbox, queue) = mpsc::channel(QUEUE);
        tokio::spawn(deliver(sender, queue));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let since = Instant::now();
        Self {
            process,
            since,
            outbox,
            inbox,
            silent: false,
            watchdog: Watchdog::new(since),
            ticks,
            hung: None,
        }
    }

    /// The next message, or how the worker ended. Cancel-safe.
    async fn next(&mut self) -> Result<FromWorker, String> {
        while !self.silent {
            tokio::select! {
                // What it said before it died comes first, and before it is accused of silence.
                biased;
                received = self.inbox.recv() => match received {
                    Ok(Some((message, _))) => {
                        if let FromWorker::Status(_) = message {
                            self.watchdog.handle_report();
                        }
                        return Ok(message);
                    }
                    Ok(None) => self.silent = true,
                    Err(error) => {
                        tracing::error!("{error}; the data worker is killed");
                        self.process.kill();
                        self.silent = true;
                    }
                },
                how = self.process.wait() => return Err(how),
                _ = self.ticks.tick(), if self.hung.is_none() => {
                    self.hung = self.watchdog.handle_tick(Instant::now());
                    if self.hung.is_some() {
                        // A stopped process cannot end by itself, but it can be killed.
                        self.process.kill();
                    }
                }
            }
        }
        // A worker that closed its channel can do nothing useful any more.
        match tokio::time::timeout(STOP_PATIENCE, self.process.wait()).await {
            Ok(how) => Err(how),
            Err(_) => {
                self.process.kill();
                Err(self.process.wait().await)
            }
        }
    }
}

/// Sends what is queued. Ends when the keeper or the worker is gone; its death is noticed elsewhere.
async fn deliver(
    mut sender: Sender<ToWorker>,
    mut queue: mpsc::Receiver<(ToWorker, Vec<OwnedFd>)>,
) {
    while let Some((message, fds)) = queue.recv().await {
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(error) = sender.send(&message, &borrowed).await {
            tracing::debug!("{error}");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use crate::worker::{ServerSetup, WorkerStatus};

    /// A shell as worker: it can read and write its standard input like any socket.
    fn keeper(dir: &TempDir, script: &str) -> Keeper {
        let command = WorkerCommand::of("sh", &["-c", script]);
        Keeper::new(command, dir.path().join("test.worker"), "0".repeat(32))
    }

    fn start(keeper: &mut Keeper, identity: Identity) {
        let setup = ServerSetup {
            identity,
            private_key: vec![1].into(),
            tag_keys: vec![],
            routers: vec![],
            dns: vec![],
            allow: vec![],
            allow_ports: vec![],
            objects_from: vec![],
            budget: crate::worker::Budget::new(None, None),
            session_memory: 1,
            max_flows: 1,
            fds: vec![],
        };
        assert!(keeper.start(ToWorker::StartServer(setup), vec![]).is_none());
    }

    #[tokio::test]
    async fn a_worker_is_started_heard_and_stopped() {
        let dir = TempDir::new("keeper-life");
        let script = r#"read start; case "$start" in *'"generation":1'*) echo '"ready"' >&0;; esac
                        read stop; [ "$stop" = '"stop"' ] && exit 0; exit 1"#;
        let mut keeper = keeper(&dir, script);
        let Event::Due(identity) = keeper.next().await else {
            panic!("due at once")
        };
        assert_eq!((identity.generation, identity.oldest), (1, 1));
        start(&mut keeper, identity);
        assert!(matches!(
            keeper.next().await,
            Event::Message(FromWorker::Ready)
        ));
        assert!(keeper.pid().is_some() && dir.path().join("test.worker").exists());
        keeper.stop().await;
        assert!(keeper.pid().is_none() && !dir.path().join("test.worker").exists());
    }

    #[tokio::test]
    async fn five_quick_deaths_are_a_crash_loop_and_generations_count() {
        let dir = TempDir::new("keeper-loop");
        let mut keeper = keeper(&dir, "exit 7");
        let (mut deaths, mut generations) = (vec![], vec![]);
        while deaths.len() < 5 {
            match keeper.next().await {
                Event::Due(identity) => {
                    generations.push(identity.generation);
                    start(&mut keeper, identity);
                }
                Event::Died {
                    how, crash_loop, ..
                } => {
                    assert!(how.contains('7'), "{how}");
                    deaths.push(crash_loop);
                }
                Event::Message(message) => panic!("{message:?}"),
            }
        }
        assert_eq!(
            (deaths, generations),
            (vec![false, false, false, false, true], vec![1, 2, 3, 4, 5])
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_counts_as_a_death() {
        let dir = TempDir::new("keeper-missing");
        let command = WorkerCommand::of("/nonexistent/guywire", &[]);
        let mut keeper = Keeper::new(command, dir.path().join("test.worker"), String::new());
        assert!(matches!(
            keeper.start(ToWorker::Stop, vec![]),
            Some(Event::Died {
                crash_loop: false,
                ..
            })
        ));
    }

    #[tokio::test]
    async fn what_a_dying_worker_said_is_still_heard() {
        let dir = TempDir::new("keeper-last-words");
        let line = serde_json::to_string(&FromWorker::Status(WorkerStatus::default())).unwrap();
        let mut keeper = keeper(&dir, &format!("read start; echo '{line}' >&0; kill -9 $$"));
        let Event::Due(identity) = keeper.next().await else {
            panic!("due at once")
        };
        start(&mut keeper, identity);
        assert!(matches!(
            keeper.next().await,
            Event::Message(FromWorker::Status(_))
        ));
        let Event::Died { how, .. } = keeper.next().await else {
            panic!("it is dead")
        };
        assert!(how.contains("signal: 9"), "{how}");
    }

    #[tokio::test]
    async fn a_worker_that_is_stopped_is_killed_and_accused() {
        let dir = TempDir::new("keeper-hung");
        let line = serde_json::to_string(&FromWorker::Status(WorkerStatus::default())).unwrap();
        let mut keeper = keeper(
            &dir,
            &format!("read start; echo '{line}' >&0; kill -STOP $$"),
        );
        let Event::Due(identity) = keeper.next().await else {
            panic!("due at once")
        };
        start(&mut keeper, identity);
        assert!(matches!(
            keeper.next().await,
            Event::Message(FromWorker::Status(_))
        ));
        let Event::Died { how, hung, .. } = keeper.next().await else {
            panic!("it is dead")
        };
        assert!(hung && how.contains("reported nothing"), "{how}");
    }

    #[tokio::test]
    async fn garbage_from_a_worker_ends_it() {
        let dir = TempDir::new("keeper-garbage");
        let mut keeper = keeper(&dir, "read start; echo garbage >&0; sleep 60");
        let Event::Due(identity) = keeper.next().await else {
            panic!("due at once")
        };
        start(&mut keeper, identity);
        assert!(matches!(keeper.next().await, Event::Died { .. }));
    }
}
