//! Strangers' programs run through a lab: they know nothing of Guywire and need not be told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Lab;
use super::service::Service;

/// How long a server in the lab may take until it listens.
const START: Duration = Duration::from_millis(500);

/// Downloads `bytes` bytes from `host` with curl over IPv4 or IPv6 (`family` is `-4` or `-6`).
///
/// # Errors
/// Where curl fails or the bytes are not the internet host's.
pub fn curl(lab: &Lab, family: &str, host: &str, bytes: u64) -> Result<()> {
    let script = format!(
        "curl --silent --show-error --fail {family} http://{host}/bytes/{bytes} | sha256sum && \
         curl --silent --show-error --fail {family} http://{host}/sha256/{bytes}"
    );
    let text = lab.shell("client", &script)?;
    let mut sums = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let (received, stated) = (sums.next(), sums.next());
    ensure!(
        received.is_some() && received == stated,
        "curl {family} received other bytes: {text}"
    );
    Ok(())
}

/// The addresses that the client's resolver finds for `name`.
///
/// # Errors
/// Where it finds none.
pub fn addresses(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let text = lab.output("client", &["getent", "ahosts", name])?;
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Measures with iperf3 from the internet host to the client for `seconds`, in Mbit/s.
///
/// # Errors
/// Where iperf3 fails.
pub fn iperf3(lab: &Lab, seconds: u32) -> Result<f64> {
    let server = ["iperf3", "--server", "--one-off", "--port", "5201"];
    let _server = serve(lab, &server)?;
    let seconds = seconds.to_string();
    let client = [
        "iperf3",
        "--client",
        "internet",
        "--port",
        "5201",
        "--reverse",
        "--json",
    ];
    let text = lab.output("client", &[&client[..], &["--time", &seconds]].concat())?;
    let json: Value = serde_json::from_str(&text).context("cannot understand iperf3")?;
    json["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .map(|bits| bits / 1e6)
        .context("iperf3 does not say what arrived")
}

/// Clones a repository with `bytes` bytes that do not compress from the internet host over SSH,
/// and compares it. Everything it needs it makes in `directory`. Wants root: sshd does.
///
/// # Errors
/// Where a program fails or the clone differs.
pub fn git_over_ssh(lab: &Lab, directory: &Path, bytes: u64) -> Result<()> {
    let at = |name: &str| directory.join(name).display().to_string();
    let (origin, clone, key) = (at("origin"), at("clone"), at("key"));
    let made = here(&format!(
        "set -e; umask 077; ssh-keygen -q -t ed25519 -N '' -f {key}; \
         ssh-keygen -q -t ed25519 -N '' -f {host}; cp {key}.pub {authorised}; \
         git init -q {origin}; head -c {bytes} /dev/urandom > {origin}/data; \
         git -C {origin} add data; \
         git -C {origin} -c user.name=lab -c user.email=lab@lab.test commit -q -m data; \
         mkdir -p /run/sshd",
        host = at("host"),
        authorised = at("authorised"),
    ))?;
    ensure!(made.is_empty(), "preparing the repository said {made}");
    let config = directory.join("sshd_config");
    let settings = format!(
        "Port 2222\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n",
        at("host"),
        at("authorised"),
    );
    fs::write(&config, settings).context("cannot write sshd's configuration")?;

    let sshd = [
        "/usr/sbin/sshd",
        "-D",
        "-e",
        "-f",
        &config.display().to_string(),
    ];
    let _server = serve(lab, &sshd)?;
    let ssh = format!(
        "GIT_SSH_COMMAND=ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -o BatchMode=yes -o LogLevel=ERROR"
    );
    let url = format!("ssh://root@internet:2222{origin}");
    lab.output(
        "client",
        &["env", &ssh, "git", "clone", "--quiet", &url, &clone],
    )?;
    let differences = here(&format!(
        "git -C {clone} fsck --no-progress && diff -r {origin}/data {clone}/data"
    ))?;
    ensure!(differences.is_empty(), "the clone differs: {differences}");
    Ok(())
}

/// Starts a server in the node `internet`.
fn serve(lab: &Lab, program: &[&str]) -> Result<Service> {
    let mut command = lab.exec("internet", program);
    let server = Service::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    sleep(START);
    Ok(server)
}

/// Runs a shell script outside the lab and returns all it printed.
fn here(script: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {script}; }} 2>&1")])
        .stdin(Stdio::null())
        .output()
        .context("cannot start sh")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{script}: {text}");
    Ok(text)
}

/// A new directory that is removed, with all in it, when this value goes.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one whose name begins with `purpose`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(purpose: &str) -> Result<Self> {
        let name = format!("guywire-{purpose}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a program here that stands in for `binary` and runs a copy of it as an ordinary user
    /// (`nobody`), whatever it is given. Wants root and `setpriv`.
    ///
    /// # Errors
    /// Where a file cannot be made.
    pub fn as_nobody(&self, binary: &Path) -> Result<PathBuf> {
        let (copy, stand_in) = (self.path.join("guywire"), self.path.join("as-nobody"));
        fs::copy(binary, &copy).context("cannot copy the binary")?;
        // The number of `nobody` is the same everywhere.
        let script = format!(
            "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
             env -u XDG_RUNTIME_DIR HOME={} {} \"$@\"\n",
            self.path.display(),
            copy.display(),
        );
        fs::write(&stand_in, script).context("cannot write the stand-in")?;
        for path in [&self.path, &copy, &stand_in] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777))
                .with_context(|| format!("cannot open {} to everybody", path.display()))?;
        }
        Ok(stand_in)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
