//! The lab itself: nodes, links, programs in nodes, and that nothing is left
//! of it. Labs without Guywire, which come up in a moment.
//!
//! Each test makes labs of its own from the binary that `GUYWIRE_BIN` names,
//! or else from the one built beside the tests.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use xtask::lab::Lab;

/// Fast links, so that nothing here waits for them.
const LINKS: &str = "100mbit/2ms,50mbit/4ms,veth";

fn binary() -> PathBuf {
    std::env::var_os("GUYWIRE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_guywire").into(), PathBuf::from)
}

/// A lab without Guywire; nothing where this machine forbids labs.
fn lab(purpose: &str) -> Result<Option<Lab>> {
    lab_with(purpose, &["--links", LINKS])
}

fn lab_with(purpose: &str, options: &[&str]) -> Result<Option<Lab>> {
    let options = [&["--no-guywire"], options].concat();
    match Lab::up_with(binary(), purpose, &options) {
        Err(error) if error.to_string().contains("user namespace") => {
            eprintln!("skipped: {error}");
            Ok(None)
        }
        lab => lab.map(Some),
    }
}

/// Waits until `done`, and fails after far longer than it can take.
#[track_caller]
fn eventually(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "not after 30 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn programs_in_nodes_behave_as_anywhere() -> Result<()> {
    let Some(lab) = lab("exec")? else {
        return Ok(());
    };
    let status = |script: &str| -> Result<i32> {
        let status = lab.exec("client", &["sh", "-c", script]).status()?;
        status.code().context("`lab exec` exits by itself")
    };
    ensure!(status("exit 0")? == 0);
    ensure!(status("exit 7")? == 7);
    ensure!(status("kill -TERM $$")? == 128 + 15);
    let missing = lab.exec("client", &["no-such-program"]).output()?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    let mut cat = lab
        .exec("router", &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    cat.stdin
        .take()
        .context("a pipe")?
        .write_all(b"through and back")?;
    ensure!(cat.wait_with_output()?.stdout == b"through and back");
    let here = lab.exec("server", &["pwd"]).current_dir("/usr").output()?;
    ensure!(here.stdout == b"/usr\n", "{here:?}");
    ensure!(
        lab.shell("internet", "command -v guywire")?
            .contains("/bin/guywire")
    );
    let unknown = lab.exec("clint", &["true"]).output()?;
    ensure!(!unknown.status.success());
    ensure!(
        said(&unknown).contains("client, router, server and internet"),
        "{}",
        said(&unknown)
    );
    Ok(())
}

#[test]
fn a_killed_exec_takes_its_program_along() -> Result<()> {
    let Some(lab) = lab("tied")? else {
        return Ok(());
    };
    let mut exec = lab.exec("client", &["sleep", "1000"]).spawn()?;
    let asleep = || {
        lab.shell("client", "cat /proc/[0-9]*/comm")
            .is_ok_and(|names| names.contains("sleep"))
    };
    eventually("the program runs", asleep);
    exec.kill()?;
    exec.wait()?;
    eventually("the program is gone", || !asleep());
    Ok(())
}

#[test]
fn a_terminated_exec_passes_it_on() -> Result<()> {
    let Some(lab) = lab("term")? else {
        return Ok(());
    };
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = lab
        .exec("client", &["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = std::io::BufReader::new(exec.stdout.take().context("a pipe")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line)?;
    ensure!(line == "ready\n");
    kill_process(Pid::from_child(&exec), Signal::TERM)?;
    ensure!(exec.wait()?.code() == Some(9));
    Ok(())
}

#[test]
fn names_resolve_and_both_families_reach_the_internet() -> Result<()> {
    let Some(lab) = lab("names")? else {
        return Ok(());
    };
    for link in [1, 3] {
        let url = format!("http://direct{link}/bytes/100000");
        for family in ["-4", "-6"] {
            let fetch = ["guywire", "lab", "fetch", family, &url];
            let output = lab.exec("client", &fetch).output()?;
            ensure!(output.status.success(), "{family} {url}: {output:?}");
        }
    }
    for node in ["router", "server", "internet"] {
        let hosts = lab.output(node, &["cat", "/etc/hosts"])?;
        ensure!(hosts.contains("198.51.100.10 server\n"), "{node}: {hosts}");
    }
    Ok(())
}

/// Whether the client reaches `directN`, within little time.
fn reaches(lab: &Lab, link: usize) -> bool {
    let url = format!("http://direct{link}/bytes/1000");
    let fetch = ["guywire", "lab", "fetch", "-4", "--patience", "2", &url];
    lab.exec("client", &fetch)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn state(lab: &Lab, link: usize) -> Result<(String, String)> {
    let status = lab.status()?;
    let link = &status["links"][link - 1];
    let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("spec")))
}

#[test]
fn links_do_what_they_are_told() -> Result<()> {
    let Some(lab) = lab("links")? else {
        return Ok(());
    };
    for (verb, still) in [
        (&["silent"][..], "silent"),
        (&["silent", "in"], "silent in"),
        (&["silent", "out"], "silent out"),
        (&["down"], "down"),
    ] {
        lab.link("wan1", verb)?;
        ensure!(state(&lab, 1)?.0 == still);
        ensure!(!reaches(&lab, 1), "reached although {verb:?}");
        ensure!(reaches(&lab, 2), "{verb:?} on wan1 hit wan2");
        lab.link("wan1", &["up"])?;
        ensure!(reaches(&lab, 1), "not reached after {verb:?} and up");
    }
    lab.link("wan2", &["set", "rate=5mbit,loss=1%"])?;
    ensure!(state(&lab, 2)? == ("up".into(), "5mbit/4ms/loss1%".into()));
    for (link, number) in [("wan1", 1), ("wan3", 3)] {
        lab.link(link, &["remove"])?;
        let devices = lab.output("router", &["cat", "/proc/net/dev"])?;
        ensure!(!devices.contains(link), "{link} is still there: {devices}");
        ensure!(!reaches(&lab, number), "{link} reached although removed");
        lab.link(link, &["add"])?;
        ensure!(
            reaches(&lab, number),
            "{link} not reached after it came back"
        );
        let address = format!("10.77.{number}.9/24");
        lab.link(link, &["address", &address])?;
        ensure!(
            reaches(&lab, number),
            "{link} not reached by its new address"
        );
        ensure!(
            lab.status()?["links"][number - 1]["addresses"]
                .to_string()
                .contains(&address)
        );
        lab.link(link, &["remove"])?;
        lab.link(link, &["add"])?;
        ensure!(
            reaches(&lab, number),
            "{link} lost its new address on its way"
        );
    }
    Ok(())
}

#[test]
fn links_refuse_in_words() -> Result<()> {
    let Some(lab) = lab("refuse")? else {
        return Ok(());
    };
    let rows = [
        ("wan9", &["up"][..], "there are wan1, wan2, wan3"),
        ("wan1", &["explode"], "silent [in|out]"),
        ("wan1", &["add"], "there already"),
        ("wan1", &["address", "10.0.1.1/24"], "gateway"),
        ("wan1", &["address", "10.0.1.9"], "prefix length"),
        ("wan1", &["set", "speed=1"], "speed"),
        ("wan3", &["silent"], "plain veth"),
    ];
    for (link, verb, wanted) in rows {
        let error = lab.link(link, verb).expect_err(wanted).to_string();
        ensure!(error.contains(wanted), "{link} {verb:?}: {error}");
    }
    Ok(())
}

#[test]
fn labs_live_side_by_side_and_names_are_taken_once() -> Result<()> {
    let (Some(one), Some(two)) = (lab("side")?, lab("side")?) else {
        return Ok(());
    };
    one.link("wan1", &["silent"])?;
    ensure!(!reaches(&one, 1) && reaches(&two, 1));
    let mut again = Command::new(binary());
    again.args([
        "lab",
        "up",
        "--detach",
        "--no-guywire",
        "--name",
        one.name(),
    ]);
    let again = again.output()?;
    ensure!(
        !again.status.success() && said(&again).contains("running already"),
        "{again:?}"
    );
    ensure!(reaches(&one, 2), "the first one was harmed");
    for role in ["keeper", "internet"] {
        ensure!(
            is_alive(one.pid(role)?) && one.pid(role)? != two.pid(role)?,
            "{role}"
        );
    }
    Ok(())
}

#[test]
fn nothing_is_left_of_a_lab_that_was_killed() -> Result<()> {
    let Some(lab) = lab("killed")? else {
        return Ok(());
    };
    let status = lab.status()?;
    let directory = PathBuf::from(status["directory"].as_str().context("a directory")?);
    let (keeper, internet) = (lab.pid("keeper")?, lab.pid("internet")?);
    let mut exec = lab
        .exec("router", &["sleep", "1000"])
        .stderr(Stdio::null())
        .spawn()?;
    kill(keeper)?;
    eventually("the lab's processes are gone", || {
        !is_alive(keeper) && !is_alive(internet)
    });
    exec.wait()?;
    eventually("its directory is gone", || !directory.exists());
    ensure!(lab.status().is_err());
    // The same name can be used at once; taking it down is this value's job.
    let mut again = Command::new(binary());
    again.args([
        "lab",
        "up",
        "--detach",
        "--no-guywire",
        "--name",
        lab.name(),
    ]);
    ensure!(again.output()?.status.success());
    Ok(())
}

/// A lab that ends with its command.
fn attached(name: &str) -> Result<Child> {
    let mut command = Command::new(binary());
    command
        .args([
            "lab",
            "up",
            "--no-guywire",
            "--links",
            LINKS,
            "--name",
            name,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().context("a pipe")?);
    std::io::BufRead::read_line(&mut output, &mut line)?;
    ensure!(line.contains("is up"), "{line}");
    Ok(child)
}

fn status_of(name: &str) -> Result<Option<serde_json::Value>> {
    let mut command = Command::new(binary());
    command.args(["lab", "status", "--json", "--name", name]);
    let output = command.output()?;
    Ok(output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout))
        .transpose()?)
}

#[test]
fn an_attached_lab_ends_with_its_command() -> Result<()> {
    let Some(probe) = lab("probe")? else {
        return Ok(());
    };
    drop(probe);
    for signal in [Signal::INT, Signal::KILL] {
        let name = format!("attached-{}-{}", std::process::id(), signal.as_raw());
        let mut command = attached(&name)?;
        let status = status_of(&name)?.context("it is running")?;
        let directory = PathBuf::from(status["directory"].as_str().context("a directory")?);
        let keeper: u32 = status["processes"]["keeper"]
            .as_u64()
            .context("a keeper")?
            .try_into()?;
        kill_process(Pid::from_child(&command), signal)?;
        let ended = command.wait()?;
        ensure!(
            ended.success() || ended.signal() == Some(signal.as_raw()),
            "{ended}"
        );
        eventually("the keeper is gone", || !is_alive(keeper));
        eventually("the directory is gone", || !directory.exists());
        ensure!(status_of(&name)?.is_none());
    }
    Ok(())
}

#[test]
fn a_scenario_plays_by_itself() -> Result<()> {
    let file = std::env::temp_dir().join(format!("guywire-scenario-{}.toml", std::process::id()));
    let text = r#"
        links = ["20mbit/4ms", "20mbit/4ms"]
        duration = "60s"
        [[transfers]]
        direction = "down"
        bytes = 100000
        [[events]]
        at = "100ms"
        link = 2
        verb = "set rate=3mbit"
    "#;
    fs::write(&file, text)?;
    let path = file.display().to_string();
    let lab = lab_with("scenario", &["--scenario", &path])?;
    fs::remove_file(&file)?;
    let Some(lab) = lab else { return Ok(()) };
    eventually("the event happened", || {
        state(&lab, 2).is_ok_and(|(_, spec)| spec == "3mbit/4ms")
    });
    let directory = lab.status()?["directory"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let report = Path::new(&directory).join("log/transfer-1.json");
    let complete =
        || fs::read_to_string(&report).is_ok_and(|text| text.contains("\"ending\":\"complete\""));
    eventually("the transfer is complete", complete);
    Ok(())
}

#[test]
fn broken_plans_are_explained() -> Result<()> {
    let rows = [
        (&["--links", "100mbit/fast"][..], "fast"),
        (&["--links", "trace:/nowhere/trace"], "/nowhere/trace"),
        (&["--scenario", "/nowhere.toml"], "/nowhere.toml"),
        (&["--name", "UPPER"], "small letters"),
    ];
    for (options, wanted) in rows {
        let mut command = Command::new(binary());
        command
            .args(["lab", "up", "--detach", "--no-guywire"])
            .args(options);
        let output = command.output()?;
        ensure!(!output.status.success(), "{options:?} came up");
        let said = said(&output);
        if said.contains("user namespace") {
            eprintln!("skipped: {said}");
            return Ok(());
        }
        ensure!(said.contains(wanted), "{options:?}: {said}");
    }
    Ok(())
}
