//! Whoever is not let in: routers with invitations that do not count, or with a key no server knows.

use std::fs;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::programs::Scratch;
use super::{Lab, signal};

/// How long a refused router is given to say so.
const PATIENCE: Duration = Duration::from_secs(15);

/// The line that invites a router called `name`; `options` are those of `server invite`.
///
/// # Errors
/// Where the server does not make one.
pub fn invite(lab: &Lab, name: &str, options: &[&str]) -> Result<String> {
    let command = [&["guywire", "server", "invite", name], options].concat();
    Ok(lab.output("server", &command)?.trim().to_owned())
}

/// Joins with `line` as a router of its own, whose files are called `name` in `scratch`.
///
/// # Errors
/// Where the command cannot be run; that it fails is an answer.
pub fn join(lab: &Lab, scratch: &Scratch, name: &str, line: &str) -> Result<Output> {
    let places = Places::new(scratch, name);
    let mut command = vec!["guywire", "router", "join", line];
    command.extend(places.options());
    command.extend(["--lan", "lan0", "--wan", "wan1"]);
    let output = lab.exec("router", &command).output();
    output.context("cannot run `router join`")
}

/// Runs, in place of the lab's router, one that has joined and then lost its key, so that it has
/// another that no server knows. Returns what it says until it has said `wanted`, or for a while.
///
/// # Errors
/// Where it cannot be brought that far.
pub fn unknown_key(lab: &Lab, scratch: &Scratch, wanted: &str) -> Result<String> {
    let line = invite(lab, "stranger", &[])?;
    let joined = join(lab, scratch, "stranger", &line)?;
    let said = String::from_utf8_lossy(&joined.stderr);
    ensure!(joined.status.success(), "`router join` failed: {said}");
    let places = Places::new(scratch, "stranger");
    fs::remove_file(format!("{}/router.key", places.state)).context("cannot remove the key")?;

    signal(lab.pid("router_supervisor")?, "-TERM")?;
    let log = scratch.path().join("stranger.log");
    let file = fs::File::create(&log).context("cannot make a log")?;
    let mut command = vec!["guywire", "router", "run"];
    command.extend(places.options());
    let mut router = lab
        .exec("router", &command)
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .context("cannot run `router run`")?;
    let start = Instant::now();
    let mut said = String::new();
    while !said.contains(wanted) && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(200));
        said = fs::read_to_string(&log).context("cannot read the log")?;
    }
    signal(router.id(), "-TERM")?;
    router.wait().context("cannot wait for `router run`")?;
    Ok(said)
}

/// Where a router of its own keeps its files.
struct Places {
    config: String,
    state: String,
    run: String,
}

impl Places {
    fn new(scratch: &Scratch, name: &str) -> Self {
        let at = |ending: &str| {
            scratch
                .path()
                .join(format!("{name}{ending}"))
                .display()
                .to_string()
        };
        Self {
            config: at(".toml"),
            state: at("-state"),
            run: at("-run"),
        }
    }

    fn options(&self) -> [&str; 6] {
        [
            "--config",
            &self.config,
            "--state",
            &self.state,
            "--run",
            &self.run,
        ]
    }
}
